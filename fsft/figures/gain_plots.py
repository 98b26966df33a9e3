"""Figures of chapters 13 and 16: the weight beta, gains by what the baseline has fitted, and all gains (a forest plot).

They take frames, and know no ledger.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fsft.evidence.statistics import SEEDS
from fsft.figures import plots

_SHIFT = 0.42  # lines of text in a forest plot, from one inference mode to the next


def forest(gains: pd.DataFrame) -> tuple[Figure, str]:
    """Every gain over a baseline with its 95 % interval, the paper's and ours; figure and alt text.

    `gains` has a row a gain, with `group` (a heading), `label` (a row of the figure, unique in its group), `mode` (of
    inference), `gain`, `low` and `high` in points (NaN without an interval), and `seeds`. Hollow markers, without their
    intervals, have fewer than `SEEDS` on a side: in points, such an interval can be wider than all gains together.
    """
    places: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    height = 0.0  # in lines of text
    for group, label in dict.fromkeys(zip(gains["group"], gains["label"], strict=True)):
        if group not in headings:
            headings[group], height = _next_row(height, _heading(group))
        places[group, label], height = _next_row(height, _row_name(label))
    fig, ax = plt.subplots(figsize=(plots.PHONE_WIDTH, 1.5 + 0.165 * height))
    ax.axvline(0, color=plots.GREY, linewidth=1)
    drawn = _settled(gains)
    for mode in (mode for mode in plots.LOOKS if mode in set(gains["mode"])):
        look, here = plots.LOOKS[mode], drawn[drawn["mode"] == mode]
        shift = {"si": -1, "sd": 1}.get(mode, 0) * _SHIFT if gains["mode"].nunique() > 1 else 0
        y = np.array([places[key] + shift for key in zip(here["group"], here["label"], strict=True)])
        ax.hlines(y, here["low"], here["high"], color=look.color, linewidth=1.2)
        _points(ax, here["gain"], y, here["low"].isna(), look, markersize=5)
        ax.plot([], [], look.marker, color=look.color, label=look.label.removeprefix("FSFT-"))
    left: Any = ("figure fraction", "data")
    on_white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # over the axis and the lines of the grid
    for heading, top in headings.items():
        place: dict[str, Any] = {"xycoords": left, "va": "center", "fontsize": 10.5, "weight": "bold"}
        ax.annotate(_heading(heading), (0.01, top), bbox=on_white, **place)
    ax.set_yticks(list(places.values()), [_row_name(label) for _, label in places], fontsize=11)
    ax.set_ylim(height + 0.3, -0.3)
    ends = drawn[["gain", "low", "high"]].to_numpy(float)
    ax.set_xlim(min(0.0, np.nanmin(ends)) - 1, max(0.0, np.nanmax(ends)) + 1)
    ax.grid(False, axis="y")
    ax.set_xlabel("gain over the baseline (points)", fontsize=11)
    fig.legend(loc="outside upper center", ncols=2, fontsize=11)
    parts = ["Gains over the baseline in points of test accuracy with 95 % intervals."]
    for group in headings:
        here = gains[gains["group"] == group]
        listed = [f"{row.label}, {str(row.mode).upper()} {row.gain:+.2f}{_interval(row)}" for row in here.itertuples()]
        parts.append(f"{group}: {'; '.join(listed)}.")
    return fig, " ".join(parts)


def _heading(group: str) -> str:
    return textwrap.fill(group, 46)


def _row_name(label: str) -> str:
    return textwrap.fill(re.sub(" ([×=]) ", "\u00a0\\1\u00a0", label), 21)  # "heads × 5" stays on one line


def _next_row(top: float, text: str) -> tuple[float, float]:
    """The middle and the end of a row that holds this text, in lines from the top of the figure."""
    lines = text.count("\n") + 1
    return top + (lines + 0.7) / 2, top + lines + 0.7


def _settled(gains: pd.DataFrame) -> pd.DataFrame:
    """The gains without the intervals of fewer than `SEEDS` on a side."""
    return gains.assign(**{end: gains[end].where(gains["seeds"] >= SEEDS) for end in ("low", "high")})


def _points(ax: Axes, x: pd.Series, y: Any, unsettled: pd.Series, look: plots.Look, **options: Any) -> None:
    """Markers, hollow where a gain has no interval that is drawn."""
    for hollow, face in ((False, look.color), (True, "white")):
        here = (unsettled == hollow).to_numpy()
        ax.plot(x[here], y[here], look.marker, color=look.color, markerfacecolor=face, **options)


def _interval(row: Any) -> str:
    return " (no interval)" if np.isnan(row.low) else f" ({row.low:+.2f} to {row.high:+.2f})"


def gain_by_fit(gains: pd.DataFrame, paper: str) -> tuple[Figure, str]:
    """Gain over the baseline against the baseline's accuracy on its training images; figure and alt text.

    `gains` has the columns of `forest`, and `fitted`, that accuracy in percent, which need not be known (NaN). In the
    group called `paper` it is a lower bound: a line leads from there to 100. Hollow markers are those of `forest`.
    """
    gains = _settled(gains[gains["fitted"].notna()])
    printed, ours = (gains[(gains["group"] == paper) == side] for side in (True, False))
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 5.0))
    reach = 1.3 * float(gains[["gain", "low", "high"]].abs().max().max())
    ax.axhspan(0, reach, color=plots.SKY, alpha=0.15, linewidth=0)
    ax.axhspan(-reach, 0, color=plots.ORANGE, alpha=0.12, linewidth=0)
    ax.axhline(0, color=plots.BLACK, linewidth=1.2)
    for side, va, text in ((0.985, "top", "ahead of the baseline"), (0.015, "bottom", "behind the baseline")):
        ax.text(0.015, side, text, transform=ax.transAxes, va=va, fontsize=11, weight="bold")
    ax.hlines(printed["gain"], printed["fitted"], 100, color=plots.GREY, linewidth=1.5, label="the paper: on this line")
    parts = []
    place = ours.groupby(ours["fitted"].round())
    beside = place.cumcount() - (place["gain"].transform("size") - 1) / 2
    for number, (label, rows) in enumerate(ours.groupby("label")):
        look = plots.look_of(str(label), number)
        x = rows["fitted"] + 0.45 * beside[rows.index]  # else one marker would hide the next
        ax.vlines(x, rows["low"], rows["high"], color=look.color, linewidth=1.5)
        _points(ax, x, rows["gain"], rows["low"].isna(), look)
        ax.plot([], [], look.marker, color=look.color, mfc="white" if rows["low"].isna().all() else None, label=label)
        listed = [f"{row.group}, {row.gain:+.2f} at {row.fitted:.0f} %{_interval(row)}" for row in rows.itertuples()]
        parts.append(f"{label}: {'; '.join(listed)}.")
    ax.set(xlim=(gains["fitted"].min() - 6, 103), ylim=(-reach, reach))
    ax.set(xlabel="the baseline's accuracy on its training images (%)", ylabel="gain over the baseline (points)")
    fig.legend(loc="outside lower center", ncols=2)
    theirs = [f"{row.label} {row.gain:+.2f} between {row.fitted:.0f} and 100 %" for row in printed.itertuples()]
    return fig, (
        "Gain over the baseline against the baseline's accuracy on its training images. "
        f"{' '.join(parts) or 'No run of ours yet.'} The paper: {', '.join(theirs)}."
    )


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
