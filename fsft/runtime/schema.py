"""What a result file must hold, field by field, and sentences about what it lacks."""

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

SCHEMA = 1
Rule = tuple[str, Callable[[Any], bool]]  # what is expected, and whether a value is that
_MISSING = object()


def check_schema(result: Mapping[str, Any]) -> list[str]:
    """What breaks the schema of a result, one sentence a field."""
    problems = []
    for field, rule in (_FIELDS | {name: rule for name, rule in _OPTIONAL.items() if name in result}).items():
        broken = check_fields(result, {field: rule})
        for place, value, rules in () if broken else _inside(field, result[field]):
            if isinstance(value, dict):
                broken += check_fields(value, rules, field + place)
            else:
                broken.append(f"field {field}{place.rstrip(' .,')}: expected an object, found {_short(value)}")
        problems += broken
    return problems


def check_fields(content: Mapping[str, Any], rules: Mapping[str, Rule], place: str = "") -> list[str]:
    """What breaks the rules of an object's fields, one sentence a field; `place` stands before the field's name."""
    return [
        f"field {place}{field}: expected {expected}, found {_short(content.get(field, _MISSING))}"
        for field, (expected, accepts) in rules.items()
        if field not in content or not accepts(content[field])
    ]


def _number(value: Any) -> bool:
    # Python compares a whole number of any size with a float; converting it would fail.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _date(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _or_null(rule: Rule) -> Rule:
    return f"{rule[0]}, or null", lambda value: value is None or rule[1](value)


TEXT: Rule = ("text", lambda value: isinstance(value, str) and bool(value))
OBJECT: Rule = ("an object", lambda value: isinstance(value, dict))
WHOLE: Rule = ("a whole number of at least 0", lambda value: type(value) is int and 0 <= value < 2**63)
_POSITIVE: Rule = ("a number of at least 0", lambda value: _number(value) and value >= 0)
_PERCENT: Rule = ("a percentage from 0 to 100", lambda value: _number(value) and 0 <= value <= 100)
FILLED: Rule = ("an object", lambda value: isinstance(value, dict) and bool(value))
_ACCURACIES: Rule = ("an object of accuracies by inference mode", FILLED[1])
_FIELDS: dict[str, Rule] = {
    "schema": (f"the number {SCHEMA}", lambda value: value == SCHEMA),
    "recipe": ("the recipe's fields", FILLED[1]),
    **dict.fromkeys(("recipe_name", "slug", "weights_sha256", "precision"), TEXT),
    **dict.fromkeys(("seed", "parameters"), WHOLE),
    **dict.fromkeys(("distance", "versions", "device", "git", "data"), OBJECT),
    "history": ("a list of epochs", lambda value: isinstance(value, list) and bool(value)),
    **dict.fromkeys(("last", "best"), _ACCURACIES),
    "seconds": _POSITIVE,
    **dict.fromkeys(("images_per_second", "peak_memory_mib"), _or_null(_POSITIVE)),
    "threads": _or_null(WHOLE),
    "finished": ("a date and time in ISO 8601", _date),
}
_OPTIONAL: dict[str, Rule] = {"stretches": ("a list of stretches", _FIELDS["history"][1])}
_PLACE: Rule = ("[epochs done, steps done of the next]", lambda value: isinstance(value, list) and len(value) == 2)
_PAIR: Rule = ("[the paper's value, this value]", _PLACE[1])
_EPOCH: dict[str, Rule] = {
    "epoch": WHOLE,
    "lr": ("a number", _number),
    "train_loss": _or_null(("a number", _number)),  # null when it was not finite
    "seconds": _POSITIVE,
}


def _inside(field: str, value: Any) -> Iterator[tuple[str, Any, dict[str, Rule]]]:
    """(place, object, rules for its fields) of what is inside a field that is itself of the right kind."""
    if field == "history":
        for number, entry in enumerate(value, start=1):
            tested = [split for split in ("test", "train") if isinstance(entry, dict) and split in entry]
            yield f" of epoch {number}, ", entry, _EPOCH | dict.fromkeys(tested, _ACCURACIES)
            for split in tested:
                if isinstance(entry[split], dict):
                    yield f" of epoch {number}, {split}.", entry[split], dict.fromkeys(entry[split], _PERCENT)
    elif field == "stretches":
        for number, stretch in enumerate(value, start=1):
            yield f" number {number}, ", stretch, dict(begin=_PLACE, end=_PLACE, seconds=_POSITIVE, device=OBJECT)
    elif field == "best":
        for mode, entry in value.items():
            yield f".{mode}.", entry, {"epoch": WHOLE, "accuracy": _PERCENT}
    elif field == "data":
        rules = {f"{split}_sha256": TEXT for split in ("train", "test")}
        yield ".", value, rules | {f"{split}_images": WHOLE for split in ("train", "test")}
    elif field in ("last", "distance"):
        yield ".", value, dict.fromkeys(value, _PERCENT if field == "last" else _PAIR)
    elif field == "recipe":
        yield ".", value, {"epochs": WHOLE}


def _short(value: Any) -> str:
    return "nothing" if value is _MISSING else repr(value)[:60]
