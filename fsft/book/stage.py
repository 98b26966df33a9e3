"""Puts the book's sources beside the executed notebooks and builds the HTML with Jupyter Book."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml  # type: ignore[import-untyped]

BRANCH = "main"
STATUS_MARK = "<!-- fsft:status -->"
_REPOSITORY = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", re.ASCII)


class BookError(RuntimeError):
    """The book cannot be built as asked; the message says what to do."""


def toc_pages(toc: Mapping[str, Any]) -> list[str]:
    """Every page of a parsed `_toc.yml`, root first, as written there (usually without a suffix)."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield str(value)
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(toc))


def read_toc(root: Path) -> dict[str, Any]:
    """The parsed `_toc.yml`. Raises BookError when `root` is not the repository's root."""
    path = root / "_toc.yml"
    if not path.is_file():
        raise BookError(f"no _toc.yml in {root}: run this in the root folder of the repository")
    toc: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return toc


def source_of(root: Path, page: str) -> Path:
    """The file of a page of the contents. Raises BookError when there is none."""
    for candidate in (root / page, root / f"{page}.md", root / f"{page}.ipynb"):
        if candidate.is_file():
            return candidate
    raise BookError(f"_toc.yml names {page}, but there is no {page}.md or {page}.ipynb")


def toc_notebooks(root: Path) -> list[str]:
    """The repository-relative paths of the notebooks in `_toc.yml`, in the book's order."""
    sources = [source_of(root, page).relative_to(root).as_posix() for page in toc_pages(read_toc(root))]
    return [path for path in sources if path.endswith(".ipynb")]


def repository_url(root: Path) -> str | None:
    """The repository's address, `[project.urls] Repository` of pyproject.toml, or None while it is not set.

    Raises BookError when it is not a GitHub address, which the launch buttons need.
    """
    path = root / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}) if path.is_file() else {}
    url = project.get("urls", {}).get("Repository")
    if not url:
        return None
    url = str(url).rstrip("/").removesuffix(".git")
    if not _REPOSITORY.fullmatch(url):
        raise BookError(f"Repository in pyproject.toml must be like https://github.com/owner/name, found {url!r}")
    return url


def staged_config(config: Mapping[str, Any], repository: str | None) -> dict[str, Any]:
    """`_config.yml` with all that shows the repository's address set, or switched off while there is none."""
    staged = {**config, "html": dict(config.get("html", {}))}
    for button in ("use_repository_button", "use_issues_button"):
        staged["html"][button] = repository is not None
    # Jupyter Book's default is its own repository, so the address has to be overwritten in both cases.
    staged["repository"] = {"url": repository or "", "branch": BRANCH, "path_to_book": ""}
    staged["launch_buttons"] = {"notebook_interface": "jupyterlab"}
    if repository:
        staged["launch_buttons"]["colab_url"] = "https://colab.research.google.com"
    return staged


def stage(root: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Copy `book/`, `_config.yml`, and `_toc.yml` beside the executed notebooks; the staging folder.

    Writes what the status page says about the executions. Raises BookError when a page is missing.
    """
    target = root / "_build" / "book"
    shutil.rmtree(target / "_build", ignore_errors=True)
    shutil.rmtree(target / "book", ignore_errors=True)
    shutil.copytree(root / "book", target / "book")
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    staged = staged_config(config, repository_url(root))
    (target / "_config.yml").write_text(yaml.safe_dump(staged, sort_keys=False), encoding="utf-8")
    shutil.copyfile(root / "_toc.yml", target / "_toc.yml")
    pages = {source_of(root, page).relative_to(root) for page in toc_pages(read_toc(root))}
    for stale in set(target.glob("notebooks/*.ipynb")) - {target / page for page in pages}:
        stale.unlink()
    status = target / "book" / "status.md"
    if status.is_file():
        text = status.read_text(encoding="utf-8")
        if text.count(STATUS_MARK) != 1:
            raise BookError(f"book/status.md must hold the line {STATUS_MARK!r} exactly once")
        status.write_text(text.replace(STATUS_MARK, status_tables(target, records)), encoding="utf-8")
    return target


def build_html(target: Path, root: Path) -> Path:
    """Run Jupyter Book on a staged folder; the folder of the HTML pages, which `_build/html` then points to.

    Every warning is an error, unresolved references included. Raises BookError when the build fails.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", "--all", "--quiet", "-W", "-n", "--keep-going", str(target)]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    pages = target / "_build" / "html"
    if result.returncode or not (pages / "index.html").is_file():
        raise BookError(f"Jupyter Book failed:\n{_trimmed(result.stdout)}{_trimmed(result.stderr)}")
    for page in pages.rglob("*.html"):
        page.write_text(mended(page.read_text(encoding="utf-8")), encoding="utf-8")
    link = root / "_build" / "html"
    if link.is_symlink() or link.is_file():
        link.unlink()
    if not link.exists():
        link.symlink_to(pages.relative_to(link.parent), target_is_directory=True)
    return pages


def mended(page: str) -> str:
    """A built page with the theme's and the bibliography's accessibility faults put right."""
    # The role is deprecated, and a list may hold nothing but list items.
    page = page.replace(' role="doc-biblioentry"', "").replace('<div role="list" class="citation-list">', "<div>")
    # What scrolls must be reachable by keyboard.
    box = '<div class="pst-scrollable-table-container"'
    page = page.replace(box, f'{box} tabindex="0" role="group" aria-label="Table, scrolls sideways"')
    # The book's title and the search button lie outside every landmark.
    sidebar = '<div id="pst-primary-sidebar"'
    return page.replace(sidebar, f'{sidebar} role="navigation" aria-label="Book"')


def commit_note(root: Path) -> str:
    """ "commit 1a2b3c4d5e", and whether files were changed since; or that there is no commit to name."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=10", "HEAD")
    if not commit:
        return "outside a git checkout"
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"commit {commit}" + (" with uncommitted changes" if changed else "")


def status_tables(target: Path, records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown for the status page: time, memory, and origin of every execution; devices; versions."""
    if not records:
        return "No notebook has been executed for this build."
    lines = [
        f"{len(records)} notebooks; their times add up to "
        f"{sum(record['seconds'] for record in records) / 60:.1f} minutes.",
        "",
        "| Notebook | Profile | Seconds | Peak memory (MiB) | Threads | Executed at |",
        "|:--|:--|--:|--:|--:|:--|",
    ]
    for record in records:
        title = _title(target / str(record["notebook"]))
        lines.append(
            f"| [{title}](../{record['notebook']}) | {record['profile']} | {record['seconds']:.0f} | "
            f"{record['peak_memory_mib']:.0f} | {record['threads']} | {record['commit']} |"
        )
    devices = sorted({str(record["device"]) for record in records})
    lines += ["", "## Device", "", *(f"- {html.escape(device)}" for device in devices)]
    lines += ["", "## Versions", "", "| Package | Version |", "|:--|:--|"]
    names = list(records[0]["versions"])
    for name in names:
        found = sorted({str(record["versions"].get(name)) for record in records})
        lines.append(f"| {name} | {', '.join(found)} |")
    return "\n".join(lines)


def _title(path: Path) -> str:
    first = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    return str(first).removeprefix("# ").replace("|", "\\|")


def _trimmed(text: str, limit: int = 20_000) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return f"{text[-limit:]}\n" if text else ""
