"""Executes one notebook with papermill, in a process of its own: `python -m fsft.book.run job.json`.

The process exists so that a timeout or a failure elsewhere can end it, and its kernel with it, at any moment.
The executed notebook and its record are written to temporary names and renamed when both are good.
"""

from __future__ import annotations

import getpass
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from fsft.book import notebook, probe
from fsft.book.outputs import OutputError
from fsft.book.params import check_parameters, declared_parameters
from fsft.runtime.files import write_atomically

START_TIMEOUT = 180  # seconds for a kernel to start on a busy machine
_HEAD = {
    "quick": (
        "Quick profile: an illustration, not evidence",
        "Every line of this page was executed. What is trained here is small and trained briefly, to show how the "
        "method works; its accuracies say nothing about the paper's. Numbers from `results/` name their own recipe.",
        "warning",
    ),
    "laptop": (
        "Laptop profile: real images, short training",
        "This page was executed on real images with small networks and few epochs. Its accuracies are not "
        "comparable with the paper's. Numbers from `results/` name their own recipe.",
        "note",
    ),
    "paper": (
        "Paper profile: the paper's recipe",
        "This page was executed with the paper's data, network, and schedule, where the paper states them.",
        "tip",
    ),
}

_HEAD_WITHOUT_DATA = (
    "Computed from the committed runs",
    "This page trains nothing, so its profile changes nothing: its numbers come from the files in `results/`, each "
    "of which names its own recipe.",
    "note",
)


@dataclass(frozen=True)
class Job:
    """One notebook to execute. `parameters` reach the kernel; `shown` is how the page writes them."""

    source: str
    target: str
    record: str
    root: str
    profile: str
    parameters: dict[str, Any]
    shown: dict[str, Any]
    key: str
    commit: str
    cell_timeout: int


class NotebookError(RuntimeError):
    """A notebook that failed; the message names the notebook, the cell, and the error."""


def execute(job: Job) -> list[str]:
    """Run the notebook, write the published form and its record, and return notes worth printing.

    Raises NotebookError when a cell fails, times out, or leaves an output that may not be published.
    """
    # papermill takes a second to import and only the process that executes a notebook needs it.
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillException, PapermillExecutionError

    source_path = Path(job.source)
    source = source_path.read_bytes()
    name = source_path.relative_to(job.root).as_posix()
    prepared = nbformat.reads(source.decode(), as_version=4)
    check_parameters(declared_parameters(prepared.cells, name), job.parameters)
    prepared.cells.append(
        nbformat.v4.new_code_cell(probe.CELL, metadata={"tags": [notebook.PROBE_TAG]}, id="fsft-probe")
    )
    started = time.monotonic()
    try:
        executed = execute_notebook(
            prepared,
            None,
            parameters=job.parameters,
            kernel_name="python3",
            cwd=str(source_path.parent),
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            execution_timeout=job.cell_timeout,
        )
    except PapermillExecutionError as error:
        where = _describe_cell(prepared, error.source)
        frames = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        raise NotebookError(f"{name}, {where}\n{frames}\n{error.ename}: {error.evalue}") from None
    except CellTimeoutError as error:
        raise NotebookError(f"{name}: a cell ran longer than {job.cell_timeout} s. {error}") from None
    except (DeadKernelError, PapermillException, RuntimeError) as error:
        raise NotebookError(f"{name}: the kernel ended or could not start: {error}") from None
    seconds = time.monotonic() - started
    try:
        # A cell that calls sys.exit(0) ends the execution without an error: seen here, before the report is
        # read.
        notebook.check_complete(executed.cells)
        notes = [f"{name}: {note}" for note in notebook.stderr_notes(executed.cells)]
        report = _report(executed, name)
        published = notebook.publish(
            executed,
            source,
            banner=banner(job.profile, report["device"], job.commit, job.shown),
            paths=_paths_to_hide(job),
            parameters=job.shown,
        )
    except OutputError as error:
        raise NotebookError(f"{name}: {error}") from None
    record = {
        "notebook": name,
        "profile": job.profile,
        "key": job.key,
        "commit": job.commit,
        "seconds": round(seconds, 1),
        "peak_memory_mib": report["peak_memory_mib"],
        "device": report["device"],
        "threads": report["threads"],
        "versions": report["versions"],
    }
    write_atomically(Path(job.target), (nbformat.writes(published) + "\n").encode())
    write_atomically(Path(job.record), (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    return notes


def banner(profile: str, device: str, commit: str, shown: dict[str, Any]) -> str:
    """The admonition below a page's title: what the numbers on this page may be used for. Holds no time."""
    title, text, kind = _HEAD[profile] if "data_dir" in shown else _HEAD_WITHOUT_DATA
    values = ", ".join(f"`{name} = {value!r}`" for name, value in shown.items())
    return "\n".join(
        [
            f":::{{admonition}} {title}",
            f":class: {kind} fsft-banner",
            text,
            "",
            f"Executed with {values or 'no parameters'} on {device}, {commit}; [all executions](../book/status.md).",
            ":::",
        ]
    )


def _report(executed: NotebookNode, name: str) -> dict[str, Any]:
    text = "".join(executed.cells[-1].outputs[0].text)
    report: dict[str, Any] = json.loads(text)
    expected = str(Path(__file__).resolve().parent.parent)
    if report["package"] != expected:
        raise NotebookError(
            f"{name} ran with another copy of fsft than this one: "
            f"install this checkout with `pip install --no-deps -e .`"
        )
    if Path(report["executable"]).parent != Path(sys.executable).parent:
        raise NotebookError(
            f"{name} ran in another Python than the builder: the kernel 'python3' must be this environment's"
        )
    return report


def _describe_cell(prepared: NotebookNode, source: str) -> str:
    heading = "before the first heading"
    for number, cell in enumerate(prepared.cells, start=1):
        if cell.cell_type == "markdown":
            titles = [line for line in cell.source.splitlines() if line.startswith("#")]
            heading = f"under {titles[-1]!r}" if titles else heading
        elif cell.source == source:
            return f"cell {number}, {heading}:"
    return "the cell with the parameters of this execution:"


def _paths_to_hide(job: Job) -> dict[str, str]:
    paths = {str(Path.home()): "~", f"/home/{getpass.getuser()}": "~", sys.prefix: "environment"}
    data_dir = job.parameters.get("data_dir")
    if data_dir is not None and Path(data_dir).is_absolute():
        paths[str(data_dir)] = str(job.shown["data_dir"])
        paths[str(Path(data_dir).resolve())] = str(job.shown["data_dir"])
    paths[job.root] = "."
    return {path: short for path, short in paths.items() if len(path) > 1}


def main(argv: list[str]) -> int:
    """Run the job described by a JSON file; a failure is text on standard error and exit status 1."""
    job = Job(**json.loads(Path(argv[0]).read_text()))
    try:
        notes = execute(job)
    except (NotebookError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for note in notes:
        print(note)
    return 0


def job_json(job: Job) -> str:
    """The job as `main` reads it."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
