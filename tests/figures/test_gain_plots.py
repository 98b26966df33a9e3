"""The figures of gains draw the frames that they are given; those of the committed results fit into their pictures."""

import numpy as np
import pandas as pd
import pytest

from fsft.evidence import tables
from fsft.evidence.ledger import load_results
from fsft.figures import charts, gain_plots, plots

COLUMNS = ["group", "label", "mode", "gain", "low", "high", "seeds", "fitted"]
ROWS = [
    ("paper", "ResNet-56", "si", 0.8, 0.4, 1.2, 4, 73.7),
    ("short", "FSFT", "si", -5.0, np.nan, np.nan, 1, 60.0),
    ("short", "masks", "si", -1.0, -1.5, -0.5, 3, 60.0),
    ("long", "FSFT", "ag", 0.5, np.nan, np.nan, 1, np.nan),
    ("long", "FSFT", "si", 1.0, 0.5, 1.5, 3, 100.0),
]


@pytest.fixture
def gains():
    return pd.DataFrame(ROWS, columns=COLUMNS)


def test_a_forest_has_a_row_for_every_setting_and_part(gains):
    fig, alt = gain_plots.forest(gains)
    shown = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert shown == ["ResNet-56", "FSFT", "masks", "FSFT"]
    assert [text.get_text() for text in fig.axes[0].texts] == ["paper", "short", "long"]
    assert "paper: ResNet-56, SI +0.80 (+0.40 to +1.20)." in alt
    assert "long: FSFT, AG +0.50 (no interval); FSFT, SI +1.00 (+0.50 to +1.50)." in alt


def faces(fig, look):
    """Whether the markers of a mode are hollow, by gain."""
    drawn = [line for line in fig.axes[0].lines if line.get_marker() == look.marker]
    return {x: line.get_markerfacecolor() == "white" for line in drawn for x in line.get_xdata()}


def test_two_pairs_are_hollow_and_their_intervals_set_no_scale(gains):
    wide = gains.assign(low=gains["gain"] - 40, high=gains["gain"] + 40, seeds=[4, 1, 2, 1, 2])
    wide.loc[0, ["low", "high"]] = 0.4, 1.2
    fig, alt = gain_plots.forest(wide)
    assert faces(fig, plots.LOOKS["si"]) == {0.8: False, -5.0: True, -1.0: True, 1.0: True}
    low, high = fig.axes[0].get_xlim()
    assert low > -10 and high < 10 and "masks, SI -1.00 (-41.00 to +39.00)" in alt
    fig, _ = gain_plots.gain_by_fit(wide[wide["mode"] == "si"], "paper")
    legend = fig.legends[0].legend_handles
    assert [handle.get_markerfacecolor() for handle in legend[1:]] == ["white", "white"]
    assert fig.axes[0].get_ylim()[1] < 10


def test_a_heading_covers_the_lines_behind_it_and_long_names_break_between_words(gains):
    long = gains.assign(label="kept-quadrants with student, heads × 5", group="a group " * 8, gain=[1.0, 2, 3, 4, 5])
    fig, _ = gain_plots.forest(long)
    [heading] = fig.axes[0].texts
    assert heading.get_bbox_patch().get_facecolor() == (1, 1, 1, 1) and "\n" in heading.get_text()
    [name] = fig.axes[0].get_yticklabels()
    assert name.get_text() == "kept-quadrants with\nstudent, heads\u00a0×\u00a05"


def test_a_gain_stands_where_its_baseline_is(gains):
    fig, alt = gain_plots.gain_by_fit(gains[gains["mode"] == "si"], "paper")
    assert "FSFT: short, -5.00 at 60 % (no interval); long, +1.00 at 100 % (+0.50 to +1.50)." in alt
    assert alt.endswith("The paper: ResNet-56 +0.80 between 74 and 100 %.")
    sides = {text.get_text() for text in fig.axes[0].texts}
    assert sides == {"ahead of the baseline", "behind the baseline"}
    low, high = fig.axes[0].get_ylim()
    assert low == -high and high > 5
    only_paper = gain_plots.gain_by_fit(gains[gains["group"] == "paper"], "paper")[1]
    assert "No run of ours yet." in only_paper


def test_a_waterfall_leads_from_the_baseline_to_the_whole():
    steps = {"masks": (-2.0, -3.0, -1.0), "rest": (-1.0, None, None), "all": (-3.0, None, None)}
    fig, alt = charts.waterfall({"short": (45.0, steps)})
    assert "short: baseline 45.00 percent; masks -2.00 [-3.00, -1.00], rest -1.00 (no interval), all -3.00" in alt
    bars = [(bar.get_x(), bar.get_width()) for bar in fig.axes[0].patches]
    assert bars == [(45.0, -2.0), (43.0, -1.0), (45.0, -3.0)]
    assert fig.axes[0].get_yticklabels()[0].get_text() == "baseline\n45.00 %"
    fig, _ = charts.waterfall({"wide": (45.0, {"masks": (-2.0, -30.0, -1.0), "all": (-2.0, None, None)})})
    assert fig.axes[0].get_xlim() == (42, 46)  # the bars', and the interval ends in an arrow
    assert [line.get_marker() for line in fig.axes[0].lines[-2:]] == ["<", "|"]


def test_the_committed_results_fit_into_their_pictures():
    """The check is that of the fixture: nothing of a figure is cut."""
    found = tables.gains_frame(load_results())
    assert len(gain_plots.forest(found)[1]) > 100
    assert len(gain_plots.gain_by_fit(found[found["mode"] == "si"], tables.PAPER)[1]) > 100
