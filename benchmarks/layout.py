"""Which number format and memory format make a step fast here?

One training step of a batch of 128 (64 with ``--device cpu``), in every combination. The ratios say how much faster
each is than fp32 in the default format.

    python benchmarks/layout.py [--device cuda]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, precisions, ratio, rows_in_time, take_turns, text, write
from torch.nn import functional as F

from fsft import PlainNet, backbone

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NETWORKS = {
    f"{name} ({block})": (name, block)
    for name, block in (("resnet20", "basic"), ("resnet56", "basic"), ("resnet110", "bottleneck"))
}


def training_step(
    name: str, block: str, precision: str, memory_format: torch.memory_format, device: torch.device
) -> Callable[[], None]:
    torch.manual_seed(0)
    network = PlainNet(backbone(name, block=block), 100).to(device).to(memory_format=memory_format).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, fused=True)
    batch = 64 if device.type == "cpu" else 128
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
    labels = torch.randint(100, (batch,), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(network: str, options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    steps = {
        f"{precision}, {name}": training_step(*NETWORKS[network], precision, memory_format, device)
        for precision in precisions(device)
        for name, memory_format in FORMATS.items()
    }
    for step in steps.values():
        step()
    times = take_turns(steps, options)
    first = next(iter(steps))
    return {"model": network, "speedup": {key: ratio(times, first, key) for key in steps}}


def main() -> None:
    options = arguments(__doc__, rounds=7).parse_args()
    rows = []
    print("Speed of a step over fp32 in the default memory format")
    for network in rows_in_time(list(NETWORKS), options):
        row = measure(network, options)
        rows.append(row)
        print(f"  {row['model']}")
        for key, figures in row["speedup"].items():
            print(f"    {key:<32} {text(figures)}")
    write("layout", options, rows)


if __name__ == "__main__":
    main()
