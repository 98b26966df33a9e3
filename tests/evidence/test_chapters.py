"""The chapters' tables and curves take exactly the recipes' runs, and say so where there are none."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fake_runs import fake_result, ledger_of

from fsft import networks
from fsft.catalog import recipes
from fsft.evidence import chapters, paper
from fsft.evidence.assertions import beta_recipe
from fsft.evidence.chapters import answer, by_seed, compare_maps, comparison_frame, shortcut_frame
from fsft.evidence.ledger import Ledger
from fsft.evidence.statistics import summarize, welch
from fsft.figures import gain_plots
from fsft.figures.map_plots import shortcut_figure

FAMILY = "cpu/short-cifar100"
rng = np.random.default_rng(0)
IMAGES = 200


SPLIT = "cpu/split/basic"


def trained(name, accuracy, fitted, seed=0):
    """A run of the method's parts, with its accuracy on training images."""
    mode = "baseline" if name == "baseline" else "si"
    run = fake_result(f"{SPLIT}/{name}", seed, **{mode: accuracy})
    run["history"][-1]["train"] = {mode: fitted}
    return run


PARTS = (("baseline", 45.0, 64.0), ("masks", 43.0, 54.0), ("two-heads", 42.5, 58.0), ("fsft", 37.0, 47.0))


def test_one_classifier_without_masks_is_the_baseline():
    """The cell "neither" of the method taken apart: equal weights give equal logits."""
    torch.manual_seed(0)
    neither = networks.build(recipes[f"{SPLIT}/baseline-x5"], 10).eval()
    plain = networks.build(recipes[f"{SPLIT}/baseline"], 10).eval()
    plain.stages.load_state_dict(neither.stages.state_dict())
    plain.fc.load_state_dict(neither.fc_last.state_dict())
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(neither(x).last[:, 0], plain(x), rtol=1e-5, atol=1e-5)


def test_the_parts_add_up_from_the_baseline_to_the_whole():
    ledger = ledger_of(*(trained(*part) for part in PARTS))
    base, found = chapters.steps(ledger, SPLIT)
    assert base.mean == 45 and [round(one.gain, 6) for one in found.values()] == [-2.0, -2.5, -3.5, -8.0]
    more = ledger_of(
        *(trained(*part) for part in PARTS), trained("baseline", 30.0, 64.0, 1), trained("fsft", 33.0, 47.0, 1)
    )
    assert chapters.steps(more, SPLIT) == (base, found)  # a seed that not all four have would not add up
    assert chapters.steps(ledger, SPLIT, "-x5") is None and chapters.steps(Ledger(), SPLIT) is None
    assert chapters.steps(ledger, "cpu/split/bottleneck") is None  # it has no run of the second classifier alone
    frame = chapters.parts_frame(ledger, SPLIT).set_index("Trained with")
    assert frame.loc["Baseline", "Gain (points)"] == "–" and frame.loc["FSFT", "Gain (points)"] == "-8.00"
    assert frame.loc["masks alone (eq. 2)", "On training images (%)"] == "54.00"
    assert frame.loc["FSFT, heads × 5"].tolist() == ["not run", "–", "not run", "–", 0]


def test_the_interaction_is_paired_within_seeds():
    """Seeds move all four networks alike: only what is left of it makes the interval."""
    runs = [
        trained(name, accuracy + 3 * seed + 0.1 * seed * (name == "fsft"), fitted, seed)
        for name, accuracy, fitted in PARTS
        for seed in range(3)
    ]
    beyond = chapters.steps(ledger_of(*runs), SPLIT)[1]["both, beyond the sum"]
    assert beyond.kind == "paired" and beyond.n == (3, 3) and beyond.high - beyond.low < 1


def test_beta_values_come_from_the_right_recipes() -> None:
    short = [fake_result(beta_recipe(beta), si=20.0 + beta, ag=19.0) for beta in (0.1, 1.0)]
    exact = [fake_result("fig4/resnet110/beta-0.1", si=76.0), fake_result("table1/resnet110/fsft", si=77.0)]
    ledger = ledger_of(*short, *exact)
    assert chapters.beta_values(ledger, "si", exact=False)[0.1] == [20.1]
    assert chapters.beta_values(ledger, "si", exact=True) == {
        beta: {0.1: [76.0], 1.0: [77.0]}.get(beta, []) for beta in paper.BETAS
    }


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
        ((10.0, 10.1, 9.9), "Yes: on somewhere"),
        ((-10.0, -10.1, -9.9), "No, less: on somewhere"),
        ((20.0, 1.0), "Yes, for these networks; for others it is not settled: on"),
        ((-20.0, -1.0), "No, less, for these networks; for others it is not settled: on"),
        ((10.0,), "Yes, for these networks; for others it is not settled: on"),
        ((0.0, 0.0), "Not settled: even for these very networks the interval holds zero: on"),
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
    assert (" -" in text.split("points")[0]) == (np.mean(gaps) < 0)


def test_welch_is_on_the_means_of_networks():
    a, b = rng.normal(size=(2, 3, IMAGES))
    found = compare_maps(a, b).seeds
    assert found.kind == "welch" and found.n == (3, 3)
    assert found == welch(summarize(list(a.mean(1))), summarize(list(b.mean(1))))


def test_one_network_says_nothing_about_others():
    found = compare_maps(rng.normal(size=(1, IMAGES)), rng.normal(size=(2, IMAGES)))
    assert found.images.low is not None and found.both.low is None and found.seeds.low is None
    assert "over networks none" in answer(found, "somewhere") and "1 and 2 seeds" in answer(found, "somewhere")


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
    scored[0]["scores"]["grad-cam/si"]["energy"] = np.ones(100)
    with pytest.raises(ValueError, match=r"same images for every seed, found \[100, 200\] of cpu/tiny"):
        by_seed(scored, recipes["cpu/tiny-imagenet/fsft"], "grad-cam/si", "energy")


def test_who_has_hardly_learned_is_said():
    assert chapters.unlearned({"baseline": [59.0, 31.0], "FSFT": [40.0]}, 10) == ""
    said = chapters.unlearned({"baseline": [59.0, 29.0], "FSFT": [40.0]}, 10)
    assert "baseline 29.0 %" in said and "FSFT" not in said and "10.0 %" in said


def test_an_interval_that_says_nothing_is_not_printed():
    wild = compare_maps(np.array([[90.0] * IMAGES, [10.0] * IMAGES]), np.array([[50.0] * IMAGES, [49.0] * IMAGES]))
    assert wild.cells["over seeds (Welch)"] == "wider than 100 points"


def test_the_shortcut_test_has_a_row_for_every_cell_run_or_not():
    name = "cpu/shortcut/0.5/fsft"
    ledger = ledger_of(*(fake_result(name, seed, si=40.0 + seed, ag=90.0) for seed in (0, 1)))
    frame = shortcut_frame(ledger, [run(name, 0, 30, "grad-cam/si")])
    assert len(frame) == 12 and frame["runs"].sum() == 2
    cell = frame.set_index(["correlation", "method"]).loc[(0.5, "FSFT")]
    assert cell["accuracy"] == [40.0, 41.0] and cell["background"] == pytest.approx([70], abs=1)
    assert frame["accuracy"].map(len).sum() == 2
    fig, alt = shortcut_figure(frame)
    assert "FSFT, accuracy: 40 and 41 at 0.5" in alt and "Cutout, background: not run" in alt
    assert len(fig.axes) == 2
    assert shortcut_figure(shortcut_frame(Ledger(), []))[1].count("not run") == 6
    plt.close("all")
