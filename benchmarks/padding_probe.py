"""Can a trained network name the dropped quadrant of an image with nothing on it?

Needs the weights of a finished run, and its data set for the mean colors and for a comparison on test images:

    python benchmarks/padding_probe.py cpu-resnet20-fsft-a76851dc-seed0 [--data-dir data] [--runs-dir runs]

Writes ``results/probes/padding-<run>.json``, which ``fsft verify`` checks against the run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from fsft import ImageSet, JointNet, augment
from fsft.evidence.probes import FOLDER, mask_recognition, padding_probe, quadrants_named
from fsft.recipe import Recipe
from fsft.runtime.files import write_atomically
from fsft.runtime.provenance import environment
from fsft.runtime.record import canonical_digest, read_result
from fsft.training import load_weights, recipe_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="name of a finished run with joint classifiers")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args()
    result = read_result(options.results_dir / f"{options.run}.json")
    device = torch.device("cpu")
    model = load_weights(options.runs_dir / options.run / "weights.pt", device, result["weights_sha256"])
    if not isinstance(model, JointNet):
        raise SystemExit(f"{options.run} has no joint classifiers to ask")
    train_set, test_set = recipe_data(Recipe.from_dict(result["recipe"]), options.data_dir)
    if not isinstance(test_set, ImageSet):
        raise SystemExit(f"{options.run} was trained on images that do not fit into memory")
    statistics = train_set.statistics
    recognition = padding_probe(model, test_set.images.shape[-1], statistics)
    test_images = augment.normalize(test_set.images, *statistics)
    recognition["test images"] = mask_recognition(model, test_images).tolist()
    probe = {
        "probe": "padding",
        "run": f"{options.run}.json",
        "weights_sha256": result["weights_sha256"],
        "recognition": recognition,
        **environment(device),
    }
    probe["digest"] = canonical_digest(probe)
    path = options.results_dir / FOLDER / f"padding-{options.run}.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(f" {json.dumps(field)}: {json.dumps(value)}" for field, value in probe.items())
    write_atomically(path, f"{{\n{lines}\n}}\n".encode())
    for images, table in recognition.items():
        print(f"{images}: the dropped quadrant is named correctly for {quadrants_named(table):.1f} % of the views")


if __name__ == "__main__":
    main()
