"""What the benchmarks share: turns, ratios, and a report that says where it was measured.

Contenders take turns in one process, and only ratios of neighboring turns are compared, so that a machine whose speed
drifts, or that others use as well, slows all of them. A figure is a median, with the least and the most beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from fsft import ImageSet
from fsft.loop import Loop
from fsft.recipe import Recipe
from fsft.runtime.devices import resolve_precision
from fsft.runtime.provenance import environment

RESULTS = Path(__file__).parent / "results"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BEGIN = time.perf_counter()
Times = dict[str, list[float]]


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each contender (default: {rounds})")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts this process's CPU seconds: for a CPU that others use as well, with OMP_NUM_THREADS=1",
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="only the rows with this in their name")
    parser.add_argument("--seconds", type=float, help="a budget: begin no turn after it is spent")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/<question>-<device>.json")
    parser.set_defaults(until=math.inf)
    return parser


def chosen(names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """The rows that ``--only`` asks for.

    Raises:
        SystemExit: there is none.
    """
    found = [name for name in names if options.only is None or any(text in name for text in options.only)]
    if not found:
        raise SystemExit(f"--only: expected a part of one of {', '.join(names)}, found {', '.join(options.only)}")
    return found


def in_time(names: Sequence[str], options: argparse.Namespace) -> Iterator[str]:
    """The names one by one while ``--seconds`` last; each may use an equal share of what is left."""
    for done, name in enumerate(names):
        now, end = time.perf_counter(), BEGIN + (options.seconds or math.inf)
        if done and now >= end:
            print(f"  no time left for {', '.join(names[done:])}")
            return
        options.until = now + (end - now) / (len(names) - done)
        yield name


def rows_in_time(names: Sequence[str], options: argparse.Namespace) -> Iterator[str]:
    """The rows that ``--only`` asks for, while ``--seconds`` last."""
    yield from in_time(chosen(names, options), options)


def seconds(work: Callable[[], Any], device: torch.device, clock: str = "wall") -> float:
    """Time of ``work``, the device's queue included."""
    synchronize(device)
    begin = CLOCKS[clock]()
    work()
    synchronize(device)
    return CLOCKS[clock]() - begin


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    contenders: Mapping[str, Callable[[], Any]], options: argparse.Namespace, rounds: int | None = None
) -> Times:
    """Time every contender once in each round, while time is left; the order is turned around from round to round."""
    times: Times = {name: [] for name in contenders}
    names, device = list(contenders), torch.device(options.device)
    for turn in range(rounds or options.rounds):
        if turn and time.perf_counter() >= options.until:
            break
        for name in names[::-1] if turn % 2 else names:
            times[name].append(seconds(contenders[name], device, options.clock))
    return times


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def ratio(times: Times, slow: str, fast: str) -> dict[str, float]:
    """How many times as long ``slow`` takes, round by round."""
    return spread(_ratios(times, slow, fast))


def median_interval(times: Times, slow: str, fast: str) -> list[float] | None:
    """Where the median of the ratios lies with 95 % confidence, by the sign test; None for fewer than six rounds."""
    interval = stats.quantile_test(_ratios(times, slow, fast), q=1, p=0.5).confidence_interval(0.95)
    return None if math.isnan(interval.low) else [float(interval.low), float(interval.high)]


def _ratios(times: Times, slow: str, fast: str) -> list[float]:
    return [a / b for a, b in zip(times[slow], times[fast], strict=True)]


def text(figures: Mapping[str, float], digits: int = 2) -> str:
    return f"{figures['median']:.{digits}f}  ({figures['min']:.{digits}f} to {figures['max']:.{digits}f})"


def loop_of(
    recipe: Recipe, images: ImageSet, device: torch.device, precision: str = "auto", recorded: bool = True
) -> Loop:
    """The package's own training loop on ``images``; on a GPU its steps are recorded, unless told otherwise."""
    identity = {"slug": recipe.slug, "seed": 0, "precision": resolve_precision(precision, device)}
    loop = Loop(recipe, identity, images, images, device)
    if not recorded:
        loop.recorder.record = None
    return loop


def steps_of(loop: Loop) -> Iterator[None]:
    """The steps of the package's own loop, without end and without the evaluations between its epochs."""
    while True:
        yield from loop.train_epoch()
        loop.state.step = 0


def our_steps(count: int, *runs: Iterator[None]) -> None:
    """``count`` steps of every run, side by side: on a GPU they are only queued when this returns."""
    for _ in range(count):
        for steps in runs:
            next(steps)


def precisions(device: torch.device) -> list[str]:
    """fp32, and bf16 where the device computes in it."""
    return ["fp32", *(["bf16"] if resolve_precision("auto", device) == "bf16" else [])]


def write(question: str, options: argparse.Namespace, rows: list[dict[str, Any]], **more: Any) -> None:
    """The JSON file: settings, environment, load of the machine, rows."""
    device = torch.device(options.device)
    out = options.out or RESULTS / f"{question}-{device.type}.json"
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "device", "until")}
    report = {
        "question": question,
        "settings": settings,
        "duration_seconds": round(time.perf_counter() - BEGIN),
        # More than the machine has cores means that others computed at the same time.
        "load_average": round(os.getloadavg()[0], 2),
        "environment": environment(device),
        **more,
        "rows": rows,
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    where = report["environment"]
    print(
        f"{where['device']['name']}, {where['threads']} threads, load {report['load_average']}, "
        f"in {report['duration_seconds']} s; written to {out.name}\n"
    )
