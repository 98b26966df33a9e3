import base64
import io
import re
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("papermill", reason="the book needs the extra `book`")

from builder.publishing import check_html

from fsft.figures import charts, plots


@pytest.fixture
def shown(monkeypatch):
    """What reaches the notebook, instead of a display."""
    calls = []
    monkeypatch.setattr(plots, "_display", lambda data, metadata: calls.append((data, metadata)))
    return calls


def test_show_gives_a_png_with_its_alternative_text_and_closes_the_figure(shown):
    plots.style()
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    plots.show(fig, alt="  A line that   rises\nfrom one to two. ")
    data, metadata = shown[0]
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.format == "PNG" and image.width > 900
    assert metadata["image/png"]["alt"] == data["text/plain"] == "A line that rises from one to two."
    assert not plt.fignum_exists(fig.number)


def test_equal_figures_are_equal_bytes(shown):
    for _ in range(2):
        plots.show(*plots.learning_curves({"ag": np.eye(3)}))
    assert shown[0][0]["image/png"] == shown[1][0]["image/png"]


@pytest.mark.parametrize("alt", ["", "figure.png", "A plot.", "one two three four"])
def test_show_refuses_alternative_text_that_says_nothing(shown, alt):
    with pytest.raises(ValueError, match="alt text needs"):
        plots.show(plt.figure(), alt=alt)
    assert not shown


def test_show_in_a_plain_script_prints_the_text():
    code = "import matplotlib; matplotlib.use('Agg')\nfrom fsft.figures import plots\nimport matplotlib.pyplot as plt\n"
    code += "plots.show(plt.figure(), alt='An empty white figure without axes.')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "An empty white figure without axes.\n"


def test_table_rounds_aligns_and_names_what_is_missing(shown):
    frame = pd.DataFrame({"model": ["A", "B"], "accuracy": [73.714, np.nan], "runs": [4, 0], "note": ["x", None]})
    plots.table(frame, caption="Accuracy by model", digits=1)
    data, _ = shown[0]
    page = data["text/html"]
    cells = '<th scope="row">A</th><td class="fsft-number">73.7</td><td class="fsft-number">4</td><td>x</td>'
    assert cells in re.sub(' data-label="[^"]*"', "", page)
    assert page.count("not run") == 2
    assert "<caption>Accuracy by model</caption>" in page
    assert data["text/plain"].startswith("Accuracy by model\n")


def test_table_can_show_the_index_and_links(shown):
    frame = pd.DataFrame(
        {"run": [plots.Link("seed 0", "a.json?x=1&y=2#top")]}, index=pd.Index(["ResNet-56"], name="model")
    )
    plots.table(frame, caption="Runs", index=True)
    page = shown[0][0]["text/html"]
    assert '<th scope="row">ResNet-56</th><td data-label="run"><a href="a.json?x=1&amp;y=2#top">seed 0</a></td>' in page
    check_html(page)


@pytest.mark.parametrize("href", ["javascript:alert(1)", "data:text/html,x", "http://insecure.example"])
def test_links_lead_to_pages_only(href):
    with pytest.raises(ValueError, match="relative or starts with https"):
        plots.Link("x", href)


def test_table_needs_a_caption():
    with pytest.raises(ValueError, match="caption"):
        plots.table(pd.DataFrame({"a": [1]}), caption=" ")


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@given(
    st.lists(
        st.tuples(texts, st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), texts)),
        min_size=1,
        max_size=4,
    ),
    texts.filter(str.strip),
)
def test_every_table_is_of_the_form_that_the_book_lets_through(rows, caption):
    frame = pd.DataFrame(rows, columns=["<b>name</b>", 'value "&'], dtype=object)
    page = plots._table_html(frame, caption.strip(), 2)
    check_html(page)
    assert len(re.findall("<tr>", page)) == len(rows) + 1


def test_learning_curves_draw_every_seed_and_the_mean():
    values = np.array([[10.0, 30.0], [20.0, 50.0]])
    fig, _ = plots.learning_curves({"baseline": values, "something else": values + 1})
    lines = fig.axes[0].lines
    assert len(lines) == 6
    np.testing.assert_array_equal(lines[2].get_ydata(), [15, 40])
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["Baseline", "something else"]


def test_the_alternative_text_of_curves_comes_from_the_data():
    _, text = plots.learning_curves(
        {"ag": np.array([[10.0, 44.0, 30.0], [20.0, 46.0, 32.0]]), "si": np.array([[1.0, 2.0]])}
    )
    assert "FSFT-AG (2 seeds) goes from 15.0 after epoch 1 to 31.0 after epoch 3, best 45.0 at epoch 2" in text
    assert "FSFT-SI (1 seed)" in text


def test_methods_differ_in_color_marker_and_line_style():
    for field in ("label", "color", "marker", "linestyle"):
        found = [str(getattr(look, field)) for look in plots.LOOKS.values()]
        assert len(set(found)) == len(found), field


def test_image_rows_take_channel_first_images_and_ragged_rows():
    picture = np.zeros((3, 8, 9))
    picture[0] = 1
    fig = plots.image_rows([[picture, np.zeros((8, 9))], [picture]], titles=["color", "grey"], row_labels=["a", "b"])
    axes = fig.axes
    assert axes[0].images[0].get_array().shape == (8, 9, 3)
    assert axes[0].get_title() == "color" and axes[2].get_ylabel() == "b"
    assert not axes[3].get_visible()


def test_style_sets_type_large_enough_for_a_phone():
    plots.style()
    for key in ("font.size", "axes.labelsize", "legend.fontsize", "xtick.labelsize", "ytick.labelsize"):
        assert matplotlib.rcParams[key] >= 11


def test_every_cell_names_its_column_for_a_phone():
    page = plots._table_html(pd.DataFrame({"model": ["A"], 'gain "in" points': ["+1"]}), "Gains", 2)
    assert '<th scope="row">A</th><td class="fsft-number" data-label="gain &quot;in&quot; points">+1</td>' in page


@pytest.mark.parametrize(
    ("column", "right"),
    [
        (["+1.20", "−0.5", "not run"], True),
        (["1,024", "74.1 ± 0.2", "12 %", "< 0.001"], True),
        ([1, "wider than 100 points"], True),
        (["1 of 3", "2"], False),
        (["not run", "none"], False),
        ([1, None], True),
    ],
)
def test_a_column_of_numbers_is_set_to_the_right_whatever_its_type(column, right):
    page = plots._table_html(pd.DataFrame({"first": column, "second": column}, dtype=object), "Numbers", 2)
    assert page.count('class="fsft-number"') == (2 + 2 * len(column)) * right


def test_what_rounds_to_zero_has_no_sign():
    assert ">0.00<" in plots._table_html(pd.DataFrame({"a": ["x"], "b": [-0.001]}), "Zero", 2)


def test_curves_are_drawn_at_the_epochs_that_were_tested():
    gaps = np.array([[np.nan, np.nan, 30.0, np.nan, np.nan, 50.0]])
    fig, text = plots.learning_curves({"ag": gaps})
    assert [list(line.get_xdata()) for line in fig.axes[0].lines] == [[3, 6], [3, 6]]
    assert "from 30.0 after epoch 3 to 50.0 after epoch 6, best 50.0 at epoch 6" in text
    fig, _ = charts.curve_panels({"panel": {"ag": gaps[0]}})
    assert list(fig.axes[0].lines[0].get_xdata()) == [3, 6]
