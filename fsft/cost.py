"""What a training step costs (Table 5): bytes that autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def saved_activation_bytes(forward: Callable[[], Any], parameters: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps from a forward pass until the backward pass.

    Counts each storage once, however many operations share it, and leaves out ``parameters``, which are in memory
    anyway. The figure is exact and does not depend on the allocator, unlike the peak memory of a device.

    Args:
        forward: runs the forward pass, loss included, and returns whatever should stay alive.
        parameters: the network's parameters and buffers.
    """
    storages: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # a freed address could be given to the next tensor, and be counted as the same
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive.append(forward())
    for parameter in parameters:
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storages.values())
