"""tiny-ImageNet from a miniature in the official layout, whole, partial, packed and damaged."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsft.datasets import tiny_imagenet
from fsft.datasets.registry import DataError, check_dataset, load_dataset

# In the order of wnids.txt, which is neither the alphabet's nor that of words.txt.
WNIDS = ("n02124075", "n01443537", "n04540053")
WORDS = {"n01443537": "goldfish, Carassius auratus", "n02124075": "Egyptian cat", "n04540053": "volleyball, ball"}
PER_CLASS = {"train": 3, "test": 2}


def jpeg(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels_of(name: str):
    generator = np.random.default_rng(sum(name.encode()))
    # Some of the real images are gray.
    return generator.integers(0, 256, (64, 64) if name.endswith("_1.JPEG") else (64, 64, 3), dtype=np.uint8)


def expected_pixels(name: str):
    return np.asarray(Image.open(io.BytesIO(jpeg(pixels_of(name)))).convert("RGB")).transpose(2, 0, 1)


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


def pack(data_dir: Path) -> str:
    data_dir.mkdir(exist_ok=True)
    path = data_dir / tiny_imagenet.ARCHIVE
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("tiny-imagenet-200/train")
        for name, content in official_files().items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_imagenet, "NUM_CLASSES", len(WNIDS))
    monkeypatch.setattr(tiny_imagenet, "PER_CLASS", PER_CLASS)
    return write(tmp_path / "data")


def load(folder, split="train", **options):
    return load_dataset("tiny-imagenet", split, folder.parent, **options)


def error_of_loading(folder, split="train", **options) -> str:
    with pytest.raises(DataError) as error:
        load(folder, split, **options)
    message = str(error.value)
    assert "\n" not in message and ": expected " in message and ", found " in message
    return message


def test_training_images_labels_and_boxes(folder):
    data = load(folder)
    assert data.classes == ("Egyptian cat", "goldfish", "volleyball")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    names = [f"{wnid}_{index}.JPEG" for wnid in WNIDS for index in range(3)]
    np.testing.assert_array_equal(data.images, np.stack([expected_pixels(name) for name in names]))
    # The last pixel of a box belongs to it: a box down to row 63 ends at the image's edge.
    assert data.boxes.tolist() == [[label, index, 11 + index, 64] for label in range(3) for index in range(3)]


def test_validation_labels_come_from_the_annotations(folder):
    data = load(folder, "test")
    numbers = [0, 3, 2, 5, 1, 4]
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    names = [f"val_{number}.JPEG" for number in numbers]
    np.testing.assert_array_equal(data.images, np.stack([expected_pixels(name) for name in names]))
    assert data.boxes.tolist() == [[number, 0, number + 2, 10] for number in numbers]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_archive_gives_the_same_and_is_not_unpacked(folder, tmp_path, monkeypatch, split):
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_SHA256", pack(tmp_path / "packed"))
    packed, unpacked = load_dataset("tiny-imagenet", split, tmp_path / "packed"), load(folder, split)
    assert packed.sha256 == unpacked.sha256
    assert torch.equal(packed.boxes, unpacked.boxes)
    assert sorted(os.listdir(tmp_path / "packed")) == [".fsft-cache", tiny_imagenet.ARCHIVE]


@pytest.mark.parametrize("packed", [False, True])
def test_the_cache_keeps_images_and_boxes(folder, monkeypatch, packed):
    if packed:
        monkeypatch.setattr(tiny_imagenet, "ARCHIVE_SHA256", pack(folder.parent))
    first = load(folder)
    monkeypatch.setattr(tiny_imagenet, "decode", lambda *_: pytest.fail("decoded although it is cached"))
    again = load(folder)
    assert again.sha256 == first.sha256
    assert torch.equal(again.boxes, first.boxes)


def test_altered_boxes_in_the_cache_are_not_used(folder, capsys):
    good = load(folder)
    path = folder.parent / ".fsft-cache" / "tiny-imagenet-train.npz"
    with np.load(path) as arrays:
        parts = dict(arrays)
    parts["boxes"][0, 0] += 1
    np.savez(path, **parts)
    assert torch.equal(load(folder).boxes, good.boxes)
    assert "the cached copy is damaged" in capsys.readouterr().err


def test_corrected_annotations_are_read_again(folder):
    load(folder)
    path = folder / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt"
    path.write_text(path.read_text().replace("\t0\t0\t10\t63", "\t0\t0\t20\t63"))
    assert load(folder).boxes[0].tolist() == [0, 0, 21, 64]


@pytest.fixture
def partial(folder):
    """Without the training images of the first class."""
    (folder / "train" / WNIDS[0]).rename(folder.parent / "elsewhere")
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_partial_training_set_is_refused_for_both_splits(partial, split):
    message = error_of_loading(partial, split)
    assert "expected the folders of 3 classes, found 2" in message
    assert "classes='available'" in message and tiny_imagenet.URL in message


def test_available_classes_are_numbered_anew_in_both_splits(partial):
    train, test = load(partial, classes="available"), load(partial, "test", classes="available")
    assert train.classes == test.classes == ("goldfish", "volleyball")
    assert train.labels.tolist() == [0] * 3 + [1] * 3
    assert test.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(test.images[0], expected_pixels("val_2.JPEG"))
    np.testing.assert_array_equal(train.images[0], expected_pixels(f"{WNIDS[1]}_0.JPEG"))


def test_a_cached_partial_set_is_never_taken_for_the_whole_one(partial):
    few = load(partial, "test", classes="available")
    (partial.parent / "elsewhere").rename(partial / "train" / WNIDS[0])
    assert len(load(partial, "test")) == len(load(partial, "test", classes="available")) == len(few) + 2


def test_the_whole_set_is_available_too(folder):
    assert load(folder, classes="available").sha256 == load(folder).sha256


def test_the_archive_mends_a_partial_folder(partial, monkeypatch):
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_SHA256", pack(partial.parent))
    assert load(partial).num_classes == 3


# Damage: what is done to the folder, and what the message says; the split to load where it is not "train".


def damage_no_class_at_all(folder):
    for wnid in WNIDS:
        (folder / "train" / wnid).rename(folder.parent / wnid)
    return "expected the folders of 3 classes, found 0"


def damage_image_missing(folder):
    (folder / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG").unlink()
    return f"{WNIDS[1]}_2.JPEG: expected each image with its annotation, found no such file"


def damage_image_without_box(folder):
    Image.new("RGB", (64, 64)).save(folder / "train" / WNIDS[1] / "images" / "x.JPEG")
    return "x.JPEG: expected each image with its annotation, found a file without one"


def damage_class_incomplete(folder):
    (folder / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG").unlink()
    path = folder / "train" / WNIDS[1] / f"{WNIDS[1]}_boxes.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    return f"expected 3 images of class {WNIDS[1]}, found 2"


def damage_no_boxes(folder):
    (folder / "train" / WNIDS[2] / f"{WNIDS[2]}_boxes.txt").unlink()
    return f"{WNIDS[2]}_boxes.txt: expected a file, found nothing"


def damage_box_outside(folder):
    path = folder / "train" / WNIDS[2] / f"{WNIDS[2]}_boxes.txt"
    path.write_text(path.read_text().replace("63", "64", 1))
    return "expected a box within 64x64 pixels for n04540053_0.JPEG, found 2 0 10 64"


def damage_box_not_a_number(folder):
    path = folder / "train" / WNIDS[2] / f"{WNIDS[2]}_boxes.txt"
    path.write_text(path.read_text().replace("63", "x", 1))
    return "found 2 0 10 x"


def damage_fields(folder):
    path = folder / "train" / WNIDS[2] / f"{WNIDS[2]}_boxes.txt"
    path.write_text(path.read_text().replace("\t", " "))
    return "expected 5 fields in line 1, found 1"


def damage_path_in_annotations(folder):
    path = folder / "train" / WNIDS[2] / f"{WNIDS[2]}_boxes.txt"
    path.write_text(path.read_text().replace(f"{WNIDS[2]}_0", f"../../{WNIDS[0]}/images/{WNIDS[0]}_0", 1))
    return "expected each image with its annotation, found no such file"


def damage_text(folder):
    (folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG").write_text("no image")
    return "expected an image file"


def damage_size(folder):
    Image.new("RGB", (32, 64)).save(folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG")
    return "expected an image of 64x64 pixels, found 32x64"


def damage_wnids(folder):
    (folder / "wnids.txt").write_text("\n".join([*WNIDS[:2], WNIDS[0]]))
    return "expected 3 different classes, found 2 in 3 lines"


def damage_words(folder):
    (folder / "words.txt").write_bytes(b"\xff\xfe\x00")
    return "expected text in UTF-8"


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_one_clear_sentence_and_nothing_is_cached(damage, folder):
    found = damage(folder)
    assert found in error_of_loading(folder)
    assert not (folder.parent / ".fsft-cache").exists()


def test_a_validation_image_too_few(folder):
    (folder / "val" / "images" / "val_3.JPEG").unlink()
    assert "val_3.JPEG: expected each image with its annotation" in error_of_loading(folder, "test")


def test_another_archive_is_refused_before_it_is_opened(folder):
    pack(folder.parent)
    message = error_of_loading(folder)
    assert f"expected the official archive with SHA-256 {tiny_imagenet.ARCHIVE_SHA256}" in message
    assert message.startswith(str(folder.parent / tiny_imagenet.ARCHIVE))


def test_an_official_archive_that_is_no_zip(folder, monkeypatch):
    (folder.parent / tiny_imagenet.ARCHIVE).write_bytes(b"<html>")
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_SHA256", hashlib.sha256(b"<html>").hexdigest())
    assert "expected a readable zip archive" in error_of_loading(folder)


def test_nothing_there(tmp_path):
    message = error_of_loading(tmp_path / "x")
    assert "expected tiny-imagenet-200/ or tiny-imagenet-200.zip in it, found neither" in message


def test_a_wrong_choice_of_classes(folder):
    assert "found 'some'" in error_of_loading(folder, classes="some")


def test_check_reports_both_splits(folder):
    report = check_dataset("tiny-imagenet", folder.parent)
    assert f"read from {folder}" in report
    assert "train: 9 images of 3x64x64, 3 classes, 3 to 3 per class" in report
    assert "test: 6 images" in report


REAL = Path(os.environ.get("FSFT_DATA", "data"))


@pytest.mark.skipif(not (REAL / tiny_imagenet.FOLDER).is_dir(), reason="no tiny-ImageNet in the data folder")
def test_the_real_classes_at_hand():
    data = load_dataset("tiny-imagenet", "test", REAL, classes="available")
    assert data.labels.bincount().tolist() == [50] * data.num_classes
    assert data.images.shape[1:] == (3, 64, 64)
    assert (data.boxes[:, :2] < data.boxes[:, 2:]).all()
