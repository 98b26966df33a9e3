"""The answer card says no more than the runs, and the pages that hold it are current."""

from pathlib import Path

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
    assert accuracy.startswith("Short training has not run. No pair of runs in which the baseline fits")
    assert attention.startswith("Not known") and pretext.startswith("Not known")
    assert reproduced.startswith("Nothing yet: its 62 printed numbers and 19 testable claims")


def test_accuracy_has_one_answer_for_short_training_and_one_for_fitted_images() -> None:
    short = [*seeds(map_recipe(100, 10), baseline=(20.0, 20.2, 20.1)), *seeds(map_recipe(100, 10, "fsft"), si=(15.0,))]
    text = answers.accuracy(ledger_of(*short))
    assert "In short training it is not settled: -5.00 points by single inference (no interval;" in text
    fitted = [
        *seeds("cpu/saturation/a/baseline", baseline=(36.0, 36.2, 36.1)),
        *seeds("cpu/saturation/a/fsft", si=(38.0, 38.3, 38.0)),
    ]
    for run in fitted:
        run["history"][-1]["train"] = {"baseline": 99.9}
    text = answers.accuracy(ledger_of(*short, *fitted))
    assert "Where the baseline fits its training images yes: +2.00 points by single inference (95 % interval [" in text
    assert "CIFAR-100, 25 a class, ResNet-20, 300 epochs; 3 seeds each)" in text
    text = answers.accuracy(ledger_of(*short, *fitted, *seeds("cpu/saturation/a/masks", si=(39.0,))))
    assert "; masks alone (eq. 2): it is not settled: +3.00 points by single inference (no interval; " in text


def test_what_has_the_papers_recipe_is_counted() -> None:
    runs = [*seeds("table1/resnet56/fsft", si=(74.5, 74.6, 74.4)), fake_result(recipes["cpu/resnet20/baseline"])]
    text = answers.reproduced(ledger_of(*runs))
    assert "Of its 62 printed numbers and 19 testable claims, 1 and 0 are reproduced, 0 and 0 are not, 61 and" in text
    assert "(3 of our 4 runs have the paper's recipe)" in text
