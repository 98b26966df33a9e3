"""Easier versions of a data set, for the minutes of the course's short profiles; every page that uses them says so."""

import torch
from torch.nn import functional as F

from fsft.datasets.reading import DataError, problem
from fsft.datasets.sets import ImageSet


def close_ups(data: ImageSet) -> ImageSet:
    """Every object alone, cut out along its ground-truth box (DataError without) and resized to 16 x 16 pixels.

    For illustrations that must learn something within seconds. The result has neither masks nor boxes.
    """
    if data.boxes is None:
        raise problem(f"{data.name} {data.split}", "ground-truth boxes", "none", "use a data set that has them")
    cut = []
    for image, box in zip(data.images, data.boxes, strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        part = image[None, :, y0:y1, x0:x1].float()
        cut.append(F.interpolate(part, (16, 16), mode="bilinear", antialias=True)[0])
    images = torch.stack(cut).round().clamp(0, 255).to(torch.uint8)
    return data.altered(images=images, masks=None, boxes=None)


def faded(data: ImageSet, contrast: float = 0.3) -> ImageSet:
    """The objects as they are, on backgrounds with only a part of their contrast around their own mean color."""
    if data.masks is None:
        raise DataError(f"{data.name} has no masks that tell objects from backgrounds: use it as it is")
    background, pixels = ~data.masks[:, None], data.images.float()
    mean = (pixels * background).sum((2, 3), keepdim=True) / background.sum((2, 3), keepdim=True)
    images = torch.where(background, mean + contrast * (pixels - mean), pixels)
    return data.altered(images=images.round().to(torch.uint8))


def halved(data: ImageSet) -> ImageSet:
    """Half the height and width: each pixel is the mean of four, and belongs to the object if one of the four does."""
    return data.altered(
        images=F.avg_pool2d(data.images.float(), 2).round().to(torch.uint8),
        masks=None if data.masks is None else F.max_pool2d(data.masks.float(), 2) > 0,
        boxes=None if data.boxes is None else data.boxes / 2,
    )


def only(data: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """The images of some classes, numbered anew in the given order; DataError when one is not there."""
    missing = [name for name in classes if name not in data.classes]
    if missing:
        raise DataError(f"{data.name}: expected classes among {data.classes}, found {', '.join(missing)}")
    new = torch.full((data.num_classes,), -1)
    new[[data.classes.index(name) for name in classes]] = torch.arange(len(classes))
    part = data.select((new[data.labels] >= 0).nonzero()[:, 0])
    return part.altered(labels=new[part.labels], classes=classes)
