"""Finds results that were typed into prose, where no new run can correct them.

In Markdown cells and pages a number that looks like a measured result must be computed by a code cell. What the paper
prints may be quoted: mark the paragraph with `<!-- paper -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

MARKER = "<!-- paper -->"
_NUMBER = r"[+\-−–]?\d{1,3}\.\d+"
_RESULT = re.compile(
    rf"""
    {_NUMBER}\s*(?:\\?%|percent\b|(?:percentage\s+)?points?\b)       # 73.7 %, 0.8 points
    | {_NUMBER}\s*(?:±|\\pm|\+/-|\+-)\s*\d                            # 73.71 ± 0.28
    | \b(?:accurac(?:y|ies)|top-1|error\ rate)\s+(?:\w+\s+){{0,3}}{_NUMBER}   # accuracy of 73.7
    | {_NUMBER}\s+(?:\w+\s+)?accuracy\b                               # 73.7 test accuracy
    | \b(?:gain|gains|improve[sd]?|improvement|drop|drops|loss|rises?|falls?)\s+(?:of|by|to|from)\s+{_NUMBER}
    | \bfrom\s+{_NUMBER}\s*(?:\\?%)?\s+to\s+{_NUMBER}                 # from 74.78 to 76.84
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FENCE = re.compile(r"^(?P<mark>```+|~~~+)(?P<info>[^\n]*)\n.*?^(?P=mark)[ \t]*$", re.MULTILINE | re.DOTALL)
_ANSWERS = re.compile(r"<!-- answers: .*?<!-- /answers -->", re.DOTALL)  # written by a program, see test_answers.py
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\]\([^)\s]*\)|https?://\S+")


def typed_results(path: str | Path) -> list[str]:
    """Result-like numbers in the prose of a notebook (.ipynb) or page (.md), each with its place.

    Code, addresses, and paragraphs with the marker are left out; a fenced directive such as a note is prose.
    """
    path = Path(path)
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = [
            (f"cell {number}", "".join(cell["source"]))
            for number, cell in enumerate(cells, start=1)
            if cell["cell_type"] == "markdown"
        ]
    else:
        texts = [("page", _ANSWERS.sub("", path.read_text(encoding="utf-8")))]
    return [f"{path.name}, {place}: {found!r}" for place, text in texts for found in _found(text)]


def _found(text: str) -> Iterator[str]:
    prose = _LINK.sub(" ", _CODE.sub(" ", _FENCE.sub(_keep_directives, text)))
    for paragraph in re.split(r"\n\s*\n", prose):
        if MARKER not in paragraph:
            yield from (match.group().strip() for match in _RESULT.finditer(" ".join(paragraph.split())))


def _keep_directives(match: re.Match[str]) -> str:
    inside = match.group().split("\n", 1)[1].rsplit("\n", 1)[0]
    info = match.group("info").strip()
    is_prose = info.startswith("{") and not info.startswith(("{code", "{math"))
    return f"\n\n{inside}\n\n" if is_prose else "\n\n"
