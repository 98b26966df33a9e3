"""Is the training loop fast, and is FSFT nearly free?

Question 1: images per second of ``fsft.train``'s loop against a plain one: fp32, eager, torchvision transforms on PIL
images, a DataLoader with two workers. Question 2: step time and saved activations of FSFT over the baseline.

The contenders take turns in one process, and only ratios of neighboring turns are compared, so that a machine whose
speed drifts slows both. Run it with nothing else on the machine:

    python benchmarks/train_step.py [--device cuda] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fsft import ImageSet, PlainNet, backbone, load_dataset
from fsft.cost import saved_activation_bytes
from fsft.evaluation import resolve_precision
from fsft.loop import Loop
from fsft.progress import ProgressReport
from fsft.provenance import environment
from fsft.recipe import Recipe, recipes
from fsft.stopping import StopRequest

BATCH = 128


class PilImages(Dataset):
    """What torchvision's CIFAR-100 does for each sample."""

    def __init__(self, images: ImageSet):
        self.pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def plain_steps(recipe: Recipe, images: ImageSet, device: torch.device) -> Iterator[None]:
    """The loop that a user would otherwise write; one step for each ``next``."""
    torch.manual_seed(0)
    stages = backbone(recipe.model, block=recipe.block, shortcut=recipe.shortcut)
    model = PlainNet(stages, images.num_classes).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    while True:
        # A new iterator each time it is asked for, so that no worker runs ahead while the other contender is timed.
        loader = DataLoader(PilImages(images), BATCH, shuffle=True, num_workers=2, pin_memory=device.type == "cuda")
        for x, labels in loader:
            loss = F.cross_entropy(model(x.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (yield) == "pause":
                break


def loop_of(recipe: Recipe, images: ImageSet, device: torch.device, precision: str, compile: bool) -> Loop:
    identity = {"slug": recipe.slug, "seed": 0, "precision": resolve_precision(precision, device)}
    return Loop(recipe, identity, images, images, device, compile, max_steps=None)


def our_steps(loop: Loop, count: int) -> None:
    """``count`` steps of the package's own loop."""
    loop.state.step, loop.max_steps = 0, loop.state.epoch * loop.steps_per_epoch + count
    loop.train_epoch(StopRequest(), ProgressReport("none", "", 1, 1))


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def loop_speed(recipe: Recipe, images: ImageSet, options: argparse.Namespace) -> dict[str, Any]:
    """Question 1, for one network."""
    device, steps = torch.device(options.device), options.steps
    ours = {precision: loop_of(recipe, images, device, precision, options.compile) for precision in options.precisions}
    plain = plain_steps(recipe, images, device)
    next(plain)
    for loop in ours.values():
        our_steps(loop, 2)
    times: dict[str, list[float]] = {name: [] for name in ("plain", *ours)}
    for _ in range(options.rounds):
        for _ in range(2):
            next(plain)  # the workers' start is not counted
        times["plain"].append(seconds(lambda: [next(plain) for _ in range(steps)], device))
        plain.send("pause")
        for precision, loop in ours.items():
            times[precision].append(seconds(lambda loop=loop: our_steps(loop, steps), device))
    speed = {name: BATCH * steps / statistics.median(values) for name, values in times.items()}
    row: dict[str, Any] = {"model": f"{recipe.model} ({recipe.block})", "images_per_second": speed, "ratio": {}}
    for precision in ours:
        row["ratio"][precision] = spread([a / b for a, b in zip(times["plain"], times[precision], strict=True)])
    return row


def fsft_overhead(block: str, images: ImageSet, options: argparse.Namespace) -> dict[str, Any]:
    """Question 2, for ResNet-110 with one kind of block."""
    device = torch.device(options.device)
    suffix = "-basic" if block == "basic" else ""
    loops = {
        method: loop_of(recipes[f"table1/resnet110{suffix}/{method}"], images, device, "auto", options.compile)
        for method in ("baseline", "fsft")
    }
    for loop in loops.values():
        our_steps(loop, 2)
    ratios = []
    for turn in range(options.pairs):
        order = ("baseline", "fsft") if turn % 2 else ("fsft", "baseline")
        times = {method: seconds(lambda loop=loops[method]: our_steps(loop, 1), device) for method in order}
        ratios.append(times["fsft"] / times["baseline"])
    saved = {method: saved_bytes(loop, images) for method, loop in loops.items()}
    return {
        "model": f"resnet110 ({block})",
        "step_time_ratio": spread(ratios),
        "saved_mib": {method: count / 2**20 for method, count in saved.items()},
        "saved_ratio": saved["fsft"] / saved["baseline"],
    }


def saved_bytes(loop: Loop, images: ImageSet) -> int:
    """Bytes kept for the backward pass of one fp32 batch, loss included, as the paper trains."""
    model: nn.Module = loop.model
    x = torch.zeros(BATCH, 3, 32, 32, device=loop.device).contiguous(memory_format=torch.channels_last)
    labels = images.labels[:BATCH].to(loop.device)
    return saved_activation_bytes(lambda: loop.loss(model(x), labels), [*model.parameters(), *model.buffers()])


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def print_tables(report: dict[str, Any]) -> None:
    for part in report.values():
        device, versions = part["environment"]["device"], part["environment"]["versions"]
        print(f"\n{device['name']}, {part['environment']['threads']} threads, torch {versions['torch']}")
        if part is report.get("loop"):
            print("Images per second, batch 128; ratio to the plain loop: median (least to most) of neighboring turns")
            for row in part["rows"]:
                speed = row["images_per_second"]
                print(f"  {row['model']:<22} plain fp32 {speed['plain']:8.0f}")
                for precision, ratio in row["ratio"].items():
                    figures = f"{ratio['median']:.2f}x  ({ratio['min']:.2f} to {ratio['max']:.2f})"
                    print(f"  {'':<22} fsft {precision} {speed[precision]:9.0f}   {figures}")
        else:
            print("FSFT over baseline (the paper reports 1.117 for time and 1.101 for memory)")
            for row in part["rows"]:
                ratio, saved = row["step_time_ratio"], row["saved_mib"]["baseline"]
                print(
                    f"  {row['model']:<22} step time {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f}), "
                    f"saved bytes {row['saved_ratio']:.4f} ({saved:.0f} MiB baseline)"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="use torch.compile in this package's loop")
    parser.add_argument("--rounds", type=int, default=5, help="turns for each contender of question 1")
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--pairs", type=int, default=31, help="pairs of steps for question 2")
    parser.add_argument("--only", choices=("loop", "overhead"), help="measure one question, keep the other's figures")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/train_step-<device>.json")
    options = parser.parse_args()
    device = torch.device(options.device)
    options.precisions = ["fp32"] + (["bf16"] if resolve_precision("auto", device) == "bf16" else [])
    images = load_dataset("photodigits", "train")
    networks = [recipes["cpu/resnet20/baseline"], recipes["table1/resnet56-basic/baseline"]]
    out = options.out or Path(__file__).parent / "results" / f"train_step-{device.type}.json"
    out.parent.mkdir(exist_ok=True)
    report = json.loads(out.read_text()) if out.exists() else {}
    conditions = {"environment": environment(device), "compiled": options.compile}
    if options.only != "overhead":
        report["loop"] = {"rows": [loop_speed(recipe, images, options) for recipe in networks], **conditions}
    if options.only != "loop":
        rows = [fsft_overhead(block, images, options) for block in ("basic", "bottleneck")]
        report["overhead"] = {"rows": rows, **conditions}
    print_tables(report)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
