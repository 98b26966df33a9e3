"""What the book must refuse: parameters that are code or out of range, and outputs that must never reach a page."""

from __future__ import annotations

import base64
import math

from nbformat.v4 import new_output

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()
DECLARED = {"profile": "quick", "data_dir": "data", "seeds": 2, "rate": 0.1, "runs_dir": None, "names": ["a"]}

# Names that are code, values that are code, and values out of their range.
HOSTILE_NAMES = [
    "x = 1\nimport os; os.system('touch canary')",
    "seeds; import os",
    "seeds\nimport os",
    "seeds\n",
    "__import__('os')",
    "os.system('touch canary')#",
    "a.b",
    "a[0]",
    "seeds, x",
    "*seeds",
    "lambda",
    "import",
    "class",
    "None",
    "print",
    "open",
    "exec",
    "__builtins__",
    "__file__",
    "_",
    "",
    " seeds",
    "seeds ",
    "short recipe: seeds",
    "see ds",
    "seeds=1",
    "ѕeeds",
    "seeds\x00",
    "{0}",
    "%pip install x",
    "!touch canary",
    "unknown",
    "x" * 100,
]
HOSTILE_VALUES = [
    ("profile", "'; import os"),
    ("profile", "huge"),
    ("profile", "quick\n"),
    ("profile", 1),
    ("profile", None),
    ("data_dir", ""),
    ("data_dir", " data"),
    ("data_dir", "data\nimport os"),
    ("data_dir", 'data"; import os; "'),
    ("data_dir", "{data_dir.__class__}"),
    ("data_dir", "$(touch canary)"),
    ("data_dir", "`touch canary`"),
    ("data_dir", "a|b"),
    ("data_dir", "data\x00"),
    ("data_dir", "data\\x"),
    ("data_dir", "x" * 5000),
    ("data_dir", 3),
    ("data_dir", ["data"]),
    ("seeds", 0),
    ("seeds", 21),
    ("seeds", -1),
    ("seeds", 10**30),
    ("seeds", 2.0),
    ("seeds", True),
    ("seeds", "2"),
    ("seeds", None),
    ("seeds", math.nan),
    ("rate", math.nan),
    ("rate", math.inf),
    ("rate", 1e300),
    ("rate", "0.1"),
    ("rate", 1j),
    ("runs_dir", ""),
    ("runs_dir", 5),
    ("runs_dir", "a;b"),
    ("runs_dir", b"runs"),
    ("names", "a"),
    ("names", [["a"]]),
    ("names", ["a"] * 1000),
    ("names", {"a": 1}),
    ("names", [object()]),
    ("names", ["a\nb"]),
]
HOSTILE_PARAMETERS = [(name, 1) for name in HOSTILE_NAMES] + HOSTILE_VALUES


def table(inner, attributes='class="fsft-table"'):
    return f"<div {attributes}>{inner}</div>"


HOSTILE_HTML = [
    "<script>alert(1)</script>",
    table("<script>alert(1)</script>"),
    table("<SCRIPT src=//x></SCRIPT>"),
    table("<img src=x onerror=alert(1)>"),
    table("<table><tbody><tr><td><svg onload=alert(1)></svg></td></tr></tbody></table>"),
    table("<iframe src='https://x'></iframe>"),
    table("<object data=x></object>"),
    table("<embed src=x>"),
    table('<a href="javascript:alert(1)">x</a>'),
    table('<a href=" javascript:alert(1)">x</a>'),
    table('<a href="&#106;avascript:alert(1)">x</a>'),
    table('<a href="data:text/html,x">x</a>'),
    table('<a href="//evil.example">x</a>'),
    table('<a href="http://insecure.example">x</a>'),
    table("x", 'class="fsft-table" onclick="alert(1)"'),
    table("x", 'class="fsft-table" style="background:url(//x)"'),
    table("<style>@import '//x'</style>"),
    table("<form action=x></form>"),
    table("<base href=//x>"),
    table("<meta http-equiv=refresh content=0>"),
    table("<link rel=stylesheet href=//x>"),
    table("<!-- <script> -->"),
    table("<![CDATA[<script>alert(1)</script>]]>"),
    table("<?php x ?>"),
    table("<!DOCTYPE html>"),
    table("<td>x"),
    table("</div><script>alert(1)</script><div>"),
    table("<table><caption>a</table></caption>"),
    table("<td class=x>y</td>"),
    table("a < b"),
    "<p>text</p>",
    "text",
    table("x", 'class="other"'),
    table("<math><mtext></math>"),
    table('<td class="a" class="b">x</td>'),
    table("<td\x00>x</td>"),
    table("&lt"),
    table("<noscript><p></noscript>"),
]


def in_explorer(inner):
    return f'<div class="fsft-explorer">{inner}</div>'


_IMAGE = f"data:image/png;base64,{PNG}"
_ALT = 'alt="five words of alternative text"'
HOSTILE_HTML += [
    in_explorer("<script>alert(1)</script>"),
    in_explorer("<style>@import '//x'</style>"),
    in_explorer("<style>.fsft-explorer{background:url(//x)}</style>"),
    in_explorer("<style></style><p>x</p>"),
    in_explorer('<input type="text" name="fsft-image" class="x">'),
    in_explorer('<input type="image" name="x" class="x">'),
    in_explorer('<input type="radio" onclick="alert(1)">'),
    in_explorer('<input type="radio" name="x"/>'),
    in_explorer(f'<img src="https://evil.example/x.png" {_ALT}>'),
    in_explorer(f'<img src="data:image/svg+xml;base64,{PNG}" {_ALT}>'),
    in_explorer(f'<img src="data:image/png;base64,PHN2Zy8+" {_ALT}>'),
    in_explorer(f'<img src="{_IMAGE}">'),
    in_explorer(f'<img src="{_IMAGE}" alt="figure">'),
    in_explorer(f'<img src="{_IMAGE}" {_ALT} onerror="alert(1)">'),
    in_explorer('<a href="https://x.y">x</a>'),
    in_explorer("<table></table>"),
    in_explorer("<figure>"),
    table(f'<img src="{_IMAGE}" {_ALT}>'),
    table('<input type="radio">'),
    '<div class="fsft-table fsft-explorer"></div>',
]


def display(data, metadata=None):
    return new_output("display_data", data=data, metadata=metadata or {})


HOSTILE_OUTPUTS = [
    *(display({"text/html": text}) for text in HOSTILE_HTML),
    display({"application/javascript": "alert(1)"}),
    display({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}),
    display({"application/vnd.plotly.v1+json": {}}),
    display({"image/svg+xml": "<svg onload='alert(1)'/>"}),
    display({"text/markdown": "<script>alert(1)</script>"}),
    display({"text/latex": "\\href{javascript:alert(1)}{x}"}),
    display({"image/png": "not base64!"}, {"fsft_alt": "five words of alternative text"}),
    display({"image/png": base64.b64encode(b"<svg/>").decode()}, {"fsft_alt": "five words of alternative text"}),
    display({"image/png": PNG}),
    display({"image/png": PNG}, {"fsft_alt": "figure.png"}),
    display({"text/plain": "/home/somebody/secret/file"}),
    new_output("error", ename="E", evalue="x", traceback=[]),
]
