import json
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

import nbformat
from fake_runs import fake_result, ledger_of, save, seeds
from nbformat.v4 import new_markdown_cell, new_notebook

from fsft.evidence.ledger import Ledger
from fsft.evidence.verdicts import assert_verdict, marker_problems, verdicts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    save(tmp_path / "results", fake_result("table1/resnet56/fsft", si=74.5))
    return tmp_path


def page(repository: Path, text: str) -> list[str]:
    (repository / "book" / "page.md").write_text(text, encoding="utf-8")
    return marker_problems(repository)


def test_the_committed_prose_agrees_with_the_committed_runs() -> None:
    assert marker_problems(ROOT) == []


def test_the_prose_of_the_book_is_bound_at_all() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb"))]
    assert sum("<!-- verdict:" in text for text in texts) >= 3


def test_a_new_result_breaks_the_sentence(repository: Path) -> None:
    text = "FSFT has not been tried. <!-- verdict: claims/si-beats-baseline = not run -->"
    assert page(repository, text) == []
    save(repository / "results", *seeds("table1/resnet56/baseline", baseline=(73.0, 73.1)))
    (problem,) = page(repository, text)
    assert problem.startswith("book/page.md: the text says 'not run', but by now claims/si-beats-baseline is")


def test_a_pattern_binds_everything_that_it_fits(repository: Path) -> None:
    assert page(repository, "<!-- verdict: numbers/table3/* = not run -->") == []
    (problem,) = page(repository, "<!-- verdict: numbers/* = not run -->")
    assert "numbers/table1/resnet56/si is 'inconclusive'" in problem


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("verdict: claims/si-beats-basline = not run", "found 'claims/si-beats-basline'"),
        ("verdict: claims/si-beats-baseline = confirmed", "one of reproduced, not reproduced"),
        ("verdict: findings/slow-start = reproduced", "one of shown, seen"),
        ("verdict: claims/si-beats-baseline", "expected a marker like"),
        ("verdict claims/si-beats-baseline = not run", "expected a marker like"),
    ],
)
def test_a_marker_that_binds_nothing_is_a_problem(repository: Path, marker: str, message: str) -> None:
    (problem,) = page(repository, f"Text. <!-- {marker} -->")
    assert message in problem


def test_markers_in_notebooks_and_the_readme_count_and_code_does_not(repository: Path) -> None:
    wrong = "<!-- verdict: claims/si-beats-baseline = reproduced -->"
    assert page(repository, f"Write `{wrong}`, or\n\n```\n{wrong}\n```\n") == []
    (repository / "README.md").write_text(wrong)
    cells = [new_markdown_cell(f"# Title\n\n{wrong}")]
    nbformat.write(new_notebook(cells=cells), repository / "notebooks" / "01_a.ipynb")
    assert [problem.split(":")[0] for problem in marker_problems(repository)] == ["README.md", "notebooks/01_a.ipynb"]


def test_the_build_stops_before_it_executes_anything(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.__main__ import main

    monkeypatch.chdir(repository)
    (repository / "_toc.yml").write_text(json.dumps({"format": "jb-book", "root": "book/page"}))
    page(repository, "<!-- verdict: numbers/* = not run -->")
    assert main(["key"]) == 1  # every execution needs the key
    assert "the text says 'not run'" in capsys.readouterr().err
    assert not (repository / "_build").exists()


def test_code_can_be_bound_too() -> None:
    runs = ledger_of(*seeds("table1/resnet56/fsft", si=(74.5, 74.6)))
    assert_verdict("claims/si-beats-baseline", "not run", ledger=runs)
    with pytest.raises(AssertionError, match="numbers/table1/resnet56/si is 'reproduced'"):
        assert_verdict("numbers/table1/resnet56/si", "not run", ledger=runs)
    assert set(verdicts(ledger=Ledger()).values()) >= {"not run"}
