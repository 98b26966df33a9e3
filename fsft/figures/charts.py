"""Charts of trained networks for chapters 3 to 6: votes, views, confusions, changes per class, curves in panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fsft.figures import plots

# Curves in panels of a method without and with FSFT, such as `fsft.evidence.chapters.table2_curves` gives.
LOOKS = {
    "without": plots.MethodStyle("without FSFT", plots.BLACK, "o", "-"),
    "si": plots.METHODS["si"],
    "ag": plots.METHODS["ag"],
}
_DARK_FROM = 0.55  # white text on "Blues" from this share of the scale on


def _numbers(ax: Axes, values: np.ndarray, high: float, text: str = "{:.0f}", least: float = 0.0) -> None:
    """Write every value of at least `least` into its cell of an image of `values` with the scale 0 to `high`."""
    for (row, column), value in np.ndenumerate(values):
        if value >= least:
            color = "white" if value > _DARK_FROM * high else plots.BLACK
            ax.text(column, row, text.format(value), ha="center", va="center", color=color, fontsize=11)


def _frame(ax: Axes, row: float, column: float, height: float = 1, width: float = 1) -> None:
    """An orange frame around cells of an image, from (row, column) on."""
    corner = (column - 0.5, row - 0.5)
    ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=plots.ORANGE, linewidth=3, clip_on=False))


def _rotation(names: Iterable[str]) -> int:
    """Degrees by which to turn the names under a column, so that they do not overlap."""
    return 0 if max(map(len, names)) < 4 else 90


def joint_row(joint: np.ndarray, mask: int, shown: Mapping[int, str]) -> Figure:
    """The joint probabilities (M, N) of one view, and what is left of them when only row `mask` competes.

    Above, each row is a mask and each column a class, in percent; the row of the mask that was applied is framed.
    Below, this row divided by its sum. `shown` maps the classes that are drawn to their names.
    """
    masks, columns, count = len(joint), joint.size, len(shown)
    conditional = 100 * (joint[mask] / joint[mask].sum())[list(shown)]
    joint = joint[:, list(shown)]
    fig, (above, below) = plt.subplots(2, 1, figsize=(plots.WIDTH, 4.8), sharex=True, height_ratios=[1.25, 1])
    high = 100 * float(joint.max())
    above.imshow(100 * joint, cmap="Blues", vmin=0, vmax=high, aspect="auto")
    plots.hide_axes(above, f"$P(y, j \\mid \\tilde f_{mask})$ in percent: all {columns} columns compete")
    above.set_yticks(range(masks), [f"$j = {j}$" for j in range(masks)])
    _numbers(above, 100 * joint, high, least=1)
    _frame(above, mask, 0, width=count)
    below.bar(range(count), conditional, color=plots.BLUE)
    below.set_title(f"$P(y \\mid \\tilde f_{mask}, j = {mask})$: only the framed row competes")
    below.set(ylabel="percent", ylim=(0, 1.1 * float(conditional.max())))
    below.set_xticks(range(count), list(shown.values()), rotation=_rotation(shown.values()))
    return fig


def votes(picture: np.ndarray, probabilities: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> Figure:
    """An image beside class distributions (V, N), one a row, in percent; each row's winner is framed.

    The last row is the result of the others, and is set off from them. Pass the classes of interest only.
    """
    rows, count = probabilities.shape
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH + 0.6, 3.6), width_ratios=[1, 2.6])
    left.imshow(picture)
    plots.hide_axes(left)
    percent = 100 * probabilities
    right.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    plots.hide_axes(right)
    right.set_yticks(range(rows), names)
    right.set_xticks(range(count), classes, rotation=_rotation(classes))
    _numbers(right, percent, 100, least=1)
    right.axhline(rows - 1.5, color=plots.BLACK, linewidth=2)
    for row, winner in enumerate(probabilities.argmax(1)):
        _frame(right, row, int(winner))
    return fig


def agreement(votes_for_winner: np.ndarray, right: np.ndarray, views: int) -> Figure:
    """Accuracy against the number of views (n,) that voted for the winner; `right` (n,) says who was right."""
    sizes = np.array([(votes_for_winner == k).sum() for k in range(1, views + 1)])
    share = np.array([right[votes_for_winner == k].mean() if sizes[k - 1] else 0 for k in range(1, views + 1)])
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.4))
    ax.bar(range(1, views + 1), 100 * share, color=plots.SKY, edgecolor=plots.BLACK, linewidth=0.8)
    for k, (size, value) in enumerate(zip(sizes, share, strict=True), start=1):
        ax.text(k, 100 * value + 2, f"{size} image{'s' if size != 1 else ''}", ha="center", fontsize=11)
    ax.set(xlabel=f"views, out of {views}, that voted for the winner", ylabel="accuracy (%)", ylim=(0, 112))
    ax.grid(False, axis="x")
    return fig


def view_accuracy(groups: Mapping[str, tuple[np.ndarray, float]], names: Sequence[str]) -> Figure:
    """Accuracy in percent of each view (V,) as markers and of their aggregate as a line, for each classifier."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.2))
    looks = ((plots.BLUE, "s", "--"), (plots.VERMILION, "^", "-."))
    for (label, (views, aggregate)), (color, marker, line) in zip(groups.items(), looks, strict=False):
        ax.plot(range(len(views)), views, color=color, marker=marker, linestyle="none", markersize=9, label=label)
        ax.axhline(aggregate, color=color, linestyle=line, label=f"{label}, aggregated")
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    ax.set_ylabel("test accuracy (%)")
    ax.grid(False, axis="x")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def gallery(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], columns: int = 4) -> Figure:
    """Rows of pictures (H, W, 3), each with its own caption; a row may hold fewer than `columns`, or none."""
    side = plots.WIDTH / columns
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=(plots.WIDTH, len(rows) * (side + 0.65)))
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, (picture, caption) in zip(line, pictures, strict=False):
            ax.axis("on")
            ax.imshow(picture)
            plots.hide_axes(ax)
            ax.set_title(caption, fontsize=11)
        if pictures:
            line[0].set_ylabel(label)
        else:
            line[0].text(0, 0.5, f"{label}: none", fontsize=12)
    return fig


def confusions(tables: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Square tables of shares (M, M), rows the truth and columns the answer, side by side, in percent."""
    fig, axes = plt.subplots(1, len(tables), figsize=(plots.WIDTH, 6.4 / len(tables) + 1.2), sharey=True, squeeze=False)
    for ax, (title, shares) in zip(axes[0], tables.items(), strict=True):
        ax.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        plots.hide_axes(ax, title)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names)
        ax.set_xlabel("answer")
        _numbers(ax, 100 * shares, 100)
    axes[0][0].set_ylabel("truth")
    return fig


def dumbbells(
    names: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    labels: tuple[str, str],
    xlabel: str,
    spread: float | None = None,
) -> Figure:
    """One line per class from `before` to `after`, both in percent, sorted by the change; the largest gain on top.

    `spread` draws a grey band of this half-width around the first value: what chance alone would do.
    """
    order = np.argsort(np.asarray(after) - np.asarray(before))
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 1.4 + 0.3 * len(order)))
    for place, k in enumerate(order):
        if spread is not None:
            low, high = max(before[k] - spread, 0), min(before[k] + spread, 100)
            ax.barh(place, high - low, left=low, height=0.5, color="#DDDDDD", zorder=1)
        color = plots.BLUE if after[k] >= before[k] else plots.VERMILION
        ax.plot([before[k], after[k]], [place, place], color=color, linewidth=2.5, marker="", linestyle="-", zorder=2)
    rows = np.arange(len(order))
    ax.scatter(
        np.asarray(before)[order],
        rows,
        color="white",
        edgecolor=plots.BLACK,
        s=60,
        zorder=3,
        clip_on=False,
        label=labels[0],
    )
    ax.scatter(
        np.asarray(after)[order], rows, color=plots.BLACK, marker="D", s=45, zorder=4, clip_on=False, label=labels[1]
    )
    ax.set_yticks(rows, [names[k] for k in order])
    ax.set_xlabel(xlabel)
    ax.grid(False, axis="y")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def curve_panels(
    panels: Mapping[str, Mapping[str, np.ndarray]], looks: Mapping[str, plots.MethodStyle], columns: int = 2
) -> Figure:
    """Learning curves in panels that share their axes: test accuracy in percent after each epoch.

    `panels` maps a title to curves (epochs,) by name, `looks` the names to their line; a panel may be empty, and then
    says "not run". Names beyond the curves at hand do not enter the legend.
    """
    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(plots.WIDTH, 2.4 * rows + 0.7), sharex=True, sharey=True, squeeze=False
    )
    drawn: dict[str, Any] = {}
    for ax, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for name, values in curves.items():
            (drawn[looks[name].label],) = ax.plot(range(1, len(values) + 1), values, **looks[name].line())
        if not curves:
            ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    fig.supxlabel("epoch", fontsize=12)
    fig.supylabel("test accuracy (%)", fontsize=12)
    if drawn:
        fig.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn), handlelength=2.6)
    return fig


def curve_panels_alt(panels: Mapping[str, Mapping[str, np.ndarray]], looks: Mapping[str, plots.MethodStyle]) -> str:
    """Alternative text for `curve_panels`: where every curve begins and ends."""
    parts = []
    for title, curves in panels.items():
        ends = [
            f"{looks[name].label} from {values[0]:.1f} to {values[-1]:.1f} in {len(values)} epochs"
            for name, values in curves.items()
        ]
        parts.append(f"{title}: {', '.join(ends) or 'not run'}.")
    return f"Test accuracy in percent after each epoch, in {len(panels)} panels. " + " ".join(parts)
