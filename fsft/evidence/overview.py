"""The scorecard in one screen, our findings, and the reduced runs in one line each, for the top of chapter 16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fsft.evidence import paper
from fsft.evidence.claims import claims, judge_claim
from fsft.evidence.comparison import METHOD_FIELDS, NAMES, VERDICTS, Gain, compare_cell, gains, is_exact, recipe_key
from fsft.evidence.findings import FINDING_WORDS, findings, judge_finding
from fsft.evidence.ledger import Ledger
from fsft.evidence.scorecard import NOTHING, cite, core_hours, extras, gpu_hours, run_names, unbroken
from fsft.figures.plots import Link

CHAPTERS = {"4": "04_first_run.html", "13": "13_beta_and_budget.html", "14": "14_other_masks.html"}
MODELS = {"cifar100": "CIFAR-100", "tiny-imagenet": "tiny-ImageNet"}


def one_screen(ledger: Ledger, probes: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    """What has been reproduced, what has not, and how strong the evidence is: five rows."""
    printed = [cell for cell in paper.cells.values() if cell.mean is not None]
    cells = [compare_cell(cell, ledger) for cell in printed]
    judged = [judge_claim(claim, ledger) for claim in claims.values()]
    own = [judge_finding(finding, ledger, probes) for finding in findings.values()]
    comparisons = sum(len(claim.pairs) for claim in claims.values())
    exact = sum(is_exact(result) for result in ledger)
    rows = [
        (
            f"The paper's {len(printed)} printed numbers",
            _counted((found.verdict for found in cells), VERDICTS),
            _seeds([found.last.n for found in cells if found.last is not None]),
        ),
        (
            f"The paper's {len(claims)} claims",
            _counted((found.verdict for found in judged), VERDICTS),
            f"{sum(found.run for found in judged)} of {comparisons} comparisons run",
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
    cells = [compare_cell(cell, ledger) for cell in paper.cells.values() if cell.mean is not None]
    words = Counter(found.verdict for found in cells)
    decided = words["reproduced"] + words["not reproduced"]
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
    which = "Reduced runs alone" if not decided else "Reduced runs"
    return f"{first} {which} compare FSFT with its baseline at equal budget: {ahead} ({strength})."


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
    found = [gain for gain in gains(ledger) if gain.modes[1] == "baseline" and not gain.exact and _is_fsft(gain)]
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


def _is_fsft(gain: Gain) -> bool:
    return gain.methods[0] in ("fsft", "fsft-sd") and gain.usual_form


def findings_frame(ledger: Ledger, probes: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    """Every finding of ours with its word, what is behind it, its chapter, and its runs."""
    names, rows = run_names(ledger), []
    for finding in findings.values():
        judged = judge_finding(finding, ledger, probes)
        chapter = Link(f"chapter {finding.chapter}", CHAPTERS[finding.chapter])
        rows.append((finding.sentence, unbroken(judged.verdict), judged.strength, chapter, cite(judged.runs, names)))
    return pd.DataFrame(rows, columns=["Finding", "Verdict", "Evidence", "Where", "Runs"])


def reduced_frame(ledger: Ledger) -> pd.DataFrame:
    """The gains of reduced runs over the baseline of the same budget, one row a setting and method.

    Other weights beta and other masks are left to chapters 13 and 14. A cell is the gain in points, with its 95 %
    interval, or with the word "one seed".
    """
    names = run_names(ledger)
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Any]] = {}
    for gain in gains(ledger):
        if gain.exact or gain.modes[1] != "baseline" or not gain.usual_form:
            continue
        family = gain.methods[0].removesuffix("-sd")  # one row for a method with and without self-distillation
        scale = gain.recipe["head_lr_scale"]
        key = f"{recipe_key(gain.recipe, (*NAMES, *METHOD_FIELDS))} {family} {scale}"
        row = rows.setdefault(
            key, _setting(gain.recipe) | {"Method": family.replace("fsft", "FSFT").replace("sla", "SLA")}
        )
        row["Rate of the heads"] = f"× {scale:g}"
        has_interval = gain.difference.low is not None
        note = gain.difference.interval if has_interval else "(one seed)"
        row[gain.modes[0].upper()] = unbroken(f"{gain.difference.gain:+.2f} {note}")
        runs.setdefault(key, {}).update({result["file"]: result for result in gain.runs})
    for key, row in rows.items():
        row["Runs"] = cite(list(runs[key].values()), names)
    columns = ["Data", "Network and budget", "Method", "Rate of the heads", "SI", "AG", "SD", "Runs"]
    frame = pd.DataFrame(
        [{column: row.get(column, NOTHING) for column in columns} for row in rows.values()], columns=columns
    )
    return frame.sort_values(["Data", "Network and budget", "Method", "Rate of the heads"], ignore_index=True)


def _setting(recipe: Mapping[str, Any]) -> dict[str, str]:
    images = "all images" if recipe["images_per_class"] is None else f"{recipe['images_per_class']} images per class"
    data = MODELS.get(recipe["dataset"], recipe["dataset"])
    options = " (classes at hand)" if recipe["dataset_options"] else ""
    decay = recipe["weight_decay"]
    budget = f"{recipe['model']}, {recipe['epochs']} epochs, weight decay {decay:g}{extras(recipe)}"
    return {"Data": f"{data}{options}, {images}", "Network and budget": budget}
