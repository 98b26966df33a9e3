"""What the book offers beside its pages: the main result as a picture, a summary of two pages, all figures in a zip.

The picture is what a link to the book shows, and stands on the landing page; the summary has the answers of the card
and of chapter 16; the zip has every figure and table of the executed notebooks, the result files behind them, and an
index. All is computed from `results/` and the staged notebooks.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
from bs4 import BeautifulSoup
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from builder.staging import pages_url, staging_folder
from fsft.evidence import answers, tables
from fsft.evidence.ledger import Ledger, load_results
from fsft.figures import diagrams, gain_plots, plots
from fsft.maps.scorefile import load_map_scores
from fsft.masks import quadrant_masks

TITLE = "Self-supervision of feature transformation"
SUBTITLE = "An independent implementation and open reproduction of arXiv 2106.04922"
CARD = (1200, 630)  # pixels, the size that link previews ask for
A4 = (210 / 25.4, 297 / 25.4)  # inches
FIRST = ("shown", "refuted", "seen")  # findings with these words are listed before the others
OURS = 4  # rows of the picture, those with the most seeds


def main_result(ledger: Ledger) -> tuple[Figure, str]:
    """The gains by single inference, the paper's on CIFAR-100 and ours of the whole method; figure and alt text."""
    found = tables.gains_frame(ledger)
    found = found[found["mode"] == "si"]
    ours = found[found["label"] == "FSFT"].sort_values(["seeds", "fitted"], ascending=False)
    shown = [found[found["group"] == tables.PAPER].head(5), ours.head(OURS)]
    fig, alt = gain_plots.forest(pd.concat(shown))
    fig.legends[0].remove()  # one mode of inference, which the title names
    fig.set_size_inches(plots.WIDTH, plots.WIDTH * CARD[1] / CARD[0])
    fig.suptitle("Gain of FSFT by single inference; hollow: one or two pairs of runs", fontsize=11)
    return fig, alt


class Sheet:
    """A page of A4 that is written from top to bottom."""

    def __init__(self) -> None:
        self.fig, self.top = plt.figure(figsize=A4, layout="none"), 0.95

    def text(self, text: str, size: float = 9.5, space: float = 0.012, url: str | None = None, **look: Any) -> None:
        """Lines as wide as the page; an address makes them a link."""
        lines = textwrap.fill(text, int(930 / size))
        look |= {"color": plots.BLUE} if url else {}
        self.fig.text(0.09, self.top, lines, fontsize=size, va="top", linespacing=1.3, url=url, **look)
        self.top -= (lines.count("\n") + 1) * size * 1.4 / 72 / A4[1] + space

    def picture(self, fig: Figure, width: float = 0.82) -> None:
        """A figure, so many widths of the page wide."""
        fig.savefig(found := io.BytesIO(), format="png", dpi=250)
        plt.close(fig)
        pixels = plt.imread(io.BytesIO(found.getvalue()))
        height = width * pixels.shape[0] / pixels.shape[1] * A4[0] / A4[1]
        ax = self.fig.add_axes((0.09, self.top - height, width, height))
        ax.imshow(pixels, interpolation="antialiased")
        ax.axis("off")
        self.top -= height + 0.015


def write_summary(path: Path, ledger: Ledger, root: Path, site: str | None) -> None:
    """The two pages as a PDF; `site` is the book's address, where it has one."""
    first, second = Sheet(), Sheet()
    first.text(TITLE, 19, weight="bold")
    first.text(f"{SUBTITLE}: the method, and what our runs say.", 11)
    digits = load_digits()
    image = digits.images[int((digits.target == 3).argmax())] / 16
    features = image.reshape(4, 2, 4, 2).mean((1, 3))
    drawing = diagrams.pretext_task(1 - image[..., None].repeat(3, 2), features, quadrant_masks(4, 4).numpy(), 3, "3")
    first.text(
        "A network makes a feature map of an image once. Four masks drop a quadrant of it each. A classifier with five "
        "outputs for each class learns to name both, the class and the missing quadrant; a second one does so a stage "
        "earlier. To predict, ask about the whole map alone (single inference), or let all views vote."
    )
    first.picture(drawing, 0.3)
    first.text("Five questions, and what our runs answer", 13, weight="bold")
    for one in answers.answers(ledger, load_map_scores(root / "results")):
        first.text(one.question, 9, space=0.001, weight="bold")
        first.text(one.text, 9, space=0.001)
        first.text(one.heading, 8, 0.008, url=f"{site or ''}notebooks/{one.link}")
    second.text("The main result", 13, weight="bold")
    second.picture(main_result(ledger)[0])
    second.text("What we found", 13, space=0.004, weight="bold")
    second.text(
        "The sentences are ours, the first word is computed. Shown: every interval agrees. Seen: every difference so "
        "far agrees. Mixed: some do. Derived: it could not be otherwise. Refuted: an interval says the opposite."
    )
    frame = tables.findings_frame(ledger)
    words = [" ".join(word.split()) for word in frame["Verdict"]]
    found = [pair for pair in zip(words, frame["Finding"], strict=True) if pair[0] != "not run"]
    for word, finding in sorted(found, key=lambda pair: pair[0] not in FIRST):
        if second.top > 0.11:  # as many as there is room for
            second.text(f"{word.capitalize()}: {finding}", 8.5, space=0.004)
    second.text("All runs, the code of every figure, and the course", 9.5, url=f"{site or ''}book/index.html")
    with PdfPages(path, metadata={"Title": f"{TITLE}: a summary", "CreationDate": None}) as pdf:
        for sheet in (first, second):
            if sheet.top < 0.03:
                raise ValueError(f"{path.name}: expected pages of A4, found one that is longer: shorten its text")
            pdf.savefig(sheet.fig)
            plt.close(sheet.fig)


def write_figures(path: Path, notebooks: Path, root: Path) -> None:
    """All figures and tables of the executed notebooks, the result files of `root`, and `index.csv`."""
    index = [("file", "chapter", "section", "caption")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(notebooks.glob("*.ipynb")):
            cells = nbformat.read(source, as_version=4).cells
            chapter = section = cells[0].source.partition("\n")[0].removeprefix("# ")
            for cell in cells:
                section = next(iter(re.findall(r"^##+ (.+)$", cell.source, re.M)[-1:]), section)
                found = [data for output in cell.get("outputs", []) if _is_kept(data := output.get("data", {}))]
                for number, data in enumerate(found, start=1):
                    name = f"{source.stem}/{cell.id}" + (f"-{number}" if number > 1 else "")
                    if "image/png" in data:
                        archive.writestr(f"{name}.png", base64.b64decode(data["image/png"]))
                        index.append((f"{name}.png", chapter, section, data["text/plain"]))
                    else:
                        caption, rows = _table(data["text/html"])
                        archive.writestr(f"{name}.csv", _csv(rows))
                        index.append((f"{name}.csv", chapter, section, caption))
        for file in sorted([*root.glob("results/**/*.json"), *root.glob("benchmarks/results/*.json")]):
            archive.write(file, file.relative_to(root))
            index.append((str(file.relative_to(root)), "", "", "what a run of the package, or a benchmark, wrote"))
        archive.writestr("index.csv", _csv(index))


def _table(text: str) -> tuple[str, list[list[str]]]:
    """Caption and rows, the header first, of a table of the book."""
    soup = BeautifulSoup(text, "html.parser")
    caption = "".join(tag.text for tag in soup.find_all("caption"))
    return caption, [[cell.text for cell in row.find_all(["th", "td"])] for row in soup.find_all("tr")]


def _is_kept(data: dict) -> bool:
    return "image/png" in data or data.get("text/html", "").startswith('<div class="fsft-table"')


def _csv(rows: list) -> str:
    csv.writer(text := io.StringIO(newline="")).writerows(rows)
    return text.getvalue()


def write_extras(root: Path) -> None:
    """Write all of it for the staged book of a repository."""
    plots.style()
    staged, ledger = staging_folder(root), load_results(root / "results")
    fig, alt = main_result(ledger)
    fig.savefig(staged / "extra" / "card.png", dpi=CARD[0] / plots.WIDTH)
    plt.close(fig)
    picture = f'<img src="../card.png" class="fsft-figure" width="{CARD[0]}" alt="{html.escape(alt, quote=True)}">\n'
    (staged / "book" / "card.html").write_text(picture, encoding="utf-8")
    write_summary(staged / "extra" / "summary.pdf", ledger, root, pages_url(root))
    write_figures(staged / "extra" / "figures.zip", staged / "notebooks", root)
