"""Binds prose to verdicts, so that a new result breaks the build until somebody rewrites the sentence.

A sentence that leans on our runs stands beside a marker, in a page, in a Markdown cell, or in the README:

    <!-- verdict: claims/si-beats-baseline = not run -->
    <!-- verdict: numbers/table1/* = not run -->

The name is that of a claim or of a finding of ours (`fsft.evidence.assertions`), or of a printed number
(`fsft.evidence.paper`), after its kind; a pattern binds all that it fits. In code, `assert_verdict` does the same.
"""

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path

from fsft.evidence import paper
from fsft.evidence.assertions import WORDS, claims, findings, judge
from fsft.evidence.comparison import compare_cell
from fsft.evidence.ledger import Ledger, load_results

_COMMENT = re.compile(r"<!--\s*verdict\b(.*?)-->", re.DOTALL)
_MARKER = re.compile(r"\s*:\s*([\w*?/.+-]+)\s*=\s*(\w[\w ]*?)\s*")
REMEDY = "look at the new runs (fsft verify), then rewrite the text and its marker"


def verdicts(directory: str | Path | None = None, ledger: Ledger | None = None) -> dict[str, str]:
    """The verdict on every claim, printed number, and finding, by name, from a results folder, or from `ledger`."""
    runs = load_results(directory) if ledger is None else ledger
    words = {f"{one.kind}/{name}": judge(one, runs).verdict for name, one in (claims | findings).items()}
    return words | {f"numbers/{name}": compare_cell(cell, runs).verdict for name, cell in paper.cells.items()}


def disagreement(pattern: str, expected: str, known: dict[str, str]) -> str | None:
    """Why a text that assumes the verdict `expected` wherever `pattern` fits is wrong; None when it is right."""
    names = fnmatch.filter(known, pattern)
    if not names:
        return f"expected a name like claims/si-beats-baseline, or a pattern that fits some, found {pattern!r}"
    for name in names:
        choices = WORDS[name.split("/")[0]]
        if expected not in choices:
            return f"expected for {name} one of {', '.join(choices)}, found {expected!r}"
    changed = [f"{name} is {known[name]!r}" for name in names if known[name] != expected]
    more = f" and {len(changed) - 3} more" if changed[3:] else ""
    return f"the text says {expected!r}, but by now {', '.join(changed[:3])}{more}: {REMEDY}" if changed else None


def assert_verdict(
    pattern: str, expected: str, directory: str | Path | None = None, ledger: Ledger | None = None
) -> None:
    """Bind prose to a verdict, in code: AssertionError when our runs give another, or there is no such name or word."""
    found = disagreement(pattern, expected, verdicts(directory, ledger))
    if found:
        raise AssertionError(found)


def marker_problems(root: Path) -> list[str]:
    """Markers in the README, `book/`, and `notebooks/` that the runs in `results/` contradict, as sentences."""
    pages = [root / "README.md", *sorted((root / "book").glob("*.md")), *sorted((root / "notebooks").glob("*.ipynb"))]
    known: dict[str, str] = {}
    problems = []
    for page in (page for page in pages if page.is_file()):
        for inside in _comments(page):
            # Only a repository with markers needs results that can be read.
            known = known or verdicts(root / "results")
            found: str | None = f"expected a marker like <!-- verdict: name = word -->, found verdict{inside.rstrip()}"
            if marker := _MARKER.fullmatch(inside):
                found = disagreement(marker[1], marker[2], known)
            if found:
                problems.append(f"{page.relative_to(root)}: {found}")
    return problems


def _comments(page: Path) -> Iterator[str]:
    """What the verdict comments of a page hold behind the word "verdict"; code that shows one does not count."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"^(```+|~~~+)[^\n]*\n.*?^\1[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from _COMMENT.findall(re.sub(r"`[^`\n]+`", "", text))
