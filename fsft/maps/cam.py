"""Class activation maps of plain networks and of joint classifiers (Figures 1, 5 and 6), through the grad-cam package.

A map answers: which places of the image speak for class y? For a joint classifier the question needs more words,
because class y has M columns there, and each inference mode (eq. 4-6) reads other ones; :func:`explained` says which.

Maps here are raw. The package stretches each map to [0, 1] on its own, which makes a network that sees next to nothing
look as sure as one that sees a lot; maps of different networks can be compared only on the scale they have. So its
hooks, its gradients and its formulas are used, and its normalization is not.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsft.framework import JointNet, JointOutput, PlainNet, aggregated_logits, matching_logits, modes, predict
from fsft.masks import quadrant_masks

METHODS = ("cam", "grad-cam", "layer-cam")
# With global average pooling and a linear classifier, HiResCAM is CAM but for the factor H * W (Draelos and Carin).
_CLASSES = {"cam": "HiResCAM", "grad-cam": "GradCAM", "layer-cam": "LayerCAM"}


def class_maps(
    model: PlainNet | JointNet,
    images: Tensor,
    classes: Tensor | None = None,
    *,
    method: str = "grad-cam",
    mode: str | None = None,
    layer: str | None = None,
    centered: bool = False,
    batch_size: int = 100,
) -> Tensor:
    """Class activation maps, one for each image, on their raw scale.

    With features f (C, H, W) after ``layer``, the score s of the class (:func:`class_scores`) and its gradient
    g = ds/df, each place of the map before resizing is the positive part of

    - ``"cam"`` (Zhou et al.): ``H W sum_c g_c f_c``, which is ``sum_c w_c f_c`` with the weights w of the class. Before
      the negative part is cut, its mean over the places is the score without the bias. Behind the last stage only.
    - ``"grad-cam"`` (Selvaraju et al.): ``sum_c mean(g_c) f_c``, with the mean over the places.
    - ``"layer-cam"`` (Jiang et al.): ``sum_c max(g_c, 0) f_c``.

    Args:
        model: the network, on any device; it is left in evaluation mode, and its parameters and their gradients as they
            were.
        images: (B, 3, H, W), normalized as in training, on any device.
        classes: (B,) integer class indices to explain; None for the classes that the network predicts in this mode.
        method: one of :data:`METHODS`.
        mode: of a :class:`fsft.JointNet`, see :func:`fsft.predict`; None means ``"si"``. A plain network has none.
        layer: name of a stage; None for the last one. Places of the map are the places of this stage's features.
        centered: explain the score minus the mean score of all classes. What all classes share cancels in the softmax,
            so it decides nothing; a joint classifier's columns share the evidence for their mask, which a plain one's
            have no reason to.
        batch_size: images at once.

    Returns:
        (B, H, W), float32 on the CPU: at least 0, in units of the score, enlarged bilinearly to the images' size.

    Raises:
        ValueError: unknown method, mode or stage; classes that do not fit; a network that transforms before ``layer``.
        ImportError: the grad-cam package is missing.
    """
    _check(model, images, classes, method, mode, layer)
    last = stage_names(model)[-1]
    stage = model.stages.get_submodule(layer or last)
    device = next(model.parameters()).device
    maps = []
    # Also under no_grad or inference_mode, where gradients would be missing.
    with torch.inference_mode(False), torch.enable_grad(), _explainer(model, stage, method) as explainer:
        for begin in range(0, len(images), batch_size):
            chunk = images[begin : begin + batch_size].detach().to(device)
            wanted = None if classes is None else classes[begin : begin + batch_size].to(device).clone()
            raw = _raw_maps(explainer, chunk, wanted, mode, centered)
            if method == "cam":
                raw = raw * raw[0].numel()
            maps.append(F.interpolate(raw[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0])
    return torch.cat(maps) if maps else torch.zeros(0, *images.shape[2:])


def class_scores(output: Tensor | JointOutput, mode: str | None = None) -> Tensor:
    """The score of each class before the softmax, (B, N): what a map explains.

    A plain network's logits; for a joint classifier ``"si"`` the matching columns of the untouched view, ``"ag-last"``
    their mean over the views, ``"sd"`` the distilled classifier's logits. Eq. 4 averages probabilities, which have no
    common score before the softmax: for ``"ag"`` it is the mean of the two classifiers' aggregated logits, in the same
    units as the others, and exact for ``"ag-logits"``. (The logarithm of P_AG would be exact, but its gradient fades
    where the network is sure.)
    """
    if not isinstance(output, JointOutput):
        return output
    if (mode := mode or "si") not in modes(output):
        raise ValueError(f"expected a mode among {modes(output)}, which this network has, found {mode!r}")
    if mode == "si":
        return matching_logits(output.last)[:, 0]
    if mode == "sd":
        assert output.distilled is not None
        return output.distilled
    scores = aggregated_logits(output.last)
    if mode in ("ag", "ag-logits"):
        assert output.penultimate is not None
        scores = (scores + aggregated_logits(output.penultimate)) / 2
    return scores


class ClassScores(nn.Module):
    """A network whose output is :func:`class_scores`, (B, N): the form that explainers of other packages expect."""

    def __init__(self, model: PlainNet | JointNet, mode: str | None = None):
        super().__init__()
        self.model = model
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return class_scores(self.model(x), self.mode)


def explained(model: PlainNet | JointNet, mode: str | None = None) -> str:
    """Which column of which classifier a map of class y explains, in words for a caption."""
    if isinstance(model, PlainNet):
        return "column y of the classifier"
    views = model.num_views
    if mode == "sd":
        return "column y of the distilled classifier"
    if mode in (None, "si"):
        return f"column {views}y + 0 of the last joint classifier, untouched view"
    both = " and of the penultimate one" if mode in ("ag", "ag-logits") else ""
    return f"mean over the views j = 0 to {views - 1} of column {views}y + j of the last joint classifier{both}"


def quadrant_shares(maps: Tensor) -> Tensor:
    """How the mass of each map is divided: upper left, upper right, lower left, lower right, the order of the masks.

    A quadrant's side is ``size // 2`` as in :func:`fsft.quadrant_masks`.

    Args:
        maps: (B, H, W), at least 0.

    Returns:
        (B, 4), float32, each row adding up to 1; NaN for a map that is zero everywhere, which has no place.
    """
    if maps.ndim != 3 or not (maps >= 0).all():
        raise ValueError(f"expected maps (B, H, W) of at least 0, found shape {tuple(maps.shape)}")
    dropped = 1 - quadrant_masks(*maps.shape[1:])[1:]
    mass = maps.float().flatten(1) @ dropped.flatten(1).T
    return mass / mass.sum(1, keepdim=True)


def stage_names(model: PlainNet | JointNet) -> tuple[str, ...]:
    """The stages of a network, first to last: the layers that :func:`class_maps` can look behind."""
    return tuple(name for name, _ in model.stages.named_children())


def _raw_maps(explainer: Any, images: Tensor, classes: Tensor | None, mode: str | None, centered: bool) -> Tensor:
    """The package's maps without its normalization: float32 (B, H, W) on the CPU, at the size of the features."""
    record = explainer.activations_and_grads
    output = record(images)
    if classes is None:
        classes = (predict(output, mode or "si") if isinstance(output, JointOutput) else output).argmax(1)
    scores = class_scores(output, mode)
    if centered:
        scores = scores - scores.mean(1, keepdim=True)
    features = record.activations[0]
    if len(features) != len(images):
        raise ValueError(
            f"expected one feature map for each of {len(images)} images, found {len(features)}: this network transforms"
            " its images or features before that stage; name a stage before the transform"
        )
    scores.gather(1, classes[:, None]).sum().backward()
    gradients, features = record.gradients[0].float().numpy(), features.float().numpy()
    maps = explainer.get_cam_image(images, None, None, features, gradients, False)
    record.clear()
    return torch.from_numpy(maps).clamp(min=0)


@contextmanager
def _explainer(model: nn.Module, stage: nn.Module, method: str) -> Iterator[Any]:
    """The package's explainer with its hooks on a stage; afterwards nothing of it is left on the network.

    Only what comes behind the stage is differentiated: with the parameters frozen and the features a leaf, the stages
    before it keep nothing for a backward pass, and no parameter's gradient is touched.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = stage.register_forward_hook(lambda module, args, out: out.detach().clone().requires_grad_())
    explainer = None
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        explainer = getattr(require_package(), _CLASSES[method])(model=model, target_layers=[stage])
        # The record shares the features' memory: an in-place ReLU behind the stage must work on a copy.
        after = stage.register_forward_hook(lambda module, args, out: out.clone())
        explainer.activations_and_grads.handles.append(after)
        yield explainer
    finally:
        before.remove()
        if explainer is not None:
            explainer.activations_and_grads.release()
        for parameter in trainable:
            parameter.requires_grad_(True)


def require_package() -> Any:
    """The grad-cam package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("pytorch_grad_cam")
    except ImportError as error:
        raise ImportError(
            "class activation maps need the grad-cam package, which is not installed: pip install grad-cam"
        ) from error


def _check(
    model: nn.Module, images: Tensor, classes: Tensor | None, method: str, mode: str | None, layer: str | None
) -> None:
    if not isinstance(model, PlainNet | JointNet):
        raise ValueError(f"expected a PlainNet or a JointNet, found {type(model).__name__}: see fsft.as_stages")
    names = stage_names(model)
    if method not in METHODS:
        raise ValueError(f"expected a method among {METHODS}, found {method!r}")
    if layer is not None and layer not in names:
        raise ValueError(f"expected a layer among the stages {names}, found {layer!r}")
    if method == "cam" and layer not in (None, names[-1]):
        raise ValueError(
            f"expected the last stage {names[-1]!r}, found {layer!r}: CAM needs pooling and a linear classifier right "
            "behind the features; use 'grad-cam' or 'layer-cam'"
        )
    if mode is not None and isinstance(model, PlainNet):
        raise ValueError(f"expected no mode, because a PlainNet has a single classifier, found {mode!r}")
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            "expected normalized images, floating point and of shape (B, 3, H, W), "
            f"found {images.dtype} of shape {tuple(images.shape)}"
        )
    if classes is None:
        return
    if classes.shape != images.shape[:1] or classes.is_floating_point():
        raise ValueError(
            f"expected one integer class index for each of {len(images)} images, "
            f"found {classes.dtype} of shape {tuple(classes.shape)}"
        )
    wrong = classes[(classes < 0) | (classes >= model.num_classes)]
    if len(wrong):
        raise ValueError(f"expected class indices from 0 to {model.num_classes - 1}, found {wrong[0].item()}")
