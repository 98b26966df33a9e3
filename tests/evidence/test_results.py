import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import fake_result, save
from hypothesis import given
from hypothesis import strategies as st

from fsft.catalog import recipes
from fsft.evidence.ledger import load_results, verify
from fsft.runtime.record import canonical_digest, find_results, read_result, write_result
from fsft.runtime.schema import check_schema

SHORT = recipes["table1/resnet56/fsft"].reduced(epochs=8)


@pytest.fixture
def result() -> dict[str, Any]:
    return fake_result(SHORT, si=55.0, ag_last=55.5, ag=56.0)


def path_of(folder: Path, result: dict[str, Any]) -> Path:
    return folder / f"{result['slug']}-seed{result['seed']}.json"


def test_what_was_written_is_read_back(tmp_path: Path, result: dict[str, Any]) -> None:
    save(tmp_path, result)
    (loaded,) = load_results(tmp_path)
    assert {key: loaded[key] for key in result} == json.loads(json.dumps(result))
    assert loaded["file"] == path_of(tmp_path, result).name
    assert verify(tmp_path) == []


def test_real_evaluations_hold_thirds_and_scalars(tmp_path: Path, result: dict[str, Any]) -> None:
    """The digest must survive a round trip through the file for numbers that are not round."""
    import numpy as np

    result["history"][0]["lr"] = 0.1 / 3
    result["peak_memory_mib"] = np.float32(1.1)
    save(tmp_path, result)
    assert verify(tmp_path) == []


def test_a_missing_folder_is_an_empty_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_results(tmp_path / "results") == [] and verify(tmp_path / "results") == []
    assert capsys.readouterr().out == ""
    load_results(tmp_path / "results", verbose=True)
    assert "no folder results/" in capsys.readouterr().out


def test_the_results_folder_is_the_one_beside_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSFT_RESULTS", raising=False)
    staged = tmp_path / "_build" / "book" / "notebooks"
    staged.mkdir(parents=True)
    (staged.parent / "_toc.yml").touch()  # the staged copy of the contents has no results beside it
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(staged)
    assert find_results() == tmp_path / "results"
    monkeypatch.setenv("FSFT_RESULTS", str(tmp_path / "elsewhere"))
    assert find_results() == tmp_path / "elsewhere"
    assert find_results(tmp_path / "here") == tmp_path / "here"


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


def test_a_result_goes_only_under_its_own_name(tmp_path: Path, result: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="seed0"):
        write_result(tmp_path / "other-seed0.json", result)
    copied = save(tmp_path, result) / path_of(tmp_path, result).name.replace("seed0", "seed1")
    copied.write_bytes(path_of(tmp_path, result).read_bytes())
    with pytest.raises(ValueError, match="file name"):  # else one run would count as two seeds
        load_results(tmp_path)
    assert any(copied.name in problem and "file name" in problem for problem in verify(tmp_path))


def test_files_that_are_no_results(tmp_path: Path, result: dict[str, Any]) -> None:
    save(tmp_path, result)
    (tmp_path / "half.json").write_text(path_of(tmp_path, result).read_text()[:200])
    (tmp_path / "list.json").write_text("[1]")
    problems = verify(tmp_path)
    assert len(problems) == 2 and problems[0].startswith("half.json") and problems[1].startswith("list.json")
    with pytest.raises(ValueError, match=r"half\.json.*restore it from git"):
        load_results(tmp_path)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all numbers and texts in a result."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*place, key))]
    if isinstance(value, list):
        return [leaf for k, item in enumerate(value) for leaf in leaves(item, (*place, k))]
    return [place]


def test_any_altered_value_is_named(tmp_path: Path, result: dict[str, Any]) -> None:
    """Every single number, setting, and hash of a result file, one after the other."""
    path = path_of(save(tmp_path, result), result)
    written = json.loads(path.read_text())
    places = [place for place in leaves(written) if place[0] not in ("checksums", "digest")]
    assert len(places) >= 100
    for place in places:
        altered = copy.deepcopy(written)
        target = altered
        for key in place[:-1]:
            target = target[key]
        old = target[place[-1]]
        target[place[-1]] = (
            (not old) if isinstance(old, bool) else old + 1 if isinstance(old, (int, float)) else f"{old}x"
        )
        path.write_text(json.dumps(altered))
        problems = " ".join(verify(tmp_path))
        name = f"history[{place[1] + 1}]" if place[0] == "history" else ".".join(map(str, place[:2]))
        assert f"field {name}" in problems or f"field {place[0]}" in problems, (place, problems)
        with pytest.raises(ValueError):
            load_results(tmp_path)


def test_an_alteration_with_new_guards_still_contradicts_the_history(tmp_path: Path, result: dict[str, Any]) -> None:
    result["last"]["si"] += 1.0
    result["best"]["ag"]["accuracy"] -= 0.25
    result["best"]["ag-last"]["epoch"] = 1
    save(tmp_path, result)
    problems = " | ".join(verify(tmp_path))
    for field in ("field last.si", "field best.ag.accuracy", "field best.ag-last.epoch"):
        assert field in problems


def test_the_recipe_must_give_slug_distance_and_epochs(tmp_path: Path, result: dict[str, Any]) -> None:
    result["recipe"]["epochs"] = 2
    problems = " | ".join(verify(save(tmp_path, result)))
    assert "field slug" in problems and "field distance" in problems and "epochs 1 to 2" in problems


def test_a_recipe_cannot_pass_for_its_namesake(tmp_path: Path) -> None:
    """With the paper's name and no origin, a short run would show no distance and count as exact."""
    import dataclasses

    short = dataclasses.replace(recipes["table1/resnet56/fsft"], epochs=2)
    result = {**fake_result(short, si=50.0), "distance": {}}
    assert any("field recipe.epochs: expected 300" in problem for problem in verify(save(tmp_path, result)))


def test_runs_on_one_data_set_must_agree_on_it(tmp_path: Path) -> None:
    runs = [fake_result(SHORT, seed, si=50.0) for seed in range(3)]
    runs[1]["data"]["test_sha256"] = "d" * 64
    runs[2]["parameters"] += 1
    save(tmp_path, *runs)
    other = fake_result(SHORT.reduced(dataset="photodigits"), si=50.0)
    other["data"]["test_sha256"] = "e" * 64
    save(tmp_path, other)
    problems = verify(tmp_path)
    assert len(problems) == 2
    assert "seed1" in problems[0] and "field data.test_sha256" in problems[0]
    assert "seed2" in problems[1] and "field parameters" in problems[1]


def test_weights_are_checked_where_they_are(tmp_path: Path, result: dict[str, Any]) -> None:
    from fsft.checkpoint import save_state, weights_digest

    torch = pytest.importorskip("torch")
    weights = {"fc.weight": torch.arange(6.0).reshape(2, 3)}
    result["weights_sha256"] = weights_digest(weights)
    path = path_of(save(tmp_path / "results", result), result)
    folder = tmp_path / "runs" / path.stem
    folder.mkdir(parents=True)
    save_state(folder / "weights.pt", {"model": weights})
    assert verify(path.parent, tmp_path / "runs") == []
    weights["fc.weight"][0, 0] = 1.0
    save_state(folder / "weights.pt", {"model": weights})
    assert "field weights_sha256" in verify(path.parent, tmp_path / "runs")[0]
    (folder / "weights.pt").write_bytes(b"nothing")
    assert "cannot be read" in verify(path.parent, tmp_path / "runs")[0]


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
    path.write_text(path.read_text().replace('"seconds": 3600.0', '"seconds": 36.0'))
    with pytest.raises(ValueError, match="altered after the run"):
        read_result(path)


def test_the_ledger_does_not_need_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, fsft.evidence.ledger, fsft.evidence.claims, fsft.evidence.paper; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_real_run_passes(tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny")
    from fsft.training import train

    train(tiny.recipe(epochs=1), data=tiny.data(), results_dir=tmp_path, device="cpu", progress="none")
    assert verify(tmp_path) == []
    (run,) = load_results(tmp_path)
    assert set(run["last"]) == {"si", "ag-last", "ag", "ag-logits"}
