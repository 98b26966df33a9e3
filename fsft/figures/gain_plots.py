"""Figures of chapters 13 and 16: the weight beta, the map of gains, and the paper's gains beside ours (a forest plot).

They take frames, and know no ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fsft.figures import plots

MOST_SETTINGS = 8
# By side of a forest plot: label, color, marker, its face.
_SIDES = {
    "paper": ("paper", plots.BLACK, "s", "white"),
    "exact": ("ours, the paper's recipe", plots.VERMILION, "o", plots.VERMILION),
    "reduced": ("ours, reduced recipe", plots.BLUE, "D", plots.BLUE),
}


def forest(gains: pd.DataFrame, what: str) -> tuple[Figure, str]:
    """Gains over the baseline with 95 % intervals, the paper's and ours; figure and alt text.

    Args:
        gains: a row a gain, with `label`, `side` ("paper", "exact" or "reduced"), `gain`, `low` and `high` (NaN without
            an interval) and `rank`. Rows of the paper come first; those of "exact" stand beside the paper's of the same
            label. Of reduced settings at most eight are drawn, those of the lowest rank, in the order of the frame.
        what: what gains, such as "FSFT-SI".
    """
    reduced = gains[gains["side"] == "reduced"]
    chosen = reduced.nsmallest(MOST_SETTINGS, "rank").sort_index()
    drawn = pd.concat([gains[gains["side"] != "reduced"], chosen])
    labels = list(dict.fromkeys(drawn["label"]))
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 1.4 + 0.36 * len(labels)))
    ax.axvline(0, color=plots.GREY, linewidth=1)
    parts = [f"Gains of {what} over the baseline in points of test accuracy with 95 % intervals."]
    for side, (name, color, marker, face) in _SIDES.items():
        rows = drawn[drawn["side"] == side]
        y = np.array([labels.index(label) for label in rows["label"]]) + (0.22 if side == "exact" else 0)
        ax.hlines(y, rows["low"], rows["high"], color=color, linewidth=1.5)
        ax.plot(rows["gain"], y, marker, color=color, markerfacecolor=face, linestyle="none", label=name)
        numbers = zip(rows["label"], rows["gain"], rows["low"], rows["high"], strict=True)
        listed = ", ".join(f"{label} {gain:+.2f}{_interval(low, high)}" for label, gain, low, high in numbers)
        parts.append(f"{name.capitalize()}: {listed or 'no run yet'}.")
    if len(chosen):
        ax.axhline(len(labels) - len(chosen) - 0.5, color=plots.GREY, linewidth=1, linestyle=":")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")
    fig.supxlabel("gain over the baseline (points of test accuracy)", fontsize=12)
    fig.legend(loc="outside upper center", ncols=2)
    if len(reduced) > len(chosen):
        parts.append(f"{len(reduced) - len(chosen)} more settings are in the tables.")
    return fig, " ".join(parts)


def _interval(low: float, high: float) -> str:
    return " (one run, no interval)" if np.isnan(low) else f" (interval {low:+.2f} to {high:+.2f})"


def gain_map(cells: pd.DataFrame) -> tuple[Figure, str]:
    """The gain over the baseline against epochs and images, a panel for each mode and rate; figure and alt text.

    `cells` has a row for each with `images` (per class), `epochs`, `mode`, `scale` (the rate of the heads), `gain` in
    points (NaN where it has not run), `clear` (the interval excludes zero), `seeds` and `text`, both in words.
    """
    epochs, images, modes, scales = (list(dict.fromkeys(cells[name])) for name in ("epochs", "images", "mode", "scale"))
    epochs, images, largest = sorted(epochs), sorted(images), cells["gain"].abs().max()
    size = (plots.WIDTH + 0.6, 7.4)
    fig, axes = plt.subplots(len(modes), len(scales), figsize=size, sharex=True, sharey=True, squeeze=False)
    parts = []
    for (row, column), ax in np.ndenumerate(axes):
        mode, scale = modes[row], scales[column]
        here = cells[(cells["mode"] == mode) & (cells["scale"] == scale)]
        run = here[here["gain"].notna()]
        for place in np.ndindex(len(images), len(epochs)):
            if not ((run["images"] == images[place[0]]) & (run["epochs"] == epochs[place[1]])).any():
                _tile(ax, place, "not run", "white", hatch="///")
        for cell in run.itertuples():
            # Half of the color range, so that black text stays legible on the strongest tile.
            color = plt.get_cmap(plots.DIVERGING_CMAP)(0.5 + 0.28 * cell.gain / largest)
            frame = {"edgecolor": plots.BLACK, "linewidth": 3, "zorder": 2} if cell.clear else {}
            place = images.index(cell.images), epochs.index(cell.epochs)
            _tile(ax, place, f"{cell.gain:+.2f}\nn = {cell.seeds}", color, **frame)
        plots.hide_axes(ax, f"{mode.upper()}, heads × {scale:g}")
        ax.set_xticks(range(len(epochs)), [str(number) for number in epochs])
        ax.set_yticks(range(len(images)), [str(number) for number in images])
        ax.set(xlim=(-0.5, len(epochs) - 0.5), ylim=(-0.5, len(images) - 0.5))
        ax.label_outer()
        texts = [f"{cell.images} images per class × {cell.epochs} epochs {cell.text}" for cell in run.itertuples()]
        missing = [f"{len(here) - len(run)} not run"] if len(run) < len(here) else []
        parts.append(f"{mode.upper()} with heads × {scale:g}: {'; '.join(texts + missing)}.")
    for ax in axes[-1]:
        ax.set_xlabel("epochs")
    for ax in axes[:, 0]:
        ax.set_ylabel("images per class")
    return fig, "Map of the gain over the baseline in points of test accuracy. " + " ".join(parts)


def _tile(ax: Axes, place: tuple[int, ...], text: str, color: object, **look: object) -> None:
    row, column = place
    drawn = {"facecolor": color, "edgecolor": "#BBBBBB", "linewidth": 0.5} | look
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **drawn))  # type: ignore[arg-type]
    ax.text(column, row, text, ha="center", va="center", fontsize=10, zorder=3)


def beta_curve(series: Mapping[str, Mapping[float, Sequence[float]]], margin: float) -> tuple[Figure, str]:
    """Accuracy against beta, as the difference from beta = 1, for several series; figure and alt text.

    `series` maps a label to the accuracies of the seeds for each beta. The band of half-width `margin` points is what
    counts as flat. A beta without a run, or a series without beta = 1, is marked as not run.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.4))
    ax.axhspan(-margin, margin, color=plots.SKY, alpha=0.25, label=f"within {margin:g} point of β = 1")
    ax.axhline(0, color=plots.GREY, linewidth=1)
    parts = []
    for number, (label, values) in enumerate(series.items()):
        look = plots.look_of(label, number)
        run = {beta: np.asarray(found, dtype=float) for beta, found in sorted(values.items()) if len(found)}
        if 1.0 not in run:
            parts.append(f"{label}: not run")
            ax.plot([], [], **look.line() | {"label": f"{label}: not run"})
            continue
        one = float(run[1.0].mean())
        means = [float(found.mean()) - one for found in run.values()]
        ax.plot(list(run), means, **look.line())
        for beta, found in run.items():
            if len(found) > 1:
                ax.plot([beta] * len(found), found - one, ".", color=look.color, alpha=0.5, linestyle="none")
        missing = ", ".join(f"{beta:g}" for beta in values if beta not in run)
        text = ", ".join(f"{beta:g}: {mean:+.2f}" for beta, mean in zip(run, means, strict=True))
        absent = f"; not run: {missing}" if missing else ""
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
    for number, (label, by_beta) in enumerate(shares.items()):
        ax.plot(list(by_beta), list(by_beta.values()), **plots.look_of(label, number).line())
        ends = [(beta, by_beta[beta]) for beta in (min(by_beta), max(by_beta))]
        parts.append(f"{label}: " + ", ".join(f"{share:.0f} percent at beta {beta:g}" for beta, share in ends))
    ax.set(xlabel="β", ylabel="share of the gradient (%)", ylim=(0, 100))
    ax.legend(handlelength=3.2)
    return fig, "Share of the penultimate classifier in the gradient at its tap. " + "; ".join(parts) + "."
