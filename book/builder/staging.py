"""Puts the book's sources beside the executed notebooks for Jupyter Book, and mends the pages that it makes."""

from __future__ import annotations

import html
import posixpath
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml  # type: ignore[import-untyped]
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from builder import BookError
from builder.downloads import clean
from builder.executing import current, executed_folder
from fsft.runtime.provenance import git_state, repository_url

NO_REPOSITORY = 'repository=""'  # in the last line of a setup cell
STATUS_MARK = "<!-- fsft:status -->"


def staging_folder(root: Path) -> Path:
    """Where Jupyter Book finds its sources; its pages are in `_build/html` below."""
    return root / "_build" / "book"


def toc_pages(root: Path) -> list[str]:
    """Every page of `_toc.yml`, root first, without a suffix."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                yield from [str(value)] if key in ("root", "file") else walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


def stage(root: Path, profile: str) -> Path:
    """Put the executed notebooks, `book/`, `results/`, `_config.yml`, and `_toc.yml` into a new staging folder.

    Buttons, and the cells that install the package, lead to the repository and the commit from which the book is built.

    Raises:
        BookError: a notebook was not executed as it is now.
    """
    target = staging_folder(root)
    sources = sorted((root / "notebooks").glob("*.ipynb"))
    notebooks = {source.name: _executed_now(source, root, profile) for source in sources}
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "book", target / "book", ignore=shutil.ignore_patterns("*.py", "builder"))
    (target / "notebooks").mkdir()
    # What html_extra_path puts beside the pages, so that a table can link to the file behind a number.
    (target / "extra").mkdir()
    if (root / "results").is_dir():
        shutil.copytree(root / "results", target / "extra" / "results")
    repository, commit = repository_url(root), git_state(root)["commit"] or "main"
    for name, notebook in notebooks.items():
        launching(notebook, repository, commit)
        (target / "notebooks" / name).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    config = staged_config(config, repository, commit)
    (target / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    shutil.copyfile(root / "_toc.yml", target / "_toc.yml")
    status = target / "book" / "status.md"
    text = status.read_text(encoding="utf-8")
    if text.count(STATUS_MARK) != 1:
        raise BookError(f"book/status.md must hold the line {STATUS_MARK!r} exactly once")
    status.write_text(text.replace(STATUS_MARK, status_tables(notebooks)), encoding="utf-8")
    return target


def launching(notebook: NotebookNode, repository: str | None, commit: str) -> None:
    """Write into the notebook's setup cell from where it installs the package."""
    for cell in notebook.cells if repository else ():
        cell.source = cell.source.replace(NO_REPOSITORY, f'repository="{repository}@{commit}"')


def _executed_now(source: Path, root: Path, profile: str) -> NotebookNode:
    executed = executed_folder(root, profile) / source.name
    if not executed.is_file():
        raise BookError(f"{source.name} has not been executed: run `make book`")
    notebook = nbformat.read(executed, as_version=4)
    if not current(source, root, profile).items() <= notebook.metadata["fsft"].items():
        executed.unlink()  # or make would take it for up to date
        raise BookError(f"{source.name} or what it depends on changed while it ran: run `make book` again")
    return notebook


def staged_config(config: Mapping[str, Any], repository: str | None, commit: str) -> dict[str, Any]:
    """`_config.yml` with all that shows the repository's address set, or switched off while there is none."""
    staged = {**config, "html": dict(config.get("html", {}))}
    for button in ("use_repository_button", "use_issues_button"):
        staged["html"][button] = repository is not None
    # Jupyter Book's default is its own repository, so the address has to be overwritten in both cases.
    staged["repository"] = {"url": repository or "", "branch": commit, "path_to_book": ""}
    staged["launch_buttons"] = {"notebook_interface": "jupyterlab"}
    if repository:
        staged["launch_buttons"]["colab_url"] = "https://colab.research.google.com"
    return staged


def status_tables(notebooks: Mapping[str, NotebookNode]) -> str:
    """Markdown for the status page: time, memory, and origin of every execution; devices; versions."""
    records = [notebook.metadata["fsft"] for notebook in notebooks.values()]
    minutes = sum(record["seconds"] for record in records) / 60
    rows = []
    for (name, notebook), record in zip(notebooks.items(), records, strict=True):
        title = notebook.cells[0].source.removeprefix("# ").replace("|", "\\|")
        rows.append(
            f"| [{title}](../notebooks/{name}) | {record['profile']} | {record['seconds']:.0f} | "
            f"{record['peak_memory_mib']:.0f} | {record['threads']} | {record['commit']} |"
        )
    lines = [
        f"{len(rows)} notebooks; their times add up to {minutes:.1f} minutes.",
        "",
        "| Notebook | Profile | Seconds | Peak memory (MiB) | Threads | Executed at |",
        "|:--|:--|--:|--:|--:|:--|",
        *rows,
        *("", "## Device", ""),
        *(f"- {html.escape(device)}" for device in _distinct(records, "device")),
        *("", "## Versions", "", "| Package | Version |", "|:--|:--|"),
    ]
    for name in records[0]["versions"]:
        lines.append(f"| {name} | {', '.join(_distinct([record['versions'] for record in records], name))} |")
    return "\n".join(lines)


def _distinct(records: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(record.get(key)) for record in records})


def mend(root: Path) -> None:
    """Clean the downloads; in every page describe it, and put the theme's and the bibliography's faults right."""
    box, sidebar = '<div class="pst-scrollable-table-container"', '<div id="pst-primary-sidebar"'
    faults = {
        # The role is deprecated, and a list may hold nothing but list items.
        ' role="doc-biblioentry"': "",
        '<div role="list" class="citation-list">': "<div>",
        # What scrolls must be reachable by keyboard.
        box: f'{box} tabindex="0" role="group" aria-label="Table, scrolls sideways"',
        # The book's title and the search button lie outside every landmark.
        sidebar: f'{sidebar} role="navigation" aria-label="Book"',
    }
    built = staging_folder(root) / "_build" / "html"
    for path in built.glob("_sources/notebooks/*.ipynb"):
        notebook = clean(nbformat.read(path, as_version=4), root / "book" / "references.bib", repository_url(root))
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    for path in built.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for fault, right in faults.items():
            page = page.replace(fault, right)
        preview = description(page, pages_url(root) or posixpath.relpath(built, path.parent) + "/")
        path.write_text(page.replace("</head>", f"{preview}</head>", 1), encoding="utf-8")


def pages_url(root: Path) -> str | None:
    """The address at which GitHub Pages shows the book of a repository; None where the repository has none."""
    owner, _, name = (repository_url(root) or "").removeprefix("https://github.com/").partition("/")
    return f"https://{owner.lower()}.github.io/{name}/" if name else None


def description(page: str, site: str) -> str:
    """What a search engine and a link preview show of a page: title, first paragraph, and the book's picture."""
    article = BeautifulSoup(page, "html.parser").find("article")
    if article is None or article.h1 is None:
        return ""
    said = article.select("p:not(.admonition p, .fsft-steps p)")
    text = " ".join(said[0].text.split()) if said else ""
    shown = {
        'name="description"': textwrap.shorten(text, 300, placeholder=" …"),
        'property="og:title"': article.h1.text.removesuffix("#"),
        'property="og:description"': textwrap.shorten(text, 200, placeholder=" …"),
        'property="og:type"': "article",
        'property="og:image"': f"{site}card.png",
        'name="twitter:card"': "summary_large_image",
    }
    return "".join(f'<meta {key} content="{html.escape(value, quote=True)}">\n' for key, value in shown.items())
