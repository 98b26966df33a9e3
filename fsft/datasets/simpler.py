"""Easier versions of a data set, for the minutes of the course's short profiles; every page that uses them says so."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from fsft.datasets.imageset import DataError, ImageSet, fingerprint


def faded(data: ImageSet, contrast: float = 0.3) -> ImageSet:
    """The objects as they are, on backgrounds with only a part of their contrast around their own mean color.

    Raises:
        DataError: the data set has no masks of its objects.
    """
    if data.masks is None:
        raise DataError(f"{data.name} has no masks that tell objects from backgrounds: use it as it is")
    background, pixels = ~data.masks[:, None], data.images.float()
    mean = (pixels * background).sum((2, 3), keepdim=True) / background.sum((2, 3), keepdim=True)
    pixels = torch.where(background, mean + contrast * (pixels - mean), pixels).round().to(torch.uint8)
    return replace(data, images=pixels, sha256=fingerprint(pixels, data.labels, data.classes))


def halved(data: ImageSet) -> ImageSet:
    """Half the height and width: each pixel is the mean of four, and belongs to the object if one of the four does."""
    pixels = F.avg_pool2d(data.images.float(), 2).round().to(torch.uint8)
    return replace(
        data,
        images=pixels,
        masks=None if data.masks is None else F.max_pool2d(data.masks.float(), 2) > 0,
        boxes=None if data.boxes is None else data.boxes / 2,
        sha256=fingerprint(pixels, data.labels, data.classes),
    )


def only(data: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """The images of some classes, numbered anew in the given order.

    Raises:
        DataError: a class is not there.
    """
    missing = [name for name in classes if name not in data.classes]
    if missing:
        raise DataError(f"{data.name}: expected classes among {data.classes}, found {', '.join(missing)}")
    new = torch.full((data.num_classes,), -1)
    new[[data.classes.index(name) for name in classes]] = torch.arange(len(classes))
    labels = new[data.labels]
    kept = labels >= 0
    images, labels = data.images[kept], labels[kept]
    return replace(
        data,
        images=images,
        labels=labels,
        classes=classes,
        masks=None if data.masks is None else data.masks[kept],
        boxes=None if data.boxes is None else data.boxes[kept],
        sha256=fingerprint(images, labels, classes),
    )
