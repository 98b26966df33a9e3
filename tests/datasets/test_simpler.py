"""Easier versions of a data set: what stays, what changes, and that the fingerprint notices."""

import pytest
import torch

from fsft import DataError, load_dataset
from fsft.datasets.simpler import close_ups, faded, halved, only


@pytest.fixture(scope="module")
def digits():
    return load_dataset("photodigits", "test", "data", size=20)


def test_fading_keeps_objects_and_mean_colors(digits):
    pale = faded(digits, 0.25)
    objects, pixels = digits.masks[:, None].expand_as(digits.images), digits.images
    assert pale.images[objects].equal(pixels[objects]) and pale.sha256 != digits.sha256
    for image, paler, background in zip(pixels, pale.images, ~digits.masks, strict=True):
        before, after = image[:, background].float(), paler[:, background].float()
        torch.testing.assert_close(after.mean(1), before.mean(1), atol=0.5, rtol=0)
        torch.testing.assert_close(after.std(1), before.std(1) / 4, atol=0.5, rtol=0.02)
    with pytest.raises(DataError, match="has no masks"):
        faded(only_images(digits))


def only_images(data):
    from dataclasses import replace

    return replace(data, masks=None, boxes=None)


def test_halving_keeps_objects_in_their_boxes(digits):
    small = halved(digits)
    assert small.images.shape == (20, 3, 16, 16) and small.images.dtype == torch.uint8
    assert small.images[3, 1, 4, 5].item() == round(digits.images[3, 1, 8:10, 10:12].float().mean().item())
    assert small.masks[:, 4, 5].equal(digits.masks[:, 8:10, 10:12].flatten(1).any(1))
    assert small.boxes.equal(digits.boxes / 2) and small.sha256 != digits.sha256
    assert halved(only_images(digits)).masks is None


def test_some_classes_in_a_new_order(digits):
    two = only(digits, ("7", "2"))
    assert two.classes == ("7", "2") and two.num_classes == 2
    for index, name in enumerate(two.classes):
        theirs = digits.labels == digits.classes.index(name)
        assert two.images[two.labels == index].equal(digits.images[theirs])
        assert two.masks[two.labels == index].equal(digits.masks[theirs])
        assert two.boxes[two.labels == index].equal(digits.boxes[theirs])
    with pytest.raises(DataError, match="found dog"):
        only(digits, ("7", "dog"))


def test_close_ups_show_the_object_and_nothing_else(digits):
    close = close_ups(digits)
    assert close.images.shape == (20, 3, 16, 16) and close.images.dtype == torch.uint8
    assert torch.equal(close.labels, digits.labels) and close.sha256 != digits.sha256
    assert close.masks is None and close.boxes is None
    for k in range(5):
        x0, y0, x1, y1 = digits.boxes[k].int().tolist()
        part = digits.images[k, :, y0:y1, x0:x1].float()
        torch.testing.assert_close(close.images[k].float().mean(), part.mean(), rtol=0.05, atol=2.0)
    with pytest.raises(DataError, match="expected ground-truth boxes, found none"):
        close_ups(close)
