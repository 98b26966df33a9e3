"""Figures of maps: one scale for all of them, the truth about maxima and shares, and no color where a map is zero."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from fsft.catalog import recipes
from fsft.evidence.ledger import load_results
from fsft.figures import map_plots
from fsft.maps.gallery import load_galleries

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 6), dtype=np.uint8)
WEAK, STRONG = np.full((2, 8, 6), 0.5), np.zeros((2, 8, 6))
STRONG[:, 6, 1] = 4.0
MAPS = {"weak": WEAK, "strong": STRONG}


def texts(fig):
    return {ax.get_title() for ax in fig.axes} | {ax.get_xlabel() for ax in fig.axes}


def test_all_maps_share_one_scale_and_name_their_maximum():
    region = np.zeros((2, 8, 6), dtype=bool)
    region[:, 2:5, 2:5] = True
    fig, alt = map_plots.gallery(IMAGES, MAPS, ["a", "b"], plain=True, regions=region)
    maps = [ax.images[0] for ax in fig.axes if ax.images and ax.images[0].get_array().ndim == 2]
    assert len(maps) == 4 and {picture.get_clim() for picture in maps} == {(0.0, 4.0)}
    assert {"image", "weak", "strong", "max 0.5", "max 4", "map, in units of the score"} <= texts(fig)
    assert alt.count("strong 4 in the lower left") == 2 and alt.endswith("The object is outlined.")


def test_galleries_of_runs_say_whose_maps_they_are(monkeypatch):
    networks = {"plain\nnet": ("cpu/split/basic/baseline", "baseline"), "raw": ("cpu/split/basic/fsft", "si, raw")}
    fig, alt, whose = map_plots.of_runs(networks, slice(1, 3))
    assert {"image", "plain\nnet", "raw"} <= texts(fig) and "plain net" in alt
    assert "Test images 1538, 2307, evenly" in whose
    for name, mode in (("cpu/split/basic/baseline", "baseline"), ("cpu/split/basic/fsft", "si")):
        [run] = [run for run in load_results().runs(recipes[name]) if run.seed == load_galleries()[name]["seed"]]
        assert f"{run.file.removesuffix('.json')}, right on {run.last[mode]:.1f} %" in whose
    shown = load_galleries()
    shown["cpu/split/basic/fsft"]["images"] = [0]
    monkeypatch.setattr(map_plots, "load_galleries", lambda: shown)
    with pytest.raises(ValueError, match="the same test images"):
        map_plots.of_runs(networks, slice(1, 3))


def test_an_overlay_colors_by_strength():
    image = IMAGES[0]
    grey = map_plots.overlay(image, np.zeros((8, 6)), 4.0)
    assert np.ptp(grey, axis=2).max() < 1e-9  # nothing is colored where the map is zero
    assert grey[2, 3, 0] == pytest.approx(image[:, 2, 3] @ [0.299, 0.587, 0.114] / 255)
    weak, strong = (np.ptp(map_plots.overlay(image, np.full((8, 6), value), 4.0), axis=2).mean() for value in (1, 4))
    assert 0 < weak < strong


def test_maps_of_a_network_that_sees_nothing_can_be_drawn():
    nothing = {"none": np.zeros((2, 8, 6))}
    _, alt = map_plots.gallery(IMAGES, nothing, ["a", "b"])
    assert "whole map, which is empty" in alt
    assert "nan" in map_plots.mean_maps({"none": nothing["none"][0]}, {})[1]


def test_mean_maps_print_shares_and_frame_the_dropped_quadrant():
    heat = np.zeros((5, 6))
    heat[1, 4], heat[2, 0] = 3, 1  # with five rows, the third one is a lower one
    fig, alt = map_plots.mean_maps({"all": heat, "no lower right": heat}, {"no lower right": 4})
    shares = [text.get_text() for text in fig.axes[0].texts]
    assert shares == ["0 %", "75 %", "25 %", "0 %"]
    frames = [[p for p in ax.patches if isinstance(p, Rectangle)] for ax in fig.axes[:2]]
    assert not frames[0] and frames[1][0].get_bbox().bounds == (2.5, 1.5, 3.0, 3.0)
    assert "upper right 75, lower left 25" in alt


def test_changes_show_every_seed_and_mark_the_dropped_quadrant():
    changes = {"no upper left": np.array([[-2.0, 1, 1, 0], [-4.0, 2, 1, 1]]), "FSFT": np.zeros((2, 4))}
    fig = map_plots.share_changes(changes, {"no upper left": 1})
    seeds, mean = fig.axes[0].lines[:2]
    assert list(seeds.get_xdata()) == [-2, -4] and list(mean.get_xdata()) == [-3]
    markers = [line.get_marker() for line in fig.axes[0].lines[:8]]
    assert markers == ["s", "s"] + ["o"] * 6
    assert {line.get_marker() for line in fig.axes[1].lines[:8]} == {"o"}


def test_distributions_are_said_in_words():
    groups = {"a": np.array([10.0, 20.0, 90.0]), "b": np.array([50.0, 50.0, 50.0])}
    fig, alt = map_plots.score_distributions(groups, "energy")
    assert fig.axes[0].get_xlabel() == "energy (%)" and "a mean 40, median 20" in alt
