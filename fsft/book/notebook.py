"""One executed notebook made fit to publish: complete, and free of traces of the machine it ran on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from fsft.book.outputs import OutputError, clean_outputs, without_pictures

PROBE_TAG = "fsft-probe"
TIMING_TAG = "timing"
MAX_TEXT_BYTES = 300 * 1024


def publish(
    executed: NotebookNode,
    source: bytes,
    *,
    banner: str,
    paths: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> NotebookNode:
    """The executed notebook as the book shows it.

    Checks that every code cell ran in order without an error and that every output is allowed, then drops
    times and machine paths (`paths`: what to replace -> by what), joins split streams, moves figure alt texts
    to where MyST-NB looks for them, shows `banner` below the title, and hides papermill's injected cell,
    whose values become `parameters` (as the reader would write them). Cell ids are a function of `source` and
    the cell's position.

    Raises OutputError with the cell when the notebook may not be published.
    """
    cells = [cell for cell in executed.cells if PROBE_TAG not in cell.metadata.get("tags", [])]
    check_complete(cells)
    size = 0
    for number, cell in enumerate(cells, start=1):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = ["injected-parameters", "remove-cell"]
            cell.source = "\n".join(["# Parameters of this execution", *_assignments(parameters)])
        try:
            cell.outputs = clean_outputs(cell.outputs, paths)
            size += sum(len(text.encode()) for output in cell.outputs for text in output_texts(output))
            _move_alt_text(cell)
        except OutputError as error:
            raise OutputError(f"cell {number}: {error}") from None
    if size > MAX_TEXT_BYTES:
        raise OutputError(
            f"the outputs hold {size // 1024} KiB of text, at most {MAX_TEXT_BYTES // 1024} are allowed: print less"
        )
    cells = _with_banner(cells, banner)
    stem = hashlib.sha256(source).hexdigest()[:12]
    for number, cell in enumerate(cells):
        cell["id"] = f"{stem}-{number:03d}"
    published = nbformat.v4.new_notebook(cells=cells)
    published.metadata.update(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"},
        }
    )
    nbformat.validate(published)
    return published


def check_complete(cells: Sequence[NotebookNode]) -> None:
    """Raise OutputError unless every code cell ran, in order, and none ended with an error.

    `sys.exit(0)` in a cell ends an execution without an error and without the cells after it.
    """
    last = 0
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "code":
            continue
        count = cell.get("execution_count")
        if not count:
            raise OutputError(f"cell {number} did not run: an earlier cell ended the kernel or the cell is empty")
        if count <= last:
            raise OutputError(f"cell {number} ran out of order: its count {count} follows {last}")
        last = count
        for output in cell.outputs:
            if output.output_type == "error":
                raise OutputError(f"cell {number} ended with {output.get('ename')}: {output.get('evalue')}")


def stderr_notes(cells: Sequence[NotebookNode]) -> list[str]:
    """One line for each cell that wrote to standard error, which is not published."""
    notes = []
    for number, cell in enumerate(cells, start=1):
        text = "".join(o.text for o in cell.get("outputs", []) if o.output_type == "stream" and o.name == "stderr")
        if text.strip():
            notes.append(f"cell {number} wrote to standard error: {text.strip().splitlines()[-1][:160]}")
    return notes


def comparable(notebook: NotebookNode) -> bytes:
    """What two executions must agree on: everything but images and the outputs of cells tagged `timing`."""
    copy = json.loads(nbformat.writes(notebook))
    for cell in copy["cells"]:
        if TIMING_TAG in cell["metadata"].get("tags", []):
            cell["outputs"] = []
            cell["metadata"].pop("mystnb", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return json.dumps(copy, sort_keys=True).encode()


def output_texts(output: Mapping[str, Any]) -> Iterator[str]:
    """Every text of an output: streams and textual data, images left out, those of an explorer too."""
    if output["output_type"] == "stream":
        yield str(output["text"])
    for mime, value in output.get("data", {}).items():
        if not mime.startswith("image/"):
            yield without_pictures(str(value))


def _move_alt_text(cell: NotebookNode) -> None:
    figures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    if len(figures) > 1:
        raise OutputError(f"one cell shows {len(figures)} figures: show one figure per cell")
    if figures:
        # MyST-NB reads the alternative text from the cell, so a cell can hold only one figure.
        image = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
        image["alt"] = figures[0].metadata["fsft_alt"]


def _assignments(parameters: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {value!r}" for name, value in parameters.items()]


def _with_banner(cells: Sequence[NotebookNode], banner: str) -> list[NotebookNode]:
    first = cells[0]
    title, _, rest = first.source.partition("\n")
    if first.cell_type != "markdown" or not title.startswith("# "):
        raise OutputError("the first cell must be Markdown that starts with the title, '# ...'")
    result = [nbformat.v4.new_markdown_cell(title), nbformat.v4.new_markdown_cell(banner)]
    if rest.strip():
        result.append(nbformat.v4.new_markdown_cell(rest.strip("\n")))
    return [*result, *cells[1:]]
