"""The figure of chapter 16: the paper's gains and ours in one plot, with their intervals (a forest plot)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fsft.evidence import paper
from fsft.evidence.comparison import Gain, gains
from fsft.evidence.ledger import Ledger
from fsft.evidence.statistics import Summary, welch
from fsft.evidence.tables import extras, setting_key, setting_names, setting_order
from fsft.figures import plots
from fsft.recipe import Recipe

MOST_SETTINGS = 8


def gain_figure(ledger: Ledger, mode: str = "si") -> tuple[Figure, str]:
    """The gain of one inference mode over the baseline, the paper's and ours, with 95 % intervals; figure and alt text.

    Rows are the models and data sets of Tables 1, 3, and 4, then the reduced settings of FSFT alone with beta = 1 and
    the quadrants, at most eight, those with the most runs and the longest training.
    """
    rows = _paper_gains(mode)
    found = [gain for gain in gains(ledger) if gain.modes == (mode, "baseline")]
    ours = {f"{gain.runs[0].origin.rsplit('/', 1)[0]}/{mode}": gain for gain in found if gain.exact}
    settings = setting_names(ledger)
    small = [gain for gain in found if not gain.exact and gain.usual_form and gain.methods[0] in ("fsft", "fsft-sd")]
    known = sorted(small, key=lambda gain: (-len(gain.runs), -_images_seen(gain)))
    chosen = sorted(known[:MOST_SETTINGS], key=lambda gain: setting_order(gain, settings))
    reduced = {f"{settings[setting_key(gain.recipe)]}: {_budget(gain.recipe)}": gain for gain in chosen}
    labels = [*(label for label, _ in rows.values()), *reduced]
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 1.4 + 0.36 * len(labels)))
    ax.axvline(0, color=plots.GREY, linewidth=1)
    printed = [(y, gain) for y, (_, gain) in enumerate(rows.values())]
    own = [(y + 0.22, ours[key].difference) for y, key in enumerate(rows) if key in ours]
    short = [(y, gain.difference) for y, gain in enumerate(reduced.values(), start=len(rows))]
    _intervals(ax, printed, "paper", plots.BLACK, "s", "white")
    _intervals(ax, own, "ours, the paper's recipe", plots.VERMILION, "o", plots.VERMILION)
    _intervals(ax, short, "ours, reduced recipe", plots.BLUE, "D", plots.BLUE)
    if reduced:
        ax.axhline(len(rows) - 0.5, color=plots.GREY, linewidth=1, linestyle=":")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel("gain over the baseline (points of test accuracy)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    alt = _gain_alt(plots.METHODS[mode].label, rows, ours, reduced)
    return fig, alt + (f" {len(known) - len(chosen)} more settings are in the tables." if known[len(chosen) :] else "")


def _paper_gains(mode: str) -> dict[str, tuple[str, Any]]:
    """By cell: the row's label and the paper's gain over its baseline, with Welch's interval."""
    rows = {}
    for key, cell in paper.cells.items():
        if cell.mode == mode and cell.table in ("Table 1", "Table 3", "Table 4"):
            base = paper.cells[f"{key.rsplit('/', 1)[0]}/baseline"]
            sides = [Summary(side.mean or 0.0, side.sd, side.n) for side in (cell, base)]
            rows[key] = (cell.row, welch(sides[0], sides[1]))
    return rows


def _budget(recipe: Recipe) -> str:
    heads = "" if recipe.head_lr_scale == 1 else f", ×{recipe.head_lr_scale:g}"
    return f"{recipe.model}, {recipe.epochs} ep.{heads}{extras(recipe)}"


def _images_seen(gain: Gain) -> int:
    return max(run.raw["data"]["train_images"] for run in gain.runs) * gain.recipe.epochs


def _intervals(ax: Any, points: Iterable[tuple[float, Any]], label: str, color: str, marker: str, face: str) -> None:
    for number, (y, difference) in enumerate(points):
        if difference.low is not None:
            ax.plot([difference.low, difference.high], [y, y], color=color, marker="|", linestyle="-", linewidth=1.5)
        name = label if number == 0 else "_"
        ax.plot(difference.gain, y, marker, color=color, markerfacecolor=face, linestyle="none", label=name)


def _gain_alt(label: str, rows: dict[str, tuple[str, Any]], ours: dict[str, Gain], reduced: dict[str, Gain]) -> str:
    printed = ", ".join(f"{name} {gain.gain:+.2f}" for name, gain in rows.values())
    parts = [f"Gains of {label} over the baseline in points of test accuracy with 95 % intervals. Paper: {printed}."]
    own = [f"{rows[key][0]} {_spoken(gain)}" for key, gain in ours.items() if key in rows]
    parts.append(f"Ours, the paper's recipe: {', '.join(own) or 'no run yet'}.")
    small = [f"{label} {_spoken(gain)}" for label, gain in reduced.items()]
    parts.append(f"Ours, reduced recipes: {', '.join(small) or 'no run yet'}.")
    return " ".join(parts)


def _spoken(gain: Gain) -> str:
    return f"{gain.difference.gain:+.2f} (95 % interval {gain.difference.interval})"
