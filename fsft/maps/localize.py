"""Scores the maps of a finished run on its test images: what ``fsft localize`` does."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsft import augment
from fsft.datasets.registry import FileSet, ImageSet
from fsft.datasets.sets import evenly_chosen
from fsft.datasets.stream import as_shown
from fsft.evaluation import predict_all
from fsft.framework import JointNet, PlainNet
from fsft.maps.cam import class_maps, require_package
from fsft.maps.scorefile import FOLDER, SCHEMA, MapScores, percent, write_map_scores
from fsft.maps.scores import box_masks, center_maps, localization_scores, randomized, rank_correlation, uniform_maps
from fsft.recipe import Recipe
from fsft.runtime.devices import resolve_device
from fsft.runtime.files import run_lock, writable_folder
from fsft.runtime.provenance import environment
from fsft.training import Run, load_run, recipe_data

DRAWS = 3  # of new parameters
SANITY_IMAGES = 500
PART = 500  # images in memory at once, with all their maps


def localize(
    recipe: Recipe,
    seed: int = 0,
    *,
    data_dir: str | Path = "data",
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    images: int | None = None,
    device: str | torch.device | None = None,
) -> MapScores:
    """Score the maps of a finished run, write ``results_dir/maps/<slug>-seed<seed>.json``, and return what is in it.

    The true class is explained, in every inference mode, on all test images or up to so many, evenly chosen. Where the
    test set has masks, they are the ground truth, else its boxes.

    FileNotFoundError: the run is not done, or its weights are not there. ValueError: the test set is not the run's or
    has no ground truth; ``images`` are given, and scores are there. ImportError: the grad-cam package is missing.
    FolderLockedError: another process works on this run.
    """
    if images is not None and images < 1:
        raise ValueError(f"expected at least one image, found {images}")
    device = resolve_device(device)
    path = Path(results_dir) / FOLDER / f"{recipe.run_name(seed)}.json"
    if images is not None and path.exists():
        found = f"{path}, perhaps of more than {images} images"
        raise ValueError(f"expected no scores yet, found {found}: move it away first")
    run, train_set, test_set = finished(recipe, seed, data_dir, runs_dir, results_dir, device)
    assert isinstance(run.model, PlainNet | JointNet)
    writable_folder(path.parent)
    with run_lock(Path(runs_dir) / path.stem):
        scores = map_scores(run.model, train_set, evenly_chosen(test_set, images or len(test_set)))
        scored = len(scores["scores"]["uniform"]["energy"])
        content = {
            "schema": SCHEMA,
            **{field: run.result[field] for field in ("recipe_name", "slug", "seed", "weights_sha256")},
            "region": "mask" if getattr(test_set, "masks", None) is not None else "box",
            "data": {"test_sha256": test_set.sha256, "test_images": len(test_set), "scored_images": scored},
            **scores,
            **environment(device),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_map_scores(path, content)
    return content


def finished(
    recipe: Recipe, seed: int, data_dir: str | Path, runs_dir: str | Path, results_dir: str | Path, device: torch.device
) -> tuple[Run, ImageSet | FileSet, ImageSet | FileSet]:
    """A run with its weights, and the training and test set that it names; raises as :func:`localize` does."""
    require_package()
    result_path = Path(results_dir) / f"{recipe.run_name(seed)}.json"
    if not result_path.exists():
        raise FileNotFoundError(f"expected a finished run, found no {result_path}; train it with 'fsft train'")
    run = load_run(result_path, Path(runs_dir) / result_path.stem, device)
    train_set, test_set = recipe_data(recipe, data_dir)
    if test_set.sha256 != run.result["data"]["test_sha256"]:
        raise ValueError(f"expected the test set that {result_path.name} names, found another: check --data-dir")
    return run, train_set, test_set


def map_scores(
    model: PlainNet | JointNet, train_set: ImageSet | FileSet, test_set: ImageSet | FileSet
) -> dict[str, Any]:
    """The fields ``scores``, ``correct`` and ``sanity`` of a file of `results/maps/`, for a network.

    Only of images whose object the network sees, see :func:`visible`.
    """
    statistics = train_set.statistics
    scores: dict[str, dict[str, list[int]]] = {}
    correct: dict[str, str] = {}
    for rows in torch.arange(len(test_set)).split(PART):
        part = visible(test_set.select(rows))
        if len(part) == 0:
            continue
        answers = predict_all(model, part, statistics=statistics)
        for mode, probabilities in answers.items():
            hits = probabilities.argmax(1) == part.labels
            correct[mode] = correct.get(mode, "") + "".join(str(int(hit)) for hit in hits)
        truth = ground_truth(part)
        images = augment.normalize(part.images, *statistics, channels_last=True)
        for kind, maps in _maps(model, images, part.labels, answers):
            for name, values in localization_scores(maps, **truth).items():
                scores.setdefault(kind, {}).setdefault(name, []).extend(percent(values))
    return {"scores": scores, "correct": correct, "sanity": _sanity(model, statistics, test_set)}


def visible(data: ImageSet | FileSet) -> ImageSet:
    """A set as a test shows it; of a ``FileSet``, those whose object lies outside the cut are left out."""
    shown = as_shown(data)
    if shown is data:
        return shown
    seen = box_masks(ground_truth(shown)["boxes"], *shown.images.shape[2:]).any(2).any(1)
    return shown.select(seen.nonzero()[:, 0])


def _maps(
    model: PlainNet | JointNet, images: Tensor, labels: Tensor, modes: Iterable[str]
) -> Iterator[tuple[str, Tensor]]:
    """The null models' maps and those of the network that score differently, (B, H, W) each, with their names.

    Scores are centered over the classes, see :func:`fsft.maps.cam.class_maps`. A plain classifier's raw maps hardly
    differ: the gradients of its columns sum to zero, so that what these share is left over from the random start.
    """
    side = images.shape[-2:]
    yield "uniform", uniform_maps(len(images), *side)
    yield "center", center_maps(len(images), *side)
    # Behind the last stage nothing is left of the penultimate classifier: its modes repeat "ag-last".
    for mode in (mode for mode in modes if mode not in ("ag", "ag-logits")):
        kinds = [("grad-cam", True)]
        if mode in ("si", "ag-last"):
            kinds.append(("grad-cam", False))  # to show what centering changes
        if mode == "ag-last":
            kinds.append(("cam", True))  # elsewhere it is Grad-CAM times a number, which no score sees
        for method, centered in kinds:
            asked = None if isinstance(model, PlainNet) else mode
            maps = class_maps(model, images, labels, method=method, mode=asked, centered=centered)
            yield f"{method}{'' if centered else '-raw'}/{mode}", maps


def ground_truth(images: ImageSet) -> dict[str, Tensor]:
    """The argument ``masks`` or ``boxes`` of ``localization_scores``; ValueError where the set has neither."""
    if images.masks is not None:
        return {"masks": images.masks}
    if images.boxes is not None:
        return {"boxes": images.boxes}
    raise ValueError(f"expected a test set with masks or boxes, found none in {images.name}: choose another data set")


def _sanity(
    model: PlainNet | JointNet, statistics: tuple[Tensor, Tensor], test_set: ImageSet | FileSet
) -> dict[str, dict[str, float]]:
    """What is left of the Grad-CAM maps without the training: mean energy inside in percent, and rank correlation.

    On up to :data:`SANITY_IMAGES` evenly chosen images, over :data:`DRAWS` draws of new parameters: "trained", "head"
    (new classifiers) and "all" (a new network). A joint classifier is asked for single inference.
    """
    some = visible(evenly_chosen(test_set, SANITY_IMAGES))
    images, truth = augment.normalize(some.images, *statistics, channels_last=True), ground_truth(some)
    trained = class_maps(model, images, some.labels, centered=True)

    def energy(maps: Tensor) -> float:
        return 100 * float(localization_scores(maps, **truth)["energy"].mean())

    found = {"trained": {"energy": round(energy(trained), 4), "images": len(images)}}
    for what in ("head", "all"):
        networks = [randomized(model, what, seed=draw) for draw in range(DRAWS)]
        drawn = [class_maps(network, images, some.labels, centered=True) for network in networks]
        found[what] = {
            "energy": round(float(np.mean([energy(maps) for maps in drawn])), 4),
            "rank_correlation": round(float(np.mean([rank_correlation(maps, trained).mean() for maps in drawn])), 4),
            "images": len(images),
        }
    return found
