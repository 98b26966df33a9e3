import re
import runpy
from pathlib import Path

import torch

from fsft import joint_labels

BOOK = Path(__file__).parents[2] / "book"
method_steps = runpy.run_path(str(BOOK / "method_in_steps.py"))["method_steps"]


def test_the_landing_pages_drawing_is_current():
    expected = "run: python book/method_in_steps.py > book/_static/method.html"
    assert (BOOK / "_static" / "method.html").read_text() == method_steps(), expected


def test_the_drawing_shows_the_masks_and_the_labels_of_the_package():
    text = method_steps(7)
    drawings = re.findall(r"<svg.*?</svg>", text)
    assert [drawing.count("<path") for drawing in drawings] == [0, 0, 0, 4, 4, 4, 4]
    first, *_, last = joint_labels(torch.tensor([7]), 5)[0].tolist()
    assert f"here {first} to {last}." in text and text.count("<figcaption>(7, ") == 5
