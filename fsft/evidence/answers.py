"""The answer card: five questions, each answered in computed words, with number, interval, seeds, and where to read on.

It stands at the top of chapter 16, and as text between two marks on the landing page and in the README, which
``python -m fsft.evidence.answers`` writes anew in the repository's root; a test keeps them current.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fsft.catalog import recipes
from fsft.evidence import paper
from fsft.evidence.assertions import INTERPOLATION, claims, judge
from fsft.evidence.chapters import by_seed, compare_maps, seeds_text
from fsft.evidence.comparison import Gain, compare_cell, gains, is_exact
from fsft.evidence.ledger import Ledger, load_results
from fsft.evidence.measured import measured
from fsft.evidence.probes import CHANCE, quadrants_named
from fsft.evidence.statistics import SEEDS, summarize
from fsft.evidence.tables import MASKS_ALONE, Link, part_name, setting_name
from fsft.maps.scorefile import MapScores, load_map_scores

BEGIN, END = "<!-- answers: python -m fsft.evidence.answers -->", "<!-- /answers -->"
PAGES = {"README.md": "notebooks/", "book/index.md": "../notebooks/"}


@dataclass(frozen=True)
class Answer:
    """A question, what the runs say, and the notebook and heading that say more."""

    question: str
    text: str
    notebook: str
    heading: str

    @property
    def link(self) -> str:
        """The heading's place in a page, such as ``13_beta_and_budget.html#the-gain``."""
        return f"{self.notebook}.html#{self.heading.lower().replace(' ', '-').replace(',', '').replace('?', '')}"


def answers(ledger: Ledger, scored: Sequence[MapScores]) -> list[Answer]:
    """The five answers, from a ledger and the scores of maps."""
    gain, shortcut = "The gain against what the baseline has fitted", "Does it know which quadrant is missing?"
    return [
        Answer("Does FSFT raise accuracy, and when?", accuracy(ledger), "13_beta_and_budget", gain),
        Answer("Does it look at the object more?", attention(scored), "11_localization", "Real images"),
        Answer("What does it cost?", cost(), "12_cost", "Does it show on a clock?"),
        Answer("Can the pretext task be solved without looking?", pretext(ledger), "04_first_run", shortcut),
        Answer("What of the paper has been reproduced?", reproduced(ledger), "16_scorecard", "The claims"),
    ]


def accuracy(ledger: Ledger) -> str:
    """Two sentences: short training, and training in which the baseline fits its images, there also of eq. 2 alone."""
    single = [gain for gain in gains(ledger) if gain.mode == "si"]
    usual, masks = ([gain for gain in single if part_name(gain.recipe) == part] for part in ("FSFT", MASKS_ALONE))
    fitted, masks_fitted = ([gain for gain in some if (gain.fitted or 0) >= INTERPOLATION] for some in (usual, masks))
    short = [gain for gain in usual if gain not in fitted]
    first = f"In short training {_best_known(short)}." if short else "Short training has not run."
    if not fitted and not masks_fitted:
        paper_ran = "" if any(is_exact(run) for run in ledger) else ", nor with the paper's recipe"
        return f"{first} No pair of runs in which the baseline fits its training images is finished yet{paper_ran}."
    known = _best_known(fitted) if fitted else "FSFT has not run"
    known += f"; {MASKS_ALONE}: {_best_known(masks_fitted)}" if masks_fitted else ""
    return f"{first} Where the baseline fits its training images {known}."


def _best_known(found: list[Gain]) -> str:
    """The gain with the most seeds, and of those the most training."""
    one = max(
        found, key=lambda gain: (min(gain.difference.n), gain.recipe.epochs * (gain.recipe.images_per_class or 500))
    )
    difference = one.difference
    clear = difference.within(0, math.inf) if min(difference.n) >= SEEDS else None
    said = {True: "yes", False: "no", None: "it is not settled"}[clear]
    interval = "no interval" if difference.low is None else f"95 % interval {difference.interval}"
    return (
        f"{said}: {difference.gain:+.2f} points by single inference ({interval}; {setting_name(one.recipe)}; "
        f"{seeds_text(difference)})"
    )


def attention(scored: Sequence[MapScores]) -> str:
    """From the maps on tiny-ImageNet: their mass inside the object's box, and their overlap with it."""
    family = "cpu/tiny-imagenet"
    sides = (("fsft", "grad-cam/si"), ("baseline", "grad-cam/baseline"))
    energy, overlap = (
        [by_seed(scored, recipes[f"{family}/{method}"], kind, score) for method, kind in sides]
        for score in ("energy", "iou@0.5")
    )
    if not all(values.size for values in energy):
        return "Not known: no maps have been scored."
    mass, box = (compare_maps(*sides) for sides in (energy, overlap))
    clear = mass.seeds.within(0, math.inf) if min(mass.seeds.n) >= SEEDS else None
    said = {True: "Yes", False: "No, less", None: "Not settled"}[clear]
    if mass.seeds.gain * box.seeds.gain < 0:
        said = "Not settled, two scores disagree"
    return (
        f"{said}: on tiny-ImageNet {mass.seeds.gain:+.1f} points of a map's mass lie in the object's box, and "
        f"the overlap of its strongest part with it changes by {box.seeds.gain:+.1f} (95 % intervals over networks "
        f"{mass.seeds.interval} and {box.seeds.interval}; {seeds_text(mass.seeds)})."
    )


def cost() -> str:
    """From the benchmark of a training step, on a GPU where it has been measured, else on a CPU."""
    report = measured("fsft_overhead", "cuda") or measured("fsft_overhead")
    if report is None:
        return "Not known: no step has been measured."
    row = report["rows"][-1]
    low, high = (100 * (end - 1) for end in row["step_time_interval"])
    where = report["environment"]["device"]["name"]
    return (
        f"{100 * (row['step_time_ratio']['median'] - 1):+.1f} % time for a training step (95 % interval [{low:+.1f}, "
        f"{high:+.1f}]; {row['step_time_ratio']['n']} turns, {row['model']}, {where}), and nothing at test time with "
        f"single inference; the paper measured +{paper.cells['table5/resnet110/fsft/time-overhead'].mean} % on its GPU."
    )


def pretext(ledger: Ledger) -> str:
    """From probes of trained networks."""
    named = [quadrants_named(run.probe["recognition"]["blank"]) for run in ledger if "recognition" in run.probe]
    if not named:
        return "Not known: no network has been probed."
    return (
        f"{'Yes' if min(named) > CHANCE else 'No'}: on blank images the dropped quadrant is named in "
        f"{summarize(named).text(1)} % of the cases, from the zero padding alone (chance {CHANCE:g} %; "
        f"{len(named)} trained network{'s' * (len(named) != 1)})."
    )


def reproduced(ledger: Ledger) -> str:
    """How many printed numbers, percentages of others left out, and claims have which verdict."""
    cells = [cell for cell in paper.cells.values() if cell.mean is not None and not cell.derived]
    numbers = Counter(compare_cell(cell, ledger).verdict for cell in cells)
    judged = Counter(judge(claim, ledger).verdict for claim in claims.values() if claim.comparisons)
    exact = sum(is_exact(run) for run in ledger)
    counted = f"its {len(cells)} printed numbers and {judged.total()} testable claims"
    if not exact:
        return f"Nothing yet: {counted} need the paper's recipe, and all of our {len(ledger)} runs have a reduced one."
    return (
        f"Of {counted}, {numbers['reproduced']} and {judged['reproduced']} are reproduced, "
        f"{numbers['not reproduced']} and {judged['not reproduced']} are not, {numbers['not run']} and "
        f"{judged['not run']} have not run ({exact} of our {len(ledger)} runs have the paper's recipe)."
    )


def card(ledger: Ledger, scored: Sequence[MapScores]) -> pd.DataFrame:
    """The answers as a table."""
    rows = [(one.question, one.text, Link(one.heading, one.link)) for one in answers(ledger, scored)]
    return pd.DataFrame(rows, columns=["Question", "Answer", "Read on"])


def pages(root: Path) -> dict[Path, str]:
    """The pages that hold the card, as they should be by the runs in `results/` of a repository."""
    found = answers(load_results(root / "results"), load_map_scores(root / "results"))
    written = {}
    for name, folder in PAGES.items():
        lines = [
            f"- **{one.question}** {one.text} [{one.heading}]({folder}{one.link.replace('.html', '.ipynb')})"
            for one in found
        ]
        written[root / name] = between((root / name).read_text(encoding="utf-8"), BEGIN, "\n".join(lines), END)
    return written


def between(page: str, begin: str, text: str, end: str) -> str:
    """The page with another text between its two marks."""
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    for path, text in pages(Path()).items():
        path.write_text(text, encoding="utf-8")
