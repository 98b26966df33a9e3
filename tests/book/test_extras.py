"""What `builder.extras` puts beside the pages of a book."""

import csv
import io
import struct
import zipfile

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")
from bs4 import BeautifulSoup


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


def test_a_link_to_a_page_shows_what_it_says_and_the_main_result(built):
    page = built / "_build" / "book" / "_build" / "html" / "notebooks" / "01_a.html"
    soup = BeautifulSoup(page.read_bytes(), "html.parser")
    found = {tag.get("name") or tag.get("property"): tag["content"] for tag in soup.find_all("meta", content=True)}
    assert found["og:title"] == "A chapter" and found["description"].startswith("The claim under test, by")
    picture = (page.parent / found["og:image"]).read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1200, 630)
