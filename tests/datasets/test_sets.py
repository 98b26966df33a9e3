"""Image sets, their subsets and fingerprints, channel statistics, and what data sets are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsft.datasets.registry import DataError, channel_statistics, find_data, load_dataset
from fsft.datasets.sets import fingerprint, image_set

CLASSES = ("cat", "dog", "hen")


def small_set(per_class: int = 6):
    generator = np.random.default_rng(0)
    count = 3 * per_class
    masks = generator.random((count, 4, 5)) > 0.5
    return image_set(
        "small",
        "train",
        generator.integers(0, 256, (count, 3, 4, 5)),
        np.arange(count) % 3,
        CLASSES,
        masks=masks,
        boxes=generator.random((count, 4)).astype(np.float32),
    )


# Image sets


@settings(max_examples=20, deadline=None)
@given(few=st.integers(1, 6), more=st.integers(1, 6), seed=st.integers(0, 1000))
def test_subsets_are_balanced_ordered_and_nested(few, more, seed):
    few, more = sorted((few, more))
    data = small_set()
    position = {image.numpy().tobytes(): index for index, image in enumerate(data.images)}
    kept = {}
    for per_class in (few, more):
        part = data.subset(per_class, seed)
        kept[per_class] = [position[image.numpy().tobytes()] for image in part.images]
        assert part.labels.bincount().tolist() == [per_class] * 3
        assert kept[per_class] == sorted(kept[per_class])
        for name in ("images", "labels", "masks", "boxes"):
            assert torch.equal(getattr(part, name), getattr(data, name)[kept[per_class]])
        assert part.sha256 == fingerprint(part.images, part.labels, part.classes)
    assert set(kept[few]) <= set(kept[more])


PIXELS, LABELS = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": PIXELS.transpose(0, 2, 3, 1)},
            r"expected images torch.uint8 of shape \(4, 3, 8, 3\), found torch.uint8 of shape \(4, 8, 8",
        ),
        ({"images": PIXELS / 255}, "expected images torch.uint8 of shape .*, found torch.float64"),
        ({"images": PIXELS.astype(int) - 1}, "expected images torch.uint8 of shape .*, found torch.int64"),
        ({"labels": LABELS * 0.7}, "expected labels torch.int64 .*, found torch.float64"),
        ({"labels": LABELS + 2}, "expected labels from 0 to 2, found 2 to 3"),
        ({"labels": LABELS[:3]}, r"expected labels torch.int64 of shape \(4,\), found torch.int64 of shape \(3,\)"),
        (
            {"masks": np.zeros((3, 8, 8), bool)},
            r"expected masks torch.bool of shape \(4, 8, 8\), found torch.bool of shape \(3, 8, 8\)",
        ),
        (
            {"boxes": np.zeros((4, 3), np.float32)},
            r"expected boxes torch.float32 of shape \(4, 4\), found torch.float32 of shape \(4, 3\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    with pytest.raises(DataError, match=message):
        image_set("own", "train", classes=CLASSES, **{"images": PIXELS, "labels": LABELS, **arrays})


def test_subsets_differ_by_seed():
    data = small_set()
    assert len({data.subset(2, seed).sha256 for seed in range(5)}) > 3
    assert data.subset(6, 0).sha256 == data.sha256


@pytest.mark.parametrize("per_class", [0, -1, 7])
def test_a_subset_larger_than_a_class_is_refused(per_class):
    with pytest.raises(DataError, match=f"expected 1 to 6 images per class .* found per_class={per_class}"):
        small_set().subset(per_class, 0)


def test_fingerprint_sees_every_part():
    data = small_set()
    pixel, label = data.images.clone(), data.labels.clone()
    pixel[-1, 2, 3, 4] ^= 1
    label[0] = 1
    prints = {
        data.sha256,
        fingerprint(pixel, data.labels, CLASSES),
        fingerprint(data.images, label, CLASSES),
        fingerprint(data.images, data.labels, ("cat", "dog", "cow")),
        fingerprint(data.images.transpose(2, 3).reshape(18, 3, 5, 4), data.labels, CLASSES),
        fingerprint(data.images.view(18, 3, 5, 4), data.labels, CLASSES),
    }
    assert len(prints) == 6
    layout = data.images.contiguous(memory_format=torch.channels_last)
    assert fingerprint(layout, data.labels, CLASSES) == data.sha256


# The folder


def test_a_notebook_finds_the_data_of_its_checkout(tmp_path, monkeypatch):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    assert str(find_data("data")) == "data"  # nothing there: the message names what was asked for
    (tmp_path / "data").mkdir()
    assert str(find_data("data")) == "data"  # some folder above, but not of a checkout
    (tmp_path / "_toc.yml").touch()
    assert find_data("data") == tmp_path / "data"
    assert find_data(tmp_path / "other") == tmp_path / "other"
    (notebooks / "data").mkdir()
    assert str(find_data("data")) == "data"


# Channel statistics


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 130), height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_statistics_equal_numpy_and_ignore_the_order(count, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    mean, std = channel_statistics(images)
    pixels = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-9, atol=1e-12)
    shuffled = channel_statistics(images[torch.randperm(count, generator=generator)])
    assert torch.equal(shuffled[0], mean)
    assert torch.equal(shuffled[1], std)


def test_statistics_of_constant_images_are_exact():
    images = torch.full((70, 3, 32, 32), 77, dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert mean.tolist() == [77 / 255] * 3
    assert std.tolist() == [0.0] * 3


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 4, 4), torch.zeros(0, 3, 4, 4, dtype=torch.uint8)])
def test_statistics_of_anything_else_are_refused(images):
    with pytest.raises(ValueError, match="expected a non-empty uint8 tensor"):
        channel_statistics(images)


# Names, splits and options


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("cifar10", "train", {}, "found 'cifar10'"),
        ("imagefolder:", "train", {}, "found 'imagefolder:'"),
        ("imagefolder", "train", {}, "imagefolder:<path>"),
        ("photodigits:", "train", {}, "found 'photodigits:'"),
        ("photodigits", "val", {}, "expected split 'train' or 'test', found 'val'"),
        ("photodigits", "train", {"image_size": 32}, "unknown option 'image_size'"),
        ("cifar100", "train", {"size": 10}, "expected no options, found the unknown option 'size'"),
    ],
)
def test_unknown_names_splits_and_options(name, split, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_dataset(name, split, tmp_path, **options)


def test_photodigits_needs_no_data_dir(tmp_path):
    data = load_dataset("photodigits", "test", tmp_path / "missing", size=20, seed=3)
    assert len(data) == 20
    assert not (tmp_path / "missing").exists()
