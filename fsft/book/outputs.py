"""What an output of a notebook may hold, and its clean form.

MyST-NB writes HTML outputs into the page as they are, so what an output may hold is decided here: plain text,
PNG figures with alternative text, the tables of `fsft.figures.plots.table`, and the explorer of
`fsft.figures.explorer`, with its own style sheet and no other. Everything else stops the build.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import nbformat
from nbformat import NotebookNode

_ALT_WORDS = 5
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_MACHINE_PATH = re.compile(r"(?<![\w./~-])(/home/|/Users/|/root\b|/tmp/|/var/folders/|/opt/|[A-Z]:\\Users\\)[^\s'\"]*")

# The tags and attributes that `fsft.figures.plots.table` writes.
_TABLE_TAGS: Mapping[str, frozenset[str]] = {
    "div": frozenset({"class", "role", "tabindex", "aria-label"}),
    "table": frozenset({"class"}),
    "caption": frozenset(),
    "thead": frozenset(),
    "tbody": frozenset(),
    "tr": frozenset(),
    "th": frozenset({"scope", "class"}),
    "td": frozenset({"class"}),
    "a": frozenset({"href"}),
}
_ROOTS: Mapping[str, Mapping[str, frozenset[str]]] = {"fsft-table": _TABLE_TAGS}
_VOID = frozenset({"input", "img"})
_DATA_IMAGE = "data:image/png;base64,"
_SAFE_LINK = re.compile(r"(https://|(?![\w+.-]*:)(?!//))[^\s\\]*")


class OutputError(ValueError):
    """An executed notebook that must not be published."""


def clean_outputs(outputs: Sequence[NotebookNode], paths: Mapping[str, str]) -> list[NotebookNode]:
    """The outputs as they may be published.

    Standard error is left out, neighboring pieces of standard output are joined and shown as a terminal
    would, `paths` (what to replace -> by what) and memory addresses are replaced. Raises OutputError for an
    output that is not plain text, a PNG with alternative text, or a table or an explorer of ours.
    """
    cleaned: list[NotebookNode] = []
    printed = ""
    for output in outputs:
        if output.output_type == "stream":
            printed += output.text if output.name == "stdout" else ""
            continue
        cleaned += _stream(printed, paths)
        printed = ""
        if output.output_type not in ("display_data", "execute_result"):
            raise OutputError(f"an output of type {output.output_type!r} is not allowed")
        cleaned.append(_clean_data(output, paths))
    return cleaned + _stream(printed, paths)


def _stream(printed: str, paths: Mapping[str, str]) -> list[NotebookNode]:
    text = _clean_text(_last_of_carriage_returns(printed), paths)
    return [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []


def _clean_data(output: NotebookNode, paths: Mapping[str, str]) -> NotebookNode:
    data: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    for mime, value in output.data.items():
        if mime == "text/plain":
            data[mime] = _clean_text(str(value), paths)
        elif mime == "text/html":
            data[mime] = _clean_text(str(value), paths)
            check_html(data[mime])
        elif mime == "image/png":
            data[mime] = _checked_png(value)
            alt = output.metadata.get("fsft_alt")
            if not isinstance(alt, str) or len(alt.split()) < _ALT_WORDS:
                raise OutputError("a figure has no alternative text: end the cell with plots.show(fig, alt=...)")
            metadata["fsft_alt"] = _clean_text(alt, paths)
            width = output.metadata.get("image/png", {}).get("width")
            if type(width) is int:
                metadata["image/png"] = {"width": width}
        else:
            raise OutputError(f"an output of type {mime!r} is not allowed: use print, plots.show, or plots.table")
    count = {"execution_count": output.execution_count} if output.output_type == "execute_result" else {}
    return nbformat.v4.new_output(output.output_type, data=data, metadata=metadata, **count)


def _checked_png(value: object) -> str:
    try:
        raw = base64.b64decode("".join(str(value).split()), validate=True)
    except (binascii.Error, ValueError):
        raise OutputError("a figure is not valid base64") from None
    if not raw.startswith(_PNG_SIGNATURE):
        raise OutputError("a figure is not a PNG file")
    return base64.b64encode(raw).decode("ascii")


def _clean_text(text: str, paths: Mapping[str, str]) -> str:
    for found in sorted(paths, key=len, reverse=True):
        text = re.sub(rf"{re.escape(found)}(?![\w-])", paths[found].replace("\\", r"\\"), text)
    text = _ADDRESS.sub("0x…", text)
    leak = _MACHINE_PATH.search(text)
    if leak:
        raise OutputError(f"an output shows a path of this machine, {leak.group()!r}: print a relative path")
    return text


def _last_of_carriage_returns(text: str) -> str:
    """What a terminal would show: a carriage return starts its line again."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def check_html(text: str) -> None:
    """Raise OutputError unless `text` is nothing but what `fsft.figures.plots.table` or `explorer` writes.

    The elements are written out again from the parse and must give the same characters, so that no browser
    can read the text in another way than this parser did.
    """
    parser = _OwnHtmlParser()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError as error:  # html.parser's own way to say that a declaration is malformed
        raise OutputError(f"an HTML output could not be read: {error}") from None
    if parser.open_tags or "".join(parser.written) != text:
        raise OutputError("an HTML output is not of the form that plots.table writes: use plots.table")


def without_pictures(text: str) -> str:
    """An HTML output without the bytes of its pictures."""
    return re.sub(rf"(?<={re.escape(_DATA_IMAGE)})[A-Za-z0-9+/=]+", "", text)


class _OwnHtmlParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Mapping[str, frozenset[str]] = {}  # by the class of the outermost element
        self.written: list[str] = []
        self.open_tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self.open_tags:
            root = _ROOTS.get(dict(attrs).get("class") or "") if tag == "div" else None
            if root is None:
                raise OutputError(f"an HTML output begins with <{tag}>, not as plots.table or an explorer does")
            self.tags = root
        if tag not in self.tags:
            raise OutputError(f"an HTML output holds <{tag}>: use plots.table, or plots.show for a figure")
        if len({name for name, _ in attrs}) < len(attrs):
            raise OutputError(f"an HTML output repeats an attribute of <{tag}>")
        for name, value in attrs:
            if name not in self.tags[tag] or value is None:
                raise OutputError(f"an HTML output holds the attribute {name!r} on <{tag}>, which is not allowed")
            if name == "href" and not _SAFE_LINK.fullmatch(value):
                raise OutputError(f"a link of an HTML output must be relative or https, found {value[:80]!r}")
        if tag == "input" and dict(attrs).get("type") != "radio":
            raise OutputError("an HTML output holds an input that is no radio button")
        if tag == "img":
            _check_image(dict(attrs))
        if tag not in _VOID:
            self.open_tags.append(tag)
        written = "".join(f' {name}="{html.escape(value or "", quote=True)}"' for name, value in attrs)
        self.written.append(f"<{tag}{written}>")

    def handle_endtag(self, tag: str) -> None:
        if not self.open_tags or self.open_tags.pop() != tag:
            raise OutputError(f"an HTML output closes <{tag}> where it is not open")
        self.written.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.open_tags:
            raise OutputError("an HTML output holds text outside a table")
        self.written.append(html.escape(data))

    def handle_comment(self, data: str) -> None:
        raise OutputError("an HTML output holds a comment, which is not allowed")

    def handle_decl(self, decl: str) -> None:
        raise OutputError("an HTML output holds a declaration, which is not allowed")

    def unknown_decl(self, data: str) -> None:
        raise OutputError("an HTML output holds a declaration, which is not allowed")

    def handle_pi(self, data: str) -> None:
        raise OutputError("an HTML output holds a processing instruction, which is not allowed")


def _check_image(attributes: Mapping[str, str | None]) -> None:
    source, alt = attributes.get("src") or "", attributes.get("alt") or ""
    if not source.startswith(_DATA_IMAGE):
        raise OutputError(f"an image of an HTML output must be an embedded PNG, found {source[:80]!r}")
    _checked_png(source.removeprefix(_DATA_IMAGE))
    if len(alt.split()) < _ALT_WORDS:
        raise OutputError(f"an image of an HTML output needs alternative text, found {alt!r}")
