"""The figures of chapters 5 and 6 show what they are given: read back from the artists, not from pixels."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
from torch import nn

from fsft import backbones
from fsft.figures import architecture_figures, charts, label_figures, plots

pytestmark = pytest.mark.usefixtures("book_figures")


def texts(fig):
    return [text.get_text() for text in fig.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize(
    ("drawn", "block"),
    [
        (0, backbones.BasicBlock(4, 4, 1, "B")),
        (1, backbones.Bottleneck(4, 4, 1, "B")),
        (2, backbones.WideBlock(4, 4, 1, 0.3)),
        (3, backbones.PyramidBasic(4, 4, 1)),
    ],
)
def test_the_drawn_blocks_have_the_layers_of_the_built_ones(drawn, block):
    steps = [part.strip() for step in architecture_figures.BLOCKS[drawn].steps for part in step.split(",")]
    convolutions = [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]
    kernels = [step[:3] for step in steps if "conv" in step]
    assert kernels == [f"{layer.kernel_size[0]}×{layer.kernel_size[1]}" for layer in convolutions]
    assert steps.count("BN") == sum(isinstance(layer, nn.BatchNorm2d) for layer in block.children())
    assert steps.count("dropout") == sum(isinstance(layer, nn.Dropout) for layer in block.children())
    assert set(steps[:1]) == {"BN"} or "conv" in steps[0]


def test_blocks_draw_every_step():
    shown = texts(architecture_figures.blocks())
    assert shown.count("+") == 4 and shown.count("ReLU") == 2 and "1×1 conv, 4w" in shown


def test_width_profile_spreads_every_network_over_the_same_length():
    fig = architecture_figures.width_profile({"a": [16, 32], "b": [5, 6, 7]})
    first, second = fig.axes[0].lines
    assert list(first.get_xdata()) == [0, 1] and list(second.get_xdata()) == [0, 0.5, 1]
    assert list(second.get_ydata()) == [5, 6, 7]


def test_lineup_puts_each_share_beside_its_suspect():
    shares = {"basic": {"SLA": 44.0, "layer 2": 38.0}, "bottleneck": {"SLA": 91.0, "layer 2": 130.0}}
    ax = architecture_figures.lineup(shares).axes[0]
    _, sla, layer2 = ax.lines
    assert list(sla.get_xdata()) == [44, 91] and list(layer2.get_xdata()) == [38, 130]
    assert [round(float(y)) for y in sla.get_ydata()] == [0, 1] and ax.get_xlim()[1] > 130


def test_curve_panels_say_what_was_not_run_and_name_each_line_once():
    looks = {"a": plots.MethodStyle("first", plots.BLACK, "o", "-"), "b": plots.MethodStyle("second", "red", "s", "--")}
    panels = {"one": {"a": np.array([1.0, 2.0])}, "two": {"a": np.array([3.0, 4.0])}, "three": {}}
    fig = charts.curve_panels(panels, looks)
    assert [axes.get_visible() for axes in fig.axes] == [True, True, True, False]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["first"]
    assert [text.get_text() for text in fig.axes[2].texts] == ["not run"]
    alt = charts.curve_panels_alt(panels, looks)
    assert "two: first from 3.0 to 4.0 in 2 epochs." in alt and "three: not run." in alt


def test_soft_target_adds_up_and_keeps_the_version():
    target = label_figures.soft_target([(2, 0.75), (0, 0.25)], 4, versions=3, version=1)
    assert target.tolist() == [[0, 0, 0, 0], [0.25, 0, 0.75, 0], [0, 0, 0, 0]]
    assert label_figures.soft_target([(1, 0.6), (1, 0.4)], 2).tolist() == [[0, 1]]  # an image mixed with its own class


def test_strip_names_the_classes_of_each_label_and_hatches_the_dropped_part():
    picture, keep, drop = np.zeros((8, 8, 3)), np.ones((2, 2)), np.array([[0, 1], [1, 1]])
    targets = [label_figures.soft_target([(7, 1.0)], 9, 2, 0), label_figures.soft_target([(7, 0.4), (3, 0.6)], 9, 2, 1)]
    shown = {3: "cat", 7: "dog"}
    fig = label_figures.strip([picture, picture], targets, ["a", "b"], shown, masks=[keep, drop])
    above, below = fig.axes[:2], fig.axes[2:]
    assert [len(ax.patches) for ax in above] == [0, 1]
    box = above[1].patches[0].get_path().get_extents()
    assert (box.x0, box.y0, box.x1, box.y1) == (-0.5, -0.5, 3.5, 3.5)
    assert [label.get_text() for label in below[0].get_xticklabels()] == ["dog"]
    assert [label.get_text() for label in below[1].get_xticklabels()] == ["cat\n0.60", "dog\n0.40"]
    assert np.asarray(below[1].images[0].get_array()).tolist() == [[0, 0], [0.6, 0.4]]


def test_view_grid_writes_the_joint_label_of_every_view():
    labels = np.arange(6).reshape(2, 3) + 40
    fig = label_figures.view_grid(np.zeros((2, 4, 4, 3)), np.ones((3, 2, 2)), labels, "title")
    assert [ax.get_title() for ax in fig.axes] == ["40", "41", "42", "43", "44", "45"]
