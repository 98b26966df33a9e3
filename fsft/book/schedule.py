"""Executes the book's notebooks, several at a time, and skips those that nothing has changed for."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fsft.book.plan import is_current, last_seconds, plan_jobs, put
from fsft.book.run import Job, NotebookError, job_json
from fsft.book.stage import BookError, toc_notebooks

# Seconds for one notebook: far above what a chapter needs, there to end what hangs.
NOTEBOOK_TIMEOUT = {"quick": 2400, "laptop": 3600, "paper": 14 * 86400}
_HEARTBEAT = 30.0
_GIB_PER_KERNEL = 2


@dataclass
class _Running:
    job: Job
    name: str
    process: subprocess.Popen[str]
    started: float
    log: Any


def execute_all(
    root: Path,
    profile: str,
    data_dir: str,
    *,
    jobs: int | None = None,
    only: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Execute every notebook of `_toc.yml` whose name matches the glob `only`; records in the book's order.

    A notebook is skipped when its source, parameters, package, results, and versions are those of its last
    good execution. `parameters` are extra ones for every notebook that declares them. The published notebooks
    are copied to `_build/book/notebooks`, whole or not at all.

    Raises ParameterError before any kernel starts, NotebookError at the first notebook that fails (the others
    are ended), BookError when there is nothing to execute.
    """
    names = [name for name in toc_notebooks(root) if only is None or fnmatch.fnmatch(Path(name).stem, only)]
    if not names:
        raise BookError(f"no notebook of _toc.yml matches {only!r}: names are like '01_feature_masks'")
    plan = plan_jobs(root, names, profile, data_dir, parameters or {})
    todo = [job for job in plan if not is_current(job)]
    todo.sort(key=lambda job: -(last_seconds(job) or float("inf")))
    if len(todo) < len(plan):
        say(f"{len(plan) - len(todo)} of {len(plan)} notebooks are unchanged since their last good execution")
    before = _listing(root / "notebooks")
    workers, threads = _workers(profile, len(todo), jobs)
    _run_all(todo, workers, _environment(root, threads), say)
    added = sorted(_listing(root / "notebooks") - before)
    if added:
        raise BookError(f"the notebooks wrote into the source tree, {added}: write to runs_dir or nowhere")
    records = []
    for job in plan:
        put(Path(job.target), root / "_build" / "book" / Path(job.source).relative_to(root))
        records.append(json.loads(Path(job.record).read_text()))
    return records


def _workers(profile: str, notebooks: int, jobs: int | None) -> tuple[int, int]:
    """How many kernels at a time, and how many threads each.

    Quick notebooks are alike and small, so one core each is best. In the other profiles a single training takes
    most of the time, and gets all cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is None:
        fits = max(1, int(psutil.virtual_memory().available / 2**30 // _GIB_PER_KERNEL))
        jobs = min(cores, fits) if profile == "quick" else 1
    jobs = max(1, min(jobs, notebooks))
    return jobs, max(1, cores // jobs)


def _environment(root: Path, threads: int) -> dict[str, str]:
    settings = root / "_build" / "cache" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment |= {
        "FSFT_HEADLESS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # The reader's own kernels, IPython start-up files, and settings must not change what a page shows.
        "IPYTHONDIR": str(settings / "ipython"),
        "JUPYTER_CONFIG_DIR": str(settings / "jupyter"),
        "JUPYTER_DATA_DIR": str(settings / "data"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    return environment


def _run_all(todo: Sequence[Job], workers: int, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    waiting, finished = list(todo), 0
    running: list[_Running] = []
    estimate = {job.source: last_seconds(job) for job in todo}
    said = time.monotonic()
    if todo:
        eta = _eta(_remaining(todo, [], estimate, workers))
        say(f"executing {len(todo)} notebooks, {workers} at a time{eta}")
    with _sigterm_as_exit(), tempfile.TemporaryDirectory(prefix="fsft-book-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(_start(waiting.pop(0), Path(folder), environment))
                time.sleep(0.1)
                for item in [item for item in running if item.process.poll() is not None]:
                    running.remove(item)
                    finished += 1
                    seconds = time.monotonic() - item.started
                    _finish(item)
                    left = _remaining(waiting, running, estimate, workers)
                    say(f"[{finished}/{len(todo)}] {item.name}: {seconds:.0f} s{_eta(left)}")
                    _say_log(item, say)
                    said = time.monotonic()
                _check_timeouts(running)
                if running and time.monotonic() - said > _HEARTBEAT:
                    said = time.monotonic()
                    say("running: " + ", ".join(f"{r.name} ({said - r.started:.0f} s)" for r in running))
        finally:
            for item in running:
                _end(item.process)


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt, so that no kernel outlives this program."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _start(job: Job, folder: Path, environment: Mapping[str, str]) -> _Running:
    name = Path(job.source).stem
    spec = folder / f"{name}.json"
    spec.write_text(job_json(job))
    log = (folder / f"{name}.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "fsft.book.run", str(spec)],
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(environment),
        cwd=job.root,
        start_new_session=True,  # so that Ctrl-C reaches this program, which then ends the children in order
    )
    return _Running(job, name, process, time.monotonic(), log)


def _log_text(item: _Running) -> str:
    item.log.seek(0)
    return str(item.log.read()).strip()


def _say_log(item: _Running, say: Callable[[str], None]) -> None:
    for line in _log_text(item).splitlines():
        if line.startswith("notebooks/"):  # notes of run.py; what libraries say on the side is not for the terminal
            say(f"    {line}")


def _finish(item: _Running) -> None:
    status = item.process.returncode
    if status < 0:
        name = signal.Signals(-status).name
        raise NotebookError(f"{item.name}: its process was ended by {name} (out of memory?)\n{_log_text(item)}")
    if status:
        raise NotebookError(_log_text(item) or f"{item.name}: its process ended with exit status {status}")


def _check_timeouts(running: Sequence[_Running]) -> None:
    for item in running:
        limit = NOTEBOOK_TIMEOUT[item.job.profile]
        if time.monotonic() - item.started > limit:
            raise NotebookError(
                f"{item.name}: still running after {limit} s, the limit of profile {item.job.profile!r}"
            )


def _end(process: subprocess.Popen[str]) -> None:
    """End a worker, its kernel, and the kernel's children: asked first, then killed."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        _unless_gone(member.terminate)
    _, alive = psutil.wait_procs(family, timeout=3)
    for member in alive:
        _unless_gone(member.kill)
    psutil.wait_procs(alive, timeout=3)


def _unless_gone(action: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        action()


def _remaining(
    waiting: Sequence[Job], running: Sequence[_Running], estimate: Mapping[str, float | None], workers: int
) -> float | None:
    """Seconds until all is done, from the last timings; None when a notebook has never been timed."""
    left = []
    for job, elapsed in [
        *((job, 0.0) for job in waiting),
        *((item.job, time.monotonic() - item.started) for item in running),
    ]:
        seconds = estimate[job.source]
        if seconds is None:
            return None
        left.append(max(0.0, seconds - elapsed))
    return max([sum(left) / workers, *left], default=0.0)


def _eta(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f" (about {seconds:.0f} s left)" if seconds < 90 else f" (about {seconds / 60:.0f} min left)"


def _listing(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.parts[-1].startswith(".")
        and ".ipynb_checkpoints" not in path.parts
        and "__pycache__" not in path.parts
    }
