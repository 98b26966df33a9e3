"""The chapters' tables and curves take exactly the recipes' runs, and say so where there are none."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fake_runs import fake_result, ledger_of, seeds

from fsft.catalog import recipes
from fsft.evidence import chapters, paper
from fsft.evidence.assertions import BUDGETS, beta_recipe, map_recipe
from fsft.evidence.chapters import answer, by_seed, compare_maps, comparison_frame, shortcut_frame
from fsft.evidence.ledger import Ledger
from fsft.evidence.statistics import summarize, welch
from fsft.figures import gain_plots
from fsft.figures.map_plots import shortcut_figure

FAMILY = "cpu/short-cifar100"
rng = np.random.default_rng(0)
IMAGES = 200


@pytest.fixture
def ledger() -> Ledger:
    """Two budgets with one seed and with three; at the longer one FSFT with faster heads is ahead."""
    return ledger_of(
        fake_result(map_recipe(100, 10), baseline=20.0),
        fake_result(map_recipe(100, 10, "fsft"), si=15.0, ag=14.0),
        *seeds(map_recipe(100, 30), baseline=(40.0, 40.1, 40.2)),
        *seeds(map_recipe(100, 30, "fsft", 5.0), si=(42.0, 42.1, 42.2), ag=(40.0, 40.1, 40.2)),
        *seeds(map_recipe(100, 30, "fsft-sd", 5.0), si=(43.0, 43.1, 43.2), sd=(44.0, 44.1, 44.2)),
    )


def at(cells: list[chapters.Cell], *place: object) -> chapters.Cell:
    (found,) = [cell for cell in cells if (cell.images, cell.epochs, cell.mode, cell.scale) == place]
    return found


def test_each_cell_is_against_the_baseline_of_its_own_budget(ledger: Ledger) -> None:
    cells = chapters.map_cells(ledger)
    assert len(cells) == len(BUDGETS) * 6
    assert at(cells, 100, 10, "si", 1.0).text == "-5.00 (one seed each)"
    assert at(cells, 100, 30, "si", 5.0).text == "+2.00 (3 seeds each)"
    assert at(cells, 100, 30, "sd", 5.0).gain.gain == pytest.approx(4)
    assert at(cells, 100, 30, "si", 1.0).text == at(cells, 500, 10, "ag", 5.0).text == "not run"


def test_only_an_interval_makes_a_cell_clear(ledger: Ledger) -> None:
    cells = chapters.map_cells(ledger)
    assert at(cells, 100, 30, "si", 5.0).clear
    assert not at(cells, 100, 10, "si", 1.0).clear  # far from zero, but a single pair of runs
    assert not at(cells, 100, 30, "ag", 5.0).clear  # an interval around zero
    assert not at(cells, 100, 10, "sd", 1.0).clear


def test_where_the_gain_begins_is_said_with_its_evidence(ledger: Ledger) -> None:
    sentences = chapters.beginnings(ledger)
    si_1, _ag_1, sd_1, si_5, _ag_5, _sd_5 = sentences
    assert si_1.startswith("SI, heads × 1: never ahead of the baseline (1 of 5 budgets run); nearest at 100 images")
    assert sd_1 == "SD, heads × 1: not run."
    assert "first at 100 images per class × 30 epochs, +2.00 points with 3 seeds each" in si_5
    assert "ahead of the baseline at 1 (1 of 5" in si_5 and si_5.endswith("the interval excludes zero at 1.")


def test_tables_keep_every_row_and_say_what_has_not_run(ledger: Ledger) -> None:
    frame = chapters.map_frame(ledger)
    assert len(frame) == 2 * len(BUDGETS)
    row = frame[(frame["Epochs"] == 30) & (frame["Images per class"] == 100) & (frame["Rate of the heads"] == "× 5")]
    assert row["SI"].item().startswith("+2.00 (3 seeds each) [+")
    why = chapters.mechanism_frame(ledger)
    assert why.iloc[0].tolist() == [100, 10, "-5.00", "not run", "not run", "not run"]
    assert why.iloc[1].tolist() == [100, 30, "not run", "+2.00", "not run", "+3.00"]
    sides = chapters.sides_frame(ledger)
    assert sides["SI, heads × 5"].tolist() == ["+2.00", "not run", "not run"]


def test_beta_values_come_from_the_right_recipes() -> None:
    short = [fake_result(beta_recipe(beta), si=20.0 + beta, ag=19.0) for beta in (0.1, 1.0)]
    exact = [fake_result("fig4/resnet110/beta-0.1", si=76.0), fake_result("table1/resnet110/fsft", si=77.0)]
    ledger = ledger_of(*short, *exact)
    assert chapters.beta_values(ledger, "si", exact=False)[0.1] == [20.1]
    assert chapters.beta_values(ledger, "si", exact=True) == {
        beta: {0.1: [76.0], 1.0: [77.0]}.get(beta, []) for beta in paper.BETAS
    }
    frame = chapters.beta_frame(ledger)
    assert len(frame) == 10 and set(frame["Paper"]) == {"no number"}
    assert frame.iloc[0].tolist() == ["0.1", "no number", "76.00", "20.10", "19.00", 1]
    assert frame.iloc[1]["short recipe: SI"] == "not run"


def test_the_epoch_that_passed_an_accuracy() -> None:
    curve = np.array([10.0, 30.0, 20.0, 40.0])
    assert [chapters.reached_at(curve, value) for value in (10.0, 15.0, 30.0, 35.0, 41.0)] == [1, 2, 2, 4, None]


def test_runs_of_a_budget_have_names_for_a_figure(ledger: Ledger) -> None:
    found = chapters.map_runs(ledger, 100, 30)
    assert {name: len(runs) for name, runs in found.items()} == {
        "baseline": 3,
        "FSFT, heads × 5": 3,
        "FSFT with student, heads × 5": 3,
    }


@pytest.mark.parametrize("filled", [True, False])
def test_figures_say_in_words_what_they_show(ledger: Ledger, filled: bool) -> None:
    used = ledger if filled else Ledger()
    fig, alt = gain_plots.gain_map(chapters.cells_frame(used))
    assert ("100 images per class × 30 epochs +2.00 (3 seeds each); 4 not run" in alt) is filled
    assert "SD with heads × 1: 5 not run" in alt
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert ("+2.00\nn = 3" in texts) is filled
    assert texts.count("not run") == 36 - (5 if filled else 0)
    plt.close(fig)


def test_the_beta_figure_marks_missing_runs() -> None:
    values = {0.1: [19.0], 0.2: [], 1.0: [20.0, 21.0]}
    fig, alt = gain_plots.beta_curve({"short": values, "exact": {0.1: [76.0], 1.0: []}}, margin=1.0)
    assert "by beta: 0.1: -1.50, 1: +0.00; not run: 0.2" in alt and "exact: not run" in alt
    plt.close(fig)
    fig, alt = gain_plots.gradient_shares({"before": {0.1: 10.0, 1.0: 50.0}})
    assert "before: 10 percent at beta 0.1, 50 percent at beta 1" in alt
    plt.close(fig)


def test_every_short_recipe_has_a_name_and_every_name_a_recipe():
    for family in (FAMILY, "cpu/short-tiny-imagenet"):
        found = {name.removeprefix(f"{family}/") for name in recipes if name.startswith(f"{family}/")}
        assert found == set(chapters.SHORT_RUNS)


def test_an_empty_ledger_is_not_run_everywhere():
    frame = chapters.short_frame(Ledger(), FAMILY)
    assert set(frame["runs"]) == {0} and set(frame["AG (%)"]) == {"not run"}
    assert chapters.table2_curves(Ledger(), FAMILY) == {"plain": {}, "Cutout": {}, "Mixup": {}, "SLA": {}}


def test_modes_that_a_method_lacks_are_not_called_not_run():
    ledger = ledger_of(
        fake_result(f"{FAMILY}/cutout", baseline=30.0),
        fake_result(f"{FAMILY}/sla", si=31.0, ag_last=34.0),
        fake_result(f"{FAMILY}/fsft", 0, si=20.0, ag_last=21.0, ag=22.0),
        fake_result(f"{FAMILY}/fsft", 1, si=22.0, ag_last=21.0, ag=22.0),
    )
    rows = chapters.short_frame(ledger, FAMILY).set_index("trained with")
    assert rows.loc["Cutout", "single (%)"] == "30.00" and rows.loc["Cutout", "AG (%)"] == "–"
    assert rows.loc["Cutout", "best epoch, single (%)"] == "30.50"
    assert rows.loc["SLA", "single (%)"] == "31.00" and rows.loc["SLA", "AG, last classifier (%)"] == "34.00"
    assert rows.loc["SLA", "AG (%)"] == "–" and rows.loc["FSFT", "runs"] == 2
    assert rows.loc["FSFT", "single (%)"].startswith("21.00") and "±" in rows.loc["FSFT", "single (%)"]
    assert rows.loc["Mixup", "single (%)"] == "not run"


def test_runs_of_a_changed_recipe_do_not_count():
    other = recipes[f"{FAMILY}/cutout"].reduced(epochs=3)
    ledger = ledger_of(fake_result(other, baseline=90.0), fake_result("cpu/resnet20/baseline", baseline=65.0))
    assert set(chapters.short_frame(ledger, FAMILY)["runs"]) == {0}


def test_curves_follow_table_2():
    ledger = ledger_of(
        fake_result(f"{FAMILY}/sla", si=31.0, ag_last=34.0),
        fake_result(f"{FAMILY}/sla+fsft", si=30.0, ag_last=33.0, ag=35.0),
        fake_result(f"{FAMILY}/baseline", baseline=25.0),
    )
    panels = chapters.table2_curves(ledger, FAMILY)
    assert {name: values[-1] for name, values in panels["SLA"].items()} == pytest.approx(
        {"without": 34.0, "si": 30.0, "ag": 35.0}
    )
    assert list(panels["plain"]) == ["without"] and panels["Mixup"] == {}
    assert len(panels["plain"]["without"]) == recipes[f"{FAMILY}/baseline"].epochs


def run(name, seed, mean, kind):
    values = np.clip(mean + 5 * np.random.default_rng(seed).normal(size=IMAGES), 0, 100)
    return {"slug": recipes[name].slug, "seed": seed, "scores": {kind: {"energy": values, "pointing": values}}}


@pytest.mark.parametrize(
    ("gaps", "start"),
    [
        ((10.0, 10.1, 9.9), "Yes, and not for these networks only."),
        ((-10.0, -10.1, -9.9), "No, less, and not for these networks only."),
        ((20.0, 1.0), "Yes, for these networks; for others it is not settled."),
        ((-20.0, -1.0), "No, less, for these networks; for others it is not settled."),
        ((10.0,), "Yes, for these networks; for others it is not settled."),
        ((0.0, 0.0), "Not settled: even for these very networks the interval holds zero."),
    ],
)
def test_the_answer_says_no_more_than_its_intervals(gaps, start):
    base = 50 + 5 * rng.normal(size=(len(gaps), IMAGES))
    other = base + np.array(gaps)[:, None] + 0.5 * rng.normal(size=base.shape)
    if gaps[0] == 0:
        other = 50 + 5 * rng.normal(size=base.shape)
        other += base.mean() - other.mean() + 0.1
    text = answer(compare_maps(other, base), "somewhere")
    assert text.startswith(start), text
    assert ("less of their mass" in text) == (np.mean(gaps) < 0)


def test_welch_is_on_the_means_of_networks():
    a, b = rng.normal(size=(2, 3, IMAGES))
    found = compare_maps(a, b).seeds
    assert found.kind == "welch" and found.n == (3, 3)
    assert found == welch(summarize(list(a.mean(1))), summarize(list(b.mean(1))))


def test_one_network_says_nothing_about_others():
    found = compare_maps(rng.normal(size=(1, IMAGES)), rng.normal(size=(2, IMAGES)))
    assert found.images.low is not None and found.both.low is None and found.seeds.low is None
    assert "1 network of FSFT and 2 networks of the baseline" in answer(found, "somewhere")


def test_runs_are_found_by_recipe_and_ordered_by_seed():
    scored = [run("cpu/tiny-imagenet/fsft", seed, 40 + seed, "grad-cam/si") for seed in (1, 0)]
    rows = by_seed(scored, recipes["cpu/tiny-imagenet/fsft"], "grad-cam/si", "energy")
    assert rows.shape == (2, IMAGES) and rows[0].mean() < rows[1].mean()
    assert by_seed(scored, recipes["cpu/tiny-imagenet/baseline"], "grad-cam/baseline", "energy").size == 0
    assert len(comparison_frame(scored, "cpu/tiny-imagenet", {"grad-cam/si": "SI"}, ["energy"])) == 0
    scored += [run("cpu/tiny-imagenet/baseline", 0, 30, "grad-cam/baseline")]
    frame = comparison_frame(scored, "cpu/tiny-imagenet", {"grad-cam/si": "SI"}, ["energy", "pointing"])
    assert list(frame["score"]) == ["energy", "pointing"]
    assert frame["difference (points)"][0] == pytest.approx(frame["FSFT (%)"][0] - frame["baseline (%)"][0])
    assert frame["difference (points)"][0] == pytest.approx(10.5, abs=1)


def test_the_shortcut_test_has_a_row_for_every_cell_run_or_not():
    name = "cpu/shortcut/0.5/fsft"
    ledger = ledger_of(*(fake_result(name, seed, si=40.0 + seed, ag=90.0) for seed in (0, 1)))
    frame = shortcut_frame(ledger, [run(name, 0, 30, "grad-cam/si")])
    assert len(frame) == 12 and frame["runs"].sum() == 2
    cell = frame.set_index(["correlation", "method"]).loc[(0.5, "FSFT")]
    assert cell["accuracy"].mean == 40.5 and cell["background"].mean == pytest.approx(70, abs=1)
    assert frame["accuracy"].notna().sum() == 1
    fig, alt = shortcut_figure(frame)
    assert "FSFT, accuracy: 40 at 0.5" in alt and "Cutout, background: not run" in alt
    assert len(fig.axes) == 2
    assert shortcut_figure(shortcut_frame(Ledger(), []))[1].count("not run") == 6
