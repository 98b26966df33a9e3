"""``torch.compile`` as the training loop uses it: one piece, and on a GPU one CUDA graph for each pass."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._triton import has_triton

LONG_RUN = 5_000  # steps that earn back minutes of compilation on a GPU


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """``function`` compiled for inputs of one shape.

    A step of a ResNet-110 is about a thousand kernels of a few microseconds each, which Python launches more slowly
    than a GPU runs them. So there the forward and the backward pass are each recorded as a CUDA graph and replayed.
    PyTorch would quietly go without the graph where it cannot record one; here that is an error. A tensor that comes
    out of a call is overwritten by the next call.

    The first calls compile and record, but each of them is also computed exactly once. So nothing has to be put back
    after a warm-up, batch normalization's statistics included.
    """
    # Each network that a process trains is a new compilation of the same code; eight are allowed by default.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    if device.type != "cuda":
        return torch.compile(function, fullgraph=True, dynamic=False)
    options: dict[str, Any] = {
        "triton.cudagraphs": True,
        "triton.cudagraph_or_error": True,
        "graph_partition": False,  # a partition without a graph would pass for one
        "deterministic": True,  # no choice of kernels by a stopwatch: a resumed process may choose others
    }
    graphed = torch.compile(function, fullgraph=True, dynamic=False, options=options)

    def call(*arguments: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return graphed(*arguments)

    return call


def worth_compiling(device: torch.device, steps: int) -> bool:
    """Whether a run of so many steps should be compiled when nobody says: long ones on a GPU that can be compiled for.

    On a CPU half a minute of compilation gained a few percent where it was tried (``benchmarks/layout.py --compile``
    measures it). That it gains on a GPU is expected, not measured yet.
    """
    return device.type == "cuda" and steps >= LONG_RUN and has_triton() and _can_build()


def _can_build() -> bool:
    """Whether there are a C compiler and Python's headers, which Triton needs for its launchers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return headers.exists() and any(map(shutil.which, ("cc", "gcc", "clang")))
