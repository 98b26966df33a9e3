import json
from pathlib import Path

import pytest
from prose_lint import typed_results

ROOT = Path(__file__).resolve().parents[2]


def found(tmp_path: Path, text: str) -> list[str]:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return typed_results(page)


@pytest.mark.parametrize(
    "text",
    [
        "The network reaches 73.7 % on the test set.",
        "It reaches 73.71% now.",
        "It ends with an accuracy of 73.7 after one epoch.",
        "The test accuracy is about 73.7.",
        "a gain of 0.8 points",
        "the gain of\n0.82",
        "from 74.78 to 76.84",
        "74.53 ± 0.07",
        "$74.53 \\pm 0.07$",
        "| ResNet-56 | 73.71±0.28 |",
        "73.7 test accuracy",
        "```{note}\nWe measured 61.2 %.\n```",
        ":::{tip}\nWe measured 61.2 %.\n:::",
        "quoted in the first paragraph <!-- paper -->\n\nbut 61.2 % here",
    ],
)
def test_a_typed_result_is_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "The learning rate is 0.1, the momentum 0.9, the weight decay 1e-4.",
        "With beta from 0.2 upwards the paper calls the curve flat.",
        "Intervals are at 95 %; the schedule rises over the first 30 % of the steps.",
        "Section 4.3 and Table 5; PyTorch 2.10; python 3.11",
        "The paper reports 77.44 % for ResNet-110 {cite}`fsft`. <!-- paper -->",
        "```python\naccuracy = 73.7  # 73.7 %\n```",
        "Set `accuracy 73.7 %` in the file.",
        "see [the thread](https://example.org/73.7%25)",
        "dropout of 0.3 in the wide network",
    ],
)
def test_settings_and_marked_quotations_pass(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


def test_notebooks_are_read_cell_by_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "We get 61.2 %."]},
        {"cell_type": "code", "source": ["print('61.2 %')"], "outputs": []},
        {"cell_type": "markdown", "source": "It was 62.5 %. <!-- paper -->"},
    ]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert typed_results(path) == ["a.ipynb, cell 1: '61.2 %'"]


def test_no_notebook_or_page_holds_a_typed_result() -> None:
    pages = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md"), *ROOT.glob("README.md")]
    assert [problem for page in sorted(pages) for problem in typed_results(page)] == []
