"""One look for every figure and table of the book, with text for readers who do not see them.

A notebook calls `style()` once, draws with matplotlib, and ends a figure cell with `show(fig, alt=...)`.
The alt text goes into the output's metadata, where nbconvert looks for it; the book builder moves it to the page.
Tables are `table(frame, caption=...)`: escaped HTML that scrolls inside its own box on a narrow screen.

Colors are those of Okabe and Ito, which stay apart under the common color-vision deficiencies, and a color
never carries a meaning alone: every method has its own marker and line style too. Figures keep a white
ground, also on the dark theme, because the inks are chosen for it.
"""

import base64
import html
import io
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from fsft.evidence.tables import Link

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#6B6B6B"
YELLOW = "#F0E442"  # too light for lines on white: use it for areas with a dark edge only
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, BLACK, ORANGE, SKY)
_MARKERS, _LINES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", "-.", ":", "-", "--", "-.")

FEATURE_CMAP = "cividis"  # feature maps, activations: perceptually uniform and color-blind safe
DIVERGING_CMAP = "PuOr"  # signed quantities; center it on zero
WIDTH = 6.4  # inches; the page is about 700 px wide, so 12 pt text is still legible on a phone
PHONE_WIDTH = 4.8  # inches, for a figure full of 11 pt names: a phone shows it at three quarters of its size
MIN_ALT_WORDS = 5
_NUMBER = re.compile(r"(< )?[+−-]?\d[\d,]*(\.\d+)?( ?%)?( ± \d+(\.\d+)?)?")
_NO_NUMBER = ("", "–", "none", "not run", "no number")


@dataclass(frozen=True)
class Look:
    """How one inference mode, or another series, is drawn everywhere in the book."""

    label: str
    color: str
    marker: str
    linestyle: Any

    def line(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`."""
        return {"label": self.label, "color": self.color, "marker": self.marker, "linestyle": self.linestyle}


LOOKS: Mapping[str, Look] = {
    "baseline": Look("Baseline", BLACK, "o", "-"),
    "si": Look("FSFT-SI", BLUE, "s", "--"),
    "ag-last": Look("FSFT-AG, last classifier", PURPLE, "v", (0, (1, 1))),
    "ag": Look("FSFT-AG", VERMILION, "^", "-."),
    "ag-logits": Look("FSFT-AG, by logits", ORANGE, "<", (0, (3, 1, 1, 1))),
    "sd": Look("FSFT-SD", GREEN, "D", ":"),
}


def look_of(name: str, number: int) -> Look:
    """The look of a mode; of any other series, the one with this place in the order of colors."""
    number %= len(PALETTE)
    return LOOKS.get(name) or Look(name, PALETTE[number], _MARKERS[number], _LINES[number])


MASK_NAMES = ("whole map", "upper left dropped", "upper right dropped", "lower left dropped", "lower right dropped")
MASK_COLORS = (BLACK, BLUE, VERMILION, GREEN, PURPLE)


def style() -> None:
    """Set matplotlib's defaults to the book's look; call it once, in the setup of a notebook."""
    mpl.rcdefaults()
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 4.0),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
            "font.size": 12,
            **dict.fromkeys(("axes.titlesize", "axes.labelsize"), 12),
            **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 11),
            **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
            **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2.0,
            "lines.markersize": 6,
            "image.cmap": FEATURE_CMAP,
            "image.interpolation": "nearest",
            "axes.prop_cycle": cycler(color=PALETTE, marker=_MARKERS, linestyle=_LINES),
        }
    )


def show(fig: Figure, alt: str) -> None:
    """Display a figure with its alternative text and close it; call it last in a cell, once.

    `alt` says in a sentence or two what a reader would see: make it from the data with an f-string. ValueError when it
    is too short to say anything.
    """
    text = " ".join(str(alt).split())
    if len(text.split()) < MIN_ALT_WORDS:
        expected = f"alt text needs at least {MIN_ALT_WORDS} words that say what the figure shows"
        raise ValueError(f"{expected}, found {text!r}: describe the data, not the file")
    buffer = io.BytesIO()
    # Without a Software entry the same figure gives the same bytes under another matplotlib patch release.
    fig.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    plt.close(fig)
    picture = {"image/png": base64.b64encode(buffer.getvalue()).decode("ascii"), "text/plain": text}
    _display(picture, {"image/png": {"alt": text, "width": round(float(fig.get_figwidth()) * 100)}})


def table(frame: pd.DataFrame, caption: str, *, digits: int = 2, index: bool = False) -> None:
    """Display a data frame as a captioned table that scrolls inside itself on a narrow screen.

    Every text is escaped. Floats are rounded to `digits`; a missing value reads "not run". `index=True` shows
    the index as the first column. A value may be a `Link`; `frame.attrs["anchors"]` names the rows, for links to them.
    """
    if not (caption := caption.strip()):
        raise ValueError("a table needs a caption that says what its rows are, found an empty one")
    shown = frame.reset_index() if index else frame
    text = shown.to_string(index=False, float_format=lambda value: f"{value:z.{digits}f}", na_rep="not run")
    _display({"text/html": _table_html(shown, caption, digits), "text/plain": f"{caption}\n{text}"}, {})


def _display(data: dict[str, str], metadata: dict[str, Any]) -> None:
    # Read from sys.modules, not imported: a plain script has no shell, and the text form is all it can show.
    shell = sys.modules.get("IPython")
    if shell and shell.get_ipython():
        shell.display.display(data, metadata=metadata, raw=True)
    else:
        print(data["text/plain"])


def _is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers, or nothing but texts that read as numbers, and is set to the right."""
    known = [value for value in values if not pd.isna(value) and value not in _NO_NUMBER]
    texts = bool(known) and all(isinstance(text, str) and _NUMBER.fullmatch(text) for text in known)
    return texts or any(type(value) in (int, float) or isinstance(value, np.number) for value in known)


def _cell_text(value: Any, digits: int) -> str:
    if isinstance(value, Link):
        return f'<a href="{html.escape(value.href, quote=True)}">{html.escape(value.text)}</a>'
    if pd.isna(value):
        return "not run"
    if isinstance(value, (float, np.floating)):
        return f"{value:z.{digits}f}"  # without a sign where it rounds to zero
    return html.escape(str(value))


def _table_html(frame: pd.DataFrame, caption: str, digits: int) -> str:
    kinds = [' class="fsft-number"' if _is_numeric(frame.iloc[:, k]) else "" for k in range(frame.shape[1])]
    names = [html.escape(str(name), quote=True) for name in frame.columns]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, kinds, strict=True))
    rows = []
    anchors = [f' id="{html.escape(name, quote=True)}"' for name in frame.attrs.get("anchors", [])] or [""] * len(frame)
    for anchor, record in zip(anchors, frame.itertuples(index=False, name=None), strict=True):
        cells = [_cell_text(value, digits) for value in record]
        first = f'<th scope="row"{kinds[0]}>{cells[0]}</th>' if cells else ""
        # On a phone the cells of a row stand below each other, each behind its column's name.
        rest = "".join(
            f'<td{kind} data-label="{name}">{cell}</td>'
            for cell, kind, name in zip(cells[1:], kinds[1:], names[1:], strict=True)
        )
        rows.append(f"<tr{anchor}>{first}{rest}</tr>")
    label = html.escape(caption, quote=True)
    return (
        f'<div class="fsft-table" role="region" tabindex="0" aria-label="{label}"><table class="table">'
        f"<caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def tested(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The epochs from 1 that have been tested, and the accuracies (..., epochs) of these: the others are NaN."""
    known = np.flatnonzero(~np.isnan(curves.reshape(-1, curves.shape[-1])).any(axis=0))
    return known + 1, curves[..., known]


def learning_curves(groups: Mapping[str, np.ndarray], title: str | None = None) -> tuple[Figure, str]:
    """Mean curve of each group over its seeds, with every seed as a thin line behind it; figure and alt text.

    `groups` maps an inference mode or any label to test accuracies in percent (seeds, epochs), NaN where not tested.
    """
    fig, ax = plt.subplots()
    parts = []
    for number, (name, values) in enumerate(groups.items()):
        epochs, values = tested(values)
        drawn, mean = look_of(name, number), values.mean(axis=0)
        ax.plot(epochs, values.T, color=drawn.color, linewidth=0.8, alpha=0.45, marker="", linestyle="-")
        ax.plot(epochs, mean, **drawn.line(), markevery=max(1, mean.size // 8))
        seeds = f"{len(values)} seed" + ("s" if len(values) != 1 else "")
        parts.append(
            f"{drawn.label} ({seeds}) goes from {mean[0]:.1f} after epoch {epochs[0]} to {mean[-1]:.1f} "
            f"after epoch {epochs[-1]}, best {mean.max():.1f} at epoch {epochs[mean.argmax()]}"
        )
    ax.set(xlabel="epoch", ylabel="test accuracy (%)", title=title or "")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(handlelength=3.2)
    return fig, "Line plot of test accuracy in percent against epoch: " + "; ".join(parts) + "."


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = BLACK, **options: Any) -> None:
    """An arrow from one point to another, in data coordinates unless `Axes.annotate` is told otherwise."""
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops=look, **options)


def box(ax: Axes, x: float, y: float, text: str, size: tuple[float, float], color: str = BLACK, **look: Any) -> None:
    """A box with round corners, its (width, height) in data coordinates, and a text in its center (x, y)."""
    drawn: dict[str, Any] = {"facecolor": "white", "edgecolor": color, "linewidth": 2, "zorder": 2} | look
    corner = (x - size[0] / 2, y - size[1] / 2)
    ax.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.08", **drawn))
    ax.text(x, y, text, ha="center", va="center", fontsize=11, linespacing=1.2, zorder=3)


def picture(ax: Axes, values: np.ndarray, title: str | None = None, **imshow: Any) -> None:
    """An image or a table of values (H, W), (H, W, 3) or (3, H, W) in a frame; keyword arguments reach `imshow`."""
    if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    ax.imshow(values, **imshow)
    hide_axes(ax, title)


def hide_axes(ax: Axes, title: str | None = None) -> None:
    """Turn an axes into a picture frame: no ticks, no grid, a thin border, an optional title."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set(visible=True, color=GREY)
    if title:
        ax.set_title(title)


def image_rows(
    images: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), row_labels: Sequence[str] = (), **imshow: Any
) -> Figure:
    """A grid of pictures: `images[row][column]` is an (H, W), (H, W, 3), or channel-first (3, H, W) array.

    `titles` go over the columns, `row_labels` beside the rows; keyword arguments reach `imshow`.
    """
    columns = max(len(row) for row in images)
    size = (WIDTH, len(images) * WIDTH / columns + (0.5 if titles else 0.1))
    fig, axes = plt.subplots(len(images), columns, squeeze=False, figsize=size)
    for line, row, label in itertools.zip_longest(axes, images, row_labels[: len(images)]):
        for ax, values in itertools.zip_longest(line, row):
            if values is None:
                ax.set_visible(False)
            else:
                picture(ax, np.asarray(values), **imshow)
        line[0].set_ylabel(label or "")
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title)
    return fig
