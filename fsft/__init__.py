"""Self-supervision of feature transformation (FSFT, arXiv 2106.04922): an independent reproduction.

The public names below are loaded on first use, so ``import fsft`` and ``fsft --help`` do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "apply_masks": "masks",
    "joint_labels": "masks",
    "mask_families": "masks",
    "masked_average_pool": "masks",
    "no_masks": "masks",
    "quadrant_masks": "masks",
    "four_rotations": "augment",
    "JointNet": "framework",
    "JointOutput": "framework",
    "PlainNet": "framework",
    "joint_loss": "framework",
    "modes": "framework",
    "predict": "framework",
    "backbone": "backbones",
    "as_stages": "stages",
    "DataError": "datasets.registry",
    "ImageSet": "datasets.registry",
    "channel_statistics": "datasets.registry",
    "load_dataset": "datasets.registry",
    "Recipe": "recipe",
    "profile_recipe": "catalog",
    "recipes": "catalog",
    "Run": "training",
    "evaluate": "evaluation",
    "predict_all": "evaluation",
    "train": "training",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from fsft.augment import four_rotations as four_rotations
    from fsft.backbones import backbone as backbone
    from fsft.catalog import profile_recipe as profile_recipe
    from fsft.catalog import recipes as recipes
    from fsft.datasets.registry import DataError as DataError
    from fsft.datasets.registry import ImageSet as ImageSet
    from fsft.datasets.registry import channel_statistics as channel_statistics
    from fsft.datasets.registry import load_dataset as load_dataset
    from fsft.evaluation import evaluate as evaluate
    from fsft.evaluation import predict_all as predict_all
    from fsft.framework import JointNet as JointNet
    from fsft.framework import JointOutput as JointOutput
    from fsft.framework import PlainNet as PlainNet
    from fsft.framework import joint_loss as joint_loss
    from fsft.framework import modes as modes
    from fsft.framework import predict as predict
    from fsft.masks import apply_masks as apply_masks
    from fsft.masks import joint_labels as joint_labels
    from fsft.masks import mask_families as mask_families
    from fsft.masks import masked_average_pool as masked_average_pool
    from fsft.masks import no_masks as no_masks
    from fsft.masks import quadrant_masks as quadrant_masks
    from fsft.recipe import Recipe as Recipe
    from fsft.stages import as_stages as as_stages
    from fsft.training import Run as Run
    from fsft.training import train as train


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fsft' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fsft.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
