"""Batches of images that are decoded on the way, by worker processes, with torchvision's transforms.

The paper does not say how it cuts its fine-grained images to size. This is our choice, the usual one for ImageNet: in
training a random part of 8 to 100 % of the image, resized to 224 x 224 pixels, and a random flip; in tests the shorter
side resized to 256 pixels and the central 224 x 224 cut out; ImageNet's mean and standard deviation for both.

An image's random draws depend on (seed, epoch, image) alone: neither on the worker that decodes it nor on how many
there are, nor on whether the run was interrupted.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from fsft.datasets.reading import DataError
from fsft.datasets.sets import FileSet, ImageSet

RESIZED = 256
# As a part of SeedSequence's key; the streams of fsft.augment have keys of two numbers, so nothing can coincide.
STREAM = 7


class WorkerLostError(OSError):
    """A process that decodes images has died."""


def image_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of the draws for image ``index`` of the data set in an epoch."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, STREAM, index))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def training_transform(size: int, *, crop: bool = True, flip: bool = True) -> v2.Compose:
    """PIL image to uint8 (3, size, size), drawing from torch's global random state."""
    central = [v2.Resize(round(size * RESIZED / 224)), v2.CenterCrop(size)]
    cut = [v2.RandomResizedCrop(size)] if crop else central
    mirror = [v2.RandomHorizontalFlip()] if flip else []
    return v2.Compose([*cut, *mirror, v2.PILToTensor()])


def evaluation_transform(size: int) -> v2.Compose:
    """PIL image to uint8 (3, size, size), the same at every call."""
    return training_transform(size, crop=False, flip=False)


class Samples(Dataset[tuple[Tensor | DataError, int]]):
    """Images of a set as uint8 (3, size, size) with their labels.

    With ``seed`` and ``epoch`` they are augmented; torch's global random state is left as it was. An error of the data
    comes as a value, because a worker's exception would arrive wrapped in its traceback.
    """

    def __init__(self, files: FileSet, transform: v2.Compose, seed: int | None = None, epoch: int = 0):
        self.files, self.transform, self.seed, self.epoch = files, transform, seed, epoch
        self.labels = files.labels.tolist()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor | DataError, int]:
        try:
            image = self.files.image(index)
        except DataError as error:
            return error, self.labels[index]
        with torch.random.fork_rng(devices=[], enabled=self.seed is not None):
            if self.seed is not None:
                torch.default_generator.manual_seed(image_seed(self.seed, self.epoch, index))
            return self.transform(image), self.labels[index]


def batches(
    samples: Samples, indices: Sequence[Sequence[int]], workers: int | None = None, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 (B, 3, H, W) and labels int64 (B,), on ``device``, for each list of indices.

    ``workers`` processes decode ahead; None takes one for each core but one, at most 8, and 0 none. DataError: an image
    cannot be read; WorkerLostError: a worker has died.
    """
    if workers is None:
        workers = min(8, max(0, (os.cpu_count() or 1) - 1))
    loader = DataLoader(
        samples,
        batch_sampler=indices,  # type: ignore[arg-type]
        num_workers=min(workers, len(indices)),
        collate_fn=_collate,
        worker_init_fn=_leave_the_group,
        pin_memory=torch.device(device).type == "cuda",
        generator=torch.Generator(),  # of its own: the loader draws a seed that nobody uses
    )
    try:
        for images, labels in loader:
            if isinstance(images, DataError):
                raise images
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    except (RuntimeError, OSError) as error:
        lost = worker_lost(error)
        if lost is None:
            raise
        raise lost from None


def worker_lost(error: Exception) -> WorkerLostError | None:
    """What to say of an error by which PyTorch tells that a worker has died; None if it tells something else.

    PyTorch raises it wherever the main process is, which need not be in :func:`batches`.
    """
    text, signs = str(error), ("exited unexpectedly", "killed by signal", "shared memory")
    if "DataLoader worker" not in text or not any(sign in text for sign in signs):
        return None
    why = text.splitlines()[0].rstrip(". ")
    return WorkerLostError(
        f"expected processes that decode images, found one dead ({why}), as happens where the memory or the shared "
        "memory (/dev/shm) is too small: run the same command again with --workers 0 or fewer workers, and it goes on "
        "from its last checkpoint"
    )


def as_shown(data: ImageSet | FileSet) -> ImageSet:
    """A set as a test shows it: the images of a ``FileSet`` decoded and cut, its boxes cut with them.

    All of it will be in memory, so ``select`` some first. A box that lies outside the cut has no area. The set keeps
    the digest that it had. DataError: an image cannot be read.
    """
    if isinstance(data, ImageSet):
        return data
    transform = evaluation_transform(data.image_size)

    def cut(index: int) -> tuple[Tensor, Tensor]:
        image = data.image(index)
        box = tv_tensors.BoundingBoxes(data.boxes[index], format="XYXY", canvas_size=(image.height, image.width))
        return transform(image, box)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        pixels, boxes = zip(*pool.map(cut, range(len(data))), strict=True)
    edges = torch.cat([box.as_subclass(Tensor) for box in boxes])
    return ImageSet(data.name, data.split, torch.stack(pixels), data.labels, data.classes, data.sha256, boxes=edges)


def _leave_the_group(worker: int) -> None:
    """Ctrl-C and ``kill`` signal a whole process group, but workers must live until the run has saved its state."""
    if hasattr(os, "setpgid"):  # Windows has no such groups
        os.setpgid(0, 0)


def _collate(items: list[tuple[Tensor | DataError, int]]) -> tuple[Tensor | DataError, Tensor]:
    images, labels = zip(*items, strict=True)
    errors = [image for image in images if isinstance(image, DataError)]
    return errors[0] if errors else torch.stack(images), torch.tensor(labels)
