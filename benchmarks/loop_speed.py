"""Is the training loop fast?

Images per second of ``fsft.train``'s loop against the one that a user would otherwise write: fp32, eager, torchvision
transforms on PIL images, a DataLoader with two workers.

    python benchmarks/loop_speed.py [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Generator
from functools import partial
from typing import Any

import torch
from harness import arguments, loop_of, our_steps, precisions, ratio, rows_in_time, seconds, steps_of, text, write
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fsft import ImageSet, PlainNet, backbone, load_dataset
from fsft.catalog import recipes
from fsft.recipe import Recipe

BATCH = 128
EPOCH = 50_000  # CIFAR-100's training images
CPU = ("cpu/resnet20/baseline", "table1/resnet56-basic/baseline")
CUDA = (*CPU, "table1/resnet56/baseline", "table1/resnet110/baseline", "table1/resnet110/fsft")


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


def plain_steps(recipe: Recipe, images: ImageSet, device: torch.device) -> Generator[None, str | None, None]:
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


def measure(recipe: Recipe, images: ImageSet, options: argparse.Namespace) -> dict[str, Any]:
    device, steps = torch.device(options.device), options.steps
    loops = {precision: loop_of(recipe, images, device, precision) for precision in precisions(device)}
    if device.type == "cuda":
        fastest = precisions(device)[-1]
        loops = {f"{precision}, recorded": loop for precision, loop in loops.items()}
        loops[f"{fastest}, eager"] = loop_of(recipe, images, device, fastest, recorded=False)
    ours = {name: steps_of(loop) for name, loop in loops.items()}
    for own in ours.values():
        our_steps(4, own)  # records and warms up
    # The plain contender has no FSFT: what that costs is another script's question.
    plain = plain_steps(recipe, images, device)
    next(plain)
    times: dict[str, list[float]] = {name: [] for name in ("plain", *ours)}
    for turn in range(options.rounds):
        if turn and time.perf_counter() >= options.until:
            break
        for _ in range(2):
            next(plain)  # the workers' start is not counted
        times["plain"].append(seconds(lambda: [next(plain) for _ in range(steps)], device))
        plain.send("pause")
        for name, own in ours.items():
            times[name].append(seconds(partial(our_steps, steps, own), device))
    speed = {name: BATCH * steps / statistics.median(values) for name, values in times.items()}
    return {
        "model": f"{recipe.model} ({recipe.block})" + ("" if recipe.method == "baseline" else f", {recipe.method}"),
        "images_per_second": speed,
        "epoch_seconds": {name: EPOCH / value for name, value in speed.items()},
        "ratio": {name: ratio(times, "plain", name) for name in ours},
    }


def main() -> None:
    parser = arguments(__doc__, rounds=4)
    parser.add_argument("--steps", type=int, default=8, help="steps in a turn (default: 8)")
    options = parser.parse_args()
    if options.clock != "wall":
        parser.error("the plain loop's workers are processes of their own: only wall time compares")
    images = load_dataset("photodigits", "train")
    rows = []
    print("Images per second, batch 128; ratio to the plain loop: median (least to most) of neighboring turns")
    for name in rows_in_time(CUDA if options.device.startswith("cuda") else CPU, options):
        row = measure(recipes[name], images, options)
        rows.append(row)
        print(f"  {row['model']:<22} plain fp32 {row['images_per_second']['plain']:8.0f}")
        for contender, figures in row["ratio"].items():
            speed, epoch = row["images_per_second"][contender], row["epoch_seconds"][contender]
            print(f"  {'':<22} fsft {contender} {speed:9.0f}   {text(figures)}   {epoch:.1f} s per epoch of CIFAR-100")
    write("loop_speed", options, rows)


if __name__ == "__main__":
    main()
