import appendix_b
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsft import (
    JointNet,
    PlainNet,
    apply_masks,
    backbone,
    joint_labels,
    mask_families,
    masked_average_pool,
    quadrant_masks,
)
from fsft.evidence.cost import saved_activation_bytes

sizes = st.integers(2, 9)


@st.composite
def features_and_masks(draw, dtype=torch.float64):
    batch, channels, height, width, count = (draw(st.integers(1, limit)) for limit in (4, 5, 9, 9, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    features = torch.randn(batch, channels, height, width, generator=generator, dtype=dtype)
    masks = (torch.rand(count, height, width, generator=generator) < 0.6).float()
    return features, masks


@given(features_and_masks(), st.booleans())
def test_closed_form_equals_masked_copies_forward_and_backward(case, channels_last):
    features, masks = case
    if channels_last:
        features = features.to(memory_format=torch.channels_last)
    features.requires_grad_()
    literal = apply_masks(features, masks).mean((-2, -1))
    closed = masked_average_pool(features, masks)
    torch.testing.assert_close(closed, literal)
    weights = torch.randn(closed.shape, dtype=closed.dtype)
    (expected,) = torch.autograd.grad((literal * weights).sum(), features)
    (gradient,) = torch.autograd.grad((closed * weights).sum(), features)
    torch.testing.assert_close(gradient, expected)


def test_sums_over_a_large_map_do_not_overflow_in_half_precision():
    pooled = masked_average_pool(torch.full((1, 2, 56, 56), 30.0, dtype=torch.float16), quadrant_masks(56, 56))
    torch.testing.assert_close(pooled[0, :, 0].float(), torch.tensor([30.0, 22.5, 22.5, 22.5, 22.5]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_closed_form_keeps_the_dtype(dtype):
    features = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    pooled = masked_average_pool(features, quadrant_masks(8, 8))
    assert pooled.dtype == dtype == apply_masks(features, quadrant_masks(8, 8)).dtype
    exact = apply_masks(features.double(), quadrant_masks(8, 8)).mean((-2, -1))
    torch.testing.assert_close(pooled.double(), exact, atol=4 * torch.finfo(dtype).eps, rtol=4 * torch.finfo(dtype).eps)


@given(sizes, sizes)
def test_dropped_parts_add_up_to_the_whole(height, width):
    """The identity below eq. 1, odd sizes included."""
    features = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    masked = apply_masks(features, quadrant_masks(height, width))
    assert torch.equal((features[:, None] - masked[:, 1:]).sum(1), features)
    assert torch.equal(masked[:, 0], features)


@given(st.integers(2, 12))
def test_quadrants_are_those_of_appendix_b(size):
    expected = torch.stack([mask[0] for mask in appendix_b.construct_mask(1, size)])
    assert torch.equal(quadrant_masks(size, size), expected)


def test_order_of_the_quadrants():
    masks = quadrant_masks(4, 6)
    assert masks.shape == (5, 4, 6) and masks[0].all()
    corners = {1: (0, 0), 2: (0, 5), 3: (3, 0), 4: (3, 5)}
    for dropped, corner in corners.items():
        assert masks[dropped][corner] == 0
        assert all(masks[dropped][other] == 1 for number, other in corners.items() if number != dropped)
        assert masks[dropped].sum() == 4 * 6 * 3 / 4


def test_joint_labels_worked_example():
    """Appendix B: stack([targets * 5 + j for j in range(5)], 1)."""
    assert joint_labels(torch.tensor([2, 0]), 5).tolist() == [[10, 11, 12, 13, 14], [0, 1, 2, 3, 4]]


@given(st.lists(st.integers(0, 99), min_size=1, max_size=8), st.integers(1, 20))
def test_joint_labels_keep_class_and_mask(labels, masks):
    joint = joint_labels(torch.tensor(labels), masks)
    assert torch.equal(joint // masks, torch.tensor(labels)[:, None].expand(-1, masks))
    assert torch.equal(joint % masks, torch.arange(masks).expand(len(labels), -1))


def test_closed_form_saves_nothing_but_the_masks():
    features = torch.randn(16, 64, 8, 8, requires_grad=True)
    masks = quadrant_masks(8, 8)
    assert saved_activation_bytes(lambda: features.mean((-2, -1))) == 0
    assert saved_activation_bytes(lambda: masked_average_pool(features, masks)) <= masks.numel() * 4


def test_joint_network_saves_hardly_more_than_the_baseline():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32)
    plain, joint = PlainNet(backbone("resnet20"), 100), JointNet(backbone("resnet20"), 100)
    baseline = saved_activation_bytes(lambda: plain(images), plain.parameters())
    ours = saved_activation_bytes(lambda: joint(images), joint.parameters())
    classifier_inputs = 8 * 5 * (64 + 32) * 4
    masks = 5 * (8 * 8 + 16 * 16) * 4
    assert baseline > 10**6 and ours - baseline <= classifier_inputs + masks


@pytest.mark.parametrize(
    ("features", "masks"),
    [((2, 3, 8, 8), (5, 8, 7)), ((2, 3, 8), (5, 8, 8)), ((2, 3, 8, 8), (8, 8)), ((2, 3, 4, 8), (5, 8, 4))],
)
@pytest.mark.parametrize("function", [apply_masks, masked_average_pool])
def test_shapes_that_do_not_fit_are_named(function, features, masks):
    with pytest.raises(ValueError, match=r"expected features .* found features") as error:
        function(torch.zeros(features), torch.zeros(masks))
    assert str(features) in str(error.value) and str(masks) in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quadrant_masks(0, 4), "at least 2 x 2 places, one for each part that a mask drops, found 0 x 4"),
        (lambda: quadrant_masks(4, 1), "found 4 x 1: tap an earlier stage"),
        (lambda: joint_labels(torch.tensor([0.5]), 5), "expected integer class labels"),
        (lambda: joint_labels(torch.tensor([[1]]), 5), r"shape \(1, 1\)"),
        (lambda: joint_labels(torch.tensor([1]), 0), "at least one transform"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.sampled_from(sorted(mask_families)), st.integers(3, 9), st.integers(3, 9))
def test_every_family_begins_with_the_untouched_map_and_keeps_its_number_of_masks(family, height, width):
    masks = mask_families[family](height, width)
    assert masks.shape[1:] == (height, width) and masks.dtype == torch.float32
    assert masks[0].all() and set(masks.unique().tolist()) <= {0.0, 1.0}
    assert len(masks) == len(mask_families[family](8, 8))
    assert all(0 < mask.mean() < 1 for mask in masks[1:])


@given(st.sampled_from(["quadrants", "ninths", "checkerboard"]), st.integers(3, 9), st.integers(3, 9))
def test_what_a_partition_drops_adds_up_to_the_whole(family, height, width):
    masks = mask_families[family](height, width)
    assert torch.equal((1 - masks[1:]).sum(0), torch.ones(height, width))


@given(sizes, sizes)
def test_kept_quadrants_keep_what_quadrants_drop(height, width):
    assert torch.equal(mask_families["kept-quadrants"](height, width)[1:], 1 - quadrant_masks(height, width)[1:])


def test_halves_and_ninths_drop_what_they_say():
    upper, lower, left, right = mask_families["halves"](4, 6)[1:]
    assert upper[:2].sum() == 0 and upper[2:].all() and torch.equal(lower, 1 - upper)
    assert left[:, :3].sum() == 0 and left[:, 3:].all() and torch.equal(right, 1 - left)
    ninths = mask_families["ninths"](8, 8)[1:]
    assert [int((1 - mask).sum()) for mask in ninths] == [4, 6, 6, 6, 9, 9, 6, 9, 9]
    assert (1 - ninths[5]).nonzero().amin(0).tolist() == [2, 5]  # row 1, column 2 of the grid


@pytest.mark.parametrize(
    ("family", "rank"),
    [("none", 1), ("checkerboard", 2), ("halves", 3), ("quadrants", 4), ("kept-quadrants", 4), ("ninths", 9)],
)
def test_how_many_regions_a_family_can_tell_apart(family, rank):
    """The rank that chapter 14 derives: what a linear classifier on all views can know about places."""
    assert torch.linalg.matrix_rank(mask_families[family](9, 9).flatten(1)) == rank


@pytest.mark.parametrize("family", ["ninths", "halves", "kept-quadrants"])
def test_families_refuse_maps_without_their_regions(family):
    with pytest.raises(ValueError, match="expected a feature map of at least"):
        mask_families[family](8, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_joint_labels_do_not_wrap_around(dtype):
    assert joint_labels(torch.tensor([99], dtype=dtype), 5).tolist() == [[495, 496, 497, 498, 499]]
