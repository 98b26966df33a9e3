"""What the world does to files: pipes, full disks, processes that die, and a system without locks."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsft.runtime import files
from fsft.runtime.checkpoint import load_newest_checkpoint, load_state, save_state
from fsft.runtime.files import FolderLockedError, run_lock
from fsft.runtime.record import parse

ROOT = Path(__file__).resolve().parents[2]


def test_nobody_waits_for_a_pipe(tmp_path):
    path = tmp_path / "weights.pt"
    os.mkfifo(path)
    with pytest.raises(OSError, match="a pipe or a device"):
        load_state(path)
    with pytest.raises(ValueError, match="a pipe or a device"):
        parse(path)


def test_a_full_disk_is_named_with_advice_and_leaves_what_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_atomically(tmp_path / "file", b"before")
    monkeypatch.setattr(files.os, "fsync", full)
    expected = rf"{tmp_path}/file: expected to write 5 bytes, found: No space left on device; make room, or"
    with pytest.raises(OSError, match=expected):
        files.write_atomically(tmp_path / "file", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"before"


def test_ctrl_c_in_a_write_leaves_no_litter(tmp_path, monkeypatch):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "fault_point", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_of_a_checkpoint_is_removed(tmp_path):
    (tmp_path / "checkpoint-000000003.pt.tmp").write_bytes(b"half")
    save_state(tmp_path / "checkpoint-000000001.pt", {"step": 1})
    assert load_newest_checkpoint(tmp_path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000001.pt"]


def test_a_worker_that_outlives_its_run_does_not_hold_the_lock(tmp_path):
    with run_lock(tmp_path / "run", tmp_path / "result.json"):
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        time.sleep(0.05)
    try:
        with run_lock(tmp_path / "run", tmp_path / "result.json"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_one_result_is_held_by_one_process_whatever_its_folder(tmp_path):
    result = tmp_path / "results" / "run.json"
    with (
        run_lock(tmp_path / "here", result),
        pytest.raises(FolderLockedError, match=r"results/run\.json is in use"),
        run_lock(tmp_path / "there", result),
    ):
        pass
    with run_lock(None, result):
        result.touch()
    assert [path.name for path in result.parent.iterdir()] == ["run.json"]


WINDOWS = """
import os, signal, sys, warnings
import torch, torchvision  # they take what is there; fsft does not
for name in ("fcntl", "resource"):
    sys.modules[name] = None
pairs = ((os, ("register_at_fork", "O_DIRECTORY", "O_NONBLOCK", "setpgid")), (signal, ("SIGHUP", "SIGPIPE")))
for module, names in pairs:
    for name in names:
        delattr(module, name)
import tiny
import fsft
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    folders = {"runs_dir": "runs", "results_dir": "results"}
    run = fsft.train(tiny.recipe(epochs=1), data=tiny.data(), device="cpu", progress="none", **folders)
assert any("no fcntl, so no locks: start no run twice" in str(line.message) for line in said), said
print(run.result["weights_sha256"])
"""


def test_without_what_windows_lacks_it_trains_and_says_what_is_missing(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    found = subprocess.run(
        [sys.executable, "-c", WINDOWS], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode()
    assert len(found.stdout.strip()) == 64 and list(tmp_path.glob("results/*.json"))


def test_a_run_saves_and_leaves_when_its_sweep_was_killed(tmp_path):
    """The sweep is a process that starts a run and waits; the run's end closes a pipe."""
    end, begin = os.pipe()
    sweep = os.fork()
    if sweep == 0:
        with contextlib.suppress(BaseException):
            os.environ["FSFT_SWEEP"] = str(os.getpid())
            if os.fork() == 0:
                import tiny

                from fsft import train

                recipe = tiny.recipe(epochs=100_000)
                train(recipe, data=tiny.data(), device="cpu", progress="none", runs_dir=tmp_path, checkpoint_seconds=0)
            else:
                time.sleep(600)
        os._exit(0)
    os.close(begin)
    while not list(tmp_path.glob("*/checkpoint-*.pt")):
        time.sleep(0.05)
    os.kill(sweep, signal.SIGKILL)
    os.waitpid(sweep, 0)
    assert os.read(end, 1) == b""
    os.close(end)
    (folder,) = tmp_path.iterdir()
    assert load_newest_checkpoint(folder)["state"]["epoch"] < 100_000
