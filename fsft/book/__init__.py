"""Builds the book: executes the notebooks with papermill, runs Jupyter Book, and checks the pages."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["build", "check", "setup_cells"]


def build(
    profile: str = "quick",
    data_dir: str | Path = "data",
    jobs: int | None = None,
    only: str | None = None,
    *,
    root: str | Path = ".",
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Execute the notebooks, build the pages into `_build/html`, check them; exit status 0 when all is good.

    profile: "quick", "laptop", or "paper". data_dir: the folder of the data sets. jobs: notebooks executed at
    a time (by default as many as cores and memory allow). only: a glob for the notebooks' names without
    suffix; these are executed, and no pages are built.
    """
    from fsft.book.params import PROFILES, ParameterError
    from fsft.book.run import NotebookError
    from fsft.book.schedule import execute_all
    from fsft.book.site import check_site
    from fsft.book.stage import BookError, build_html, read_toc, stage
    from fsft.evidence.verdicts import marker_problems
    from fsft.runtime.files import FolderLockedError, folder_lock

    root = Path(root).resolve()
    started = time.monotonic()
    try:
        if profile not in PROFILES:
            raise ParameterError(f"the profile is one of {', '.join(PROFILES)}, found {profile!r}")
        read_toc(root)  # before anything is written into what may not be the repository
        outdated = marker_problems(root)
        if outdated:
            return _report(outdated)
        with folder_lock(root / "_build" / "cache"):
            records = execute_all(root, profile, str(data_dir), jobs=jobs, only=only, parameters=parameters, say=_say)
            if only is not None:
                _say(f"executed {len(records)} notebooks; no pages are built with --only")
                return 0
            _say("building the HTML pages")
            pages = build_html(stage(root, records), root)
            problems = check_site(root)
    except (ParameterError, NotebookError, BookError, FolderLockedError) as error:
        print(f"fsft book: {error}", file=sys.stderr)
        return 1
    if problems:
        return _report(problems)
    _say(f"done in {(time.monotonic() - started) / 60:.1f} min: {pages / 'index.html'}")
    return 0


def check(root: str | Path = ".") -> int:
    """Check the pages of the last build and the notebooks' sources; the exit status, 0 when all is good."""
    from fsft.book.lint import lint_all
    from fsft.book.site import check_site
    from fsft.book.stage import BookError
    from fsft.evidence.verdicts import marker_problems

    root = Path(root).resolve()
    try:
        problems = [*lint_all(root), *marker_problems(root), *check_site(root)]
    except BookError as error:
        print(f"fsft book: {error}", file=sys.stderr)
        return 1
    if problems:
        return _report(problems)
    _say("the book has no problems")
    return 0


def setup_cells(root: str | Path = ".") -> int:
    """Write the setup cell, for the address in pyproject.toml, into every notebook; the exit status."""
    from fsft.book.lint import write_setup_cells

    for name in write_setup_cells(Path(root).resolve()):
        _say(f"setup cell written: {name}")
    return 0


def _report(problems: list[str]) -> int:
    for problem in problems:
        print(f"fsft book: {problem}", file=sys.stderr)
    print(f"fsft book: {len(problems)} problems", file=sys.stderr)
    return 1


def _say(text: str) -> None:
    print(text, flush=True)
