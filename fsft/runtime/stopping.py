"""SIGTERM, SIGHUP and Ctrl-C as a request that a loop answers when it suits."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class TrainingStoppedError(RuntimeError):
    """SIGTERM or Ctrl-C: the state is saved. ``signal_number`` tells which."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


@dataclass
class StopRequest:
    """True once the process was asked to stop: by a signal, or because the sweep that started it is gone.

    A sweep that is killed can pass nothing on; ``FSFT_SWEEP`` names its process.
    """

    signal_number: int | None = None
    sweep: str | None = field(default_factory=lambda: os.environ.get("FSFT_SWEEP"))

    def __bool__(self) -> bool:
        if self.sweep is not None and str(os.getppid()) != self.sweep:
            self.signal_number = self.signal_number or getattr(signal, "SIGHUP", signal.SIGTERM)
        return self.signal_number is not None


@contextlib.contextmanager
def stop_request(active: bool) -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGHUP and Ctrl-C into a request that the loop answers when it suits. A second one ends at once.

    A SIGHUP that is ignored, as under ``nohup``, stays ignored. Windows has none.
    """
    request = StopRequest()
    previous: dict[int, Any] = {}

    def note(signal_number: int, frame: object) -> None:
        request.signal_number = signal_number
        for number, handler in previous.items():
            signal.signal(number, handler)

    wanted: list[int] = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    try:
        for number in wanted if active else ():
            previous[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread, where Python allows no handlers
        pass
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
