"""What it withstands: seeded random kills, damages, races and bad input, and whether anything is lost or passes unsaid.

    python benchmarks/torture.py                  # all kinds in a few minutes; writes the counts and the page
    python benchmarks/torture.py --only damaged   # the kinds of that name, printed alone
    python benchmarks/torture.py --page           # the page once more, from the counts

Every trial works in a folder of its own, mostly in a fork of this process that trains a network of a few hundred
milliseconds through the command line. A trial is *lost* if what follows does not end in the weights, the history and
the accuracies of an undisturbed run, bit for bit, or does not end at all; *silent* if damage or bad input passes
without a word; a *traceback* if that is what the user would see.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot fork safely
os.environ["FSFT_HEADLESS"] = "1"

import numpy as np
import torch
from PIL import Image

import fsft.training
from fsft.catalog import profile_recipe, recipes
from fsft.cli.main import main as command
from fsft.datasets.registry import DataError, load_dataset
from fsft.datasets.sets import ImageSet, image_set
from fsft.evidence.answers import between
from fsft.evidence.verify import verify
from fsft.recipe import Recipe
from fsft.runtime import files
from fsft.runtime.checkpoint import load_state, save_state
from fsft.runtime.provenance import git_state
from fsft.runtime.record import parse

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "book"))  # the book's builder is no part of the package
COUNTS, PAGE = ROOT / "benchmarks" / "withstands.json", ROOT / "book" / "withstands.md"
BEGIN, END = "<!-- counts: python benchmarks/torture.py --page -->", "<!-- /counts -->"
PATIENCE = 90.0  # seconds; a process that takes longer hangs
POINTS = ("before open", "half written", "before fsync", "before rename", "after rename", "after folder fsync")

NAME = "tiny/fsft"
TINY = profile_recipe("paper", "fsft").reduced(
    name=NAME, model="resnet8", block="basic", epochs=3, batch_size=16, lr=0.05, dataset="photodigits"
)
STEM = TINY.run_name(0)


class Trial(NamedTuple):
    """A folder to work in, and where chance comes from."""

    folder: Path
    random: Random
    number: int

    def train(self, *more: str, runs: str = "runs", results: str = "results") -> list[str]:
        folders = ["--runs-dir", str(self.folder / runs), "--results-dir", str(self.folder / results)]
        return ["train", NAME, "--device", "cpu", "--progress", "none", *folders, *more]


class Ended(NamedTuple):
    """How a process ended, and all that it said; status None is one that hung."""

    status: int | None
    said: str


class Verdict(Exception):  # noqa: N818
    """Ends a trial: ``lost``, ``silent`` or ``traceback``, with the reason."""

    def __init__(self, kind: str, why: str):
        super().__init__(why)
        self.kind = kind


def expect(condition: object, kind: str, why: str) -> None:
    if not condition:
        raise Verdict(kind, why)


# Processes


def fork(work: Callable[[], int], said: Path) -> int:
    """Start ``work`` in a process whose output goes to a file; returns its number."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        with open(said, "ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        status = work()
    except SystemExit as leaving:  # argparse
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(child: int, said: Path, patience: float = PATIENCE) -> Ended:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Ended(os.waitstatus_to_exitcode(status), said.read_text(errors="replace"))
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Ended(None, said.read_text(errors="replace"))


def run(trial: Trial, arguments: list[str], before: Callable[[], None] = lambda: None) -> Ended:
    """A command in a fork of its own; no traceback passes."""

    def work() -> int:
        before()
        return command(arguments)

    said = trial.folder / f"said-{time.monotonic_ns()}.txt"
    ended = wait(fork(work, said), said)
    expect(ended.status is not None, "lost", f"{arguments} hangs")
    expect("Traceback" not in ended.said, "traceback", ended.said[-2000:])
    return ended


def refused(trial: Trial, arguments: list[str]) -> None:
    """The command fails in a sentence."""
    ended = run(trial, arguments)
    expect(ended.status in (1, 2, 3), "silent", f"{arguments} has status {ended.status}: {ended.said[-500:]}")
    expect(re.search(r"^fsft:? |expected", ended.said, re.M), "silent", f"{arguments} says {ended.said!r}")


def outcome(path: Path) -> tuple[Any, ...]:
    """What must be the same, bit for bit, however often a run was disturbed."""
    result = parse(path)
    history = [{key: value for key, value in entry.items() if key != "seconds"} for entry in result["history"]]
    return history, result["last"], result["best"], result["weights_sha256"]


def finish(trial: Trial, *more: str, runs: str = "runs") -> Ended:
    """Go on with the run, which must end as the undisturbed one did."""
    ended = run(trial, trial.train(*more, runs=runs))
    path = trial.folder / "results" / f"{STEM}.json"
    expect(ended.status == 0 and path.exists(), "lost", f"status {ended.status}: {ended.said[-500:]}")
    expect(outcome(path) == REFERENCE["outcome"], "lost", "other weights or accuracies")
    expect(verify(trial.folder / "results", trial.folder / runs) == [], "lost", "the result does not verify")
    return ended


# What an undisturbed run gives, and how long it takes; filled once.
REFERENCE: dict[str, Any] = {}


def prepare(folder: Path) -> None:
    """The tiny recipe, its data, an undisturbed run, and one that was interrupted with two checkpoints."""
    recipes[NAME] = TINY
    (fsft.training.train.__kwdefaults__ or {})["checkpoint_seconds"] = 0.0  # after every step
    data = noise("train", 48), noise("test", 16)

    def recipe_data(recipe: Recipe, data_dir: str | Path) -> Any:
        if (recipe.dataset, recipe.dataset_options) != (TINY.dataset, TINY.dataset_options):
            return REAL_DATA(recipe, data_dir)
        few = recipe.images_per_class
        return data if few is None else (data[0].subset(few, seed=0), data[1])

    fsft.training.recipe_data = recipe_data
    trial = Trial(folder, Random(0), 0)
    begin = time.perf_counter()
    ended = run(trial, trial.train())
    REFERENCE["seconds"] = time.perf_counter() - begin
    if ended.status != 0:
        raise SystemExit(f"the undisturbed run fails: {ended.said}")
    REFERENCE["outcome"], REFERENCE["folder"] = outcome(folder / "results" / f"{STEM}.json"), folder
    run(trial, trial.train(runs="half", results="none"), lambda: kill_at("before prune", 6))


def noise(split: str, count: int) -> ImageSet:
    """16 x 16 noise with a colored corner that gives the class away."""
    random, labels = np.random.default_rng(len(split)), np.arange(count) % 3
    pixels = random.integers(0, 256, (count, 3, 16, 16))
    pixels[np.arange(count), labels, :8, :8] = 255
    return image_set("noise", split, pixels, labels, ("red", "green", "blue"))


REAL_DATA = fsft.training.recipe_data


def kill_at(name: str, occurrence: int) -> None:
    """Make this process kill itself when it passes a fault point of a write for the n-th time."""
    passed = 0

    def fault_point(point: str) -> None:
        nonlocal passed
        passed += point == name
        if passed == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    files.fault_point = fault_point  # type: ignore[assignment]


# The kinds of trials


def killed(trial: Trial) -> None:
    """Up to three kills, each of the run that goes on from the one before."""
    for number in range(trial.random.randint(1, 3)):
        said = trial.folder / f"killed{number}.txt"
        child = fork(lambda: command(trial.train()), said)
        time.sleep(trial.random.uniform(0, 1.1) * REFERENCE["seconds"])
        os.kill(child, signal.SIGKILL)
        wait(child, said)
    finish(trial)
    litter = [path.name for path in trial.folder.rglob("*.tmp")]
    expect(not litter, "silent", f"left behind: {litter}")


def killed_in_a_write(trial: Trial) -> None:
    point, occurrence = trial.random.choice(POINTS), trial.random.randint(1, 14)
    ended = run(trial, trial.train(), lambda: kill_at(point, occurrence))
    expect(ended.status in (0, -signal.SIGKILL), "lost", f"status {ended.status}")
    finish(trial)


def asked_to_stop(trial: Trial) -> None:
    number = trial.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    said = trial.folder / "stopped.txt"
    child = fork(lambda: command(trial.train()), said)
    # In a fork that has just begun, the signal would still meet this script's handlers.
    time.sleep(0.1 + trial.random.uniform(0, 1) * REFERENCE["seconds"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    ended = wait(child, said)
    expect(ended.status in (0, 128 + number, -number), "lost", f"status {ended.status} after {number}: {ended.said}")
    expect("Traceback" not in ended.said or number == signal.SIGINT, "traceback", ended.said)
    if ended.status == 128 + number:
        expect("goes on from here" in ended.said or "began" in ended.said, "silent", ended.said)
    finish(trial)


def two_starters(trial: Trial) -> None:
    """The same run twice at a time, into one folder of results, from one folder of runs or from two."""
    folders = ("runs", trial.random.choice(["runs", "others"]))
    said = [trial.folder / "first.txt", trial.folder / "second.txt"]
    children = []
    for folder, text in zip(folders, said, strict=True):
        children.append(fork(lambda folder=folder: command(trial.train(runs=folder)), text))  # type: ignore[misc]
        time.sleep(trial.random.choice([0, trial.random.uniform(0, 1) * REFERENCE["seconds"]]))
    ended = [wait(child, text) for child, text in zip(children, said, strict=True)]
    for one in ended:
        expect("Traceback" not in one.said, "traceback", one.said)
        expect(one.status in (0, 2, 4), "lost", f"status {one.status}: {one.said}")
    trained = list(trial.folder.glob("*/*/weights.pt"))
    expect(len(trained) == 1, "silent", f"{len(trained)} trained it, with status {[one.status for one in ended]}")
    finish(trial, runs=trained[0].parents[1].name)


def damage(content: bytes, random: Random) -> bytes:
    """A flipped bit, a lost end, a page of zeros, bytes behind the end, or nothing left."""
    place, data = random.randrange(len(content)), bytearray(content)
    how = random.randrange(5)
    if how == 0:
        data[place] ^= 1 << random.randrange(8)
    elif how == 1:
        del data[place:]
    elif how == 2:
        data[place : place + 4096] = bytes(len(data[place : place + 4096]))
    elif how == 3:
        data += random.randbytes(random.randint(1, 64))
    else:
        data.clear()
    return bytes(data)


def damaged_checkpoint(trial: Trial) -> None:
    """One of the two checkpoints, or both: what is damaged is set aside and said, and the run ends as it would."""
    folder = trial.folder / "runs" / STEM
    shutil.copytree(REFERENCE["folder"] / "half" / STEM, folder)
    (older, newest) = sorted(folder.glob("checkpoint-*.pt"))[-2:]
    for path in trial.random.choice([[newest], [newest], [newest, older]]):
        content = path.read_bytes()
        path.write_bytes(damage(content, trial.random))
        if path.read_bytes() == content:
            return
    ended = finish(trial)
    expect("is damaged" in ended.said, "silent", f"goes on from a damaged checkpoint: {ended.said}")


def checkpoint_of_another_run(trial: Trial) -> None:
    folder = trial.folder / "runs" / TINY.run_name(trial.random.randint(1, 9))
    shutil.copytree(REFERENCE["folder"] / "half" / STEM, folder)
    refused(trial, trial.train("--seed", folder.name.rpartition("seed")[2]))


def damaged_weights(trial: Trial) -> None:
    shutil.copytree(REFERENCE["folder"] / "runs", trial.folder / "runs")
    path = trial.folder / "runs" / STEM / "weights.pt"
    content = path.read_bytes()
    path.write_bytes(damage(content, trial.random))
    if path.read_bytes() != content:
        refused(trial, [trial.random.choice(["evaluate", "rerun"]), str(path.parent), "--device", "cpu"])
        shutil.copytree(REFERENCE["folder"] / "results", trial.folder / "results")
        expect(verify(trial.folder / "results", trial.folder / "runs"), "silent", "verify finds nothing")


def damaged_result(trial: Trial) -> None:
    path = trial.folder / "results" / f"{STEM}.json"
    shutil.copytree(REFERENCE["folder"] / "results", path.parent)
    content = path.read_bytes()
    if trial.random.random() < 0.5:
        path.write_bytes(damage(content, trial.random))
    else:  # a number edited by hand
        places = [match.span() for match in re.finditer(rb"\d+\.?\d*", content)]
        begin, end = trial.random.choice(places)
        edited = str(trial.random.choice([7, -1, 99.5, 10**400, 0])).encode()
        path.write_bytes(content[:begin] + edited + content[end:])
    with contextlib.suppress(ValueError):
        if json.loads(path.read_bytes()) == json.loads(content):
            return
    expect(verify(path.parent), "silent", "verify finds nothing")
    ended = run(trial, trial.train())
    expect(ended.status != 0 and "fsft: " in ended.said, "silent", f"counts as done: {ended.said}")


JUNK: tuple[Any, ...] = (None, "x", [], {}, -3, 1.5, [1], {"a": 1}, torch.zeros(3), True)


def sealed_wrong_content(trial: Trial) -> None:
    """The digest fits, and what is inside is not what a run keeps."""
    path = trial.folder / "runs" / STEM / "weights.pt"
    saved = load_state(REFERENCE["folder"] / "runs" / STEM / "weights.pt")
    place = trial.random.choice([key for key in saved if key != "input_size"])
    within = isinstance(saved[place], dict) and trial.random.random() < 0.6
    part = saved[place] if within else saved
    key = trial.random.choice([key for key in part if key != "origin"]) if within else place
    junk = trial.random.choice(JUNK)
    if trial.random.random() < 0.4:
        del part[key]
    elif repr(part[key]) == repr(junk) or (key == "name" and junk == "x"):
        return
    else:
        part[key] = junk
    save_state(path, saved)
    shutil.copytree(REFERENCE["folder"] / "results", trial.folder / "results")
    folders = ["--results-dir", str(trial.folder / "results"), "--device", "cpu"]
    if place in ("model", "classes", "recipe") and not (within and place == "recipe"):
        refused(trial, ["evaluate", str(path.parent), *folders])
    image = trial.folder / "image.png"
    Image.new("RGB", (32, 32)).save(image)
    ended = run(trial, ["predict", str(path), str(image), "--device", "cpu"])
    expect(ended.status != 0 or within or place == "statistics", "silent", f"predicts with {key} = {junk}")


class Hostile:
    """Makes a folder when a pickle of it is loaded."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def hostile_pickle(trial: Trial) -> None:
    """As weights or as a checkpoint, sealed or not: nothing in it is executed."""
    canary, folder = trial.folder / "executed", trial.folder / "runs" / STEM
    path = folder / trial.random.choice(["weights.pt", "checkpoint-000000001.pt"])
    folder.mkdir(parents=True)
    payload = {"recipe": {}, trial.random.choice(["model", "identity", "classes"]): Hostile(canary)}
    how = trial.random.randrange(3)
    if how == 0:
        save_state(path, payload)
    elif how == 1:
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, path)
    if path.name == "weights.pt":
        refused(trial, ["evaluate", str(folder), "--device", "cpu"])
    else:
        finish(trial)
    expect(not canary.exists(), "silent", "code was executed")


def full_disk(trial: Trial) -> None:
    """No file can grow beyond a size that some write of the run needs; with room it goes on, and ends as it would."""
    size = trial.random.randint(2_000, (REFERENCE["folder"] / "runs" / STEM / "weights.pt").stat().st_size)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    ended = run(trial, trial.train(), limit)
    expect(ended.status == 1 and "make room" in ended.said, "silent", f"status {ended.status}: {ended.said}")
    finish(trial)


def pictures(folder: Path, random: Random) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            for number in range(3):
                path = folder / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.frombytes("RGB", (12, 12), random.randbytes(432)).save(path)


def damaged_image(trial: Trial) -> None:
    """It is named; or it can be read, and the fingerprint says that the data are others."""
    pictures(trial.folder / "own", trial.random)
    name, cache = f"imagefolder:{trial.folder / 'own'}", trial.folder / "data"
    with contextlib.redirect_stderr(io.StringIO()):
        before = load_dataset(name, "train", cache)
    path = trial.random.choice(sorted((trial.folder / "own" / "train").rglob("*.png")))
    path.write_bytes(damage(path.read_bytes(), trial.random))
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            after = load_dataset(name, "train", cache)
        except DataError as error:
            expect(path.name in str(error) and "\n" not in str(error), "silent", str(error))
            return
    same = torch.equal(before.images, after.images)
    expect(same == (before.sha256 == after.sha256), "silent", "other pixels under the same fingerprint")


def damaged_cache(trial: Trial) -> None:
    """The copy is not believed, which is said, and the images are read again."""
    pictures(trial.folder / "own", trial.random)
    name, cache = f"imagefolder:{trial.folder / 'own'}", trial.folder / "data"
    with contextlib.redirect_stderr(io.StringIO()):
        before = load_dataset(name, "train", cache)
    (path,) = cache.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes(), trial.random))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        after = load_dataset(name, "train", cache)
    expect(torch.equal(before.images, after.images) and before.sha256 == after.sha256, "lost", "other images")
    rebuilt = "cannot be used" in said.getvalue() or "has changed" in said.getvalue()
    with np.load(path) as arrays:  # in padding and names of a zip file a bit may flip without harm
        whole = np.array_equal(arrays["images"], before.images.numpy())
    expect(rebuilt or whole, "silent", "the damaged copy was used")


def odd_arrays(trial: Trial) -> None:
    """Arrays of one's own with something wrong."""
    random = trial.random
    images, labels = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2
    wrong: dict[str, list[Any]] = {
        "images": [images.transpose(0, 2, 3, 1), images / 255, images.astype(int) - 1, images[0], images[:3]],
        "labels": [labels * 0.7, labels + 1, labels - 1, labels[:3], labels[:, None]],
        "masks": [np.zeros((3, 8, 8), bool), np.zeros((4, 8, 7), bool), np.full((4, 8, 8), np.nan)],
        "boxes": [np.zeros((4, 3), np.float32), np.zeros((3, 4), np.float32)],
    }
    what = random.choice(list(wrong))
    arrays: dict[str, Any] = {"images": images, "labels": labels, what: random.choice(wrong[what])}
    with contextlib.suppress(DataError):
        image_set("own", "train", classes=("a", "b"), **arrays)
        raise Verdict("silent", f"{what} of {arrays[what].dtype} {arrays[what].shape} accepted")


VALUES = {
    "--epochs": "-1 0 1.5 nan x",
    "--batch-size": "-1 0 1.5 nan 99999999 x",
    "--lr": "nan inf -1 0 x",
    "--weight-decay": "nan inf -1 x",
    "--beta": "nan inf -1 x",
    "--head-lr-scale": "nan inf 0 -1 x",
    "--images-per-class": "-1 0 1.5 99999999 x",
    "--model": "resnet21 resnet9999998 resnet99999999999999999999 wrn28-0 pyramidnet111-9 vgg ../x",
    "--block": "x",
    "--shortcut": "C",
    "--method": "fstf",
    "--augment": "crop+turn",
    "--schedule": "x",
    "--masks": "x",
    "--dataset": "nowhere imagefolder:nowhere imagefolder: cifar10 cifar100 tiny-imagenet cub200 /dev/zero",
    "--dataset-options": "size=0 size=nan size=-4 size=x foo=1 bar background_correlation=2",
    "--mixup-alpha": "0 nan -1",
    "--temperature": "0 nan -1",
    "--eval-every": "0 -1 1.5",
    "--cutout-length": "0 -1 x",
    "--device": "gpu mps xpu meta vulkan cuda:99 cpu:x",
    "--precision": "fp8",
    "--progress": "x",
    "--seed": "-1 1.5 99999999999 x",
    "--steps": "0 -1 x",
    "--epcohs": "3",
}
COMMANDS = """
tran x | train | train tiny/fstf | train / | data check nowhere | data check cifar100 | data check imagefolder:PIPE
data download imagenet | data | data x y | evaluate | evaluate nowhere | evaluate PIPE | evaluate EMPTY
evaluate FOLDER | evaluate nowhere/x.json | evaluate PIPE/x.json | predict nowhere x.png | predict EMPTY x.png
predict PIPE/weights.pt x.png | verify --results-dir nowhere | verify --results-dir PIPE | localize tiny/fsft
localize tiny/fsft --images 0 | localize nothing | recipes zzz* | recipes tiny/fsf | recipes --missing --seeds 3-0
recipes --missing --seeds 0-99999999999 | sweep tiny/fsft --jobs 0 | sweep tiny/fsft --jobs x | sweep zzz*
sweep tiny/fsft --seeds 0-99999999999 | sweep tiny/fsft --together 0 | sweep tiny/fsft --together 2 --jobs 2
sweep tiny/fsft --gpus 0 --device cpu
"""
BAD = [["OPTION", name, value] for name, values in VALUES.items() for value in values.split()]
BAD += [line.split() for part in COMMANDS.strip().split("\n") for line in part.split(" | ")]


def bad_input(trial: Trial) -> None:
    first, *rest = BAD[trial.number % len(BAD)]
    os.mkdir(trial.folder / "PIPE")
    for name in ("weights.pt", "x.json"):
        os.mkfifo(trial.folder / "PIPE" / name)
    (trial.folder / "EMPTY").mkdir()
    (trial.folder / "EMPTY" / "weights.pt").touch()
    (trial.folder / "FOLDER" / "weights.pt").mkdir(parents=True)
    home = Path.cwd()
    os.chdir(trial.folder)
    try:
        refused(trial, trial.train(*rest) if first == "OPTION" else [first, *rest])
    finally:
        os.chdir(home)


def module(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """``python -m fsft`` in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-P", *arguments]
    return subprocess.Popen(line, env=environment, start_new_session=True, text=True, **options)


def stopped_while_it_starts(trial: Trial) -> None:
    """Ctrl-C between the first of our lines that Python reads and the training, which loads PyTorch on the way."""
    arguments = trial.random.choice([["recipes"], ["recipes", "--missing"], trial.train()[:3]])
    process = module("-X", "importtime", "-m", "fsft", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = ""
    while (line := process.stderr.readline()) and not line.rstrip().endswith("| fsft.cli"):
        pass
    time.sleep(trial.random.uniform(0, 1.5))
    process.send_signal(signal.SIGINT)
    said = "".join(part for part in process.stderr if not part.startswith("import time:"))
    expect(process.wait(PATIENCE) in (0, 2, 130), "lost", f"status {process.returncode}: {said}")
    expect("Traceback" not in said, "traceback", said)


def killed_sweep(trial: Trial) -> None:
    """A sweep of real processes is killed and at once started again; what it had started has saved and left."""
    small = "--model resnet8 --epochs 4 --eval-every 4 --batch-size 16 --dataset photodigits --dataset-options size=60"
    line = ["-m", "fsft", "sweep", "cpu/resnet20/fsft", "--seeds", "0", "--device", "cpu"]
    said = trial.folder / "said.txt"

    def sweep(results: str) -> subprocess.Popen[str]:
        folders = ["--runs-dir", str(trial.folder / results / "runs"), "--results-dir", str(trial.folder / results)]
        with open(said, "a") as file:
            return module(*line, *small.split(), *folders, stdout=file, stderr=file)

    def weights(folder: Path) -> list[str]:
        return [parse(path)["weights_sha256"] for path in sorted(folder.glob("*.json"))]

    if "sweep" not in REFERENCE:
        begin = time.perf_counter()
        sweep("whole").wait(PATIENCE)
        REFERENCE["sweep"], REFERENCE["sweep seconds"] = weights(trial.folder / "whole"), time.perf_counter() - begin
    process = sweep("results")
    time.sleep(trial.random.uniform(0.3, 1) * REFERENCE["sweep seconds"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    status = sweep("results").wait(PATIENCE)
    expect(status == 0, "lost", f"status {status}: {said.read_text()[-1000:]}")
    expect(weights(trial.folder / "results") == REFERENCE["sweep"] != [], "lost", "other weights")
    logs = "".join(path.read_text() for path in trial.folder.rglob("log.txt"))
    expect("Traceback" not in said.read_text() + logs, "traceback", logs[-1000:])


def two_processes(trial: Trial) -> None:
    """Two processes that share nothing but the seed end in the same bits."""
    seed = str(trial.random.randrange(1, 10**6))
    line = ["-m", "fsft", "train", "cpu/resnet20/fsft", "--seed", seed, "--device", "cpu", "--progress", "none"]
    line += ["--model", "resnet8", "--epochs", "1", "--batch-size", "16"]
    line += ["--dataset", "photodigits", "--dataset-options", "size=60"]
    ends, said = [], trial.folder / "said.txt"
    for name in ("one", "other"):
        folders = ["--runs-dir", str(trial.folder / name / "runs"), "--results-dir", str(trial.folder / name)]
        with open(said, "a") as file:
            status = module(*line, *folders, stdout=file, stderr=file).wait(PATIENCE)
        expect(status == 0, "lost", f"status {status}: {said.read_text()[-1000:]}")
        ends += [outcome(path) for path in (trial.folder / name).glob("*.json")]
    expect(len(ends) == 2 and ends[0] == ends[1], "lost", f"seed {seed}: other weights or accuracies")


ACTIVE = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)></svg>", "<base href=//x>"),
    *("<iframe src=//x></iframe>", "<object data=x></object>", "<embed src=x>", "<form action=x></form>"),
    *("<a href=javascript:alert(1)>x</a>", "<a href=data:text/html,x>x</a>", "<style>@import '//x'</style>"),
    *("<td onclick=alert(1)>x</td>", "<p style=background:url(//x)>x</p>", "<meta http-equiv=refresh content=0>"),
)


def hostile_output(trial: Trial) -> None:
    """What runs or fetches something when it is shown, somewhere in a table as ours: it must not reach a page."""
    from builder import BookError
    from builder.publishing import clean_outputs
    from nbformat.v4 import new_output

    inside = trial.random.choice(ACTIVE)
    inside = "".join(trial.random.choice([letter, letter.upper()]) for letter in inside)
    for tag in trial.random.choices(["td", "tr", "tbody", "table", "div", "em"], k=trial.random.randrange(4)):
        inside = f"<{tag}>{trial.random.choice(['', 'text', '&lt;', '<!--'])}{inside}</{tag}>"
    html = f'<div class="fsft-table">{inside}</div>'
    try:
        clean_outputs([new_output("display_data", data={"text/html": html})], {})
    except BookError:
        return
    raise Verdict("silent", f"{html} is published")


def hostile_parameter(trial: Trial) -> None:
    """A folder of data with any name reaches a notebook as that name, and nothing in it is executed."""
    import ast

    from nbformat.v4 import new_code_cell, new_notebook
    from papermill.parameterize import parameterize_notebook

    parts = [
        '"',
        "'",
        '"""',
        "\\",
        "\n",
        "\r",
        ";",
        "#",
        "{",
        "}",
        "$(x)",
        "`x`",
        "\x00",
        "\u2028",
        "é",
        "import os",
        "nan",
    ]
    value = "".join(trial.random.choices(parts, k=trial.random.randint(1, 9)))
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}, "papermill": {}}
    cell = new_code_cell('profile = "quick"\ndata_dir = "data"', metadata={"tags": ["parameters"]})
    made = parameterize_notebook(new_notebook(cells=[cell], metadata=kernel), {"data_dir": value})
    (injected,) = (cell for cell in made.cells if "injected-parameters" in cell.metadata.tags)
    (only,) = ast.parse(injected.source).body
    expect(isinstance(only, ast.Assign) and ast.literal_eval(only.value) == value, "silent", injected.source)


KINDS: dict[str, tuple[str, Callable[[Trial], None], int]] = {
    "killed": ("killed up to three times, at random moments of a training", killed, 16),
    "killed in a write": ("killed between two steps of a write", killed_in_a_write, 16),
    "killed sweep": ("a sweep killed and at once started again", killed_sweep, 2),
    "damaged checkpoint": ("checkpoints with flipped bits, zeros, more or fewer bytes", damaged_checkpoint, 24),
    "checkpoint of another": ("a checkpoint of another run in its place", checkpoint_of_another_run, 8),
    "damaged weights": ("final weights damaged in the same ways", damaged_weights, 40),
    "sealed wrong content": ("weights whose digest fits, with other content", sealed_wrong_content, 32),
    "damaged result": ("results damaged, or with a number edited", damaged_result, 80),
    "hostile pickle": ("pickles that run code, as weights and checkpoints", hostile_pickle, 20),
    "damaged image": ("image files damaged", damaged_image, 60),
    "damaged cache": ("decoded copies of data sets damaged", damaged_cache, 60),
    "odd arrays": ("arrays of wrong shape, type or range", odd_arrays, 40),
    "asked to stop": ("SIGTERM, SIGINT or SIGHUP at random moments", asked_to_stop, 16),
    "stopped while it starts": ("Ctrl-C while the command loads", stopped_while_it_starts, 8),
    "two starters": ("one run started twice at a time", two_starters, 16),
    "full disk": ("files that cannot grow beyond a random size", full_disk, 12),
    "two processes": ("one seed in two fresh processes", two_processes, 10),
    "hostile output": ("outputs of notebooks that would run or fetch something", hostile_output, 60),
    "hostile parameter": ("folder names that are code, as parameters of notebooks", hostile_parameter, 60),
    "bad input": ("commands with wrong names, numbers, files and options", bad_input, len(BAD)),
}


def trials(kind: str, count: int, seed: int, folder: Path) -> Iterator[str]:
    """The verdict of each trial, "withstood" if all is well."""
    work = KINDS[kind][1]
    for number in range(count):
        place = folder / f"{kind} {number}".replace(" ", "-")
        place.mkdir()
        try:
            work(Trial(place, Random(f"{seed} {kind} {number}"), number))
            yield "withstood"
        except Verdict as verdict:
            print(f"{kind}, trial {number}: {verdict.kind}: {verdict}", file=sys.stderr)
            yield verdict.kind
        except Exception:
            print(f"{kind}, trial {number}:\n{traceback.format_exc()}", file=sys.stderr)
            yield "traceback"
        shutil.rmtree(place, ignore_errors=True)


def torture(only: str = "", seed: int = 0, most: int | None = None) -> dict[str, Any]:
    """The counts of every kind whose name begins with ``only``, of at most so many trials each."""
    begin, git, rows = time.monotonic(), git_state(ROOT), []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for kind, (what, _, count) in KINDS.items():
            if not kind.startswith(only):
                continue
            start = time.monotonic()
            verdicts = list(trials(kind, min(count, most or count), seed, Path(folder)))
            row = {"kind": kind, "what": what, "trials": len(verdicts)}
            rows.append(row | {name: verdicts.count(name) for name in ("lost", "silent", "traceback")})
            bad = ", ".join(f"{rows[-1][name]} {name}" for name in ("lost", "silent", "traceback"))
            print(f"{kind:<24} {len(verdicts):>4} trials: {bad}  ({time.monotonic() - start:.0f} s)", flush=True)
    versions = {"python": sys.version.split()[0], "torch": str(torch.__version__)}
    return {"git": git, "seed": seed, "seconds": round(time.monotonic() - begin), **versions, "kinds": rows}


def page(counts: dict[str, Any], text: str) -> str:
    """The page with the table of these counts between its marks."""
    names = ("trials", "lost", "silent", "traceback")
    lines = ["| kind | what is done | trials | lost | silent | tracebacks |", "|---|---|--:|--:|--:|--:|"]
    for row in counts["kinds"]:
        lines.append(f"| {row['kind']} | {row['what']} | " + " | ".join(str(row[name]) for name in names) + " |")
    total = [sum(row[name] for row in counts["kinds"]) for name in names]
    lines.append("| **together** | | " + " | ".join(f"**{number:,}**" for number in total) + " |")
    where = f"Commit `{str(counts['git']['commit'])[:12]}`, seed {counts['seed']}, {counts['seconds']} seconds, "
    where += f"Python {counts['python']}, PyTorch {counts['torch']}."
    return between(text, BEGIN, "\n".join(lines) + f"\n\n{where}", END)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="kinds whose name begins so; nothing is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true", help="write the page from the counts that are there")
    options = parser.parse_args()
    counts = json.loads(COUNTS.read_text()) if options.page else torture(options.only, options.seed)
    if not options.only:
        COUNTS.write_text(json.dumps(counts, indent=1) + "\n")
        PAGE.write_text(page(counts, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return int(any(row[name] for row in counts["kinds"] for name in ("lost", "silent", "traceback")))


if __name__ == "__main__":
    sys.exit(main())
