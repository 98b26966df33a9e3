"""Many runs: one process each, or several in this one, nothing twice, and a table at the end.

The result files are the only record of what is done, so a sweep can be killed and started again, two sweeps can share a
folder, and a cluster's own scheduler can run the same ``fsft train`` commands instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fsft.catalog import recipes
from fsft.cli.options import IN_USE, as_arguments, changed
from fsft.recipe import Recipe
from fsft.runtime.files import FolderLockedError, run_lock
from fsft.runtime.stopping import TrainingStoppedError, stop_request

_EPOCH = re.compile(r"epoch (\d+)/(\d+)")


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        recipe, seed: what to train.
        arguments: command line that trains it, without the interpreter.
        folder: where the run keeps its checkpoints, and the sweep its log.
        result: the file that says that it is done.
        state: ``waiting``, ``running``, ``done``, ``failed (status)`` or ``elsewhere`` (another sweep has it).
    """

    recipe: Recipe
    seed: int
    arguments: list[str]
    folder: Path
    result: Path
    state: str = "waiting"
    process: subprocess.Popen[bytes] | None = None
    gpu: str | None = None
    epochs_done: int = 0
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "log.txt"
        self.epochs_done = self.epochs_in_log()
        if self.result.exists():
            self.state, self.epochs_done = "done", self.recipe.epochs

    @property
    def title(self) -> str:
        return f"{self.recipe.name}, seed {self.seed}"

    def epochs_in_log(self) -> int:
        """The last epoch that the log has, be it of an earlier start."""
        found = _EPOCH.findall(tail(self.log))
        return int(found[-1][0]) if found else 0

    def start(self, gpu: str | None, at_once: int = 1, cores: int | None = None) -> None:
        """Begin or resume the run in a process and session of its own, its output appended to its log.

        It is one of ``at_once`` on its device, and has ``cores`` of the CPU (None: as many as it likes).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "FSFT_HEADLESS": "1", "FSFT_JOBS": str(at_once)}
        if os.name == "posix":  # on Windows an environment's Python is no child of ours, but of its launcher
            environment["FSFT_SWEEP"] = str(os.getpid())
        if cores is not None:
            environment.setdefault("OMP_NUM_THREADS", str(cores))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        # -P: a random.py in the folder where somebody starts a sweep is none of ours. The package itself may lie there.
        home = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        log: IO[bytes]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fsft", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.state, self.gpu = "running", gpu

    def poll(self) -> bool:
        """Look at the run; True when it has ended since the last look."""
        assert self.process is not None
        self.epochs_done = max(self.epochs_done, self.epochs_in_log())
        status = self.process.poll()
        if status is None:
            return False
        if self.result.exists():
            self.state, self.epochs_done = "done", self.recipe.epochs
        else:
            self.state = "elsewhere" if status == IN_USE else f"failed ({status})"
        return True


def make_jobs(
    names: Sequence[str],
    seeds: Sequence[int],
    variants: Sequence[dict[str, object]],
    arguments: Sequence[str],
    *,
    data_dir: Path,
    runs_dir: Path,
    results_dir: Path,
) -> list[Job]:
    """A job for every recipe, variant and seed; seed by seed, so that every comparison has its first pair early."""
    folders = ["--data-dir", str(data_dir), "--runs-dir", str(runs_dir), "--results-dir", str(results_dir)]
    jobs = []
    for seed in seeds:
        for name in names:
            for changes in variants:
                recipe = changed(recipes[name], changes)
                stem = recipe.run_name(seed)
                line = ["train", name, "--seed", str(seed), *as_arguments(changes), *arguments, *folders]
                jobs.append(Job(recipe, seed, line, runs_dir / stem, results_dir / f"{stem}.json"))
    return jobs


def run_sweep(
    jobs: Sequence[Job],
    *,
    at_once: int = 1,
    gpus: Sequence[str] = (),
    say: Callable[[str], None] = print,
    interval: float = 1.0,
) -> int:
    """Run what is not done yet.

    Args:
        jobs: the runs, in the order in which they begin.
        at_once: processes at a time; with ``gpus``, on each of them.
        gpus: values for ``CUDA_VISIBLE_DEVICES``.
        say: receives each line of the report.
        interval: seconds between two looks at the runs.

    Returns:
        Exit status: 0 when every run is done, 1 when one failed, 128 and the signal's number when asked to stop.
    """
    at_once = min(at_once, len(jobs))
    slots: list[str | None] = [gpu for _ in range(at_once) for gpu in gpus] or [None] * at_once
    cores = max(1, (os.cpu_count() or 1) // len(slots)) if len(slots) > 1 else None
    begin = time.monotonic()
    before = sum(job.epochs_done for job in jobs)
    say(opening(jobs))
    with stop_request(active=True) as stop:
        while unfinished(jobs) and not stop:
            for job in [job for job in jobs if job.state == "running"]:
                if job.poll():
                    slots.append(job.gpu)
                    say(f"{job.title}: {job.state}, {progress(jobs, before, time.monotonic() - begin)}")
            claim_results(jobs)
            for job in [job for job in jobs if job.state == "waiting"][: len(slots)]:
                job.start(slots.pop(0), at_once, cores)
                say(f"{job.title}: started, log in {job.log}")
            time.sleep(interval)
        if stop:
            return stop_all(jobs, stop.signal_number or signal.SIGTERM, say)
    say(table(jobs))
    return int(any(job.state != "done" for job in jobs))


def run_together(jobs: Sequence[Job], at_once: int, options: dict[str, Any]) -> int:
    """The same in this process, ``at_once`` runs at a time, with the ``options`` of ``train_together``."""
    from fsft.training import train_together

    print(opening(jobs))
    while unfinished(jobs):
        claim_results(jobs)
        waiting = [job for job in jobs if job.state == "waiting"]
        outcomes = train_together([(job.recipe, job.seed) for job in waiting], at_once, **options) if waiting else []
        for job, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, TrainingStoppedError):
                print("stopped, and saved; the same command goes on from here")
                return 128 + outcome.signal_number
            if isinstance(outcome, FolderLockedError):
                job.state = "elsewhere"
            elif isinstance(outcome, Exception):
                job.state = f"failed ({type(outcome).__name__})"
                job.folder.mkdir(parents=True, exist_ok=True)
                with open(job.log, "a") as log:
                    traceback.print_exception(outcome, file=log)
            else:
                job.state = "done"
        time.sleep(1 if unfinished(jobs) else 0)
    print(table(jobs))
    return int(any(job.state != "done" for job in jobs))


def opening(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} runs, {sum(job.state == 'done' for job in jobs)} of them done already"


def unfinished(jobs: Sequence[Job]) -> bool:
    return any(job.state in ("waiting", "running", "elsewhere") for job in jobs)


def claim_results(jobs: Sequence[Job]) -> None:
    """Runs that another sweep held: done when their result is there, ours to start when it let go of them."""
    for job in jobs:
        if job.state == "elsewhere":
            with contextlib.suppress(FolderLockedError), run_lock(job.folder, job.result):
                job.state = "waiting"
        # After the lock, not before: the other sweep writes its result while it holds the lock.
        if job.state == "waiting" and job.result.exists():
            job.state, job.epochs_done = "done", job.recipe.epochs


def stop_all(jobs: Sequence[Job], number: int, say: Callable[[str], None]) -> int:
    """Ask every run to save and leave, wait for them, and say how to go on."""
    running = [job for job in jobs if job.state == "running" and job.process is not None]
    say(f"stopping {len(running)} runs; each saves its state first")
    for job in running:
        assert job.process is not None
        job.process.send_signal(signal.SIGTERM)
    for job in running:
        assert job.process is not None
        job.process.wait()
    say("stopped; the same command goes on from here")
    return 128 + number


def progress(jobs: Sequence[Job], before: int, seconds: float) -> str:
    """How many runs are done, and the time left if the epochs that are left take as long as those of this sweep."""
    done = sum(job.state == "done" for job in jobs)
    epochs = sum(job.epochs_done for job in jobs)
    left = sum(job.recipe.epochs - job.epochs_done for job in jobs if not job.state.startswith("failed"))
    if epochs == before:
        return f"{done} of {len(jobs)} runs done"
    return f"{done} of {len(jobs)} runs done, about {seconds / (epochs - before) * left / 60:.0f} min left"


def table(jobs: Sequence[Job]) -> str:
    """One line per run: its state, and where to look."""
    width = max(len(job.title) for job in jobs)
    lines = [f"{job.title:<{width}}  {job.state:<12}  {job.result if job.state == 'done' else job.log}" for job in jobs]
    for job in jobs:
        said = tail(job.log).splitlines()
        if job.state.startswith("failed") and said:
            lines.append(f"{job.title} said last: {said[-1]}")
    failed = sum(job.state != "done" for job in jobs)
    return "\n".join([*lines, f"{len(jobs) - failed} done, {failed} failed"])


def tail(path: Path, size: int = 2000) -> str:
    """The end of a file; empty when there is none."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace")
