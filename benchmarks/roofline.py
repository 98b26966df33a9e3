"""How far is a training step from what the machine can do at all?

Measures the machine's memory bandwidth (a copy, as in STREAM) and its arithmetic (a large matrix product, and a 3 x 3
convolution of 64 channels, forward). Then it counts what a step of this package's loop moves and computes, and divides.
The larger of the two times is the least that eager execution can take: every operation reads its inputs from memory and
writes its output there. Caches can beat it, and so can fused kernels, which move less.

    python benchmarks/roofline.py [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import Any

import torch
from harness import arguments, loop_of, our_steps, precisions, rows_in_time, seconds, steps_of, write
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fsft import ImageSet, load_dataset
from fsft.batches import draws_of_step
from fsft.catalog import recipes
from fsft.evidence.cost import StepMeter
from fsft.loop import Loop

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NETWORKS = ("cpu/resnet20/baseline", "table1/resnet56-basic/baseline", "table1/resnet110/baseline")


def best(work: Any, options: argparse.Namespace) -> float:
    """The shortest time: a limit is what the machine can do when nothing disturbs it."""
    work()
    return min(seconds(work, torch.device(options.device), options.clock) for _ in range(2 * options.rounds))


def bandwidth(options: argparse.Namespace) -> float:
    """Bytes per second, read and written, of a copy that no cache holds."""
    device = torch.device(options.device)
    source = torch.zeros((2**30 if device.type == "cuda" else 2**28) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / best(lambda: target.copy_(source), options)


def matmul_flops(dtype: torch.dtype, options: argparse.Namespace) -> float:
    """FLOP per second of a square matrix product."""
    device = torch.device(options.device)
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / best(lambda: a @ b, options)


def convolution_flops(dtype: torch.dtype, options: argparse.Namespace) -> float:
    """FLOP per second of a convolution like those of the last stage."""
    device = torch.device(options.device)
    x = torch.randn(128, 64, 16, 16, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return 2 * x.numel() * 64 * 9 / best(lambda: F.conv2d(x, weight, padding=1), options)


def counted_step(loop: Loop) -> tuple[int, int]:
    """FLOPs and bytes moved by one step of the loop, from batch to gradients, in the loop's precision."""
    loop.begin_epoch()
    batch = loop.batch(draws_of_step(loop.tables, loop.place))
    loop.model.train()
    with FlopCounterMode(display=False) as flops, StepMeter() as meter:
        with loop.autocast():
            loss = loop.batch_loss(batch)
        loss.backward()
    loop.optimizer.zero_grad(set_to_none=True)
    return flops.get_total_flops(), meter.moved_bytes


def measure(name: str, images: ImageSet, limits: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    device, rows = torch.device(options.device), []
    for precision in precisions(device):
        loop = loop_of(recipes[name], images, device, precision, recorded=False)
        contenders = {"eager": loop}
        if device.type == "cuda":
            contenders["recorded"] = loop_of(recipes[name], images, device, precision)
        flops, moved = counted_step(loop)
        # Whichever is faster here: a library's matrix product need not be the best that a processor can do.
        peak = max(limits[kind][precision] for kind in ("matmul_flops", "convolution_flops"))
        memory, arithmetic = moved / limits["bytes_per_second"], flops / peak
        for kind, contender in contenders.items():
            steps = partial(our_steps, 2, steps_of(contender))
            for _ in range(2):  # the second records
                steps()
            times = [seconds(steps, device, options.clock) / 2 for _ in range(options.rounds)]
            rows.append(
                {
                    "model": f"{loop.recipe.model} ({loop.recipe.block})",
                    "precision": precision,
                    "kind": kind,
                    "flops": flops,
                    "moved_bytes": moved,
                    "memory_seconds": memory,
                    "arithmetic_seconds": arithmetic,
                    "seconds": statistics.median(times),
                    "fastest_seconds": min(times),
                    "share_of_limit": max(memory, arithmetic) / statistics.median(times),
                }
            )
    return rows


def main() -> None:
    options = arguments(__doc__, rounds=7).parse_args()
    device = torch.device(options.device)
    limits: dict[str, Any] = {"bytes_per_second": bandwidth(options)}
    for kind, function in (("matmul_flops", matmul_flops), ("convolution_flops", convolution_flops)):
        limits[kind] = {name: function(DTYPES[name], options) for name in precisions(device)}
    print(f"memory {limits['bytes_per_second'] / 1e9:.0f} GB/s")
    for name in precisions(device):
        matmul, convolution = limits["matmul_flops"][name] / 1e9, limits["convolution_flops"][name] / 1e9
        print(f"{name}: matrix product {matmul:.0f} GFLOP/s, convolution {convolution:.0f} GFLOP/s")
    images = load_dataset("photodigits", "train")
    rows = []
    print("One step, batch 128: least time for memory and for arithmetic, measured time (ms), limit over measured")
    for name in rows_in_time(NETWORKS, options):
        for row in measure(name, images, limits, options):
            rows.append(row)
            times = "  ".join(f"{1000 * row[f'{k}seconds']:8.1f}" for k in ("memory_", "arithmetic_", ""))
            print(f"  {row['model']:<22} {row['precision']} {row['kind']:<9} {times}   {row['share_of_limit']:.0%}")
    write("roofline", options, rows, limits=limits)


if __name__ == "__main__":
    main()
