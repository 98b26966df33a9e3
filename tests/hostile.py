"""Outputs that must never reach a page."""

from __future__ import annotations

import base64

from nbformat.v4 import new_output

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()


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
    table(f'<img src="data:image/png;base64,{PNG}" alt="five words of alternative text">'),
    table('<input type="radio">'),
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
    display({"image/png": PNG}),
    display({"image/png": PNG}, {"image/png": {"alt": "figure.png"}}),
    display({"text/plain": "/home/somebody/secret/file"}),
    new_output("error", ename="E", evalue="x", traceback=[]),
]
