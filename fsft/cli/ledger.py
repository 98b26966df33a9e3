"""The ledger on the command line: which runs have no result yet, what each costs, and a result measured again."""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import itertools
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsft.catalog import recipes
from fsft.cli.options import add_changes, as_arguments, changed, grid, parse_seeds
from fsft.recipe import Recipe

if TYPE_CHECKING:
    from fsft.evidence.ledger import Ledger

# What decides the time of an epoch, beside the device.
COSTS = (
    *("dataset", "dataset_options", "images_per_class", "batch_size", "eval_every"),
    *("model", "block", "shortcut", "method", "masks"),
)
TOLERANCE = 0.2  # percentage points between two devices, whose kernels round differently; one device repeats its bits
_FOLDERS = {"data": "data sets", "runs": "checkpoints and weights", "results": "result files"}


def add_folders(command: Any, *names: str) -> None:
    """``--data-dir``, ``--runs-dir`` and ``--results-dir``, or some of them."""
    for name in names or _FOLDERS:
        command.add_argument(f"--{name}-dir", type=Path, default=Path(name), help=f"{_FOLDERS[name]} (default: {name})")


def add_run(command: Any) -> None:
    """A recipe, its seed, and the folders."""
    command.add_argument("recipe", help="a name from 'fsft recipes'")
    command.add_argument("--seed", type=int, default=0)
    add_folders(command)


def add_device(command: Any, precision: bool = True) -> None:
    command.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the GPU if there is one)")
    if precision:
        command.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")


def add_run_options(command: Any) -> None:
    """The options of ``fsft recipes`` that list runs."""
    command.add_argument("--missing", action="store_true", help="list the runs that have no result yet")
    command.add_argument("--json", action="store_true", help="the runs (all, or with --missing) for programs")
    command.add_argument("--count", action="store_true", help="with --json: count FLOPs and bytes too, in a minute")
    command.add_argument("--seeds", default="0-3", help="of runs, such as 0-3 or 0,2,5 (default: 0-3, as in the paper)")
    add_folders(command, "results")
    add_changes(command, lists=True)


def add_evaluate(commands: Any) -> None:
    command = commands.add_parser(
        "evaluate",
        aliases=["rerun"],
        help="evaluate weights again, and compare with the result that names them",
        description="Evaluate the weights of a finished run again. Where there is a result, the weights must be those "
        f"that it names, and the status is 1 if an accuracy is more than {TOLERANCE} points away from its.",
    )
    command.add_argument("run", type=Path, help="a run's folder, such as runs/<slug>-seed0, or a result file")
    add_folders(command)
    add_device(command, precision=False)
    command.add_argument("--precision", choices=("auto", "bf16", "fp32"), help="default: the result's, or auto")
    command.set_defaults(command=evaluate_run)


def matching(patterns: Iterable[str]) -> list[str]:
    """Names of the recipes that fit some shell pattern; ValueError for a pattern that none fits."""
    names: list[str] = []
    for pattern in patterns:
        fitting = fnmatch.filter(recipes, pattern)
        if not fitting:
            found = f"{pattern!r}{did_you_mean(pattern)}"
            raise ValueError(f"expected a pattern that fits some recipe, found {found}; 'fsft recipes' lists all")
        names += fitting
    return list(dict.fromkeys(names))


def did_you_mean(name: str) -> str:
    """The nearest name of a recipe as the end of a sentence; empty when none is near."""
    near = difflib.get_close_matches(name, recipes, n=1, cutoff=0.75)
    return f", did you mean {near[0]!r}?" if near else ""


def list_runs(options: argparse.Namespace) -> int:
    """Every run of the recipes that fit and of the changes asked for, or those without a result."""
    from fsft.evidence.ledger import load_results

    ledger = load_results(options.results_dir)
    seconds, belongs = epoch_seconds(ledger), targets()
    counts: dict[tuple[Any, ...], dict[str, int] | None] = {}
    runs, listed = [], set()
    names, seeds = matching(options.pattern), parse_seeds(options.seeds)
    for seed, name, changes in itertools.product(seeds, names, grid(options)):
        recipe = changed(recipes[name], changes)
        key = cost_key(recipe)
        missing = all(run.seed != seed for run in ledger.runs(recipe))
        if (options.missing and not missing) or (recipe.digest, seed) in listed:  # equal training, another name
            continue
        listed.add((recipe.digest, seed))
        measured = []
        for (device, title), times in sorted(seconds.get(key, {}).items()):
            hours = round(statistics.median(times) * recipe.epochs / 3600, 3)
            measured.append({"type": device, "name": title, "hours": hours, "runs": len(times)})
        run = {
            "run": recipe.run_name(seed),
            "recipe": recipe.name,
            "seed": seed,
            "arguments": [name, "--seed", str(seed), *as_arguments(changes)],
            "targets": sorted(belongs.get(recipe.digest, ())),
            "missing": missing,
            "measured": measured,
        }
        if options.count:
            if key not in counts:
                counts[key] = count(recipe)
            epoch = counts[key]
            run["counted"] = epoch and epoch | {"flops": epoch["flops"] * recipe.epochs}
        runs.append(run)
    print(json.dumps(runs, indent=1) if options.json else _table(runs))
    return 0


def _table(runs: list[dict[str, Any]]) -> str:
    lines = []
    for run in runs:
        times = (f"{found['hours']:.1f} h on {found['name']}" for found in run["measured"])
        lines.append(f"fsft train {' '.join(run['arguments'])}  # {', '.join(times) or 'not measured'}")
    return "\n".join([*lines, f"# {len(runs)} runs have no result yet"])


def cost_key(recipe: Recipe) -> tuple[Any, ...]:
    return tuple(getattr(recipe, field) for field in COSTS)


def epoch_seconds(ledger: Ledger) -> dict[tuple[Any, ...], dict[tuple[str, str], list[float]]]:
    """By :func:`cost_key`, and by the type and name of the device: the seconds of an epoch in each such run."""
    found: dict[tuple[Any, ...], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in ledger:
        device = (str(run.device.get("type")), str(run.device.get("name")))
        found[cost_key(run.recipe)][device].append(run.seconds / run.recipe.epochs)
    return found


def targets() -> dict[str, set[str]]:
    """By a recipe's digest: the paper's tables and figures, the claims, and our findings that its runs decide."""
    from fsft.evidence import paper
    from fsft.evidence.assertions import claims, findings
    from fsft.evidence.comparison import Contrast, quantity

    found: dict[str, set[str]] = defaultdict(set)
    asked = [(quantity(key), {"paper", cell.table.lower().replace(" ", "")}) for key, cell in paper.cells.items()]
    for assertion in (*claims.values(), *findings.values()):
        for comparison in assertion.comparisons:
            sides = (*comparison.plus, *comparison.minus) if isinstance(comparison, Contrast) else ()
            asked += [(one, {f"{assertion.kind.removesuffix('s')}-{assertion.id}"}) for one in sides]
    for one, names in asked:
        for recipe in (one.recipe, one.reference):
            if recipe is not None:
                found[recipe.digest] |= names
    return found


def count(recipe: Recipe) -> dict[str, int] | None:
    """FLOPs of an epoch (evaluation left out), bytes of the weights and of a checkpoint, and bytes that a training step
    needs on the GPU; None for data sets of which the size is not known without reading them."""
    from fsft.datasets import cifar, fine_grained, sets, tiny_imagenet
    from fsft.evidence.cost import step_cost

    size = int(dict(recipe.dataset_options).get("image_size", sets.IMAGE_SIZE))
    known = {  # training images, classes, side
        "cifar100": (100 * cifar.PER_CLASS["train"], 100, cifar.SIZE),
        "tiny-imagenet": (200 * tiny_imagenet.PER_CLASS["train"], tiny_imagenet.NUM_CLASSES, tiny_imagenet.SIZE),
    }
    for name, count in fine_grained.NUM_CLASSES.items():
        known[name] = fine_grained.IMAGES[name]["train"], count, size
    if recipe.dataset not in known or "classes" in dict(recipe.dataset_options):
        return None
    images, classes, side = known[recipe.dataset]
    images = min(images, (recipe.images_per_class or images) * classes)
    step = step_cost(recipe, num_classes=classes, input_size=side)
    return {
        "flops": step.flops * (images // recipe.batch_size),
        "weights_bytes": 4 * step.parameters,
        "checkpoint_bytes": 8 * step.parameters,  # with the momentum
        "step_bytes": step.peak_bytes,
    }


def evaluate_run(options: argparse.Namespace) -> int:
    from fsft.apply.trained import load
    from fsft.evaluation import evaluate
    from fsft.runtime.checkpoint import weights_digest
    from fsft.runtime.record import read_result
    from fsft.training import recipe_data

    given = options.run.suffix == ".json"
    folder = options.runs_dir / options.run.stem if given else options.run
    claim = options.run if given else options.results_dir / f"{folder.name}.json"
    result = read_result(claim) if given or claim.exists() else None
    trained = load(folder, device=options.device, data_dir=options.data_dir)
    if result and weights_digest(trained.model.state_dict()) != result["weights_sha256"]:
        raise ValueError(f"expected the weights that {claim} names in {folder}, found others: train it again")
    _, test_set = recipe_data(trained.recipe, options.data_dir)
    if test_set.classes != trained.classes:
        raise ValueError(f"expected the classes of {folder}, found others in {test_set.name}: check --data-dir")
    if result and test_set.sha256 != result["data"]["test_sha256"]:
        raise ValueError(f"expected the test images of {claim}, found others in {test_set.name}: check --data-dir")
    precision = options.precision or (result["precision"] if result else "auto")
    found = evaluate(trained.model, test_set, statistics=trained.statistics, precision=precision)
    far = False
    for mode, accuracy in found.items():
        compared = "  not in the result" if result else ""  # older results have fewer modes
        if result and mode in result["last"]:
            said = result["last"][mode]
            far |= abs(accuracy - said) > TOLERANCE
            compared = "  as in the result" if accuracy == said else f"  the result says {said:.2f} %"
        print(f"{mode:<8}  {accuracy:.2f} %{compared}")
    if far:
        print(f"fsft: {claim} claims other accuracies than its weights have here", file=sys.stderr)
    return int(far)
