"""An executed notebook made fit for a page: complete, safe, and free of traces of the machine that it ran on.

MyST-NB writes HTML outputs into the page as they are, so what an output may hold is decided here: plain text, PNG
figures with alternative text, the tables of `fsft.figures.plots.table`, and the radio buttons with bars of
`fsft.figures.choices`. Everything else stops the build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import bleach
import nbformat
from nbformat import NotebookNode

from builder import BookError

ALT_WORDS = 5
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_MACHINE_PATH = re.compile(r"(?<![\w./~-])(/home/|/Users/|/root\b|/tmp/|/var/folders/|/opt/|[A-Z]:\\Users\\)[^\s'\"]*")
_SAFE_LINK = re.compile(r"(https://|(?![\w+.-]*:)(?!//))[^\s\\]*")
_TABLE = bleach.Cleaner(
    tags={"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "a"},
    attributes={
        "div": ["class", "role", "tabindex", "aria-label"],
        "table": ["class"],
        "th": ["scope", "class"],
        "td": ["class", "data-label"],
        "tr": ["id"],
        "a": lambda tag, name, value: name == "href" and bool(_SAFE_LINK.fullmatch(value)),
    },
    protocols={"https"},
)
_CHOICES = bleach.Cleaner(
    tags={"div", "fieldset", "legend", "label", "input", "section", "p", "meter", "span"},
    attributes={
        "div": ["class", "aria-live"],
        "input": lambda tag, name, value: name in ("name", "value", "checked") or (name, value) == ("type", "radio"),
        "section": ["class"],
        "meter": ["value"],
    },
)


def published(
    executed: NotebookNode, banner: str, parameters: Mapping[str, str], hidden: Mapping[str, str]
) -> NotebookNode:
    """The executed notebook as the book shows it.

    Times are dropped, and of machine paths what `hidden` says is replaced; the values of the execution's `parameters`,
    as a reader would write them, are put into the cell that declares them; `banner` stands below the title;
    alternative texts are moved to where MyST-NB looks for them.

    Raises:
        BookError: a cell did not run, or left an output that may not be published; the message names the cell.
    """
    check_complete(executed.cells)
    for number, cell in enumerate(executed.cells, start=1):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if "parameters" in cell.metadata.get("tags", []):
            for name, value in parameters.items():
                assigned = f"{name} = {json.dumps(value, ensure_ascii=False)}"
                cell.source = re.sub(rf"(?m)^{name} = .*$", _literally(assigned), cell.source)
        try:
            cell.outputs = clean_outputs(cell.outputs, hidden)
            _move_alt_text(cell)
        except BookError as error:
            raise BookError(f"cell {number}: {error}") from None
    result = nbformat.v4.new_notebook(cells=_with_banner(executed.cells, banner))
    result.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    result.metadata["language_info"] = {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"}
    return result


def check_complete(cells: Sequence[NotebookNode]) -> None:
    """Raise BookError unless every code cell ran and none ended with an error, as a tag of Jupyter allows.

    What is left to the reader, tagged "skip-execution", has not run.
    """
    for number, cell in enumerate(cells, start=1):
        skipped = "skip-execution" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not cell.execution_count and not skipped:
            raise BookError(f"cell {number} did not run: an earlier cell ended the kernel, or the cell is empty")
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise BookError(f"cell {number} ended with {output.ename}: {output.evalue}")


def clean_outputs(outputs: Sequence[NotebookNode], hidden: Mapping[str, str]) -> list[NotebookNode]:
    """The outputs as they may be published: without standard error, and standard output as a terminal would show it.

    Raises:
        BookError: an output is not plain text, a PNG with alternative text, or a table of ours.
    """
    cleaned: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            before = cleaned[-1] if cleaned and cleaned[-1].output_type == "stream" else None
            if output.name == "stderr":
                continue
            if before:
                before.text += output.text
            else:
                cleaned.append(nbformat.v4.new_output("stream", name="stdout", text=output.text))
        elif output.output_type in ("display_data", "execute_result"):
            cleaned.append(_clean_data(output, hidden))
        else:
            raise BookError(f"an output of type {output.output_type!r} is not allowed")
    for output in cleaned:
        if output.output_type == "stream":
            output.text = _clean_text(_last_of_carriage_returns(output.text), hidden)
    return [output for output in cleaned if output.get("text", "any")]


def _clean_data(output: NotebookNode, hidden: Mapping[str, str]) -> NotebookNode:
    data: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    for mime, value in output.data.items():
        if mime == "image/png":
            drawn = output.metadata.get("image/png", {})
            alt = drawn.get("alt")
            if not isinstance(alt, str) or len(alt.split()) < ALT_WORDS:
                raise BookError("a figure has no alternative text: end the cell with plots.show(fig, alt=...)")
            data[mime] = value
            width = {"width": drawn["width"]} if type(drawn.get("width")) is int else {}
            metadata = {"image/png": {"alt": _clean_text(alt, hidden), **width}}
        elif mime in ("text/plain", "text/html"):
            data[mime] = _clean_text(str(value), hidden)
        else:
            raise BookError(f"an output of type {mime!r} is not allowed: use print, plots.show, or plots.table")
    if "text/html" in data:
        check_html(data["text/html"])
    count = {"execution_count": output.execution_count} if output.output_type == "execute_result" else {}
    return nbformat.v4.new_output(output.output_type, data=data, metadata=metadata, **count)


def _clean_text(text: str, hidden: Mapping[str, str]) -> str:
    for found in sorted(hidden, key=len, reverse=True):
        if len(found) > 1:
            text = re.sub(rf"{re.escape(found)}(?![\w-])", _literally(hidden[found]), text)
    text = _ADDRESS.sub("0x…", text)
    leak = _MACHINE_PATH.search(text)
    if leak:
        raise BookError(f"an output shows a path of this machine, {leak.group()!r}: print a relative path")
    return text


def _literally(text: str) -> str:
    """The text as a replacement for `re.sub`."""
    return text.replace("\\", r"\\")


def _last_of_carriage_returns(text: str) -> str:
    """What a terminal would show: a carriage return starts its line again."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def check_html(text: str) -> None:
    """Raise BookError unless the text is as `plots.table` or `choices` writes it, and stays so when cleaned."""
    if text.startswith("<style>"):
        from fsft.figures.choices import STYLE  # with matplotlib, which few notebooks' publishing needs

        text = text.removeprefix(STYLE)
    form = _CHOICES if text.startswith('<div class="fsft-choices"') else _TABLE
    if not text.startswith(('<div class="fsft-choices"', '<div class="fsft-table"')) or form.clean(text) != text:
        raise BookError("an HTML output is not of the form that plots.table or choices writes: use one of these")


def _move_alt_text(cell: NotebookNode) -> None:
    figures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    if len(figures) > 1:
        raise BookError(f"one cell shows {len(figures)} figures: show one figure per cell")
    if figures:
        # MyST-NB reads the alternative text from the cell, so a cell can hold only one figure.
        cell.metadata["mystnb"] = {"image": {"alt": figures[0].metadata["image/png"]["alt"]}}


def _with_banner(cells: Sequence[NotebookNode], banner: str) -> list[NotebookNode]:
    title, _, rest = cells[0].source.partition("\n")
    texts = {"title": title, "banner": banner, "claim": rest.strip("\n")}
    return [*(nbformat.v4.new_markdown_cell(text, id=name) for name, text in texts.items() if text), *cells[1:]]
