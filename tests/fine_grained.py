"""Miniatures of CUB-200-2011, Stanford Dogs and Stanford Cars in their exact official layouts: 2 classes, 6 images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from fsft.datasets import fine_grained as reader


def picture(path: Path, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(sum(path.name.encode()))
    Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, "JPEG")


def cells(values: list[str]) -> np.ndarray:
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def write_cub(data_dir: Path) -> Path:
    root = data_dir / "CUB_200_2011"
    names = [f"00{c}.{bird}/{bird}_{i}.jpg" for c, bird in ((1, "Sooty_Albatross"), (2, "Wren")) for i in (5, 3, 9)]
    for name in names:
        picture(root / "images" / name)
    lines = {
        "images.txt": names,
        "classes.txt": ["001.Sooty_Albatross", "002.Wren"],
        "train_test_split.txt": [1, 0, 1, 0, 1, 0],
        "image_class_labels.txt": [1, 1, 1, 2, 2, 2],
        "bounding_boxes.txt": [f"{i}.0 2.0 10.5 20.0" for i in range(6)],
    }
    for file, values in lines.items():
        (root / file).write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, 1)))
    return root


def annotation(*boxes: tuple[int, int, int, int]) -> str:
    edges = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        "<object><bndbox>" + "".join(f"<{e}>{v}</{e}>" for e, v in zip(edges, box, strict=True)) + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation><size><width>40</width><height>30</height></size>{objects}</annotation>"


def write_dogs(data_dir: Path) -> Path:
    root = data_dir / "stanford-dogs"
    breeds = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel")
    for split, numbers in (("train", (7, 2)), ("test", (4,))):
        names = [f"{breed}/{breed[:9]}_{number}" for breed in breeds for number in numbers]
        for name in names:
            picture(root / "Images" / f"{name}.jpg")
            path = root / "Annotation" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(annotation((1, 2, 30, 20), (5, 1, 35, 10)) if "_7" in name else annotation((3, 4, 20, 21)))
        content = {
            "file_list": cells([f"{name}.jpg" for name in names]),
            "annotation_list": cells(names),
            "labels": np.array([[1.0 + breeds.index(name.split("/")[0])] for name in names]),
        }
        savemat(root / f"{split}_list.mat", content)
    return root


def write_cars(data_dir: Path) -> Path:
    root = data_dir / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    names = np.empty((1, 2), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    for split, count in (("train", 4), ("test", 2)):
        rows = np.empty((1, count), dtype=[(field, object) for field in fields])
        for index in range(count):
            name = f"{index + 1:05d}.jpg"
            picture(root / f"cars_{split}" / name)
            # MATLAB's numbers are as narrow as they can be: subtracting 1 from a uint8 0 would give 255.
            rows[0, index] = (*(np.uint8(v) for v in (1, 2, 40, 30)), np.uint8(2 - index % 2), name)
        place = root / ("devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")
        savemat(place, {"annotations": rows})
    return root


WRITERS = {"cub200": write_cub, "stanford-dogs": write_dogs, "stanford-cars": write_cars}


def declare_official(monkeypatch) -> None:
    """The miniatures have, for one test, the official numbers of images and classes."""
    few = {"train": 4, "test": 2}
    images = {"cub200": {"train": 3, "test": 3}, "stanford-dogs": few, "stanford-cars": few}
    monkeypatch.setattr(reader, "IMAGES", images)
    monkeypatch.setattr(reader, "NUM_CLASSES", dict.fromkeys(images, 2))
