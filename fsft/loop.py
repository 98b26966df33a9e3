"""The training loop: plain PyTorch, one for every method (Section 4).

The order of the images and every random draw are a pure function of (seed, epoch, step). So a run that is stopped or
killed at any moment goes on from its last checkpoint to the same bits, on the same kind of machine.
"""

import contextlib
import math
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsft.batches import Batch, Draws, crop_and_flip, decoded_images, draws_of_step, epoch_draws, finished_batch
from fsft.datasets.registry import FileSet, ImageSet
from fsft.datasets.sets import check_match, check_statistics, evenly_chosen
from fsft.evaluation import evaluate
from fsft.framework import JointOutput, joint_loss
from fsft.networks import build, parameter_groups
from fsft.recipe import TRAIN_SAMPLE, TRAIN_SAMPLE_EVERY, Recipe
from fsft.runtime.checkpoint import checkpoints, content_of, load_newest_checkpoint, save_checkpoint, weights_digest
from fsft.runtime.devices import make_deterministic
from fsft.runtime.graphs import Recorder, own_stream
from fsft.runtime.progress import ProgressReport
from fsft.runtime.provenance import begin_stretch, environment, one_machine, peak_memory_mib
from fsft.runtime.record import best_epochs
from fsft.runtime.stopping import StopRequest, TrainingStoppedError

SCHEMA = 1


class TrainingDivergedError(RuntimeError):
    """The loss, or a weight, is no longer a finite number."""


@dataclass
class State:
    """How far a run is: with the weights and the optimizer, everything that a checkpoint needs.

    ``stretches`` says which part was computed where and with what, see :func:`fsft.runtime.provenance.begin_stretch`.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    stretches: list[dict[str, Any]] = field(default_factory=list)


class Loop:
    """Network, optimizer, data and state of one run. ``together``: so many runs share the process and its device."""

    def __init__(
        self,
        recipe: Recipe,
        identity: dict[str, Any],
        train_set: ImageSet | FileSet,
        test_set: ImageSet | FileSet,
        device: torch.device,
        max_steps: int | None = None,
        workers: int | None = None,
        together: int = 1,
    ):
        self.recipe, self.identity, self.device, self.max_steps = recipe, identity, device, max_steps
        self.train_set, self.test_set, self.workers = train_set, test_set, workers
        self.steps_per_epoch = len(train_set) // recipe.batch_size
        if self.steps_per_epoch == 0:
            batch = f"one batch of {recipe.batch_size} training images"
            raise ValueError(f"expected at least {batch}, found {len(train_set)} images")
        check_match(train_set, test_set)
        # Now, not at the end: the code that runs is what was there when it was loaded.
        self.environment = environment(device, together)
        make_deterministic(device)
        self.peak_memory: float | None = None
        if device.type == "cuda":  # of this run, not of those before it in this process
            torch.cuda.reset_peak_memory_stats(device)
        torch.manual_seed(identity["seed"])
        self.model = build(recipe, train_set.num_classes, train_set.image_size)
        self.model.to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.model, recipe), lr=recipe.lr, momentum=recipe.momentum, fused=True
        )
        if isinstance(train_set, ImageSet):
            self.images, self.labels = train_set.images.to(device), train_set.labels.to(device)
        mean, std = check_statistics(*train_set.statistics)
        self.statistics = mean.to(device, torch.float32), std.to(device, torch.float32)
        self.train_sample = evenly_chosen(train_set, TRAIN_SAMPLE)
        self.state = State(loss_sum=torch.zeros((), device=device))
        # What a step reads besides images and weights: its number in the epoch, the epoch's tables, its learning rates.
        # SGD's kernel takes float32 on a GPU; on a CPU float64 holds exactly what Python computes.
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        self.tables: Draws = {}
        rate_type = torch.float32 if device.type == "cuda" else torch.float64
        self.rates = torch.zeros(len(self.optimizer.param_groups), dtype=rate_type, device=device)
        self._point_optimizer_to_rates()
        self.has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.model.modules())
        # Images from workers are copied on the default stream, so their steps stay there, and are not recorded.
        self.stream = own_stream(device) if isinstance(train_set, ImageSet) else None
        self.recorder = Recorder(device, self.has_dropout)
        # A run that keeps nothing; run() says otherwise.
        self.folder: Path | None = None
        self.stop, self.report = StopRequest(), ProgressReport("none", "", 1, 1)
        self.checkpoint_seconds, self.mark = math.inf, time.perf_counter()

    def run(
        self, folder: Path | None, stop: StopRequest, report: ProgressReport, checkpoint_seconds: float
    ) -> Iterator[None]:
        """All epochs that are left, in turns of one step, between which other runs can have theirs."""
        self.folder, self.stop, self.report, self.checkpoint_seconds = folder, stop, report, checkpoint_seconds
        state = self.state
        report.start(state.epoch, state.step)
        here = self.environment | {"precision": self.identity["precision"]}
        if changed := begin_stretch(state.stretches, here, [state.epoch, state.step]):
            report.say(f"goes on under other conditions, so perhaps to other bits: {', '.join(changed)}")
        self.mark = self.saved_at = time.perf_counter()
        while state.epoch < self.recipe.epochs and not self._enough():
            yield from self.train_epoch()
            self.finish_epoch()
            report.epoch(state.history[-1])
            if state.epoch < self.recipe.epochs:  # a run that is done is not held up
                self.pause()

    def train_epoch(self) -> Generator[None, None, None]:
        """The steps that are left of the current epoch, one a turn."""
        state, seed = self.state, self.identity["seed"]
        self.model.train()
        with torch.cuda.stream(self.stream):  # on a CPU there is none, and this does nothing
            self.begin_epoch()
        left: Generator[tuple[Tensor, Tensor] | None, None, None] = (
            None for _ in range(state.step, self.steps_per_epoch)
        )
        if isinstance(self.train_set, FileSet):
            order = self.tables["order"][state.step :]
            left = decoded_images(self.recipe, self.train_set, order, seed, state.epoch, self.workers, self.device)
        with contextlib.closing(left):
            for pixels in left:  # None where they are on the device already
                if self.has_dropout:
                    torch.manual_seed(step_seed(seed, state.epoch, state.step))
                with torch.cuda.stream(self.stream):
                    if pixels is None:
                        self.recorder(self.step)
                    else:
                        self.step(pixels)
                state.step += 1
                self.report.step()
                self.pause()
                yield
                if self._enough():
                    break

    def begin_epoch(self) -> None:
        """Put the epoch's draws and learning rates where its steps read them."""
        state, steps = self.state, self.steps_per_epoch
        done = [(state.epoch * steps + step) / (self.recipe.epochs * steps) for step in range(steps)]
        self.epoch_rates = [self.recipe.learning_rate(progress) for progress in done]
        size, seed = self.train_set.image_size, self.identity["seed"]
        tables = epoch_draws(self.recipe, len(self.train_set), size, seed, state.epoch)
        scales = torch.tensor([group["lr_scale"] for group in self.optimizer.param_groups], dtype=torch.float64)
        rates = torch.tensor(self.epoch_rates, dtype=torch.float64)[:, None] * scales
        tables["rates"] = rates.to(self.rates.dtype)
        if self.stream is not None:  # what was prepared elsewhere has to be there
            self.stream.wait_stream(torch.cuda.default_stream(self.device))
        for name, table in tables.items():
            # In place: a recorded step goes on reading where the first tables were.
            self.tables[name] = self.tables[name].copy_(table) if name in self.tables else table.to(self.device)
        self.place.fill_(state.step)
        if state.step == 0:
            state.loss_sum.zero_()

    def step(self, pixels: tuple[Tensor, Tensor] | None = None) -> None:
        """One training step, from the batch to the new weights.

        All that differs from step to step is read from tensors on the device, and no number comes back to the host:
        so a GPU can have hundreds of steps queued, and a recording of one step is good for all.
        """
        draws = draws_of_step(self.tables, self.place)
        self.rates.copy_(draws["rates"])
        batch = self.batch(draws, pixels)
        with self.autocast():
            loss = self.batch_loss(batch)
        loss.backward()
        self.optimizer.step()
        # To None, not to zero: the next backward pass then writes gradients where it would have to add them.
        self.optimizer.zero_grad(set_to_none=True)
        self.state.loss_sum += loss.detach()
        self.place += 1

    def batch(self, draws: Draws, pixels: tuple[Tensor, Tensor] | None = None) -> Batch:
        images, labels = pixels or crop_and_flip(self.images, self.labels, draws)
        return finished_batch(self.recipe, self.statistics, draws, images, labels)

    def batch_loss(self, batch: Batch) -> Tensor:
        output = self.model(batch.images)
        return torch.stack([share * self.loss(output, labels) for labels, share in batch.targets]).sum()

    def loss(self, output: Tensor | JointOutput, labels: Tensor) -> Tensor:
        if isinstance(output, JointOutput):
            return joint_loss(output, labels, self.recipe.beta, self.recipe.temperature)
        return F.cross_entropy(output, labels)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.identity["precision"] == "bf16")

    def finish_epoch(self) -> None:
        """Evaluate, write the epoch into the history, and go on to the next."""
        state, epoch = self.state, self.state.epoch + 1
        loss = self.finite_loss() / state.step
        # Before the first evaluation: its larger batches are no cost of training.
        self.peak_memory = self.peak_memory or peak_memory_mib(self.device)
        entry: dict[str, Any] = {"epoch": epoch, "lr": self.epoch_rates[state.step - 1], "train_loss": loss}
        last = epoch == self.recipe.epochs or self._enough()
        if last or epoch % self.recipe.eval_every == 0:
            entry["test"] = self.accuracy(self.test_set)
        # Whether a network fits what it was trained on decides how its other numbers are to be read.
        if (last or epoch % TRAIN_SAMPLE_EVERY == 0) and self.max_steps is None:
            entry["train"] = self.accuracy(self.train_sample)
        state.history.append(entry | {"seconds": round(state.epoch_seconds, 3)})
        state.epoch, state.step, state.epoch_seconds = epoch, 0, 0.0
        self.take_time()

    def accuracy(self, images: ImageSet | FileSet) -> dict[str, float]:
        """In percent, in every inference mode, as the network is now; images are not augmented."""
        return evaluate(
            self.model,
            images,
            statistics=self.statistics,
            precision=self.identity["precision"],
            workers=self.workers,
            between=self.pause,
        )

    def finite_loss(self) -> float:
        """The sum of the epoch's losses so far. The device has then done all steps, and only then the time is taken.

        TrainingDivergedError: it is not finite, or a weight is not, which the loss of the next step would show.
        """
        with torch.cuda.stream(self.stream):
            loss = self.state.loss_sum.item()
        self.take_time()
        finite = torch.stack([weights.isfinite().all() for weights in self.model.parameters()]).all()
        if not (math.isfinite(loss) and finite):
            kept = self.folder is not None and checkpoints(self.folder)
            raise TrainingDivergedError(
                f"the training of {self.recipe.name} diverged, with a loss of {loss}, in epoch {self.state.epoch + 1}: "
                "lower the learning rate" + (f"; the last good checkpoint is kept in {self.folder}" if kept else "")
            )
        return loss

    def take_time(self) -> None:
        """Add the time since the last call to the run, to its stretch, and while it trains to the epoch."""
        state, now = self.state, time.perf_counter()
        spent, self.mark = now - self.mark, now
        state.seconds += spent
        if self.model.training:
            state.epoch_seconds += spent
        if state.stretches:
            state.stretches[-1]["seconds"] += spent
            state.stretches[-1]["end"] = [state.epoch, state.step]

    def pause(self) -> None:
        """Between two steps, and between two batches of an evaluation: save when it is due, and leave when asked to."""
        if self.folder is None:
            return
        if self.stop or time.perf_counter() - self.saved_at >= self.checkpoint_seconds:
            self.save(self.folder)
        if self.stop.signal_number is not None:
            state, name = self.state, signal.Signals(self.stop.signal_number).name
            raise TrainingStoppedError(
                f"stopped by {name} in epoch {state.epoch + 1} of {self.recipe.epochs} after {state.step} of "
                f"{self.steps_per_epoch} steps; saved in {self.folder}: the same command goes on from here",
                self.stop.signal_number,
            )

    def save(self, folder: Path) -> None:
        """Write a checkpoint, unless the training has diverged: then the last good one stays."""
        self.finite_loss()
        state = {"identity": self.identity, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        done = self.state.epoch * self.steps_per_epoch + self.state.step
        save_checkpoint(folder, done, state | {"state": vars(self.state)})
        self.saved_at = self.mark = time.perf_counter()  # writing is no part of the run's time

    def resume(self, folder: Path) -> None:
        """Take over the newest good checkpoint in ``folder``, if there is one.

        ValueError: it belongs to a run with another recipe, seed, precision or data set.
        """
        saved = load_newest_checkpoint(folder)
        if saved is None:
            return
        with content_of(folder):
            begun = {key: saved["identity"].get(key) for key in self.identity}
        for key, value in self.identity.items():
            if begun[key] != value:
                raise ValueError(
                    f"{folder} was begun with {key} {begun[key]!r}, this call has {value!r}: "
                    "use the same again, or another --runs-dir"
                )
        with content_of(folder):
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self._point_optimizer_to_rates()
            self.state = State(**saved["state"])
            self.state.loss_sum = self.state.loss_sum.to(self.device)

    def result(self) -> dict[str, Any]:
        """What the result file says, see :mod:`fsft.runtime.schema`."""
        history, state = self.state.history, self.state
        seconds = sum(entry["seconds"] for entry in history)
        known = self.max_steps is None and one_machine(state.stretches)
        images = len(history) * self.steps_per_epoch * self.recipe.batch_size
        return {
            "schema": SCHEMA,
            "recipe": self.recipe.as_dict(),
            "recipe_name": self.recipe.name,
            "slug": self.recipe.slug,
            "seed": self.identity["seed"],
            "distance": self.recipe.distance(),
            "precision": self.identity["precision"],
            "history": history,
            "last": history[-1]["test"],
            "best": best_epochs(history),
            "seconds": round(state.seconds, 1),
            "images_per_second": round(images / seconds, 1) if known and seconds else None,
            "peak_memory_mib": self.peak_memory,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            **self.environment,
            "stretches": [stretch | {"seconds": round(stretch["seconds"], 1)} for stretch in state.stretches],
            "data": {
                "train_sha256": self.train_set.sha256,
                "test_sha256": self.test_set.sha256,
                "train_images": len(self.train_set),
                "test_images": len(self.test_set),
            },
            "weights_sha256": weights_digest(self.model.state_dict()),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _point_optimizer_to_rates(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate  # a view: what is written into the rates is what the optimizer reads

    def _enough(self) -> bool:
        done = self.state.epoch * self.steps_per_epoch + self.state.step
        return self.max_steps is not None and done >= self.max_steps


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed of its own for each step, so that dropout does not depend on what ran before."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1)[0])
