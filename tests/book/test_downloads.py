"""The notebooks that the pages offer for download."""

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")
import nbformat
from builder import BookError
from builder.downloads import clean
from builder.executing import declared_parameters
from builder.publishing import published
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from tiny_book import ROOT, executed

REFERENCES = ROOT / "book" / "references.bib"
URL = "https://github.com/someone/fsft"


def plain(text, repository=URL):
    notebook = nbformat.v4.new_notebook(cells=[new_markdown_cell(text)])
    return clean(notebook, REFERENCES, repository).cells[0].source


def test_a_download_is_the_notebook_before_its_execution_with_the_values_of_its_parameters():
    cell = new_code_cell("print(1)")
    cell.outputs = [new_output("stream", name="stdout", text="1\n")]
    page = published(executed(cell), ":::{admonition} B\nBANNER\n:::", {"profile": "laptop", "data_dir": "data"}, {})
    page.metadata["fsft"] = {"seconds": 1.0}
    download = clean(page, REFERENCES, None)
    nbformat.validate(download)
    assert declared_parameters(download)["profile"] == '"laptop"'
    assert [cell.source for cell in download.cells[:2]] == [
        "# A chapter",
        "The claim under test, by Ding et al. (2021): $f \\odot M_j$.",
    ]
    assert [cell.source for cell in download.cells if cell.cell_type == "code"] == [
        cell.source for cell in page.cells if cell.cell_type == "code"
    ]
    assert all(not cell.outputs and cell.execution_count is None for cell in download.cells if cell.cell_type == "code")
    assert "BANNER" not in nbformat.writes(download) and "fsft" not in download.metadata


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("{cite}`fsft`", "(Ding et al., 2021)"),
        ("{cite}`wrn, cifar`", "(Zagoruyko and Komodakis, 2016; Krizhevsky, 2009)"),
        ("{cite:t}`sla`", "Lee et al. (2020)"),
        ("Seen. <!-- verdict: findings/slow-start = seen --> So", "Seen. So"),
        (
            "```{dropdown} Solution\nIt is $x$.\n```",
            "<details>\n<summary>Solution</summary>\n\nIt is $x$.\n\n</details>",
        ),
        (
            "````{dropdown} S\n:open:\n```python\n1\n```\n````",
            "<details>\n<summary>S</summary>\n\n```python\n1\n```\n\n</details>",
        ),
        (":::{admonition} Mind\n:class: tip\nThe\n\ngap\n:::", "> **Mind**\n>\n> The\n>\n> gap"),
        ("```{note}\nThe gap\n```", "> **Note**\n>\n> The gap"),
        ("[4](04_first_run.ipynb#a-b)", f"[4]({URL}/blob/HEAD/notebooks/04_first_run.ipynb#a-b)"),
        ("[gaps](../book/paper-gaps.md)", f"[gaps]({URL}/blob/HEAD/book/paper-gaps.md)"),
        ("[the paper](https://arxiv.org/abs/2106.04922)", "[the paper](https://arxiv.org/abs/2106.04922)"),
        ("`f(x)[0](y)` and ```python\n1\n```", "`f(x)[0](y)` and ```python\n1\n```"),
    ],
)
def test_myst_becomes_markdown(myst, markdown):
    assert plain(myst) == markdown


def test_without_a_repository_links_into_it_are_text():
    assert plain("see [chapter 4](04_first_run.ipynb)", None) == "see chapter 4"


def test_the_bibliography_lists_what_the_notebook_cites():
    text = plain("{cite}`sla` {cite}`fsft`\n\n```{bibliography}\n:filter: docname in docnames\n```\n")
    first, second = text.split("\n\n")[1:]
    assert first.startswith("Zilin Ding, Yuhang Yang") and "https://arxiv.org/abs/2106.04922" in first
    assert second.startswith("Hankook Lee")


@pytest.mark.parametrize("myst", ["```{tab-set}\nx\n```", ":::{figure} a.png\nx\n:::", "{ref}`there`"])
def test_what_has_no_form_in_markdown_is_refused(myst):
    with pytest.raises(BookError, match=r"cannot show .*: write it in plain Markdown"):
        plain(myst)


def test_a_citation_without_an_entry_is_refused():
    with pytest.raises(BookError, match=r"found none for \['nobody'\]"):
        plain("{cite}`nobody`")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_has_a_plain_form(path):
    download = clean(nbformat.read(path, as_version=4), REFERENCES, URL)
    text = "".join(cell.source for cell in download.cells if cell.cell_type == "markdown")
    assert "{" + "cite" not in text and "```{" not in text and "<!--" not in text and "](../" not in text


def test_figures_keep_their_alternative_text_in_nbconvert_s_template_that_asks_for_it():
    nbconvert = pytest.importorskip("nbconvert")
    from hostile import PNG, display

    cell = new_code_cell("plots.show(fig, alt=text)")
    cell.outputs = [display({"image/png": PNG}, {"image/png": {"alt": "A line that rises slowly.", "width": 640}})]
    page, _ = nbconvert.HTMLExporter(template_name="classic").from_notebook_node(executed(cell))
    assert 'alt="A line that rises slowly."' in page
