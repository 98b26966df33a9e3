"""The workflow on a real Slurm and on this machine alone: each run once, whatever is killed, and the same bits.

`make test-cluster` installs what this needs and runs it; `make test` leaves it out.
"""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import one_node
import pytest
import tiny
from one_node import ask, wait_for

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = os.environ.get("SNAKEMAKE", str(ROOT / ".venv-cluster" / "bin" / "snakemake"))
EPOCHS = 8
TOY = {
    "fsft": f"{sys.executable} -m fsft",
    "recipes": ["table1/resnet56/*"],
    "options": [
        *("--seeds", "0-1", "--model", "resnet8", "--block", "basic", "--dataset", "photodigits"),
        *("--dataset-options", "size=200", "--images-per-class", "10", "--augment", "none"),
        *("--epochs", str(EPOCHS), "--eval-every", str(EPOCHS), "--batch-size", "10"),
    ],
    "train": ["--device", "cpu", "--precision", "fp32"],
    "threads": 1,
    "mem_mb": 100,
    "seconds_between_tries": 1,
}


class Driver:
    """Snakemake in a folder of its own, started again and again."""

    def __init__(self, folder, profile, environment, *options, **config):
        self.folder = folder
        folder.mkdir()
        (folder / "toy.json").write_text(json.dumps(TOY | config))
        self.command = [SNAKEMAKE, "selected", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
        self.command += [
            "--profile",
            str(ROOT / "workflow" / "profiles" / profile),
            "--configfile",
            "toy.json",
            *options,
        ]
        self.environment = {**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(self, *more):
        with open(self.folder / "driver.txt", "ab") as log:
            process = subprocess.Popen(
                [*self.command, *more],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(process.kill)  # should a test fail; it does nothing to a process that has ended
        return process

    def finish(self, *more):
        """Run to the end; what it printed."""
        before = len(self.printed())
        assert self.start(*more).wait(900) == 0, self.printed()[-4000:]
        return self.printed()[before:]

    def printed(self):
        path = self.folder / "driver.txt"
        return path.read_text() if path.exists() else ""

    def logs(self):
        return {path.parent.name: path.read_text() for path in sorted(self.folder.glob("runs/*/log.txt"))}

    def under_way(self):
        """A run that is computing, with an epoch behind it and more than one before it; None where there is none."""
        for run, log in self.logs().items():
            epoch = re.match(r"\S+ epoch (\d+)/", (log.splitlines() or [""])[-1])  # not: stopped, resuming, done
            if epoch and int(epoch[1]) <= EPOCHS - 2:
                return run
        return None

    def stopped(self, name):
        """How often the signal of that name stopped each run."""
        return {run: log.count(f"stopped by {name}") for run, log in self.logs().items()}

    def results(self):
        return {path.name: json.loads(path.read_text()) for path in sorted(self.folder.glob("results/*.json"))}

    def each_once(self):
        """Whether all six runs are done, and no epoch of any was trained twice."""
        assert len(self.results()) == 6
        for run, log in self.logs().items():
            assert re.findall(r"epoch (\d+)/", log) == [str(epoch) for epoch in range(1, EPOCHS + 1)], (run, log)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Six runs on this machine, with Ctrl-C on the way, and with the driver killed while its runs go on."""
    driver = Driver(tmp_path_factory.mktemp("local") / "work", "local", os.environ, "--cores", "2", gpu=0)
    # Who starts the tests in the background has Ctrl-C ignored, and so would everything that starts here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first = driver.start()
    wait_for(driver.under_way, 300)
    os.killpg(first.pid, signal.SIGINT)
    first.wait(300)
    stopped = sum(driver.stopped("SIGINT").values())
    second = driver.start()
    wait_for(lambda: sum(log.count("epoch ") for log in driver.logs().values()) > EPOCHS + 4, 300)
    second.kill()
    second.wait(60)
    assert stopped and len(driver.results()) < 6
    driver.finish()
    return driver


def test_local_profile_loses_and_repeats_nothing(local):
    local.each_once()
    results = local.results()
    assert "0 runs without a result" in local.finish()
    assert local.results() == results
    local.each_once()


def test_slurm_gives_the_same_bits_after_a_killed_job_a_drained_node_and_a_killed_driver(local, tmp_path_factory):
    assert not one_node.missing(), f"`make test-cluster` installs {one_node.missing()}"
    quick = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    with one_node.running() as environment:
        driver = Driver(
            tmp_path_factory.mktemp("work") / "work", "slurm", environment, *quick, "--latency-wait", "10", minutes=60
        )
        node = ask(environment, "sinfo", "-h", "-o", "%n").strip()

        first = driver.start()
        run = wait_for(driver.under_way, 300)
        os.killpg(first.pid, signal.SIGINT)
        first.wait(300)
        wait_for(lambda: not jobs(environment), 300)
        assert driver.stopped("SIGTERM")[run] == 1 and f"{run}.json" not in driver.results()

        second = driver.start()
        wait_for(lambda: len(jobs(environment)) + len(driver.results()) == 6, 300)
        run = wait_for(driver.under_way, 300)
        before = driver.stopped("SIGTERM")[run]
        job = next(job for job in jobs(environment) if run in job["comment"])
        ask(environment, "scancel", "--signal=TERM", job["id"])  # as Slurm does before the walltime is over
        wait_for(lambda: driver.stopped("SIGTERM")[run] == before + 1, 300)
        ask(environment, "scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        wait_for(lambda: not any(job["state"] in ("RUNNING", "COMPLETING") for job in jobs(environment)), 300)
        assert len(driver.results()) < 6 and f"{run}.json" not in driver.results()
        second.kill()
        second.wait(60)
        ask(environment, "scontrol", "update", f"NodeName={node}", "State=RESUME")

        driver.finish()
        driver.each_once()
        assert "0 runs without a result" in driver.finish()
        wait_for(lambda: not jobs(environment), 300)  # those of the driver that was killed, too
    driver.each_once()
    ours, theirs = driver.results(), local.results()
    assert {name: tiny.comparable(result) for name, result in ours.items()} == {
        name: tiny.comparable(result) for name, result in theirs.items()
    }


def jobs(environment):
    """What is in the queue or running: id, state, and the comment, which names the run."""
    lines = ask(environment, "squeue", "-h", "-t", "PD,R,CG,S", "-o", "%i %T %k").splitlines()
    return [dict(zip(("id", "state", "comment"), line.split(None, 2), strict=True)) for line in lines]


def test_a_dry_run_lists_every_missing_run_of_the_paper_with_its_cost():
    command = [SNAKEMAKE, "--profile", "workflow/profiles/slurm", "-n", "paper", "--config", f"fsft={TOY['fsft']}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert printed.returncode == 0, printed.stderr
    text = printed.stdout + printed.stderr
    missing = json.loads(
        subprocess.run(
            [*TOY["fsft"].split(), "recipes", "--missing", "--json"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
        ).stdout
    )
    wanted = [run for run in missing if "paper" in run["targets"]]
    assert len(re.findall(r"fsft train \S+ --seed \d", text)) == len(wanted)
    assert all(f"fsft train {' '.join(run['arguments'])} " in text for run in wanted)
    assert re.search(rf"paper: {len(wanted)} runs without a result; .*GPU-hours.*; disk: [\d.]+ GB", text)


def test_nothing_of_the_package_imports_snakemake():
    found = subprocess.run(["git", "grep", "-lE", r"^\s*(import|from) snakemake", "--", "fsft"], cwd=ROOT)
    assert found.returncode == 1
    assert shutil.which(SNAKEMAKE)
