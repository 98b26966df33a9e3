"""Do several seeds of one recipe share a device well?

Images per second of N processes side by side, as ``fsft sweep --jobs N`` starts them, against one alone. On a CPU the
threads are divided among them.

    python benchmarks/seeds.py [--device cuda]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

import torch
from harness import arguments, loop_of, our_steps, seconds, spread, text, write

from fsft import load_dataset
from fsft.catalog import recipes

RECIPES = {"cpu": "cpu/resnet20/fsft", "cuda": "table1/resnet110/fsft"}
BATCH = 128


def work(options: argparse.Namespace) -> None:
    """A worker: makes a loop ready, then runs and times its steps each time it is told to."""
    device = torch.device(options.device)
    loop = loop_of(recipes[RECIPES[device.type]], load_dataset("photodigits", "train"), device, recorded=True)
    our_steps(loop, 4)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds(lambda: our_steps(loop, options.steps), device), flush=True)


def throughput(count: int, options: argparse.Namespace) -> list[float]:
    """Images per second of ``count`` processes together, round by round."""
    threads = str(max(1, (os.cpu_count() or 1) // count))
    command = [sys.executable, __file__, "--worker", "--device", options.device, "--steps", str(options.steps)]
    workers = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        )
        for _ in range(count)
    ]
    speeds = []
    try:
        answers = [_answer(worker) for worker in workers]
        for _ in range(options.rounds):
            for worker in workers:
                assert worker.stdin is not None
                print("go", file=worker.stdin, flush=True)
            answers = [_answer(worker) for worker in workers]
            speeds.append(count * options.steps * BATCH / max(map(float, answers)))
    finally:
        for worker in workers:
            worker.communicate()  # closes its input, which ends it
    return speeds


def _answer(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"a worker ended with status {worker.wait()}: see its message above")
    return line


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn (default: 10)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    counts = (1, 2) if options.device == "cpu" else (1, 2, 4, 8)
    rows: list[dict[str, Any]] = []
    print(f"Images per second of {RECIPES[torch.device(options.device).type]} in N processes together")
    for count in counts:
        rows.append({"processes": count, "images_per_second": spread(throughput(count, options))})
        gain = rows[-1]["images_per_second"]["median"] / rows[0]["images_per_second"]["median"]
        print(f"  {count}: {text(rows[-1]['images_per_second'], 0)}, {gain:.2f} times one process")
    write("seeds", options, rows)


if __name__ == "__main__":
    main()
