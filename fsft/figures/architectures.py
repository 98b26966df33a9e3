"""Figures of chapter 5: the blocks of the five architectures, their widths, and who explains the paper's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from fsft.figures import plots

_CONV = "#CFE3F1"


@dataclass(frozen=True)
class Block:
    """What a block's branch does, step by step; what follows the sum; and what its shortcut does at a new shape."""

    title: str
    steps: tuple[str, ...]
    after: str
    shortcut: str


_NARROW = ("1×1 conv, w", "BN, ReLU", "3×3 conv, w")
BLOCKS = (
    Block("ResNet,\nbasic", ("3×3 conv, w", "BN, ReLU", "3×3 conv, w", "BN"), "ReLU", "1×1 conv, BN"),
    Block("ResNet,\nbottleneck", (*_NARROW, "BN, ReLU", "1×1 conv, 4w", "BN"), "ReLU", "1×1 conv, BN"),
    Block("Wide ResNet\n", ("BN, ReLU", "3×3 conv, kw", "BN, ReLU,\ndropout", "3×3 conv, kw"), "", "1×1 conv"),
    Block("PyramidNet\n", ("BN", "3×3 conv, w+δ", "BN, ReLU", "3×3 conv, w+δ", "BN"), "", "zero channels"),
)


def blocks() -> Figure:
    """The blocks side by side: branch on the left, shortcut on the right, meeting in a sum."""
    step, column = 0.62, plots.WIDTH / len(BLOCKS)
    height = step * (max(len(block.steps) for block in BLOCKS) + 2.9) + 0.9
    fig, ax = plt.subplots(figsize=(plots.WIDTH, height))
    ax.set(xlim=(0, plots.WIDTH), ylim=(0, height), aspect="equal")
    ax.axis("off")
    for number, block in enumerate(BLOCKS):
        _draw_block(ax, block, (number + 0.44) * column, height - 0.75, step, column)
    return fig


def _draw_block(ax: Axes, block: Block, x: float, top: float, step: float, column: float) -> None:
    side, size = x + 0.485 * column, (0.84 * column, 0.44)
    ax.text(x, top + 0.3, block.title, ha="center", va="bottom", weight="bold", linespacing=1.2, fontsize=12)
    ax.text(x, top, "$x$", ha="center", va="center")
    y = top
    for text in block.steps:
        plots.arrow(ax, (x, y - (0.14 if y == top else 0.22)), (x, y - step + 0.22))
        y -= step
        plots.box(ax, x, y, text, size, plots.BLUE, facecolor=_CONV if "conv" in text else "white", linewidth=1)
    total = y - step
    plots.arrow(ax, (x, y - 0.22), (x, total + 0.13))
    split = top - 0.26
    road = ([x, side, side, x + 0.13], [split, split, total, total])
    ax.plot(*road, color=plots.VERMILION, linewidth=2, marker="", linestyle="-")
    ax.add_patch(Circle((x, total), 0.13, facecolor="white", edgecolor=plots.BLACK, linewidth=1.5, zorder=3))
    ax.text(x, total, "+", ha="center", va="center_baseline", zorder=4, fontsize=14)
    end = total - 0.13
    if block.after:
        plots.arrow(ax, (x, end), (x, total - step + 0.22))
        plots.box(ax, x, total - step, block.after, size, plots.BLUE, linewidth=1)
        end = total - step - 0.22
    plots.arrow(ax, (x, end), (x, end - 0.3))
    ax.text(x, end - 0.35, "new shape:\n" + block.shortcut, ha="center", va="top", color=plots.VERMILION, fontsize=11)


def width_profile(widths: Mapping[str, Sequence[int]]) -> Figure:
    """Channels after every block of each network against the place of the block, from first to last."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.4))
    for name, channels in widths.items():
        place = np.linspace(0, 1, len(channels))
        ax.plot(place, channels, label=name, markevery=max(1, len(channels) // 6))
    ax.set_ylim(0, None)
    ax.set_xticks([0, 1], ["first block", "last block"])
    ax.set_ylabel("channels after the block")
    fig.legend(loc="outside lower center", ncols=2, handlelength=3.2)
    return fig


def explained_memory(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """For every network, the share in percent of the paper's extra memory that its activations explain, by row.

    Right of 100 % a network would keep more than the paper saw in use.
    """
    rows = list(next(iter(shares.values())))
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 1.5 + 0.55 * len(shares)))
    right = 1.12 * max(100, *(share for found in shares.values() for share in found.values()))
    ax.axvspan(100, right, color=plots.VERMILION, alpha=0.12)
    ax.axvline(100, color=plots.BLACK, linewidth=1.5)
    ax.text(101, -0.75, "too much", fontsize=11, va="center")
    for number, row in enumerate(rows):
        places = np.arange(len(shares)) + 0.22 * (number - (len(rows) - 1) / 2)
        values = [found[row] for found in shares.values()]
        ax.plot(values, places, **plots.look_of(row, number).line() | {"linestyle": "none", "markersize": 8})
    ax.set_yticks(range(len(shares)), list(shares))
    ax.set(xlim=(0, right), ylim=(len(shares) - 0.4, -1.1), xlabel="explained share of the paper's extra memory (%)")
    ax.grid(False, axis="y")
    fig.legend(loc="outside lower center", ncols=len(rows))
    return fig
