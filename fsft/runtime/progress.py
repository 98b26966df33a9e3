"""Progress of a run: a live bar where someone watches, one line per epoch where nobody does."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

STYLES = ("auto", "bar", "lines", "none")


class ProgressReport:
    """Context manager around a run's loop.

    ``style`` is one of :data:`STYLES`: ``auto`` is a bar in a terminal or a notebook, and lines when headless, that is
    when the output is redirected or ``FSFT_HEADLESS`` is set (in a page of the book a bar is stuck). Without
    ``estimate`` nothing is said of the time that is left: a run that is only tried out does not tell.
    """

    def __init__(self, style: str, title: str, epochs: int, steps_per_epoch: int, estimate: bool = True):
        if style not in STYLES:
            raise ValueError(f"expected progress to be one of {STYLES}, found {style!r}")
        watched = ("ipykernel" in sys.modules or sys.stderr.isatty()) and not os.environ.get("FSFT_HEADLESS")
        self.style = ("bar" if watched else "lines") if style == "auto" else style
        self.title, self.epochs, self.steps_per_epoch, self.estimate = title, epochs, steps_per_epoch, estimate
        self.bar: Any = None

    def __enter__(self) -> ProgressReport:
        if self.style == "bar":
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.epochs * self.steps_per_epoch, desc=self.title, unit="step", mininterval=0.5)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, epoch: int, step: int) -> None:
        """Call before the first step; ``epoch`` epochs are done already, and ``step`` steps of the next."""
        self.begin, self.first = time.perf_counter(), epoch + step / self.steps_per_epoch
        if self.bar is not None:
            self.bar.update(epoch * self.steps_per_epoch + step)
            self.bar.unpause()
        elif self.first:
            self.say(f"resuming after epoch {epoch} of {self.epochs}" + (f" and {step} steps" if step else ""))

    def say(self, text: str) -> None:
        """A line about the run, above the bar where there is one."""
        if self.bar is not None:
            self.bar.write(f"{self.title}: {text}")
        elif self.style == "lines":
            print(f"{self.title}: {text}", flush=True)

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, entry: dict[str, Any]) -> None:
        """Report a finished epoch: an entry of the history."""
        accuracies = ", ".join(f"{mode} {value:.2f} %" for mode, value in entry.get("test", {}).items())
        loss = f"loss {entry['train_loss']:.3f}"
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {entry['epoch']}/{self.epochs}: {accuracies}")
        elif self.style == "lines":
            done = entry["epoch"] - self.first
            left = (time.perf_counter() - self.begin) / done * (self.epochs - entry["epoch"]) if done else 0
            self.say(
                f"epoch {entry['epoch']}/{self.epochs}, {', '.join(filter(None, (loss, accuracies)))}"
                + (f", {_duration(left)} left" if self.estimate and done else "")
            )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
