import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

import fsft
from fsft.maps.scores import (
    SCORES,
    THRESHOLDS,
    box_masks,
    center_maps,
    energy_inside,
    iou,
    localization_scores,
    pointing_game,
    randomized,
    rank_correlation,
    uniform_maps,
)

SIDE = 8
maps = arrays.arrays(np.float64, (3, SIDE, SIDE), elements=st.floats(-5, 5).map(lambda x: round(x, 2))).map(
    torch.from_numpy
)


@st.composite
def boxes(draw, count=3):
    corners = []
    for _ in range(count):
        x0, y0 = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
        corners.append([x0, y0, draw(st.integers(x0 + 1, SIDE)), draw(st.integers(y0 + 1, SIDE))])
    return torch.tensor(corners, dtype=torch.float32)


def area(box):
    return ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).numpy() / SIDE**2


@given(maps, boxes(), st.floats(0.01, 100))
def test_scores_are_shares_and_depend_on_the_shape_of_the_map_alone(values, box, factor):
    scores = localization_scores(values, boxes=box)
    assert tuple(scores) == SCORES
    scaled = localization_scores(values * factor, boxes=box)
    for name in ("energy", "pointing"):
        assert ((scores[name] >= 0) & (scores[name] <= 1)).all()
        np.testing.assert_allclose(scaled[name], scores[name], atol=1e-9)
    clipped = localization_scores(values.clamp(min=0), boxes=box)
    for name in SCORES:  # evidence against the class is not evidence for a place
        np.testing.assert_array_equal(clipped[name], scores[name])


@given(maps, st.integers(1, SIDE - 1))
def test_what_is_inside_and_what_is_outside_are_the_whole_map(values, column):
    left = box_masks(torch.tensor([[0, 0, column, SIDE]] * 3), SIDE, SIDE)
    np.testing.assert_allclose(energy_inside(values, left) + energy_inside(values, ~left), 1)


@given(boxes())
def test_the_uniform_map_scores_the_area_and_so_does_a_map_without_evidence(box):
    for empty in (uniform_maps(3, SIDE, SIDE), torch.zeros(3, SIDE, SIDE), -torch.rand(3, SIDE, SIDE)):
        for name, values in localization_scores(empty, boxes=box).items():
            np.testing.assert_allclose(values, area(box), err_msg=name)


@given(boxes())
def test_the_perfect_map_is_perfect(box):
    for values in localization_scores(box_masks(box, SIDE, SIDE).float() * 3, boxes=box).values():
        np.testing.assert_array_equal(values, 1)


@given(maps, st.sampled_from(THRESHOLDS))
def test_iou_of_pixels_is_the_textbooks(values, threshold):
    region = box_masks(torch.tensor([[1, 2, 5, 7.0]] * 3), SIDE, SIDE)
    for k in range(3):
        if values[k].max() <= 0:
            continue
        found = {tuple(place) for place in np.argwhere(values[k].numpy() >= threshold * values[k].max().item())}
        truth = {tuple(place) for place in np.argwhere(region[k].numpy())}
        expected = len(found & truth) / len(found | truth)
        assert iou(values, region, threshold)[k] == pytest.approx(expected)


def test_a_box_is_drawn_around_the_largest_connected_part():
    values = torch.zeros(1, SIDE, SIDE)
    values[0, 0, 0] = 1.0  # a peak that is higher, but alone; it touches nothing, not even by a corner
    values[0, 3, 2] = values[0, 3, 3] = values[0, 4, 3] = values[0, 4, 4] = 0.8
    box = torch.tensor([[2, 3, 5, 5.0]])
    region = box_masks(box, SIDE, SIDE)
    assert iou(values, region, 0.5, as_boxes=True) == 1
    assert iou(values, region, 0.5)[0] == pytest.approx(4 / 7)
    assert pointing_game(values, region) == 0


def test_pointing_at_one_of_several_highest_places_counts_their_share():
    values = torch.zeros(1, 2, 2)
    values[0, 0] = 1
    region = torch.tensor([[[True, False], [False, False]]])
    assert pointing_game(values, region) == 0.5


def test_a_box_holds_the_pixels_whose_centers_it_holds():
    box = box_masks(torch.tensor([[0.4, 0, 1.6, 1]]), 2, 3)
    assert box.tolist() == [[[True, True, False], [False, False, False]]]


def test_the_center_null_prefers_the_center_and_no_side():
    center = center_maps(2, 32, 64)
    torch.testing.assert_close(center, center.flip(1))
    torch.testing.assert_close(center, center.flip(2))
    middle = box_masks(torch.tensor([[16, 8, 48, 24.0]] * 2), 32, 64)
    expected = (stats.norm.cdf(1) - stats.norm.cdf(-1)) ** 2 / (stats.norm.cdf(2) - stats.norm.cdf(-2)) ** 2
    np.testing.assert_allclose(energy_inside(center, middle), expected, atol=0.005)


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        (torch.ones(1, 4, 4), {}, "masks or boxes"),
        (torch.ones(1, 4, 4), {"masks": torch.ones(1, 4, 5, dtype=torch.bool)}, "same shape"),
        (torch.ones(1, 4, 4), {"masks": torch.ones(1, 4, 4)}, "bool"),
        (torch.ones(1, 4, 4), {"masks": torch.zeros(1, 4, 4, dtype=torch.bool)}, "without a pixel"),
        (torch.full((1, 4, 4), torch.nan), {"masks": torch.ones(1, 4, 4, dtype=torch.bool)}, "finite"),
    ],
)
def test_bad_input_is_one_clear_sentence(values, truth, message):
    with pytest.raises(ValueError, match=message):
        localization_scores(values, **truth)


def network(method):
    torch.manual_seed(0)
    stages = fsft.backbone("resnet8")
    model = fsft.PlainNet(stages, 10) if method == "baseline" else fsft.JointNet(stages, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)  # as if training had moved it
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(1.0)
    return model.eval()


@pytest.mark.parametrize("method", ["baseline", "fsft"])
def test_randomization_takes_the_training_of_what_it_names_and_of_nothing_else(method):
    model = network(method)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    head, every, again = randomized(model, "head"), randomized(model, "all"), randomized(model, "all")
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
        assert torch.equal(head.state_dict()[name], value) == name.startswith("stages")
        assert torch.equal(every.state_dict()[name], again.state_dict()[name])
        if "num_batches" not in name:
            assert not torch.equal(every.state_dict()[name], value), name
    assert not torch.equal(next(randomized(model, "all", seed=1).parameters()), next(every.parameters()))
    with pytest.raises(ValueError, match="what"):
        randomized(model, "some")


@given(maps, maps)
def test_rank_correlation_is_scipys(a, b):
    found = rank_correlation(a, b)
    for k in range(3):
        if a[k].unique().numel() > 1 and b[k].unique().numel() > 1:
            assert found[k] == pytest.approx(stats.spearmanr(a[k].flatten(), b[k].flatten()).statistic, abs=1e-9)
        else:
            assert found[k] == 0
