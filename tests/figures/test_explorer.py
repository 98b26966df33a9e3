import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("papermill", reason="the book needs the extra `book`")

from fsft.book.outputs import check_html, without_pictures
from fsft.figures.explorer import GROUPS, MOST, STYLE, explorer

IMAGES = [np.full((8, 8, 3), 40 * k, dtype=np.uint8) for k in range(2)]
NETWORKS, VIEWS = ("baseline", "FSFT <i>"), ("all", "left dropped", "right dropped")


def example(**changes):
    maps = np.zeros((2, 2, 3, 8, 8))
    maps[..., 2, 5] = 1.0
    names = ["a digit & one", "a digit, two"]
    captions = [
        [[f"map of {network} under {view} for {name}" for view in VIEWS] for network in NETWORKS] for name in names
    ]
    options = {"image_names": names, "networks": NETWORKS, "views": VIEWS, "captions": captions, "title": "Maps & all"}
    return explorer(IMAGES, **{"maps": maps, **options, **changes})


def test_the_book_accepts_an_explorer():
    check_html(example())
    check_html(example(regions=np.ones((2, 8, 8), dtype=bool)))


def test_every_choice_has_its_picture_and_its_rule():
    text = example()
    figures = re.findall(r'<figure class="([^"]*)">', text)
    for image in range(2):
        assert figures.count(f"of-image-{image}") == 2  # the image, and the map to compare with
        for network in range(2):
            for view in range(3):
                assert figures.count(f"of-image-{image} of-network-{network} of-view-{view}") == 1
    assert len(figures) == 2 * (2 + 2 * 3)
    for group, count in zip(GROUPS, (2, 2, 3), strict=True):
        for number in range(count):
            assert f'class="fsft-{group}-{number}"' in text
            assert f":not(:has(.fsft-{group}-{number}:checked)) .of-{group}-{number}{{display:none}}" in STYLE
        assert len(re.findall(f'name="fsft-{group}"[^>]*checked', text)) == 1  # something is always chosen


def test_pictures_are_embedded_and_show_the_map_where_it_is():
    text = example()
    assert "http" not in text and "url(" not in text and "FSFT &lt;i&gt;" in text
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
        for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    ]
    overlay = pictures[2]
    side = overlay.shape[0] // 8
    bright = overlay[2 * side, 5 * side].sum()
    assert bright > overlay[0, 0].sum() + 100
    assert 'base64,"' in without_pictures(text) and len(without_pictures(text)) < len(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": np.zeros((2, 2, 2, 8, 8))}, "expected maps"),
        ({"image_names": ["one"]}, "expected maps"),
        ({"views": [str(k) for k in range(MOST + 1)]}, "at most"),
    ],
)
def test_choices_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        example(**changes)


def test_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr("fsft.figures.explorer.MAX_BYTES", 100)
    with pytest.raises(ValueError, match="bytes of pictures"):
        example()
