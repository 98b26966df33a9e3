"""A repository with a two-chapter book, for the tests of the machinery."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
SETUP = nbformat.read(ROOT / "notebooks" / "01_feature_masks.ipynb", as_version=4).cells[1]
PARAMETERS = 'profile = "quick"\ndata_dir = "data"\nseeds = 2\nrate = 0.1\nruns_dir = None'
FIGURE = """
import matplotlib.pyplot as plt
from fsft.figures import plots

plots.style()
fig, ax = plt.subplots()
ax.plot([1, 2, 3])
plots.show(fig, alt=f"A line that rises from {1} to {3} in two steps.")
"""
TABLE = """
import pandas as pd

plots.table(pd.DataFrame({"model": ["a < b"], "accuracy": [12.345]}), caption="Accuracy by model")
"""
PRINTS = """
import os
import sys
from pathlib import Path

for step in range(3):
    print(f"\\rstep {step}", end="", flush=True)
print()
print(Path.cwd(), data_dir, profile, os.environ["FSFT_HEADLESS"], sys.prefix, object())
print("a " + "warning", file=sys.stderr)
"""
TIMING = "import time\nprint(time.time_ns())"


def notebook(*cells, title="A chapter", parameters=PARAMETERS):
    """A notebook as it is committed: title, setup cell, parameters, then `cells` (a str is a code cell)."""
    body = [
        new_markdown_cell(f"# {title}\n\nThe claim under test, by {{cite:t}}`fsft`: $f \\odot M_j$."),
        new_code_cell(SETUP.source, metadata=SETUP.metadata),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(new_code_cell(cell.strip()) if isinstance(cell, str) else cell for cell in cells),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(body):
        cell["id"] = f"cell-{number}"
    return new_notebook(cells=body, metadata={"kernelspec": kernel})


def executed(*cells):
    """An executed notebook with these cells after the title; code cells count up."""
    result = notebook(*cells)
    count = 0
    for cell in result.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
    return result


def rich_notebook():
    timing = new_code_cell(TIMING, metadata={"tags": ["timing"]})
    references = new_markdown_cell("## References\n\n```{bibliography}\n:filter: docname in docnames\n```")
    return notebook(
        new_markdown_cell("## A picture\n\nSee [the second chapter](02_b.ipynb)."),
        FIGURE,
        TABLE,
        PRINTS,
        timing,
        references,
    )


def make(root: Path, chapters: dict, repository: str | None = None) -> Path:
    """Write the repository: the real settings and Makefile, a short table of contents, and `chapters`."""
    (root / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    for name in ("references.bib", "references.md", "status.md"):
        shutil.copyfile(ROOT / "book" / name, root / "book" / name)
    shutil.copyfile(ROOT / "_config.yml", root / "_config.yml")
    (root / "Makefile").symlink_to(ROOT / "Makefile")
    (root / "book" / "index.md").write_text("# The book\n\nIt starts [here](../notebooks/01_a.ipynb).\n")
    urls = f'[project.urls]\nRepository = "{repository}"\n' if repository else ""
    (root / "pyproject.toml").write_text(f'[project]\nname = "fsft"\n{urls}')
    entries = "".join(f"  - file: notebooks/{name}\n" for name in chapters)
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n"
        + entries
        + "  - file: book/status\n  - file: book/references\n"
    )
    for name, chapter in chapters.items():
        (root / "notebooks" / f"{name}.ipynb").write_text(nbformat.writes(chapter) + "\n")
    (root / "requirements.txt").touch()
    (root / "ready").touch()  # last, so that make takes this environment as it is
    return root


def command(*arguments: str) -> list[str]:
    """The command line for make that builds with this environment."""
    return ["make", f"BIN={Path(sys.executable).parent}", "READY=ready", *arguments]


def environment() -> dict[str, str]:
    """Ours, without what `make test` tells the makes below it."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**outer, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'book'}"}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`make` with these arguments, or a step of the book where the first is a step's name."""
    is_step = arguments[0] in ("key", "execute", "stage", "finish")
    line = [sys.executable, "-P", "-m", "builder", *arguments] if is_step else command(*arguments)
    return subprocess.run(line, cwd=root, env=environment(), capture_output=True, text=True, check=False)
