"""The committed table of chapter 15: complete, and what is made of it today."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORT = json.loads((ROOT / "benchmarks" / "results" / "own_models-cpu.json").read_text(encoding="utf-8"))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("own_models")


def test_every_model_works_or_says_why_not(script):
    named = [(row["library"], row["model"]) for row in REPORT["rows"]]
    assert named == [("torchvision", name) for name in script.TORCHVISION.split()] + [
        ("timm", name) for name in script.TIMM.split()
    ]
    assert len(named) == 40 and set(REPORT["versions"]) == {"torch", "torchvision", "timm"}
    for row in REPORT["rows"]:
        if "refusal" in row:
            assert row["refusal"].startswith("expected ") and "found" in row["refusal"]
        else:
            assert row["penultimate"] and row["last"] and len(row["maps"]) == 2


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "squeezenet1_1"),
        ("torchvision", "regnet_y_400mf"),
        ("torchvision", "swin_t"),
        ("timm", "repvgg_a0"),
    ],
)
def test_a_row_is_what_the_script_finds(script, library, name):
    if library == "timm":
        pytest.importorskip("timm")
    (committed,) = [row for row in REPORT["rows"] if (row["library"], row["model"]) == (library, name)]
    assert json.loads(json.dumps(script.row(library, name))) == committed
