"""What does each row of Table 5 cost, measured?

Step time of every method over the baseline's, all trained as the paper trains: fp32, eager, default memory format. And
peak memory: on a GPU what PyTorch allocated, what it reserved, and what the driver reports as used; on a CPU the
resident set, of a process of its own for each method.

    python benchmarks/table5.py [--device cuda] [--block basic] [--batch-size 128]
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from harness import arguments, chosen, in_time, ratio, spread, synchronize, take_turns, text, write
from torch.nn import functional as F

from fsft import JointNet, JointOutput, joint_loss
from fsft.catalog import recipes
from fsft.evidence.cost import appendix_b_forward
from fsft.networks import build, parameter_groups

MULTIPLES = ("after-layer2", "after-layer1", "sla", "sla+fsft")  # cost several times the baseline
ROWS = {
    "baseline": "table1/resnet110/baseline",
    "after-layer3": "table5/resnet110/after-layer3",
    "after-layer2": "table5/resnet110/after-layer2",
    "after-layer1": "table5/resnet110/after-layer1",
    "sla": "table2/resnet110/sla",
    "fsft": "table1/resnet110/fsft",
    "fsft, literal": "table1/resnet110/fsft",
    "fsft-sd": "table1/resnet110/fsft-sd",
    "sla+fsft": "table2/resnet110/sla+fsft",
}


def training_step(row: str, options: argparse.Namespace) -> Callable[[], None]:
    """One step of SGD on a fixed batch."""
    device, recipe = torch.device(options.device), recipes[ROWS[row]].reduced(block=options.block)
    torch.manual_seed(0)
    network = build(recipe, 100).to(device).train()
    optimizer = torch.optim.SGD(parameter_groups(network, recipe), recipe.lr, recipe.momentum, fused=True)
    images = torch.randn(options.batch_size, 3, 32, 32, device=device)
    labels = torch.randint(100, (options.batch_size,), device=device)
    literal = row.endswith("literal")

    def step() -> None:
        output = appendix_b_forward(network, images) if literal and isinstance(network, JointNet) else network(images)
        loss = joint_loss(output, labels) if isinstance(output, JointOutput) else F.cross_entropy(output, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peak_memory(row: str, options: argparse.Namespace) -> dict[str, float]:
    """MiB after a few steps, by every definition that the device knows."""
    if not options.device.startswith("cuda"):
        command = [sys.executable, __file__, "--memory-of", row, "--block", options.block]
        command += ["--batch-size", str(options.batch_size)]
        # One thread: two of these run side by side, and threads that wait for each other's cores would take minutes.
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
        return {"resident": float(run.stdout)}
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = training_step(row, options)
    for _ in range(3):
        step()
    synchronize(torch.device(options.device))
    free, total = torch.cuda.mem_get_info()
    counts = {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "driver": total - free,  # of all processes on the device, CUDA's own context included
    }
    return {name: count / 2**20 for name, count in counts.items()}


def resident_growth(row: str, options: argparse.Namespace) -> float:
    """By how many MiB two steps raise the peak of this process's resident set."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    warm_up = argparse.Namespace(**{**vars(options), "batch_size": 1})
    training_step("baseline", warm_up)()  # libraries and thread pools
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = training_step(row, options)
    for _ in range(2):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit


def peak_memories(rows: Sequence[str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """MiB of every row; on a CPU two processes at a time, of which neither sees the other's memory."""
    with ThreadPoolExecutor(1 if options.device.startswith("cuda") else 2) as pool:
        return dict(zip(rows, pool.map(lambda row: peak_memory(row, options), rows), strict=True))


def turns(rows: Sequence[str], rounds: int) -> dict[str, tuple[list[str], int]]:
    """The baseline beside the rows that cost about as much, then beside those that cost a multiple: few turns tell."""
    others = [row for row in rows if row != "baseline"]
    multiples = [row for row in others if row in MULTIPLES]
    groups = {"cheap rows": ([row for row in others if row not in MULTIPLES], rounds)}
    groups |= {"rows that cost a multiple": (multiples, -(-rounds // 5))} if multiples else {}
    return {group: (["baseline", *names], count) for group, (names, count) in groups.items()}


def main() -> None:
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--block", choices=("bottleneck", "basic"), default="bottleneck")
    parser.add_argument("--batch-size", type=int, help="default: the paper's 128 on a GPU, 32 on a CPU")
    parser.add_argument("--memory-of", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.batch_size = options.batch_size or (128 if options.device.startswith("cuda") else 32)
    if options.memory_of:
        print(resident_growth(options.memory_of, options))
        return
    wanted = ["baseline", *(row for row in chosen(list(ROWS), options) if row != "baseline")]
    memory = peak_memories(wanted, options)
    steps: dict[str, Callable[[], Any]] = {row: training_step(row, options) for row in wanted}
    for step in steps.values():
        step()
    rows: list[dict[str, Any]] = []
    print(
        f"ResNet-110 ({options.block}), batch {options.batch_size}: step time over the baseline's; peak memory in MiB"
    )
    groups = turns(wanted, options.rounds)
    for group in in_time(list(groups), options):
        names, rounds = groups[group]
        times = take_turns({row: steps[row] for row in names}, options, rounds)
        for row in names if not rows else names[1:]:
            slower = ratio(times, row, "baseline")
            rows.append({"row": row, "seconds": spread(times[row]), "ratio": slower, **memory[row]})
            figures = ", ".join(f"{name} {value:.0f}" for name, value in memory[row].items())
            print(f"  {row:<14} {text(slower, 3)}   {figures}")
    write("table5", options, rows)


if __name__ == "__main__":
    main()
