"""How long do class activation maps take?

Grad-CAM of 1,000 images of 32 x 32 pixels behind the last stage: ``fsft.maps.cam.class_maps`` against the grad-cam
package called its own way, in batches of the same size, for the single inference of a joint network. The package
differentiates the whole network down to the parameters and normalizes and resizes maps one by one; ``class_maps`` uses
its formulas, differentiates only what lies behind the stage, and resizes a batch at once.

    python benchmarks/class_maps.py [--device cuda] [--images 1000] [--rounds 3]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from harness import arguments, ratio, rows_in_time, spread, take_turns, text, write
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from fsft import JointNet, backbone
from fsft.maps.cam import ClassScores, class_maps

BATCH = 100
NETWORKS = {f"resnet56 ({block})": ("resnet56", block) for block in ("basic", "bottleneck")}


def package_maps(model: JointNet, images: Tensor, labels: Tensor) -> None:
    """The package's own way: one call for each batch."""
    explainer = GradCAM(ClassScores(model, "si"), [model.stages.get_submodule("layer3")])
    for batch, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        explainer(batch, [ClassifierOutputTarget(label) for label in wanted.tolist()])


def measure(network: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    device, (name, block) = torch.device(options.device), NETWORKS[network]
    model = JointNet(backbone(name, block=block), 100).eval().to(device).to(memory_format=torch.channels_last)
    images = torch.randn(options.images, 3, 32, 32).to(device)
    labels = torch.randint(100, (options.images,)).to(device)
    contenders = {
        "fsft": lambda: class_maps(model, images, labels, mode="si", batch_size=BATCH),
        "package": lambda: package_maps(model, images, labels),
    }
    class_maps(model, images[:BATCH])
    package_maps(model, images[:BATCH], labels[:BATCH])
    times = take_turns(contenders, options)
    per_thousand = {name: spread([1000 * value / len(images) for value in values]) for name, values in times.items()}
    return {
        "model": network,
        "seconds_for_1000": per_thousand,
        "package_over_fsft": ratio(times, "package", "fsft"),
    }


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=1000, help="a multiple of 100")
    options = parser.parse_args()
    rows = []
    print("Seconds for 1,000 Grad-CAM maps; ratio of neighboring turns: median (least to most)")
    for network in rows_in_time(list(NETWORKS), options):
        row = measure(network, options)
        rows.append(row)
        print(f"  {row['model']}")
        for contender, figures in row["seconds_for_1000"].items():
            print(f"    {contender:<16} {text(figures, 1)}")
        print(f"    package / fsft   {text(row['package_over_fsft'])}")
    write("class_maps", options, rows)


if __name__ == "__main__":
    main()
