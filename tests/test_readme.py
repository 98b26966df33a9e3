"""What the README tells a newcomer to type must exist."""

import re
import shlex
from pathlib import Path

import pytest

from fsft.__main__ import build_parser
from fsft.recipe import recipes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands():
    """The indented command lines, without comments."""
    lines = (line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    "))
    return [line.removeprefix(".venv/bin/") for line in lines]


def test_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict = {}
    exec(code, names)
    assert names["output"].last.shape == (8, 5, 500) and names["probabilities"].shape == (8, 100)
    assert names["loss"].isfinite()


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("fsft ")])
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
