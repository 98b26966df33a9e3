"""tiny-ImageNet in miniature: three classes in the official layout, unpacked and packed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsft.datasets import tiny_imagenet

# In the order of wnids.txt, which is neither the alphabet's nor that of words.txt.
WNIDS = ("n02124075", "n01443537", "n04540053")
WORDS = {"n01443537": "goldfish, Carassius auratus", "n02124075": "Egyptian cat", "n04540053": "volleyball, ball"}


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels_of(name: str) -> np.ndarray:
    generator = np.random.default_rng(sum(name.encode()))
    # Some of the real images are gray.
    return generator.integers(0, 256, (64, 64) if name.endswith("_1.JPEG") else (64, 64, 3), dtype=np.uint8)


def expected_pixels(names: list[str]) -> np.ndarray:
    images = [Image.open(io.BytesIO(jpeg(pixels_of(name)))).convert("RGB") for name in names]
    return np.stack(images).transpose(0, 3, 1, 2)


def official_files() -> dict[str, bytes]:
    files = {"wnids.txt": "\n".join(WNIDS), "words.txt": "\n".join(f"{key}\t{WORDS[key]}" for key in WORDS)}
    content = {}
    for number, wnid in enumerate(WNIDS):
        names = [f"{wnid}_{index}.JPEG" for index in range(3)]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "".join(
            f"{name}\t{number}\t{index}\t{10 + index}\t63\n" for index, name in enumerate(names)
        )
        content |= {f"train/{wnid}/images/{name}": jpeg(pixels_of(name)) for name in names}
    # Neither by class nor by name.
    rows = [(f"val_{index}.JPEG", WNIDS[(index * 2) % 3], index) for index in (5, 0, 3, 1, 4, 2)]
    files["val/val_annotations.txt"] = "".join(f"{name}\t{wnid}\t{x}\t0\t{x + 1}\t9\n" for name, wnid, x in rows)
    content |= {f"val/images/{name}": jpeg(pixels_of(name)) for name, *_ in rows}
    content["test/images/test_0.JPEG"] = jpeg(pixels_of("test"))
    return content | {name: text.encode() for name, text in files.items()}


def write(data_dir: Path) -> Path:
    for name, content in official_files().items():
        path = data_dir / tiny_imagenet.FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return data_dir / tiny_imagenet.FOLDER


def declare_official(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature has, for one test, the official numbers of classes and images."""
    monkeypatch.setattr(tiny_imagenet, "NUM_CLASSES", len(WNIDS))
    monkeypatch.setattr(tiny_imagenet, "PER_CLASS", {"train": 3, "test": 2})
