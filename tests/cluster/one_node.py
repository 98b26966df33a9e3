"""A Slurm of one node, started by hand as root and kept in one folder: no systemd, no accounting, no cgroups."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=bf_interval=2,sched_interval=2
KillWait=20
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Programs that are not installed."""
    needed = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
    return [name for name in needed if shutil.which(name) is None]


@contextlib.contextmanager
def running():
    """Start munged, slurmctld and slurmd; yields the environment for their clients, and stops all three at the end."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        os.chmod(folder, 0o755)  # munged has a user of its own
        with daemons(Path(folder)) as environment:
            yield environment


@contextlib.contextmanager
def daemons(folder):
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    munge = folder / "munge"
    munge.mkdir()
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o400)
    for path in (munge, munge / "key"):
        shutil.chown(path, "munge", "munge")
    munge.chmod(0o755)
    host = socket.gethostname()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, ports=free_ports(2)))
    for number in range(2):  # GPUs by name only: Slurm counts them and hands them out, PyTorch finds none
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
    # Snakemake's plugin takes all SLURM_... out of the environment of the `srun` in a job, and so the configuration.
    (folder / "bin").mkdir()
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{srun.parent}:{os.environ['PATH']}"}
    munged = [
        f"--{name}={munge / name.split('-')[0]}" for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")
    ]
    commands = (
        ["runuser", "-u", "munge", "--", "munged", "--foreground", *munged],
        ["slurmctld", "-D", "-c", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    )
    with contextlib.ExitStack() as stack:
        for command in commands:
            stack.enter_context(daemon(command, environment, folder / f"{command[0]}.out"))
            if "munged" in command:
                wait_for((munge / "socket").exists, 20)
        wait_for(lambda: "idle" in ask(environment, "sinfo", "-h", "-o", "%t"), 60)
        try:
            yield environment
        finally:
            ask(environment, "scancel", "--user", "root")


@contextlib.contextmanager
def daemon(command, environment, log):
    with open(log, "ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def ask(environment, *command):
    """What a command prints; nothing when it fails."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def wait_for(condition, seconds):
    """What the condition gives once it is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(0.1)
    return found


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
