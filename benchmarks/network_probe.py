"""What does a trained network know? Its features and, with masks, the pretext task, asked after training.

Needs the weights of a finished run, and its data set:

    python benchmarks/network_probe.py cpu-split-basic-fsft-1e47e2b2-seed0 [--data-dir data] [--runs-dir runs]

Writes ``results/probes/network-<run>.json``, which ``fsft verify`` checks against the run; chapters 4 and 13 read it.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from fsft import ImageSet, JointNet, PlainNet, augment
from fsft.apply.whole import single_inference_network
from fsft.evidence.probes import FOLDER, quadrants_named
from fsft.framework import matching_logits
from fsft.maps.scorefile import sealed
from fsft.masks import apply_masks, masked_average_pool, no_masks, quadrant_masks
from fsft.recipe import Recipe
from fsft.runtime.files import write_atomically
from fsft.runtime.provenance import environment
from fsft.runtime.record import read_result
from fsft.training import load_weights, recipe_data

BATCH = 500


def mask_recognition(model: JointNet, x: Tensor) -> Tensor:
    """How often the last classifier names each mask, for normalized images (n, 3, H, W), in percent.

    Float64 (M, M): rows the mask that was applied, columns the mask that was named.
    """
    masks, table = model.num_masks, torch.zeros(model.num_masks, model.num_masks, dtype=torch.float64)
    with torch.inference_mode():
        for chunk in x.split(BATCH):
            joint = model(chunk).last.float().softmax(2)
            named = joint.unflatten(2, (-1, masks)).sum(2).argmax(2)  # (images, views)
            table += F.one_hot(named, masks).sum(0)
    return 100 * table / len(x)


def without_border(model: nn.Module) -> Any:
    """A copy whose convolutions pad with the opposite side of the image in place of zeros."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and any(module.padding):
            module.padding_mode = "circular"
    return model


def recognition(model: JointNet, x: Tensor, statistics: tuple[Tensor, Tensor], count: int = 1000) -> dict[str, Any]:
    """Tables of `mask_recognition` on normalized images, and on `count` blank ones of random color (by seed 0).

    A blank image is one color everywhere, so the views without a quadrant differ by nothing but the zero padding of the
    convolutions; with circular padding they are equal.
    """
    generator = torch.Generator().manual_seed(0)
    colors = torch.randint(0, 256, (count, 3, 1, 1), generator=generator, dtype=torch.uint8)
    blank = augment.normalize(colors.expand(-1, -1, *x.shape[2:]).contiguous(), *statistics)
    asked = {"blank": blank, "test images": x}
    padded = {"": model, ", no border": without_border(model)}
    return {
        f"{images}{border}": mask_recognition(network, asked[images]).tolist()
        for images in asked
        for border, network in padded.items()
    }


@torch.inference_mode()
def features(model: PlainNet | JointNet, train_set: ImageSet, test_set: ImageSet) -> dict[str, float]:
    """Single inference under four conditions, as the percentage of test images whose class it names.

    "as it is"; "image without a quadrant", which is set to the mean color, and "features without a quadrant", both the
    mean over the four quadrants; "linear", another classifier on the same frozen features, a logistic regression fitted
    to those of the training images. And "without copies": as it is, on test images that are no training images.
    """
    ordinary: Any = single_inference_network(model) if isinstance(model, JointNet) else model

    def pooled(images: Tensor, masks: Any = no_masks, hidden: int = 0) -> Tensor:
        found = []
        for chunk in images.split(BATCH):
            x = augment.normalize(chunk, *train_set.statistics)
            maps = ordinary.stages(apply_masks(x, quadrant_masks(*x.shape[2:])[hidden][None])[:, 0])
            found.append(masked_average_pool(maps, masks(*maps.shape[2:])))
        return torch.cat(found)  # (n, M, C)

    def right(scores: Tensor) -> Tensor:
        return (scores.argmax(1) == test_set.labels).double() * 100

    masked = pooled(test_set.images, quadrant_masks)  # the first mask leaves all as it is
    whole = right(ordinary.fc(masked[:, 0]))
    seen = {image.numpy().tobytes() for image in train_set.images}
    new = torch.tensor([image.numpy().tobytes() not in seen for image in test_set.images])
    hidden = [right(ordinary.fc(pooled(test_set.images, hidden=quadrant)[:, 0])) for quadrant in range(1, 5)]
    dropped = [right(ordinary.fc(masked[:, quadrant])) for quadrant in range(1, 5)]
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    linear.fit(pooled(train_set.images)[:, 0].numpy(), train_set.labels.numpy())
    refitted = 100 * linear.score(masked[:, 0].numpy(), test_set.labels.numpy())
    parts = {"as it is": whole, "without copies": whole[new]}
    parts |= {"image without a quadrant": torch.stack(hidden), "features without a quadrant": torch.stack(dropped)}
    return {name: round(part.mean().item(), 4) for name, part in parts.items()} | {"linear": round(refitted, 4)}


@torch.inference_mode()
def loss_parts(model: JointNet, train_set: ImageSet) -> dict[str, float]:
    """The last classifier's loss on the training images, in nats: that it names the "mask", and then the "class".

    With q the joint softmax, -log q(y, j) = -log q(j) - log q(y | j): eq. 2 is the sum of the two.
    """
    joint = of_class = 0.0
    for images, labels in zip(train_set.images.split(BATCH), train_set.labels.split(BATCH), strict=True):
        scores = model(augment.normalize(images, *train_set.statistics)).last
        index = labels[:, None, None].expand(-1, scores.shape[1], 1)
        joint -= matching_logits(scores.log_softmax(2)).gather(2, index).sum().item()
        of_class -= matching_logits(scores).log_softmax(2).gather(2, index).sum().item()
    views = len(train_set) * model.num_views
    return {"mask": round((joint - of_class) / views, 6), "class": round(of_class / views, 6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", help="name of a finished run on images that fit into memory")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args()
    for run in options.run:
        result = read_result(options.results_dir / f"{run}.json")
        device, recipe = torch.device("cpu"), Recipe.from_dict(result["recipe"])
        model = load_weights(options.runs_dir / run / "weights.pt", device, result["weights_sha256"])
        assert isinstance(model, PlainNet | JointNet)
        train_set, test_set = recipe_data(recipe, options.data_dir)
        if not isinstance(train_set, ImageSet) or not isinstance(test_set, ImageSet):
            raise SystemExit(f"{run} was trained on images that do not fit into memory")
        probe: dict[str, Any] = {"probe": "network", "run": f"{run}.json", "weights_sha256": result["weights_sha256"]}
        probe["features"] = features(model, train_set, test_set)
        if isinstance(model, JointNet) and recipe.masks == "quadrants":
            x = augment.normalize(test_set.images, *train_set.statistics)
            probe["recognition"] = recognition(model, x, train_set.statistics)
            probe["loss"] = loss_parts(model, train_set)
        probe |= environment(device)
        path = options.results_dir / FOLDER / f"network-{run}.json"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, sealed(probe))
        print(f"{run}: {probe['features']}")
        for images, table in probe.get("recognition", {}).items():
            print(f"  {images}: the dropped quadrant is named for {quadrants_named(table):.1f} % of the views")


if __name__ == "__main__":
    main()
