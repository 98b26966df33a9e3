"""What may be published of an executed notebook."""

import ast
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")
import nbformat
import pandas as pd
from builder import BookError
from builder.publishing import clean_outputs, published
from hostile import HOSTILE_OUTPUTS, PNG, display
from nbformat.v4 import new_code_cell, new_output
from tiny_book import executed

from fsft.figures import choices
from fsft.figures.plots import Link, _table_html


@pytest.mark.parametrize("number", range(4, 9))
def test_chapters_of_training_leave_a_stub_and_fold_its_answer(number):
    [path] = (Path(__file__).resolve().parents[2] / "notebooks").glob(f"{number:02}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    tags = [cell.metadata.get("tags", []) for cell in cells]
    stubs = [k for k, of_cell in enumerate(tags) if "skip-execution" in of_cell]
    assert stubs
    for k in stubs:
        [task], [answer] = (ast.parse(cells[i].source).body for i in (k, k + 1))
        assert "Your turn" in cells[k - 1].source and "raise NotImplementedError" in cells[k].source
        assert "hide-cell" in tags[k + 1] and ast.dump(task.args) == ast.dump(answer.args) and task.name == answer.name


@pytest.mark.parametrize("output", HOSTILE_OUTPUTS, ids=range(len(HOSTILE_OUTPUTS)))
def test_hostile_outputs_are_refused(output):
    assert len(HOSTILE_OUTPUTS) >= 30
    with pytest.raises(BookError):
        clean_outputs([output], {})


def test_allowed_outputs_keep_their_content():
    frame = pd.DataFrame(
        {"a & b": ["<x>", "'quoted'"], "page": [Link("1", "16_scorecard.html#one"), Link("2", "https://x.y?a=1&b=2")]}
    )
    table = _table_html(frame, 'A "caption"', 2)
    outputs = [
        new_output("stream", name="stdout", text="10%\r50%\r100%\nloss "),
        new_output("stream", name="stderr", text="a warning"),
        new_output("stream", name="stdout", text="0.5\n<script> is shown as text\n"),
        display({"text/html": table, "text/plain": "t"}),
        display({"image/png": PNG}, {"image/png": {"alt": "A line that rises slowly.", "width": 640, "y": 1}, "x": 1}),
        display({"text/plain": "<object object at 0x7f12ab34cd56> in /srv/here/fsft, not /srv/hereafter"}),
    ]
    cleaned = clean_outputs(outputs, {"/srv/here": "."})
    assert cleaned[0].text == "100%\nloss 0.5\n<script> is shown as text\n"
    assert cleaned[1].data["text/html"] == table
    assert cleaned[2].metadata == {"image/png": {"alt": "A line that rises slowly.", "width": 640}}
    assert cleaned[3].data["text/plain"] == "<object object at 0x…> in ./fsft, not /srv/hereafter"
    assert len(cleaned) == 4


def test_choices_are_published_as_they_are_written_and_not_otherwise(monkeypatch):
    shown = []
    monkeypatch.setattr(choices, "_display", lambda data, _: shown.append(data))
    bars = {"Votes": {"a < b": 0.25}}
    choices.choices({"Image": ["one", "two"], "View": ["whole"]}, (1, 0), {(0, 0): bars, (1, 0): bars})
    [output] = clean_outputs([display(shown[0])], {})
    page = output.data["text/html"]
    assert page == shown[0]["text/html"] and page.count("<section") == 2 and "a &lt; b" in page
    assert 'name="fsft-0" value="0-1" checked' in page
    assert output.data["text/plain"] == "Image: two; View: whole: a < b 25%"
    for right, wrong in (
        ("</style>", "@import '//x'</style>"),
        ('type="radio"', 'type="image"'),
        ('type="radio"', 'type="radio" onfocus="alert(1)"'),
        ("<section", "<script>alert(1)</script><section"),
        ('aria-live="polite"', 'style="position:fixed"'),
    ):
        assert right in page
        with pytest.raises(BookError, match="not of the form"):
            clean_outputs([display({"text/html": page.replace(right, wrong, 1)})], {})
    with pytest.raises(ValueError, match=r"found none for \(1, 0\)"):
        choices.choices({"Image": ["one", "two"], "View": ["whole"]}, (1, 0), {(0, 0): bars})


def publish(nb):
    return published(nb, "BANNER", {"profile": "laptop", "data_dir": "data"}, {})


def test_the_banner_stands_below_the_title_and_the_parameters_are_those_of_the_execution():
    nb = executed("1")
    nb.cells[-1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    nb.metadata["papermill"] = {"input_path": "/secret"}
    result = publish(nb)
    assert [cell.source for cell in result.cells[:2]] == ["# A chapter", "BANNER"]
    assert result.cells[2].source.startswith("The claim under test")
    assert result.cells[4].source.startswith('profile = "laptop"\ndata_dir = "data"\nseeds = 2\n')
    text = nbformat.writes(result)
    assert "/secret" not in text and "2026-01-01" not in text
    assert len({cell["id"] for cell in result.cells}) == len(result.cells)


def test_the_alternative_text_is_moved_to_where_the_page_takes_it_from():
    cell = new_code_cell("plots.show(fig, alt=text)")
    cell.outputs = [display({"image/png": PNG}, {"image/png": {"alt": "A line that rises slowly."}})]
    assert publish(executed(cell)).cells[-1].metadata["mystnb"]["image"]["alt"] == "A line that rises slowly."
    cell.outputs = cell.outputs * 2
    with pytest.raises(BookError, match=r"cell 4: one cell shows 2 figures"):
        publish(executed(cell))


def test_cells_that_did_not_run_or_ended_with_an_error_are_refused():
    nb = executed("1", "2")
    nb.cells[-1].execution_count = None
    with pytest.raises(BookError, match="cell 5 did not run"):
        publish(nb)
    nb.cells[-1].metadata["tags"] = ["skip-execution"]  # left to the reader
    publish(nb)
    nb.cells[-1].execution_count = 4
    nb.cells[-1].outputs = [new_output("error", ename="KeyError", evalue="x", traceback=[])]
    with pytest.raises(BookError, match="cell 5 ended with KeyError: x"):
        publish(nb)
