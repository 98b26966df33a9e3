"""What a result file must hold, field by field, and sentences about what it lacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

SCHEMA = 1
_Rule = tuple[str, Callable[[Any], bool]]


def check_schema(result: Mapping[str, Any]) -> list[str]:
    """What breaks the schema of a result, one sentence a field."""
    problems = []
    for field, rule in (_FIELDS | {name: rule for name, rule in _OPTIONAL.items() if name in result}).items():
        broken = check_fields(result, {field: rule})
        problems += broken or [
            f"field {field}{place}: expected {inner}, found {_short(found)}"
            for place, inner, found in _inside(field, result[field])
        ]
    return problems


def check_fields(content: Mapping[str, Any], rules: Mapping[str, _Rule]) -> list[str]:
    """What breaks the rules, (what is expected, whether a value is that) by field, one sentence a field."""
    return [
        f"field {field}: expected {expected}, found {_short(content.get(field, _MISSING))}"
        for field, (expected, accepts) in rules.items()
        if field not in content or not accepts(content[field])
    ]


_MISSING = object()


def _number(value: Any) -> bool:
    # Python compares a whole number of any size with a float; converting it would fail.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _positive(value: Any) -> bool:
    return _number(value) and value >= 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _percent(value: Any) -> bool:
    return _number(value) and 0 <= value <= 100


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _date(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _filled(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and bool(value)


def _or_null(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


_ACCURACIES: _Rule = ("an object of accuracies by inference mode", _filled(dict))
_FIELDS: dict[str, _Rule] = {
    "schema": (f"the number {SCHEMA}", lambda value: value == SCHEMA),
    "recipe": ("the recipe's fields", _filled(dict)),
    "recipe_name": ("text", _text),
    "slug": ("text", _text),
    "seed": ("a whole number of at least 0", _count),
    "distance": ("an object of [the paper's value, this value]", _object),
    "history": ("a list of epochs", _filled(list)),
    "last": _ACCURACIES,
    "best": _ACCURACIES,
    "seconds": ("seconds", _positive),
    "images_per_second": ("a number of at least 0, or null", _or_null(_positive)),
    "peak_memory_mib": ("MiB or null", _or_null(_positive)),
    "parameters": ("a whole number", _count),
    "versions": ("an object", _object),
    "device": ("an object", _object),
    "threads": ("a whole number or null", _or_null(_count)),
    "git": ("an object", _object),
    "data": ("an object", _object),
    "weights_sha256": ("text", _text),
    "precision": ("text", _text),
    "finished": ("a date and time in ISO 8601", _date),
}
_OPTIONAL: dict[str, _Rule] = {"stretches": ("a list of stretches", _filled(list))}
_PLACE: _Rule = ("[epochs done, steps done of the next]", lambda value: isinstance(value, list) and len(value) == 2)
_STRETCH: dict[str, _Rule] = {"begin": _PLACE, "end": _PLACE, **{name: _FIELDS[name] for name in ("seconds", "device")}}
_ACCURACY: _Rule = ("a percentage from 0 to 100", _percent)
_EPOCH: dict[str, _Rule] = {
    "epoch": ("a whole number", _count),
    "lr": ("a number", _number),
    "train_loss": ("a number, or null when it was not finite", _or_null(_number)),
    "seconds": ("seconds", _positive),
}
_BEST: dict[str, _Rule] = {"epoch": ("a whole number", _count), "accuracy": _ACCURACY}
_DATA: dict[str, _Rule] = {
    **{f"{split}_sha256": ("text", _text) for split in ("train", "test")},
    **{f"{split}_images": ("a whole number", _count) for split in ("train", "test")},
}


def _inside(field: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    """(place, what was expected, what was found) for what is wrong inside a field of the right kind."""
    if field == "history":
        for number, entry in enumerate(value, start=1):
            optional = (split for split in ("test", "train") if isinstance(entry, dict) and split in entry)
            yield from _broken(_EPOCH | dict.fromkeys(optional, _ACCURACIES), entry, f" of epoch {number}, ")
            for split in ("test", "train"):
                accuracies = entry.get(split) if isinstance(entry, dict) else None
                if isinstance(accuracies, dict):
                    place = f" of epoch {number}, {split}."
                    yield from _broken(dict.fromkeys(accuracies, _ACCURACY), accuracies, place)
    elif field == "stretches":
        for number, stretch in enumerate(value, start=1):
            yield from _broken(_STRETCH, stretch, f" number {number}, ")
    elif field == "last":
        yield from _broken(dict.fromkeys(value, _ACCURACY), value, ".")
    elif field == "best":
        for mode, entry in value.items():
            yield from _broken(_BEST, entry, f".{mode}.")
    elif field == "data":
        yield from _broken(_DATA, value, ".")
    elif field == "recipe":
        yield from _broken({"epochs": ("a whole number", _count)}, value, ".")
    elif field == "distance":
        pair = ("[the paper's value, this value]", lambda item: isinstance(item, list) and len(item) == 2)
        yield from _broken(dict.fromkeys(value, pair), value, ".")


def _broken(rules: Mapping[str, _Rule], value: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    if not isinstance(value, dict):
        yield place.rstrip(" .,"), "an object", value
        return
    for key, (expected, accepts) in rules.items():
        if not accepts(value.get(key, _MISSING)):
            yield f"{place}{key}", expected, value.get(key, _MISSING)


def _short(value: Any) -> str:
    return "nothing" if value is _MISSING else repr(value)[:60]
