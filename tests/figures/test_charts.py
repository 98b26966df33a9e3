"""The charts of chapters 3 and 4 draw what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from fsft.figures import charts


def test_joint_row_conditions_on_all_classes_and_draws_the_chosen_ones():
    joint = np.array([[0.1, 0.1, 0.0], [0.2, 0.2, 0.4]])
    fig = charts.joint_row(joint, 1, {0: "a", 2: "c"})
    above, below = fig.axes
    assert "6 columns" in above.get_title()
    assert [bar.get_height() for bar in below.patches] == pytest.approx([25, 50])


def test_votes_frames_each_row_at_its_winner():
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    fig = charts.votes(np.zeros((4, 4, 3)), probabilities, ["one", "two", "all"], ["a", "b"])
    corners = [patch.get_xy() for patch in fig.axes[1].patches]
    assert corners == [(-0.5, -0.5), (0.5, 0.5), (0.5, 1.5)]


def test_agreement_leaves_out_counts_that_never_occur():
    fig = charts.agreement(np.array([5, 5, 3]), np.array([True, False, True]), 5)
    assert [bar.get_height() for bar in fig.axes[0].patches] == pytest.approx([0, 0, 100, 0, 50])
    assert [text.get_text() for text in fig.axes[0].texts][2] == "1 image"


def test_view_accuracy_has_one_marker_per_view_and_a_line_for_the_aggregate():
    fig = charts.view_accuracy({"last": (np.array([60.0, 50.0]), 58.0)}, ["whole map", "part dropped"])
    markers, aggregate = fig.axes[0].lines
    assert list(markers.get_ydata()) == [60.0, 50.0]
    assert set(aggregate.get_ydata()) == {58.0}


def test_examples_say_when_a_row_is_empty():
    picture = np.zeros((4, 4, 3))
    fig = charts.examples({"rescued": [(picture, "SI: a")], "broken": []}, columns=2)
    assert fig.axes[0].get_title() == "SI: a"
    assert "broken: none" in [text.get_text() for text in fig.axes[2].texts]


def test_confusions_are_written_in_percent():
    fig = charts.confusions({"first": np.array([[1.0, 0.0], [0.25, 0.75]])}, ["x", "y"])
    assert [text.get_text() for text in fig.axes[0].texts] == ["100", "0", "25", "75"]


def test_dumbbells_put_the_largest_gain_on_top_and_keep_the_band_in_range():
    fig = charts.dumbbells(["down", "up"], np.array([50.0, 4.0]), np.array([40.0, 30.0]), ("old", "new"), "x", 10.0)
    ax = fig.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["down", "up"]
    assert min(bar.get_x() for bar in ax.patches) == 0
