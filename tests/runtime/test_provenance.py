"""Where a result was made: the commit, and whether the code was the commit's."""

import json
import subprocess
import sys

from fsft.runtime.provenance import changes, git_state


def git(root, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_changed_code_is_dirty_and_a_renewed_benchmark_report_is_not(tmp_path):
    code, report = tmp_path / "code.py", tmp_path / "benchmarks" / "results" / "cost-cpu.json"
    report.parent.mkdir(parents=True)
    code.write_text("a = 1\n")
    report.write_text("{}\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    report.write_text('{"renewed": true}\n')
    (tmp_path / "notes.txt").write_text("untracked\n")
    assert git_state(tmp_path) == clean
    code.write_text("a = 2\n")
    assert git_state(tmp_path) == clean | {"dirty": True}


def test_outside_git_nothing_is_claimed(tmp_path):
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_a_tree_without_its_history_says_what_it_was_sent_with(tmp_path):
    sent = {"commit": "0123abc", "tree": "4567def", "dirty": True}
    (tmp_path / "COMMIT").write_text(json.dumps(sent))
    assert git_state(tmp_path) == {"commit": "0123abc", "dirty": True}
    for damaged in ("", "[]", "{}"):
        (tmp_path / "COMMIT").write_text(damaged)
        assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_what_changed_is_said_in_words():
    before = {"device": {"name": "A", "cores": 2}, "threads": 2, "versions": {"torch": "2.11"}}
    now = {"device": {"name": "A", "cores": 4, "jobs": 2}, "threads": 2, "versions": {"torch": "2.15"}}
    assert changes(before, before) == []
    assert changes(before, now) == [
        "device cores 2, now 4",
        "versions torch 2.11, now 2.15",
        "device jobs None, now 2",
    ]


def test_peak_memory_is_this_process_own():
    """A small child of a process that holds 900 MB: the system's own figure counts the parent's."""
    child = "import torch; from fsft.runtime.provenance import peak_memory_mib as p; print(p(torch.device('cpu')))"
    call = f"sys.exit(subprocess.call([sys.executable, '-c', {child!r}]))"
    parent = f"import subprocess, sys; held = b'x' * (900 << 20); {call}"
    found = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True).stdout
    assert 20 < float(found) < 900
