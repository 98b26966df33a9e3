"""Command-line options that change a recipe, for ``fsft train`` (one value each) and ``fsft sweep`` (a list each)."""

import argparse
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from fsft.methods import MASK_FAMILIES, METHODS
from fsft.recipe import AUGMENTATIONS, SCHEDULES, Recipe


def pairs(text: str) -> tuple[tuple[str, float | str], ...]:
    """``size=500+classes=available`` as the pairs of a recipe's ``dataset_options``; ``none`` is none."""
    found: list[tuple[str, float | str]] = []
    for part in text.split("+") if text != "none" else ():
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {part!r}")
        found.append((name, _number(value)))
    return tuple(found)


def augmentations(text: str) -> tuple[str, ...]:
    """``crop+flip+cutout`` as a recipe's ``augment``, in the order in which they happen; ``none`` is none."""
    names = [] if text == "none" else text.split("+")
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        known = ", ".join(AUGMENTATIONS)
        raise argparse.ArgumentTypeError(f"expected none, or some of {known} joined by +, found {unknown[0]!r}")
    return tuple(name for name in AUGMENTATIONS if name in names)


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


MOST_SEEDS = 10_000
IN_USE = 4  # exit status of ``fsft train`` when another process holds the run; ``fsft sweep`` waits for it

_KINDS: dict[Any, Callable[[str], object]] = {"str": str, "int": int, "int | None": int, "float": float}
_FIXED = ("name", "origin", "momentum", "milestones", "gamma")
# What can be changed of a recipe, and how its text is read.
CHANGES = {field.name: _KINDS.get(field.type, pairs) for field in fields(Recipe) if field.name not in _FIXED}
CHANGES["augment"] = augmentations
CHOICES = {"schedule": SCHEDULES, "block": ("basic", "bottleneck"), "shortcut": ("A", "B")}
CHOICES |= {"method": tuple(METHODS), "masks": tuple(MASK_FAMILIES)}
HINTS = {"dataset_options": "none|NAME=VALUE[+NAME=VALUE]", "augment": "none|crop+flip+cutout+mixup"}


def parse_seeds(text: str) -> list[int]:
    """``"0-3"`` or ``"0,2,5"`` or both, such as ``"0-2,7"``; ValueError for anything else."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"expected seeds such as 0-3 or 0,2,5, found {text!r}")
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not 0 <= int(last or first) - int(first) < MOST_SEEDS:
            raise ValueError(f"expected rising seeds such as 0-3, at most {MOST_SEEDS:,}, found {part!r}")
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


def add_changes(command: argparse.ArgumentParser, *, lists: bool) -> None:
    """Add ``--epochs``, ``--lr``, ... to a command; with ``lists`` each takes values separated by commas."""
    title = "changes to the recipe (a result tells its distance from the paper's)"
    group = command.add_argument_group(title + ("; several values, separated by commas, make a grid" if lists else ""))
    for name, kind in CHANGES.items():
        flag = "--" + name.replace("_", "-")
        hint = "|".join(CHOICES.get(name, ())) or HINTS.get(name, name.upper())
        if lists:
            group.add_argument(flag, type=_list_of(kind), metavar=f"{hint}[,...]")
        else:
            group.add_argument(flag, type=kind, metavar=hint)


def changed(recipe: Recipe, changes: dict[str, object]) -> Recipe:
    """The recipe itself where nothing changes, else one derived from it."""
    different = {name: value for name, value in changes.items() if getattr(recipe, name) != value}
    return recipe.reduced(**different) if different else recipe


def changes_in(options: argparse.Namespace) -> dict[str, object]:
    """The changes that were asked for, each one value."""
    return {name: getattr(options, name) for name in CHANGES if getattr(options, name) is not None}


def grid(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every combination of the lists of changes that were asked for; one empty combination without any."""
    lists = changes_in(options)
    for values in itertools.product(*lists.values()):  # type: ignore[call-overload]
        yield dict(zip(lists, values, strict=True))


def as_arguments(changes: Mapping[str, object]) -> list[str]:
    """The command line that asks for these changes."""
    return [text for name, value in changes.items() for text in ("--" + name.replace("_", "-"), _as_text(value))]


def _as_text(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return "+".join(part if isinstance(part, str) else f"{part[0]}={part[1]}" for part in value) or "none"


def _list_of(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
    def parse(text: str) -> list[object]:
        return [kind(part) for part in text.split(",")]

    parse.__name__ = f"{kind.__name__} list"  # argparse names it in its error message
    return parse
