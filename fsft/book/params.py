"""Notebook parameters: read from the one `parameters` cell, checked before any kernel starts.

papermill writes `name = value` into a code cell for whatever name it is given, so a name is code. Here a name
must be declared in the notebook, and a value must have the declared type and lie in the range of its name.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PROFILES = ("quick", "laptop", "paper")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
# A path may hold spaces and non-ASCII letters; quotes, braces, and shell characters have no business in one.
_FORBIDDEN_IN_TEXT = frozenset("\"'`{}<>$;|*?\\")
_MAX_TEXT = 500
_MAX_ITEMS = 100


class ParameterError(ValueError):
    """A parameter that is not declared, or has the wrong type or range."""


def declared_parameters(cells: Sequence[Mapping[str, Any]], name: str = "notebook") -> dict[str, Any]:
    """The names and default values of the notebook's one code cell tagged `parameters`.

    The cell may hold only assignments of literals (None, bool, int, float, str, and lists of these) to plain
    names. Raises ParameterError otherwise, or when there is not exactly one such cell.
    """
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        raise ParameterError(f"{name} needs exactly one code cell tagged 'parameters', found {len(tagged)}")
    found: dict[str, Any] = {}
    try:
        statements = ast.parse(source_text(tagged[0])).body
    except (SyntaxError, ValueError) as error:
        raise ParameterError(f"the parameters cell of {name} is not Python: {error}") from None
    for statement in statements:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise ParameterError(
                f"the parameters cell of {name} may only assign literals to names, found {ast.unparse(statement)!r}"
            )
        key = statement.targets[0].id
        _check_name(key)
        if key in found:
            raise ParameterError(f"the parameters cell of {name} assigns {key!r} twice")
        try:
            found[key] = ast.literal_eval(statement.value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            raise ParameterError(
                f"the default of {key!r} in {name} must be a literal, found {ast.unparse(statement.value)!r}"
            ) from None
        _check_literal(key, found[key])
        _check_range(key, found[key])
    return found


def check_parameters(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, when each is declared and has its default's type and an allowed value.

    An int is taken where a float is declared; where None is declared, a path is taken too.
    Raises ParameterError with the first name that does not fit.
    """
    checked: dict[str, Any] = {}
    for key, value in given.items():
        _check_name(key)
        if key not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise ParameterError(f"the notebook declares no parameter {key!r}: it declares {known}")
        _check_literal(key, value)
        default = declared[key]
        if default is None:
            fits = value is None or type(value) is str
        elif type(default) is float:
            fits = type(value) in (int, float)
        else:
            fits = type(value) is type(default)
        if not fits:
            raise ParameterError(
                f"parameter {key!r} must be like its default {default!r} ({type(default).__name__}), "
                f"found {value!r} ({type(value).__name__})"
            )
        _check_range(key, value)
        checked[key] = value
    return checked


def source_text(cell: Mapping[str, Any]) -> str:
    """A cell's source as one string, however the file stores it."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _check_name(key: object) -> None:
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise ParameterError(f"a parameter name is lower-case letters, digits, and _, found {key!r}")
    if keyword.iskeyword(key) or keyword.issoftkeyword(key) or hasattr(builtins, key):
        raise ParameterError(f"a parameter may not be called {key!r}: the name has a meaning in Python")


def _check_literal(key: str, value: Any, *, inside_list: bool = False) -> None:
    if value is None or type(value) is bool:
        return
    if type(value) is int:
        if abs(value) > 10**9:
            raise ParameterError(f"parameter {key!r} must lie within ±10^9, found a number beyond it")
    elif type(value) is float:
        if not math.isfinite(value) or abs(value) > 1e9:
            raise ParameterError(f"parameter {key!r} must be finite and within ±10^9, found {value!r}")
    elif type(value) is str:
        bad = {letter for letter in value if letter in _FORBIDDEN_IN_TEXT or not letter.isprintable()}
        if len(value) > _MAX_TEXT:
            raise ParameterError(f"parameter {key!r} holds at most {_MAX_TEXT} characters, found {len(value)}")
        if bad:
            raise ParameterError(f"parameter {key!r} may not hold {sorted(bad)}, found {value!r}")
    elif type(value) is list and not inside_list:
        if len(value) > _MAX_ITEMS:
            raise ParameterError(f"parameter {key!r} holds at most {_MAX_ITEMS} items, found {len(value)}")
        for item in value:
            _check_literal(key, item, inside_list=True)
    else:
        raise ParameterError(
            f"parameter {key!r} must be None, a bool, an int, a float, a str, or a flat list of these, "
            f"found {type(value).__name__}"
        )


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


# What a value must satisfy beyond its type, and how to say so.
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "profile": (lambda value: value in PROFILES, f"one of {', '.join(PROFILES)}"),
    "data_dir": (lambda value: type(value) is str and value != "" and value == value.strip(), "a folder"),
    "runs_dir": (lambda value: value is None or (value != "" and value == value.strip()), "a folder or None"),
    "seeds": (_whole(1, 20), "a whole number from 1 to 20"),
    "epochs": (_whole(1, 2000), "a whole number from 1 to 2000"),
    "seed": (_whole(0, 2**31 - 1), "a whole number from 0 to 2^31 - 1"),
}


def _check_range(key: str, value: Any) -> None:
    if key in _RANGES:
        fits, expected = _RANGES[key]
        if not fits(value):
            raise ParameterError(f"parameter {key!r} must be {expected}, found {value!r}")
