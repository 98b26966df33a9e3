"""Does a map find the object? Scores against a ground-truth mask or box, null models, and a sanity check.

The paper shows maps and says that its model "focuses on a more precise target region" (Section 3.1, Figures 1, 5, 6).
Here that is a number for each image. A score alone says little, because an object fills a part of the image and mostly
sits in its middle: it has to beat a map that knows nothing (:func:`uniform_maps`), one that knows only that
photographers center their subjects (:func:`center_maps`), and the maps of the same network without its training
(:func:`randomized`).

All scores look at the positive part of a map, and at its shape alone: multiplying a map with a positive number changes
nothing. A map that is nowhere positive says nothing about the place, and is scored as the uniform map.
"""

import copy

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

from fsft.framework import JointNet, PlainNet

THRESHOLDS = (0.25, 0.5, 0.75)
SCORES = ("energy", "pointing", *(f"iou@{threshold}" for threshold in THRESHOLDS))


def localization_scores(
    maps: Tensor, *, masks: Tensor | None = None, boxes: Tensor | None = None
) -> dict[str, np.ndarray]:
    """Every score of every map: ``{"energy": (n,), "pointing": (n,), "iou@0.25": (n,), ...}``, all in [0, 1].

    Of maps (n, H, W), on the CPU, against ``masks`` (n, H, W), bool, true on the object, with IoU of pixels; or against
    ``boxes`` (n, 4), x0, y0, x1, y1 in pixels, right and lower edges exclusive, with IoU of boxes. ValueError for not
    exactly one of them, shapes that do not fit, maps that are not finite, or an object without a pixel.
    """
    if (masks is None) == (boxes is None):
        raise ValueError("expected masks or boxes as the ground truth, found both or neither: give one of them")
    regions = box_masks(boxes, *maps.shape[1:]) if boxes is not None else masks
    assert regions is not None
    scores = {"energy": energy_inside(maps, regions), "pointing": pointing_game(maps, regions)}
    for threshold in THRESHOLDS:
        scores[f"iou@{threshold}"] = iou(maps, regions, threshold, as_boxes=boxes is not None)
    return scores


def box_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (n, 4) as x0, y0, x1, y1 as masks (n, height, width), bool: pixels whose center is inside."""
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    columns = (across >= x0) & (across < x1)
    rows = (down >= y0) & (down < y1)
    return rows[:, :, None] & columns[:, None, :]


def energy_inside(maps: Tensor, regions: Tensor) -> np.ndarray:
    """The share of the mass of maps (n, H, W) in regions (n, H, W), bool: float64 (n,). Uniform maps score the area."""
    values, inside = _positive(maps, regions)
    return (values * inside).sum((1, 2)) / values.sum((1, 2))


def pointing_game(maps: Tensor, regions: Tensor) -> np.ndarray:
    """Whether the highest place of the map lies in the region, without a tolerance around it: float64 (n,), 0 or 1.

    Where several pixels are highest, the share of them that is inside: what pointing at one of them at random scores.
    """
    values, inside = _positive(maps, regions)
    highest = values == values.max((1, 2), keepdims=True)
    return (highest & inside).sum((1, 2)) / highest.sum((1, 2))


def iou(maps: Tensor, regions: Tensor, threshold: float, *, as_boxes: bool = False) -> np.ndarray:
    """Intersection over union of the region with the pixels of at least ``threshold`` times the map's highest value.

    With ``as_boxes``, for a region that is a box, the map's side is the tight box around the largest connected part
    of these pixels, as in the CAM paper. (n,) float64.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"expected a threshold in (0, 1], a share of the map's highest value, found {threshold}")
    values, inside = _positive(maps, regions)
    found = values >= threshold * values.max((1, 2), keepdims=True)
    if as_boxes:
        found = np.stack([_box_of_largest_part(pixels) for pixels in found])
    return (found & inside).sum((1, 2)) / (found | inside).sum((1, 2))


def uniform_maps(count: int, height: int, width: int) -> Tensor:
    """The null model that knows nothing: (count, height, width) ones."""
    return torch.ones(count, height, width)


def center_maps(count: int, height: int, width: int) -> Tensor:
    """The null model that knows where objects mostly are: a Gaussian in the middle, (count, height, width).

    Its standard deviation is a quarter of each side, so that the middle quarter of the map holds half of its weight.
    """
    down, across = (
        torch.exp(-0.5 * ((torch.arange(size) + 0.5 - size / 2) / (0.25 * size)) ** 2) for size in (height, width)
    )
    return (down[:, None] * across).expand(count, height, width).contiguous()


def randomized(model: PlainNet | JointNet, what: str = "all", seed: int = 0) -> PlainNet | JointNet:
    """A copy of a network that has lost its training: the parameter-randomization check for maps (Adebayo et al.).

    ``what`` is "head", the classifiers alone, or "all" layers. Both are drawn anew, by each layer's own default, from
    ``seed``; torch's own random state stays as it was.
    """
    if what not in ("head", "all"):
        raise ValueError(f"expected what to be 'head' or 'all', found {what!r}")
    device = next(model.parameters()).device
    fresh = copy.deepcopy(model).cpu()  # one random state decides, on every device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name, module in fresh.named_modules():
            if hasattr(module, "reset_parameters") and (what == "all" or not name.startswith("stages")):
                module.reset_parameters()
    return fresh.to(device).eval()


def rank_correlation(a: Tensor, b: Tensor) -> np.ndarray:
    """Spearman's correlation of two maps (n, H, W) of each image: float64 (n,), 0 where a map is constant."""
    if a.shape != b.shape:
        raise ValueError(f"expected maps of one shape, found {tuple(a.shape)} and {tuple(b.shape)}")
    ranks = [stats.rankdata(maps.flatten(1).double().numpy(), axis=1) for maps in (a, b)]
    first, second = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return (first * second).sum(1) / np.where(scale > 0, scale, 1)


def _positive(maps: Tensor, regions: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The maps' positive part, float64, and the regions, bool, both (n, H, W); an empty map becomes uniform."""
    if maps.ndim != 3 or maps.shape != regions.shape or regions.dtype != torch.bool:
        found = f"{tuple(maps.shape)} and {regions.dtype} {tuple(regions.shape)}"
        raise ValueError(f"expected maps (n, H, W) and bool regions of the same shape, found {found}")
    values, inside = maps.double().numpy(), regions.numpy()
    if not np.isfinite(values).all():
        raise ValueError("expected finite maps, found some that are not: the network may have diverged")
    if not inside.any((1, 2)).all():
        raise ValueError("expected an object in every image, found a region without a pixel: leave such images out")
    values = np.maximum(values, 0)
    values[~values.any((1, 2))] = 1
    return values, inside


def _box_of_largest_part(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: the tight box around the largest of the connected parts, touching corners not counted."""
    parts, _ = ndimage.label(pixels)
    box = np.zeros_like(pixels)
    box[ndimage.find_objects(parts)[np.bincount(parts.ravel())[1:].argmax()]] = True
    return box
