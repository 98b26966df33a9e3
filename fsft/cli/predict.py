"""``fsft predict``: the classes of images, by a finished run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsft.cli.ledger import add_device

if TYPE_CHECKING:
    from fsft.apply.trained import Trained

_AT_ONCE = 64  # images


def add_predict(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="say what is on images, with a finished run",
        description="The likeliest classes of each image, in every inference mode of the network. Images are cut and "
        "normalized as in training.",
    )
    command.add_argument("run", type=Path, help="a run's folder, such as runs/<slug>-seed0, or its weights.pt")
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="a file, or a folder of files")
    command.add_argument("--top", type=int, metavar="K", help="classes to name (default: 3, or all of fewer)")
    command.add_argument("--json", action="store_true", help="print a JSON list in place of a table")
    command.add_argument("--maps", type=Path, metavar="FOLDER", help="write a class activation map of each image there")
    add_device(command, precision=False)
    command.add_argument("--data-dir", type=Path, help="only for weights from before statistics were kept with them")
    command.set_defaults(command=predict_images)


def predict_images(options: argparse.Namespace) -> int:
    from fsft.apply.trained import load

    trained, paths = load(options.run, device=options.device, data_dir=options.data_dir), image_files(options.images)
    classes = len(trained.classes)
    top = min(3, classes) if options.top is None else options.top
    if not 1 <= top <= classes:
        raise ValueError(f"expected --top from 1 to {classes}, the number of classes, found {top}")
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(paths), _AT_ONCE):
        part = paths[begin : begin + _AT_ONCE]
        images = trained.read(part)
        best = {mode: values.topk(top) for mode, values in trained.predict(images).items()}
        for row, path in enumerate(part):
            named = {
                mode: [
                    {"class": trained.classes[index], "probability": round(value, 4)}
                    for value, index in zip(found.values[row].tolist(), found.indices[row].tolist(), strict=True)
                ]
                for mode, found in best.items()
            }
            rows.append({"image": str(path), "modes": named})
        if options.maps is not None:
            write_maps(trained, images, part, options.maps)
    print(json.dumps(rows, indent=1, ensure_ascii=False) if options.json else table(rows))
    return 0


def image_files(given: list[Path]) -> list[Path]:
    """The files themselves, and those below the folders whose names end as an image's; ValueError where none does."""
    from fsft.datasets.imagefiles import SUFFIXES

    found: list[Path] = []
    for path in given:
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if path.is_dir() and not below:
            raise ValueError(f"expected images ({', '.join(SUFFIXES)}) in {path}, found none")
        found += below or [path]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each image and mode."""
    wide = max(len(row["image"]) for row in rows)
    return "\n".join(
        f"{row['image']:<{wide}}  {mode:<9}  "
        + ", ".join(f"{best['class']} {best['probability']:.1%}" for best in named)
        for row in rows
        for mode, named in row["modes"].items()
    )


def write_maps(trained: Trained, images: Any, paths: list[Path], folder: Path) -> None:
    """For each image a PNG: which places speak for the class that the network names first (single inference)."""
    from matplotlib.image import imsave

    from fsft.figures.map_plots import overlay
    from fsft.maps.cam import class_maps

    folder.mkdir(parents=True, exist_ok=True)
    maps = class_maps(trained.model, trained.normalize(images), centered=True)
    for path, image, heat in zip(paths, images.numpy(), maps.numpy(), strict=True):
        name = "-".join(part for part in path.parts if part not in ("/", "..", "."))
        imsave(folder / f"{name}.png", overlay(image, heat, heat.max()))
