"""Class activation maps (Figures 1, 5 and 6) of joint classifiers and of any other network that ends in feature maps.

A map answers: which places of the image speak for class y? For a joint classifier the question needs more words,
because class y has M columns there, and each inference mode (eq. 4-6) reads other ones; :func:`explained` says which.

Maps here are raw. The grad-cam package, whose formulas are used, stretches each map to [0, 1] on its own, which makes a
network that sees next to nothing look as sure as one that sees a lot. Only on the scale that they have can maps of
different networks be compared.
"""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from fsft.framework import JointNet, JointOutput, PlainNet, mode_scores, predict
from fsft.masks import quadrant_masks

# By method, the package's class. With global average pooling and a linear classifier, HiResCAM is CAM but for the
# factor H * W (Draelos and Carin).
FORMULAS = {"cam": "HiResCAM", "grad-cam": "GradCAM", "layer-cam": "LayerCAM"}
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


def class_maps(
    model: nn.Module,
    images: Tensor,
    classes: Tensor | None = None,
    *,
    method: str = "grad-cam",
    mode: str | None = None,
    layer: str | None = None,
    centered: bool = False,
    batch_size: int = 100,
) -> Tensor:
    """Class activation maps, one for each image: (B, H, W), float32 on the CPU, at least 0, in units of the score.

    They are enlarged bilinearly to the images' size.

    With features f (C, H, W) after ``layer``, the score s of the class (:func:`class_scores`) and its gradient
    g = ds/df, each place of the map before resizing is the positive part of

    - ``"cam"`` (Zhou et al.): ``H W sum_c g_c f_c``, which is ``sum_c w_c f_c`` with the weights w of the class. Before
      the negative part is cut, its mean over the places is the score without the bias. Of a :class:`fsft.PlainNet` or
      :class:`fsft.JointNet`, behind the last stage only.
    - ``"grad-cam"`` (Selvaraju et al.): ``sum_c mean(g_c) f_c``, with the mean over the places.
    - ``"layer-cam"`` (Jiang et al.): ``sum_c max(g_c, 0) f_c``.

    Args:
        model: a network of this package, or any classifier (B, 3, H, W) to (B, N), such as torchvision's and timm's, on
            any device; left in evaluation mode, and its parameters and their gradients as they were.
        images: (B, 3, H, W), normalized as in training, on any device.
        classes: (B,) integer class indices to explain; None for the classes that the network predicts in this mode.
        method: one of :data:`FORMULAS`.
        mode: of a :class:`fsft.JointNet`, see :func:`fsft.predict`; None means ``"si"``. Other networks have none.
        layer: name of a stage, or of a module of any other classifier, that gives feature maps (B, C, H, W). None for
            the last one. Places of the map are the places of these features.
        centered: explain the score minus the mean score of all classes. What all classes share cancels in the softmax,
            so it decides nothing; a joint classifier's columns share the evidence for their mask, which a plain one's
            have no reason to.
        batch_size: images at once.

    ValueError: unknown method, mode or layer; classes or images that do not fit; a network that transforms before
    ``layer``, or whose last features are tokens and not maps. ImportError: the grad-cam package is missing.
    """
    _check(model, images, classes, method, mode)
    device = next(model.parameters()).device
    formula = getattr(require_package(), FORMULAS[method])(model, [])  # without layers, it puts no hooks on the network
    module = _module(model.eval(), layer, method, images[:1].to(device))
    maps = [torch.zeros(0, *images.shape[2:])]
    for begin in range(0, len(images), batch_size):
        chunk = images[begin : begin + batch_size].detach().to(device)
        with _leaves(module) as leaves:
            wanted = None if classes is None else classes[begin : begin + batch_size].to(device).clone()
            score = _chosen_scores(model(chunk), wanted, mode, centered)
            if len(leaves[-1]) != len(chunk):
                raise ValueError(
                    f"expected one feature map for each of {len(chunk)} images, found {len(leaves[-1])}: this network "
                    "transforms its images or features before that stage; name a stage before the transform"
                )
            (gradients,) = torch.autograd.grad(score.sum(), leaves[-1])
        features, weights = (values.detach().float().cpu().numpy() for values in (leaves[-1], gradients))
        raw = torch.from_numpy(formula.get_cam_image(chunk, None, None, features, weights, False)).clamp(min=0)
        if method == "cam":
            raw = raw * raw[0].numel()
        maps.append(F.interpolate(raw[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0])
    return torch.cat(maps)


def class_scores(output: Tensor | JointOutput, mode: str | None = None) -> Tensor:
    """The score of each class before the softmax, (B, N): what a map explains.

    A plain network's logits; of a joint classifier ``"si"`` the matching columns of the untouched view, ``"ag-last"``
    their mean over the views, ``"sd"`` the distilled classifier's logits. Eq. 4 averages probabilities, which have no
    common score: for ``"ag"`` it is the mean of the two classifiers' aggregated logits, as for ``"ag-logits"``. (The
    logarithm of P_AG would be exact, but its gradient fades where the network is sure.)
    """
    if not isinstance(output, JointOutput):
        return output
    return torch.stack(mode_scores(output, mode or "si")).mean(0)


class ClassScores(nn.Module):
    """A network whose output is :func:`class_scores`, (B, N): the form that explainers of other packages expect."""

    def __init__(self, model: nn.Module, mode: str | None = None):
        super().__init__()
        self.model, self.mode = model, mode

    def forward(self, x: Tensor) -> Tensor:
        return class_scores(self.model(x), self.mode)


def explained(model: nn.Module, mode: str | None = None) -> str:
    """Which column of which classifier a map of class y explains, in words for a caption."""
    if not isinstance(model, JointNet):
        return "column y of the classifier"
    views = model.num_views
    if mode == "sd":
        return "column y of the distilled classifier"
    if mode in (None, "si"):
        return f"column {views}y + 0 of the last joint classifier, untouched view"
    both = " and of the penultimate one" if mode in ("ag", "ag-logits") else ""
    return f"mean over the views j = 0 to {views - 1} of column {views}y + j of the last joint classifier{both}"


def quadrant_shares(maps: Tensor) -> Tensor:
    """How the mass of maps (B, H, W) is divided among the quadrants of :func:`fsft.quadrant_masks`, in their order.

    (B, 4), float32, each row adding up to 1; NaN for a map that is zero everywhere, which has no place.
    """
    if maps.ndim != 3 or not (maps >= 0).all():
        raise ValueError(f"expected maps (B, H, W) of at least 0, found shape {tuple(maps.shape)}")
    dropped = 1 - quadrant_masks(*maps.shape[1:])[1:]
    mass = maps.float().flatten(1) @ dropped.flatten(1).T
    return mass / mass.sum(1, keepdim=True)


def require_package() -> Any:
    """The grad-cam package; ImportError where it, or something that it needs, is missing."""
    try:
        return importlib.import_module("pytorch_grad_cam")
    except ImportError as error:
        reason = f"importing it fails: {error}"
        if error.name == "pytorch_grad_cam":
            reason = "it is not installed: pip install grad-cam"
        elif "libGL" in str(error):
            reason += "; pip install --force-reinstall opencv-python-headless, which works without it"
        raise ImportError(f"class activation maps need the grad-cam package; {reason}") from error


def _chosen_scores(output: Any, classes: Tensor | None, mode: str | None, centered: bool) -> Tensor:
    """The score (B,) of the wanted or predicted class of each image."""
    scores = class_scores(output, mode)
    if getattr(scores, "ndim", 0) != 2:
        raise ValueError(f"expected a classifier that returns scores (B, N), found {type(output).__name__}")
    if classes is None:
        classes = (predict(output, mode or "si") if isinstance(output, JointOutput) else output).argmax(1)
    wrong = classes[(classes < 0) | (classes >= scores.shape[1])]
    if len(wrong):
        raise ValueError(f"expected class indices from 0 to {scores.shape[1] - 1}, found {wrong[0].item()}")
    scores = scores - scores.mean(1, keepdim=True) if centered else scores
    return scores.gather(1, classes[:, None])[:, 0]


@contextmanager
def _leaves(module: nn.Module) -> Iterator[list[Tensor]]:
    """Keeps what a module returns as leaves, from which on, and not before, a network's steps are differentiated.

    So the stages before the module keep nothing for a backward pass, no parameter's gradient is touched, and it works
    under ``no_grad`` and ``inference_mode`` too.
    """
    leaves: list[Tensor] = []

    def keep(_: nn.Module, args: Any, out: Any) -> Tensor:
        if not isinstance(out, Tensor) or out.ndim != 4:
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"expected a layer that gives feature maps (B, C, H, W), found {found}: name another")
        torch.set_grad_enabled(True)  # until no_grad ends below
        leaves.append(out.detach().clone().requires_grad_())
        return leaves[-1].clone()  # a step in place behind the module must not change what is kept

    with torch.inference_mode(False), torch.no_grad(), module.register_forward_hook(keep):
        yield leaves


def _module(model: nn.Module, layer: str | None, method: str, image: Tensor) -> nn.Module:
    """The module behind which to look: a stage, or of other people's networks any module."""
    known, last, names = dict(model.named_modules()), None, f"the modules of {type(model).__name__}"
    if isinstance(model, PlainNet | JointNet):
        known = dict(model.stages.named_children())
        last, names = list(known)[-1], f"the stages {tuple(known)}"
    if layer is not None and layer not in known:
        raise ValueError(f"expected a layer among {names}, found {layer!r}")
    if method == "cam" and (last is None or layer not in (None, last)):
        raise ValueError(
            f"expected the last stage of a PlainNet or a JointNet for CAM, found {layer or type(model).__name__!r}: it "
            "needs pooling and a linear classifier right behind the features; use 'grad-cam' or 'layer-cam'"
        )
    name = layer or last
    return _last_with_maps(model, image) if name is None else known[name]


def _last_with_maps(model: nn.Module, image: Tensor) -> nn.Module:
    """The last module whose output has several places, if these are in rows and columns like the image's."""
    found: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim > 2 and math.prod(out.shape[2:]) > 1:
            found.append((module, out.shape))

    with torch.no_grad(), register_module_forward_hook(note):
        model(image)
    module, shape = found[-1] if found else (model, torch.Size())
    height, width = image.shape[2:]
    # Channels may also be last, and tokens have no rows: proportions tell, up to the rounding of each stride.
    if len(shape) != 4 or abs(shape[2] * width - shape[3] * height) > height + width:
        raise ValueError(
            f"expected a network whose last features are maps (B, C, H, W), found {tuple(shape)} in "
            f"{type(model).__name__}: tokens, or channels last; name a layer that gives maps"
        )
    return module


def _check(model: nn.Module, images: Tensor, classes: Tensor | None, method: str, mode: str | None) -> None:
    if inner := _WRAPPERS.get(type(model).__name__):
        raise ValueError(f"expected the network itself, found it inside {type(model).__name__}: give model.{inner}")
    if method not in FORMULAS:
        raise ValueError(f"expected a method among {tuple(FORMULAS)}, found {method!r}")
    if mode is not None and not isinstance(model, JointNet):
        raise ValueError(f"expected no mode, because {type(model).__name__} has a single classifier, found {mode!r}")
    if images.ndim != 4 or not images.is_floating_point():
        found = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ValueError(f"expected normalized images, floating point and of shape (B, 3, H, W), found {found}")
    if not images.isfinite().all():
        raise ValueError("expected finite images, found NaN or infinity in them: check the images and their statistics")
    if classes is not None and (classes.shape != images.shape[:1] or classes.is_floating_point()):
        found = f"{classes.dtype} of shape {tuple(classes.shape)}"
        raise ValueError(f"expected one integer class index for each of {len(images)} images, found {found}")
