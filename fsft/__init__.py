"""Self-supervision of feature transformation (FSFT, arXiv 2106.04922): an independent reproduction.

The public names below are loaded on first use, so ``import fsft`` and ``fsft --help`` do not wait for torch. The file
README.md beside this one walks through the core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names once more, for editors and type checkers
    from fsft.apply.trained import Trained, load
    from fsft.apply.whole import joint, single_inference_network
    from fsft.augment import four_rotations
    from fsft.backbones import backbone
    from fsft.catalog import profile_recipe, recipes
    from fsft.datasets.registry import DataError, ImageSet, channel_statistics, load_dataset
    from fsft.evaluation import evaluate, predict_all
    from fsft.framework import JointNet, JointOutput, PlainNet, joint_loss, modes, predict
    from fsft.masks import apply_masks, joint_labels, mask_families, masked_average_pool, no_masks, quadrant_masks
    from fsft.recipe import Recipe
    from fsft.stages import as_stages
    from fsft.training import Run, train

__version__ = "0.1.0"

_NAMES = {
    "apply.trained": "Trained load",
    "apply.whole": "joint single_inference_network",
    "augment": "four_rotations",
    "backbones": "backbone",
    "catalog": "profile_recipe recipes",
    "datasets.registry": "DataError ImageSet channel_statistics load_dataset",
    "evaluation": "evaluate predict_all",
    "framework": "JointNet JointOutput PlainNet joint_loss modes predict",
    "masks": "apply_masks joint_labels mask_families masked_average_pool no_masks quadrant_masks",
    "recipe": "Recipe",
    "stages": "as_stages",
    "training": "Run train",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fsft' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fsft.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
