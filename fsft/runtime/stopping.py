"""SIGTERM and Ctrl-C as a request that a loop answers when it suits."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class StopRequest:
    """True once the process was asked to stop."""

    signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextlib.contextmanager
def stop_request(active: bool) -> Iterator[StopRequest]:
    """Turn SIGTERM and Ctrl-C into a request that the loop answers between two steps. A second one ends at once."""
    request = StopRequest()
    previous: dict[int, Any] = {}

    def note(signal_number: int, frame: object) -> None:
        request.signal_number = signal_number
        for number, handler in previous.items():
            signal.signal(number, handler)

    try:
        if active:
            for wanted in (signal.SIGTERM, signal.SIGINT):
                previous[wanted] = signal.signal(wanted, note)
    except ValueError:  # not in the main thread, where Python allows no handlers
        pass
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
