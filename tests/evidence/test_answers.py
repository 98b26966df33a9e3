"""The answer card says no more than the runs, and the pages that hold it are current."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import fake_result, ledger_of, seeds

from fsft.catalog import recipes
from fsft.evidence import answers
from fsft.evidence.assertions import map_recipe
from fsft.evidence.ledger import Ledger
from fsft.evidence.tables import Link

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_hold_the_card_of_the_committed_runs() -> None:
    for page, text in answers.pages(ROOT).items():
        stale = f"{page.name} holds old answers: run python -m fsft.evidence.answers in the repository's root"
        assert page.read_text(encoding="utf-8") == text, stale


def test_every_answer_links_to_a_heading() -> None:
    for one in answers.answers(Ledger(), []):
        notebook = (ROOT / "notebooks" / f"{one.notebook}.ipynb").read_text(encoding="utf-8")
        assert f'"## {one.heading}' in notebook
        assert Link(one.heading, one.link).href.startswith(one.notebook) and "?" not in one.link


def test_without_runs_nothing_is_claimed() -> None:
    accuracy, attention, _, pretext, reproduced = (one.text for one in answers.answers(Ledger(), []))
    assert accuracy.startswith("Short training has not run. No pair of runs is finished yet whose baseline names 99 %")
    assert attention.startswith("Not known") and pretext.startswith("Not known")
    assert reproduced.startswith("Nothing yet: its 62 printed numbers and 19 testable claims")
    opening = answers.verdict(Ledger())
    assert opening.endswith("No run tells yet whether that helps. The paper's own setting is untested.")


SHORT = [
    *seeds(map_recipe(100, 10), baseline=(20.0, 20.2, 20.1)),
    *seeds(map_recipe(100, 10, "fsft"), si=(15.0, 15.2, 15.3)),
]
ONE, TWO, THREE = (36.0,), (36.0, 36.2), (36.0, 36.2, 36.1)


def fitted(baseline: tuple[float, ...], si: tuple[float, ...]) -> list[dict]:
    """Runs of few images, which the baseline has fitted."""
    runs = seeds("cpu/saturation/a/baseline", baseline=baseline)
    for run in runs:
        run["history"][-1]["train"] = {"baseline": 99.9}
    return [*runs, *seeds("cpu/saturation/a/fsft", si=si)]


@pytest.mark.parametrize(
    ("baseline", "si", "ended", "strength"),
    [
        (ONE, (38.0,), "won: +2.00 points against", "not sure yet: one pair of runs"),
        (ONE, (38.0, 38.2), "won: +2.00 points against", "not sure yet: one pair of runs"),
        (TWO, (38.0, 38.3), "won: +2.05 points [+1.15, +2.95] against", "not sure yet: 2 seeds each"),
        (THREE, (38.0, 38.3, 38.0), "won: +2.00 points [+1.75, +2.25] against", "sure: 3 seeds each"),
        (THREE, (40.0, 41.4, 44.1), "won: +5.73 points [", "likely: 3 seeds each"),
        (THREE, (35.0, 35.3, 35.0), "lost: -1.00 points [-1.25, -0.75] against", "sure: 3 seeds each"),
        (THREE, (38.0, 36.3, 35.9), "won: +0.63 points [", "not sure: 3 seeds each, the interval holds zero"),
        ((36.0,) * 3, (38.0,) * 3, "won: +2.00 points against", "not sure: 3 seeds each, without an interval"),
    ],
)
def test_the_words_follow_sign_seeds_and_interval(baseline, si, ended, strength) -> None:
    """Sure is only what survives Holm's correction, in the card and in the opening sentence alike."""
    ledger = ledger_of(*SHORT, *fitted(baseline, si))
    text, opening = answers.accuracy(ledger), answers.verdict(ledger)
    assert "FSFT lost in short training: -4.93 points [" in text
    assert f"Where the baseline names 99.9 % of its training images right, FSFT {ended}" in text
    assert f"CIFAR-100, 25 images a class, ResNet-20, 300 epochs; {strength})." in text
    assert "In our runs accuracy was lost in short training (sure: 3 seeds each); " in opening
    gained = "gained" if ended.startswith("won") else "lost"
    assert f"; {gained} where the baseline memorized its few training images ({strength})." in opening
    assert opening.endswith("The paper's own setting is untested.")


def test_the_number_of_settings_with_the_same_sign_is_told() -> None:
    """Of two settings the numbers are those of the one with more seeds, or with more training."""
    other = [recipes[f"cpu/saturation/c/10/{part}"] for part in ("baseline", "fsft")]
    runs = [*seeds(other[0], baseline=(14.0,)), *seeds(other[1], si=(15.0,))]
    runs[0]["history"][-1]["train"] = {"baseline": 100.0}
    ledger = ledger_of(*SHORT, *fitted(THREE, (38.0, 38.3, 38.0)), *runs)
    assert "FSFT won, in 2 of 2 settings: +2.00 points" in answers.accuracy(ledger)
    assert "memorized its few training images, in 2 of 2 settings (sure: 3 seeds each)." in answers.verdict(ledger)
    ledger = ledger_of(*SHORT, *fitted(THREE, (35.0, 35.3, 35.0)), *runs)
    assert "FSFT lost, in 1 of 2 settings: -1.00 points" in answers.accuracy(ledger)


def test_masks_alone_and_self_distillation_stand_beside_the_whole_method_with_their_own_seeds() -> None:
    runs = [*fitted(THREE, (38.0, 38.3, 38.0)), *seeds("cpu/saturation/a/masks", si=(39.0,))]
    text = answers.accuracy(ledger_of(*runs))
    assert text.endswith("; without the second classifier +3.00 points (not sure yet: one pair of runs).")
    student = seeds("cpu/saturation/a/fsft-sd", si=(39.5, 39.5), ag=(40.0, 40.0), sd=(39.0, 39.0))
    said = answers.accuracy(ledger_of(*runs, *student))
    assert said.startswith(text[:-1]) and "; with self-distillation +3.40 points [" in said
    other = [recipes[f"cpu/saturation/a/{part}"].reduced(batch_size=64) for part in ("baseline", "masks")]
    more = [*seeds(other[0], baseline=(30.0,)), *seeds(other[1], si=(31.0,))]  # of equal name, and another setting
    assert answers.accuracy(ledger_of(*runs, *more)) == text


def test_the_papers_recipe_has_a_sentence_of_its_own_and_is_not_called_short() -> None:
    runs = [
        *seeds("table1/resnet56/baseline", baseline=(73.7, 73.8, 73.6)),
        *seeds("table1/resnet56/fsft", si=(74.5, 74.6, 74.4)),
    ]
    text, opening = (said(ledger_of(*runs)) for said in (answers.accuracy, answers.verdict))
    assert "Short training has not run." in text and "With the paper's recipe FSFT won: +0.80 points" in text
    assert "In our runs accuracy was gained in the paper's own setting (" in opening and "untested" not in opening


@pytest.mark.parametrize(
    ("si", "ended", "opened"),
    [(71.8, "was level: +0.40", "level"), (72.0, "won: +0.60", "gained"), (70.0, "lost: -1.40", "lost")],
)
def test_the_papers_recipe_in_fewer_epochs_is_told_apart_from_both(si, ended, opened) -> None:
    runs = [*seeds("gpu/resnet56/baseline", baseline=(71.4,)), *seeds("gpu/resnet56/fsft", si=(si,))]
    text, opening = (said(ledger_of(*runs)) for said in (answers.accuracy, answers.verdict))
    assert text.startswith("Short training has not run.")
    assert f"With the paper's recipe in fewer epochs FSFT {ended} points against the baseline's 71.40 %" in text
    assert text.endswith("(CIFAR-100, ResNet-56 bottleneck, 100 epochs; not sure yet: one pair of runs).")
    assert f"accuracy was {opened} with the paper's recipe in fewer epochs (not sure yet: one pair of runs)." in opening
    assert opening.endswith("The paper's own setting is untested.")


def maps(method: str, kind: str, seeds: int, **scores: float) -> list[dict]:
    """Scores of maps of two images, the same in each but for a little, and a uniform map with an overlap of 50."""
    slug = f"x-{recipes[f'cpu/tiny-imagenet/{method}'].digest[:8]}"
    uniform = {"iou@0.5": np.array([50.0, 50.0])}
    return [
        {
            "slug": slug,
            "seed": seed,
            "scores": {kind: {k: np.array([v, v]) + 0.1 * seed for k, v in scores.items()}, "uniform": uniform},
        }
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("count", "peak", "overlap", "said"),
    [
        (2, 20.0, 60.0, "Not shown (2 seeds each). "),
        (3, 20.0, 60.0, "Yes (3 seeds each). "),
        (3, 20.0, 40.0, "Not shown (3 seeds each). "),
        (3, -20.0, 60.0, "Not shown (3 seeds each). "),
    ],
)
def test_maps_look_at_the_object_only_where_all_three_scores_say_so(count, peak, overlap, said) -> None:
    """Overlap counts for nothing below that of a map that is the same everywhere."""
    scored = maps("baseline", "grad-cam/baseline", count, energy=30.0, pointing=40.0, **{"iou@0.5": 20.0})
    scored += maps("fsft", "grad-cam/si", count, energy=33.0, pointing=40 + peak, **{"iou@0.5": overlap})
    text = answers.attention(scored)
    assert text.startswith(said) and "3.0 points more of the class activation map's mass lie in" in text
    assert ("a map that is the same everywhere has 50.0" in text) == (overlap < 50)
    assert f"its peak hits the box {'more' if peak > 0 else 'less'} often, {peak:+.1f}" in text


def test_what_has_the_papers_recipe_is_counted() -> None:
    runs = [*seeds("table1/resnet56/fsft", si=(74.5, 74.6, 74.4)), fake_result(recipes["cpu/resnet20/baseline"])]
    text = answers.reproduced(ledger_of(*runs))
    assert "Of its 62 printed numbers and 19 testable claims, 1 and 0 are reproduced, 0 and 0 are not, 61 and" in text
    assert "(3 of our 4 runs have the paper's recipe)" in text


def test_a_training_with_two_files_is_one_run() -> None:
    run = fake_result("cpu/resnet20/baseline")
    assert "all of our 1 runs (2 files, 1 of them repeats)" in answers.reproduced(ledger_of(run, run))
