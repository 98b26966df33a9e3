"""What a GPU and this package's loop do together: facts, single convolutions, steps, and runs side by side.

    python benchmarks/probe.py out/probe.json [--device cuda] [--seconds 300] [--without steps]

The file is written after every row. Sections that it has already, of the same device, versions and commit, are not
measured again. One that fails ends the process, for the device may be in disorder: the same call ``--without`` it does
the rest. Images are random numbers, which take as long as photographs. With ``--device cpu`` small networks stand in
for the paper's: a test of the script, and no measurement.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import BEGIN, arguments, in_time, loop_of, our_steps, seconds, steps_of, synchronize
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from fsft import ImageSet
from fsft.catalog import recipes
from fsft.datasets.sets import image_set
from fsft.recipe import Recipe
from fsft.runtime.files import write_atomically
from fsft.runtime.provenance import environment

Row = dict[str, Any]
PAIR = ("baseline", "fsft")
# Networks of the paper's Table 1, and how many runs of each are tried side by side.
TOGETHER = {"resnet56-basic": (1, 2, 4, 8), "resnet56": (2, 4), "resnet110": (2, 4)}
SHAPES = ((16, 32, 3), (32, 16, 3), (64, 8, 3), (64, 32, 1), (256, 8, 1))  # channels, side of the maps, kernel
EPOCH, TESTED = 50_000, 10_000  # images of CIFAR-100
TURNS, WARM_STEPS, STEPS = 3, 6, 20


def facts(options: argparse.Namespace) -> Iterator[Row]:
    """Device, driver, versions, memory."""
    device = torch.device(options.device)
    row: Row = {"environment": environment(device)}
    if device.type == "cuda":
        row["memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv"]
            row["nvidia_smi"] = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    yield row


def convolutions(options: argparse.Namespace) -> Iterator[Row]:
    """Milliseconds of single convolutions in bf16, batch 128, forward, and with their backward pass."""
    device = torch.device(options.device)
    batch = 128 if device.type == "cuda" else 8
    for channels, side, kernel in SHAPES:
        x = torch.randn(batch, channels, side, side, device=device, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.randn(channels, channels, kernel, kernel, device=device, dtype=torch.bfloat16)
        x, weight = (t.to(memory_format=torch.channels_last).detach().requires_grad_() for t in (x, weight))
        forward = partial(F.conv2d, x, weight, padding=kernel // 2)

        def both(forward: Callable[..., torch.Tensor] = forward) -> None:
            forward().sum().backward()

        times = {"forward_ms": _mean_ms(forward, device), "both_ms": _mean_ms(both, device)}
        yield {"channels": channels, "side": side, "kernel": kernel, **times}


def _mean_ms(work: Callable[[], Any], device: torch.device) -> float:
    work()
    count = 20 if device.type == "cuda" else 1
    return seconds(lambda: [work() for _ in range(count)], device) * 1000 / count


def steps(options: argparse.Namespace) -> Iterator[Row]:
    """One run alone: milliseconds of a step, for the host and until the device is done, eager and recorded."""
    device = torch.device(options.device)
    names = [f"{network}/{method}" for network in ("resnet56-basic", "resnet110") for method in PAIR]
    images = cifar_like(options)
    for name in in_time(names, options):
        recipe = table1(name, options)
        for how in ("eager", "recorded") if device.type == "cuda" else ("eager",):
            loop = loop_of(recipe, images, device, recorded=how == "recorded")
            row = {"run": name, "how": how, "precision": loop.identity["precision"]}
            row |= paces(device, steps_of(loop))
            yield row | {"evaluation_ms": 1000 * TESTED / len(images) * seconds(partial(loop.accuracy, images), device)}
        if device.type == "cuda":  # a row of its own: not every machine lets a profiler look at its kernels
            loop = loop_of(recipe, images, device, recorded=False)
            own = steps_of(loop)
            our_steps(WARM_STEPS, own)
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                our_steps(1, own)
                synchronize(device)
            # What ran on the device; the runtime's calls that started it are in the profile, too.
            ran = [event for event in profiler.key_averages() if event.device_type == DeviceType.CUDA]
            yield {"run": name, "launches": sum(event.count for event in ran)}


def together(options: argparse.Namespace) -> Iterator[Row]:
    """Several runs in one process, baseline and FSFT in turn: milliseconds until each has done one step."""
    device, images = torch.device(options.device), cifar_like(options)
    for network in in_time(list(TOGETHER), options):
        for count in TOGETHER[network]:
            if time.perf_counter() >= options.until:
                break
            methods = [PAIR[turn % 2] for turn in range(count)]
            loops = [loop_of(table1(f"{network}/{method}", options), images, device) for method in methods]
            yield {"network": network, "runs": count} | paces(device, *map(steps_of, loops))


def paces(device: torch.device, *runs: Iterator[None]) -> Row:
    """Milliseconds of one step of every run, in the best of some turns; memory that the process had at most."""
    turns, warm, count = (TURNS, WARM_STEPS, STEPS) if device.type == "cuda" else (1, 1, 1)
    our_steps(warm, *runs)
    found = []
    for _ in range(turns):
        synchronize(device)
        begin = time.perf_counter()
        our_steps(count, *runs)
        queued = time.perf_counter()
        synchronize(device)
        found.append((time.perf_counter() - begin, queued - begin))
    total, host = (1000 * value / count for value in min(found))
    memory = {"peak_mib": torch.cuda.max_memory_allocated(device) / 2**20} if device.type == "cuda" else {}
    return {"host_ms": host, "total_ms": total} | memory


def table1(name: str, options: argparse.Namespace) -> Recipe:
    """A recipe of Table 1 by network and method; on a CPU with a network of eight layers."""
    recipe = recipes[f"table1/{name}"]
    small = {"model": "resnet8", "block": "basic", "batch_size": 8}
    return recipe.reduced(**small) if options.device == "cpu" else recipe


def cifar_like(options: argparse.Namespace) -> ImageSet:
    """Random images in the form of CIFAR-100, as many as its training set has; on a CPU a few."""
    count, random = EPOCH if options.device != "cpu" else 200, np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return image_set("random", "train", pixels, np.arange(count) % 100, tuple(map(str, range(100))))


SECTIONS = {"facts": facts, "convolutions": convolutions, "steps": steps, "together": together}
SHARES = {"facts": 1, "convolutions": 1, "steps": 4, "together": 4}  # of the time


def measure(path: Path, options: argparse.Namespace) -> None:
    """Do the sections that ``path`` has not, and write it after every row."""
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    now = list(facts(options))
    if "facts" in report and report["facts"]["rows"] != json.loads(json.dumps(now)):
        print("another device, version or commit than before: all is measured again")
        path.rename(path.with_name(f"probe-until-{time.time():.0f}.json"))
        report = {}
    wanted = [name for name in SECTIONS if report.get(name, {}).get("status") != "done"]
    wanted = [name for name in wanted if name not in options.without]
    budget = options.seconds or math.inf
    for number, name in enumerate(wanted):
        begin = time.perf_counter()
        share = SHARES[name] / sum(SHARES[later] for later in wanted[number:])
        options.seconds = begin - BEGIN + share * (budget - (begin - BEGIN))
        part = report[name] = {"status": "begun", "rows": []}
        for row in SECTIONS[name](options):
            part["rows"].append(row)
            write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
        part |= {"status": "done", "seconds": round(time.perf_counter() - begin, 1)}
        write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
        print(f"{name}: {len(part['rows'])} rows", flush=True)


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("path", type=Path, help="JSON file with everything that was measured")
    parser.add_argument("--without", nargs="*", default=[], choices=SECTIONS, help="sections to leave out")
    options = parser.parse_args()
    measure(options.path, options)


if __name__ == "__main__":
    main()
