"""What the README tells a newcomer to type must exist."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from fsft.catalog import recipes
from fsft.cli.main import build_parser
from fsft.evidence.ledger import load_results

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands():
    """The indented command lines, without comments; fenced blocks are programs and their output."""
    unfenced = re.sub(r"^```.*?^```", "", README, flags=re.M | re.S)
    lines = (line.split("#")[0].strip() for line in unfenced.splitlines() if line.startswith("    "))
    return [line.removeprefix(".venv/bin/") for line in lines]


def test_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict = {}
    exec(code, names)
    assert names["output"].last.shape == (8, 5, 500) and names["probabilities"].shape == (8, 100)
    assert names["loss"].isfinite()


IN_COLAB = re.findall(r"^!(fsft .*)", (ROOT / "book" / "colab.md").read_text(), re.M)


@pytest.mark.parametrize("line", [*(line for line in commands() if line.startswith("fsft ")), *IN_COLAB])
def test_fsft_commands_parse(line):
    options = build_parser().parse_args(shlex.split(line)[1:])
    assert getattr(options, "recipe", None) in (None, *recipes)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {line.split()[1] for line in commands() if line.startswith("make ")} | set(
        re.findall(r"`make ([a-z-]+)", README)
    )
    assert {"test", "book", "lab", "help"} <= named <= targets


def test_files_that_are_linked_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_printed_accuracies_are_those_of_the_result_files():
    """Each number that the README shows comes from a run."""
    results = {(run.recipe.name, run.seed): run for run in load_results(ROOT / "results")}
    shown = re.findall(r"^(\S+), seed (\d+): test accuracy\n((?:  .*\n)+)", README, re.M)
    assert len(shown) >= 2
    for name, seed, lines in shown:
        result = results[name, int(seed)]
        pattern = r"(\S+) +last epoch ([\d.]+) %, best ([\d.]+) % \(epoch (\d+)\)"
        for mode, last, best, epoch in re.findall(pattern, lines):
            assert float(last) == result.last[mode]
            assert (float(best), int(epoch)) == (result.best[mode]["accuracy"], result.best[mode]["epoch"])
    for slug, seed, epoch, accuracies in re.findall(
        r"^(\S+)-seed(\d): epoch (\d+)/\d+, loss [\d.]+, (.*), \d", README, re.M
    ):
        (result,) = [run for run in results.values() if run.file == f"{slug}-seed{seed}.json"]
        tested = result.history[int(epoch) - 1]["test"]
        assert accuracies == ", ".join(f"{mode} {value:.2f} %" for mode, value in tested.items())


def test_printed_speeds_are_those_of_the_benchmarks():
    speed, *overheads = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
        for name in ("loop_speed-cpu", "fsft_overhead-cpu", "fsft_overhead-cuda")
    )
    for row in speed:
        for contender, ratio in row["ratio"].items():
            images = f"{row['images_per_second'][contender]:.0f}"
            figures = f"{ratio['median']:.2f}  ({ratio['min']:.2f} to {ratio['max']:.2f})"
            assert re.search(rf"fsft {contender} +{images} +{re.escape(figures)}", README), (row["model"], contender)
    for row in itertools.chain(*overheads):
        time, (low, high) = row["step_time_ratio"], row["step_time_interval"]
        figures = f"step time {time['median']:.3f}  ({time['min']:.3f} to {time['max']:.3f}), "
        figures += f"95 % interval {low:.3f} to {high:.3f}, saved bytes {row['saved_ratio']:.4f}"
        assert re.search(rf"{re.escape(row['model'])} +{re.escape(figures)}", README), row["model"]


def test_printed_milliseconds_on_a_gpu_are_those_of_the_probe():
    probe = json.loads((ROOT / "benchmarks" / "results" / "probe-cuda.json").read_text())
    alone = [row for row in probe["steps"]["rows"] if row["run"] == "resnet56-basic/baseline" and "how" in row]
    of = {row["how"]: row["total_ms"] for row in alone}
    (eight,) = (row["total_ms"] / 8 for row in probe["together"]["rows"] if row["runs"] == 8)
    words = " ".join(README.split())
    assert f"took {of['eager']:.1f} ms as it is, {of['recorded']:.1f} ms recorded, and {eight:.1f} ms for each" in words
