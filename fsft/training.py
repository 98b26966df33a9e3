"""One call trains a recipe with one seed, keeps it safe on the way, and writes its result when it is done."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fsft.datasets.registry import FileSet, ImageSet, load_split
from fsft.loop import Loop
from fsft.networks import build
from fsft.recipe import Recipe
from fsft.runtime import files
from fsft.runtime.checkpoint import checkpoints, content_of, load_state, save_state, weights_digest
from fsft.runtime.devices import resolve_device, resolve_precision
from fsft.runtime.files import run_lock
from fsft.runtime.graphs import in_turns
from fsft.runtime.progress import ProgressReport
from fsft.runtime.record import read_result, write_result
from fsft.runtime.stopping import StopRequest, TrainingStoppedError, stop_request

# Options of photodigits that change what is learned from; the test stays what it is, so that accuracies compare.
TRAINING_ONLY = ("size", "background_correlation")
Sets = tuple[ImageSet | FileSet, ImageSet | FileSet]


@dataclass(frozen=True)
class Run:
    """A finished run: the network in evaluation mode, and what its result file says."""

    model: nn.Module
    result: dict[str, Any]


def train(
    recipe: Recipe,
    seed: int = 0,
    *,
    data_dir: str | Path = "data",
    runs_dir: str | Path | None = None,
    results_dir: str | Path | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    progress: str = "auto",
    max_steps: int | None = None,
    data: Sets | None = None,
    checkpoint_seconds: float = 30.0,
    workers: int | None = None,
) -> Run:
    """Train a recipe with one seed, and evaluate it after every epoch. Torch's random state is left as it was.

    Args:
        recipe: what to train.
        seed: decides initialization, order, augmentation and dropout.
        data_dir: where data sets are, see :func:`fsft.load_dataset`.
        runs_dir: keeps checkpoints and the final weights in ``runs_dir/<slug>-seed<seed>``; a run that is there goes on
            where it was. None keeps nothing.
        results_dir: where the result goes when the run is done, as ``<slug>-seed<seed>.json``; a run whose result is
            there is not trained again, but loaded from ``runs_dir``. None writes no result.
        device: None takes the GPU if there is one.
        precision: ``fp32``, ``bf16`` (autocast; parameters stay float32), or ``auto``: bf16 where the device has it.
        progress: ``auto``, ``bar``, ``lines`` (one line per epoch) or ``none``.
        max_steps: stop after so many steps, evaluate, and write nothing, neither result nor checkpoint: to try a recipe
            out.
        data: training and test set, instead of those that the recipe names.
        checkpoint_seconds: the time between two checkpoints, and so the most that a kill costs.
        workers: processes that decode the images of a data set too large for the memory; None takes one for each core
            but one, at most 8. The result does not depend on it.

    Raises:
        fsft.DataError: the data set is missing or damaged.
        FileNotFoundError: the result is there, and the weights are not, as without ``runs_dir``.
        ValueError: seed or steps cannot be, or what is there was trained on other data or otherwise.
        OSError: ``runs_dir`` or ``results_dir`` cannot be written.
        TrainingDivergedError: the loss or a weight is not finite; the last checkpoint is kept.
        TrainingStoppedError: SIGTERM, SIGHUP or Ctrl-C while ``runs_dir`` is given; the state has been saved.
        fsft.runtime.files.FolderLockedError: another process trains the same run.
    """
    options = {name: value for name, value in locals().items() if name not in ("recipe", "seed")}
    (outcome,) = train_together([(recipe, seed)], **options)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def train_together(
    runs: Sequence[tuple[Recipe, int]], at_once: int | None = None, **options: Any
) -> list[Run | Exception]:
    """Train several recipes and seeds in this process, over one copy of the data where their data are the same.

    On a GPU, which one run leaves half idle, their steps run side by side; on a CPU they take turns, step by step. Each
    run's weights are what they would be alone. One that fails does not end the others.

    Args:
        runs: pairs of a recipe and a seed.
        at_once: train no more than so many at a time; None trains all.
        options: those of :func:`train`.

    Returns:
        For each run what :func:`train` would return, or the exception that it would raise.
    """
    options = (train.__kwdefaults__ or {}) | options
    device, keeps = resolve_device(options.pop("device")), options["runs_dir"] is not None
    load = _one_copy(options.pop("data_dir"), options["data"], device)
    gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    with (
        torch.random.fork_rng(devices=gpus),
        stop_request(active=keeps and options["max_steps"] is None) as stop,
    ):
        together = min(len(runs), at_once or len(runs))
        works = [
            _run(recipe, seed, device=device, load=load, stop=stop, together=together, **options)
            for recipe, seed in runs
        ]
        return in_turns(works, together)


def _run(
    recipe: Recipe,
    seed: int,
    *,
    device: torch.device,
    load: Callable[[Recipe], Sets],
    stop: StopRequest,
    together: int,
    runs_dir: str | Path | None,
    results_dir: str | Path | None,
    precision: str,
    progress: str,
    max_steps: int | None,
    checkpoint_seconds: float,
    workers: int | None,
    data: Sets | None,
) -> Generator[None, None, Run]:
    """One run from its checkpoint to its result, in turns of one step."""
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"expected at least one step, found {max_steps}")
    if not isinstance(recipe, Recipe):
        raise TypeError(f"expected a Recipe, such as one of fsft.recipes, found {recipe!r}")
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ValueError(f"expected a seed from 0 to {2**32 - 1}, found {seed}")
    identity = {"slug": recipe.slug, "seed": seed, "precision": resolve_precision(precision, device)}
    stem = recipe.run_name(seed)
    folder = None if runs_dir is None or max_steps is not None else Path(runs_dir) / stem
    result_path = None if results_dir is None or max_steps is not None else Path(results_dir) / f"{stem}.json"
    if result_path is not None and result_path.exists():
        return load_run(result_path, folder, device, data)
    if stop.signal_number is not None:
        raise TrainingStoppedError(f"stopped before {stem} began", stop.signal_number)
    train_set, test_set = load(recipe)
    identity |= {"eval_every": recipe.eval_every, "train_sha256": train_set.sha256, "test_sha256": test_set.sha256}
    with contextlib.ExitStack() as stack:
        stack.enter_context(run_lock(folder, result_path))
        if result_path is not None and result_path.exists():  # another process was first
            return load_run(result_path, folder, device, data)
        loop = Loop(recipe, identity, train_set, test_set, device, max_steps, workers, together)
        if folder is not None:
            loop.resume(folder)
        report = stack.enter_context(
            ProgressReport(progress, stem, recipe.epochs, loop.steps_per_epoch, estimate=max_steps is None)
        )
        yield from loop.run(folder, stop, report, checkpoint_seconds)
        result = _keep(loop, folder, result_path)
    return Run(loop.model.eval(), result)


def _keep(loop: Loop, folder: Path | None, result_path: Path | None) -> dict[str, Any]:
    """The result of a finished loop. Weights, result, end of the checkpoints: in this order no kill loses anything."""
    result = loop.result()
    if folder is not None:
        about = {"classes": list(loop.train_set.classes), "input_size": loop.train_set.image_size}
        about["statistics"] = [values.tolist() for values in loop.train_set.statistics]
        content = {"recipe": loop.recipe.as_dict(), **about, "model": loop.model.state_dict()}
        save_state(folder / "weights.pt", content)
    if result_path is not None:
        files.fault_point("before result")
        write_result(result_path, result)
        for path in checkpoints(folder) if folder is not None else ():
            path.unlink()
    return result


def recipe_data(recipe: Recipe, data_dir: str | Path) -> Sets:
    """The recipe's training set, and the test set that every recipe on that data set shares."""
    options: dict[str, Any] = dict(recipe.dataset_options)
    train_set = load_split(recipe.dataset, "train", data_dir, **options)
    test_set = load_split(
        recipe.dataset, "test", data_dir, **{name: options[name] for name in options if name not in TRAINING_ONLY}
    )
    if recipe.images_per_class is not None:
        train_set = train_set.subset(recipe.images_per_class, seed=0)
    return train_set, test_set


def _one_copy(data_dir: str | Path, data: Sets | None, device: torch.device) -> Callable[[Recipe], Sets]:
    """Finds a recipe's training and test set on the device: ``data``, else what it names. Equal data is loaded once."""
    loaded: dict[tuple[Any, ...], Sets] = {}

    def load(recipe: Recipe) -> Sets:
        key = () if data else (recipe.dataset, recipe.dataset_options, recipe.images_per_class)
        if key not in loaded:
            train_set, test_set = data or recipe_data(recipe, data_dir)
            loaded[key] = _on_device(train_set, device), _on_device(test_set, device)
        return loaded[key]

    return load


def _on_device(data: ImageSet | FileSet, device: torch.device) -> ImageSet | FileSet:
    if isinstance(data, FileSet):
        return data
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def load_run(result_path: Path, folder: Path | None, device: torch.device, data: Sets | None = None) -> Run:
    """A finished run from its result file and its weights; FileNotFoundError where these are not there.

    ValueError where it was trained on other data than ``data``, if that is given.
    """
    result = read_result(result_path)
    trained = result["data"]["train_sha256"], result["data"]["test_sha256"]
    if data is not None and (data[0].sha256, data[1].sha256) != trained:
        raise ValueError(f"expected the data of {result_path}, found others: give another results_dir")
    weights_path = None if folder is None else folder / "weights.pt"
    if weights_path is None or not weights_path.exists():
        where = "without runs_dir" if weights_path is None else f"in {weights_path}"
        raise FileNotFoundError(
            f"{result_path} says that this run is done, but its weights are not there ({where}); "
            "use the result as it is, or train into another --results-dir"
        )
    return Run(load_weights(weights_path, device, result["weights_sha256"]), result)


def load_weights(path: Path, device: torch.device, digest: str | None = None) -> nn.Module:
    """The trained network in a ``weights.pt`` file, in evaluation mode; ValueError where it has another digest."""
    return network_of(load_state(path), path, device, digest)


def network_of(saved: dict[str, Any], path: Path, device: torch.device, digest: str | None = None) -> nn.Module:
    """The same from what ``load_state`` has read of the file."""
    with content_of(path):
        found = weights_digest(saved["model"])
        model = build(Recipe.from_dict(saved["recipe"]), len(saved["classes"]), saved.get("input_size", 32))
        model.load_state_dict(saved["model"])
    if digest not in (None, found):
        raise ValueError(f"expected the weights that the result file names in {path}, found others: train it again")
    return model.to(device).to(memory_format=torch.channels_last).eval()
