"""Is FSFT nearly free?

Step time of ResNet-110 with FSFT over its baseline, in this package's loop (bf16 where the device has it), and the
bytes that autograd saves, which are counted and not measured.

    python benchmarks/fsft_overhead.py [--device cuda]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import (
    arguments,
    loop_of,
    median_interval,
    our_steps,
    ratio,
    rows_in_time,
    steps_of,
    take_turns,
    text,
    write,
)

from fsft import ImageSet, load_dataset
from fsft.catalog import recipes
from fsft.evidence.cost import step_cost


def measure(block: str, images: ImageSet, options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    suffix = "-basic" if block == "basic" else ""
    two = {method: recipes[f"table1/resnet110{suffix}/{method}"] for method in ("baseline", "fsft")}
    loops = {method: loop_of(recipe, images, device) for method, recipe in two.items()}
    on_gpu = device.type == "cuda"
    turns: dict[str, Callable[[], None]] = {}
    for method, loop in loops.items():
        turns[method] = partial(our_steps, 10 if on_gpu else 1, steps_of(loop))
        turns[method]()
    times = take_turns(turns, options)
    saved = {method: step_cost(recipe).saved_bytes for method, recipe in two.items()}
    return {
        "model": f"resnet110 ({block})",
        "precision": loops["fsft"].identity["precision"],
        "step_time_ratio": ratio(times, "fsft", "baseline"),
        "step_time_interval": median_interval(times, "fsft", "baseline"),
        "saved_mib": {method: count / 2**20 for method, count in saved.items()},
        "saved_ratio": saved["fsft"] / saved["baseline"],
    }


def main() -> None:
    options = arguments(__doc__, rounds=21).parse_args()
    images = load_dataset("photodigits", "train")
    print("FSFT over baseline: median (least to most), interval of the median (the paper: time 1.117, memory 1.101)")
    rows = []
    for block in rows_in_time(("basic", "bottleneck"), options):
        row = measure(block, images, options)
        rows.append(row)
        low, high = row["step_time_interval"] or (0, float("inf"))
        print(
            f"  {row['model']:<22} step time {text(row['step_time_ratio'], 3)}, 95 % interval {low:.3f} to {high:.3f}, "
            f"saved bytes {row['saved_ratio']:.4f}"
        )
    write("fsft_overhead", options, rows)


if __name__ == "__main__":
    main()
