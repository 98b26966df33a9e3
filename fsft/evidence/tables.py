"""The scorecard: the paper beside our runs, as tables for chapter 16, and the words for recipes.

Every function on a ledger returns a data frame for `fsft.figures.plots.table`, and works on an empty ledger. Runs are
cited as R1, R2, ... in the order of their files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from fsft.catalog import recipes
from fsft.evidence import paper
from fsft.evidence.assertions import claims, findings, judge, paper_word
from fsft.evidence.comparison import compare_cell, device_name, gains, is_exact
from fsft.evidence.ledger import Ledger, Run
from fsft.evidence.statistics import Summary, welch
from fsft.methods import METHODS
from fsft.recipe import Recipe

NOTHING = "–"
PAPER = "The paper, 300 epochs"
SCORECARD = "16_scorecard.html"
CHAPTERS = {"3": "03_inference", "4": "04_first_run", "13": "13_beta_and_budget", "14": "14_other_masks"}
MASKS_ALONE = "masks alone (eq. 2)"
_PARTS = {
    ("after-layer3", "quadrants"): MASKS_ALONE,
    ("after-layer3", "none"): "neither: the baseline",
    ("fsft", "none"): "second classifier alone",
}
_DATASETS = {"cifar100": "CIFAR-100", "tiny-imagenet": "tiny-ImageNet"}
_OPTIONS = {"classes": "classes at hand", "image_size": ""}
_OPTIONAL = ("Best epoch", "Runs", "Reduced runs")  # columns
_DIGITS = {"accuracy": 2, "relative gain": 1, "memory": 0, "time": 3, "memory overhead": 1, "time overhead": 1}


@dataclass(frozen=True)
class Link:
    """A table cell that links to a page of the book (`09_x.html#part`) or to an https address."""

    text: str
    href: str

    def __post_init__(self) -> None:
        if ":" in self.href and not self.href.startswith("https://"):
            raise ValueError(f"a link is relative or starts with https://, found {self.href!r}")

    def __str__(self) -> str:
        return self.text


# The tables


def table_frame(ledger: Ledger, table: str) -> pd.DataFrame:
    """One table of the paper ("Table 1" ... "Table 5", "Figure 4"), number by number, beside ours; no empty columns."""
    return _numbers(ledger, [cell for cell in paper.cells.values() if cell.table == table]).drop(columns="Table")


def numbers_frame(ledger: Ledger, run: bool) -> pd.DataFrame:
    """All of the paper's numbers that have run, or all that have not, but for percentages of two others."""
    cells = [cell for cell in paper.cells.values() if not cell.derived]
    return _numbers(ledger, [cell for cell in cells if (compare_cell(cell, ledger).last is not None) == run])


def _numbers(ledger: Ledger, cells: Sequence[paper.Cell]) -> pd.DataFrame:
    names = run_names(ledger)
    rows = []
    for cell in cells:
        found = compare_cell(cell, ledger)
        digits = _DIGITS[cell.quantity]
        rows.append(
            {
                "Table": cell.table,
                "Row": cell.row,
                "Number": cell.column,
                "Paper": _summary(cell.printed, digits, "no number"),
                "Ours, last epoch": _summary(found.last, digits),
                "Verdict": found.verdict + (f" ({found.note})" if found.note else ""),
                "Best epoch": _summary(found.best, digits),
                "Runs": cite(found.runs, names),
                "Reduced runs": cite(_reduced(cell, ledger), names),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.drop(columns=[name for name in _OPTIONAL if rows and set(frame[name]) == {NOTHING}])


def _reduced(cell: paper.Cell, ledger: Ledger) -> list[Run]:
    """The reduced runs of a number's data set and method, whose accuracy is no substitute for it."""
    recipe = recipes[cell.recipe]
    same = [run for run in ledger if (run.recipe.dataset, run.recipe.method) == (recipe.dataset, recipe.method)]
    wanted = [run for run in same if (run.recipe.augment, run.recipe.masks) == (recipe.augment, recipe.masks)]
    return [run for run in wanted if run.recipe.beta == recipe.beta and not is_exact(run)]


def claims_frame(ledger: Ledger) -> pd.DataFrame:
    """Every claim with what the paper's own numbers and our runs say about it."""
    rows = []
    for number, claim in enumerate(claims.values(), start=1):
        found = judge(claim, ledger)
        holding = f"{len(found.found)} of {len(claim.comparisons)} run, {found.by_interval.count(True)} hold"
        verdict = f"{unbroken(found.verdict)} ({holding if claim.comparisons else 'pictures'})"
        rows.append((number, f"{claim.sentence} ({claim.where})", paper_word(claim), verdict))
    return pd.DataFrame(rows, columns=["No.", "Claim", "The paper's own numbers", "Verdict"])


def findings_frame(ledger: Ledger) -> pd.DataFrame:
    """Every finding of ours with its word, what is behind it, its chapter, and its runs."""
    names, rows = run_names(ledger), []
    for finding in findings.values():
        judged = judge(finding, ledger)
        chapter = Link(f"chapter {finding.where}", f"{CHAPTERS[finding.where]}.html")
        rows.append((finding.sentence, unbroken(judged.verdict), judged.strength, chapter, cite(judged.runs, names)))
    return pd.DataFrame(rows, columns=["Finding", "Verdict", "Evidence", "Where", "Runs"])


def gains_frame(ledger: Ledger) -> pd.DataFrame:
    """Every gain over a baseline of equal budget, at the last epoch: the paper's, then ours by setting (`group`).

    `gain`, `low` and `high` are in points (NaN without an interval), `fitted` the baseline's accuracy on its training
    images in percent (NaN where older runs do not tell). The paper prints none: there it is the baseline's test
    accuracy, a lower bound, because a network names images that it was trained on at least as well as others.
    """
    names, rows = run_names(ledger), []
    for gain in gains(ledger):
        head = setting_name(gain.recipe), part_name(gain.recipe), gain.mode
        rows.append((*head, gain.difference, gain.fitted, cite(gain.runs, names)))
    rows.sort(key=lambda row: row[:2])
    for key, cell in reversed(paper.cells.items()):
        if cell.mode != "baseline" and cell.table in ("Table 1", "Table 3", "Table 4"):
            base = paper.cells[f"{key.rsplit('/', 1)[0]}/baseline"]
            assert base.printed is not None and cell.printed is not None
            rows.insert(0, (PAPER, cell.row, cell.mode, welch(cell.printed, base.printed), base.mean, NOTHING))
    found = [(*head, one.gain, one.low, one.high, min(one.n), fitted, runs) for *head, one, fitted, runs in rows]
    columns = ["group", "label", "mode", "gain", "low", "high", "seeds", "fitted", "runs"]
    return pd.DataFrame(found, columns=columns).astype({"low": float, "high": float, "fitted": float})


def compute_frame(ledger: Ledger) -> pd.DataFrame:
    """Runs and hours by device; core-hours are the hours times the threads that a run on a CPU used.

    Hours are those of a clock on the wall, so where runs shared cores, core-hours are an upper limit.
    """
    rows = []
    for run in ledger:
        hours, on_gpu = run.seconds / 3600, run.device.get("type") == "cuda"
        device = f"{run.device.get('type', 'unknown').upper()}: {device_name(run)}"
        rows.append((device, 1, hours, 0.0 if on_gpu else hours * (run.raw["threads"] or 1)))
    frame = pd.DataFrame(rows, columns=["Device", "Runs", "Hours", "Core-hours of CPU"])
    total = frame.assign(Device="all").groupby("Device", as_index=False).sum()
    return pd.concat([frame.groupby("Device", as_index=False).sum(), total], ignore_index=True)


def runs_frame(ledger: Ledger, repository: str | None = None) -> pd.DataFrame:
    """Every run: its file (named after recipe and seed), recipe, accuracies at the last epoch, device, and commit.

    Recipe and commit are links when `repository`, the address on GitHub, is given; the file is one to its copy beside
    the pages otherwise.
    """
    names, rows = run_names(ledger), []
    for run in ledger:
        git, name = run.raw["git"], run.recipe.name
        commit, file = git.get("commit"), f"{names[run.file]}: {run.file}"
        short = NOTHING if not commit else commit[:10] + (" (modified)" if git.get("dirty") else "")
        at_commit = f"{repository}/tree/{commit}/fsft"
        rows.append(
            {
                "Run": Link(file, f"{f'{repository}/blob/HEAD' if repository else '..'}/results/{run.file}"),
                "Recipe": Link(name, at_commit) if repository and commit else name,
                "Setting": "the paper's" if is_exact(run) else setting_name(run.recipe),
                "Accuracy (%)": ", ".join(unbroken(f"{mode} {value:.2f}") for mode, value in run.last.items()),
                "Device": unbroken(f"{run.device.get('type', 'unknown')}, {run.raw['precision']}"),
                "Hours": run.seconds / 3600,
                "Commit": Link(short, f"{repository}/commit/{commit}") if repository and commit else short,
            }
        )
    frame = pd.DataFrame(rows)
    frame.attrs["anchors"] = list(names.values())
    return frame


def inconsistencies_frame() -> pd.DataFrame:
    """Where the paper disagrees with itself."""
    return pd.DataFrame(paper.inconsistencies, columns=["Where", "In one place", "In another"])


# Names and texts


def run_names(ledger: Ledger) -> dict[str, str]:
    """Short names for citing runs, by file."""
    return {run.file: f"R{number}" for number, run in enumerate(ledger, start=1)}


def setting_name(recipe: Recipe) -> str:
    """Data, network and budget, such as "CIFAR-100, 100 a class, ResNet-20, 30 epochs": the catalog's never share one.

    Weight decay and rate are named where they are not usual for the schedule, blocks where a network could have others.
    """
    options = [_OPTIONS.get(name, f"{name.replace('_', ' ')} {value}") for name, value in recipe.dataset_options]
    data = " ".join([_DATASETS.get(recipe.dataset, recipe.dataset), *(f"({text})" for text in options if text)])
    images = "" if recipe.images_per_class is None else f", {recipe.images_per_class} a class"
    block = " bottleneck" if recipe.block == "bottleneck" else ""
    network = recipe.model.replace("resnet", "ResNet-") + block
    usual = {"lr": 0.2, "weight_decay": 5e-4} if recipe.schedule == "onecycle" else {"lr": 0.1, "weight_decay": 1e-4}
    changed = [
        f"{name.replace('_', ' ')} {getattr(recipe, name):g}" for name in usual if getattr(recipe, name) != usual[name]
    ]
    added = [name.capitalize() for name in recipe.augment if name not in ("crop", "flip")]
    return ", ".join([f"{data}{images}", network, f"{recipe.epochs} epochs", *changed, *added])


def part_name(recipe: Recipe) -> str:
    """What was trained, such as "FSFT, heads × 5": the method, and where its parts are not the paper's."""
    name = _PARTS.get((recipe.method, recipe.masks)) or METHODS[recipe.method].label
    masks = f", {recipe.masks}" if recipe.masks not in ("quadrants", "none") else ""
    heads = f", heads × {recipe.head_lr_scale:g}" if recipe.head_lr_scale != 1 else ""
    beta = f", β = {recipe.beta:g}" if recipe.beta != 1 else ""
    temperature = f", temperature {recipe.temperature:g}" if recipe.temperature != 1 else ""
    return f"{name}{masks}{heads}{beta}{temperature}"


def distance_sentence(recipe: Recipe) -> str:
    """How far a training is from the paper's, such as "Distance from table1/resnet56/fsft (paper → here): none."."""
    fields = sorted(recipe.distance().items())
    changes = ", ".join(f"{field} {_plain(there)} → {_plain(here)}" for field, (there, here) in fields)
    return f"Distance from {recipe.origin or recipe.name} (paper → here): {changes or 'none'}."


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "nothing"
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _summary(summary: Summary | None, digits: int, nothing: str = NOTHING) -> str:
    return nothing if summary is None else unbroken(summary.text(digits))


def unbroken(text: str) -> str:
    """With spaces at which a narrow column does not wrap."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def cite(runs: Sequence[Run], names: dict[str, str]) -> Any:
    """Counts and names runs, neighbors joined, "4: R2 to R4, R7": a link to the first one's row in the list."""
    numbers = {int(names[run.file][1:]) for run in runs}
    if not numbers:
        return NOTHING
    # Neighbors have the same distance from their places in the list.
    groups = groupby(enumerate(sorted(numbers)), lambda at: at[1] - at[0])
    spans = [[number for _, number in group] for _, group in groups]
    texts = [unbroken(f"R{span[0]}" + (f" to R{span[-1]}" if span[1:] else "")) for span in spans]
    return Link(f"{len(numbers)}:\N{NO-BREAK SPACE}{', '.join(texts)}", f"{SCORECARD}#R{min(numbers)}")
