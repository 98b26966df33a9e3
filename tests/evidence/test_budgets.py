import matplotlib.pyplot as plt
import numpy as np
import pytest
from fake_runs import fake_result, seeds, with_file

from fsft.evidence import budgets, paper
from fsft.evidence.findings import BUDGETS, beta_side, map_recipe
from fsft.evidence.ledger import Ledger
from fsft.figures import budget_charts


@pytest.fixture
def ledger() -> Ledger:
    """Two budgets with one seed and with three; at the longer one FSFT with faster heads is ahead."""
    return with_file(
        fake_result(map_recipe(100, 10), baseline=20.0),
        fake_result(map_recipe(100, 10, "fsft"), si=15.0, ag=14.0),
        *seeds(map_recipe(100, 30), baseline=(40.0, 40.1, 40.2)),
        *seeds(map_recipe(100, 30, "fsft", 5.0), si=(42.0, 42.1, 42.2), ag=(40.0, 40.1, 40.2)),
        *seeds(map_recipe(100, 30, "fsft-sd", 5.0), si=(43.0, 43.1, 43.2), sd=(44.0, 44.1, 44.2)),
    )


def at(cells: list[budgets.Cell], *place: object) -> budgets.Cell:
    (found,) = [cell for cell in cells if (cell.images, cell.epochs, cell.mode, cell.scale) == place]
    return found


def test_each_cell_is_against_the_baseline_of_its_own_budget(ledger: Ledger) -> None:
    cells = budgets.map_cells(ledger)
    assert len(cells) == len(BUDGETS) * 6
    assert at(cells, 100, 10, "si", 1.0).text == "-5.00 (one seed each)"
    assert at(cells, 100, 30, "si", 5.0).text == "+2.00 (3 seeds each)"
    assert at(cells, 100, 30, "sd", 5.0).gain.gain == pytest.approx(4)
    assert at(cells, 100, 30, "si", 1.0).text == at(cells, 500, 10, "ag", 5.0).text == "not run"


def test_only_an_interval_makes_a_cell_clear(ledger: Ledger) -> None:
    cells = budgets.map_cells(ledger)
    assert at(cells, 100, 30, "si", 5.0).clear
    assert not at(cells, 100, 10, "si", 1.0).clear  # far from zero, but a single pair of runs
    assert not at(cells, 100, 30, "ag", 5.0).clear  # an interval around zero
    assert not at(cells, 100, 10, "sd", 1.0).clear


def test_where_the_gain_begins_is_said_with_its_evidence(ledger: Ledger) -> None:
    sentences = budgets.beginnings(ledger)
    si_1, _ag_1, sd_1, si_5, _ag_5, _sd_5 = sentences
    assert si_1.startswith("SI, heads × 1: never ahead of the baseline (1 of 5 budgets run); nearest at 100 images")
    assert sd_1 == "SD, heads × 1: not run."
    assert "first at 100 images per class × 30 epochs, +2.00 points with 3 seeds each" in si_5
    assert "ahead of the baseline at 1 (1 of 5" in si_5 and si_5.endswith("the interval excludes zero at 1.")


def test_tables_keep_every_row_and_say_what_has_not_run(ledger: Ledger) -> None:
    frame = budgets.map_frame(ledger)
    assert len(frame) == 2 * len(BUDGETS)
    row = frame[(frame["Epochs"] == 30) & (frame["Images per class"] == 100) & (frame["Rate of the heads"] == "× 5")]
    assert row["SI"].item().startswith("+2.00 (3 seeds each) [+")
    why = budgets.mechanism_frame(ledger)
    assert why.iloc[0].tolist() == [100, 10, "-5.00", "not run", "not run", "not run"]
    assert why.iloc[1].tolist() == [100, 30, "not run", "+2.00", "not run", "+3.00"]
    sides = budgets.sides_frame(ledger)
    assert sides["SI, heads × 5"].tolist() == ["+2.00", "not run", "not run"]


def test_beta_values_come_from_the_right_recipes() -> None:
    short = [fake_result(beta_side(beta)[0], si=20.0 + beta, ag=19.0) for beta in (0.1, 1.0)]
    exact = [fake_result("fig4/resnet110/beta-0.1", si=76.0), fake_result("table1/resnet110/fsft", si=77.0)]
    ledger = with_file(*short, *exact)
    assert budgets.beta_values(ledger, "si", exact=False)[0.1] == [20.1]
    assert budgets.beta_values(ledger, "si", exact=True) == {
        beta: {0.1: [76.0], 1.0: [77.0]}.get(beta, []) for beta in paper.BETAS
    }
    frame = budgets.beta_frame(ledger)
    assert len(frame) == 10 and set(frame["Paper"]) == {"no number"}
    assert frame.iloc[0].tolist() == ["0.1", "no number", "76.00", "20.10", "19.00", 1]
    assert frame.iloc[1]["short recipe: SI"] == "not run"


def test_the_epoch_that_passed_an_accuracy() -> None:
    curve = np.array([10.0, 30.0, 20.0, 40.0])
    assert [budgets.reached_at(curve, value) for value in (10.0, 15.0, 30.0, 35.0, 41.0)] == [1, 2, 2, 4, None]


def test_runs_of_a_budget_have_names_for_a_figure(ledger: Ledger) -> None:
    found = budgets.map_runs(ledger, 100, 30)
    assert {name: len(runs) for name, runs in found.items()} == {
        "baseline": 3,
        "FSFT, heads × 5": 3,
        "FSFT with student, heads × 5": 3,
    }


@pytest.mark.parametrize("filled", [True, False])
def test_figures_say_in_words_what_they_show(ledger: Ledger, filled: bool) -> None:
    used = ledger if filled else []
    fig, alt = budget_charts.gain_map(budgets.map_cells(used))
    assert ("100 images per class × 30 epochs +2.00 (3 seeds each); 4 not run" in alt) is filled
    assert "SD with heads × 1: 5 not run" in alt
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert ("+2.00\nn = 3" in texts) is filled
    assert texts.count("not run") == 36 - (5 if filled else 0)
    plt.close(fig)


def test_the_beta_figure_marks_missing_runs() -> None:
    values = {0.1: [19.0], 0.2: [], 1.0: [20.0, 21.0]}
    fig, alt = budget_charts.beta_curve({"short": values, "exact": {0.1: [76.0], 1.0: []}}, margin=1.0)
    assert "by beta: 0.1: -1.50, 1: +0.00; not run: 0.2" in alt and "exact: not run" in alt
    plt.close(fig)
    fig, alt = budget_charts.gradient_shares({"before": {0.1: 10.0, 1.0: 50.0}})
    assert "before: 10 percent at beta 0.1, 50 percent at beta 1" in alt
    plt.close(fig)
