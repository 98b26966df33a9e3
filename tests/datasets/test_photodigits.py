from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from fsft.datasets import photodigits as pd
from fsft.datasets.photodigits import photodigits
from fsft.datasets.reading import DataError

PHOTOS_SHA256 = "99310b92a8963a4b9118f3a93695bf9d2f7c20a03361f1962972901ccd5560da"
TRAIN_SHA256 = "0985af719cecd3ab90fb3c65b7185f47666dfa22cdea25ba48e21fbc06f06337"
TEST_SHA256 = "851ec6283a813ff894c12b08046b76745732875846901296d3b5585e89a05745"


@pytest.fixture(scope="module")
def train():
    return photodigits("train", size=1000)


@pytest.fixture(scope="module")
def test():
    return photodigits("test", size=500)


def test_shapes_types_and_balance(train):
    assert train.images.shape == (1000, 3, 32, 32)
    assert (train.images.dtype, train.labels.dtype) == (torch.uint8, torch.int64)
    assert (train.masks.shape, train.masks.dtype) == ((1000, 32, 32), torch.bool)
    assert (train.boxes.shape, train.boxes.dtype) == ((1000, 4), torch.float32)
    assert train.labels.bincount().tolist() == [100] * 10
    assert train.classes == tuple("0123456789")
    # Shuffled: a sorted or cyclic order would make every batch of a plain loop the same.
    assert not torch.equal(train.labels, train.labels.sort().values)
    assert not torch.equal(train.labels, torch.arange(1000) % 10)


def test_sizes_that_are_not_multiples_of_ten_are_balanced_within_one():
    counts = photodigits("test", size=37).labels.bincount(minlength=10)
    assert counts.sum() == 37
    assert counts.max() - counts.min() == 1


def test_default_sizes():
    assert pd.DEFAULT_SIZE == {"train": 10_000, "test": 2_000}
    assert len(photodigits("test")) == 2_000


def test_a_pure_function_of_its_options(train):
    assert photodigits("train", size=1000).sha256 == train.sha256
    others = [
        photodigits("train", size=1000, seed=1),
        photodigits("train", size=999),
        photodigits("train", size=1000, background_correlation=0.5),
        photodigits("test", size=1000),
    ]
    assert len({data.sha256 for data in (train, *others)}) == 5


def test_same_bytes_on_every_machine(train, test):
    photos = hashlib.sha256(b"".join(photo.tobytes() for photo in pd._photos())).hexdigest()
    if photos != PHOTOS_SHA256:
        pytest.skip("this machine's JPEG decoder gives other photographs, so the images differ too")
    assert train.sha256 == TRAIN_SHA256
    assert test.sha256 == TEST_SHA256


def test_train_and_test_share_no_digit():
    banks = {split: pd._digit_bank(split) for split in ("train", "test")}
    digits = {split: {digit.tobytes() for digit in bank[0]} for split, bank in banks.items()}
    assert not digits["train"] & digits["test"]
    assert sum(len(bank[0]) for bank in banks.values()) == 1797
    for bank, first, counts in banks.values():
        assert counts.min() > 40
        assert first[-1] + counts[-1] == len(bank)


def test_no_two_regions_or_splits_share_a_photo_pixel():
    used = np.zeros((2, *pd.PHOTO_SHAPE[:2]), dtype=int)
    for region in pd.REGIONS:
        for split in ("train", "test"):
            rows, columns = pd._part(region, split)
            used[region[0], rows, columns] += 1
            assert min(rows.stop - rows.start, columns.stop - columns.start) >= max(pd.CROP_SIDES)
    assert used.max() == 1


def test_boxes_are_tight_around_the_masks(train):
    for mask, box in zip(train.masks[:200], train.boxes[:200], strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
        for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]):
            assert edge.any()
    sides = train.boxes[:, 2:] - train.boxes[:, :2]
    assert sides.max() <= 22
    assert 10 < sides[:, 1].mean() < 20


def test_digits_are_placed_everywhere(train):
    centers = (train.boxes[:, :2] + train.boxes[:, 2:]) / 2
    assert (centers.amin(0) < 9).all()
    assert (centers.amax(0) > 23).all()
    assert train.masks.any(0)[5:27, 5:27].all()


def test_masks_are_where_the_digit_is():
    """The image is its background where there is no ink, and differs where the mask is."""
    draws = pd._Draws(0, "train", 300)
    labels = np.argsort(draws.column("label"), kind="stable") % 10
    background = torch.from_numpy(pd._backgrounds("train", labels, 0.0, draws)[0].astype(np.int64))
    data = photodigits("train", size=300)
    change = (data.images.long() - background).abs().amax(1)
    coverage = torch.from_numpy(pd._digits("train", labels, draws))
    assert (change[coverage == 0] == 0).all()
    # Visible: the ink differs from what it covers nearly everywhere.
    assert (change[data.masks] > 15).float().mean() > 0.97
    assert change[data.masks].float().mean() > 4 * change[~data.masks].float().mean()


def test_fading_shrinks_the_background_towards_its_mean_and_moves_no_digit():
    full, faded, flat = (photodigits("test", size=100, background_contrast=share) for share in (1.0, 0.25, 0.0))
    assert torch.equal(full.masks, faded.masks) and torch.equal(full.labels, faded.labels)
    corner = (slice(None), slice(None), slice(0, 3), slice(0, 3))  # seldom under a digit
    spread = [images.images[corner].double().flatten(2).std(2).mean().item() for images in (full, faded, flat)]
    assert spread[1] == pytest.approx(spread[0] / 4, rel=0.15) and spread[2] < 0.1 * spread[0]
    means = [images.images.double().mean((2, 3)) for images in (full, flat)]
    assert (means[0] - means[1]).abs().mean() < 12
    with pytest.raises(DataError, match="background_contrast"):
        photodigits("test", size=1, background_contrast=2)


def test_images_vary_in_ink(train):
    """Neither color nor brightness of the ink tells the class."""
    ink = torch.stack([image[:, mask].float().mean(1) for image, mask in zip(train.images, train.masks, strict=True)])
    per_class = torch.stack([ink[train.labels == label].mean(0) for label in range(10)])
    assert (ink.std(0) > 35).all()
    assert (per_class.std(0) < 12).all()


def test_correlation_changes_the_backgrounds_only(train):
    correlated = photodigits("train", size=1000, background_correlation=1.0)
    assert torch.equal(correlated.labels, train.labels)
    assert torch.equal(correlated.masks, train.masks)
    assert torch.equal(correlated.boxes, train.boxes)
    assert not torch.equal(correlated.images, train.images)


@pytest.mark.parametrize(("correlation", "expected"), [(0.0, 0.1), (0.5, 0.55), (0.9, 0.91), (1.0, 1.0)])
def test_share_of_images_on_their_own_region(correlation, expected):
    draws = pd._Draws(0, "train", 5000)
    labels = np.argsort(draws.column("label"), kind="stable") % 10
    _, region = pd._backgrounds("train", labels, correlation, draws)
    share = float((region == labels).mean())
    assert share == 1.0 if expected == 1.0 else abs(share - expected) < 0.03
    other = region[region != labels]
    if len(other):
        assert np.bincount(other, minlength=10).min() > 0.05 * len(other)


def border_accuracy(train, test) -> float:
    """Accuracy of the nearest class mean that sees only the image's border, colors and texture."""

    def features(data):
        border = torch.ones(32, 32, dtype=torch.bool)
        border[3:-3, 3:-3] = False
        pixels = data.images[:, :, border].float()
        return torch.cat([pixels.mean(2), pixels.std(2)], dim=1)

    x, y = features(train), features(test)
    means = torch.stack([x[train.labels == label].mean(0) for label in range(10)])
    return float((torch.cdist(y, means).argmin(1) == test.labels).float().mean())


def test_the_background_is_a_shortcut_that_fails_on_the_default_test_set(train, test):
    correlated = photodigits("train", size=1000, background_correlation=1.0)
    correlated_test = photodigits("test", size=500, background_correlation=1.0)
    assert border_accuracy(correlated, correlated_test) > 0.5
    assert border_accuracy(correlated, test) < 0.2
    assert border_accuracy(train, test) < 0.2


@pytest.mark.parametrize("side", pd.CROP_SIDES)
def test_photos_are_shrunk_by_the_mean_of_the_covered_area(side):
    values = np.random.default_rng(side).integers(0, 256, (150, 4))
    # Repeating every pixel 32 times turns a window of side/32 pixels into exactly `side` of them.
    fine = np.repeat(values, 32, axis=0)
    count = len(fine) // side
    expected = fine[: count * side].reshape(count, side, 4).sum(1)
    assert pd._shrink(values, side).tolist() == expected.tolist()


@pytest.mark.parametrize("size", pd.DIGIT_SIZES)
def test_digits_are_enlarged_by_linear_interpolation(size):
    weights = pd._enlarge_matrix(size)
    expected = torch.nn.functional.interpolate(
        torch.eye(8, dtype=torch.float64)[None], size=size, mode="linear", align_corners=False
    )[0]
    np.testing.assert_allclose(weights / (2 * size), expected.T, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"size": -5},
        {"size": 2.5},
        {"seed": -1},
        {"seed": "a"},
        {"background_correlation": -0.1},
        {"background_correlation": 1.5},
        {"background_correlation": float("nan")},
        {"background_correlation": "high"},
    ],
)
def test_bad_options_are_named(options):
    (name,) = options
    with pytest.raises(DataError, match=f"photodigits: expected {name} to be .*, found "):
        photodigits("train", **options)


def test_wrong_photographs_are_refused(monkeypatch):
    monkeypatch.setattr(pd, "PHOTO_SHAPE", (100, 100, 3))
    with pytest.raises(DataError, match="expected two photographs"):
        photodigits("test", size=10)
