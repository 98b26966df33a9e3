"""``make gpu``: what it trains next, and a dry run of all of it in small."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
import tiny

from fsft.catalog import recipes
from fsft.runtime.stopping import StopRequest

ROOT = Path(__file__).resolve().parents[1]
DIGITS = {"dataset": "photodigits", "dataset_options": (("size", 64),), "augment": (), "epochs": 2}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    yield gpu
    for name in ("gpu", "probe", "harness"):
        sys.modules.pop(name, None)


@pytest.fixture
def call(gpu, tmp_path):
    options = argparse.Namespace(out=tmp_path, budget=1e6, device="cuda", fit=False)
    return gpu.Call(options, StopRequest())


def measured(pair_ms):
    """A probe by which two ResNet-56 side by side do a step each in ``pair_ms``, and eight are no faster than four."""
    times = {1: 0.7 * pair_ms, 2: pair_ms, 4: 1.8 * pair_ms, 8: 3.5 * pair_ms}
    rows = [{"network": "resnet56-basic", "runs": runs, "total_ms": ms} for runs, ms in times.items()]
    return {"together": {"rows": rows}, "steps": {"rows": [{"evaluation_ms": 100.0}, {"launches": 800}]}}


def names(group):
    return [(recipe.name, seed, recipe.epochs) for recipe, seed in group]


def test_runs_of_one_network_go_side_by_side_in_the_order_of_the_notes(gpu, call):
    report = measured(4.0)
    assert gpu.best_count(report) == 4 and gpu.best_count({}) == 1
    pair = [f"table1/resnet56-basic/{method}" for method in ("baseline", "fsft")]
    assert names(gpu.next_group(call, report, set())) == [(name, seed, 300) for seed in (0, 1) for name in pair]
    done = call.result(recipes[pair[0]], 0)
    done.parent.mkdir()
    done.write_text("{}")
    tried = {recipes[pair[1]].run_name(0)}
    assert names(gpu.next_group(call, report, tried))[0] == ("table1/resnet56/baseline", 0, 300)
    everything = {recipes[name].run_name(seed) for name in gpu.FIRST for seed in gpu.SEEDS}
    (first, seed, _), *_ = names(gpu.next_group(call, report, everything))
    assert first.startswith("table1/") and first not in gpu.FIRST and seed == 0
    everything |= {recipes[name].run_name(seed) for name in recipes for seed in gpu.SEEDS}
    assert gpu.next_group(call, report, everything) == []


@pytest.mark.parametrize(("left", "epochs"), [(1e4, 300), (420, 200), (330, 150), (200, 100), (20, 100)])
def test_the_longest_schedule_that_ends_in_time(gpu, call, monkeypatch, left, epochs):
    """A pair needs 390 * 4 ms + 2 * 100 ms = 1.76 s an epoch, and 20 s to start; a tenth of the time is kept."""
    call.options.fit = True
    monkeypatch.setattr(gpu.Call, "left", lambda self: left)
    group = gpu.next_group(call, measured(4.0), set())
    pair = [recipes[f"table1/resnet56-basic/{method}"] for method in ("baseline", "fsft")]
    assert group == [(recipe if epochs == 300 else recipe.reduced(epochs=epochs), 0) for recipe in pair]


def test_a_pair_keeps_the_schedule_with_which_it_was_begun(gpu, call):
    call.options.fit = True
    begun = recipes["table1/resnet56-basic/fsft"].reduced(epochs=150)
    call.folder(begun, 0).mkdir(parents=True)
    assert {recipe.epochs for recipe, _ in gpu.next_group(call, measured(4.0), set())} == {150}
    assert {recipe.epochs for recipe, _ in gpu.next_group(call, {}, set())} == {150}


def test_a_dry_run_is_stopped_and_goes_on(gpu, tmp_path, monkeypatch, capsys):
    small = [tiny.recipe(method, **DIGITS) for method in ("baseline", "fsft")]
    monkeypatch.setattr(gpu, "tiers", lambda device: [small])
    monkeypatch.setattr(gpu, "SEEDS", range(1))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--budget", "3000", "--out", str(tmp_path / "out"), "--device", "cpu"])

    def status():
        with pytest.raises(SystemExit) as end:
            gpu.main()
        return end.value.code

    with monkeypatch.context() as short:
        left = gpu.Call.left
        short.setattr(gpu.Call, "left", lambda self: 1.5 if sys._getframe(1).f_code.co_name != "probe" else left(self))
        assert status() == 0
    probe = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert probe["facts"]["rows"][0]["environment"]["device"]["type"] == "cpu"
    assert status() == 0
    results = sorted((tmp_path / "out" / "results").glob("*.json"))
    assert [json.loads(path.read_text())["recipe_name"] for path in results] == [recipe.name for recipe in small]
    assert "nothing left to train" in capsys.readouterr().out


@pytest.fixture
def probe(gpu, monkeypatch):
    import probe

    monkeypatch.setattr(probe, "TOGETHER", {"resnet56-basic": (1, 2)})
    monkeypatch.setattr(probe, "SHAPES", probe.SHAPES[-1:])
    return probe


def test_the_probe_survives_a_section_that_fails(gpu, probe, tmp_path, monkeypatch):
    def broken(options):
        yield {"run": "the first"}
        raise RuntimeError("an illegal memory access")

    options = probe.arguments(None, rounds=1).parse_args([])
    options.without, path, steps = [], tmp_path / "probe.json", probe.SECTIONS["steps"]
    monkeypatch.setitem(probe.SECTIONS, "steps", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        probe.measure(path, options)
    report = json.loads(path.read_text())
    assert [(name, part["status"]) for name, part in report.items()] == [
        *((name, "done") for name in ("facts", "convolutions")),
        ("steps", "begun"),
    ]
    assert report["convolutions"]["rows"][0]["both_ms"] > 0 and report["steps"]["rows"] == [{"run": "the first"}]
    options.without = ["steps"]
    probe.measure(path, options)
    kept, report = report, json.loads(path.read_text())
    assert report["convolutions"] == kept["convolutions"] and report["steps"] == kept["steps"]
    assert [row["runs"] for row in report["together"]["rows"]] == [1, 2]
    assert gpu.epoch_seconds(report, recipes["table1/resnet56-basic/fsft"]) == float("inf")
    options.without = []
    monkeypatch.setitem(probe.SECTIONS, "steps", steps)
    probe.measure(path, options)
    report = json.loads(path.read_text())
    assert {row["run"].split("/")[0] for row in report["steps"]["rows"]} == {"resnet56-basic", "resnet110"}
    assert gpu.best_count(report) in (1, 2)
    assert 0 < gpu.epoch_seconds(report, recipes["table1/resnet56-basic/fsft"]) < float("inf")
    assert gpu.epoch_seconds(report, recipes["table1/resnet110/fsft"]) == float("inf")


def test_another_machine_is_measured_anew(probe, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "SECTIONS", {"facts": probe.facts})
    path = tmp_path / "probe.json"
    path.write_text(json.dumps({"facts": {"status": "done", "rows": [{"environment": "another"}]}, "steps": {}}))
    options = probe.arguments(None, rounds=1).parse_args([])
    options.without = []
    probe.measure(path, options)
    assert list(json.loads(path.read_text())) == ["facts"]
    (kept,) = tmp_path.glob("probe-until-*.json")
    assert "steps" in json.loads(kept.read_text())
