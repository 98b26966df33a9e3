"""The scorecard: the paper beside our runs, as tables for chapter 16, and its first screen.

Every function takes the ledger and returns a data frame for `fsft.figures.plots.table`, and works on an empty ledger.
Runs are cited as R1, R2, ... in the order of their files, reduced settings as S1, S2, ...
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fsft.evidence import paper
from fsft.evidence.assertions import FINDING_WORDS, claims, findings, judge, paper_word
from fsft.evidence.comparison import (
    METHOD_FIELDS,
    VERDICTS,
    CellComparison,
    Gain,
    compare_cell,
    device_name,
    gains,
    is_exact,
    recipe_key,
)
from fsft.evidence.ledger import Ledger, Run
from fsft.evidence.statistics import Summary, welch
from fsft.methods import METHODS
from fsft.recipe import Recipe

NOTHING = "–"
CHAPTERS = {"4": "04_first_run.html", "13": "13_beta_and_budget.html", "14": "14_other_masks.html"}
_DATASETS = {"cifar100": "CIFAR-100", "tiny-imagenet": "tiny-ImageNet"}
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


# The first screen


def one_screen(ledger: Ledger) -> pd.DataFrame:
    """What has been reproduced, what has not, and how strong the evidence is: five rows."""
    cells = _printed_numbers(ledger)
    judged = [judge(claim, ledger) for claim in claims.values()]
    own = [judge(finding, ledger) for finding in findings.values()]
    exact = sum(is_exact(run) for run in ledger)
    rows = [
        (
            f"The paper's {len(cells)} printed numbers",
            _counted((found.verdict for found in cells), VERDICTS),
            _seeds([found.last.n for found in cells if found.last is not None]),
        ),
        (
            f"The paper's {len(claims)} claims",
            _counted((found.verdict for found in judged), VERDICTS),
            f"{sum(len(one.found) for one in judged)} of {sum(len(one.differences) for one in judged)} comparisons run",
        ),
        ("FSFT against its baseline at equal budget, reduced recipes", *_reduced(ledger)),
        (
            f"Our {len(findings)} findings about reduced runs",
            _counted((found.verdict for found in own), FINDING_WORDS),
            _seeds([min(difference.n) for found in own for difference in found.found]),
        ),
        (
            "Finished runs",
            f"{exact} with the paper's recipe, {len(ledger) - exact} with a reduced one",
            f"{core_hours(ledger):.1f} core-hours of CPU, {gpu_hours(ledger):.1f} hours of GPU",
        ),
    ]
    return pd.DataFrame(rows, columns=["What", "So far", "Strength of the evidence"])


def headline(ledger: Ledger) -> str:
    """The scorecard in two sentences, for a reader who stops there."""
    cells = _printed_numbers(ledger)
    words = Counter(found.verdict for found in cells)
    if words["not run"] == len(cells):
        first = f"None of the paper's {len(cells)} numbers has been put to the test yet: no run has the paper's recipe."
    else:
        first = (
            f"Of the paper's {len(cells)} numbers, {words['reproduced']} are reproduced and "
            f"{words['not reproduced']} are not; the runs of {words['inconclusive']} do not decide, "
            f"and {words['not run']} have not run."
        )
    ahead, strength = _reduced(ledger)
    if ahead == NOTHING:
        return first
    which = "Reduced runs" if words["reproduced"] + words["not reproduced"] else "Reduced runs alone"
    return f"{first} {which} compare FSFT with its baseline at equal budget: {ahead} ({strength})."


def _printed_numbers(ledger: Ledger) -> list[CellComparison]:
    return [compare_cell(cell, ledger) for cell in paper.cells.values() if cell.mean is not None]


def _counted(words: Iterable[str], order: Sequence[str]) -> str:
    counts = Counter(words)
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word]) or NOTHING


def _seeds(counts: list[int]) -> str:
    """How many seeds are behind numbers or comparisons, single ones first because they give no interval."""
    if not counts:
        return "no run"
    single = sum(count == 1 for count in counts)
    if single == len(counts):
        return f"all {single} from one seed: no interval"
    least, most = min(count for count in counts if count > 1), max(counts)
    more = f"{len(counts) - single} from {least if least == most else f'{least} to {most}'} seeds"
    return f"{single} from one seed, without an interval; {more}" if single else more


def _reduced(ledger: Ledger) -> tuple[str, str]:
    """How often a reduced FSFT run was ahead of its baseline, and how many intervals decide."""
    found = [gain for gain in reduced_gains(ledger) if gain.methods[0] in ("fsft", "fsft-sd")]
    if not found:
        return NOTHING, "no run"
    texts = []
    for mode in ("si", "ag", "sd"):
        of_mode = [gain for gain in found if gain.modes[0] == mode]
        if of_mode:
            ahead = sum(gain.difference.gain > 0 for gain in of_mode)
            texts.append(f"{mode.upper()} ahead in {ahead} of {len(of_mode)}")
    decided = Counter(gain.word for gain in found)
    clear = f"the interval decides {decided['gain'] + decided['loss']} of {len(found)}"
    return ", ".join(texts), f"{clear}; {decided['no interval']} have one seed on a side"


def reduced_gains(ledger: Ledger) -> list[Gain]:
    """The gains of reduced runs over the baseline; other weights beta and masks are left to chapters 13 and 14."""
    return [one for one in gains(ledger) if one.modes[1] == "baseline" and one.usual_form and not one.exact]


# The tables


def table_frame(ledger: Ledger, table: str) -> pd.DataFrame:
    """One table of the paper ("Table 1" ... "Table 5", "Figure 4"), number by number, beside ours.

    Columns that would be empty from top to bottom are left out, so that a table without runs stays narrow.
    """
    names, settings = run_names(ledger), setting_names(ledger)
    rows = []
    for cell in (cell for cell in paper.cells.values() if cell.table == table):
        found = compare_cell(cell, ledger)
        digits = _DIGITS[cell.quantity]
        rows.append(
            {
                "Row": cell.row,
                "Number": cell.column,
                "Paper": _summary(cell.printed, digits, "no number"),
                "Ours, last epoch": _summary(found.last, digits),
                "Verdict": found.verdict + (f" ({found.note})" if found.note else ""),
                "Best epoch": _summary(found.best, digits),
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
        chapter = Link(f"chapter {finding.where}", CHAPTERS[finding.where])
        rows.append((finding.sentence, unbroken(judged.verdict), judged.strength, chapter, cite(judged.runs, names)))
    return pd.DataFrame(rows, columns=["Finding", "Verdict", "Evidence", "Where", "Runs"])


def reduced_frame(ledger: Ledger) -> pd.DataFrame:
    """The gains of reduced runs over the baseline of the same budget, one row a setting and method.

    A cell is the gain in points, with its 95 % interval, or with the words "one seed".
    """
    names = run_names(ledger)
    rows: dict[str, dict[str, Any]] = {}
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for gain in reduced_gains(ledger):
        method = METHODS[gain.methods[0]].teaches or gain.methods[0]  # one row with and without self-distillation
        method, scale = METHODS[method].label, f"× {gain.recipe.head_lr_scale:g}"
        key = f"{recipe_key(gain.recipe, *METHOD_FIELDS)} {method} {scale}"
        row = rows.setdefault(key, _setting(gain.recipe) | {"Method": method, "Rate of the heads": scale})
        note = "(one seed)" if gain.difference.low is None else gain.difference.interval
        row[gain.modes[0].upper()] = unbroken(f"{gain.difference.gain:+.2f} {note}")
        runs[key] += gain.runs
    for key, row in rows.items():
        row["Runs"] = cite(runs[key], names)
    columns = ["Data", "Network and budget", "Method", "Rate of the heads", "SI", "AG", "SD", "Runs"]
    frame = pd.DataFrame([dict.fromkeys(columns, NOTHING) | row for row in rows.values()], columns=columns)
    return frame.sort_values(columns[:4], ignore_index=True)


def _setting(recipe: Recipe) -> dict[str, str]:
    images = "all images" if recipe.images_per_class is None else f"{recipe.images_per_class} images per class"
    options = " (classes at hand)" if recipe.dataset_options else ""
    budget = f"{recipe.model}, {recipe.epochs} epochs, weight decay {recipe.weight_decay:g}{extras(recipe)}"
    data = f"{_DATASETS.get(recipe.dataset, recipe.dataset)}{options}, {images}"
    return {"Data": data, "Network and budget": budget}


def settings_frame(ledger: Ledger) -> pd.DataFrame:
    """What each reduced setting changes in the paper's recipe."""
    rows: dict[str, tuple[str, str, str]] = {}
    settings = setting_names(ledger)
    for run in ledger:
        if not is_exact(run):
            recipe = run.recipe
            epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}"
            name = settings[setting_key(recipe)]
            what = f"{recipe.model}, {recipe.dataset}, {epochs}{extras(recipe)}"
            rows.setdefault(name, (name, what, _distance_text(run.distance)))
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


def forest_frame(ledger: Ledger, mode: str) -> pd.DataFrame:
    """The gains of one inference mode in the columns that :func:`fsft.figures.gain_plots.forest` draws.

    Rows are the models and data sets of Tables 1, 3, and 4, then the reduced settings of FSFT alone with beta = 1 and
    the quadrants; those with the most runs, and of them those with the longest training, rank first.
    """
    rows = {}
    for key, cell in paper.cells.items():
        if cell.mode == mode and cell.table in ("Table 1", "Table 3", "Table 4"):
            base = paper.cells[f"{key.rsplit('/', 1)[0]}/baseline"]
            sides = [Summary(side.mean or 0.0, side.sd, side.n) for side in (cell, base)]
            rows[key] = ("paper", cell.row, welch(*sides), 0)
    labels = {key: label for key, (_, label, *_) in rows.items()}
    settings = setting_names(ledger)
    found = [gain for gain in gains(ledger) if gain.modes == (mode, "baseline")]
    exact = {f"{gain.runs[0].origin.rsplit('/', 1)[0]}/{mode}": gain for gain in found if gain.exact}
    drawn = [*rows.values(), *(("exact", labels[key], exact[key].difference, 0) for key in labels if key in exact)]
    small = [gain for gain in found if not gain.exact and gain.usual_form and gain.methods[0] in ("fsft", "fsft-sd")]
    ranked = sorted(small, key=lambda gain: (-len(gain.runs), -_images_seen(gain)))
    for gain in sorted(ranked, key=lambda gain: setting_order(gain, settings)):
        recipe = gain.recipe
        heads = "" if recipe.head_lr_scale == 1 else f", ×{recipe.head_lr_scale:g}"
        label = f"{settings[setting_key(recipe)]}: {recipe.model}, {recipe.epochs} ep.{heads}{extras(recipe)}"
        drawn.append(("reduced", label, gain.difference, ranked.index(gain)))
    return pd.DataFrame(
        [(side, label, one.gain, one.low, one.high, rank) for side, label, one, rank in drawn],
        columns=["side", "label", "gain", "low", "high", "rank"],
    ).astype({"low": float, "high": float})


def _images_seen(gain: Gain) -> int:
    return max(run.raw["data"]["train_images"] for run in gain.runs) * gain.recipe.epochs


def compute_frame(ledger: Ledger) -> pd.DataFrame:
    """Runs and hours by device; on a CPU also core-hours, the hours times the threads that a run used."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in ledger:
        groups[f"{run.device.get('type', 'unknown').upper()}: {device_name(run)}"].append(run)
    rows = [(device, len(runs), _hours(runs), _core_text(runs)) for device, runs in sorted(groups.items())]
    total = ("all", len(ledger), _hours(ledger), _core_text(ledger))
    return pd.DataFrame([*rows, total], columns=["Device", "Runs", "Hours", "Core-hours of CPU"])


def _hours(runs: Iterable[Run]) -> float:
    """Hours of training, as a clock on the wall counts them."""
    return math.fsum(run.seconds for run in runs) / 3600


def core_hours(runs: Iterable[Run]) -> float:
    """Hours of CPU cores: a run's time times its threads, GPU runs left out. An upper limit where runs shared cores."""
    return math.fsum(run.seconds * (run.raw["threads"] or 1) for run in runs if not _on_gpu(run)) / 3600


def gpu_hours(runs: Iterable[Run]) -> float:
    """Hours of GPUs."""
    return _hours(run for run in runs if _on_gpu(run))


def _on_gpu(run: Run) -> bool:
    return bool(run.device.get("type") == "cuda")


def _core_text(runs: Iterable[Run]) -> str:
    return NOTHING if all(_on_gpu(run) for run in runs) else f"{core_hours(runs):.1f}"


def runs_frame(ledger: Ledger, repository: str | None = None) -> pd.DataFrame:
    """Every run: its file (named after recipe and seed), recipe, accuracies at the last epoch, device, and commit.

    File, recipe, and commit are links when `repository`, the address on GitHub, is given.
    """
    names, settings = run_names(ledger), setting_names(ledger)
    rows = []
    for run in ledger:
        git, name = run.raw["git"], run.recipe.name
        commit, file = git.get("commit"), f"{names[run.file]}: {run.file}"
        short = NOTHING if not commit else commit[:10] + (" (modified)" if git.get("dirty") else "")
        at_commit = f"{repository}/tree/{commit}/fsft"
        rows.append(
            {
                "Run": Link(file, f"{repository}/blob/main/results/{run.file}") if repository else file,
                "Recipe": Link(name, at_commit) if repository and commit else name,
                "Setting": "paper" if is_exact(run) else settings[setting_key(run.recipe)],
                "Accuracy (%)": ", ".join(unbroken(f"{mode} {value:.2f}") for mode, value in run.last.items()),
                "Device": unbroken(f"{run.device.get('type', 'unknown')}, {run.raw['precision']}"),
                "Hours": run.seconds / 3600,
                "Commit": Link(short, f"{repository}/commit/{commit}") if repository and commit else short,
            }
        )
    return pd.DataFrame(rows)


def inconsistencies_frame() -> pd.DataFrame:
    """Where the paper disagrees with itself."""
    return pd.DataFrame(paper.inconsistencies, columns=["Where", "In one place", "In another"])


# Names and texts


def run_names(ledger: Ledger) -> dict[str, str]:
    """Short names for citing runs, by file."""
    return {run.file: f"R{number}" for number, run in enumerate(ledger, start=1)}


def setting_names(ledger: Ledger) -> dict[str, str]:
    """Short names for citing reduced settings: what stays of a recipe without its name and method."""
    keys = dict.fromkeys(setting_key(run.recipe) for run in ledger if not is_exact(run))
    return {key: f"S{number}" for number, key in enumerate(keys, start=1)}


def setting_key(recipe: Recipe) -> str:
    """A recipe without its name and method, as text: runs with equal keys share a setting."""
    return recipe_key(recipe, "method")


def setting_order(gain: Gain, settings: dict[str, str]) -> int:
    """The number of a gain's setting; exact ones come first."""
    return int(settings.get(setting_key(gain.recipe), "S0")[1:])


def extras(recipe: Recipe) -> str:
    """Augmentations beside crop and flip, such as ", cutout"; a distance does not show those of the paper's recipe."""
    return "".join(f", {name}" for name in recipe.augment if name not in ("crop", "flip"))


def _distance_text(distance: Mapping[str, Any]) -> str:
    """Such as "epochs 300 → 30, model resnet56 → resnet20"; "none" for the paper's recipe."""
    changes = [f"{field} {_plain(there)} → {_plain(here)}" for field, (there, here) in sorted(distance.items())]
    return ", ".join(changes) or "none"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "nothing"
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _summary(summary: Summary | None, digits: int, nothing: str = NOTHING) -> str:
    return nothing if summary is None else unbroken(summary.text(digits))


def unbroken(text: str) -> str:
    """With spaces at which a narrow column does not wrap."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _distance(found: CellComparison, ledger: Ledger, settings: dict[str, str]) -> str:
    """How far our runs are from the paper's recipe: not at all, or the settings of its reduced runs."""
    if found.last is not None:
        return "none"
    near = [run for run in ledger if run.origin == found.cell.recipe and not is_exact(run)]
    numbers = {int(settings[setting_key(run.recipe)][1:]) for run in near}
    return f"see {', '.join(_spans(numbers, 'S'))}" if numbers else NOTHING


def cite(runs: Sequence[Run], names: dict[str, str]) -> Any:
    """A link to the list of runs that counts and names these, neighbors joined: "4: R2 to R4, R7"."""
    numbers = {int(names[run.file][1:]) for run in runs}
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
