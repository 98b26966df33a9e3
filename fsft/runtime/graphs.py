"""Training steps without the host: on a GPU a step is recorded once as a CUDA graph and then replayed; runs in turns.

A step of a ResNet-56 is about 800 kernels of a few microseconds each, and Python launches them more slowly than a GPU
runs them. A graph is launched as one. What a recorded step reads, it reads again at the same addresses: what changes
from step to step has to be in tensors that are overwritten in place.
"""

import functools
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
Step = Callable[[], None]
# The first steps make what a recording takes as given: momentum buffers, cuDNN's plans, cuBLAS's workspaces.
EAGER_STEPS = 3


class Recorder:
    """Does a step, at first as it is and later from its recording. Each call is the step once, so none is put back.

    Args:
        device: decides how a step is recorded, see :data:`RECORD`; where nothing can be, steps run as they are.
        random: the step draws random numbers, as dropout does.
    """

    def __init__(self, device: torch.device, random: bool = False):
        self.record, self.random = RECORD.get(device.type), random
        self.replay: Step | None = None
        self.done = 0

    def __call__(self, step: Step) -> None:
        if self.record is not None and self.done >= EAGER_STEPS:
            self.replay = self.replay or self.record(step, self.random)
        (self.replay or step)()
        self.done += 1


def cuda_graph(step: Step, random: bool) -> Step:
    """Record ``step`` on the current stream, without doing it; the result does it once a call.

    Errors of other threads, such as one that pins memory for a data loader, are no errors of this recording.
    """
    own, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
        step()
    if not random:
        return graph.replay

    def replay() -> None:
        # All graphs read the seed of dropout from one place on the device: those that do take turns on one stream.
        shared = _stream_of_random_steps(own.device)
        shared.wait_stream(own)
        with torch.cuda.stream(shared):
            graph.replay()
        own.wait_stream(shared)

    return replay


RECORD: dict[str, Callable[[Step, bool], Step]] = {"cuda": cuda_graph}
_stream_of_random_steps = functools.cache(torch.cuda.Stream)  # one for each device


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream for one run: a graph cannot be recorded on the default stream, and runs side by side need one each."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def in_turns(works: Sequence[Generator[None, None, T]], at_once: int) -> list[T | Exception]:
    """Go around the first ``at_once`` works that are not done, until all are; what each returns, or its exception."""
    outcomes: dict[int, T | Exception] = {}
    while len(outcomes) < len(works):
        for number in [number for number in range(len(works)) if number not in outcomes][:at_once]:
            try:
                next(works[number])
            except StopIteration as end:
                outcomes[number] = end.value
            except Exception as error:
                if len(works) > 1:  # else what failed would keep its memory on the device, which the others need
                    traceback.clear_frames(error.__traceback__)
                outcomes[number] = error
    return [outcomes[number] for number in range(len(works))]
