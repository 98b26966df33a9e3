"""Where a result was made: the commit, and whether the code was the commit's."""

import subprocess

from fsft.runtime.provenance import git_state


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
