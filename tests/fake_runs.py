"""Result files for tests: real recipes, invented accuracies. They only ever live in a temporary folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fsft.catalog import recipes
from fsft.evidence.ledger import Ledger, Run
from fsft.recipe import Recipe
from fsft.runtime.record import write_result

CPU = {"type": "cpu", "name": "Test CPU", "cores": 2}


def fake_result(recipe: str | Recipe, seed: int = 0, **accuracy: float) -> dict[str, Any]:
    """A consistent result whose last epoch has the given accuracies; the best epoch is the one before, 0.5 higher."""
    recipe = recipes[recipe] if isinstance(recipe, str) else recipe
    accuracy = accuracy or {"baseline": 50.0}
    steps = 50_000 // recipe.batch_size
    best_epoch = max(1, recipe.epochs - 1)
    history = []
    for epoch in range(1, recipe.epochs + 1):
        shift = 0.5 if epoch == best_epoch and epoch < recipe.epochs else 0.0
        shift -= 10.0 if epoch < best_epoch else 0.0
        test = {mode.replace("_", "-"): value + shift for mode, value in accuracy.items()}
        rate = recipe.learning_rate((epoch * steps - 1) / (recipe.epochs * steps))
        history.append({"epoch": epoch, "lr": rate, "train_loss": 1.5, "test": test, "seconds": 2.0})
    peak = history[best_epoch - 1]
    return {
        "schema": 1,
        "recipe": recipe.as_dict(),
        "recipe_name": recipe.name,
        "slug": recipe.slug,
        "seed": seed,
        "distance": recipe.distance(),
        "precision": "fp32",
        "history": history,
        "last": dict(history[-1]["test"]),
        "best": {mode: {"epoch": peak["epoch"], "accuracy": value} for mode, value in peak["test"].items()},
        "seconds": 3600.0,
        "images_per_second": 1000.0,
        "peak_memory_mib": 1000.0,
        "parameters": 861620,
        "versions": {"torch": "2.15"},
        "device": dict(CPU),
        "threads": 2,
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "data": {"train_sha256": "a" * 64, "test_sha256": "b" * 64, "train_images": 50_000, "test_images": 10_000},
        "weights_sha256": hashlib.sha256(f"{recipe.digest} {seed}".encode()).hexdigest(),
        "finished": "2026-11-23T10:00:00+00:00",
    }


def path_of(folder: Path, result: dict[str, Any]) -> Path:
    return folder / f"{result['slug']}-seed{result['seed']}.json"


def save(folder: Path, *results: dict[str, Any]) -> Path:
    """Write results into a folder under their proper names."""
    for result in results:
        write_result(path_of(folder, result), result)
    return folder


def ledger_of(*results: dict[str, Any], probes: tuple[dict[str, Any], ...] = ()) -> Ledger:
    """A ledger as `load_results` returns it, without the disk."""
    return Ledger([Run.of(result, path_of(Path(), result).name) for result in results], probes)


def seeds(recipe: str | Recipe, **accuracies: tuple[float, ...]) -> list[dict[str, Any]]:
    """One result a seed, from tuples of accuracies: `seeds("table1/resnet56/fsft", si=(74.5, 74.6), ag=(...))`."""
    count = len(next(iter(accuracies.values())))
    return [fake_result(recipe, k, **{mode: values[k] for mode, values in accuracies.items()}) for k in range(count)]
