"""A few test images of a finished run with their maps, small enough to be committed: `results/galleries/`.

`<slug>-seed<k>.webp` is a sheet without loss: a column for each image, the images in the first row, then a row of maps
in grey for each kind. The JSON file of the same name says whose they are, and what white stands for in each row. So a
page without weights or data shows real maps, and on the scale that they have.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fsft.maps.scorefile import check_run, sealed
from fsft.recipe import Recipe
from fsft.runtime.files import run_lock, writable_folder, write_atomically
from fsft.runtime.record import check_name, find_results, load_sound

if TYPE_CHECKING:
    import torch

FOLDER = "galleries"
SAME = ("recipe_name", "slug", "seed", "weights_sha256")  # as in the run's result


def write_gallery(
    recipe: Recipe,
    seed: int = 0,
    *,
    images: int = 12,
    data_dir: str | Path = "data",
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    device: str | torch.device | None = None,
) -> Path:
    """Write the gallery of a finished run and return the path of its JSON file.

    The images are evenly chosen from the test set, neither by class nor by answer, so that runs on the same data show
    the same ones. The true class is explained by CAM (:func:`fsft.maps.cam.class_maps`) in each inference mode that
    reads the last stage alone, centered; of single inference also the raw score. It raises what
    :func:`fsft.maps.localize.localize` does, and ValueError where the test set has fewer images.
    """
    # Here, and not above: who reads or checks galleries needs no PyTorch.
    import torch

    from fsft import augment
    from fsft.datasets.stream import as_shown
    from fsft.evaluation import predict_all
    from fsft.framework import PlainNet
    from fsft.maps.cam import class_maps
    from fsft.maps.localize import finished
    from fsft.runtime.devices import resolve_device
    from fsft.runtime.provenance import environment

    device = resolve_device(device)
    run, train_set, test_set = finished(recipe, seed, data_dir, runs_dir, results_dir, device)
    if not 1 <= images <= len(test_set):
        raise ValueError(f"expected between 1 and {len(test_set)} images, found {images}")
    rows = torch.linspace(0, len(test_set) - 1, images + 2).long()[1:-1]
    part = as_shown(test_set.select(rows))
    x = augment.normalize(part.images, *train_set.statistics, channels_last=True)
    answers = predict_all(run.model, part, statistics=train_set.statistics)
    maps = {}
    for mode in answers.keys() & {"baseline", "si", "ag-last"}:
        asked = None if isinstance(run.model, PlainNet) else mode
        for kind, centered in ((mode, True), (f"{mode}, raw", False)):
            if centered or mode == "si":
                maps[kind] = class_maps(run.model, x, part.labels, method="cam", mode=asked, centered=centered)
    white = {kind: round(float(values.max()), 4) or 1.0 for kind, values in sorted(maps.items())}
    grey = [(255 * maps[kind] / high).round().clamp(max=255).byte() for kind, high in white.items()]
    tiles = torch.stack([part.images, *(values[:, None].expand(-1, 3, -1, -1) for values in grey)])
    sheet = io.BytesIO()
    pixels = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows, n, 3, H, W) to (rows * H, n * W, 3)
    Image.fromarray(pixels.numpy()).save(sheet, "WebP", lossless=True, method=6)
    content = {
        **{field: run.result[field] for field in SAME},
        "test_sha256": test_set.sha256,
        "images": rows.tolist(),
        "classes": [part.classes[label] for label in part.labels.tolist()],
        "answers": {mode: [part.classes[k] for k in p.argmax(1).tolist()] for mode, p in sorted(answers.items())},
        "white": white,
        "sheet_sha256": hashlib.sha256(sheet.getvalue()).hexdigest(),
        **environment(device),
    }
    path = Path(results_dir) / FOLDER / f"{recipe.run_name(seed)}.json"
    writable_folder(path.parent)
    with run_lock(Path(runs_dir) / path.stem):
        write_atomically(path.with_suffix(".webp"), sheet.getvalue())
        write_atomically(path, sealed(content))
    return path


def load_galleries(results_dir: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """All galleries by the name of their recipe; of several seeds, the first.

    In each, ``["pixels"]`` is (n, 3, H, W) uint8 and ``["maps"][kind]`` is (n, H, W) float32 in units of the score.
    ValueError when a file was altered, or its sheet is not there.
    """
    found: dict[str, dict[str, Any]] = {}
    folder = find_results(results_dir) / FOLDER
    for content in load_sound(folder, check_sheet):
        sheet = np.asarray(Image.open(folder / f"{content['slug']}-seed{content['seed']}.webp").convert("RGB"))
        count, rows = len(content["images"]), 1 + len(content["white"])
        tiles = sheet.reshape(rows, len(sheet) // rows, count, -1, 3).transpose(0, 2, 4, 1, 3)
        grey = {kind: high * tiles[row + 1, :, 0] for row, (kind, high) in enumerate(content["white"].items())}
        maps = {kind: values.astype(np.float32) / 255 for kind, values in grey.items()}
        found.setdefault(content["recipe_name"], {**content, "pixels": tiles[0], "maps": maps})
    return found


def check_gallery(path: Path, content: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a gallery: another sheet, or that it belongs to no run of the ledger."""
    yield from check_sheet(path, content)
    claims = {field: content[field] for field in SAME} | {"data.test_sha256": content["test_sha256"]}
    yield from check_run(path, claims, ledger)


def check_sheet(path: Path, content: Mapping[str, Any]) -> Iterator[str]:
    yield from check_name(path, content)
    sheet = path.with_suffix(".webp")
    if not sheet.exists():
        yield f"expected its images in {sheet.name}, found no such file; restore it from git"
    elif hashlib.sha256(sheet.read_bytes()).hexdigest() != content["sheet_sha256"]:
        yield f"{sheet.name}: expected the SHA-256 of field sheet_sha256, found another"
