"""The book's rules: for parameters, for outputs, for published notebooks, and for notebooks as they are committed."""

import pandas as pd
import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

import nbformat
from hostile import DECLARED, HOSTILE_OUTPUTS, HOSTILE_PARAMETERS, PNG, display
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from tiny_book import ROOT, executed, make, notebook

from fsft.book import lint
from fsft.book.notebook import publish
from fsft.book.outputs import OutputError, clean_outputs
from fsft.book.params import ParameterError, check_parameters, declared_parameters
from fsft.book.run import banner
from fsft.figures.plots import Link, _table_html


def parameters_cell(source):
    return new_code_cell(source, metadata={"tags": ["parameters"]})


@pytest.mark.parametrize(("name", "value"), HOSTILE_PARAMETERS, ids=range(len(HOSTILE_PARAMETERS)))
def test_hostile_parameters_are_refused(name, value):
    with pytest.raises(ParameterError) as error:
        check_parameters(DECLARED, {name: value})
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "given",
    [
        {"seeds": 20},
        {"rate": 1},
        {"rate": 1e-3},
        {"runs_dir": "../my runs"},
        {"runs_dir": None},
        {"names": ["b", 2]},
        {},
    ],
)
def test_good_parameters_pass_unchanged(given):
    assert check_parameters(DECLARED, given) == given


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("profile = input()", "must be a literal"),
        ("import os", "may only assign"),
        ("a = b = 1", "may only assign"),
        ("a.b = 1", "may only assign"),
        ("a: int = 1", "may only assign"),
        ("a = 1\na = 2", "twice"),
        ("a = {'b': 1}", "must be None, a bool"),
        ("seeds = 50", "from 1 to 20"),
        ("a = [", "not Python"),
        ("print = 1", "has a meaning in Python"),
    ],
)
def test_a_parameters_cell_holds_only_literals(source, message):
    with pytest.raises(ParameterError, match=message):
        declared_parameters([parameters_cell(source)])


def test_there_is_exactly_one_parameters_cell():
    cell = parameters_cell("a = 1  # a comment\nb = -0.5\nc = ['x', None]")
    assert declared_parameters([cell]) == {"a": 1, "b": -0.5, "c": ["x", None]}
    for cells in ([], [cell, cell]):
        with pytest.raises(ParameterError, match="exactly one"):
            declared_parameters(cells)


@pytest.mark.parametrize("output", HOSTILE_OUTPUTS, ids=range(len(HOSTILE_OUTPUTS)))
def test_hostile_outputs_are_refused(output):
    assert len(HOSTILE_OUTPUTS) >= 30
    with pytest.raises(OutputError):
        clean_outputs([output], {})


def test_allowed_outputs_keep_their_content():
    html_table = tiny_book_table()
    outputs = [
        new_output("stream", name="stdout", text="10%\r50%\r100%\nloss "),
        new_output("stream", name="stderr", text="a warning"),
        new_output("stream", name="stdout", text="0.5\n<script> is shown as text\n"),
        display({"text/html": html_table, "text/plain": "t"}),
        display(
            {"image/png": PNG + "\n"}, {"fsft_alt": "A line that rises slowly.", "image/png": {"width": 640}, "x": 1}
        ),
        display({"text/plain": "<object object at 0x7f12ab34cd56> in /srv/here/fsft, not /srv/hereafter"}),
    ]
    cleaned = clean_outputs(outputs, {"/srv/here": "."})
    assert cleaned[0].text == "100%\nloss 0.5\n<script> is shown as text\n"
    assert cleaned[1].data["text/html"] == html_table
    assert cleaned[2].metadata == {"fsft_alt": "A line that rises slowly.", "image/png": {"width": 640}}
    assert cleaned[3].data["text/plain"] == "<object object at 0x…> in ./fsft, not /srv/hereafter"
    assert len(cleaned) == 4


def tiny_book_table():
    frame = pd.DataFrame(
        {"a & b": ["<x>", "'quoted'"], "page": [Link("1", "16_scorecard.html#one"), Link("2", "https://x.y")]}
    )
    return _table_html(frame, 'A "caption"', 2)


def published(nb, **changes):
    options = {"banner": "BANNER", "paths": {}, "parameters": {"profile": "quick"}} | changes
    return publish(nb, b"source", **options)


def test_publishing_shows_the_banner_below_the_title_and_hides_the_injected_cell():
    nb = executed(new_code_cell("profile = '/secret'", metadata={"tags": ["injected-parameters"]}), "1")
    nb.cells[-1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    nb.metadata["papermill"] = {"input_path": "/secret"}
    result = published(nb)
    assert [cell.source for cell in result.cells[:2]] == ["# A chapter", "BANNER"]
    assert result.cells[2].source.startswith("The claim under test")
    injected = next(cell for cell in result.cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert "remove-cell" in injected.metadata["tags"] and injected.source.endswith("profile = 'quick'")
    text = nbformat.writes(result)
    assert "/secret" not in text and "2026-01-01" not in text
    assert len({cell["id"] for cell in result.cells}) == len(result.cells)


def test_publishing_moves_the_alternative_text_to_where_the_page_takes_it_from():
    cell = new_code_cell("plots.show(fig, alt=text)")
    cell.outputs = [display({"image/png": PNG}, {"fsft_alt": "A line that rises slowly."})]
    assert published(executed(cell)).cells[-1].metadata["mystnb"]["image"]["alt"] == "A line that rises slowly."
    cell.outputs = cell.outputs * 2
    with pytest.raises(OutputError, match=r"cell 4: one cell shows 2 figures"):
        published(executed(cell))


def test_cells_that_did_not_run_or_ran_out_of_order_are_refused():
    nb = executed("1", "2", "3")
    nb.cells[-1].execution_count = None
    with pytest.raises(OutputError, match="cell 6 did not run"):
        published(nb)
    nb.cells[-1].execution_count = 2
    with pytest.raises(OutputError, match="out of order"):
        published(nb)


def test_too_much_text_is_refused():
    cell = new_code_cell("print(text)")
    cell.outputs = [new_output("stream", name="stdout", text="x" * 400_000)]
    with pytest.raises(OutputError, match="390 KiB"):
        published(executed(cell))


def test_setup_cells_follow_the_repository_address(tmp_path):
    root = make(tmp_path / "repo", {"01_a": notebook("1")})
    assert lint.write_setup_cells(root) == []
    (root / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/a/b"\n')
    assert any("setup cell" in problem for problem in lint.lint_all(root))
    assert lint.write_setup_cells(root) == ["notebooks/01_a.ipynb"]
    assert lint.lint_all(root) == []
    assert '--no-deps "fsft @ git+https://github.com/a/b"' in (root / "notebooks" / "01_a.ipynb").read_text().replace(
        "\\", ""
    )


@pytest.mark.parametrize("repository", [None, "https://github.com/a/b"])
def test_the_setup_cell_does_nothing_where_the_package_is_installed(repository):
    from IPython.core.inputtransformer2 import TransformerManager

    exec(TransformerManager().transform_cell(lint.setup_cell(repository)), {})


def test_a_readme_that_names_another_repository_is_noticed(tmp_path):
    root = make(tmp_path / "repo", {"01_a": notebook("1")})
    (root / "README.md").write_text("git clone https://github.com/somebody/else\n")
    assert any("README.md shows the address" in problem for problem in lint.lint_all(root))


def change(what):
    nb = notebook("print(1)")
    code = nb.cells[-1]
    if what == "output":
        code.outputs = [new_output("stream", name="stdout", text="1")]
    elif what == "count":
        code.execution_count = 3
    elif what == "kernel":
        nb.metadata["kernelspec"]["name"] = "my-env"
    elif what == "metadata":
        nb.metadata["widgets"] = {}
    elif what == "two titles":
        nb.cells.append(new_markdown_cell("# Another"))
    elif what == "skipped level":
        nb.cells.append(new_markdown_cell("### Too deep"))
    elif what == "no parameters":
        nb.cells[2].metadata["tags"] = []
    elif what == "two parameters":
        code.metadata["tags"] = ["parameters"]
    elif what == "early use":
        nb.cells.insert(2, new_code_cell("print(profile)"))
    elif what == "two figures":
        code.source = "plots.show(a, alt='x')\nplots.show(b, alt='x')"
    elif what == "tag":
        code.metadata["tags"] = ["raises-exception"]
    elif what == "script":
        nb.cells.append(new_markdown_cell("<script>alert(1)</script>"))
    elif what == "remote image":
        nb.cells.append(new_markdown_cell("![x](https://example.org/x.png)"))
    elif what == "magic":
        code.source = "%timeit f()\nx = ="
    elif what == "empty":
        code.source = " "
    elif what == "setup":
        nb.cells[1].source = "!pip install fsft"
    return nb


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("output", "do not belong into git"),
        ("count", "do not belong into git"),
        ("kernel", "kernelspec"),
        ("metadata", "'widgets'"),
        ("two titles", "found 2"),
        ("skipped level", "level 3 follows one of level 1"),
        ("no parameters", "exactly one code cell"),
        ("two parameters", "exactly one code cell"),
        ("early use", "used before the parameters cell"),
        ("two figures", "one figure per cell"),
        ("tag", "'raises-exception'"),
        ("script", "raw HTML"),
        ("remote image", "image from the network"),
        ("magic", "not Python"),
        ("empty", "is empty"),
        ("setup", "must be the setup cell"),
    ],
)
def test_broken_rules_of_committed_notebooks_are_noticed(what, message):
    assert list(lint.lint_notebook(notebook("print(1)"), None)) == []
    problems = list(lint.lint_notebook(change(what), None))
    assert any(message in problem for problem in problems), problems


def test_the_committed_notebooks_keep_the_rules():
    assert lint.lint_all(ROOT) == []


def test_the_banner_says_what_the_numbers_are_good_for():
    trained = banner("quick", "CPU", "commit 0", {"profile": "quick", "data_dir": "data"})
    computed = banner("quick", "CPU", "commit 0", {"profile": "quick"})
    assert "an illustration, not evidence" in trained
    assert "illustration" not in computed and "trains nothing" in computed
