"""Executes one notebook with papermill, in a kernel of its own, and writes the form that the book publishes."""

import getpass
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from builder import BookError
from builder.publishing import published

# Seconds for one cell: far above what a chapter needs even on a slow, busy machine, there to end what hangs.
CELL_TIMEOUT = {"quick": 1200, "laptop": 2400, "paper": 7 * 86400}
START_TIMEOUT = 180  # seconds for a kernel to start on a busy machine
TOOLS = ("matplotlib", "papermill", "jupyter-book")
# The last cell, which the page does not show: what the status page says about the kernel.
REPORT = """
import json, torch
from fsft.runtime.provenance import environment, peak_memory_mib
found = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
print(json.dumps(found | {"peak_memory_mib": peak_memory_mib(torch.device("cpu"))}))
"""


def executed_folder(root: Path, profile: str) -> Path:
    """Where the executed notebooks of a profile are kept from one build to the next."""
    return root / "_build" / "executed" / profile


def write_key(root: Path, profile: str, data_dir: str) -> None:
    """Renew the file that every executed notebook depends on, in make's sense, when its content changes.

    It is the digest of what any page may depend on: package, builder, results, versions, profile, which data there are.
    """
    import fsft

    builder, package, data = Path(__file__).parent, Path(fsft.__file__).parent, root / data_dir
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "numpy", *TOOLS)]
    names = sorted(path.name for path in data.glob("[!.]*"))
    digest = hashlib.sha256(repr((sys.version, versions, profile, str(data), names)).encode())
    files = [path for path in (*builder.glob("*.py"), *package.rglob("*")) if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    files += [*root.glob("results/**/*.json"), *root.glob("benchmarks/results/*.json"), root / "pyproject.toml"]
    for file in sorted(files):
        digest.update(f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    path = executed_folder(root, profile) / "key"
    if not path.is_file() or path.read_text() != digest.hexdigest():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest.hexdigest())


def execute(source: Path, root: Path, profile: str, data_dir: str) -> None:
    """Run a notebook, and write its published form into the profile's folder, whole or not at all.

    The form's metadata hold a record of the execution for the status page. BookError: a cell fails, or takes too long,
    or leaves an output that may not be published.
    """
    from fsft.runtime.files import write_atomically

    started = time.monotonic()
    print(f"{source.stem}: executing", flush=True)
    origin = current(source, root, profile)
    notebook = nbformat.read(source, as_version=4)
    declared = declared_parameters(notebook)
    shown = {"profile": profile, "data_dir": "data" if Path(data_dir).is_absolute() else data_dir}
    shown = {name: value for name, value in shown.items() if name in declared}
    absolute = os.path.abspath(root / data_dir)  # a kernel runs in the notebook's folder
    executed = _run(notebook, source, profile, shown | ({"data_dir": absolute} if "data_dir" in shown else {}), root)
    try:
        executed.cells = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        notes = stderr_notes(executed)
        record = record_of("".join(executed.cells.pop().outputs[0].text))
        record |= {"profile": profile, "seconds": round(time.monotonic() - started, 1), **origin}
        hidden = dict.fromkeys([absolute, os.path.realpath(absolute)], shown.get("data_dir", "data")) | {str(root): "."}
        hidden |= {str(Path.home()): "~", f"/home/{getpass.getuser()}": "~", sys.prefix: "environment"}
        page = published(executed, banner(profile, record, shown), shown, hidden)
    except (BookError, IndexError) as error:
        # A cell that calls sys.exit(0) ends the execution without an error, and so without a report.
        raise BookError(f"{source}: {error if isinstance(error, BookError) else 'a cell ended the kernel'}") from None
    for note in notes:
        print(f"{source.stem}, {note}", flush=True)
    page.metadata["fsft"] = record
    write_atomically(executed_folder(root, profile) / source.name, (nbformat.writes(page) + "\n").encode())
    print(f"{source.stem}: done in {record['seconds']:.0f} s", flush=True)


def current(source: Path, root: Path, profile: str) -> dict[str, str]:
    """What an execution must have in common with the sources to be published."""
    return {
        "source": hashlib.sha256(source.read_bytes()).hexdigest(),
        "key": (executed_folder(root, profile) / "key").read_text(),
    }


def declared_parameters(notebook: NotebookNode) -> dict[str, str]:
    """Names and default values, as source text, of the notebook's one cell tagged `parameters`."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise BookError(f"expected one code cell tagged 'parameters', found {len(cells)}")
    return dict(re.findall(r"^(\w+) = (.*)$", cells[0].source, re.MULTILINE))


def _run(notebook: NotebookNode, source: Path, profile: str, parameters: Mapping[str, str], root: Path) -> NotebookNode:
    # papermill takes a second to import, and a kernel that reports about itself does not need it.
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    _set_environment(executed_folder(root, profile) / "settings", profile)
    try:
        return execute_notebook(
            notebook,
            None,
            parameters=parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            execution_timeout=CELL_TIMEOUT[profile],
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except PapermillExecutionError as error:
        frames = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        where = _where(notebook, error.source)
        raise BookError(f"{source}, {where}\n{frames}\n{error.ename}: {error.evalue}") from None
    except RuntimeError as error:  # nbclient's own: a cell that takes too long, a kernel that died
        raise BookError(f"{source}: {error}") from None


def _set_environment(settings: Path, profile: str) -> None:
    """The reader's own kernels, start-up files, and settings must not change what a page shows."""
    for name, folder in (("IPYTHONDIR", "ipython"), ("JUPYTER_CONFIG_DIR", "jupyter"), ("JUPYTER_DATA_DIR", "data")):
        (settings / folder).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(settings / folder)
    os.environ |= {"JUPYTER_PREFER_ENV_PATH": "1", "FSFT_HEADLESS": "1", "PYTHONHASHSEED": "0"}
    os.environ.pop("MPLBACKEND", None)
    if profile == "quick":  # many notebooks at a time, so one thread each
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _where(notebook: NotebookNode, source: str) -> str:
    heading = "before the first heading"
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            titles = [line for line in cell.source.splitlines() if line.startswith("#")]
            heading = f"under {titles[-1]!r}" if titles else heading
        elif cell.source == source:
            return f"cell {number}, {heading}:"
    return "the cell with the parameters of this execution:"


def stderr_notes(executed: NotebookNode) -> list[str]:
    """One line for each cell that wrote to standard error, which is not published."""
    notes = []
    for number, cell in enumerate(executed.cells, start=1):
        text = "".join(o.text for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == "stderr")
        if text.strip():
            notes.append(f"cell {number} wrote to standard error: {text.strip().splitlines()[-1][:160]}")
    return notes


def record_of(report: str) -> dict[str, Any]:
    """What the status page shows of a kernel's report about itself."""
    found = json.loads(report)
    git, device = found["git"], found["device"]
    changes = " with uncommitted changes" if git["dirty"] else ""
    return {
        "peak_memory_mib": found["peak_memory_mib"],
        "device": f"{device['type'].upper()}, {device['name']}",
        "threads": found["threads"],
        "versions": found["versions"] | {name: importlib.metadata.version(name) for name in TOOLS},
        "commit": f"commit {git['commit'][:10]}{changes}" if git["commit"] else "outside a git checkout",
    }


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
    "no data": (
        "Computed from committed files",
        "This page trains nothing, so its profile changes nothing: its numbers come from our runs (`results/`, each "
        "with its own recipe) and our measurements (`benchmarks/results/`), or are counted here.",
        "note",
    ),
}


def banner(profile: str, record: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """The admonition below a page's title: what the numbers on this page may be used for. Holds no time."""
    title, text, kind = _HEAD[profile if "data_dir" in shown else "no data"]
    values = ", ".join(f"`{name} = {value!r}`" for name, value in shown.items())
    origin = f"Executed with {values} on {record['device']}, {record['commit']}; [all executions](../book/status.md)."
    return f":::{{admonition}} {title}\n:class: {kind} fsft-banner\n{text}\n\n{origin}\n:::"
