"""One JSON file per run whose maps were scored, `results/maps/<slug>-seed<k>.json`: format, reading, and checks.

It holds every image's scores in whole percent, so that a paired bootstrap over images can be computed from the files
alone, without the data and the weights. It belongs to the result `results/<slug>-seed<k>.json`, by the hash of the
weights and the fingerprint of the test set.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fsft.runtime.files import write_atomically
from fsft.runtime.record import canonical_digest, check_name, find_results, load_sound
from fsft.runtime.schema import FILLED, TEXT, WHOLE, Rule, check_fields

SCHEMA = 1
FOLDER = "maps"
MapScores = dict[str, Any]


def write_map_scores(path: Path, content: Mapping[str, Any]) -> None:
    """Write the file whole, with its digest, a line for each kind of map; ValueError, and nothing written, when the
    content breaks the schema or belongs to another file name.
    """
    plain = json.loads(json.dumps(content))
    problems = _problems(path, plain)
    if problems:
        raise ValueError(f"{FOLDER}/{path.name}: {problems[0]}")
    write_atomically(path, sealed(plain))


def percent(scores: np.ndarray) -> list[int]:
    """Shares in [0, 1] as whole percent: rounding moves a mean over a thousand images by about 0.01 points."""
    return [int(value) for value in np.rint(100 * scores)]


def load_map_scores(results_dir: str | Path | None = None) -> list[MapScores]:
    """All files of `maps/` in the results folder (see :func:`fsft.runtime.record.find_results`).

    In each, ``["scores"][kind][score]`` is a float64 array (images,) in percent. Kinds are "uniform", "center",
    "grad-cam/<mode>", "cam/<mode>" where it differs from Grad-CAM by more than a factor, and "grad-cam-raw/<mode>" of a
    joint classifier's score that is not centered over the classes; ``["correct"][mode]`` is a bool array. ValueError
    names file and field that are not of this format, or were altered.
    """
    found = []
    for content in load_sound(find_results(results_dir) / FOLDER, _problems):
        arrays = partial(np.array, dtype=np.float64)
        scores = {kind: dict(zip(of, map(arrays, of.values()), strict=True)) for kind, of in content["scores"].items()}
        correct = {mode: np.array(list(text)) == "1" for mode, text in content["correct"].items()}
        found.append({**content, "scores": scores, "correct": correct})
    return found


def check_map_scores(path: Path, content: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a file of map scores: its format, or that it belongs to no run of the ledger."""
    if problems := _problems(path, content):
        return problems
    claims = {field: content[field] for field in ("recipe_name", "weights_sha256")}
    claims |= {f"data.{field}": content["data"].get(field) for field in ("test_sha256", "test_images")}
    return list(check_run(path, claims, ledger))


def check_run(path: Path, claims: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a file beside the results claims of its run, by the result's field, and the result does not say."""
    result = next((result for result in ledger if result["file"] == path.name), None)
    if result is None:
        yield f"expected the run's result beside the folder, found no sound {path.name}"
        return
    for field, found in claims.items():
        group, _, name = field.rpartition(".")
        expected = (result[group] if group else result)[name]
        if found != expected:
            yield f"field {field}: expected {expected} as in the run's result, found {found}"


def _problems(path: Path, content: Mapping[str, Any]) -> list[str]:
    return check_fields(content, _FIELDS) or [*check_name(path, content), *_check_arrays(content)]


def _check_arrays(content: Mapping[str, Any]) -> Iterator[str]:
    images = content["data"].get("scored_images")
    for kind, entries in content["scores"].items():
        for name, values in entries.items() if isinstance(entries, dict) else [("", entries)]:
            numbers = isinstance(values, list) and all(type(value) is int and 0 <= value <= 100 for value in values)
            if not numbers or len(values) != images:
                yield f"field scores.{kind}.{name}: expected {images} whole percentages from 0 to 100"
    for mode, text in content["correct"].items():
        if not isinstance(text, str) or len(text) != images or set(text) - {"0", "1"}:
            yield f"field correct.{mode}: expected {images} digits 0 or 1"


_FIELDS: dict[str, Rule] = {
    "schema": (f"the number {SCHEMA}", lambda value: value == SCHEMA),
    **dict.fromkeys(("recipe_name", "slug", "weights_sha256", "finished"), TEXT),
    "seed": WHOLE,
    "region": ("'mask' or 'box'", lambda value: value in ("mask", "box")),
    **dict.fromkeys(("data", "scores", "correct", "sanity", "versions", "device", "git"), FILLED),
}


def sealed(content: Mapping[str, Any]) -> bytes:
    """The file's bytes: the content and its digest, a member a line."""
    return f"{{\n{_lines({**content, 'digest': canonical_digest(content)})}\n}}\n".encode()


def _lines(content: Mapping[str, Any]) -> str:
    """The members of a JSON object, one a line; those of ``scores`` have a line each, too."""
    write = partial(json.dumps, separators=(",", ":"), allow_nan=False)
    texts = {key: f"{{\n{_lines(value)}\n}}" if key == "scores" else write(value) for key, value in content.items()}
    return ",\n".join(f" {json.dumps(key)}: {text}" for key, text in texts.items())
