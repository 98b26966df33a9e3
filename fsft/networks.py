"""The network that a recipe names, and its parameters as the optimizer sees them."""

from typing import Any

from torch import nn

from fsft.augment import four_rotations
from fsft.backbones import backbone
from fsft.framework import JointNet, PlainNet
from fsft.masks import mask_families, no_masks
from fsft.methods import METHODS
from fsft.recipe import Recipe


def build(recipe: Recipe, num_classes: int, input_size: int = 32) -> PlainNet | JointNet:
    """The recipe's network, freshly initialized from torch's current random state."""
    stages = backbone(recipe.model, block=recipe.block, shortcut=recipe.shortcut)
    method = METHODS[recipe.method]
    if not method.joint:
        return PlainNet(stages, num_classes, input_size, drop_in_training=method.drop_in_training)
    names = tuple(name for name, _ in stages.named_children())
    return JointNet(
        stages,
        num_classes,
        taps=names[-method.taps :],
        masks=mask_families[recipe.masks] if method.masked else no_masks,
        self_distill=method.teaches is not None,
        input_size=input_size,
        transform_after=method.transform_after,
        input_transform=four_rotations if method.rotated else None,
    )


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters for SGD: the joint classifiers have a group of their own, scaled by ``head_lr_scale``."""
    heads = model.joint_heads() if isinstance(model, JointNet) else []
    head_parameters = [parameter for head in heads for parameter in head.parameters()]
    in_heads = {id(parameter) for parameter in head_parameters}
    others = [parameter for parameter in model.parameters() if id(parameter) not in in_heads]
    groups = [{"params": others, "weight_decay": recipe.weight_decay, "lr_scale": 1.0}]
    if head_parameters:
        scale = recipe.head_lr_scale
        groups.append({"params": head_parameters, "weight_decay": recipe.weight_decay / scale, "lr_scale": scale})
    return groups
