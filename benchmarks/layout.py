"""Which number format and memory format make a step fast here, and does torch.compile pay?

One training step of a batch of 128 (64 with ``--device cpu``), in every combination. The ratios say how much faster
each is than fp32 in the default format. ``--compile`` adds the compiled step and the seconds that compilation took.

    python benchmarks/layout.py [--device cuda] [--compile]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, precisions, ratio, take_turns, text, write
from torch import Tensor
from torch.nn import functional as F

from fsft import PlainNet, backbone

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NETWORKS = (("resnet20", "basic"), ("resnet56", "basic"), ("resnet110", "bottleneck"))


def training_step(
    name: str, block: str, precision: str, memory_format: torch.memory_format, device: torch.device, compile: bool
) -> Callable[[], None]:
    torch.manual_seed(0)
    network = PlainNet(backbone(name, block=block), 100).to(device).to(memory_format=memory_format).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, fused=True)
    batch = 64 if device.type == "cpu" else 128
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
    labels = torch.randint(100, (batch,), device=device)

    def eager_loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(network(x), y)

    loss = torch.compile(eager_loss, fullgraph=True, dynamic=False) if compile else eager_loss

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            value = loss(images, labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(name: str, block: str, options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    compiling = options.compile and (device.type == "cuda" or name == NETWORKS[0][0])
    steps: dict[str, Callable[[], None]] = {}
    compilation: dict[str, float] = {}
    for precision, memory_format in itertools.product(precisions(device), FORMATS):
        for compile in (False, True) if compiling else (False,):
            key = f"{precision}, {memory_format}" + (", compiled" if compile else "")
            steps[key] = training_step(name, block, precision, FORMATS[memory_format], device, compile)
            begin = time.perf_counter()
            for _ in range(3 if compile else 1):
                steps[key]()
            if compile:
                compilation[key] = time.perf_counter() - begin
    times = take_turns(steps, options)
    first = next(iter(steps))
    speedups = {key: ratio(times, first, key) for key in steps}
    return {"model": f"{name} ({block})", "speedup": speedups, "compilation_seconds": compilation}


def main() -> None:
    parser = arguments(__doc__, rounds=7)
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also the compiled step (on a CPU of the smallest network only: it takes minutes)",
    )
    parser.add_argument("--only", choices=[name for name, _ in NETWORKS], help="one network")
    options = parser.parse_args()
    options.compile |= options.device.startswith("cuda")
    rows = []
    print("Speed of a step over fp32 in the default memory format")
    for name, block in NETWORKS:
        if options.only in (None, name):
            row = measure(name, block, options)
            rows.append(row)
            print(f"  {row['model']}")
            for key, figures in row["speedup"].items():
                seconds = row["compilation_seconds"].get(key)
                print(f"    {key:<32} {text(figures)}" + (f"   compiled in {seconds:.0f} s" if seconds else ""))
    write("layout", options, rows)


if __name__ == "__main__":
    main()
