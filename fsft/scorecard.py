"""The scorecard: the paper beside our runs, as tables and a figure for chapter 16.

Every function takes the ledger and returns a data frame for `fsft.plots.table`, and works on an empty ledger. Runs are
cited as R1, R2, ... in the order of their files, reduced settings as S1, S2, ...
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fsft import paper
from fsft.claims import claims, judge_claim, paper_word
from fsft.comparison import (
    NAMES,
    VERDICTS,
    CellComparison,
    Gain,
    compare_cell,
    device_name,
    gains,
    is_exact,
    origin,
    recipe_key,
)
from fsft.results import Ledger, Result
from fsft.statistics import Summary

NOTHING = "–"
_DIGITS = {"accuracy": 2, "relative gain": 1, "memory": 0, "time": 3, "memory overhead": 1, "time overhead": 1}


def summary_frame(ledger: Ledger) -> pd.DataFrame:
    """How many of the paper's printed numbers and claims got each verdict."""
    printed = [cell for cell in paper.cells.values() if cell.mean is not None]
    numbers = Counter(compare_cell(cell, ledger).verdict for cell in printed)
    asserted = Counter(judge_claim(claim, ledger).verdict for claim in claims.values())
    rows = [(verdict, numbers[verdict], asserted[verdict]) for verdict in VERDICTS]
    return pd.DataFrame([*rows, ("all", len(printed), len(claims))], columns=["Verdict", "Numbers", "Claims"])


def evidence_frame(ledger: Ledger) -> pd.DataFrame:
    """What is behind the verdicts: runs and hours."""
    exact = sum(is_exact(result) for result in ledger)
    hours = sum(result["seconds"] for result in ledger) / 3600
    rows = [
        ("finished runs", str(len(ledger))),
        ("with the paper's recipe", str(exact)),
        ("with a reduced recipe", str(len(ledger) - exact)),
        ("hours of computing", f"{hours:.1f}"),
    ]
    return pd.DataFrame(rows, columns=["Evidence", "Amount"])


def table_frame(ledger: Ledger, table: str) -> pd.DataFrame:
    """One table of the paper ("Table 1" ... "Table 5", "Figure 4"), number by number, beside ours.

    Columns that would be empty from top to bottom are left out, so that a table without runs stays narrow.
    """
    names, settings = run_names(ledger), setting_names(ledger)
    rows = []
    for cell in (cell for cell in paper.cells.values() if cell.table == table):
        found = compare_cell(cell, ledger)
        rows.append(
            {
                "Row": cell.row,
                "Number": cell.column,
                "Paper": _printed(cell),
                "Ours, last epoch": _summary(found.last, cell.quantity),
                "Verdict": found.verdict + (f" ({found.note})" if found.note else ""),
                "Best epoch": _summary(found.best, cell.quantity),
                "Distance": _distance(found, ledger, settings),
                "Runs": _cite(found.runs, names),
            }
        )
    frame = pd.DataFrame(rows)
    optional = ["Best epoch", "Distance", "Runs"]
    return frame.drop(columns=[column for column in optional if set(frame[column]) == {NOTHING}])


def claims_frame(ledger: Ledger) -> pd.DataFrame:
    """Every claim with what the paper's own numbers and our runs say about it."""
    rows = []
    for number, claim in enumerate(claims.values(), start=1):
        found = judge_claim(claim, ledger)
        progress = f"{found.run} of {len(claim.pairs)} run, {found.held} hold" if claim.pairs else "pictures"
        verdict = f"{_unbroken(found.verdict)} ({progress})"
        rows.append((number, f"{claim.sentence} ({claim.where})", paper_word(claim), verdict))
    return pd.DataFrame(rows, columns=["No.", "Claim", "The paper's own numbers", "Verdict"])


def settings_frame(ledger: Ledger) -> pd.DataFrame:
    """What each reduced setting changes in the paper's recipe."""
    rows: dict[str, tuple[str, str, str]] = {}
    settings = setting_names(ledger)
    for result in ledger:
        if not is_exact(result):
            recipe = result["recipe"]
            what = f"{recipe['model']}, {recipe['dataset']}, {_count(recipe['epochs'], 'epoch')}"
            name = settings[setting_key(recipe)]
            rows.setdefault(name, (name, what, distance_text(result["distance"])))
    columns = ["Setting", "Model, data, budget", "Distance from the paper's recipe (paper → ours)"]
    return pd.DataFrame(list(rows.values()), columns=columns)


def gains_frame(ledger: Ledger) -> pd.DataFrame:
    """The comparisons of reduced runs, each at equal budget, with words of their own."""
    settings, names = setting_names(ledger), run_names(ledger)
    rows = [
        {
            "Setting": settings[setting_key(gain.recipe)],
            "Comparison": _unbroken(f"{gain.modes[0].upper()} − {gain.modes[1].replace('si', 'SI')}"),
            "Gain": f"{gain.difference.gain:+.2f}",
            "95 % interval": _unbroken(gain.difference.interval),
            "Verdict": _unbroken(f"reduced: {gain.word}"),
            "Within seeds": _unbroken(gain.paired.interval) if gain.paired else "no shared seed",
            "Runs": _cite(gain.runs, names),
        }
        for gain in sorted(gains(ledger), key=lambda gain: setting_order(gain, settings))
        if not gain.exact
    ]
    return pd.DataFrame(rows)


def compute_frame(ledger: Ledger) -> pd.DataFrame:
    """Runs and hours by device."""
    hours: defaultdict[str, float] = defaultdict(float)
    runs: Counter[str] = Counter()
    for result in ledger:
        device = f"{result['device'].get('type', 'unknown').upper()}: {device_name(result)}"
        hours[device] += result["seconds"] / 3600
        runs[device] += 1
    rows = [(device, runs[device], hours[device]) for device in sorted(hours)]
    return pd.DataFrame([*rows, ("all", len(ledger), float(sum(hours.values())))], columns=["Device", "Runs", "Hours"])


def runs_frame(ledger: Ledger, repository: str | None = None) -> pd.DataFrame:
    """Every run: its file (named after recipe and seed), accuracies at the last epoch, device, and commit.

    File and commit are links when `repository`, the address on GitHub, is given.
    """
    from fsft.plots import Link

    names, settings = run_names(ledger), setting_names(ledger)
    rows = []
    for result in ledger:
        commit, file = result["git"].get("commit"), f"{names[result['file']]}: {result['file']}"
        short = NOTHING if not commit else commit[:10] + (" (modified)" if result["git"].get("dirty") else "")
        rows.append(
            {
                "Run": Link(file, f"{repository}/blob/main/results/{result['file']}") if repository else file,
                "Setting": "paper" if is_exact(result) else settings[setting_key(result["recipe"])],
                "Accuracy (%)": ", ".join(_unbroken(f"{mode} {value:.2f}") for mode, value in result["last"].items()),
                "Device": _unbroken(f"{result['device'].get('type', 'unknown')}, {result['precision']}"),
                "Hours": result["seconds"] / 3600,
                "Commit": Link(short, f"{repository}/commit/{commit}") if repository and commit else short,
            }
        )
    return pd.DataFrame(rows)


def inconsistencies_frame() -> pd.DataFrame:
    """Where the paper disagrees with itself."""
    return pd.DataFrame(paper.inconsistencies, columns=["Where", "In one place", "In another"])


def run_names(ledger: Ledger) -> dict[str, str]:
    """Short names for citing runs, by file."""
    return {result["file"]: f"R{number}" for number, result in enumerate(ledger, start=1)}


def setting_names(ledger: Ledger) -> dict[str, str]:
    """Short names for citing reduced settings: what stays of a recipe without its name and method."""
    keys = dict.fromkeys(setting_key(result["recipe"]) for result in ledger if not is_exact(result))
    return {key: f"S{number}" for number, key in enumerate(keys, start=1)}


def distance_text(distance: dict[str, Any]) -> str:
    """Such as "epochs 300 → 30, model resnet56 → resnet20"; "none" for the paper's recipe."""
    changes = [f"{field} {_plain(there)} → {_plain(here)}" for field, (there, here) in sorted(distance.items())]
    return ", ".join(changes) or "none"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "nothing"
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def setting_key(recipe: Mapping[str, Any]) -> str:
    """A recipe without its name and method, as text: runs with equal keys share a setting."""
    return recipe_key(recipe, (*NAMES, "method"))


def setting_order(gain: Gain, settings: dict[str, str]) -> int:
    """The number of a gain's setting; exact ones come first."""
    return int(settings.get(setting_key(gain.recipe), "S0")[1:])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _printed(cell: paper.Cell) -> str:
    if cell.mean is None:
        return "no number"
    return _unbroken(Summary(cell.mean, cell.sd, cell.n).text(_DIGITS[cell.quantity]))


def _summary(summary: Summary | None, quantity: str) -> str:
    return NOTHING if summary is None else _unbroken(summary.text(_DIGITS[quantity]))


def _unbroken(text: str) -> str:
    """With spaces at which a narrow column does not wrap."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _distance(found: CellComparison, ledger: Ledger, settings: dict[str, str]) -> str:
    """How far our runs are from the paper's recipe: not at all, or the settings of its reduced runs."""
    if found.last is not None:
        return "none"
    near = [result for result in ledger if origin(result) == found.cell.recipe and not is_exact(result)]
    names = dict.fromkeys(settings[setting_key(result["recipe"])] for result in near)
    return f"see {', '.join(names)}" if names else NOTHING


def _cite(runs: Sequence[Result], names: dict[str, str]) -> str:
    """The runs' short names, counted and with neighbors joined: "4: R2 to R4, R7"."""
    numbers = sorted({int(names[result["file"]][1:]) for result in runs})
    if not numbers:
        return NOTHING
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    cited = [f"R{span[0]}" + (f" to R{span[-1]}" if span[1:] else "") for span in spans]
    return ", ".join(map(_unbroken, [f"{len(numbers)}: {cited[0]}", *cited[1:]]))
