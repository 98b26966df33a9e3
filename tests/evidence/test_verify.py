import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import fake_result, path_of, save

from fsft.catalog import recipes
from fsft.evidence.ledger import load_results
from fsft.evidence.verify import MANIFEST, register, verify
from fsft.networks import build
from fsft.runtime.record import canonical_digest, write_result

SHORT = recipes["table1/resnet56/fsft"].reduced(epochs=8)
PARAMETERS = sum(parameter.numel() for parameter in build(SHORT, 100).parameters())


def sound(seed: int = 0) -> dict[str, Any]:
    return fake_result(SHORT, seed, si=55.0, ag_last=55.5, ag=56.0) | {"parameters": PARAMETERS}


@pytest.fixture
def result() -> dict[str, Any]:
    return sound()


def test_real_evaluations_hold_thirds_and_scalars(tmp_path: Path, result: dict[str, Any]) -> None:
    """The digest must survive a round trip through the file for numbers that are not round."""
    result["history"][0]["train_loss"] = 0.1 / 3
    result["peak_memory_mib"] = np.float32(1.1)
    save(tmp_path, result)
    assert verify(tmp_path) == []


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
    with pytest.raises(ValueError, match=r"half\.json.*restore it"):
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
    runs = [sound(seed) for seed in range(3)]
    runs[1]["data"]["test_sha256"] = "d" * 64
    runs[2]["parameters"] += 5 * (256 + 128 + 2)
    save(tmp_path, *runs)
    other = fake_result(SHORT.reduced(dataset="photodigits"), si=50.0, ag_last=50.0, ag=50.0)
    other["data"]["test_sha256"] = "e" * 64
    other["parameters"] = PARAMETERS
    save(tmp_path, other)
    problems = verify(tmp_path)
    assert len(problems) == 2
    assert "seed1" in problems[0] and "field data.test_sha256" in problems[0]
    assert "seed2" in problems[1] and "field parameters" in problems[1]


def test_a_copied_seed_is_noticed(tmp_path: Path) -> None:
    """Two seeds cannot end with the same weights; one training under two names does."""
    copied = sound() | {"seed": 1}
    (problem,) = verify(save(tmp_path, sound(), copied))
    assert "field weights_sha256: expected seed 0 of recipe" in problem and "found seed 1" in problem
    twin = fake_result(SHORT.reduced(name="another"), si=55.0, ag_last=55.5, ag=56.0) | {"parameters": PARAMETERS}
    assert verify(save(tmp_path / "twins", sound(), twin)) == []


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("parameters",), PARAMETERS + 1, "field parameters: expected"),
        (("parameters",), 5, "field parameters: expected"),
        (("history", 3, "lr"), 0.05, "field history of epoch 4, lr: expected 0.1 from the schedule, found 0.05"),
        (("history", 0, "test", "si"), 44.999, "epoch 1, test.si: expected a number of 10000 images in percent"),
        (("history", 0, "train"), {"si": 50.0}, "epoch 1: expected the accuracy of si, ag-last, ag in train"),
        (("history", 0, "train"), {"si": 50.01, "ag-last": 50.0, "ag": 50.0}, "train.si: expected a number of 5000"),
        (("last", "sd"), 50.0, "expected the modes ['ag', 'ag-last', 'si'] of method fsft, found"),
        (("recipe", "model"), "resnet99999999998", "field recipe.model: expected at most 2000 layers"),
        (("recipe", "model"), "resnet57", "field recipe.model: expected a depth"),
        (("recipe", "epochs"), 10**15, "field history: expected the epochs 1 to 1000000000000000"),
        (("recipe", "epochs"), 10**400, "field recipe.epochs: expected a whole number"),
        (("recipe", "lr"), 10**400, "field recipe: "),
        (("recipe", "eval_every"), "x", "expected a result that can be checked, found TypeError"),
        (("finished",), "\ud800", "field finished: expected a date"),
        (("git",), {"commit": 10**5000}, "Exceeds the limit"),
    ],
)
def test_what_does_not_follow_is_said_in_a_sentence(
    tmp_path: Path, result: dict[str, Any], place: tuple[Any, ...], value: Any, message: str
) -> None:
    """Whatever stands in a file, and whoever recomputed its guards."""
    target = result
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    sys.set_int_max_str_digits(0)
    try:
        path_of(tmp_path, result).write_text(json.dumps(result | {"digest": "0" * 64}))
    finally:
        sys.set_int_max_str_digits(4300)
    problems = verify(tmp_path)
    assert any(message in problem for problem in problems), problems
    assert all("\n" not in problem and len(problem) < 500 for problem in problems), problems


def test_weights_are_checked_where_they_are(tmp_path: Path, result: dict[str, Any]) -> None:
    from fsft.runtime.checkpoint import save_state, weights_digest

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


def test_a_real_run_passes(tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny")
    from fsft.training import train

    train(tiny.recipe(epochs=1), data=tiny.data(), results_dir=tmp_path, device="cpu", progress="none")
    assert verify(tmp_path) == []
    (run,) = load_results(tmp_path)
    assert set(run.last) == {"si", "ag-last", "ag", "ag-logits"}


def with_probe(folder: Path, **changes: object) -> Path:
    run = sound()
    save(folder, run)
    table = [[20.0] * 5] * 5
    probe = {"probe": "padding", "run": path_of(folder, run).name, "weights_sha256": run["weights_sha256"]}
    probe |= {"recognition": {"blank": table}} | changes
    probe["digest"] = canonical_digest(probe)
    path = folder / "probes" / "padding.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(probe))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_sha256": "d" * 64}, "field weights_sha256: is not that of"),
        ({"run": "other-seed0.json"}, "expected a sound run other-seed0.json"),
        ({"run": ["x"]}, "expected a sound run"),
        ({"recognition": {"blank": [[120.0, -20.0], [50.0, 50.0]]}}, "recognition.blank: expected rows of percentages"),
        ({"recognition": {"blank": [[60.0, 30.0], [50.0, 50.0]]}}, "recognition.blank: expected rows of percentages"),
        ({"recognition": 3}, "recognition.: expected rows of percentages"),
        ({"features": {"as it is": 100.5}}, "field features: expected numbers from 0 to 100, found"),
        ({"loss": {"mask": True}}, "field loss: expected numbers from 0 to inf, found"),
    ],
)
def test_a_probe_belongs_to_the_weights_of_its_run(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with_probe(tmp_path)
    assert verify(tmp_path) == [] and len(load_results(tmp_path).probes) == 1
    with_probe(tmp_path, **changes)
    (problem,) = verify(tmp_path)
    assert message in problem and problem.startswith("probes/padding.json")


def test_an_edited_probe_is_noticed(tmp_path: Path) -> None:
    path = with_probe(tmp_path)
    path.write_text(path.read_text().replace('"padding"', '"paddinh"'))
    (problem,) = verify(tmp_path)
    assert "field digest: does not belong" in problem
    with pytest.raises(ValueError, match="fsft verify"):
        load_results(tmp_path)


def test_a_run_that_is_gone_or_replaced_is_missed(tmp_path: Path) -> None:
    save(tmp_path, sound(0), sound(1))
    files = [path_of(tmp_path, sound(seed)).name for seed in (0, 1)]
    assert register(tmp_path) == files
    assert register(tmp_path) == []
    assert verify(tmp_path) == []
    (tmp_path / files[1]).unlink()
    (problem,) = verify(tmp_path)
    assert problem.startswith(f"{files[1]}: listed in {MANIFEST} as finished, and gone: put it back")
    save(tmp_path, sound(1) | {"finished": "2026-01-02T00:00:00+00:00"})
    (problem,) = verify(tmp_path)
    assert "another training than the one listed" in problem


def test_the_committed_results_contradict_nothing_and_are_entered() -> None:
    results = Path(__file__).resolve().parents[2] / "results"
    assert verify(results) == []
    listed = {line.split()[1] for line in (results / MANIFEST).read_text().splitlines()}
    assert listed == {path.name for path in results.glob("*.json")}, "`fsft verify --register` enters new runs"


def test_checking_results_loads_no_pytorch_before_a_network_is_counted():
    asked = "import sys, fsft.evidence.verify; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", asked], check=False).returncode == 0
