"""Where does a step's time go?

torch.profiler over some steps of this package's loop, eager, its operations sorted into a few kinds.

    python benchmarks/step_profile.py [--device cuda]
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from typing import Any

import torch
from harness import arguments, loop_of, our_steps, rows_in_time, steps_of, synchronize, write
from torch.profiler import ProfilerActivity, profile

from fsft import ImageSet, load_dataset
from fsft.catalog import recipes

# The first pattern that occurs in an operation's name decides.
KINDS = {
    "convolution": r"conv",
    "batch normalization": r"batch_norm",
    "classifier and loss": r"addmm|aten::mm|bmm|baddbmm|matmul|softmax|nll_loss",
    "ReLU": r"relu|threshold|clamp",
    "optimizer": r"sgd|foreach",
    "casts and copies": r"copy_|_to_copy|contiguous|clone",
    "residual additions": r"aten::add_?$",
    "augmentation": r"index_select|flip|pad|unfold|aten::cat|aten::mul_?$|aten::sub_?$",
}
RECIPES = ("table1/resnet56-basic/baseline", "table1/resnet110/baseline", "table1/resnet110/fsft")
STEPS = 3


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "everything else")


def measure(name: str, images: ImageSet, options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    loop = loop_of(recipes[name], images, device, recorded=False)
    steps = steps_of(loop)
    our_steps(2, steps)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        our_steps(STEPS, steps)
        synchronize(device)
    spent: defaultdict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        # On a GPU the kernels' time, charged to the operation that launched them.
        if event.key.startswith(("aten::", "mkldnn::", "onednn::", "cudnn::")):
            spent[kind_of(event.key)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(spent.values())
    shares = {kind: spent[kind] / total for kind in sorted(spent, key=lambda kind: -spent[kind])}
    return {
        "model": f"{loop.recipe.model} ({loop.recipe.block}), {loop.recipe.method}",
        "precision": loop.identity["precision"],
        "milliseconds_per_step": total / STEPS / 1000,
        "shares": shares,
    }


def main() -> None:
    options = arguments(__doc__, rounds=1).parse_args()
    images = load_dataset("photodigits", "train")
    rows = []
    for name in rows_in_time(RECIPES, options):
        row = measure(name, images, options)
        rows.append(row)
        print(
            f"{row['model']}, {row['precision']}: {row['milliseconds_per_step']:.0f} ms in operations per step of 128"
        )
        print("".join(f"  {share:6.1%}  {kind}\n" for kind, share in row["shares"].items()))
    write("step_profile", options, rows)


if __name__ == "__main__":
    main()
