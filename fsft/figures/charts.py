"""Charts of trained networks for chapters 3 to 6: votes, views, confusions, changes per class, curves in panels."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fsft.figures import plots

_PANEL_LOOKS = plots.LOOKS | {"without": plots.Look("without FSFT", plots.BLACK, "o", "-")}  # type: ignore[operator]
_DARK_FROM = 0.55  # white text on "Blues" from this share of the scale on


def _percentages(ax: Axes, values: np.ndarray, rows: Sequence[str], high: float = 100, least: float = 0.0) -> None:
    """A table of percentages with named rows, shaded on a scale from 0 to `high`; those of at least `least` written."""
    plots.picture(ax, values, cmap="Blues", vmin=0, vmax=high, aspect="auto")
    ax.set_yticks(range(len(rows)), rows)
    for (row, column), value in np.ndenumerate(values):
        if value >= least:
            color = "white" if value > _DARK_FROM * high else plots.BLACK
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=11)


def _frame(ax: Axes, row: float, column: float, width: float = 1) -> None:
    """An orange frame around cells in a row of an image, from (row, column) on."""
    corner = (column - 0.5, row - 0.5)
    ax.add_patch(Rectangle(corner, width, 1, fill=False, edgecolor=plots.ORANGE, linewidth=3, clip_on=False))


def _rotation(names: Iterable[str]) -> int:
    """Degrees by which to turn the names under a column, so that they do not overlap."""
    return 0 if max(map(len, names)) < 4 else 90


def joint_row(joint: np.ndarray, mask: int, shown: Mapping[int, str]) -> Figure:
    """The joint probabilities (M, N) of one view, and what is left of them when only row `mask` competes.

    Above, each row is a mask and each column a class, in percent; the row of the mask that was applied is framed.
    Below, this row divided by its sum. `shown` maps the classes that are drawn to their names.
    """
    columns, count = joint.size, len(shown)
    conditional = 100 * (joint[mask] / joint[mask].sum())[list(shown)]
    joint = joint[:, list(shown)]
    fig, (above, below) = plt.subplots(2, 1, figsize=(plots.WIDTH, 4.8), sharex=True, height_ratios=[1.25, 1])
    _percentages(above, 100 * joint, [f"$j = {j}$" for j in range(len(joint))], 100 * float(joint.max()), least=1)
    above.set_title(f"$P(y, j \\mid \\tilde f_{mask})$ in percent: all {columns} columns compete")
    _frame(above, mask, 0, width=count)
    below.bar(range(count), conditional, color=plots.BLUE)
    below.set_title(f"$P(y \\mid \\tilde f_{mask}, j = {mask})$: only the framed row competes")
    below.set(xlabel="class", ylabel="percent", ylim=(0, 1.1 * float(conditional.max())))
    below.set_xticks(range(count), list(shown.values()), rotation=_rotation(shown.values()))
    return fig


def votes(picture: np.ndarray, probabilities: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> Figure:
    """An image beside class distributions (V, N), one a row, in percent; each row's winner is framed.

    The last row is the result of the others, and is set off from them. Pass the classes of interest only.
    """
    rows, count = probabilities.shape
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH + 0.6, 3.6), width_ratios=[1, 2.6])
    plots.picture(left, picture)
    _percentages(right, 100 * probabilities, names, least=1)
    right.set_xticks(range(count), classes, rotation=_rotation(classes))
    right.set(title="probability (%)", xlabel="class")
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
    for (label, (views, aggregate)), look in zip(groups.items(), (plots.LOOKS["si"], plots.LOOKS["ag"]), strict=False):
        marks = look.line() | {"label": label, "linestyle": "none", "markersize": 9}
        ax.plot(range(len(views)), views, **marks)
        ax.axhline(aggregate, color=look.color, linestyle=look.linestyle, label=f"{label}, aggregated")
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    ax.set_ylabel("test accuracy (%)")
    ax.grid(False, axis="x")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def examples(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], columns: int = 4) -> Figure:
    """Rows of pictures (H, W, 3), each with its own caption; a row may hold fewer than `columns`, or none."""
    side = plots.WIDTH / columns
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=(plots.WIDTH, len(rows) * (side + 0.65)))
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        for ax in line[len(pictures) :]:
            ax.axis("off")
        for ax, (picture, caption) in zip(line, pictures, strict=False):
            plots.picture(ax, picture)
            ax.set_title(caption, fontsize=11)
        line[0].set_ylabel(label)
        if not pictures:
            line[0].text(0, 0.5, f"{label}: none", fontsize=12)
    return fig


def confusions(tables: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Square tables of shares (M, M), rows the truth and columns the answer, side by side, in percent."""
    fig, axes = plt.subplots(1, len(tables), figsize=(plots.WIDTH, 6.4 / len(tables) + 1.2), sharey=True, squeeze=False)
    for ax, (title, shares) in zip(axes[0], tables.items(), strict=True):
        _percentages(ax, 100 * shares, names)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set(xlabel="answer", title=title, aspect="equal")
    axes[0][0].set_ylabel("truth")
    return fig


def dumbbells(
    names: Sequence[str], before: np.ndarray, after: np.ndarray, labels: Sequence[str], xlabel: str, spread: float = 0.0
) -> Figure:
    """One line per class from `before` to `after`, both in percent, sorted by the change; the largest gain on top.

    `spread` draws a grey band of this half-width around the first value: what chance alone would do.
    """
    order = np.argsort(np.asarray(after) - np.asarray(before))
    before, after, rows = np.asarray(before)[order], np.asarray(after)[order], np.arange(len(order))
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 1.4 + 0.3 * len(order)))
    low, high = np.maximum(before - spread, 0), np.minimum(before + spread, 100)
    ax.barh(rows, high - low, left=low, height=0.5, color="#DDDDDD", zorder=1)
    colors = np.where(after >= before, plots.BLUE, plots.VERMILION).tolist()
    ax.hlines(rows, before, after, colors=colors, linewidth=2.5, zorder=2)
    for values, color, marker, label in ((before, "white", "o", labels[0]), (after, plots.BLACK, "D", labels[1])):
        points, *_ = ax.plot(values, rows, marker, color=color, linestyle="none", label=label, markersize=7, zorder=3)
        points.set(markeredgecolor=plots.BLACK, clip_on=False)
    ax.set_yticks(rows, [names[k] for k in order])
    ax.set_xlabel(xlabel)
    ax.grid(False, axis="y")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def curve_panels(panels: Mapping[str, Mapping[str, np.ndarray]], columns: int = 2) -> tuple[Figure, str]:
    """Learning curves in panels that share their axes: test accuracy in percent by epoch; figure and alt text.

    `panels` maps a title to curves (epochs,), NaN where not tested, by inference mode, or by "without" for a network
    without FSFT; a panel without curves says "not run".
    """
    rows = -(-len(panels) // columns)
    size = (plots.WIDTH, 2.4 * rows + 0.7)
    fig, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    drawn, parts = {}, []
    for ax, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        ends = []
        for name, curve in curves.items():
            look, (epochs, values) = _PANEL_LOOKS[name], plots.tested(curve)
            (drawn[look.label],) = ax.plot(epochs, values, **look.line())
            ends.append(f"{look.label} from {values[0]:.1f} to {values[-1]:.1f} in {len(curve)} epochs")
        if not curves:
            ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        parts.append(f"{title}: {', '.join(ends) or 'not run'}.")
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    fig.supxlabel("epoch", fontsize=12)
    fig.supylabel("test accuracy (%)", fontsize=12)
    if drawn:
        fig.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn), handlelength=2.6)
    return fig, f"Test accuracy in percent after each epoch, in {len(panels)} panels. " + " ".join(parts)


Step = tuple[float, float | None, float | None]


def waterfall(panels: Mapping[str, tuple[float, Mapping[str, Step]]]) -> tuple[Figure, str]:
    """From the baseline's accuracy to FSFT's, part by part, a panel for each title; figure and alt text.

    A panel is the baseline's accuracy in percent, and by name each part's gain in points with the ends of its interval
    (None without one); the last is the whole, and the others add up to it. The bars set the scale: an interval that
    leaves it ends in an arrow.
    """
    rows = [len(steps) + 1 for _, steps in panels.values()]
    size = (plots.PHONE_WIDTH, 0.9 + 0.43 * sum(rows) + 0.4 * len(panels))
    fig, axes = plt.subplots(len(panels), figsize=size, sharex=True, squeeze=False, height_ratios=rows)
    parts, edges, whiskers = [], [], []
    for ax, (title, (start, steps)) in zip(axes.flat, panels.items(), strict=True):
        whole, level = list(steps)[-1], start
        ax.plot([start], [0], "o", color=plots.BLACK)
        texts = [f"{start:.2f} %"]
        for row, (name, (gain, low, high)) in enumerate(steps.items(), start=1):
            begin = start if name == whole else level
            color = plots.BLACK if name == whole else plots.BLUE if gain >= 0 else plots.VERMILION
            ax.barh(row, gain, left=begin, height=0.55, color=color, alpha=0.85)
            if low is not None and high is not None:
                whiskers.append((ax, row, begin + low, begin + high))
            level = begin + gain
            edges += [begin, level]
            texts.append(f"{gain:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if low is not None else " (no interval)"))
        ax.axvline(start, color=plots.GREY, linewidth=1, linestyle=":")
        # The numbers stand in the row's name: beside a bar they would leave the figure where the bar is long.
        named = list(zip(("baseline", *steps), texts, strict=True))
        ax.set_yticks(range(len(named)), [f"{name}\n{text}" for name, text in named], fontsize=11)
        ax.set(ylim=(len(named) - 0.5, -0.6), title=textwrap.fill(title, 30))
        ax.grid(False, axis="y")
        listed = ", ".join(f"{name} {text}" for name, text in named[1:])
        parts.append(f"{title}: baseline {start:.2f} percent; {listed}.")
    least, most = min(edges) - 1, max(edges) + 1
    axes[-1, 0].set_xlim(least, most)
    for ax, row, low, high in whiskers:
        ends = [max(low, least), min(high, most)]
        ax.plot(ends, [row, row], color=plots.GREY, linestyle="-", marker="")
        for end, mark in zip(ends, ("|" if low >= least else "<", "|" if high <= most else ">"), strict=True):
            ax.plot(end, row, mark, color=plots.GREY, clip_on=False)
    axes[-1, 0].set_xlabel("test accuracy, single inference (%)")
    return fig, "From the baseline to FSFT in points of test accuracy, part by part. " + " ".join(parts)
