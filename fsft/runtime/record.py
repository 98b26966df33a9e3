"""One JSON file per finished training run: reading and writing.

A file carries two guards against a slip of the hand: `digest`, the SHA-256 of its content, and `checksums`, a short
hash of every field, which lets `fsft.evidence.verify` name what was altered. Neither stops somebody who
recomputes them; for that there are the weights' hash, the commit, and the recipe.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fsft.runtime.files import in_checkout, open_regular, write_atomically
from fsft.runtime.schema import check_schema

GUARDS = ("digest", "checksums")
_AGAIN = "restore it from a copy, such as git's, or make it again"
Result = dict[str, Any]
Check = Callable[[Path, Mapping[str, Any]], Iterable[str]]  # what is wrong with a file, as sentences
SHIPPED = Path(__file__).resolve().parents[1] / "shipped"  # in an installed package: results/, benchmarks/results/


def find_results(directory: str | Path | None = None) -> Path:
    """The results folder: the argument, which need not exist; else the environment variable FSFT_RESULTS; else the
    first `results/` beside a `_toc.yml` in the working directory or above it; else the one that came with the package.

    ValueError where there is none: nothing that reads runs may take a missing ledger for an empty one.
    """
    if directory is not None:
        return Path(directory)
    beside = SHIPPED if SHIPPED.is_dir() else SHIPPED.parents[1]  # an editable installation is a checkout
    found = Path(os.environ.get("FSFT_RESULTS") or in_checkout("results") or beside / "results")
    if not found.is_dir():
        raise ValueError(f"expected the runs' results in {found}, found no such folder: let FSFT_RESULTS name it")
    return found


def read_result(path: str | Path) -> Result:
    """One result file; ValueError, naming file and field, when it is none, is another run's, or was altered."""
    path = Path(path)
    result = parse(path)
    problems = [*check_schema(result)] or [*check_name(path, result), *check_digest(result)]
    if problems:
        raise ValueError(f"{path.name}: {problems[0]}; `fsft verify` lists all such problems")
    return result


def write_result(path: str | Path, result: Mapping[str, Any]) -> Result:
    """Write a finished run's result whole or not at all, and return what was written: with `checksums` and `digest`.

    ValueError, and nothing is written, when the result breaks the schema, or the file name belongs to another run.
    """
    path = Path(path)
    content = {key: value for key, value in result.items() if key not in GUARDS}
    plain = json.loads(canonical_json(content, sort_keys=False))
    problems = [*check_schema(plain)] or check_name(path, plain)
    if problems:
        raise ValueError(f"{path.name}: {problems[0]}")
    plain["checksums"] = checksums(plain)
    plain["digest"] = canonical_digest(plain)
    write_atomically(path, _layout(plain).encode())
    return plain


def canonical_digest(result: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a result without its `digest`; order of keys and white space do not matter."""
    content = {key: value for key, value in result.items() if key != "digest"}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def parse(path: Path) -> Result:
    """The JSON object in a file, not yet checked; ValueError when there is none."""
    try:
        with open_regular(path) as file:
            result = json.loads(file.read().decode(), object_pairs_hook=_unrepeated)
    except (OSError, ValueError, RecursionError) as error:
        reason = f"found {type(error).__name__}: {error}"
        raise ValueError(f"{path.name}: expected a readable JSON file, {reason}; {_AGAIN}") from None
    if not isinstance(result, dict):
        raise ValueError(f"{path.name}: expected a JSON object, found {type(result).__name__}; {_AGAIN}")
    return result


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a field that stands twice, one reader would take the first and another the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key in content if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"field {twice} stands twice")
    return content


def canonical_json(content: Any, sort_keys: bool = True) -> str:
    """JSON without white space; NumPy and torch scalars become numbers."""
    return json.dumps(content, sort_keys=sort_keys, separators=(",", ":"), default=_scalar)


def _scalar(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a result holds JSON values only, found {type(value).__name__}")


def _layout(result: Mapping[str, Any]) -> str:
    """JSON with one line for each field and each epoch, so that a change reads well in a diff."""
    lines = []
    for key, value in result.items():
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(json.dumps(item, allow_nan=False) for item in value) + "\n ]"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def leaves(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields by name: "seed", one level deeper in objects ("last.si"), the history by epoch."""
    for key, value in result.items():
        if key in GUARDS:
            continue
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        elif isinstance(value, list):
            yield from ((f"{key}[{number}]", item) for number, item in enumerate(value, start=1))
        else:
            yield key, value


def checksums(result: Mapping[str, Any]) -> dict[str, str]:
    """The start of the SHA-256 of each of the `leaves`."""
    return {name: hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8] for name, value in leaves(result)}


def inspected(folder: Path, check: Check) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each JSON file of a folder beside the results: its content, and what is wrong with it by digest and `check`."""
    for path in sorted(folder.glob("*.json")):
        content = {}
        try:
            content = parse(path)
            found = [*check_digest(content), *check(path, content)]
        except (LookupError, TypeError, ValueError) as error:
            found = [f"expected a sound file, found {type(error).__name__}: {error}"]
        yield content, [f"{folder.name}/{path.name}: {problem}" for problem in found]


def load_sound(folder: Path, check: Check = lambda path, content: ()) -> Iterator[dict[str, Any]]:
    """The contents of these files; ValueError, which names the file, for one with a problem."""
    for content, problems in inspected(folder, check):
        if problems:
            raise ValueError(f"{problems[0]}; `fsft verify` lists all such problems")
        yield content


def check_name(path: Path, result: Mapping[str, Any]) -> list[str]:
    """Whether the file is named after its slug and seed."""
    expected = f"{result['slug']}-seed{result['seed']}.json"
    return [] if path.name == expected else [f"file name: expected {expected} from slug and seed"]


def check_digest(result: Mapping[str, Any]) -> list[str]:
    """Whether the content still has the digest that it was written with."""
    if "digest" not in result:
        return ["field digest: expected the SHA-256 of the content, found nothing"]
    sound = result["digest"] == canonical_digest(result)
    return [] if sound else ["field digest: does not belong to the content, which was altered after the run"]


def best_epochs(history: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each mode the evaluated epoch (from 1, the earliest of equals) of the highest test accuracy."""
    tested = [entry for entry in history if "test" in entry]
    best = {mode: max(tested, key=lambda entry: entry["test"][mode]) for mode in tested[-1]["test"]}
    return {mode: {"epoch": entry["epoch"], "accuracy": entry["test"][mode]} for mode, entry in best.items()}
