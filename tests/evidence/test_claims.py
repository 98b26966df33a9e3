import pytest
from fake_runs import seeds, with_file

from fsft.evidence import paper
from fsft.evidence.claims import Claim, claims, judge_claim, paper_word
from fsft.evidence.ledger import Ledger

GAIN = Claim("gain", "FSFT-SI beats the baseline.", "here", (("table1/resnet56/si", "table1/resnet56/baseline"),))
BOTH = Claim("both", "Twice.", "here", (*GAIN.pairs, ("table1/resnet110/si", "table1/resnet110/baseline")))


def ledger(model: str, si: tuple[float, ...], baseline: tuple[float, ...]) -> Ledger:
    return with_file(*seeds(f"table1/{model}/fsft", si=si), *seeds(f"table1/{model}/baseline", baseline=baseline))


BETTER, SAME, WORSE = (74.5, 74.6, 74.4), (73.2, 74.1, 73.0), (72.0, 72.1, 71.9)
BASELINE = (73.4, 73.5, 73.3)


def test_claims_compare_cells_that_exist() -> None:
    assert all(key == claim.id for key, claim in claims.items())
    used = {key for claim in claims.values() for pair in claim.pairs for key in pair if key is not None}
    assert used <= set(paper.cells)
    for claim in claims.values():
        for a, b in claim.pairs:
            assert a != b
            assert b is None or paper.cells[a].quantity == paper.cells[b].quantity
    tested = {paper.cells[key].table for key in used}
    assert tested == {"Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4"}


def test_the_papers_numbers_bear_its_claims_out() -> None:
    """A pair written the wrong way round, or a mistyped limit, would contradict the paper itself."""
    words = {claim.id: paper_word(claim) for claim in claims.values()}
    assert "does not hold" not in words.values()
    assert words["si-beats-baseline"] == "holds"
    assert words["adds-to-mixup"] == "holds for the means"  # Table 2 prints no spread
    assert words["beta-flat"] == words["fewer-shortcuts"] == "no numbers"
    wrong = Claim("wrong", "The reverse.", "here", tuple((b, a) for a, b in GAIN.pairs))
    assert paper_word(wrong) == "does not hold"


def test_sd_is_below_si_on_fine_grained_data_in_the_paper_itself() -> None:
    """Why "self-distillation improves on single inference" is claimed for Table 1 only."""
    pairs = tuple((f"table4/{name}/sd", f"table4/{name}/si") for name in ("cub200", "stanford-dogs", "stanford-cars"))
    assert paper_word(Claim("sd", "SD improves on SI.", "Table 4", pairs)) == "does not hold"


def test_an_empty_ledger_leaves_every_claim_not_run() -> None:
    assert {judge_claim(claim, []).verdict for claim in claims.values()} == {"not run"}


@pytest.mark.parametrize(
    ("si", "expected"),
    [(BETTER, "reproduced"), (SAME, "inconclusive"), (WORSE, "not reproduced"), (BETTER[:1], "inconclusive")],
)
def test_the_verdict_on_one_comparison(si: tuple[float, ...], expected: str) -> None:
    assert judge_claim(GAIN, ledger("resnet56", si, BASELINE)).verdict == expected


def test_all_comparisons_must_hold_and_one_failure_is_enough() -> None:
    good = ledger("resnet56", BETTER, BASELINE)
    partly = judge_claim(BOTH, good)
    assert (partly.verdict, partly.held, partly.run) == ("inconclusive", 1, 1)
    assert judge_claim(BOTH, good + ledger("resnet110", BETTER, BASELINE)).verdict == "reproduced"
    assert judge_claim(BOTH, good + ledger("resnet110", WORSE, BASELINE)).verdict == "not reproduced"
    assert judge_claim(BOTH, ledger("resnet56", BETTER, BASELINE)[:3]).verdict == "not run"  # no baseline


def test_reduced_runs_do_not_decide_claims() -> None:
    from fsft.catalog import recipes

    runs = [
        *seeds(recipes["table1/resnet56/fsft"].reduced(epochs=4), si=BETTER),
        *seeds(recipes["table1/resnet56/baseline"].reduced(epochs=4), baseline=BASELINE),
    ]
    assert judge_claim(GAIN, with_file(*runs)).verdict == "not run"


def test_no_worse_allows_a_tenth_of_a_point() -> None:
    claim = Claim("ag", "AG is no worse.", "here", (("table1/resnet56/ag", "table1/resnet56/si"),), low=-0.1)
    slightly = with_file(*seeds("table1/resnet56/fsft", si=(74.0, 75.0, 76.0), ag=(73.95, 74.96, 75.95)))
    assert judge_claim(claim, slightly).verdict == "reproduced"  # paired: the networks' spread cancels
    clearly = with_file(*seeds("table1/resnet56/fsft", si=(74.0, 75.0, 76.0), ag=(73.5, 74.49, 75.5)))
    assert judge_claim(claim, clearly).verdict == "not reproduced"


def test_a_limit_on_the_overhead() -> None:
    runs = seeds("table1/resnet110/fsft", si=(76.0, 76.1)) + seeds("table1/resnet110/baseline", baseline=(75.0, 75.1))
    assert judge_claim(claims["memory-overhead"], with_file(*runs)).verdict == "not run"  # a CPU's memory tells nothing
    for run in runs:
        run["device"] = {"type": "cuda", "name": "Test GPU"}
    for run in runs[:2]:
        run["peak_memory_mib"] = 1100.0
    assert judge_claim(claims["memory-overhead"], with_file(*runs)).verdict == "reproduced"
    for run in runs[:2]:
        run["peak_memory_mib"] = 1120.0
    assert judge_claim(claims["memory-overhead"], with_file(*runs)).verdict == "not reproduced"
