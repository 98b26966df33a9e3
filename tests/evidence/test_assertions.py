from dataclasses import replace
from typing import Any

import pytest
from fake_runs import fake_result, ledger_of, seeds

from fsft.catalog import recipes
from fsft.evidence import paper
from fsft.evidence.assertions import (
    BUDGETS,
    FINDING_WORDS,
    Assertion,
    Recognition,
    claims,
    findings,
    judge,
    map_recipe,
    paper_word,
    versus,
)
from fsft.evidence.comparison import Contrast, Quantity
from fsft.evidence.ledger import Ledger
from fsft.recipe import Recipe

Results = list[dict[str, Any]]

LAGS = findings["slow-start"]


def cell(images: int, epochs: int, baseline: tuple[float, ...], si: tuple[float, ...]) -> Results:
    return [*seeds(map_recipe(images, epochs), baseline=baseline), *seeds(map_recipe(images, epochs, "fsft"), si=si)]


def contrasts(assertion: Assertion) -> list[Contrast]:
    return [one for one in assertion.comparisons if isinstance(one, Contrast)]


def test_every_comparison_is_between_recipes_that_exist_under_a_name() -> None:
    """A mistyped field would compare runs that nobody can make."""
    known = {recipe.digest for recipe in recipes.values()}
    sides = [side for finding in findings.values() for one in contrasts(finding) for side in (*one.plus, *one.minus)]
    assert len(sides) > 50
    assert {side.recipe.digest for side in sides} <= known
    assert all(name == finding.id and finding.comparisons for name, finding in findings.items())


def test_the_two_sides_differ_in_the_method_alone() -> None:
    for finding in findings.values():
        for one in (one for one in contrasts(finding) if len(one.plus) == len(one.minus) == 1):
            a, b = (side.recipe.as_dict() for side in (*one.plus, *one.minus))
            different = {key for key, value in a.items() if value != b[key]}
            assert different <= {"name", "origin", "method", "head_lr_scale", "beta", "masks"}


@pytest.mark.parametrize(
    ("baseline", "si", "expected"),
    [
        ((50.0,), (45.0,), "seen"),
        ((50.0,), (55.0,), "not seen"),
        ((50.0, 50.1, 50.2), (45.1, 45.0, 45.2), "seen"),  # one budget of several: the others have not run
        ((50.0, 50.1, 50.2), (55.2, 55.0, 55.1), "refuted"),
        ((50.0, 40.0), (45.0, 44.0), "seen"),  # below in the mean, with an interval that straddles zero
    ],
)
def test_words_for_one_budget(baseline: tuple[float, ...], si: tuple[float, ...], expected: str) -> None:
    assert judge(LAGS, ledger_of(*cell(100, 10, baseline, si))).verdict == expected


def test_words_for_all_budgets() -> None:
    many = [run for budget in BUDGETS for run in cell(*budget, (50.0, 50.1, 50.2), (45.1, 45.0, 45.2))]
    assert judge(LAGS, ledger_of(*many)).verdict == "shown"
    mixed = cell(100, 10, (50.0,), (45.0,)) + cell(100, 30, (50.0,), (55.0,))
    assert judge(LAGS, ledger_of(*mixed)).verdict == "mixed"
    assert judge(LAGS, Ledger()).verdict == "not run"


def test_the_strength_is_said_plainly() -> None:
    one = cell(100, 10, (50.0,), (45.0,))
    assert judge(LAGS, ledger_of(*one)).strength == "1 of 5 comparisons run, one seed each"
    both = one + cell(100, 30, (50.0, 50.1), (45.0, 45.1))
    assert judge(LAGS, ledger_of(*both)).strength == "2 of 5 comparisons run, 1 to 2 seeds each"
    assert judge(LAGS, Ledger()).strength == "0 of 5 comparisons run"


def test_a_finding_about_weights_is_judged_by_its_probe() -> None:
    finding = findings["padding-suffices"]
    run = fake_result("cpu/resnet20/fsft", si=40.0)
    name = f"{run['slug']}-seed0.json"
    every, none = ([[100.0 * (row == column) * share for column in range(5)] for row in range(5)] for share in (1, 0))
    probe = {"run": name, "recognition": {"blank": every, "test images, no border": none}}
    ledger = ledger_of(run, probes=(probe,))
    judged = judge(finding, ledger)
    assert (judged.verdict, judged.strength) == ("seen", "1 of 1 comparison run, one network each")
    assert [one.file for one in judged.runs] == [name] and judged.found[0].gain == 75.0
    other = fake_result("cpu/resnet20/fsft", seed=1, si=40.0)
    probes = probe, probe | {"run": f"{run['slug']}-seed1.json"}
    twice = judge(finding, ledger_of(run, other, probes=probes))  # no spread: it could not be otherwise
    assert twice.verdict == "derived" and twice.strength.endswith("2 networks each, no spread: a derivation")
    assert judge(findings["padding-needed"], ledger).verdict == "seen"
    unable = ledger_of(run, probes=({"run": name, "recognition": {"blank": none, "test images, no border": every}},))
    assert judge(finding, unable).verdict == "not seen"
    assert judge(findings["padding-needed"], unable).verdict == "not seen"
    assert Recognition("blank").observed(Ledger()) is None


def test_two_seeds_settle_nothing_and_many_comparisons_raise_the_bar() -> None:
    two = judge(LAGS, ledger_of(*cell(100, 10, (50.0, 50.1), (45.0, 45.1))))
    assert two.verdict == "seen" and two.by_interval == (None,)
    opposite = judge(LAGS, ledger_of(*cell(100, 10, (50.0, 50.1), (55.0, 55.1))))
    assert opposite.verdict == "not seen"
    # Three seeds at p = 0.02: clear alone, and not among several comparisons of which it is the weakest.
    weak = cell(100, 10, (50.0, 50.0, 50.0), (47.0, 47.6, 48.2))
    alone = judge(LAGS, ledger_of(*weak))
    assert alone.by_interval == (True,) and "1 settled after Holm's correction over 1" in alone.strength
    noise = [
        run for images, epochs in BUDGETS[1:] for run in cell(images, epochs, (50.0, 51.0, 52.0), (50.0, 51.9, 51.0))
    ]
    assert judge(LAGS, ledger_of(*weak, *noise)).by_interval[0] is None


def fitted(runs: Results, accuracy: float) -> Results:
    """The same runs with an accuracy on the training images."""
    return [run | {"history": [run["history"][-1] | {"train": {"baseline": accuracy}}]} for run in runs]


def saturated(part: str, mode: str, values: tuple[float, ...], place: str = "a") -> Results:
    return seeds(f"cpu/saturation/{place}/{part}", **{mode: values})


def test_some_findings_ask_only_where_the_baseline_has_fitted_its_images() -> None:
    ahead = saturated("masks", "si", (38.7, 38.9, 38.8)) + saturated("fsft", "si", (36.9, 37.0, 36.8))
    base = saturated("baseline", "baseline", (36.9, 37.1, 36.8))
    under, over = (ledger_of(*ahead, *fitted(base, accuracy)) for accuracy in (98.0, 99.5))
    for name in ("masks-gain-fitted", "not-behind-fitted"):
        assert judge(findings[name], under).verdict == "not run"
        judged = judge(findings[name], over)
        assert judged.verdict == "seen" and judged.by_interval == (True,)  # at one of several places


def test_the_lag_is_ranked_over_settings() -> None:
    """Four settings, in which the gain rises with what the baseline has fitted."""
    places = (("b/resnet8", 60.0), ("a", 80.0), ("c/10", 90.0), ("c/50", 99.0))
    runs = [
        run
        for rank, (place, accuracy) in enumerate(places)
        for run in (
            *fitted(saturated("baseline", "baseline", (40.0,), place), accuracy),
            *saturated("fsft", "si", (36.0 + rank,), place),
        )
    ]
    judged = judge(findings["lag-shrinks"], ledger_of(*runs))
    assert judged.verdict == "seen" and judged.found[0].gain == pytest.approx(1.0)
    assert judged.found[0].chance == pytest.approx(2 / 24)
    assert judge(findings["lag-shrinks"], ledger_of(*runs[:4])).verdict == "not run"  # two settings are no trend


def test_a_mode_that_the_runs_lack_is_not_run() -> None:
    sides = Quantity(map_recipe(100, 10), "baseline"), Quantity(map_recipe(100, 10, "fsft"), "sd")
    asked = replace(LAGS, comparisons=(versus(*sides),))
    assert judge(asked, ledger_of(*cell(100, 10, (50.0,), (45.0,)))).verdict == "not run"
    assert set(FINDING_WORDS) >= {judge(finding, Ledger()).verdict for finding in findings.values()}


def test_map_recipes_derive_from_the_paper() -> None:
    recipe: Recipe = map_recipe(100, 30, "fsft", 5.0)
    assert recipe.origin == "table1/resnet56/fsft" and recipe.digest == recipes["cpu/map/100x30/fsft-x5"].digest


PAIR = versus("table1/resnet56/si", "table1/resnet56/baseline")
GAIN = Assertion("claims", "gain", "here", "FSFT-SI beats the baseline.", (PAIR,))
BOTH = replace(GAIN, comparisons=(PAIR, versus("table1/resnet110/si", "table1/resnet110/baseline")))


def pair_of(model: str, si: tuple[float, ...], baseline: tuple[float, ...]) -> Results:
    return [*seeds(f"table1/{model}/fsft", si=si), *seeds(f"table1/{model}/baseline", baseline=baseline)]


BETTER, SAME, WORSE = (74.5, 74.6, 74.4), (73.2, 74.1, 73.0), (72.0, 72.1, 71.9)
BASELINE = (73.5, 73.4, 73.3)


def test_claims_compare_like_with_like_and_all_tables_are_claimed() -> None:
    assert all(key == claim.id and claim.kind == "claims" for key, claim in claims.items()) and len(claims) == 22
    tested = set()
    for claim in claims.values():
        for one in contrasts(claim):
            a, *b = (*one.plus, *one.minus)
            assert all(a != side and a.kind == side.kind for side in b)
            tested |= {(side.recipe.name, side.mode, side.kind) for side in (a, *b)}
    cells = [cell for cell in paper.cells.values() if (cell.recipe, cell.mode, cell.quantity) in tested]
    assert {cell.table for cell in cells} == {"Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4"}


def test_the_papers_numbers_bear_its_claims_out() -> None:
    """A pair written the wrong way round, or a mistyped limit, would contradict the paper itself."""
    words = {claim.id: paper_word(claim) for claim in claims.values()}
    assert "does not hold" not in words.values()
    assert words["si-beats-baseline"] == "holds"
    assert words["adds-to-mixup"] == "holds for the means"  # Table 2 prints no spread
    assert words["beta-flat"] == words["fewer-shortcuts"] == "no numbers"
    wrong = replace(GAIN, comparisons=(versus("table1/resnet56/baseline", "table1/resnet56/si"),))
    assert paper_word(wrong) == "does not hold"


def test_sd_is_below_si_on_fine_grained_data_in_the_paper_itself() -> None:
    """Why "self-distillation improves on single inference" is claimed for Table 1 only."""
    names = ("cub200", "stanford-dogs", "stanford-cars")
    below = tuple(versus(f"table4/{name}/sd", f"table4/{name}/si") for name in names)
    assert paper_word(replace(GAIN, comparisons=below)) == "does not hold"


def test_an_empty_ledger_leaves_every_claim_not_run() -> None:
    assert {judge(claim, Ledger()).verdict for claim in claims.values()} == {"not run"}


@pytest.mark.parametrize(
    ("si", "expected"),
    [(BETTER, "reproduced"), (SAME, "inconclusive"), (WORSE, "not reproduced"), (BETTER[:1], "inconclusive")],
)
def test_the_verdict_on_one_comparison(si: tuple[float, ...], expected: str) -> None:
    assert judge(GAIN, ledger_of(*pair_of("resnet56", si, BASELINE))).verdict == expected


def test_all_comparisons_must_hold_and_one_failure_is_enough() -> None:
    good = pair_of("resnet56", BETTER, BASELINE)
    partly = judge(BOTH, ledger_of(*good))
    assert (partly.verdict, partly.by_interval) == ("inconclusive", (True,))
    assert judge(BOTH, ledger_of(*good, *pair_of("resnet110", BETTER, BASELINE))).verdict == "reproduced"
    assert judge(BOTH, ledger_of(*good, *pair_of("resnet110", WORSE, BASELINE))).verdict == "not reproduced"
    assert judge(BOTH, ledger_of(*good[:3])).verdict == "not run"  # no baseline


def test_reduced_runs_do_not_decide_claims() -> None:
    runs = [
        *seeds(recipes["table1/resnet56/fsft"].reduced(epochs=4), si=BETTER),
        *seeds(recipes["table1/resnet56/baseline"].reduced(epochs=4), baseline=BASELINE),
    ]
    assert judge(GAIN, ledger_of(*runs)).verdict == "not run"


def test_no_worse_allows_a_tenth_of_a_point() -> None:
    claim = replace(GAIN, comparisons=(versus("table1/resnet56/ag", "table1/resnet56/si"),), low=-0.1)
    slightly = ledger_of(*seeds("table1/resnet56/fsft", si=(74.0, 75.0, 76.0), ag=(73.95, 74.96, 75.95)))
    assert judge(claim, slightly).verdict == "reproduced"  # paired: the networks' spread cancels
    clearly = ledger_of(*seeds("table1/resnet56/fsft", si=(74.0, 75.0, 76.0), ag=(73.5, 74.49, 75.5)))
    assert judge(claim, clearly).verdict == "not reproduced"


def test_a_limit_on_the_overhead() -> None:
    runs = seeds("table1/resnet110/fsft", si=(76.0, 76.1)) + seeds("table1/resnet110/baseline", baseline=(75.0, 75.1))
    assert judge(claims["memory-overhead"], ledger_of(*runs)).verdict == "not run"  # a CPU's memory tells nothing
    for run in runs:
        run["device"] = {"type": "cuda", "name": "Test GPU"}
    for run in runs[:2]:
        run["peak_memory_mib"] = 1100.0
    assert judge(claims["memory-overhead"], ledger_of(*runs)).verdict == "reproduced"
    for run in runs[:2]:
        run["peak_memory_mib"] = 1120.0
    assert judge(claims["memory-overhead"], ledger_of(*runs)).verdict == "not reproduced"
