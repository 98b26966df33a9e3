"""The training loop: plain PyTorch, one for every method (Section 4).

The order of the images and every random draw are a pure function of (seed, epoch, step). So a run that is stopped or
killed at any moment goes on from its last checkpoint to the same bits, on the same kind of machine.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fsft.batches import Batch, EpochBatches, streamed_batches
from fsft.checkpoint import checkpoints, load_newest_checkpoint, save_checkpoint, weights_digest
from fsft.compiling import compiled, worth_compiling
from fsft.datasets.registry import FileSet, ImageSet
from fsft.evaluation import evaluate
from fsft.framework import JointOutput, joint_loss
from fsft.networks import build, parameter_groups
from fsft.recipe import Recipe
from fsft.runtime.progress import ProgressReport
from fsft.runtime.provenance import environment, peak_memory_mib
from fsft.runtime.stopping import StopRequest

SCHEMA = 1
TRAIN_SAMPLE, TRAIN_SAMPLE_EVERY = 5000, 10  # images and epochs of the accuracy on the training set


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class TrainingStoppedError(RuntimeError):
    """SIGTERM or Ctrl-C: the state is saved. ``signal_number`` tells which."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


@dataclass
class State:
    """How far a run is: with the weights and the optimizer, everything that a checkpoint needs."""

    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0


class Loop:
    """Network, optimizer, data and state of one run."""

    def __init__(
        self,
        recipe: Recipe,
        identity: dict[str, Any],
        train_set: ImageSet | FileSet,
        test_set: ImageSet | FileSet,
        device: torch.device,
        compile: bool | None,
        max_steps: int | None,
        workers: int | None,
    ):
        self.recipe, self.identity, self.device, self.max_steps = recipe, identity, device, max_steps
        self.train_set, self.test_set, self.workers = train_set, test_set, workers
        self.steps_per_epoch = len(train_set) // recipe.batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"expected at least one batch of {recipe.batch_size} training images, found {len(train_set)} images"
            )
        check_match(train_set, test_set)
        # Now, not at the end: the code that runs is what was there when it was loaded.
        self.environment = environment(device)
        make_deterministic(device)
        torch.manual_seed(identity["seed"])
        self.model = build(recipe, train_set.num_classes, train_set.image_size)
        self.model.to(device).to(memory_format=torch.channels_last)
        if compile is None:
            compile = worth_compiling(device, recipe.epochs * self.steps_per_epoch if max_steps is None else max_steps)
        self.batch_loss = compiled(self.eager_batch_loss, device) if compile else self.eager_batch_loss
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.model, recipe), lr=recipe.lr, momentum=recipe.momentum, fused=True
        )
        # On a GPU the learning rate lives in tensors, where a step can read it without the host, even a recorded one.
        groups = self.optimizer.param_groups
        self.rates = [torch.zeros((), device=device) if device.type == "cuda" else None for _ in groups]
        self.rate = recipe.lr
        if isinstance(train_set, ImageSet):
            self.images, self.labels = train_set.images.to(device), train_set.labels.to(device)
        mean, std = train_set.statistics
        if not std.all():
            raise ValueError(
                f"expected color channels that vary over the training images, found deviations {std.tolist()}"
            )
        self.statistics = mean.to(device, torch.float32), std.to(device, torch.float32)
        self.train_sample = train_set.select(torch.arange(0, len(train_set), math.ceil(len(train_set) / TRAIN_SAMPLE)))
        self.state = State(loss_sum=torch.zeros((), device=device))
        self.compiled = compile

    def run(self, folder: Path | None, stop: StopRequest, report: ProgressReport, checkpoint_seconds: float) -> None:
        """All epochs that are left."""
        state, saved_at = self.state, time.perf_counter()
        report.start(state.epoch, state.history)
        while state.epoch < self.recipe.epochs and not self._enough():
            if not self.train_epoch(stop, report):
                self.stop(folder, stop)
            self.check_loss(folder)
            self.finish_epoch()
            if folder is not None and (stop or time.perf_counter() - saved_at >= checkpoint_seconds):
                self.save(folder)
                saved_at = time.perf_counter()
            report.epoch(state.history[-1])
            if stop and state.epoch < self.recipe.epochs:  # a run that is done is not held up
                self.stop(folder, stop)

    def train_epoch(self, stop: StopRequest, report: ProgressReport) -> bool:
        """The steps that are left of the current epoch; False when asked to stop before its end."""
        seed, state, begin = self.identity["seed"], self.state, time.perf_counter()
        self.model.train()
        with contextlib.closing(self.batches()) as batches:
            for batch in batches:
                self.set_learning_rate()
                torch.manual_seed(step_seed(seed, state.epoch, state.step))  # for dropout
                with self.autocast():
                    loss = self.batch_loss(batch)
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                state.loss_sum += loss.detach()
                state.step += 1
                report.step()
                if stop or self._enough():
                    break
        state.epoch_seconds += time.perf_counter() - begin
        return state.step == self.steps_per_epoch or self._enough()

    def batches(self) -> Generator[Batch, None, None]:
        """The batches that are left of the current epoch."""
        seed, epoch, first = self.identity["seed"], self.state.epoch, self.state.step
        if isinstance(self.train_set, FileSet):
            yield from streamed_batches(self.recipe, self.train_set, self.statistics, seed, epoch, first, self.workers)
        else:
            batches = EpochBatches(self.recipe, self.images, self.labels, self.statistics, seed, epoch)
            yield from (batches[step] for step in range(first, self.steps_per_epoch))

    def eager_batch_loss(self, batch: Batch) -> Tensor:
        output = self.model(batch.images)
        return torch.stack([share * self.loss(output, labels) for labels, share in batch.targets]).sum()

    def loss(self, output: Tensor | JointOutput, labels: Tensor) -> Tensor:
        if isinstance(output, JointOutput):
            return joint_loss(output, labels, self.recipe.beta, self.recipe.temperature)
        return F.cross_entropy(output, labels)

    def set_learning_rate(self) -> None:
        done = self.state.epoch * self.steps_per_epoch + self.state.step
        self.rate = self.recipe.learning_rate(done / (self.recipe.epochs * self.steps_per_epoch))
        for group, tensor in zip(self.optimizer.param_groups, self.rates, strict=True):
            rate = self.rate * group["lr_scale"]
            group["lr"] = rate if tensor is None else tensor.fill_(rate)

    def finish_epoch(self) -> None:
        """Evaluate, write the epoch into the history, and go on to the next."""
        state = self.state
        begin = time.perf_counter()
        epoch = state.epoch + 1
        entry: dict[str, Any] = {"epoch": epoch, "lr": self.rate, "train_loss": state.loss_sum.item() / state.step}
        last = epoch == self.recipe.epochs or self._enough()
        if last or epoch % self.recipe.eval_every == 0:
            entry["test"] = self.accuracy(self.test_set)
        # Whether a network fits what it was trained on decides how its other numbers are to be read.
        if (last or epoch % TRAIN_SAMPLE_EVERY == 0) and self.max_steps is None:
            entry["train"] = self.accuracy(self.train_sample)
        state.history.append(entry | {"seconds": round(state.epoch_seconds, 3)})
        state.seconds += state.epoch_seconds + time.perf_counter() - begin
        state.epoch, state.step, state.epoch_seconds = state.epoch + 1, 0, 0.0
        state.loss_sum = torch.zeros_like(state.loss_sum)

    def accuracy(self, images: ImageSet | FileSet) -> dict[str, float]:
        """In percent, in every inference mode, as the network is now; images are not augmented."""
        precision = self.identity["precision"]
        return evaluate(self.model, images, statistics=self.statistics, precision=precision, workers=self.workers)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.identity["precision"] == "bf16")

    def save(self, folder: Path) -> None:
        """Write a checkpoint.

        Raises:
            TrainingDivergedError: the loss is already lost; the last good checkpoint stays.
        """
        self.check_loss(folder)
        state = {"identity": self.identity, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        done = self.state.epoch * self.steps_per_epoch + self.state.step
        save_checkpoint(folder, done, state | {"state": vars(self.state)})

    def check_loss(self, folder: Path | None) -> None:
        loss = self.state.loss_sum.item()
        if not math.isfinite(loss):
            kept = folder is not None and checkpoints(folder)
            raise TrainingDivergedError(
                f"the training loss of {self.recipe.name} is {loss} in epoch {self.state.epoch + 1}: "
                "lower the learning rate" + (f"; the last good checkpoint is kept in {folder}" if kept else "")
            )

    def resume(self, folder: Path) -> None:
        """Take over the newest good checkpoint in ``folder``, if there is one.

        Raises:
            ValueError: it belongs to a run with another recipe, seed, precision or data set.
        """
        saved = load_newest_checkpoint(folder)
        if saved is None:
            return
        for key, value in self.identity.items():
            if saved["identity"].get(key) != value:
                raise ValueError(
                    f"{folder} was begun with {key} {saved['identity'].get(key)!r}, this call has {value!r}: "
                    "use the same again, or another --runs-dir"
                )
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = State(**saved["state"])
        self.state.loss_sum = self.state.loss_sum.to(self.device)

    def stop(self, folder: Path | None, stop: StopRequest) -> None:
        """Save and leave."""
        assert folder is not None and stop.signal_number is not None
        self.save(folder)
        state = self.state
        raise TrainingStoppedError(
            f"stopped by {signal.Signals(stop.signal_number).name} in epoch {state.epoch + 1} of {self.recipe.epochs} "
            f"after {state.step} of {self.steps_per_epoch} steps; saved in {folder}: "
            "the same command goes on from here",
            stop.signal_number,
        )

    def result(self) -> dict[str, Any]:
        """What the result file says, see :mod:`fsft.runtime.schema`."""
        history, state = self.state.history, self.state
        train_seconds = sum(entry["seconds"] for entry in history)
        images = len(history) * self.steps_per_epoch * self.recipe.batch_size if self.max_steps is None else 0
        return {
            "schema": SCHEMA,
            "recipe": self.recipe.as_dict(),
            "recipe_name": self.recipe.name,
            "slug": self.recipe.slug,
            "seed": self.identity["seed"],
            "distance": self.recipe.distance(),
            "precision": self.identity["precision"],
            "compiled": self.compiled,
            "history": history,
            "last": history[-1]["test"],
            "best": best_epochs(history),
            "seconds": round(state.seconds, 1),
            "images_per_second": round(images / train_seconds, 1) if images else None,
            "peak_memory_mib": peak_memory_mib(self.device),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            **self.environment,
            "data": {
                "train_sha256": self.train_set.sha256,
                "test_sha256": self.test_set.sha256,
                "train_images": len(self.train_set),
                "test_images": len(self.test_set),
            },
            "weights_sha256": weights_digest(self.model.state_dict()),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _enough(self) -> bool:
        done = self.state.epoch * self.steps_per_epoch + self.state.step
        return self.max_steps is not None and done >= self.max_steps


def check_match(train_set: ImageSet | FileSet, test_set: ImageSet | FileSet) -> None:
    """Whether what is learned from one set can be tested on the other; ValueError if not."""
    for what in ("classes", "image_size"):
        ours, theirs = getattr(train_set, what), getattr(test_set, what)
        if ours != theirs:
            raise ValueError(f"expected training and test images of the same {what}, found {ours} and {theirs}")


def best_epochs(history: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each mode the evaluated epoch (from 1, the earliest of equals) of the highest test accuracy."""
    best, tested = {}, [entry for entry in history if "test" in entry]
    for mode in tested[-1]["test"]:
        entry = max(tested, key=lambda entry: entry["test"][mode])
        best[mode] = {"epoch": entry["epoch"], "accuracy": entry["test"][mode]}
    return best


def make_deterministic(device: torch.device) -> None:
    """Choose kernels that give the same bits every time; the CPU's do so anyway for a fixed number of threads.

    And let ``fp32`` mean it: by default PyTorch computes float32 convolutions in TF32 where the GPU has it.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed of its own for each step, so that dropout does not depend on what ran before."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1)[0])
