"""What to do with a GPU that is yours for a while: test it, measure it, and train the paper's next runs.

    make gpu BUDGET=900 OUT=out [FIT=1] [DEVICE=cuda] [DATA=data]

In this order, each in a process of its own, so that none that fails or hangs harms the next: the tests marked ``gpu``,
where pytest is installed; ``probe.py``, into OUT/probe.json; then the runs of the paper's Table 1 that have no result
in OUT/results, as many side by side as the probe found fastest, until the budget ends. Runs that are not done then have
saved their state: the same call again goes on with them, and repeats nothing. ``--fit`` trains pairs of baseline and
FSFT, and shortens the paper's schedule where a pair would not end within the budget.

``--device cpu`` is a dry run: the same parts, with networks and schedules of a few seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsft.catalog import profile_recipe, recipes
from fsft.recipe import Recipe
from fsft.runtime.files import write_atomically
from fsft.runtime.stopping import StopRequest, stop_request

ROOT = Path(__file__).resolve().parents[1]
BEGIN = time.monotonic()
PAIR = ("baseline", "fsft")
FIRST = [f"table1/{network}/{method}" for network in ("resnet56-basic", "resnet56", "resnet110") for method in PAIR]
SEEDS = range(4)  # the paper's means are over so many
SECTIONS = ("facts", "convolutions", "steps", "together")  # of probe.py
TEST_SECONDS, PROBE_SECONDS = 180.0, 300.0  # at most
SHORTER = (2 / 3, 1 / 2, 1 / 3)  # of the paper's epochs, with --fit
WORTH = 1.05  # how much faster more runs side by side have to be
STEPS_PER_EPOCH, START_SECONDS = 390, 20.0  # of CIFAR-100; until a process has loaded data and does its first step
STOPPED = (None, 128 + signal.SIGTERM, -signal.SIGTERM)  # how a process ends whose time was over
Pair = tuple[Recipe, int]


@dataclass
class Call:
    """One call of this script: what it may use, and what it knows."""

    options: argparse.Namespace
    stop: StopRequest
    failed: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.options.out

    def result(self, recipe: Recipe, seed: int) -> Path:
        return self.out / "results" / f"{recipe.run_name(seed)}.json"

    def folder(self, recipe: Recipe, seed: int) -> Path:
        return self.out / "runs" / recipe.run_name(seed)

    def left(self) -> float:
        """Seconds until the last process is to save and end, for which the rest of the budget is kept."""
        return self.rest() - min(20.0, self.options.budget / 10)

    def rest(self) -> float:
        """Seconds of the budget."""
        return BEGIN + self.options.budget - time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - BEGIN:5.0f} s] {text}", flush=True)

    def process(self, command: Sequence[str], log: Path, seconds: float) -> int | None:
        """Run Python, its output appended to ``log``; its exit status, None if it had to be ended.

        After ``seconds``, or when this call is asked to stop, it gets SIGTERM, and later SIGKILL.
        """
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "FSFT_HEADLESS": "1", "PYTHONPATH": path}
        with open(log, "ab") as file:
            child = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,  # a signal to this call's group must not reach the child twice
            )
        end = time.monotonic() + seconds
        while child.poll() is None and time.monotonic() < end and not self.stop:
            time.sleep(0.1)
        if child.poll() is not None:
            return child.returncode
        child.terminate()
        try:
            child.wait(max(15.0, self.rest()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, required=True, help="seconds from start to end")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that this writes")
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu for a dry run")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data", help="where CIFAR-100 is")
    parser.add_argument("--fit", action="store_true", help="the longest schedule with which a pair ends in time")
    options = parser.parse_args()
    options.out, options.data_dir = options.out.resolve(), options.data_dir.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    with stop_request(active=True) as stop:
        call = Call(options, stop)
        ready, report = check(call), probe(call)
        if ready:
            train_what_is_left(call, report)
    if call.stop:
        call.say("stopped: the same command goes on from here")
        sys.exit(128 + (call.stop.signal_number or 0))
    call.say(f"the end; failed: {', '.join(call.failed) or 'nothing'}")
    sys.exit(1 if call.failed else 0)


def check(call: Call) -> bool:
    """Run the GPU tests, and see whether there is something to train on."""
    if call.options.device == "cpu":
        return True
    ready = call.out / "data.log"
    command = ["-m", "fsft", "data", "check", "cifar100", "--data-dir", str(call.options.data_dir)]
    found = call.process(command, ready, call.left() / 3) == 0
    call.say(last_line(ready) if found else f"nothing will be trained: {last_line(ready)}")
    passed, log = call.out / "tests-passed", call.out / "tests.log"
    if importlib.util.find_spec("pytest") and not passed.exists():
        tests = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(ROOT / "tests")]
        status = call.process(tests, log, min(TEST_SECONDS, call.left() / 3))
        call.say(f"GPU tests: {last_line(log)}")
        if status == 0:
            passed.touch()
        else:
            call.failed.append("GPU tests")
    return found


def probe(call: Call) -> dict[str, Any]:
    """What ``probe.py`` measures, in this call or an earlier one; sections that fail are left out."""
    path, log = call.out / "probe.json", call.out / "probe.log"
    command = [str(ROOT / "benchmarks" / "probe.py"), str(path), "--device", call.options.device]
    end = time.monotonic() + min(PROBE_SECONDS, call.left() / 2)
    without: list[str] = []
    while not call.stop and (seconds := end - time.monotonic()) > 1:
        # Its own budget is shorter, so that it is done before it is ended.
        limits = ["--seconds", f"{0.8 * seconds:.0f}", "--without", *without]
        status = call.process([*command, *limits], log, seconds)
        report = json.loads(path.read_text()) if path.exists() else {}
        states = {name: report.get(name, {}).get("status", "not begun") for name in SECTIONS}
        call.say("measured: " + ", ".join(f"{name} {state}" for name, state in states.items()))
        if status in STOPPED or status == 0:
            break
        # Sections come in their order, so the first that is not done is the one that failed.
        failed = [name for name, state in states.items() if state == "begun" and name not in without][:1]
        call.say(f"{' '.join(failed) or 'the probe'} failed: {last_line(log)}")
        call.failed += failed or ["probe"]
        without += failed
        if not failed:
            break
    return json.loads(path.read_text()) if path.exists() else {}


def train_what_is_left(call: Call, report: dict[str, Any]) -> None:
    """One group of runs after the other until the budget ends; the last one then saves its state."""
    tried: set[str] = set()
    while call.left() > 1 and not call.stop:
        group = next_group(call, report, tried)
        if not group:
            call.say("there is nothing left to train")
            return
        names = {recipe.run_name(seed) for recipe, seed in group}
        call.say(f"training {', '.join(sorted(names))}")
        job = {
            "runs": [[recipe.as_dict(), seed] for recipe, seed in group],
            "until": time.time() + call.left(),
            "device": call.options.device,
            "data_dir": str(call.options.data_dir),
        }
        path = call.out / "job.json"
        write_atomically(path, json.dumps(job).encode())
        status = call.process([__file__, "--train", str(path)], call.out / "train.log", call.rest())
        tried |= names
        if status not in STOPPED:
            call.failed += [recipe.run_name(seed) for recipe, seed in group if not call.result(recipe, seed).exists()]


def next_group(call: Call, report: dict[str, Any], tried: set[str]) -> list[Pair]:
    """The next runs without a result, all of one network and as many as go well side by side."""
    fit, device = call.options.fit, call.options.device
    for tier in tiers(device)[: 1 if fit else None]:
        networks = [list(recipes) for _, recipes in itertools.groupby(tier, network_of)]
        runs = [
            (recipe, seed)
            for seed in SEEDS
            for same in networks
            for recipe in (fitting(call, report, same, seed) if fit else same)
        ]
        left = [run for run in runs if run[0].run_name(run[1]) not in tried and not call.result(*run).exists()]
        if left:
            same_network = [run for run in left if network_of(run[0]) == network_of(left[0][0])]
            return same_network[: 2 if fit or device == "cpu" else best_count(report)]
    return []


def network_of(recipe: Recipe) -> tuple[str, str]:
    return recipe.model, recipe.block


def tiers(device: str) -> list[list[Recipe]]:
    """The pairs that come first, and the rest of Table 1; for a dry run a pair of a few seconds."""
    if device == "cpu":
        return [[profile_recipe("quick", method) for method in PAIR]]
    rest = [name for name in recipes if name.startswith("table1/") and name not in FIRST]
    return [[recipes[name] for name in names] for names in (FIRST, rest)]


def best_count(report: dict[str, Any]) -> int:
    """How many runs side by side the probe found fastest; more only where they are clearly faster."""
    best, speed = 1, 0.0
    rows = report.get("together", {}).get("rows", [])
    for row in rows:
        now = row["runs"] / row["total_ms"]
        if row["network"] == rows[0]["network"] and now > WORTH * speed:
            best, speed = row["runs"], now
    return best


def fitting(call: Call, report: dict[str, Any], pair: Sequence[Recipe], seed: int) -> Sequence[Recipe]:
    """The pair with the schedule that was begun, or the longest that ends in time; the shortest if none does."""
    choices = [pair]
    choices += [[recipe.reduced(epochs=round(part * recipe.epochs)) for recipe in pair] for part in SHORTER]
    for choice in choices:
        if any(path.exists() for recipe in choice for path in (call.result(recipe, seed), call.folder(recipe, seed))):
            return choice
    epoch, seconds = epoch_seconds(report, pair[0]), 0.9 * call.left() - START_SECONDS
    return next((choice for choice in choices if epoch * choice[0].epochs <= seconds), choices[-1])


def epoch_seconds(report: dict[str, Any], recipe: Recipe) -> float:
    """Of a pair side by side, its evaluations included, as the probe measured it; infinite where it did not."""
    network, rows = recipe.name.split("/")[1], {name: part["rows"] for name, part in report.items()}
    paces = [row["total_ms"] for row in rows.get("together", []) if (row["network"], row["runs"]) == (network, 2)]
    tests = [row["evaluation_ms"] for row in rows.get("steps", []) if "evaluation_ms" in row]
    return (STEPS_PER_EPOCH * paces[0] + 2 * max(tests)) / 1000 if paces and tests else math.inf


def train(path: Path) -> int:
    """The process that trains a group; it ends itself in time, whatever becomes of the one that started it."""
    import torch

    from fsft.evidence.cost import step_cost
    from fsft.runtime.stopping import TrainingStoppedError
    from fsft.training import train_together

    job = json.loads(path.read_text())
    runs = [(Recipe.from_dict(recipe), seed) for recipe, seed in job["runs"]]
    at_once = len(runs)
    if job["device"] != "cpu":
        memory = torch.cuda.get_device_properties(job["device"]).total_memory
        need = max(step_cost(recipe).peak_bytes for recipe, _ in runs)
        at_once = max(1, min(at_once, int(0.8 * memory / need)))
    alarm = threading.Timer(job["until"] - time.time(), os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()
    outcomes = train_together(
        runs,
        at_once,
        data_dir=job["data_dir"],
        runs_dir=path.parent / "runs",
        results_dir=path.parent / "results",
        device=job["device"],
        progress="lines",
    )
    for (recipe, seed), outcome in zip(runs, outcomes, strict=True):
        print(f"{recipe.run_name(seed)}: {outcome if isinstance(outcome, Exception) else 'done'}", flush=True)
    if any(isinstance(outcome, TrainingStoppedError) for outcome in outcomes):
        return 128 + signal.SIGTERM
    return int(any(isinstance(outcome, Exception) for outcome in outcomes))


def last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        sys.exit(train(Path(sys.argv[2])))
    main()
