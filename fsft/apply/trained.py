"""A trained network together with all that its images need, for prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from fsft.augment import normalize
from fsft.datasets.imagefiles import center_square
from fsft.datasets.reading import read_image
from fsft.datasets.stream import evaluation_transform
from fsft.evaluation import probabilities
from fsft.framework import JointNet, PlainNet
from fsft.recipe import FINE_GRAINED, Recipe
from fsft.runtime.checkpoint import content_of, load_state
from fsft.runtime.devices import resolve_device
from fsft.training import network_of, recipe_data


@dataclass(frozen=True, eq=False)
class Trained:
    """What :func:`load` returns. Images are cut and normalized as in training, so no other statistics can come in."""

    model: PlainNet | JointNet  # in evaluation mode
    recipe: Recipe
    classes: tuple[str, ...]  # in the order of the probabilities
    image_size: int  # side in pixels of the images that it was trained on
    statistics: tuple[Tensor, Tensor]  # mean and standard deviation (3,) of the training images, white being 1

    def read(self, paths: str | Path | Sequence[str | Path]) -> Tensor:
        """One image file or several as uint8 (n, 3, image_size, image_size), cut as the test images of its data set."""
        images = [self._read(Path(path)) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        if not images:
            raise ValueError("expected at least one image, found none: give the path of a file")
        return torch.stack(images)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to what the network takes, on its device."""
        device = next(self.model.parameters()).device
        return normalize(images.to(device), *self.statistics, channels_last=True)

    @torch.inference_mode()
    def predict(self, images: Tensor | str | Path | Sequence[str | Path]) -> dict[str, Tensor]:
        """Probabilities (B, N) in every inference mode, float32 on the CPU, of files or uint8 images (B, 3, H, W)."""
        output = self.model(self.normalize(images if isinstance(images, Tensor) else self.read(images)))
        return {mode: values.cpu() for mode, values in probabilities(output).items()}

    def _read(self, path: Path) -> Tensor:
        image = read_image(path, "check the path, remove or replace it", lambda image: image.convert("RGB"))
        if self.recipe.dataset in FINE_GRAINED:
            return evaluation_transform(self.image_size)(image)
        return pil_to_tensor(center_square(image, self.image_size))


def load(path: str | Path, *, device: str | torch.device | None = None, data_dir: str | Path | None = None) -> Trained:
    """A finished run of :func:`fsft.train`, ready to predict.

    ::

        fsft.load("runs/<slug>-seed0").predict(["cat.jpg"])["si"].argmax(1)

    Args:
        path: the run's folder, or its ``weights.pt``; FileNotFoundError where the run is not finished.
        device: None takes the GPU if there is one.
        data_dir: where the data sets are; only for weights that were written before statistics were kept with them,
            which are then computed again from the training images.
    """
    path = Path(path) / "weights.pt" if Path(path).is_dir() else Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected the folder of a finished run, found no {path}; 'fsft train' makes it")
    saved = load_state(path)
    model = network_of(saved, path, resolve_device(device))
    recipe, classes = Recipe.from_dict(saved["recipe"]), tuple(saved["classes"])
    statistics = saved.get("statistics")
    if statistics is None:
        if data_dir is None:
            raise ValueError(
                f"expected channel statistics in {path}, found weights from before they were kept there: give "
                "--data-dir (in Python data_dir), and they are computed again from the training images"
            )
        train_set, _ = recipe_data(recipe, data_dir)
        if train_set.classes != classes:
            raise ValueError(f"expected the classes of {path}, found others in {recipe.dataset}: check --data-dir")
        statistics = [values.tolist() for values in train_set.statistics]
    with content_of(path):
        if not all(isinstance(name, str) for name in classes):
            raise TypeError(f"classes without names: {classes}")
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in statistics)
    assert isinstance(model, PlainNet | JointNet)
    return Trained(model, recipe, classes, saved.get("input_size", 32), (mean, std))
