"""Figures of chapter 12: where a step's cost lies, what the paper's memory column fits, and how cost grows."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fsft.figures import plots

_HATCHES = ("", "//", "..", "xx", "--")
# Every method of Table 5 looks the same in all figures.
_MODES = {"baseline": "baseline", "FSFT, closed form": "si", "FSFT, literal": "ag", "SLA": "sd"}
_METHODS = {method: plots.LOOKS[mode].line() | {"label": method} for method, mode in _MODES.items()}


def shares(parts: Mapping[str, Mapping[str, float]]) -> Figure:
    """Stacked bars: `parts` maps a quantity to the amount in every part; each bar is scaled to 100 percent."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.6))
    left = np.zeros(len(parts))
    behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
    names = next(iter(parts.values()))
    for name, color, hatch in zip(names, plots.PALETTE, _HATCHES * 2, strict=False):
        values = np.array([100 * amounts[name] / sum(amounts.values()) for amounts in parts.values()])
        ax.barh(list(parts), values, 0.6, left, label=name, color=color, hatch=hatch, edgecolor="white")
        for y, value in enumerate(values):
            if value >= 6:
                ax.text(left[y] + value / 2, y, f"{value:.0f}", ha="center", va="center", fontsize=11, bbox=behind)
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
    for number, (block, values) in enumerate(counted.items()):
        look = plots.look_of(block, number)
        x, y = [values[row] for row in printed], list(printed.values())
        slope, intercept = line_fit(x, y)
        ax.plot(x, y, linestyle="none", marker=look.marker, color=look.color, markersize=8)
        ends = np.array([0, max(x)])
        line = {"color": look.color, "linestyle": look.linestyle, "marker": ""}
        ax.plot(ends, intercept + slope * ends, label=f"{block}: {slope:.2f}", **line)
        if number == 0:
            for names, a, b in _clusters(zip([rows[row] for row in printed], x, y, strict=True), 0.06 * high):
                # Below the line of what was counted, which a label on a white ground would cut.
                thin = {"arrowstyle": "-", "color": plots.GREY, "linewidth": 0.8, "shrinkB": 5}
                ax.annotate(names, (a, b), (24, -34), "data", "offset points", thin, va="top", fontsize=11)
    ax.plot([0, high], [0, high], color=plots.GREY, linewidth=1, linestyle="-", marker="", label="as counted: 1")
    ax.set(xlabel="counted peak (MiB)", ylabel="printed in Table 5 (MB)", xlim=(0, 1.12 * high), ylim=(0, None))
    ax.legend(title="slope of the line", loc="lower right")
    return fig


def _clusters(points: Iterable[tuple[str, float, float]], near: float) -> list[tuple[str, float, float]]:
    """One label for points that lie too near to each other for labels of their own, at the last of them."""
    found: list[tuple[str, float, float]] = []
    for name, a, b in sorted(points, key=lambda point: point[1]):
        if found and a - found[-1][1] < near:
            name = f"{found.pop()[0]},\n{name}"
        found.append((name, a, b))
    return found


def growth(panels: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]], ylabel: str) -> Figure:
    """Double-logarithmic curves, one panel below the other: a quantity's name to its values and a curve per method."""
    fig, axes = plt.subplots(len(panels), 1, figsize=(plots.WIDTH, 2.5 * len(panels) + 0.6), squeeze=False)
    for ax, (name, (x, curves)) in zip(axes[:, 0], panels.items(), strict=True):
        for method, values in curves.items():
            ax.loglog(x, values, **_METHODS[method])
        ax.set(xlabel=name, ylabel=ylabel)
        ax.set_xticks(list(x), [f"{value:g}" for value in x])
        ax.minorticks_off()
        low, high = ax.get_ylim()
        ticks = [tick for power in range(1, 6) for tick in (10**power, 2 * 10**power, 5 * 10**power)]
        shown = [tick for tick in ticks if low <= tick <= high]
        ax.set_yticks(shown, [f"{tick:,}" for tick in shown])
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The power p of y ~ x^p, by least squares of the logarithms."""
    return line_fit(np.log(x).tolist(), np.log(y).tolist())[0]


def overheads(x: Sequence[float], curves: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Overhead in percent over a setting, one line for each method of Table 5."""
    fig, ax = plt.subplots()
    for method, values in curves.items():
        ax.plot(x, values, **_METHODS[method])
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
