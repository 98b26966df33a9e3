"""Evaluation: accuracy and class probabilities of a trained network in every inference mode (eq. 4-6)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from fsft import augment
from fsft.datasets import stream
from fsft.datasets.registry import FileSet, ImageSet
from fsft.datasets.sets import check_statistics
from fsft.framework import JointOutput, modes, predict
from fsft.runtime.devices import resolve_precision


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    images: ImageSet | FileSet,
    *,
    statistics: tuple[Tensor, Tensor],
    precision: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    between: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Top-1 accuracy in percent, in every inference mode that the network offers.

    Args:
        model: a network that returns logits (B, N) or a :class:`fsft.JointOutput`; it is left in evaluation mode.
        images: test set; the images are normalized but not augmented.
        statistics: mean and standard deviation (3,) of the *training* set (its ``statistics``), in [0, 1] units.
        precision: as in :func:`train`.
        batch_size: images at once; None takes 500, on a GPU 2000, and 64 of a streamed data set with its larger images.
        workers: processes that decode the images of a streamed data set, see :func:`fsft.datasets.stream.batches`.
        between: called between two batches; what it raises ends the evaluation.

    Returns:
        ``{"baseline": ...}`` for a plain network, else for a joint one, as far as it offers them,
        ``{"si": ..., "ag-last": ..., "ag": ..., "ag-logits": ..., "sd": ...}``.
    """
    correct: dict[str, Tensor] = {}
    for found, labels in _predictions(model, images, statistics, precision, batch_size, workers):
        if correct and between is not None:
            between()
        for mode, values in found.items():
            hits = (values.argmax(1) == labels).sum()
            correct[mode] = correct[mode] + hits if mode in correct else hits
    # Read here alone: a read within the loop would make the host wait for the device at every batch.
    counts = torch.stack(list(correct.values())).tolist()
    return {mode: 100 * count / len(images) for mode, count in zip(correct, counts, strict=True)}


@torch.inference_mode()
def predict_all(
    model: nn.Module,
    images: ImageSet | FileSet,
    *,
    statistics: tuple[Tensor, Tensor],
    precision: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
) -> dict[str, Tensor]:
    """Class probabilities (n, N) of a whole set in every inference mode, float32 on the CPU; see :func:`evaluate`."""
    parts: dict[str, list[Tensor]] = {}
    for found, _ in _predictions(model, images, statistics, precision, batch_size, workers):
        for mode, values in found.items():
            parts.setdefault(mode, []).append(values.cpu())
    return {mode: torch.cat(values) for mode, values in parts.items()}


def _predictions(
    model: nn.Module,
    data: ImageSet | FileSet,
    statistics: tuple[Tensor, Tensor],
    precision: str,
    batch_size: int | None,
    workers: int | None,
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, found {batch_size}")
    if len(data) == 0:
        raise ValueError(f"expected images, found none in {data.name} {data.split}")
    device = next(model.parameters()).device
    bf16 = resolve_precision(precision, device) == "bf16"
    model.eval()
    check_statistics(*statistics)
    for raw, labels in _in_order(data, batch_size, workers, device):
        x = augment.normalize(raw, statistics[0], statistics[1], channels_last=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = model(x)
        yield probabilities(output), labels


def probabilities(output: Tensor | JointOutput) -> dict[str, Tensor]:
    """Class probabilities (B, N), float32, in every inference mode that a network's output offers."""
    if isinstance(output, JointOutput):
        return {mode: predict(output, mode) for mode in modes(output)}
    return {"baseline": output.float().softmax(-1)}


def _in_order(
    data: ImageSet | FileSet, batch_size: int | None, workers: int | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 (B, 3, H, W) and labels (B,) of the whole set, on the device."""
    if isinstance(data, FileSet):
        samples = stream.Samples(data, stream.evaluation_transform(data.image_size))
        rows = list(BatchSampler(range(len(data)), batch_size or 64, drop_last=False))
        yield from stream.batches(samples, rows, workers, device)
        return
    size = batch_size or (2000 if device.type == "cuda" else 500)
    for images, labels in zip(data.images.split(size), data.labels.split(size), strict=True):
        yield images.to(device), labels.to(device)
