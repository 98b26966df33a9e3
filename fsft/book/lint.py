"""Rules for the notebooks as they are committed, and the one setup cell they all share."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fsft.book.params import ParameterError, declared_parameters
from fsft.book.stage import repository_url

TAGS = frozenset({"parameters", "hide-input", "hide-output", "hide-cell", "timing"})
_HEADING = re.compile(r"^(#{1,6}) ", re.MULTILINE)
_FENCE = re.compile(r"^([`~:]{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_ACTIVE = re.compile(r"<\s*(script|iframe|object|embed|style|link|img|form)\b|\son\w+\s*=|javascript:", re.IGNORECASE)
_REMOTE_IMAGE = re.compile(r"!\[[^\]]*\]\(\s*(https?:)?//|\{(image|figure)\}\s*(https?:)?//")
_CLONE = re.compile(r"(?:git clone|git\+|colab\.research\.google\.com/github/)\s*(\S+)")


def setup_cell(repository: str | None) -> str:
    """The source of every notebook's first code cell: a no-op where fsft is installed."""
    if repository is None:
        return (
            "# Does nothing where fsft is installed.\n"
            "import importlib.util\n\n"
            'if importlib.util.find_spec("fsft") is None:\n'
            '    raise ModuleNotFoundError("fsft is not installed: run `pip install --no-deps .` in the repository")'
        )
    return (
        "# Does nothing where fsft is installed. Elsewhere, for example in Colab, it installs the package\n"
        "# alone, so that the torch that is already there stays.\n"
        "import importlib.util\n\n"
        'if importlib.util.find_spec("fsft") is None:\n'
        f'    %pip install --quiet --no-deps "fsft @ git+{repository}"'
    )


def write_setup_cells(root: Path) -> list[str]:
    """Put the current setup cell into every notebook whose first code cell is another one; the changed paths.

    Raises ValueError when a notebook's first code cell does not look like a setup cell.
    """
    wanted = setup_cell(repository_url(root))
    changed = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        if cell.source == wanted:
            continue
        if "find_spec" not in cell.source:
            raise ValueError(f"the first code cell of {path.name} is not a setup cell: put one there")
        cell.source = wanted
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        changed.append(path.relative_to(root).as_posix())
    return changed


def lint_all(root: Path) -> list[str]:
    """Every broken rule in `notebooks/` and the README, one sentence each."""
    repository = repository_url(root)
    problems = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        problems += [f"notebooks/{path.name}: {text}" for text in lint_notebook(notebook, repository)]
    readme = root / "README.md"
    if readme.is_file():
        for address in _CLONE.findall(readme.read_text(encoding="utf-8")):
            known = (repository or "\0").removeprefix("https://github.com/")
            if known not in address:
                problems.append(f"README.md shows the address {address!r}, pyproject.toml says {repository!r}")
    return problems


def lint_notebook(notebook: NotebookNode, repository: str | None) -> Iterator[str]:
    """What is wrong with a notebook as a committed file."""
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        yield "the format must be nbformat 4.5 or later, with cell ids"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec must be python3"
    for key in sorted(set(notebook.metadata) - {"kernelspec", "language_info"}):
        yield f"the metadata key {key!r} does not belong into git"
    yield from _lint_headings(notebook)
    yield from _lint_parameters(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code or code[0].source != setup_cell(repository) or "hide-input" not in _tags(code[0]):
        yield "the first code cell must be the setup cell, tagged hide-input: `fsft book setup-cells`"
    for number, cell in enumerate(notebook.cells, start=1):
        yield from (f"cell {number}: {text}" for text in _lint_cell(cell, is_setup=cell in code[:1]))


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _lint_headings(notebook: NotebookNode) -> Iterator[str]:
    levels = [
        len(marks)
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for marks in _HEADING.findall(_FENCE.sub("", cell.source))
    ]
    if levels.count(1) != 1 or not notebook.cells[0].source.startswith("# "):
        yield f"the first cell must start with the one H1, found {levels.count(1)} of them"
    for above, below in itertools.pairwise(levels):
        if below > above + 1:
            yield f"a heading of level {below} follows one of level {above}: do not skip levels"


def _lint_parameters(notebook: NotebookNode) -> Iterator[str]:
    try:
        declared = declared_parameters(notebook.cells)
    except ParameterError as error:
        yield str(error)
        return
    if "profile" not in declared or declared["profile"] != "quick":
        yield 'the parameters cell must set profile = "quick"'
    for cell in notebook.cells:
        if "parameters" in _tags(cell):
            return
        if cell.cell_type == "code":
            used = {node.id for node in ast.walk(_parsed(cell)) if isinstance(node, ast.Name)} & set(declared)
            if used:
                yield f"{sorted(used)} is used before the parameters cell, where papermill cannot change it"


def _lint_cell(cell: NotebookNode, *, is_setup: bool) -> Iterator[str]:
    for tag in sorted(set(_tags(cell)) - TAGS):
        yield f"the tag {tag!r} is not one of {sorted(TAGS)}"
    if cell.get("attachments"):
        yield "attachments are not allowed: draw the figure by code"
    if cell.cell_type == "markdown":
        text = _CODE_FENCE.sub("", cell.source)
        if _ACTIVE.search(text):
            yield f"raw HTML {_ACTIVE.search(text)[0]!r} is not allowed: use Markdown"  # type: ignore[index]
        if _REMOTE_IMAGE.search(text):
            yield "an image from the network is not allowed: the book is read offline"
        return
    if cell.cell_type != "code":
        yield f"a cell of type {cell.cell_type!r} is not allowed"
        return
    if cell.outputs or cell.execution_count is not None:
        yield "outputs and execution counts do not belong into git: clear them"
    if not cell.source.strip():
        yield "the code cell is empty: remove it"
    if is_setup:
        return
    try:
        tree = _parsed(cell)
    except SyntaxError as error:
        yield f"the code is not Python (magics belong into the setup cell only): {error}"
        return
    shows = sum(isinstance(node, ast.Call) and ast.unparse(node.func) == "plots.show" for node in ast.walk(tree))
    if shows > 1:
        yield f"{shows} calls of plots.show: show one figure per cell"


def _parsed(cell: NotebookNode) -> ast.Module:
    """The cell as a syntax tree, line magics blanked out."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE))
