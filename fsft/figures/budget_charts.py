"""The figures of chapter 13: the weight beta, the gradient that it scales, and the map of gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fsft.evidence.chapters import MODES, SCALES, Cell
from fsft.figures import plots

_LOOKS = ((plots.BLUE, "s", "--"), (plots.VERMILION, "^", "-."), (plots.BLACK, "o", "-"), (plots.GREEN, "D", ":"))


def gain_map(cells: Sequence[Cell]) -> tuple[Figure, str]:
    """The gain over the baseline against epochs and images, for each mode and scale; figure and alt text."""
    epochs = sorted({cell.epochs for cell in cells})
    images = sorted({cell.images for cell in cells})
    largest = max((abs(cell.gain.gain) for cell in cells if cell.gain is not None), default=1.0)
    fig, axes = plt.subplots(len(MODES), len(SCALES), figsize=(plots.WIDTH + 0.6, 7.4), sharex=True, sharey=True)
    for line, mode in zip(axes, MODES, strict=True):
        for ax, scale in zip(line, SCALES, strict=True):
            for row, column in np.ndindex(len(images), len(epochs)):
                ax.add_patch(_tile(row, column, "white", hatch="///"))
                ax.text(column, row, "not run", ha="center", va="center", fontsize=10, backgroundcolor="white")
            for cell in cells:
                if (cell.mode, cell.scale) == (mode, scale) and cell.gain is not None:
                    _filled(ax, cell, images.index(cell.images), epochs.index(cell.epochs), largest)
            plots.hide_axes(ax, f"{mode.upper()}, heads × {scale:g}")
            ax.set_xticks(range(len(epochs)), [str(number) for number in epochs])
            ax.set_yticks(range(len(images)), [str(number) for number in images])
            ax.set(xlim=(-0.5, len(epochs) - 0.5), ylim=(-0.5, len(images) - 0.5))
    for ax in axes[-1]:
        ax.set_xlabel("epochs")
    for ax in axes[:, 0]:
        ax.set_ylabel("images per class")
    return fig, _map_alt(cells)


def _tile(row: int, column: int, color: object, **options: object) -> Rectangle:
    options = {"edgecolor": "#BBBBBB", "linewidth": 0.5} | options
    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, **options)  # type: ignore[arg-type]


def _filled(ax: Axes, cell: Cell, row: int, column: int, largest: float) -> None:
    """A tile with its gain and number of seeds; a frame says that the interval excludes zero."""
    assert cell.gain is not None
    share = cell.gain.gain / largest
    for text in [text for text in ax.texts if text.get_position() == (column, row)]:
        text.remove()
    # Half of the color range, so that black text stays legible on the strongest tile.
    ax.add_patch(_tile(row, column, plt.get_cmap(plots.DIVERGING_CMAP)(0.5 + 0.28 * share), zorder=2))
    if cell.clear:
        ax.add_patch(_tile(row, column, "none", edgecolor=plots.BLACK, linewidth=3, zorder=3))
    low, high = sorted(cell.gain.n)
    seeds = f"{low}" if low == high else f"{low}, {high}"
    label = f"{cell.gain.gain:+.2f}\nn = {seeds}"
    ax.text(column, row, label, ha="center", va="center", fontsize=11, zorder=4)


def _map_alt(cells: Sequence[Cell]) -> str:
    parts = []
    for scale in SCALES:
        for mode in MODES:
            here = [cell for cell in cells if (cell.mode, cell.scale) == (mode, scale)]
            run = [cell for cell in here if cell.gain is not None]
            texts = [f"{cell.place} {cell.text}" for cell in run]
            missing = f"{len(here) - len(run)} not run" if len(run) < len(here) else ""
            listed = "; ".join([*texts, missing] if missing else texts)
            parts.append(f"{mode.upper()} with heads × {scale:g}: {listed}.")
    return "Map of the gain over the baseline in points of test accuracy. " + " ".join(parts)


def beta_curve(series: Mapping[str, Mapping[float, Sequence[float]]], margin: float) -> tuple[Figure, str]:
    """Accuracy against beta, as the difference from beta = 1, for several series; figure and alt text.

    `series` maps a label to the accuracies of the seeds for each beta. The band of half-width `margin` points is what
    counts as flat. A beta without a run, or a series without beta = 1, is marked as not run.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.4))
    ax.axhspan(-margin, margin, color=plots.SKY, alpha=0.25, label=f"within {margin:g} point of β = 1")
    ax.axhline(0, color=plots.GREY, linewidth=1)
    parts = []
    for (label, values), (color, marker, line) in zip(series.items(), _LOOKS, strict=False):
        run = {beta: np.asarray(found, dtype=float) for beta, found in values.items() if len(found)}
        if 1.0 not in run:
            parts.append(f"{label}: not run")
            ax.plot([], [], color=color, marker=marker, linestyle=line, label=f"{label}: not run")
            continue
        one = float(run[1.0].mean())
        betas = sorted(run)
        means = [float(run[beta].mean()) - one for beta in betas]
        ax.plot(betas, means, color=color, marker=marker, linestyle=line, label=label)
        for beta in betas:
            if len(run[beta]) > 1:
                ax.plot([beta] * len(run[beta]), run[beta] - one, ".", color=color, alpha=0.5, linestyle="none")
        missing = [beta for beta in values if beta not in run]
        text = ", ".join(f"{beta:g}: {mean:+.2f}" for beta, mean in zip(betas, means, strict=True))
        absent = f"; not run: {', '.join(f'{beta:g}' for beta in missing)}" if missing else ""
        parts.append(f"{label}, with {one:.2f} percent at beta 1, by beta: {text}{absent}")
    ax.set_xticks([n / 10 for n in range(1, 11)])
    ax.set_xlim(0.05, 1.05)
    ax.set(xlabel="β, weight of the penultimate classifier", ylabel="accuracy − accuracy at β = 1\n(points)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig, f"Test accuracy against beta, as the difference from beta 1 in points. {'. '.join(parts)}."


def gradient_shares(shares: Mapping[str, Mapping[float, float]]) -> tuple[Figure, str]:
    """The penultimate classifier's share of the gradient at its tap, in percent, against beta; figure and alt text."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.0))
    parts = []
    for (label, by_beta), (color, marker, line) in zip(shares.items(), _LOOKS, strict=False):
        ax.plot(list(by_beta), list(by_beta.values()), color=color, marker=marker, linestyle=line, label=label)
        ends = [(beta, by_beta[beta]) for beta in (min(by_beta), max(by_beta))]
        parts.append(f"{label}: " + ", ".join(f"{share:.0f} percent at beta {beta:g}" for beta, share in ends))
    ax.set(xlabel="β", ylabel="share of the gradient (%)", ylim=(0, 100))
    ax.legend(handlelength=3.2)
    return fig, "Share of the penultimate classifier in the gradient at its tap. " + "; ".join(parts) + "."


def two_streams() -> Figure:
    """Where beta acts: the gradients of both classifiers meet at the penultimate tap, and go on as their sum."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.6))
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": plots.BLACK}
    for x, y, text in (
        (1.2, 1.2, "stem,\nlayer1,\nlayer2"),
        (4.4, 1.2, "tap\n$f_{m-1}$"),
        (7.2, 1.2, "layer3\n$f_m$"),
        (4.4, 4.6, "classifier\n$m-1$"),
        (7.2, 4.6, "classifier\n$m$"),
    ):
        ax.text(x, y, text, ha="center", va="center", bbox=box)
    streams = (
        ((4.4, 3.75), (4.4, 2.05), plots.VERMILION, "$\\beta \\times$ gradient", (4.2, 2.9), "right"),
        ((7.2, 3.75), (7.2, 2.05), plots.BLUE, "gradient", (7.4, 2.9), "left"),
        ((6.3, 1.2), (5.2, 1.2), plots.BLUE, "", (0, 0), "left"),
        ((3.6, 1.2), (2.3, 1.2), plots.BLACK, "sum", (2.95, 0.45), "center"),
    )
    for start, end, color, text, place, side in streams:
        ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2.5})
        ax.text(place[0], place[1], text, ha=side, va="center", color=color)
    return fig
