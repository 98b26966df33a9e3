"""Figures of chapter 12: where a step's cost lies, what the paper's memory column fits, and how cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fsft.figures import plots

_HATCHES = ("", "//", "..", "xx", "--")
# Every method of Table 5 looks the same in all figures: color, marker, line.
LOOKS: Mapping[str, tuple[str, str, str]] = {
    "baseline": (plots.BLACK, "o", "-"),
    "FSFT, closed form": (plots.BLUE, "s", "--"),
    "FSFT, literal": (plots.VERMILION, "^", "-."),
    "SLA": (plots.GREEN, "D", ":"),
}


def shares(parts: Mapping[str, Mapping[str, float]]) -> Figure:
    """Stacked bars: `parts` maps a quantity to the amount in every part; each bar is scaled to 100 percent."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.6))
    names = list(next(iter(parts.values())))
    left = np.zeros(len(parts))
    for name, color, hatch in zip(names, plots.PALETTE, _HATCHES * 2, strict=False):
        values = np.array([100 * amounts[name] / sum(amounts.values()) for amounts in parts.values()])
        bars = ax.barh(
            list(parts), values, left=left, color=color, hatch=hatch, edgecolor="white", label=name, height=0.6
        )
        labels = [f"{value:.0f}" if value >= 6 else "" for value in values]
        boxes = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        ax.bar_label(bars, labels, label_type="center", fontsize=11, bbox=boxes)
        for label in ax.texts:
            label.set_visible(bool(label.get_text()))
        left += values
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(xlabel="share (%)", xlim=(0, 100))
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def line_fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least squares: slope and intercept of y over x."""
    slope, intercept = np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)
    return float(slope), float(intercept)


def memory_fit(
    printed: Mapping[str, float], counted: Mapping[str, Mapping[str, float]], rows: Mapping[str, str]
) -> Figure:
    """The paper's memory over ours, a point for each row of Table 5 and a line for each block.

    `printed` maps a row to MB; `counted` maps a block to the same rows in MiB; `rows` maps a row to its short name.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.6))
    high = 1.08 * max(max(values.values()) for values in counted.values())
    looks = ((plots.BLUE, "s", "--"), (plots.VERMILION, "^", "-."))
    for (block, values), (color, marker, line) in zip(counted.items(), looks, strict=False):
        x, y = [values[row] for row in printed], list(printed.values())
        slope, intercept = line_fit(x, y)
        ax.plot(x, y, linestyle="none", marker=marker, color=color, markersize=8)
        span = np.array([0, max(x)])
        ax.plot(span, intercept + slope * span, color=color, linestyle=line, marker="", label=f"{block}: {slope:.2f}")
        if block == next(iter(counted)):
            for names, a, b in _clusters([rows[row] for row in printed], x, y, 0.06 * high):
                behind = {"facecolor": "white", "edgecolor": "none"}
                ax.annotate(
                    names, (a, b), xytext=(12, -12), textcoords="offset points", va="top", fontsize=10, bbox=behind
                )
    ax.plot([0, high], [0, high], color=plots.GREY, linewidth=1, linestyle="-", marker="", label="as counted: 1")
    ax.set(xlabel="counted peak (MiB)", ylabel="printed in Table 5 (MB)", xlim=(0, 1.12 * high), ylim=(0, None))
    ax.legend(title="slope of the line", loc="lower right")
    return fig


def _clusters(
    names: Sequence[str], x: Sequence[float], y: Sequence[float], near: float
) -> list[tuple[str, float, float]]:
    """One label for points that lie too near to each other for labels of their own, at the last of them."""
    found: list[tuple[list[str], float, float]] = []
    for name, a, b in sorted(zip(names, x, y, strict=True), key=lambda point: point[1]):
        if found and a - found[-1][1] < near:
            found[-1] = ([*found[-1][0], name], a, b)
        else:
            found.append(([name], a, b))
    return [(",\n".join(group), a, b) for group, a, b in found]


def growth(panels: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]], ylabel: str) -> Figure:
    """Double-logarithmic curves, one panel below the other: a quantity's name to its values and a curve per method."""
    fig, axes = plt.subplots(len(panels), 1, figsize=(plots.WIDTH, 2.5 * len(panels) + 0.6), squeeze=False)
    for ax, (name, (x, curves)) in zip(axes[:, 0], panels.items(), strict=True):
        for method, values in curves.items():
            color, marker, line = LOOKS[method]
            ax.loglog(x, values, color=color, marker=marker, linestyle=line, label=method)
        ax.set(xlabel=name, ylabel=ylabel)
        ax.set_xticks(list(x), [f"{value:g}" for value in x])
        ax.minorticks_off()
        low, high = ax.get_ylim()
        ticks = [
            tick for tick in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000) if low <= tick <= high
        ]
        ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The power p of y ~ x^p, by least squares of the logarithms."""
    return line_fit(np.log(x).tolist(), np.log(y).tolist())[0]


def overheads(x: Sequence[float], curves: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Overhead in percent over a setting, one line for each method of :data:`LOOKS`."""
    fig, ax = plt.subplots()
    for method, values in curves.items():
        color, marker, line = LOOKS[method]
        ax.plot(x, values, color=color, marker=marker, linestyle=line, label=method)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    ax.set_xticks(list(x))
    ax.legend()
    return fig


def profile_bars(shares: Mapping[str, float]) -> Figure:
    """Where a step's time goes: kinds of operation with their share in [0, 1], the largest on top."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.42 * len(shares) + 1.1))
    bars = ax.barh(list(shares), [100 * share for share in shares.values()], color=plots.BLUE)
    ax.bar_label(bars, [f"{100 * share:.1f}" for share in shares.values()], padding=4, fontsize=11)
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(xlabel="share of the step (%)", xlim=(0, 118 * max(shares.values())))
    return fig
