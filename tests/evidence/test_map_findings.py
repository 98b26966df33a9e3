import numpy as np
import pytest
from fake_runs import fake_result, with_file

from fsft.evidence.map_findings import answer, by_seed, compare, comparison_frame, shortcut_frame
from fsft.evidence.statistics import summarize, welch
from fsft.figures.localization_figures import distributions_alt, overlays, score_distributions, shortcut_figure

rng = np.random.default_rng(0)
IMAGES = 200


def run(name, seed, mean, kind):
    values = np.clip(mean + 5 * np.random.default_rng(seed).normal(size=IMAGES), 0, 100)
    return {"recipe_name": name, "seed": seed, "scores": {kind: {"energy": values, "pointing": values}}}


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
    text = answer(compare(other, base), "somewhere")
    assert text.startswith(start), text
    assert ("less of their mass" in text) == (np.mean(gaps) < 0)


def test_welch_is_on_the_means_of_networks():
    a, b = rng.normal(size=(2, 3, IMAGES))
    found = compare(a, b).seeds
    assert found.kind == "welch" and found.n == (3, 3)
    assert found == welch(summarize(list(a.mean(1))), summarize(list(b.mean(1))))


def test_one_network_says_nothing_about_others():
    found = compare(rng.normal(size=(1, IMAGES)), rng.normal(size=(2, IMAGES)))
    assert found.images.low is not None and found.both.low is None and found.seeds.low is None
    assert "1 network of FSFT and 2 networks of the baseline" in answer(found, "somewhere")


def test_runs_are_found_by_recipe_and_ordered_by_seed():
    scored = [run("f/fsft", seed, 40 + seed, "grad-cam/si") for seed in (1, 0)]
    rows = by_seed(scored, "f/fsft", "grad-cam/si", "energy")
    assert rows.shape == (2, IMAGES) and rows[0].mean() < rows[1].mean()
    assert by_seed(scored, "f/baseline", "grad-cam/baseline", "energy").size == 0
    assert len(comparison_frame(scored, "f", {"grad-cam/si": "SI"}, ["energy"])) == 0
    scored += [run("f/baseline", 0, 30, "grad-cam/baseline")]
    frame = comparison_frame(scored, "f", {"grad-cam/si": "SI"}, ["energy", "pointing"])
    assert list(frame["score"]) == ["energy", "pointing"]
    assert frame["difference (points)"][0] == pytest.approx(frame["FSFT (%)"][0] - frame["baseline (%)"][0])
    assert frame["difference (points)"][0] == pytest.approx(10.5, abs=1)


def test_the_shortcut_test_has_a_row_for_every_cell_run_or_not():
    name = "cpu/shortcut/0.5/fsft"
    ledger = with_file(*(fake_result(name, seed, si=40.0 + seed, ag=90.0) for seed in (0, 1)))
    frame = shortcut_frame(ledger, [run(name, 0, 30, "grad-cam/si")])
    assert len(frame) == 12 and frame["runs"].sum() == 2
    cell = frame.set_index(["correlation", "method"]).loc[(0.5, "FSFT")]
    assert cell["accuracy"].mean == 40.5 and cell["background"].mean == pytest.approx(70, abs=1)
    assert frame["accuracy"].notna().sum() == 1
    fig, alt = shortcut_figure(frame)
    assert "FSFT, accuracy: 40 at 0.5" in alt and "Cutout, background: not run" in alt
    assert len(fig.axes) == 2
    assert shortcut_figure(shortcut_frame([], []))[1].count("not run") == 6


def test_figures_draw_what_they_are_given():
    images = [np.zeros((3, 8, 8), dtype=np.uint8)] * 3
    region = np.zeros((8, 8), dtype=bool)
    region[2:5, 2:5] = True
    rows = {"A": [np.full((8, 8), k) for k in (0.0, 1.0, 2.0)], "B": [np.zeros((8, 8))] * 3}
    fig = overlays(images, rows, [region] * 3, ["x", "y", "z"])
    shown = [ax for ax in fig.axes if ax.images]
    assert len(shown) == 9
    assert {ax.images[0].norm.vmax for ax in shown[3:]} == {2.0}  # one scale
    groups = {"a": np.array([10.0, 20.0, 90.0]), "b": np.array([50.0, 50.0, 50.0])}
    assert len(score_distributions(groups, "energy").axes) == 1
    assert "a mean 40, median 20" in distributions_alt(groups, "energy")
