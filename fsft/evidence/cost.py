"""What a training step costs (Table 5), counted instead of timed: FLOPs, memory, and bytes moved.

Networks on the device ``meta`` have shapes but no numbers, so a ResNet-110 at the paper's batch size is counted in
seconds, without a GPU and without gigabytes, to the last byte, and with the same result on every machine.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fsft.framework import JointNet, JointOutput, PlainNet, joint_loss
from fsft.networks import build
from fsft.recipe import Recipe

Network = PlainNet | JointNet


@dataclass(frozen=True)
class StepCost:
    """The cost of one training step: forward, loss, and backward pass of a batch, in float32."""

    parameters: int
    # Of convolutions and matrix products, a multiplication and an addition being two. Everything else is far less
    # arithmetic, and is seen in ``moved_bytes``.
    flops: int
    saved_bytes: int  # what autograd keeps between the passes, see saved_activation_bytes
    # The most that is alive at once: parameters, buffers, momentum, gradients, activations and intermediate results. An
    # allocator that wastes nothing would need as much; workspaces of cuDNN are not in.
    peak_bytes: int
    moved_bytes: int  # by all operations, each on its own and without a cache, as in eager execution
    kernels: int  # operations that compute something: at least as many kernels are launched on a GPU


def step_cost(
    recipe: Recipe,
    *,
    batch_size: int | None = None,
    num_classes: int = 100,
    input_size: int = 32,
    literal: bool = False,
) -> StepCost:
    """The cost of a recipe's training step, exact and without computing it, on images of ``input_size`` pixels a side.

    ``literal`` applies masks as Appendix B prints it, see :func:`appendix_b_forward`.
    """
    with torch.device("meta"):
        network = build(recipe, num_classes, input_size)
    return network_cost(network, batch_size or recipe.batch_size, input_size, beta=recipe.beta, literal=literal)


def network_cost(
    network: Network, batch_size: int, input_size: int = 32, *, beta: float = 1.0, literal: bool = False
) -> StepCost:
    """The same for a network, whose gradients this clears; one on the device ``meta`` is counted without computing."""
    device = next(network.parameters()).device
    images = torch.zeros(batch_size, 3, input_size, input_size, device=device)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    network.train().zero_grad(set_to_none=True)
    parameters = list(network.parameters())

    def loss() -> Tensor:
        output = appendix_b_forward(network, images) if literal and isinstance(network, JointNet) else network(images)
        return joint_loss(output, labels, beta) if isinstance(output, JointOutput) else F.cross_entropy(output, labels)

    kept = _SavedTensors()
    with FlopCounterMode(display=False) as flops, StepMeter() as meter:
        with kept:
            value = loss()
        saved = kept.bytes_without([*parameters, *network.buffers()])
        kept.alive.clear()
        value.backward()
    network.zero_grad(set_to_none=True)
    momentum = sum(_bytes(parameter) for parameter in parameters)
    standing = momentum + sum(_bytes(tensor) for tensor in (*parameters, *network.buffers(), images, labels))
    return StepCost(
        parameters=sum(parameter.numel() for parameter in parameters),
        flops=flops.get_total_flops(),
        saved_bytes=saved,
        peak_bytes=standing + meter.peak_bytes,
        moved_bytes=meter.moved_bytes,
        kernels=meter.kernels,
    )


def saved_activation_bytes(forward: Callable[[], Any], parameters: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps from a forward pass until the backward pass.

    Counts each storage once, however many operations share it, and leaves out ``parameters``, which are in memory
    anyway. Exact, whatever the allocator. ``forward`` includes the loss, and returns whatever should stay alive.
    """
    kept = _SavedTensors()
    with kept:
        kept.alive.append(forward())
    return kept.bytes_without(parameters)


class _SavedTensors(torch.autograd.graph.saved_tensors_hooks):
    """Notes what autograd saves while it is active."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}
        self.alive: list[Any] = []  # the next tensor could be given a freed address, and be counted as the same
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        self.storages[_identity(tensor)] = tensor.untyped_storage().nbytes()
        self.alive.append(tensor)
        return tensor

    def bytes_without(self, parameters: Iterable[Tensor]) -> int:
        excluded = {_identity(parameter) for parameter in parameters}
        return sum(count for identity, count in self.storages.items() if identity not in excluded)


class StepMeter(TorchDispatchMode):
    """Counts, while it is active, what operations read and write, and how much of it is alive at once.

    Views count nothing. An operation reads its inputs and writes its outputs once; batch normalization really reads
    its input twice, so true traffic is somewhat higher.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved_bytes = self.kernels = self.live_bytes = self.peak_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        outputs = [value for value in tree_leaves(results) if isinstance(value, Tensor)]
        known = {_identity(tensor) for tensor in inputs}
        new = {_identity(tensor): tensor for tensor in outputs if _identity(tensor) not in known}
        if new or func._schema.is_mutable:
            self.kernels += 1
            self.moved_bytes += sum(map(_bytes, (*inputs, *outputs)))
        for storage in (tensor.untyped_storage() for tensor in new.values()):
            self._now_alive(storage.nbytes())
            weakref.finalize(storage, self._now_alive, -storage.nbytes())
        return results

    def _now_alive(self, more: int) -> None:
        self.live_bytes += more
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)


def appendix_b_forward(network: JointNet, images: Tensor) -> JointOutput:
    """The network's output, with every mask applied as Appendix B prints it: by copies of features and masks.

    Equal to ``network(images)`` up to rounding; only the cost differs. For images in the default memory format.
    """
    batch = len(images)
    x = images if network.input_transform is None else network.input_transform(images).flatten(0, 1)
    pooled = {}
    for name, stage in network.stages.named_children():
        x = stage(x)
        if name in network.taps:
            views = transformation_block(x, network.masks_of(name))
            pooled[name] = F.adaptive_avg_pool2d(views, 1).reshape(batch, network.num_views, -1)
        if name == network.transform_after and name != network.taps[-1]:
            x = transformation_block(x, network.masks_of(name))
    last = pooled[network.taps[-1]]
    return JointOutput(
        last=network.fc_last(last),
        penultimate=None if network.fc_penultimate is None else network.fc_penultimate(pooled[network.taps[0]]),
        distilled=None if network.fc_distilled is None else network.fc_distilled(last[:, 0]),
    )


def transformation_block(features: Tensor, masks: Tensor) -> Tensor:
    """Appendix B, segment 2: (B, C, H, W) and (M, H, W) to (B * M, C, H, W), the views of an image in a row.

    Each mask is repeated to the size of the batch, and the copies are collected one by one.
    """
    if len(masks) == 1:
        return features
    batch, channels = features.shape[:2]
    whole, *dropping = (mask.expand(channels, -1, -1) for mask in masks)
    original = features * whole.unsqueeze(0).repeat(batch, 1, 1, 1)
    views = features
    for mask in dropping:
        views = torch.cat((views, original * mask.unsqueeze(0).repeat(batch, 1, 1, 1)), 1)
    return views.view(-1, *features.shape[1:])


def _identity(tensor: Tensor) -> int:
    """Which storage a tensor has; on ``meta``, where there is no address, too."""
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    """Bytes of memory that a tensor covers; an expanded dimension covers nothing more."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
