"""How long do class activation maps take?

Grad-CAM of 1,000 images of 32 x 32 pixels behind the last stage: ``fsft.cam.class_maps`` against the grad-cam package
called its own way, in batches of the same size, for the single inference of a joint network. The package
differentiates the whole network down to the parameters and normalizes and resizes maps one by one; ``class_maps`` uses
its hooks and formulas, differentiates only what lies behind the stage, and resizes a batch at once.

The contenders take turns, and only ratios of neighboring turns are compared. CPU seconds of all threads are given
beside the wall clock's, because they are what a busy machine does not change much:

    python benchmarks/class_maps.py [--threads 2] [--images 1000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from fsft import JointNet, backbone
from fsft.cam import ClassScores, class_maps
from fsft.provenance import environment

BATCH = 100
NETWORKS = (("resnet56", "basic"), ("resnet56", "bottleneck"))


def package_maps(model: JointNet, images: Tensor, labels: Tensor) -> None:
    """The package's own way: one call for each batch."""
    explainer = GradCAM(ClassScores(model, "si"), [model.stages.get_submodule("layer3")])
    for batch, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        explainer(batch, [ClassifierOutputTarget(label) for label in wanted.tolist()])


def turn(work: Callable[[], Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def measure(name: str, block: str, images: Tensor, labels: Tensor, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = JointNet(backbone(name, block=block), 100).eval().to(memory_format=torch.channels_last)
    contenders = {
        "fsft": lambda: class_maps(model, images, labels, mode="si", batch_size=BATCH),
        "package": lambda: package_maps(model, images, labels),
    }
    class_maps(model, images[:BATCH])
    package_maps(model, images[:BATCH], labels[:BATCH])
    turns: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
    for number in range(rounds):
        for contender in sorted(contenders, reverse=bool(number % 2)):
            turns[contender].append(turn(contenders[contender]))
    row: dict[str, Any] = {"model": f"{name} ({block})", "images": len(images)}
    for contender, values in turns.items():
        row[contender] = {
            clock: statistics.median(1000 / len(images) * value[clock] for value in values) for clock in values[0]
        }
    row["package_over_fsft"] = {
        clock: spread([theirs[clock] / ours[clock] for ours, theirs in zip(*turns.values(), strict=True)])
        for clock in ("wall", "cpu")
    }
    return row


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def print_table(report: dict[str, Any]) -> None:
    where = report["environment"]
    print(f"{where['device']['name']}, {where['threads']} threads, torch {where['versions']['torch']}")
    print("Seconds for 1,000 Grad-CAM maps: wall clock (CPU); ratio of neighboring turns: median (least to most)")
    for row in report["rows"]:
        print(f"  {row['model']}")
        for contender in ("fsft", "package"):
            print(f"    {contender:<8} {row[contender]['wall']:6.1f} ({row[contender]['cpu']:.1f})")
        for clock, ratio in row["package_over_fsft"].items():
            print(
                f"    package / fsft, {clock:<5} {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}), "
                f"{ratio['n']} turns"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000, help="a multiple of 100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/class_maps-cpu.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.images, 3, 32, 32, generator=generator)
    labels = torch.randint(100, (options.images,), generator=generator)
    rows = [measure(name, block, images, labels, options.rounds) for name, block in NETWORKS]
    report = {"rows": rows, "environment": environment(torch.device("cpu"))}
    print_table(report)
    out = options.out or Path(__file__).parent / "results" / "class_maps-cpu.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
