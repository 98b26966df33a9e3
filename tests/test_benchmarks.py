"""Every benchmark runs, at a size that takes moments: what it writes has the form that the book reads."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import re
import sys
from pathlib import Path

import pytest

from fsft.catalog import recipes

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = re.search(r"^QUESTIONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
OPTIONS = {"loop_speed": ["--steps", "1"], "class_maps": ["--images", "100"]}


class SmallRecipes(dict):
    """The catalog with the smallest network of its block and four images a step in place of whatever a recipe says."""

    def __missing__(self, name):
        small = {"basic": "resnet8", "bottleneck": "resnet11"}
        return recipes[name].reduced(model=small[recipes[name].block], batch_size=4)


@pytest.fixture
def script(monkeypatch):
    """Loads a benchmark, made small."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(question):
        module = importlib.import_module(question)
        if hasattr(module, "recipes"):
            monkeypatch.setattr(module, "recipes", SmallRecipes())
        if hasattr(module, "NETWORKS"):
            small = {"resnet8 (basic)": ("resnet8", "basic")}
            few = small if isinstance(module.NETWORKS, dict) else module.NETWORKS[:1]
            monkeypatch.setattr(module, "NETWORKS", few)
        return module

    yield load
    for name in (*QUESTIONS, "harness"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("question", [question for question in QUESTIONS if question != "seeds"])
def test_it_runs_and_writes_its_report(script, question, tmp_path, monkeypatch, capsys):
    if question == "class_maps":
        pytest.importorskip("pytorch_grad_cam")
    module = script(question)
    if question == "table5":
        monkeypatch.setattr(module, "peak_memory", lambda *_: {"resident": 1.0})
        monkeypatch.setattr(module, "ROWS", dict(list(module.ROWS.items())[:1] + list(module.ROWS.items())[5:7]))
    out = tmp_path / f"{question}-cpu.json"
    monkeypatch.setattr(sys, "argv", [question, "--rounds", "1", "--out", str(out), *OPTIONS.get(question, [])])
    module.main()
    report = json.loads(out.read_text())
    assert report["question"] == question and report["rows"] and report["environment"]["device"]["type"] == "cpu"
    committed = json.loads((ROOT / "benchmarks" / "results" / out.name).read_text()) if has_report(question) else report
    assert report["rows"][0].keys() == committed["rows"][0].keys(), "renew the committed report: make bench"
    assert "written to" in capsys.readouterr().out


def has_report(question: str) -> bool:
    return (ROOT / "benchmarks" / "results" / f"{question}-cpu.json").is_file()


def test_processes_take_turns(script, tmp_path, monkeypatch):
    """One worker of the seeds' benchmark; it is a process of its own, which has to be told to be small."""
    module = script("seeds")
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'benchmarks')!r}, {str(ROOT / 'tests')!r}]\n"
        "import seeds\nfrom test_benchmarks import SmallRecipes\nseeds.recipes = SmallRecipes()\nseeds.main()\n"
    )
    monkeypatch.setattr(module, "__file__", str(worker))
    options = argparse.Namespace(device="cpu", steps=1, rounds=2, clock="wall", until=math.inf)
    for speeds in (module.in_processes(1, options), module.in_one_process(2, options)):
        assert len(speeds) == 2 and min(speeds) > 0
