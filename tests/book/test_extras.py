"""What `builder.extras` puts beside the pages of a book."""

import csv
import io
import struct
import zipfile

import nbformat
import pytest
from nbformat import v4

pytest.importorskip("papermill", reason="the book needs the extra `book`")
from bs4 import BeautifulSoup
from builder.extras import write_figures


def test_a_book_offers_its_figures_and_a_summary(built):
    pages = built / "_build" / "book" / "_build" / "html"
    with zipfile.ZipFile(pages / "figures.zip") as archive:
        index = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))
        files = {row["file"].rpartition(".")[2]: row for row in index}
        assert {row["file"] for row in index} == set(archive.namelist()) - {"index.csv"}
        assert archive.read(files["png"]["file"]).startswith(b"\x89PNG")
        assert archive.read(files["csv"]["file"]).decode().splitlines() == ["model,accuracy", "a < b,12.35"]
    assert files["png"]["chapter"] == "A chapter" and files["png"]["section"] == "A picture"
    assert files["png"]["caption"].startswith("A line that rises") and files["csv"]["caption"] == "Accuracy by model"
    summary = (pages / "summary.pdf").read_bytes()
    assert b"/Count 2" in summary and b"(notebooks/16_scorecard.html#the-claims)" in summary


def test_two_tables_of_one_cell_have_a_file_each(tmp_path):
    table = '<div class="fsft-table"><table><caption>{}</caption><tr><th>n</th></tr><tr><td>1</td></tr></table></div>'
    outputs = [v4.new_output("display_data", {"text/html": table.format(caption)}) for caption in ("One", "Two")]
    cells = [v4.new_markdown_cell("# A"), v4.new_code_cell("show()", id="both", outputs=outputs)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    write_figures(tmp_path / "figures.zip", tmp_path, tmp_path)
    with zipfile.ZipFile(tmp_path / "figures.zip") as archive:
        assert archive.namelist() == ["01_a/both.csv", "01_a/both-2.csv", "index.csv"]
        assert "01_a/both-2.csv,A,A,Two" in archive.read("index.csv").decode()


def test_a_link_to_a_page_shows_what_it_says_and_the_main_result(built):
    page = built / "_build" / "book" / "_build" / "html" / "notebooks" / "01_a.html"
    soup = BeautifulSoup(page.read_bytes(), "html.parser")
    found = {tag.get("name") or tag.get("property"): tag["content"] for tag in soup.find_all("meta", content=True)}
    assert found["og:title"] == "A chapter" and found["description"].startswith("The claim under test, by")
    picture = (page.parent / found["og:image"]).read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1200, 630)
