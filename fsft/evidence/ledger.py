"""The run ledger: all result files of a folder, read, and checked against everything that follows from them.

`results/<slug>-seed<k>.json` is the only record that a run is done, and all that the book says about runs is computed
from these files. `verify` recomputes whatever follows from something else: the file name from slug and seed, the slug
from the recipe, the last and best accuracies from the history, the guards from the content, the fingerprint of a data
set from the other runs on it, and the weights' hash from the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsft.catalog import recipes
from fsft.maps.scorefile import FOLDER, check_map_scores
from fsft.recipe import Recipe
from fsft.runtime.record import (
    Result,
    canonical_digest,
    canonical_json,
    check_digest,
    check_name,
    checksums,
    find_results,
    leaves,
    parse,
    read_result,
    write_result,
)
from fsft.runtime.schema import check_schema

__all__ = [
    "Ledger",
    "Result",
    "canonical_digest",
    "find_results",
    "load_results",
    "read_result",
    "verify",
    "write_result",
]

Ledger = list[Result]


def load_results(directory: str | Path | None = None, *, verbose: bool = False) -> Ledger:
    """All runs of a results folder (see `find_results`), sorted by file name; each gains the key "file".

    A missing folder is an empty ledger; `verbose` prints what was found.

    Raises:
        ValueError: a file is not a result, is named after another run, or was altered; the message names file
            and field.
    """
    folder = find_results(directory)
    ledger = [{**read_result(path), "file": path.name} for path in sorted(folder.glob("*.json"))]
    if verbose:
        if folder.is_dir():
            print(f"{len(ledger)} runs in {folder.name}/")
        else:
            print(
                f"no folder {folder.name}/ here, so every run below reads “not run”: "
                "open the notebook in a checkout of the repository, or let FSFT_RESULTS name its results/"
            )
    return ledger


def verify(directory: str | Path | None = None, runs_dir: str | Path | None = None) -> list[str]:
    """Problems of a results folder as sentences that name file and field; an empty list when all is well.

    Checked for each file: schema, name, digest and checksums; the recipe's fields against slug, name, epochs, and
    distance from the paper; `last` and `best` against the history. Over all files: runs on the same data set must
    agree on its fingerprint, and seeds of one recipe on the number of parameters. Probes must belong to the
    weights of the runs that they name. With `runs_dir`, the weights that are there (`<slug>-seed<k>/weights.pt`)
    must be those that the result names. Map scores must belong to a run of the folder.
    """
    folder = find_results(directory)
    problems, ledger = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            result = parse(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        broken = check_schema(result)
        found = broken or [*check_name(path, result), *_check_history(result), *_check_recipe(result)]
        problems += [f"{path.name}: {problem}" for problem in [*found, *_check_guards(result)]]
        if not broken:
            ledger.append({**result, "file": path.name})
            problems += _check_weights(result, path, runs_dir)
    scored = sorted((folder / FOLDER).glob("*.json"))
    problems += [problem for path in scored for problem in check_map_scores(path, ledger)]
    from fsft.evidence.probes import probe_problems

    return problems + _check_agreement(ledger) + probe_problems(folder)


def _check_guards(result: Mapping[str, Any]) -> list[str]:
    if "digest" not in result:
        return ["field digest: expected the SHA-256 of the content, found nothing"]
    problems = check_digest(result)
    recorded = result.get("checksums")
    if isinstance(recorded, dict):
        found = checksums(result)
        altered = [name for name in {**found, **recorded} if found.get(name) != recorded.get(name)]
        problems += [f"field {name}: altered after the run (its checksum differs)" for name in altered]
    return problems


def _check_history(result: Mapping[str, Any]) -> list[str]:
    """The summary fields against the history that they summarize."""
    history, last, best = result["history"], result["last"], result["best"]
    problems = []
    epochs = result["recipe"]["epochs"]
    if [entry["epoch"] for entry in history] != list(range(1, epochs + 1)):
        problems.append(f"field history: expected the epochs 1 to {epochs} of field recipe.epochs, in order")
    every = result["recipe"].get("eval_every", 1)
    tested = [entry for entry in history if "test" in entry]
    due = sorted({*range(every, epochs + 1, every), epochs})
    if [entry["epoch"] for entry in tested] != due:
        return [*problems, f"field history: expected test accuracies every {every} epochs and in the last"]
    final = tested[-1]["test"]
    for mode in sorted({*final, *last, *best}):
        values = [entry["test"].get(mode) for entry in tested]
        if None in values:
            problems.append(f"field history: expected the accuracy of {mode} in each epoch, as in last and best")
            continue
        earliest = tested[values.index(max(values))]["epoch"]
        recorded = best.get(mode, {})
        for field, expected, found in (
            (f"last.{mode}", values[-1], last.get(mode)),
            (f"best.{mode}.epoch", earliest, recorded.get("epoch")),
            (f"best.{mode}.accuracy", max(values), recorded.get("accuracy")),
        ):
            if found != expected:
                problems.append(f"field {field}: expected {expected} from the history, found {found}")
    return problems


def _check_recipe(result: Mapping[str, Any]) -> list[str]:
    """The recipe's fields against everything that follows from them."""
    try:
        recipe = Recipe.from_dict(result["recipe"])
    except (TypeError, ValueError) as error:
        return [f"field recipe: {error}"]
    problems = []
    follows = {"slug": recipe.slug, "recipe_name": recipe.name, "distance": recipe.distance()}
    for field, expected in follows.items():
        if result[field] != expected:
            found = f"found {result[field]}"
            problems.append(f"field {field}: expected {expected} from the recipe's fields, {found}")
    # A recipe under the paper's name with other values would pass for the paper's own.
    namesake = recipes.get(recipe.name)
    if namesake is not None and namesake.digest != recipe.digest:
        own, usual = recipe.as_dict(), namesake.as_dict()
        problems += [
            f"field recipe.{field}: expected {usual[field]} under the name {recipe.name}, found {own[field]}"
            for field in usual
            if field != "origin" and own[field] != usual[field]
        ]
    return problems


def _check_weights(result: Mapping[str, Any], path: Path, runs_dir: str | Path | None) -> list[str]:
    weights = None if runs_dir is None else Path(runs_dir) / path.stem / "weights.pt"
    if weights is None or not weights.is_file():
        return []
    from fsft.checkpoint import load_state, weights_digest

    try:
        found = weights_digest(load_state(weights)["model"])
    except Exception as error:  # whatever a damaged file makes the reader raise is one more problem to list
        return [f"{path.name}: {path.stem}/weights.pt cannot be read ({type(error).__name__}: {error})"]
    if found == result["weights_sha256"]:
        return []
    return [f"{path.name}: field weights_sha256: is not the hash of {path.stem}/weights.pt"]


def _check_agreement(ledger: Ledger) -> list[str]:
    """Values that must be equal between runs: whoever differs from the majority is named."""
    data = ["dataset", "dataset_options"]
    rules = {
        "data.test_sha256": data,
        "data.test_images": data,
        "data.train_sha256": [*data, "images_per_class"],
        "data.train_images": [*data, "images_per_class"],
        "parameters": sorted({field for result in ledger for field in result["recipe"]}),
    }
    problems = []
    for name, same in rules.items():
        groups: dict[str, list[tuple[Any, str]]] = {}
        for result in ledger:
            key = canonical_json([result["recipe"].get(field) for field in same])
            groups.setdefault(key, []).append((dict(leaves(result))[name], result["file"]))
        for members in groups.values():
            usual, votes = Counter(value for value, _ in members).most_common(1)[0]
            others = f"{votes} other run{'s' * (votes > 1)}"
            problems += [
                f"{file}: field {name}: expected {usual} as in {others}, found {value}"
                for value, file in members
                if value != usual
            ]
    return problems
