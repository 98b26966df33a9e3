import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny

import fsft.cli.sweep
from fsft.cli.main import build_parser, main
from fsft.cli.options import grid, parse_seeds
from fsft.cli.sweep import Job, run_sweep
from fsft.loop import TrainingDivergedError
from fsft.runtime.files import FolderLockedError, run_lock

# Stands in for ``fsft train``: counts its runs, and does what its seed's file tells it to.
CHILD = """
import pathlib, sys, time
folder, result, deed = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
with open(folder / "count", "a") as file: file.write("x")
print("epoch 1/3, loss", flush=True)
what = deed.read_text() if deed.exists() else "finish"
if what == "fail": sys.exit(1)
if what == "in use": deed.unlink(); sys.exit(4)
if what == "crash once": deed.unlink(); sys.exit(9)
if what == "wait": time.sleep(60)
result.write_text("{}")
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes jobs whose process is a stand-in; ``deed`` tells it what to do."""
    started = subprocess.Popen

    def popen(command, **options):
        return started([sys.executable, "-c", CHILD, *command[4:]], **options)

    monkeypatch.setattr(fsft.cli.sweep.subprocess, "Popen", popen)

    def make(seed, deed=None):
        folder, result = tmp_path / f"run{seed}", tmp_path / f"result{seed}.json"
        plan = tmp_path / f"deed{seed}"
        if deed:
            plan.write_text(deed)
        return Job(tiny.recipe(), seed, [str(folder), str(result), str(plan)], folder, result)

    return make


def sweep(jobs, **options):
    lines: list[str] = []
    return run_sweep(jobs, say=lines.append, interval=0.01, **options), "\n".join(lines)


def runs(job):
    path = job.folder / "count"
    return len(path.read_text()) if path.exists() else 0


def test_runs_all_and_reports(job):
    jobs = [job(0), job(1), job(2)]
    status, report = sweep(jobs, at_once=2)
    assert status == 0 and [runs(one) for one in jobs] == [1, 1, 1]
    assert "3 done, 0 failed" in report and "min left" in report and "epoch 1/3" in jobs[0].log.read_text()


def test_does_nothing_twice(job):
    sweep([job(0), job(1)])
    jobs = [job(0), job(1), job(2)]
    status, report = sweep(jobs)
    assert status == 0 and "3 runs, 2 of them done already" in report
    assert [runs(one) for one in jobs] == [1, 1, 1]


def test_one_failure_does_not_stop_the_others(job):
    jobs = [job(0, "fail"), job(1)]
    status, report = sweep(jobs)
    assert status == 1 and jobs[0].state == "failed (1)" and jobs[1].state == "done"
    assert "1 done, 1 failed" in report and str(jobs[0].log) in report


def test_run_that_another_sweep_holds_is_waited_for(job):
    """Exit status 4 while another process has the lock; when it let go without a result, we take over."""
    held = job(0, "in use")
    status, _ = sweep([held])
    assert status == 0 and runs(held) == 2


def test_result_of_another_sweep_counts(job):
    held = job(0)
    held.state = "elsewhere"
    with run_lock(held.folder):
        pass
    held.result.write_text("{}")
    status, _ = sweep([held])
    assert status == 0 and runs(held) == 0


def test_stop_is_passed_on_and_said(job, tmp_path):
    waiting = job(0, "wait")

    def say(line):
        lines.append(line)
        if "started" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    lines: list[str] = []
    begin = time.monotonic()
    assert run_sweep([waiting, job(1)], say=say, interval=0.01) == 128 + signal.SIGTERM
    assert waiting.process.poll() == -signal.SIGTERM and time.monotonic() - begin < 50
    assert "the same command goes on from here" in lines[-1] and not (tmp_path / "run1").exists()


def test_no_more_at_a_time_than_there_are_runs(job):
    status, _ = sweep([job(0), job(1)], at_once=10**18)
    assert status == 0


def test_each_gpu_has_its_share(job):
    jobs = [job(seed) for seed in range(4)]
    status, _ = sweep(jobs, at_once=1, gpus=["0", "1"])
    assert status == 0 and {one.gpu for one in jobs} == {"0", "1"}


def test_runs_share_the_cores_and_say_so(job, monkeypatch):
    started, given = fsft.cli.sweep.subprocess.Popen, []
    names = ("FSFT_JOBS", "OMP_NUM_THREADS")

    def popen(command, **options):
        given.append([options["env"].get(name) for name in names])
        return started(command, **options)

    monkeypatch.setattr(fsft.cli.sweep.subprocess, "Popen", popen)
    monkeypatch.setattr(fsft.cli.sweep.os, "cpu_count", lambda: 8)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    sweep([job(0), job(1)], at_once=2)
    sweep([job(2)])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    sweep([job(3), job(4)], gpus=["0", "1"])
    assert given == [["2", "4"]] * 2 + [["1", None]] + [["1", "3"]] * 2


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("5", [5]), ("0,2", [0, 2]), ("1-2,2,9", [1, 2, 9])]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "1;2", "3-0"])
def test_bad_seeds(text):
    with pytest.raises(ValueError, match=r"expected (rising )?seeds such as 0-3"):
        parse_seeds(text)


def test_lists_of_changes_make_a_grid():
    options = build_parser().parse_args(["sweep", "cpu/*", "--epochs", "5,10", "--head-lr-scale", "1,5"])
    assert [tuple(changes.values()) for changes in grid(options)] == [(5, 1.0), (5, 5.0), (10, 1.0), (10, 5.0)]


def test_real_sweep_from_the_command_line(tmp_path, monkeypatch, capfd):
    """Two seeds of a real recipe, reduced to a moment, through real processes; then again."""
    monkeypatch.chdir(tmp_path)
    for name in ("random.py", "tqdm.py"):  # what lies where somebody starts a sweep is not run
        (tmp_path / name).write_text("raise SystemExit('this file is none of the package')")
    (tmp_path / "images").mkdir()
    for split in ("train", "test"):
        write_images(tmp_path / "images" / split)
    command = ["sweep", "cpu/resnet20/fsft", "--seeds", "0-1", "--jobs", "2", "--device", "cpu"]
    command += [
        "--dataset",
        f"imagefolder:{tmp_path / 'images'}",
        "--model",
        "resnet8",
        "--epochs",
        "1",
        "--batch-size",
        "4",
    ]
    assert main(command) == 0
    assert "2 done, 0 failed" in capfd.readouterr().out
    results = sorted((tmp_path / "results").glob("*.json"))
    assert len(results) == 2
    assert main(["verify"]) == 0
    stamps = [path.stat().st_mtime_ns for path in results]
    assert main(command) == 0
    assert "2 of them done already" in capfd.readouterr().out
    assert [path.stat().st_mtime_ns for path in results] == stamps


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A sweep of two recipes, reduced to a moment."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        write_images(tmp_path / "images" / split)
    return [
        *("sweep", "cpu/resnet20/fsft", "cpu/resnet20/baseline", "--seeds", "0", "--device", "cpu"),
        *(
            "--dataset",
            f"imagefolder:{tmp_path / 'images'}",
            "--model",
            "resnet8",
            "--epochs",
            "1",
            "--batch-size",
            "4",
        ),
    ]


def test_runs_together_in_this_process(small, tmp_path, capsys):
    assert main([*small, "--together", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 done, 0 failed" in said and said.count("epoch 1/1") == 2
    results = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")]
    assert [result["device"]["jobs"] for result in results] == [2, 2]
    assert main([*small, "--together", "2"]) == 0
    assert "2 runs, 2 of them done already" in capsys.readouterr().out


def test_together_a_failure_is_logged_and_another_sweep_is_waited_for(small, capsys, monkeypatch):
    tries = []

    def train_together(runs, at_once, **options):
        tries.append(len(runs))
        if len(tries) == 1:
            return [FolderLockedError("in use"), TrainingDivergedError("the loss is nan")]
        return [None]

    monkeypatch.setattr("fsft.training.train_together", train_together)
    assert main([*small, "--together", "2"]) == 1
    said = capsys.readouterr().out
    assert tries == [2, 1] and "1 done, 1 failed" in said
    assert "said last: fsft.loop.TrainingDivergedError: the loss is nan" in said


def test_together_a_stop_has_the_signals_status(small, capsys, monkeypatch):
    tiny.stop_after(monkeypatch, 1)
    assert main([*small, "--together", "2"]) == 128 + signal.SIGTERM
    assert "the same command goes on from here" in capsys.readouterr().out
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--together", "0"], "--together of at least 1, found 0"),
        (["--together", "2", "--jobs", "2"], "expected --together, or --jobs and --gpus"),
        (["--together", "2", "--gpus", "0"], "found both"),
    ],
)
def test_together_and_other_processes_exclude_each_other(small, more, said, capsys):
    assert main([*small, *more]) == 2 and said in capsys.readouterr().err


def write_images(folder):
    from PIL import Image

    for label, color in (("dark", 30), ("light", 220)):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (color + number,) * 3).save(folder / label / f"{number}.png")
