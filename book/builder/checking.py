"""What must hold of the notebooks as they are committed and of the pages as they are built."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

from builder import BookError
from builder.executing import declared_parameters
from builder.staging import NO_REPOSITORY, staging_folder, toc_pages
from fsft.runtime.provenance import repository_url

_ALT_WORDS = 3
_FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|gif|webp)", re.IGNORECASE)
_ACTIVE = ["script", "iframe", "object", "embed", "form"]


def source_problems(root: Path) -> list[str]:
    """Every broken rule of the committed notebooks, one sentence each."""
    pages, problems, setups = toc_pages(root), [], set()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        found = list(notebook_problems(notebook))
        if f"notebooks/{path.stem}" not in pages:
            found.append("it is not in _toc.yml")
        setups |= {cell.source.rpartition("\n")[0] for cell in notebook.cells if NO_REPOSITORY in cell.source}
        if len(setups) > 1:
            found.append("its setup cell is not that of the chapters before, but for its last line: copy it from there")
        problems += [f"notebooks/{path.name}: {text}" for text in found]
    return problems


def notebook_problems(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with a notebook as a committed file."""
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        yield "the format must be nbformat 4.5 or later, with cell ids"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec must be python3"
    if extra := set(notebook.metadata) - {"kernelspec", "language_info"}:
        yield f"the metadata {sorted(extra)} do not belong into git"
    if not notebook.cells[0].source.startswith("# "):
        yield "the first cell must start with the title, '# ...'"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code or not code[0].source.endswith(f"{NO_REPOSITORY})"):
        yield "the first code cell must be the setup cell, without a repository's address: copy that of chapter 1"
    if any(cell.outputs or cell.execution_count for cell in code):
        yield "outputs and execution counts do not belong into git: clear them"
    try:
        if declared_parameters(notebook).get("profile") != '"quick"':
            yield 'the cell tagged "parameters" must set profile = "quick"'
    except BookError as error:
        yield str(error)


def page_problems(root: Path) -> list[str]:
    """Every problem of the built book, one sentence each; an empty list when it is good."""
    folder = staging_folder(root)
    pages = folder / "_build" / "html"
    problems: list[str] = []
    for name in toc_pages(folder):
        page = pages / f"{name}.html"
        if not page.is_file():
            problems.append(f"{name}: the page is missing: run `make book`")
            continue
        found = [*_content_problems(page), *_link_problems(page, pages), *_button_problems(page, name, root)]
        notebook = folder / f"{name}.ipynb"
        if notebook.is_file():
            found += _output_problems(page, notebook)
        problems += [f"{name}: {text}" for text in found]
    return problems


@functools.lru_cache(maxsize=512)
def _parsed(page: Path, modified: int) -> BeautifulSoup:
    return BeautifulSoup(page.read_bytes(), "html.parser")


def _soup(page: Path) -> BeautifulSoup:
    return _parsed(page, page.stat().st_mtime_ns)


def _article(page: Path) -> Tag:
    return _soup(page).find("article") or _soup(page)


def _content_problems(page: Path) -> Iterator[str]:
    article = _article(page)
    if len(article.find_all("h1")) != 1:
        yield f"the page has {len(article.find_all('h1'))} H1 titles, one is needed"
    for image in article.find_all("img"):
        alt = str(image.get("alt", "")).strip()
        if len(alt.split()) < _ALT_WORDS or _FILE_NAME.fullmatch(alt):
            yield f"the image {image.get('src')} has no alternative text that says something, found {alt!r}"
    for element in article.find_all(_ACTIVE):
        yield f"the page holds <{element.name}>"


def _output_problems(page: Path, notebook: Path) -> Iterator[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    expected = sum(bool(cell.get("outputs")) for cell in cells)
    found = len(_article(page).select(".cell_output"))
    if not expected:
        yield "the notebook has no outputs: was it executed?"
    if found < expected:
        yield f"the page shows the outputs of {found} cells, the executed notebook has {expected}"


def _link_problems(page: Path, pages: Path) -> Iterator[str]:
    for element in _soup(page).find_all("a", href=True):
        address = urlsplit(str(element["href"]))
        if address.scheme or address.netloc:
            continue
        target = (page.parent / unquote(address.path)).resolve() if address.path else page
        if target.is_dir():
            target = target / "index.html"
        if not target.is_relative_to(pages.resolve()) and target != page:
            yield f"the link {element['href']!r} leaves the book"
        elif not target.is_file():
            yield f"the link {element['href']!r} leads nowhere"
        elif address.fragment and target.suffix == ".html" and not _has_anchor(target, unquote(address.fragment)):
            yield f"the link {element['href']!r} names a part that its page does not have"


def _has_anchor(page: Path, fragment: str) -> bool:
    soup = _soup(page)
    return soup.find(id=fragment) is not None or soup.find("a", attrs={"name": fragment}) is not None


def _button_problems(page: Path, name: str, root: Path) -> Iterator[str]:
    """Launch and source links point into the project's own repository, at files that exist."""
    repository = repository_url(root)
    buttons = _soup(page).select(".dropdown-launch-buttons a, .dropdown-source-buttons a, .header-article a.btn[href]")
    addresses = [str(element.get("href", "")) for element in buttons]
    for address in (address for address in addresses if address.startswith("http")):
        if not repository or repository.removeprefix("https://github.com/") not in address:
            yield f"a button leads to {address}, which is not {repository or 'expected without an address on GitHub'}"
        path = re.search(r"/blob/[^/]+/([^?]+)", address)
        if path and not (root / unquote(path[1])).is_file():
            yield f"a button leads to {address}, which is not a file of the repository"
    if repository and (root / f"{name}.ipynb").is_file() and not any("colab" in address for address in addresses):
        yield "the page has no button that opens its notebook in Colab"
