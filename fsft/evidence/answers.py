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
from fsft.evidence.assertions import INTERPOLATION, claims, corrected, judge
from fsft.evidence.chapters import by_seed, compare_maps, seeds_text
from fsft.evidence.comparison import METHOD_FIELDS, Gain, compare_cell, exact_digests, gains, is_exact, recipe_key
from fsft.evidence.ledger import Ledger, load_results
from fsft.evidence.measured import measured
from fsft.evidence.probes import CHANCE, quadrants_named
from fsft.evidence.statistics import SEEDS, Difference, summarize
from fsft.evidence.tables import MASKS_ALONE, Link, part_name, setting_name
from fsft.maps.scorefile import MapScores, load_map_scores
from fsft.methods import METHODS

BEGIN, END = "<!-- answers: {}, by python -m fsft.evidence.answers -->", "<!-- /answers -->"
WHAT = (
    "FSFT (self-supervision of feature transformation) trains a classifier to name the class of an image and which "
    "quadrant of its feature map was dropped."
)
READING = (
    "How to read this: accuracies are those of single inference, which predicts from the whole map alone, and a point "
    "is one percent of the test images. Of several settings, numbers are those of the one with most seeds, then most "
    "training. A seed is a repeated run that differs by chance alone. Brackets hold a 95 % interval. Likely: three "
    "seeds or more, and an interval without zero. Sure: also after a correction for how many comparisons we make "
    "(Holm's). All else may be chance. The pretext task is to name the dropped quadrant."
)
BESIDE = {MASKS_ALONE: "without the second classifier", METHODS["fsft-sd"].label: "with self-distillation"}
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


def known(ledger: Ledger) -> dict[str, list[Gain]]:
    """FSFT's gains by single inference with the paper's rates, for each kind of training that has run.

    "short" has fewer epochs than the paper's, in "fitted" the baseline fits its training images, "paper" is the paper's
    own recipe, "near" the same in fewer epochs. The first has the most seeds, then the most training.
    """
    found: dict[str, list[Gain]] = {}
    for gain in sorted(gains(ledger), key=_weight, reverse=True):
        kind = _kind(gain)
        if kind and gain.mode == "si" and part_name(gain.recipe) == "FSFT":
            found.setdefault(kind, []).append(gain)
    return found


def _kind(gain: Gain) -> str | None:
    if gain.recipe.digest in exact_digests():
        return "paper"
    if set(gain.recipe.distance()) == {"epochs"} and gain.recipe.epochs < recipes[paper.REFERENCE].epochs:
        return "near"
    if (gain.fitted or 0) >= INTERPOLATION:
        return "fitted"
    return "short" if gain.recipe.epochs < recipes[paper.REFERENCE].epochs else None


def _weight(gain: Gain) -> tuple[int, int]:
    return min(gain.difference.n), gain.recipe.epochs * (gain.recipe.images_per_class or 500)


def how_sure(found: Difference, ledger: Ledger) -> str:
    """Whether a difference could be chance, said plainly, see `READING`; the correction is that of the findings."""
    seeds = "one pair of runs" if found.n == (1, 1) else seeds_text(found)
    if min(found.n) < SEEDS:
        return f"not sure yet: {seeds}"
    if found.within(0, math.inf) is None:
        return f"not sure: {seeds}, {'without an interval' if found.low is None else 'the interval holds zero'}"
    chance = found.p(0, math.inf)
    return f"{'sure' if chance is not None and chance <= corrected(ledger)[0] else 'likely'}: {seeds}"


def verdict(ledger: Ledger) -> str:
    """What FSFT is, whether it has helped, and how sure that is: the words that open the landing page."""
    found, places = known(ledger), {"short": "in short training"}
    if "fitted" in found:
        few = "few " if found["fitted"][0].recipe.images_per_class else ""
        places["fitted"] = f"where the baseline memorized its {few}training images"
    places |= {"near": "with the paper's recipe in fewer epochs", "paper": "in the paper's own setting"}
    said = [
        f"{_ended(found[kind][0], 'gained', 'lost', 'level')} {place}{_alike(found[kind])} "
        f"({how_sure(found[kind][0].difference, ledger)})"
        for kind, place in places.items()
        if kind in found
    ]
    ours = f"In our runs accuracy was {'; '.join(said)}." if said else "No run tells yet whether that helps."
    return f"{WHAT} {ours}" + ("" if "paper" in found else " The paper's own setting is untested.")


def accuracy(ledger: Ledger) -> str:
    """A sentence for each kind of training: short, of few images that the baseline fits, and the paper's."""
    found, said = known(ledger), ["Short training has not run."]
    if "short" in found:
        gain, also = found["short"][0], _alike(found["short"])
        said = [f"With the paper's rates FSFT {_ended(gain)} in short training{also}: {_points(gain, ledger)}."]
    if "fitted" in found:
        gain, also = found["fitted"][0], _alike(found["fitted"])
        where = f"Where the baseline names {gain.fitted:.3g} % of its training images right, FSFT"
        setting = recipe_key(gain.recipe, *METHOD_FIELDS)
        here = [one for one in gains(ledger) if one.mode == "si" and recipe_key(one.recipe, *METHOD_FIELDS) == setting]
        told = {name: _points(one, ledger, setting=False) for one in here if (name := part_name(one.recipe)) in BESIDE}
        beside = [f"; {words} {told[name]}" for name, words in BESIDE.items() if name in told]
        said.append(f"{where} {_ended(gain)}{also}: {_points(gain, ledger)}{''.join(beside)}.")
    else:
        said.append(f"No pair of runs is finished yet whose baseline names {INTERPOLATION:g} % of its training images.")
    for kind, words in (("near", "With the paper's recipe in fewer epochs"), ("paper", "With the paper's recipe")):
        if kind in found:
            said.append(f"{words} FSFT {_ended(found[kind][0])}: {_points(found[kind][0], ledger)}.")
    return " ".join(said)


def _ended(gain: Gain, more: str = "won", less: str = "lost", level: str = "was level") -> str:
    """The word for a gain; what is less than half a point is neither more nor less."""
    return level if abs(gain.difference.gain) < 0.5 else more if gain.difference.gain > 0 else less


def _alike(found: list[Gain]) -> str:
    """In how many settings the gain has the sign of the first; nothing where there is only that."""
    same = sum((one.difference.gain > 0) == (found[0].difference.gain > 0) for one in found)
    return f", in {same} of {len(found)} settings" if len(found) > 1 else ""


def _points(gain: Gain, ledger: Ledger, setting: bool = True) -> str:
    """A gain with its interval, if it has one, its setting, and how sure it is."""
    found = gain.difference
    interval = "" if found.low is None else f" {found.interval}"
    base = summarize([run.last["baseline"] for run in gain.runs if run.recipe.method == "baseline"])
    over = f" against the baseline's {base.mean:.2f} %" if setting else ""
    where = f"{setting_name(gain.recipe).replace(' a class', ' images a class')}; " if setting else ""
    return f"{found.gain:+.2f} points{interval}{over} ({where}{how_sure(found, ledger)})"


def attention(scored: Sequence[MapScores]) -> str:
    """From the maps on tiny-ImageNet: their mass in the object's box, their peak, and their overlap with the box.

    Overlap below that of a uniform map is no evidence for: a wider map overlaps better, wherever it looks.
    """
    family = "cpu/tiny-imagenet"
    kinds = {"fsft": "grad-cam/si", "baseline": "grad-cam/baseline"}
    sides = {
        score: [by_seed(scored, recipes[f"{family}/{method}"], kind, score) for method, kind in kinds.items()]
        for score in ("energy", "pointing", "iou@0.5")
    }
    if not all(values.size for values in sides["energy"]):
        return "Not known: no maps have been scored."
    mass, peak, box = (compare_maps(*pair).seeds for pair in sides.values())
    overlap = float(sides["iou@0.5"][0].mean())
    uniform = float(by_seed(scored, recipes[f"{family}/fsft"], "uniform", "iou@0.5").mean())
    clear = [one.within(0, math.inf) if min(one.n) >= SEEDS else None for one in (mass, peak, box)]
    if overlap < uniform:
        clear[2] = clear[2] and None
    said = "Yes" if all(clear) else "No, less" if False in clear and True not in clear else "Not shown"
    more, often = ("more" if one.gain > 0 else "less" for one in (mass, peak))
    below = f", to {overlap:.1f}, but a map that is the same everywhere has {uniform:.1f}"
    return (
        f"{said} ({seeds_text(mass)}). On tiny-ImageNet {abs(mass.gain):.1f} points {more} of the class activation "
        f"map's mass lie in the object's box {mass.interval}; its peak hits the box {often} often, {peak.gain:+.1f} "
        f"{peak.interval}; its overlap with the box {'rises' if box.gain > 0 else 'falls'}, {box.gain:+.1f} "
        f"{box.interval}{below if box.gain > 0 and overlap < uniform else ''}."
    )


def cost() -> str:
    """From the benchmark of a training step, on a GPU where it has been measured, else on a CPU."""
    report = measured("fsft_overhead", "cuda") or measured("fsft_overhead")
    if report is None:
        return "Not known: no step has been measured."
    said = []
    for row in reversed(report["rows"]):
        time, (low, high) = row["step_time_ratio"], (100 * (end - 1) for end in row["step_time_interval"])
        name = row["model"].replace("resnet", "ResNet-")
        said.append(f"{100 * (time['median'] - 1):+.1f} % [{low:+.1f}, {high:+.1f}] for {name}")
    device = report["environment"]["device"]
    return (
        f"Time for a training step: {', '.join(said)}, on a {device['type'].upper().replace('CUDA', 'GPU')} "
        f"({device['name']}; {report['rows'][-1]['step_time_ratio']['n']} timings, both methods by turns). Nothing at "
        f"test time with single inference. The paper measured "
        f"+{paper.cells['table5/resnet110/fsft/time-overhead'].mean} % on its GPU."
    )


def pretext(ledger: Ledger) -> str:
    """From probes of trained networks."""
    named = [quadrants_named(run.probe["recognition"]["blank"]) for run in ledger if "recognition" in run.probe]
    if not named:
        return "Not known: no network has been probed."
    return (
        f"{'Yes' if min(named) > CHANCE else 'No'}: on blank images {len(named)} trained "
        f"network{'s name' if len(named) > 1 else ' names'} the dropped quadrant in {summarize(named).text(1)} % of "
        f"the cases, from the zero padding at the image's border alone (by chance: {CHANCE:g} %)."
    )


def reproduced(ledger: Ledger) -> str:
    """How many printed numbers, percentages of others left out, and claims have which verdict."""
    cells = [cell for cell in paper.cells.values() if cell.mean is not None and not cell.derived]
    numbers = Counter(compare_cell(cell, ledger).verdict for cell in cells)
    judged = Counter(judge(claim, ledger).verdict for claim in claims.values() if claim.comparisons)
    exact = sum(is_exact(run) for run in ledger)
    counted = f"its {len(cells)} printed numbers and {judged.total()} testable claims"
    if not exact:
        files = f" ({len(ledger) + ledger.repeats} files, {ledger.repeats} of them repeats)" if ledger.repeats else ""
        ran = f"all of our {len(ledger)} runs{files} have a reduced one"
        return f"Nothing yet: {counted} need the paper's recipe, and {ran}."
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
    ledger = load_results(root / "results")
    found, written = answers(ledger, load_map_scores(root / "results")), {}
    for name, folder in PAGES.items():
        lines = [
            f"- **{one.question}** {one.text} [{one.heading}]({folder}{one.link.replace('.html', '.ipynb')})"
            for one in found
        ]
        page = between((root / name).read_text(encoding="utf-8"), BEGIN.format("verdict"), verdict(ledger), END)
        lines += ["", READING]
        written[root / name] = between(page, BEGIN.format("five questions"), "\n".join(lines), END)
    return written


def between(page: str, begin: str, text: str, end: str) -> str:
    """The page with another text between its two marks."""
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}"


if __name__ == "__main__":
    for path, text in pages(Path()).items():
        path.write_text(text, encoding="utf-8")
