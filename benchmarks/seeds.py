"""Do several seeds of one recipe share a device well?

Images per second of N runs side by side against one alone: on a CPU N processes that divide its threads, as
``fsft sweep --jobs N`` starts them; on a GPU one process, as with ``fsft sweep --together N``.

    python benchmarks/seeds.py [--device cuda]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
from harness import arguments, loop_of, our_steps, rows_in_time, seconds, spread, steps_of, take_turns, text, write

from fsft import load_dataset
from fsft.catalog import recipes

RECIPES = {"cpu": "cpu/resnet20/fsft", "cuda": "table1/resnet56-basic/fsft"}
BATCH = 128


def work(options: argparse.Namespace) -> None:
    """A worker: makes a loop ready, then runs and times its steps each time it is told to."""
    device = torch.device(options.device)
    steps = steps_of(loop_of(recipes[RECIPES[device.type]], load_dataset("photodigits", "train"), device))
    our_steps(4, steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds(lambda: our_steps(options.steps, steps), device), flush=True)


def in_one_process(count: int, options: argparse.Namespace) -> list[float]:
    """Images per second of ``count`` runs together, round by round."""
    device, images = torch.device(options.device), load_dataset("photodigits", "train")
    runs = [steps_of(loop_of(recipes[RECIPES[device.type]], images, device)) for _ in range(count)]
    our_steps(4, *runs)
    times = take_turns({"together": partial(our_steps, options.steps, *runs)}, options)["together"]
    return [count * options.steps * BATCH / spent for spent in times]


def in_processes(count: int, options: argparse.Namespace) -> list[float]:
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
        for turn in range(options.rounds):
            if turn and time.perf_counter() >= options.until:
                break
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
    on_gpu = options.device.startswith("cuda")
    kind, measure = ("runs", in_one_process) if on_gpu else ("processes", in_processes)
    rows: list[dict[str, Any]] = []
    print(f"Images per second of {RECIPES[torch.device(options.device).type]}, N {kind} together")
    for count in rows_in_time(["1", "2", "4", "8"] if on_gpu else ["1", "2"], options):
        rows.append({kind: int(count), "images_per_second": spread(measure(int(count), options))})
        gain = rows[-1]["images_per_second"]["median"] / rows[0]["images_per_second"]["median"]
        print(f"  {count}: {text(rows[-1]['images_per_second'], 0)}, {gain:.2f} times the first")
    write("seeds", options, rows)


if __name__ == "__main__":
    main()
