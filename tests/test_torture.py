"""The counts of what the package withstands: every kind of trial runs, and the page has the committed counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# In a process of its own: it changes the package that it tortures.
TWO_EACH = """
import importlib.util
import sys
sys.path.insert(0, "benchmarks")
import torture
left_out = ["killed sweep", "two processes"]  # each takes a minute; tests/runtime/test_files.py kills one
if not importlib.util.find_spec("papermill"):
    left_out += ["hostile output", "hostile parameter"]
for kind in left_out:
    del torture.KINDS[kind]
rows = torture.torture(most=2)["kinds"]
assert [row["kind"] for row in rows] == list(torture.KINDS)
assert not any(row[name] for row in rows for name in ("lost", "silent", "traceback")), rows
other = iter(range(9))  # no two runs give the same
torture.outcome = lambda path: next(other)
assert torture.torture("full disk", most=1)["kinds"][0]["lost"] == 1  # what is lost would be counted
"""


def test_every_kind_is_withstood():
    found = subprocess.run([sys.executable, "-c", TWO_EACH], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture
def torture(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import torture

    yield torture
    sys.modules.pop("torture")


def test_the_page_has_the_committed_counts_of_every_kind_and_nothing_was_lost(torture):
    counts, text = json.loads(torture.COUNTS.read_text()), torture.PAGE.read_text(encoding="utf-8")
    assert torture.page(counts, text) == text, "run python benchmarks/torture.py --page"
    assert [(row["kind"], row["trials"]) for row in counts["kinds"]] == [
        (kind, count) for kind, (*_, count) in torture.KINDS.items()
    ], "renew the counts: make torture"
    assert not any(row[name] for row in counts["kinds"] for name in ("lost", "silent", "traceback"))
    assert counts["git"]["dirty"] is False
