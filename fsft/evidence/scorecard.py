"""The scorecard: the paper beside our runs, as tables and a figure for chapter 16.

Every function takes the ledger and returns a data frame for `fsft.figures.plots.table`, and works on an empty ledger.
Runs are cited as R1, R2, ... in the order of their files, reduced settings as S1, S2, ...
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fsft.evidence import paper
from fsft.evidence.claims import claims, judge_claim, paper_word
from fsft.evidence.comparison import (
    NAMES,
    CellComparison,
    Gain,
    compare_cell,
    device_name,
    gains,
    is_exact,
    origin,
    recipe_key,
)
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.statistics import Summary

NOTHING = "–"
_DIGITS = {"accuracy": 2, "relative gain": 1, "memory": 0, "time": 3, "memory overhead": 1, "time overhead": 1}


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
                "Runs": cite(found.runs, names),
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
        verdict = f"{unbroken(found.verdict)} ({progress})"
        rows.append((number, f"{claim.sentence} ({claim.where})", paper_word(claim), verdict))
    return pd.DataFrame(rows, columns=["No.", "Claim", "The paper's own numbers", "Verdict"])


def settings_frame(ledger: Ledger) -> pd.DataFrame:
    """What each reduced setting changes in the paper's recipe."""
    rows: dict[str, tuple[str, str, str]] = {}
    settings = setting_names(ledger)
    for result in ledger:
        if not is_exact(result):
            recipe = result["recipe"]
            what = f"{recipe['model']}, {recipe['dataset']}, {_count(recipe['epochs'], 'epoch')}{extras(recipe)}"
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
            "Method": unbroken(gain.methods[0]),
            "Comparison": unbroken(f"{gain.modes[0].upper()} − {gain.modes[1].replace('si', 'SI')}"),
            "Gain": f"{gain.difference.gain:+.2f}",
            "95 % interval": unbroken(gain.difference.interval),
            "Verdict": unbroken(f"reduced: {gain.word}"),
            "Within seeds": unbroken(gain.paired.interval) if gain.paired else "no shared seed",
            "Runs": cite(gain.runs, names),
        }
        for gain in sorted(gains(ledger), key=lambda gain: setting_order(gain, settings))
        if not gain.exact
    ]
    return pd.DataFrame(rows)


def compute_frame(ledger: Ledger) -> pd.DataFrame:
    """Runs and hours by device; on a CPU also core-hours, the hours times the threads that a run used."""
    groups: defaultdict[str, Ledger] = defaultdict(list)
    for result in ledger:
        groups[f"{result['device'].get('type', 'unknown').upper()}: {device_name(result)}"].append(result)
    rows = [(device, len(runs), wall_hours(runs), _core_text(runs)) for device, runs in sorted(groups.items())]
    total = ("all", len(ledger), wall_hours(ledger), _core_text(ledger))
    return pd.DataFrame([*rows, total], columns=["Device", "Runs", "Hours", "Core-hours of CPU"])


def wall_hours(ledger: Ledger) -> float:
    """Hours of training, as a clock on the wall counts them."""
    return math.fsum(result["seconds"] for result in ledger) / 3600


def core_hours(ledger: Ledger) -> float:
    """Hours of CPU cores: a run's time times its threads, GPU runs left out. An upper limit where runs shared cores."""
    return math.fsum(result["seconds"] * (result["threads"] or 1) for result in ledger if not _on_gpu(result)) / 3600


def gpu_hours(ledger: Ledger) -> float:
    """Hours of GPUs."""
    return wall_hours([result for result in ledger if _on_gpu(result)])


def _on_gpu(result: Result) -> bool:
    return bool(result["device"].get("type") == "cuda")


def _core_text(ledger: Ledger) -> str:
    return f"{core_hours(ledger):.1f}" if any(not _on_gpu(result) for result in ledger) else NOTHING


def runs_frame(ledger: Ledger, repository: str | None = None) -> pd.DataFrame:
    """Every run: its file (named after recipe and seed), recipe, accuracies at the last epoch, device, and commit.

    File, recipe, and commit are links when `repository`, the address on GitHub, is given.
    """
    from fsft.figures.plots import Link

    names, settings = run_names(ledger), setting_names(ledger)
    rows = []
    for result in ledger:
        commit, file = result["git"].get("commit"), f"{names[result['file']]}: {result['file']}"
        short = NOTHING if not commit else commit[:10] + (" (modified)" if result["git"].get("dirty") else "")
        at_commit = f"{repository}/tree/{commit}/fsft"
        rows.append(
            {
                "Run": Link(file, f"{repository}/blob/main/results/{result['file']}") if repository else file,
                "Recipe": Link(result["recipe_name"], at_commit) if repository and commit else result["recipe_name"],
                "Setting": "paper" if is_exact(result) else settings[setting_key(result["recipe"])],
                "Accuracy (%)": ", ".join(unbroken(f"{mode} {value:.2f}") for mode, value in result["last"].items()),
                "Device": unbroken(f"{result['device'].get('type', 'unknown')}, {result['precision']}"),
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


def extras(recipe: Mapping[str, Any]) -> str:
    """Augmentations beside crop and flip, such as ", cutout"; a distance does not show those of the paper's recipe."""
    return "".join(f", {name}" for name in recipe["augment"] if name not in ("crop", "flip"))


def setting_order(gain: Gain, settings: dict[str, str]) -> int:
    """The number of a gain's setting; exact ones come first."""
    return int(settings.get(setting_key(gain.recipe), "S0")[1:])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _printed(cell: paper.Cell) -> str:
    if cell.mean is None:
        return "no number"
    return unbroken(Summary(cell.mean, cell.sd, cell.n).text(_DIGITS[cell.quantity]))


def _summary(summary: Summary | None, quantity: str) -> str:
    return NOTHING if summary is None else unbroken(summary.text(_DIGITS[quantity]))


def unbroken(text: str) -> str:
    """With spaces at which a narrow column does not wrap."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _distance(found: CellComparison, ledger: Ledger, settings: dict[str, str]) -> str:
    """How far our runs are from the paper's recipe: not at all, or the settings of its reduced runs."""
    if found.last is not None:
        return "none"
    near = [result for result in ledger if origin(result) == found.cell.recipe and not is_exact(result)]
    numbers = {int(settings[setting_key(result["recipe"])][1:]) for result in near}
    return f"see {', '.join(_spans(numbers, 'S'))}" if numbers else NOTHING


def cite(runs: Sequence[Result], names: dict[str, str]) -> Any:
    """A link to the list of runs that counts and names these, neighbors joined: "4: R2 to R4, R7"."""
    from fsft.figures.plots import Link

    numbers = {int(names[result["file"]][1:]) for result in runs}
    if not numbers:
        return NOTHING
    first, *others = _spans(numbers, "R")
    return Link(", ".join([f"{len(numbers)}:\N{NO-BREAK SPACE}{first}", *others]), "#every-run")


def _spans(numbers: set[int], letter: str) -> list[str]:
    """Numbers with neighbors joined: ["S2 to S4", "S7"]."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    texts = (f"{letter}{span[0]}" + (f" to {letter}{span[-1]}" if span[1:] else "") for span in spans)
    return [unbroken(text) for text in texts]
