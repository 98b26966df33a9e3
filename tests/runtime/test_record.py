import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import fake_result, path_of, save
from hypothesis import given
from hypothesis import strategies as st

from fsft.catalog import recipes
from fsft.runtime.record import canonical_digest, find_results, read_result, write_result
from fsft.runtime.schema import check_schema


@pytest.fixture
def result() -> dict[str, Any]:
    return fake_result(recipes["table1/resnet56/fsft"].reduced(epochs=8), si=55.0, ag_last=55.5, ag=56.0)


def test_the_results_folder_is_the_one_beside_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSFT_RESULTS", raising=False)
    staged = tmp_path / "_build" / "book" / "notebooks"
    staged.mkdir(parents=True)
    (staged.parent / "_toc.yml").touch()  # the staged copy of the contents has no results beside it
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(staged)
    assert find_results() == tmp_path / "results"
    monkeypatch.setenv("FSFT_RESULTS", str(staged))
    assert find_results() == staged
    assert find_results(tmp_path / "here") == tmp_path / "here"


def test_elsewhere_the_results_are_those_that_came_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FSFT_RESULTS", raising=False)
    (tmp_path / "results").mkdir()  # of one's own runs, and not asked for
    monkeypatch.chdir(tmp_path)
    assert find_results() == Path(__file__).resolve().parents[2] / "results"
    monkeypatch.setattr("fsft.runtime.record.SHIPPED", tmp_path)
    assert find_results() == tmp_path / "results"


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("seed",), -1, "field seed"),
        (("seed",), True, "field seed"),
        (("last", "si"), "55", "field last.si"),
        (("last", "si"), 155.0, "field last.si"),
        (("history", 1, "test", "ag"), None, "field history of epoch 2, test.ag"),
        (("history", 0, "lr"), math.inf, "field history of epoch 1, lr"),
        (("best", "ag"), 56.0, "field best.ag"),
        (("best", "ag", "accuracy"), None, "field best.ag.accuracy"),
        (("data", "train_sha256"), "", "field data.train_sha256"),
        (("finished",), "yesterday", "field finished"),
        (("schema",), 2, "field schema"),
        (("history",), [], "field history"),
        (("distance", "epochs"), 3, "field distance.epochs"),
        (("seconds",), 10**400, "field seconds"),
        (("parameters",), 10**400, "field parameters"),
    ],
)
def test_a_broken_field_is_named(result: dict[str, Any], place: tuple[Any, ...], value: Any, named: str) -> None:
    target = result
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert [problem for problem in check_schema(result) if problem.startswith(named)], check_schema(result)


def test_a_missing_field_is_named_and_nothing_is_written(tmp_path: Path, result: dict[str, Any]) -> None:
    path = path_of(tmp_path, result)
    del result["last"]
    with pytest.raises(ValueError, match=r"field last: expected .*, found nothing"):
        write_result(path, result)
    assert list(tmp_path.iterdir()) == []


@given(st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.integers() | st.text(max_size=5)))
def test_the_digest_ignores_order_and_itself(content: dict[str, Any]) -> None:
    content.pop("digest", None)
    backwards = dict(reversed(list(content.items())))
    assert canonical_digest(content) == canonical_digest({**backwards, "digest": "anything"})
    assert canonical_digest({**content, "one more": 1}) != canonical_digest({**content, "one more": 2})


def test_one_line_an_epoch(tmp_path: Path, result: dict[str, Any]) -> None:
    """A result is reviewed as a diff, so an epoch is a line, and a longer run is a longer file by as many lines."""
    text = path_of(save(tmp_path, result), result).read_text()
    assert len(text.splitlines()) == len(json.loads(text)) + 2 + len(result["history"]) + 1


def test_read_result_names_the_field(tmp_path: Path, result: dict[str, Any]) -> None:
    path = path_of(save(tmp_path, result), result)
    assert read_result(path)["last"] == result["last"]
    written = path.read_text()
    path.write_text(written.replace('"seconds": 3600.0', '"seconds": 36.0'))
    with pytest.raises(ValueError, match="altered after the run"):
        read_result(path)
    path.write_text(written.replace('"seed": 0', '"seed": 1,\n "seed": 0'))
    with pytest.raises(ValueError, match="field seed stands twice"):
        read_result(path)
    path.write_text(json.dumps({key: value for key, value in json.loads(written).items() if key != "digest"}))
    with pytest.raises(ValueError, match="field digest: expected the SHA-256 of the content, found nothing"):
        read_result(path)
