"""The notebooks that the pages offer for download: not executed yet, and in Markdown that any Jupyter shows.

JupyterLab, VS Code, Colab and GitHub print MyST's roles and directives as they are written, so none may be left.
"""

import posixpath
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, Entry, parse_file
from pybtex.style.formatting.plain import Style

from builder import BookError

ADMONITIONS = ("admonition", "note", "tip", "hint", "important", "attention", "caution", "warning", "danger", "seealso")
_COMMENT = re.compile(r" ?<!--.*?-->", re.DOTALL)
_CITATION = re.compile(r"\{cite(:t)?\}`([^`]+)`")
_DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{([\w-]+)\} ?(.*)\n(?::[\w-]+:.*\n)*((?:.*\n)*?)\1$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([\w./-]+\.(?:ipynb|md)(?:#[^)\s]*)?)\)")
_MYST = re.compile(r"^(`{3,}|:{3,})\{.*|(?<!`)\{[a-z:]+\}`[^`]+`", re.MULTILINE)


def clean(published: NotebookNode, bibliography: Path, repository: str | None) -> NotebookNode:
    """A published notebook as a reader runs it: without outputs and the banner about them, in plain Markdown.

    All that it cites is in the BibTeX file `bibliography`. Links to files lead to `repository`, the address on GitHub;
    without one they become text. BookError: the text cites or uses what has no form in plain Markdown.
    """
    text = "".join(cell.source for cell in published.cells if cell.cell_type == "markdown")
    cited = {key for _, keys in _CITATION.findall(text) for key in _keys(keys)}
    known = parse_file(bibliography).entries
    if unknown := cited - known.keys():
        raise BookError(f"expected an entry in {bibliography.name} for each citation, found none for {sorted(unknown)}")
    references = BibliographyData({key: known[key] for key in sorted(cited)})
    cells = []
    for cell in (NotebookNode(cell) for cell in published.cells if cell["id"] != "banner"):
        if cell.cell_type == "markdown":
            cell.source = _plain(cell.source, references, repository)
        else:
            cell.update(outputs=[], execution_count=None)
            cell.metadata = NotebookNode({name: value for name, value in cell.metadata.items() if name != "mystnb"})
        cells.append(cell)
    metadata = {name: value for name, value in published.metadata.items() if name != "fsft"}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def _keys(text: str) -> list[str]:
    return [key.strip() for key in text.split(",")]


def _named(entry: Entry) -> tuple[str, str]:
    """Authors and year."""
    names = [" ".join(map(str, person.rich_last_names)) for person in entry.persons["author"]]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names), entry.fields["year"]


def _plain(text: str, references: BibliographyData, repository: str | None) -> str:
    def citation(match: re.Match[str]) -> str:
        named = [_named(references.entries[key]) for key in _keys(match[2])]
        if match[1]:
            return "; ".join(f"{authors} ({year})" for authors, year in named)
        return f"({'; '.join(map(', '.join, named))})"

    def directive(match: re.Match[str]) -> str:
        _, name, title, body = match.groups()
        if name == "dropdown":
            return f"<details>\n<summary>{title}</summary>\n\n{body.strip()}\n\n</details>"
        if name == "bibliography":
            entries = Style().format_bibliography(references, list(references.entries))
            return "\n\n".join(entry.text.render(Backend()).replace("\n", " ") for entry in entries)
        if name in ADMONITIONS:
            lines = [f"**{title or name.title()}**", "", *body.strip().split("\n")]
            return "\n".join(f"> {line}".rstrip() for line in lines)
        return match[0]

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(f"notebooks/{match[2]}")
        return f"[{match[1]}]({repository}/blob/HEAD/{path})" if repository else match[1]

    text = _LINK.sub(link, _DIRECTIVE.sub(directive, _CITATION.sub(citation, _COMMENT.sub("", text))))
    if left := _MYST.search(text):
        raise BookError(f"a downloaded notebook cannot show {left[0]!r}: write it in plain Markdown")
    return text
