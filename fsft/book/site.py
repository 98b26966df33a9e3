"""Checks of the built pages: nothing missing, nothing active, nothing from the network, all links resolve."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml  # type: ignore[import-untyped]
from bs4 import BeautifulSoup, Tag

from fsft.book.stage import BRANCH, BookError, repository_url, toc_pages

_ALT_WORDS = 3
_FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|gif|webp)", re.IGNORECASE)
_CSS_REMOTE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])(?:https?:)?//[^)'\"\s]+")
_WIDGET = "application/vnd.jupyter.widget"
# The elements that make a browser fetch something as the page is read, and the attribute that says what.
_FETCHES = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "embed": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
_LINK_RELATIONS = {"stylesheet", "preload", "prefetch", "modulepreload", "icon", "preconnect", "dns-prefetch"}


def check_site(root: Path) -> list[str]:
    """Every problem of the built book under `_build`, one sentence each; an empty list when it is good.

    Raises BookError when there is no built book.
    """
    folder = root / "_build" / "book"
    pages = folder / "_build" / "html"
    if not (pages / "index.html").is_file():
        raise BookError("there is no built book: run `make book` first")
    toc = yaml.safe_load((folder / "_toc.yml").read_text(encoding="utf-8"))
    repository = repository_url(root)
    problems: list[str] = []
    for name in toc_pages(toc):
        name = name.removesuffix(".ipynb").removesuffix(".md")
        page = pages / f"{name}.html"
        if not page.is_file():
            problems.append(f"{name}: the page is missing")
            continue
        found = [
            *_check_page(page),
            *_check_links(page, pages),
            *_check_repository(page, name, root, repository),
        ]
        notebook = folder / f"{name}.ipynb"
        if notebook.is_file():
            found += _check_outputs(page, notebook)
        problems += [f"{name}: {text}" for text in found]
    for css in sorted(pages.rglob("*.css")):
        for address in _CSS_REMOTE.findall(css.read_text(encoding="utf-8", errors="replace")):
            problems.append(f"{css.relative_to(pages)}: loads {address} from the network")
    return problems


@functools.lru_cache(maxsize=512)
def _parsed(page: Path, modified: int) -> BeautifulSoup:
    return BeautifulSoup(page.read_bytes(), "html.parser")


def _soup(page: Path) -> BeautifulSoup:
    return _parsed(page, page.stat().st_mtime_ns)


def _main(page: Path) -> Tag:
    soup = _soup(page)
    return soup.find("article") or soup.find("main") or soup


def _check_page(page: Path) -> Iterator[str]:
    soup = _soup(page)
    for tag, attribute in _FETCHES.items():
        for element in soup.find_all(tag):
            if _is_remote(str(element.get(attribute, ""))):
                yield f"<{tag}> loads {element[attribute]} from the network"
    for element in soup.find_all("link", href=True):
        relations = set(element.get_attribute_list("rel"))
        if relations & _LINK_RELATIONS and _is_remote(str(element["href"])):
            yield f"<link> loads {element['href']} from the network"
    if _WIDGET in soup.decode():
        yield "the page holds a widget, which needs a kernel and the network"
    titles = _main(page).find_all("h1")  # the theme keeps a second, hidden copy of the title for printing
    if len(titles) != 1:
        yield f"the page has {len(titles)} H1 titles, one is needed"
    main = _main(page)
    for image in main.find_all("img"):
        alt = str(image.get("alt", "")).strip()
        if len(alt.split()) < _ALT_WORDS or _FILE_NAME.fullmatch(alt):
            yield f"the image {image.get('src')} has no alternative text that says something, found {alt!r}"
    for output in main.select(".cell_output"):
        for element in output.find_all(["script", "iframe", "object", "embed", "style", "form"]):
            yield f"an output holds <{element.name}>"
    for element in main.find_all(True):
        for name, value in element.attrs.items():
            if name.lower().startswith("on") or "javascript:" in str(value).lower():
                yield f"<{element.name}> has the active attribute {name}={str(value)[:60]!r}"


def _check_outputs(page: Path, notebook: Path) -> Iterator[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    expected = sum(bool(cell.get("outputs")) for cell in cells)
    found = len(_main(page).select(".cell_output"))
    if not expected:
        yield "the notebook has no outputs: was it executed?"
    if found < expected:
        yield f"the page shows the outputs of {found} cells, the executed notebook has {expected}"


def _check_links(page: Path, pages: Path) -> Iterator[str]:
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


def _check_repository(page: Path, name: str, root: Path, repository: str | None) -> Iterator[str]:
    """Launch and source links point into the project's own repository, at files that exist."""
    soup = _soup(page)
    buttons = soup.select(".dropdown-launch-buttons a, .dropdown-source-buttons a, .header-article a.btn[href]")
    for element in buttons:
        address = str(element.get("href", ""))
        if not address.startswith("http"):
            continue
        if repository is None:
            yield f"a button leads to {address}, but pyproject.toml names no repository"
            continue
        path = repository.removeprefix("https://github.com/")
        if path not in address:
            yield f"a button leads to {address}, which is not {repository}"
        marker = f"/blob/{BRANCH}/"
        if marker in address and not (root / unquote(address.split(marker)[1].split("?")[0])).is_file():
            yield f"a button leads to {address}, which is not a file of the repository"
    is_notebook = (root / f"{name}.ipynb").is_file()
    if repository and is_notebook and not any("colab" in str(element.get("href")) for element in buttons):
        yield "the page has no button that opens its notebook in Colab"


def _is_remote(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https", "ftp", "ws", "wss") or bool(parts.netloc)
