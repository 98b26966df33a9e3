"""The figures of chapters 5 and 6 show what they are given: read back from the artists, not from pixels."""

import matplotlib
import numpy as np
import pytest
from torch import nn

from fsft import backbones
from fsft.figures import architectures, charts, diagrams


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
    steps = [part.strip() for step in architectures.BLOCKS[drawn].steps for part in step.split(",")]
    convolutions = [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]
    kernels = [step[:3] for step in steps if "conv" in step]
    assert kernels == [f"{layer.kernel_size[0]}×{layer.kernel_size[1]}" for layer in convolutions]
    assert steps.count("BN") == sum(isinstance(layer, nn.BatchNorm2d) for layer in block.children())
    assert steps.count("dropout") == sum(isinstance(layer, nn.Dropout) for layer in block.children())
    assert set(steps[:1]) == {"BN"} or "conv" in steps[0]


def test_blocks_draw_every_step():
    shown = texts(architectures.blocks())
    assert shown.count("+") == 4 and shown.count("ReLU") == 2 and "1×1 conv, 4w" in shown


def test_width_profile_spreads_every_network_over_the_same_length():
    fig = architectures.width_profile({"a": [16, 32], "b": [5, 6, 7]})
    first, second = fig.axes[0].lines
    assert list(first.get_xdata()) == [0, 1] and list(second.get_xdata()) == [0, 0.5, 1]
    assert list(second.get_ydata()) == [5, 6, 7]


def test_explained_memory_puts_each_share_beside_its_network():
    shares = {"basic": {"SLA": 44.0, "layer 2": 38.0}, "bottleneck": {"SLA": 91.0, "layer 2": 130.0}}
    ax = architectures.explained_memory(shares).axes[0]
    _, sla, layer2 = ax.lines
    assert list(sla.get_xdata()) == [44, 91] and list(layer2.get_xdata()) == [38, 130]
    assert [round(float(y)) for y in sla.get_ydata()] == [0, 1] and ax.get_xlim()[1] > 130


def test_curve_panels_say_what_was_not_run_and_name_each_line_once():
    panels = {"one": {"si": np.array([1.0, 2.0])}, "two": {"si": np.array([3.0, 4.0])}, "three": {}}
    fig, alt = charts.curve_panels(panels)
    assert [axes.get_visible() for axes in fig.axes] == [True, True, True, False]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["FSFT-SI"]
    assert [text.get_text() for text in fig.axes[2].texts] == ["not run"]
    assert "two: FSFT-SI from 3.0 to 4.0 in 2 epochs." in alt and "three: not run." in alt


def test_strip_names_the_classes_of_each_label_and_hatches_the_dropped_part():
    picture, keep, drop = np.zeros((8, 8, 3)), np.ones((2, 2)), np.array([[0, 1], [1, 1]])
    first, mixed = np.zeros((2, 2, 9))
    first[0, 7], mixed[1, 7], mixed[1, 3] = 1, 0.4, 0.6
    shown = {3: "cat", 7: "dog"}
    fig = diagrams.labelled_strip([picture, picture], [first, mixed], ["a", "b"], shown, masks=[keep, drop])
    above, below = fig.axes[:2], fig.axes[2:]
    assert [len(ax.patches) for ax in above] == [0, 1]
    box = above[1].patches[0].get_path().get_extents()
    assert (box.x0, box.y0, box.x1, box.y1) == (-0.5, -0.5, 3.5, 3.5)
    assert [label.get_text() for label in below[0].get_xticklabels()] == ["dog"]
    assert [label.get_text() for label in below[1].get_xticklabels()] == ["cat\n0.60", "dog\n0.40"]
    assert np.asarray(below[1].images[0].get_array()).tolist() == [[0, 0], [0.6, 0.4]]


def test_view_grid_writes_the_joint_label_of_every_view():
    labels = np.arange(6).reshape(2, 3) + 40
    fig = diagrams.view_grid(np.zeros((2, 4, 4, 3)), np.ones((3, 2, 2)), labels, "title")
    assert [ax.get_title() for ax in fig.axes] == ["40", "41", "42", "43", "44", "45"]
