from dataclasses import replace

import pytest
from fake_runs import fake_result, seeds, with_file

from fsft.catalog import recipes
from fsft.evidence.findings import BUDGETS, FINDING_WORDS, Finding, Pair, findings, judge_finding, map_recipe, runs_of
from fsft.evidence.ledger import Ledger
from fsft.recipe import Recipe

LAGS = findings["slow-start"]


def cell(images: int, epochs: int, baseline: tuple[float, ...], si: tuple[float, ...]) -> Ledger:
    return with_file(
        *seeds(map_recipe(images, epochs), baseline=baseline), *seeds(map_recipe(images, epochs, "fsft"), si=si)
    )


def all_pairs(finding: Finding) -> list[Pair]:
    return [*finding.pairs, *(pair for both in finding.trends for pair in both)]


def test_every_comparison_is_between_recipes_that_exist_under_a_name() -> None:
    """A mistyped field would compare runs that nobody can make."""
    known = {recipe.digest for recipe in recipes.values()}
    sides = [side for finding in findings.values() for pair in all_pairs(finding) for side in pair]
    assert len(sides) > 50
    assert {recipe.digest for recipe, _ in sides} <= known
    assert all(name == finding.id and (all_pairs(finding) or finding.probe) for name, finding in findings.items())


def test_the_two_sides_differ_in_the_method_alone() -> None:
    for finding in findings.values():
        for (a, _), (b, _) in all_pairs(finding):
            different = {key for key, value in a.as_dict().items() if value != b.as_dict()[key]}
            assert different <= {"name", "origin", "method", "head_lr_scale", "beta", "masks"}


def test_runs_are_found_by_what_they_trained_not_by_name() -> None:
    ledger = with_file(fake_result("cpu/short-cifar100/fsft", si=40.0), fake_result("cpu/resnet20/baseline"))
    assert [run["recipe_name"] for run in runs_of(ledger, map_recipe(100, 10, "fsft", 5.0))] == [
        "cpu/short-cifar100/fsft"
    ]
    assert [run["recipe_name"] for run in runs_of(ledger, map_recipe(500, 30))] == ["cpu/resnet20/baseline"]
    assert runs_of(ledger, map_recipe(500, 10)) == []


@pytest.mark.parametrize(
    ("baseline", "si", "expected"),
    [
        ((50.0,), (45.0,), "seen"),
        ((50.0,), (55.0,), "not seen"),
        ((50.0, 50.1, 50.2), (45.0, 45.1, 45.2), "seen"),  # one budget of several: the others have not run
        ((50.0, 50.1, 50.2), (55.0, 55.1, 55.2), "refuted"),
        ((50.0, 40.0), (45.0, 44.0), "seen"),  # below in the mean, with an interval that straddles zero
    ],
)
def test_words_for_one_budget(baseline: tuple[float, ...], si: tuple[float, ...], expected: str) -> None:
    assert judge_finding(LAGS, cell(100, 10, baseline, si)).verdict == expected


def test_words_for_all_budgets() -> None:
    many = [run for budget in BUDGETS for run in cell(*budget, (50.0, 50.1, 50.2), (45.0, 45.1, 45.2))]
    assert judge_finding(LAGS, many).verdict == "shown"
    mixed = cell(100, 10, (50.0,), (45.0,)) + cell(100, 30, (50.0,), (55.0,))
    assert judge_finding(LAGS, mixed).verdict == "mixed"
    assert judge_finding(LAGS, []).verdict == "not run"


@pytest.mark.parametrize(
    ("si_later", "word", "gain"),
    [((58.0,), "seen", 3.0), ((54.0,), "not seen", -1.0), ((51.0, 51.1, 51.2), "refuted", -4.0)],
)
def test_a_trend_is_a_difference_of_differences(si_later: tuple[float, ...], word: str, gain: float) -> None:
    """From ten epochs (5 behind) to thirty, at 100 images per class."""
    n = len(si_later)
    ledger = cell(100, 10, (50.0, 50.1, 50.2)[:n], (45.0, 45.1, 45.2)[:n])
    judged = judge_finding(findings["longer-helps"], ledger)
    assert judged.verdict == "not run" and judged.strength == "0 of 3 comparisons run"
    ledger += cell(100, 30, (60.0, 60.1, 60.2)[:n], si_later)
    judged = judge_finding(findings["longer-helps"], ledger)
    assert judged.verdict == word and len(judged.found) == 1 and len(judged.runs) == 4 * n
    assert judged.found[0].gain == pytest.approx(gain)


def test_the_strength_is_said_plainly() -> None:
    one = cell(100, 10, (50.0,), (45.0,))
    assert judge_finding(LAGS, one).strength == "1 of 5 comparisons run, one seed each"
    both = one + cell(100, 30, (50.0, 50.1), (45.0, 45.1))
    assert judge_finding(LAGS, both).strength == "2 of 5 comparisons run, 1 to 2 seeds each"
    assert judge_finding(LAGS, []).strength == "0 of 5 comparisons run"


def test_a_finding_about_weights_is_judged_by_its_probe() -> None:
    finding = findings["padding-suffices"]
    run = with_file(fake_result("cpu/resnet20/fsft", si=40.0))[0]
    every, none = ([[100.0 * (row == column) * share for column in range(5)] for row in range(5)] for share in (1, 0))
    probe = {"run": run["file"], "recognition": {"blank": every, "blank, no border": none}}
    judged = judge_finding(finding, [run], [probe])
    assert (judged.verdict, judged.strength) == ("seen", "1 of 1 comparison run, one network each")
    assert judged.runs == (run,) and judged.found[0].gain == 75.0
    assert judge_finding(finding, [run], [probe, probe]).verdict == "shown"
    assert judge_finding(findings["padding-needed"], [run], [probe]).verdict == "seen"
    unable = {"run": run["file"], "recognition": {"blank": none, "blank, no border": every}}
    assert judge_finding(finding, [run], [unable]).verdict == "not seen"
    assert judge_finding(findings["padding-needed"], [run], [unable]).verdict == "not seen"


def test_a_mode_that_the_runs_lack_is_not_run() -> None:
    asked = replace(LAGS, pairs=(((map_recipe(100, 10), "baseline"), (map_recipe(100, 10, "fsft"), "sd")),))
    assert judge_finding(asked, cell(100, 10, (50.0,), (45.0,))).verdict == "not run"
    assert set(FINDING_WORDS) >= {judge_finding(finding, []).verdict for finding in findings.values()}


def test_map_recipes_derive_from_the_paper() -> None:
    recipe: Recipe = map_recipe(100, 30, "fsft", 5.0)
    assert recipe.origin == "table1/resnet56/fsft" and recipe.digest == recipes["cpu/map/100x30/fsft-x5"].digest
