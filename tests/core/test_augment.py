from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st

from fsft.augment import PAD, crop, epoch_plan, flip, normalize

GOLDEN_ORDER = [4, 5, 1, 0, 2, 3]
GOLDEN_SHIFT = [[7, 6], [6, 0], [7, 3], [0, 0], [2, 8], [0, 0]]
GOLDEN_FLIP = [1, 1, 0, 1, 0, 0]
MEAN, STD = (0.5, 0.25, 0.75), (0.25, 0.5, 0.2)


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_crop_and_flip_equal_torchvision_given_the_same_draws(batch, channels, height, width, seed):
    images = random_images(batch, channels, height, width, seed=seed)
    plan = epoch_plan(batch, seed, 0)
    cropped = crop(images, plan.shift)
    flipped = flip(cropped, plan.flip)
    assert cropped.dtype == flipped.dtype == torch.uint8
    for i in range(batch):
        top, left = plan.shift[i].tolist()
        expected = tvf.crop(tvf.pad(images[i], [PAD] * 4), top, left, height, width)
        assert torch.equal(cropped[i], expected)
        assert torch.equal(flipped[i], tvf.horizontal_flip(expected) if plan.flip[i] else expected)


def test_crop_reaches_all_four_corners():
    images = torch.full((4, 3, 32, 32), 9, dtype=torch.uint8)
    shift = torch.tensor([[0, 0], [0, 8], [8, 0], [8, 8]])
    black = crop(images, shift) == 0
    first, last = slice(0, 4), slice(28, 32)
    for i, (rows, columns) in enumerate([(first, first), (first, last), (last, first), (last, last)]):
        assert black[i, :, rows].all()
        assert black[i, :, :, columns].all()
        assert black[i].sum() == 3 * (32 * 32 - 28 * 28)


@pytest.mark.parametrize("layout", ["channels_last", "sliced"])
def test_crop_and_flip_do_not_depend_on_the_memory_layout(layout):
    images = random_images(6, 3, 8, 8)
    if layout == "channels_last":
        odd = images.contiguous(memory_format=torch.channels_last)
    else:
        odd = images.repeat_interleave(2, 0)[::2]
    plan = epoch_plan(6, 1, 0)
    assert torch.equal(crop(odd, plan.shift), crop(images, plan.shift))
    assert torch.equal(flip(odd, plan.flip), flip(images, plan.flip))


def test_central_crop_is_the_image():
    images = random_images(3, 3, 32, 32)
    assert torch.equal(crop(images, torch.full((3, 2), 4)), images)


@pytest.mark.parametrize("shift", [[[0, 9]], [[-1, 0]]])
def test_crop_rejects_shifts_that_leave_the_padded_image(shift):
    with pytest.raises(ValueError, match=r"expected shifts in \[0, 8\]"):
        crop(random_images(1, 3, 8, 8), torch.tensor(shift))


def test_wrong_shapes_are_named():
    images = random_images(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\) and \(3, 2\)"):
        crop(images, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="bool flags"):
        flip(images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected uint8"):
        normalize(images.float(), MEAN, STD)
    with pytest.raises(ValueError, match=r"shape \(3,\), found \(1,\) and \(3,\)"):
        normalize(images, MEAN[:1], STD)


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalize_equals_torchvision(channels_last):
    images = random_images(4, 3, 5, 7)
    before = images.clone()
    values = normalize(images, MEAN, STD, channels_last=channels_last)
    expected = tvf.normalize(tvf.to_dtype(images, torch.float32, scale=True), list(MEAN), list(STD))
    assert values.dtype == torch.float32
    assert torch.equal(images, before)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert values.is_contiguous(memory_format=layout)
    torch.testing.assert_close(values, expected, rtol=0, atol=2e-6)


def test_padding_is_black_before_normalizing():
    image = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    corner = normalize(crop(image, torch.zeros(1, 2, dtype=torch.int64)), MEAN, STD)[0, :, 0, 0]
    torch.testing.assert_close(corner, -torch.tensor(MEAN) / torch.tensor(STD))


def test_plan_is_a_pure_function_of_seed_and_epoch():
    plan, again = epoch_plan(1000, 3, 7), epoch_plan(1000, 3, 7)
    for name in ("order", "shift", "flip"):
        assert torch.equal(getattr(plan, name), getattr(again, name))
        for other in (epoch_plan(1000, 3, 8), epoch_plan(1000, 4, 7)):
            assert not torch.equal(getattr(plan, name), getattr(other, name))


def test_plan_is_the_same_on_every_machine():
    plan = epoch_plan(6, 1, 2)
    assert plan.order.tolist() == GOLDEN_ORDER
    assert plan.shift.tolist() == GOLDEN_SHIFT
    assert plan.flip.int().tolist() == GOLDEN_FLIP


def test_plan_draws_uniformly():
    plan = epoch_plan(9000, 0, 0)
    assert torch.equal(plan.order.sort().values, torch.arange(9000))
    assert (plan.order.dtype, plan.shift.dtype, plan.flip.dtype) == (torch.int64, torch.int64, torch.bool)
    counts = torch.bincount(plan.shift[:, 0] * 9 + plan.shift[:, 1], minlength=81)
    assert len(counts) == 81
    # Expected 111 each, standard deviation 10.5: five of them either way.
    assert counts.min() > 58
    assert counts.max() < 164
    assert 4263 < plan.flip.sum() < 4737


def test_switching_one_draw_off_leaves_the_others():
    plan = epoch_plan(50, 5, 1)
    plain = epoch_plan(50, 5, 1, crop=False, flip=False)
    assert torch.equal(plain.order, plan.order)
    assert (plain.shift == 4).all()
    assert not plain.flip.any()


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 45))
def test_batches_are_the_slices_of_the_plan(count, batch_size):
    plan = epoch_plan(count, 0, 0)
    steps = -(-count // batch_size)
    batches = [plan.batch(step, batch_size) for step in range(steps)]
    for name in ("order", "shift", "flip"):
        assert torch.equal(torch.cat([getattr(batch, name) for batch in batches]), getattr(plan, name))
    assert all(len(batch.order) == batch_size for batch in batches[:-1])
    with pytest.raises(IndexError):
        plan.batch(steps, batch_size)
    with pytest.raises(IndexError):
        plan.batch(-1, batch_size)


@pytest.mark.parametrize("bad", [(-1, 0, 0), (5, -1, 0), (5, 0, -1)])
def test_plan_rejects_negative_arguments(bad):
    assert len(epoch_plan(0, 0, 0).order) == 0
    with pytest.raises(ValueError, match="expected"):
        epoch_plan(*bad)
