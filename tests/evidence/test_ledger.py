import json
from pathlib import Path

import numpy as np
import pytest
from fake_runs import fake_result, ledger_of, path_of, save, seeds

from fsft.catalog import recipes
from fsft.evidence.assertions import map_recipe
from fsft.evidence.ledger import accuracy_curves, load_results
from fsft.evidence.measured import measured
from fsft.evidence.probes import load_probes
from fsft.evidence.verify import verify
from fsft.maps.scorefile import load_map_scores


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    result = fake_result("cpu/short-cifar100/fsft", si=55.0, ag_last=55.5, ag=56.0)
    save(tmp_path, result)
    (run,) = load_results(tmp_path)
    assert {key: run.raw[key] for key in result} == json.loads(json.dumps(result))
    assert run.file == path_of(tmp_path, result).name and run.recipe == recipes["cpu/short-cifar100/fsft"]
    assert (run.seed, run.last["ag"], run.best["si"]["epoch"], len(run.history)) == (0, 56.0, 9, 10)


def test_a_folder_that_is_named_may_be_missing_but_the_ledger_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(load_results(tmp_path / "results")) == 0 and verify(tmp_path / "results") == []
    monkeypatch.setenv("FSFT_RESULTS", str(tmp_path / "results"))
    for read in (load_results, load_map_scores, load_probes, lambda: measured("table5")):
        with pytest.raises(ValueError, match=r"expected the runs' results in .*, found no such folder"):
            read()


def test_the_ledger_does_not_need_torch() -> None:
    import subprocess
    import sys

    code = "import sys, fsft.evidence.tables, fsft.evidence.chapters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_runs_are_found_by_what_they_trained_not_by_name() -> None:
    ledger = ledger_of(fake_result("cpu/short-cifar100/fsft", si=40.0), fake_result("cpu/resnet20/baseline"))
    (run,) = ledger.runs(map_recipe(100, 10, "fsft", 5.0))
    assert run.recipe.name == "cpu/short-cifar100/fsft"
    assert [run.recipe.name for run in ledger.runs(map_recipe(500, 30))] == ["cpu/resnet20/baseline"]
    assert ledger.runs(map_recipe(500, 10)) == ()


def test_one_training_under_two_names_is_one_run(tmp_path: Path) -> None:
    """The same fields from another origin, evaluated less often: the file that was finished last counts."""
    old = seeds(recipes["cpu/map/100x30/fsft"], si=(40.0, 41.0))
    new = fake_result(recipes["cpu/split/basic/fsft"], si=40.2) | {"finished": "2026-11-24T10:00:00+01:00"}
    assert recipes["cpu/map/100x30/fsft"].digest == recipes["cpu/split/basic/fsft"].digest
    for results in ([*old, new], [new, *old]):
        ledger = ledger_of(*results)
        found = ledger.runs(recipes["cpu/map/100x30/fsft"])
        assert [(run.seed, run.last["si"]) for run in found] == [(0, 40.2), (1, 41.0)]
        assert found == ledger.runs(recipes["cpu/split/basic/fsft"]) and len(ledger) == 2


def test_a_result_whose_recipe_is_none_is_named(tmp_path: Path) -> None:
    result = fake_result("cpu/resnet20/baseline")
    result["recipe"]["lr"] = 10**400
    save(tmp_path, result)
    with pytest.raises(ValueError, match=r"cpu-resnet20-baseline-.*json: field recipe"):
        load_results(tmp_path)
    assert any("field recipe" in problem for problem in verify(tmp_path))


def history(values: list[float]) -> dict[str, object]:
    return {"history": [{"epoch": k, "test": {"ag": value}} for k, value in enumerate(values, start=1)]}


def test_curves_are_seeds_by_epochs() -> None:
    assert np.array_equal(accuracy_curves([history([1, 2, 3]), history([4, 5, 6])], "ag"), [[1, 2, 3], [4, 5, 6]])
    recipe = recipes["cpu/short-cifar100/fsft"]
    assert accuracy_curves(ledger_of(*seeds(recipe, si=(20.0, 21.0))), "si")[:, -1].tolist() == [20.0, 21.0]


@pytest.mark.parametrize("runs", [[], [history([1, 2]), history([1, 2, 3])]])
def test_curves_of_unequal_runs_are_refused(runs: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="of one length"):
        accuracy_curves(runs, "ag")


def test_curves_of_a_mode_that_was_not_measured_are_refused() -> None:
    with pytest.raises(ValueError, match=r"offers the modes \['ag'\], not 'sd'"):
        accuracy_curves([history([1])], "sd")
