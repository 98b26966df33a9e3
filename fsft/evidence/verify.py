"""A results folder checked against everything that follows from something else.

The file name follows from slug and seed, the slug from the recipe, parameters and inference modes from its network,
learning rates from its schedule, the last and best accuracies from the history, accuracies from the number of images,
the guards from the content, the fingerprint of a data set from the other runs on it, the weights' hash from the
weights. A manifest of all runs that were ever entered misses one that is gone, such as the seed that did not fit. None
of this stops somebody who trains another network; it finds slips, and numbers that were typed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from fsft.catalog import recipes
from fsft.evidence.probes import FOLDER as PROBES
from fsft.maps.gallery import FOLDER as GALLERIES
from fsft.maps.gallery import check_gallery
from fsft.maps.scorefile import FOLDER as MAPS
from fsft.maps.scorefile import check_map_scores
from fsft.methods import METHODS
from fsft.recipe import TRAIN_SAMPLE, Recipe
from fsft.runtime.files import write_atomically
from fsft.runtime.record import Result, check_digest, check_name, checksums, find_results, inspected, parse, read_result
from fsft.runtime.schema import check_schema

MANIFEST = "runs.txt"  # in a results folder: digest and file of each run that was ever entered
_NO_RECIPE = (ArithmeticError, TypeError, ValueError)  # by which fields tell that they are none of a recipe


def verify(directory: str | Path | None = None, runs_dir: str | Path | None = None) -> list[str]:
    """Problems of a results folder as sentences that name file and field; an empty list when all is well.

    Each file is checked alone, then all together: runs on the same data set must agree on its fingerprint, no two
    trainings can have the same weights, and probes, map scores and galleries must belong to the weights of the runs
    that they name. A run that the folder's manifest lists must be there, as it was. With `runs_dir`, the weights that
    are there (`<slug>-seed<k>/weights.pt`) must be those that the result names.
    """
    folder = find_results(directory)
    problems, sound = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            result = parse(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        broken = _tried(check_schema, result)
        found = broken or [*check_name(path, result), *_tried(_contradictions, result)]
        problems += [f"{path.name}: {problem}" for problem in [*found, *_tried(_check_guards, result)]]
        if not broken:
            sound.append({**result, "file": path.name})
            problems += _check_weights(result, path, runs_dir)
    problems += [*_disagreements(sound), *_check_manifest(folder, sound)]
    for beside, check in ((MAPS, check_map_scores), (GALLERIES, check_gallery), (PROBES, _check_probe)):
        files = inspected(folder / beside, partial(check, ledger=sound))
        problems += [one for _, found in files for one in found]
    return problems


def register(directory: str | Path | None = None) -> list[str]:
    """Enter the runs of a results folder that its manifest lacks, and return their files; its other lines stay."""
    folder = find_results(directory)
    listed = _listed(folder)
    new = {path.name: read_result(path)["digest"] for path in folder.glob("*.json") if path.name not in listed}
    if new:
        lines = [f"{digest}  {name}\n" for name, digest in sorted({**listed, **new}.items())]
        write_atomically(folder / MANIFEST, "".join(lines).encode())
    return sorted(new)


def _check_manifest(folder: Path, sound: list[Result]) -> Iterator[str]:
    digests = {result["file"]: result["digest"] for result in sound}
    again = "put it back, such as from git, or strike its line and say why in the commit"
    for name, digest in _listed(folder).items():
        if not (folder / name).is_file():
            yield f"{name}: listed in {MANIFEST} as finished, and gone: {again}"
        elif digests.get(name, digest) != digest:
            yield f"{name}: another training than the one listed in {MANIFEST}: {again}"


def _listed(folder: Path) -> dict[str, str]:
    """The digests in a folder's manifest by file; empty where there is none."""
    manifest = folder / MANIFEST
    lines = manifest.read_text(errors="replace").splitlines() if manifest.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _tried(check: Callable[[Result], Iterable[str]], result: Result) -> list[str]:
    """What a check finds; one that a damaged result breaks off is a problem, too."""
    try:
        return list(check(result))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return [f"expected a result that can be checked, found {type(error).__name__}: {str(error)[:200]}"]


def _check_guards(result: Result) -> Iterator[str]:
    yield from check_digest(result)
    if isinstance(recorded := result.get("checksums"), dict):
        found = checksums(result)
        altered = [name for name in {**found, **recorded} if found.get(name) != recorded.get(name)]
        yield from (f"field {name}: altered after the run (its checksum differs)" for name in altered)


def _contradictions(result: Result) -> Iterator[str]:
    """Fields of one result that do not follow from its other fields."""
    yield from _check_history(result)
    try:
        recipe = Recipe.from_dict(result["recipe"])
    except _NO_RECIPE as error:
        yield f"field recipe: {error}"
        return
    for check in (_check_recipe, _check_rates, _check_network):
        yield from check(result, recipe)


def _check_history(result: Result) -> Iterator[str]:
    """The summary fields against the history that they summarize, and accuracies against numbers of images."""
    history, last, best = result["history"], result["last"], result["best"]
    epochs, every = result["recipe"]["epochs"], result["recipe"].get("eval_every", 1)
    if len(history) != epochs or [entry["epoch"] for entry in history] != list(range(1, epochs + 1)):
        yield f"field history: expected the epochs 1 to {epochs} of field recipe.epochs, in order"
        return
    tested = [entry for entry in history if "test" in entry]
    if [entry["epoch"] for entry in tested] != sorted({*range(every, epochs + 1, every), epochs}):
        yield f"field history: expected test accuracies every {every} epochs and in the last"
        return
    count = result["data"]["train_images"]
    sample = range(0, count, math.ceil(count / TRAIN_SAMPLE) or 1)  # every k-th image, as evenly_chosen does
    images = {"test": result["data"]["test_images"], "train": len(sample)}
    for entry in history:
        for split in entry.keys() & images.keys():
            if entry[split].keys() != last.keys():
                yield f"field history of epoch {entry['epoch']}: expected the accuracy of {', '.join(last)} in {split}"
            for mode, value in entry[split].items():
                if abs(value * images[split] / 100 - round(value * images[split] / 100)) > 1e-6:
                    which = f"field history of epoch {entry['epoch']}, {split}.{mode}"
                    yield f"{which}: expected a number of {images[split]} images in percent, found {value}"
    for mode in sorted({*tested[-1]["test"], *last, *best}):
        values = [entry["test"].get(mode, -1) for entry in tested]
        found = best.get(mode, {})
        for field, expected, recorded in (
            (f"last.{mode}", values[-1], last.get(mode)),
            (f"best.{mode}.epoch", tested[values.index(max(values))]["epoch"], found.get("epoch")),
            (f"best.{mode}.accuracy", max(values), found.get("accuracy")),
        ):
            if recorded != expected:
                yield f"field {field}: expected {expected} from the history, found {recorded}"


def _check_recipe(result: Result, recipe: Recipe) -> Iterator[str]:
    """What follows from the recipe's fields, and from its name."""
    follows = {"slug": recipe.slug, "recipe_name": recipe.name, "distance": recipe.distance()}
    for field, expected in follows.items():
        if result[field] != expected:
            yield f"field {field}: expected {expected} from the recipe's fields, found {result[field]}"
    # A recipe under the paper's name with other values would pass for the paper's own.
    namesake = recipes.get(recipe.name)
    if namesake is not None and namesake.digest != recipe.digest:
        own, usual = recipe.as_dict(), namesake.as_dict()
        for field in usual:
            if field != "origin" and own[field] != usual[field]:
                yield f"field recipe.{field}: expected {usual[field]} under the name {recipe.name}, found {own[field]}"


def _check_rates(result: Result, recipe: Recipe) -> Iterator[str]:
    """The learning rate of each epoch's last step against the schedule."""
    steps = result["data"]["train_images"] // recipe.batch_size
    for epoch, entry in enumerate(result["history"], start=1):
        expected = recipe.learning_rate((epoch * steps - 1) / (recipe.epochs * steps)) if steps else math.nan
        if not math.isclose(entry["lr"], expected, rel_tol=1e-5):
            yield f"field history of epoch {epoch}, lr: expected {expected} from the schedule, found {entry['lr']}"
            return


def _check_network(result: Result, recipe: Recipe) -> Iterator[str]:
    """Inference modes and parameters against the method and the network."""
    method = METHODS[recipe.method]
    modes = {"si", "ag-last"} if method.joint else {"baseline"}
    modes |= {"ag"} if method.joint and method.taps == 2 else set()
    modes |= {"sd"} if method.teaches else set()
    later = {"ag-logits"} if "ag" in modes else set()  # older runs were not evaluated in it
    if not modes <= result["last"].keys() <= modes | later:
        yield f"field last: expected the modes {sorted(modes)} of method {recipe.method}, found {[*result['last']]}"
    try:
        two, each = _parameters(recipe.model, recipe.block, recipe.shortcut, recipe.method, recipe.masks)
    except ValueError as error:
        yield f"field recipe.model: {error}"
        return
    rest = result["parameters"] - two
    if rest < -each or rest % each:
        yield f"field parameters: expected {two} and {each} more for each class above two, found {result['parameters']}"


@cache
def _parameters(model: str, block: str, shortcut: str, method: str, masks: str) -> tuple[int, int]:
    """How many parameters a network has with two classes, and how many more for each further class."""
    import torch

    from fsft.networks import build

    recipe = Recipe(name="any", model=model, block=block, shortcut=shortcut, method=method, masks=masks)
    with torch.device("meta"):  # shapes without numbers
        networks = [build(recipe, classes) for classes in (2, 3)]
    two, three = (sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    return two, three - two


def _check_weights(result: Result, path: Path, runs_dir: str | Path | None) -> Iterator[str]:
    weights = Path(runs_dir or "") / path.stem / "weights.pt"
    if runs_dir is None or not weights.is_file():
        return
    from fsft.runtime.checkpoint import load_state, weights_digest

    name = f"{path.stem}/weights.pt"
    try:
        if weights_digest(load_state(weights)["model"]) != result["weights_sha256"]:
            yield f"{path.name}: field weights_sha256: is not the hash of {name}"
    except Exception as error:  # whatever a damaged file makes the reader raise is one more problem to list
        yield f"{path.name}: {name} cannot be read ({type(error).__name__}: {error})"


def _disagreements(sound: list[Result]) -> Iterator[str]:
    """Values that must be equal between runs with an equal key: whoever differs from the majority is named."""
    groups: defaultdict[tuple[str, str], list[tuple[Any, str]]] = defaultdict(list)
    for result in sound:
        with suppress(*_NO_RECIPE):  # which is reported with its file
            recipe, data = Recipe.from_dict(result["recipe"]), result["data"]
            test, train = (recipe.dataset, recipe.dataset_options), recipe.images_per_class
            training = f"seed {result['seed']} of recipe {recipe.digest[:8]}"
            for name, key, value in (
                *((f"data.test_{what}", test, data[f"test_{what}"]) for what in ("sha256", "images")),
                *((f"data.train_{what}", (test, train), data[f"train_{what}"]) for what in ("sha256", "images")),
                ("parameters", recipe.digest, result["parameters"]),
                ("weights_sha256", result["weights_sha256"], training),
            ):
                groups[name, repr(key)].append((value, result["file"]))
    for (name, _), members in groups.items():
        usual, votes = Counter(value for value, _ in members).most_common(1)[0]
        expected = f"field {name}: expected {usual} as in {votes} other run{'s' * (votes > 1)}"
        yield from (f"{file}: {expected}, found {value}" for value, file in members if value != usual)


def _check_probe(path: Path, probe: Mapping[str, Any], ledger: list[Result]) -> Iterator[str]:
    """What no network can give, or another network than that of the probe's run."""
    run, recognition = probe.get("run"), probe.get("recognition", {})
    weights = [result["weights_sha256"] for result in ledger if result["file"] == run]
    if not weights:
        yield f"expected a sound run {run} beside {path.parent.name}/"
    elif weights != [probe.get("weights_sha256")]:
        yield f"field weights_sha256: is not that of {run}"
    for images, table in recognition.items() if isinstance(recognition, Mapping) else [("", recognition)]:
        if not _are_shares(table):
            yield f"field recognition.{images}: expected rows of percentages that add up to 100"
    for field, limit in (("features", 100), ("loss", math.inf)):
        values = probe.get(field, {})
        numbers = values.values() if isinstance(values, Mapping) else [values]
        if not all(type(value) in (int, float) and 0 <= value <= limit for value in numbers):
            yield f"field {field}: expected numbers from 0 to {limit:g}, found {values}"


def _are_shares(table: Any) -> bool:
    """Whether a table is square, and its rows are percentages from 0 to 100 with the sum 100."""
    if not isinstance(table, list) or not all(isinstance(row, list) and len(row) == len(table) for row in table):
        return False
    numbers = all(type(value) in (int, float) and 0 <= value <= 100 for row in table for value in row)
    return bool(table) and numbers and all(abs(sum(row) - 100) < 1e-6 for row in table)
