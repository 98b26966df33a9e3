"""Many runs: one process each, or several in this one, nothing twice, and a table at the end.

The result files are the only record of what is done, so a sweep can be killed and started again, two sweeps can share a
folder, and a cluster's own scheduler can run the same ``fsft train`` commands instead.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsft.catalog import recipes
from fsft.cli.options import IN_USE, as_arguments, changed
from fsft.recipe import Recipe
from fsft.runtime.files import FolderLockedError, run_lock
from fsft.runtime.stopping import TrainingStoppedError, stop_request

GO_ON = "stopped, and saved; the same command goes on from here"


@dataclass
class Job:
    """One run of a sweep: the command line that trains it, its folder for checkpoints and log, and its result's file.

    ``state`` is ``waiting``, ``running``, ``done``, ``failed (status)`` or ``elsewhere`` (another sweep has it).
    """

    recipe: Recipe
    seed: int
    arguments: list[str]
    folder: Path
    result: Path
    state: str = "waiting"
    process: subprocess.Popen[bytes] | None = None
    gpu: str | None = None

    def __post_init__(self) -> None:
        self.state = "done" if self.result.exists() else self.state

    @property
    def title(self) -> str:
        return f"{self.recipe.name}, seed {self.seed}"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self, gpu: str | None, at_once: int, cores: int | None) -> None:
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
        command = [sys.executable, "-P", "-m", "fsft", *self.arguments]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.state, self.gpu = "running", gpu

    def ended(self) -> bool:
        """Whether the run's process has ended, and if so, how."""
        status = self.process.poll() if self.process else None
        if status is None:
            return False
        self.state = "done" if self.result.exists() else "elsewhere" if status == IN_USE else f"failed ({status})"
        return True


def make_jobs(
    names: Sequence[str],
    seeds: Sequence[int],
    variants: Sequence[dict[str, object]],
    arguments: Sequence[str],
    folders: Mapping[str, Path],
) -> list[Job]:
    """A job for every recipe, variant and seed; seed by seed, so that every comparison has its first pair early.

    ``folders`` are those of :func:`fsft.train`: ``data_dir``, ``runs_dir`` and ``results_dir``.
    """
    jobs = []
    for seed, name, changes in itertools.product(seeds, names, variants):
        recipe = changed(recipes[name], changes)
        stem = recipe.run_name(seed)
        line = ["train", name, "--seed", str(seed), *as_arguments(changes), *arguments, *as_arguments(folders)]
        jobs.append(Job(recipe, seed, line, folders["runs_dir"] / stem, folders["results_dir"] / f"{stem}.json"))
    return jobs


def run_sweep(
    jobs: Sequence[Job],
    *,
    at_once: int = 1,
    gpus: Sequence[str] = (),
    say: Callable[[str], None] = print,
    interval: float = 1.0,
) -> int:
    """Run what is not done yet, in order, ``at_once`` processes at a time; with ``gpus``, on each of them.

    ``gpus`` are values for ``CUDA_VISIBLE_DEVICES``; ``interval`` is the seconds between two looks at the runs. Returns
    the exit status: 0 when every run is done, 1 when one failed, 128 and the signal's number when asked to stop.
    """
    at_once = min(at_once, len(jobs))
    slots: list[str | None] = [gpu for _ in range(at_once) for gpu in gpus] or [None] * at_once
    cores = max(1, (os.cpu_count() or 1) // len(slots)) if len(slots) > 1 else None
    begin, before = time.monotonic(), _done(jobs)
    say(f"{len(jobs)} runs, {before} of them done already")
    with stop_request(active=True) as stop:
        while waiting := unfinished(jobs):
            running = [job for job in waiting if job.state == "running"]
            if stop:
                say(f"stopping {len(running)} runs; each saves its state first")
                for job in running:
                    job.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
                for job in running:
                    job.process.wait()  # type: ignore[union-attr]
                say(GO_ON)
                return 128 + (stop.signal_number or signal.SIGTERM)
            for job in running:
                if job.ended():
                    slots.append(job.gpu)
                    left = (time.monotonic() - begin) / max(1, _done(jobs) - before) * len(unfinished(jobs)) / 60
                    say(f"{job.title}: {job.state}, {_done(jobs)} of {len(jobs)} runs done, about {left:.0f} min left")
            claim_results(jobs)
            for job in [job for job in jobs if job.state == "waiting"][: len(slots)]:
                job.start(slots.pop(0), at_once, cores)
                say(f"{job.title}: started, log in {job.log}")
            time.sleep(interval)
    say(table(jobs))
    return int(_done(jobs) < len(jobs))


def run_together(jobs: Sequence[Job], at_once: int, options: dict[str, Any]) -> int:
    """The same in this process, ``at_once`` runs at a time, with the ``options`` of ``train_together``."""
    from fsft.training import train_together

    print(f"{len(jobs)} runs, {_done(jobs)} of them done already")
    while unfinished(jobs):
        claim_results(jobs)
        waiting = [job for job in jobs if job.state == "waiting"]
        outcomes = train_together([(job.recipe, job.seed) for job in waiting], at_once, **options) if waiting else []
        for job, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, TrainingStoppedError):
                print(GO_ON)
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
    return int(_done(jobs) < len(jobs))


def _done(jobs: Sequence[Job]) -> int:
    return sum(job.state == "done" for job in jobs)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.state in ("waiting", "running", "elsewhere")]


def claim_results(jobs: Sequence[Job]) -> None:
    """Runs that another sweep held: done when their result is there, ours to start when it let go of them."""
    for job in jobs:
        if job.state == "elsewhere":
            with contextlib.suppress(FolderLockedError), run_lock(job.folder, job.result):
                job.state = "waiting"
        # After the lock, not before: the other sweep writes its result while it holds the lock.
        if job.state == "waiting" and job.result.exists():
            job.state = "done"


def table(jobs: Sequence[Job]) -> str:
    """One line per run: its state, and where to look; then what failed runs said last."""
    width = max(len(job.title) for job in jobs)
    lines = [f"{job.title:<{width}}  {job.state:<12}  {job.result if job.state == 'done' else job.log}" for job in jobs]
    for job in jobs:
        if job.state.startswith("failed") and (said := job.log.read_text(errors="replace").splitlines()):
            lines.append(f"{job.title} said last: {said[-1]}")
    return "\n".join([*lines, f"{_done(jobs)} done, {len(jobs) - _done(jobs)} failed"])
