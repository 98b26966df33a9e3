"""What a trained network knows, measured on the weights of a finished run and kept beside its result.

There is one kind of probe so far. The pretext task asks which quadrant was dropped (Section 3.1). On a *blank* image,
one color everywhere, the four views without a quadrant differ by nothing but the zero padding of the convolutions.
Padding from the opposite side removes that, and then the four are equal. `results/probes/` holds one small JSON for
each run probed; `benchmarks/padding_probe.py` writes them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsft.runtime.record import find_results, load_sound

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fsft.framework import JointNet

# With equal views a classifier gives the four one answer, and is right for one of them at best.
CHANCE = 25.0
FOLDER = "probes"
Probe = dict[str, Any]


def mask_recognition(model: JointNet, x: Tensor) -> Tensor:
    """How often the last classifier names each mask, for normalized images (n, 3, H, W), in percent.

    Float64 (M, M): rows the mask that was applied, columns the mask that was named.
    """
    import torch

    masks, table = model.num_masks, torch.zeros(model.num_masks, model.num_masks, dtype=torch.float64)
    with torch.inference_mode():
        for chunk in x.split(500):
            joint = model(chunk).last.float().softmax(2)
            named = joint.unflatten(2, (-1, masks)).sum(2).argmax(2)  # (images, views)
            table += torch.nn.functional.one_hot(named, masks).sum(0)
    return 100 * table / len(x)


def without_border(model: nn.Module) -> Any:
    """A copy whose convolutions pad with the opposite side of the image in place of zeros."""
    from torch.nn import Conv2d

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Conv2d) and any(module.padding):
            module.padding_mode = "circular"
    return model


def padding_probe(model: JointNet, size: int, statistics: tuple[Tensor, Tensor], count: int = 1000) -> dict[str, Any]:
    """The recognition tables of `count` blank images of random color (by seed 0), with zero and with circular padding.

    `model` is a trained network in evaluation mode, `size` the side of its images in pixels, `statistics` mean and
    standard deviation (3,) of its training images.
    """
    import torch

    from fsft import augment

    generator = torch.Generator().manual_seed(0)
    colors = torch.randint(0, 256, (count, 3, 1, 1), generator=generator, dtype=torch.uint8)
    blank = augment.normalize(colors.expand(-1, -1, size, size).contiguous(), *statistics)
    networks = {"blank": model, "blank, no border": without_border(model)}
    return {name: mask_recognition(network, blank).tolist() for name, network in networks.items()}


def load_probes(directory: str | Path | None = None) -> list[Probe]:
    """The probes in `probes/` of a results folder, sorted by file name; ValueError names a file that was altered."""
    return list(load_sound(find_results(directory) / FOLDER))


def quadrants_named(table: list[list[float]]) -> float:
    """How often the dropped quadrant is named correctly, in percent: the mean over the four masks that drop one."""
    return sum(table[k][k] for k in range(1, len(table))) / (len(table) - 1)
