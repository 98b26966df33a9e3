"""Which classifiers of torchvision and timm does ``fsft.joint`` take, and what does it say to the others?

Each is built without trained weights, made joint for ten classes, and takes one training step of two images of its
usual size. What it writes is the table of chapter 15. It needs timm, which the book does not:

    pip install timm && python benchmarks/own_models.py
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torchvision
from harness import RESULTS
from torch import nn

import fsft
from fsft.apply.whole import find_taps

TORCHVISION = (  # names with spaces between them
    "alexnet vgg16_bn squeezenet1_1 googlenet inception_v3 resnet50 resnext50_32x4d wide_resnet50_2 densenet121 "
    "mobilenet_v2 mobilenet_v3_large mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 efficientnet_v2_s regnet_y_400mf "
    "convnext_tiny maxvit_t swin_t vit_b_16"
)
TIMM = (
    "resnet50 resnetv2_50 seresnet50 nf_resnet50 cspresnet50 dla34 dpn68 hrnet_w18_small xception41 inception_v4 "
    "efficientnet_b0 ghostnet_100 repvgg_a0 convnext_tiny poolformer_s12 pvt_v2_b0 mobilevit_s mambaout_tiny "
    "swin_tiny_patch4_window7_224 vit_small_patch16_224"
)


def build(library: str, name: str) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name)
    initialized = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}  # theirs takes a minute
    return getattr(torchvision.models, name)(weights=None, **initialized)


def row(library: str, name: str) -> dict[str, Any]:
    """What :func:`fsft.joint` makes of a model, or says of it."""
    torch.manual_seed(0)
    model = build(library, name)
    found: dict[str, Any] = {"library": library, "model": name}
    try:
        taps, net = find_taps(model), fsft.joint(model, 10)
    except ValueError as error:
        return found | {"refusal": str(error)}
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
    loss = fsft.joint_loss(net(torch.randn(2, 3, size, size)), torch.tensor([0, 9]))
    loss.backward()
    if not (loss.isfinite() and all(parameter.grad is not None for parameter in net.parameters())):
        raise AssertionError(f"{name} has no finite loss, or parameters without a gradient")
    shapes = [
        [head.in_features, *net.masks_of(tap).shape[1:]]
        for tap, head in zip(net.taps, net.joint_heads()[::-1], strict=True)
    ]
    return found | {**taps._asdict(), "image_size": size, "maps": shapes}


def main() -> None:
    import timm

    rows = [
        row(library, name)
        for library, names in (("torchvision", TORCHVISION), ("timm", TIMM))
        for name in names.split()
    ]
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    written = {"versions": versions, "rows": rows}
    (RESULTS / "own_models-cpu.json").write_text(json.dumps(written, indent=1) + "\n")
    for found in rows:
        print(found["library"], found["model"], found.get("refusal", "works"))


if __name__ == "__main__":
    main()
