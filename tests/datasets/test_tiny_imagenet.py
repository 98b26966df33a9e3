"""tiny-ImageNet from a miniature in the official layout, whole, partial, packed and damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_imagenet_miniature import WNIDS, declare_official, expected_pixels, write

from fsft.datasets import tiny_imagenet
from fsft.datasets.registry import DataError, check_dataset, load_dataset


@pytest.fixture
def folder(tmp_path, monkeypatch):
    declare_official(monkeypatch)
    return write(tmp_path / "data")


def load(folder, split="train", **options):
    return load_dataset("tiny-imagenet", split, folder.parent, **options)


def error_of_loading(folder, split="train", **options) -> str:
    with pytest.raises(DataError) as error:
        load(folder, split, **options)
    message = str(error.value)
    assert "\n" not in message and ": expected " in message and ", found " in message
    return message


def edit(folder, name, old, new):
    path = folder / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def test_training_images_labels_and_boxes(folder):
    data = load(folder)
    assert data.classes == ("Egyptian cat", "goldfish", "volleyball")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    names = [f"{wnid}_{index}.JPEG" for wnid in WNIDS for index in range(3)]
    np.testing.assert_array_equal(data.images, expected_pixels(names))
    # The last pixel of a box belongs to it: a box down to row 63 ends at the image's edge.
    assert data.boxes.tolist() == [[label, index, 11 + index, 64] for label in range(3) for index in range(3)]


def test_validation_labels_come_from_the_annotations(folder):
    data = load(folder, "test")
    numbers = [0, 3, 2, 5, 1, 4]
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data.images, expected_pixels([f"val_{number}.JPEG" for number in numbers]))
    assert data.boxes.tolist() == [[number, 0, number + 2, 10] for number in numbers]


def test_the_cache_keeps_images_and_boxes(folder, monkeypatch, capsys):
    first = load(folder)
    monkeypatch.setattr(tiny_imagenet, "decode", lambda *_: pytest.fail("decoded although it is cached"))
    again = load(folder)
    assert again.sha256 == first.sha256 and torch.equal(again.boxes, first.boxes)
    monkeypatch.undo()
    declare_official(monkeypatch)
    path = folder.parent / ".fsft-cache" / "tiny-imagenet-train.npz"
    with np.load(path) as arrays:
        parts = dict(arrays)
    parts["boxes"][0, 0] += 1
    np.savez(path, **parts)
    assert torch.equal(load(folder).boxes, first.boxes), "boxes that were altered in the copy are not used"
    assert "the cached copy cannot be used" in capsys.readouterr().err


def test_corrected_annotations_and_replaced_images_are_read_again(folder):
    paths = [folder / f"train/{WNIDS[0]}/images/{WNIDS[0]}_{number}.JPEG" for number in (0, 2)]
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(20_000, b"\0"))
    load(folder)
    edit(folder, f"train/{WNIDS[0]}/{WNIDS[0]}_boxes.txt", "\t0\t0\t10\t63", "\t0\t0\t20\t63")
    data = load(folder)
    assert data.boxes[0].tolist() == [0, 0, 21, 64]
    status = paths[0].stat()
    paths[0].write_bytes(paths[1].read_bytes())
    os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert torch.equal(load(folder).images[0], data.images[2]), "of equal size and time"


@pytest.fixture
def partial(folder):
    """Without the training images of the first class."""
    (folder / "train" / WNIDS[0]).rename(folder.parent / "elsewhere")
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_partial_training_set_is_refused_for_both_splits(partial, split):
    message = error_of_loading(partial, split)
    assert "expected the folders of 3 classes, found 2" in message
    assert "classes='available'" in message and tiny_imagenet.FIX in message


def test_available_classes_are_numbered_anew_in_both_splits(partial):
    train, test = load(partial, classes="available"), load(partial, "test", classes="available")
    assert train.classes == test.classes == ("goldfish", "volleyball")
    assert train.labels.tolist() == [0] * 3 + [1] * 3
    assert test.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(test.images[:1], expected_pixels(["val_2.JPEG"]))
    np.testing.assert_array_equal(train.images[:1], expected_pixels([f"{WNIDS[1]}_0.JPEG"]))


def test_a_cached_partial_set_is_never_taken_for_the_whole_one(partial):
    few = load(partial, "test", classes="available")
    (partial.parent / "elsewhere").rename(partial / "train" / WNIDS[0])
    assert len(load(partial, "test")) == len(load(partial, "test", classes="available")) == len(few) + 2


def test_a_byte_order_mark_loses_no_class(folder):
    whole = load(folder, classes="available")
    for name in ("wnids.txt", "words.txt", "val/val_annotations.txt"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert load(folder, classes="available").sha256 == whole.sha256 == load(folder).sha256
    assert len(load(folder, "test")) == 6


# Damages of the whole; those of single files are in test_damages.py.
TRAIN, BOXES = f"train/{WNIDS[2]}/images/{WNIDS[2]}", f"train/{WNIDS[2]}/{WNIDS[2]}_boxes.txt"


def without_classes(folder):
    (folder / "train").rename(folder / "elsewhere")
    (folder / "train").mkdir()


def without_a_box(folder):
    Image.new("RGB", (64, 64)).save(folder / f"{TRAIN}_x.JPEG")


def incomplete(folder):
    (folder / f"{TRAIN}_2.JPEG").unlink()
    path = folder / BOXES
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def another_size(folder):
    Image.new("RGB", (32, 64)).save(folder / f"{TRAIN}_0.JPEG")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (without_classes, "expected the folders of 3 classes, found 0"),
        (without_a_box, "_x.JPEG: expected each image with its annotation, found a file without one"),
        (incomplete, f"expected 3 images of class {WNIDS[2]}, found 2"),
        (another_size, "expected an image of 64x64 pixels, found 32x64"),
        ((BOXES, "63", "64"), "expected a box within 64x64 pixels for n04540053_0.JPEG, found 2 0 10 64"),
        ((BOXES, "63", "x"), "found 2 0 10 x"),
        ((BOXES, "\t", " "), "expected 5 fields in line 1, found 4"),
        ((BOXES, f"{WNIDS[2]}_0", "../../x"), "expected each image with its annotation, found no such file"),
        (("wnids.txt", WNIDS[2], WNIDS[0]), "expected 3 different classes, found 2 in 3 lines"),
        (("words.txt", WNIDS[1], "n1"), f"words.txt: expected the names of all classes, found none of {WNIDS[1]}"),
    ],
)
def test_damage_is_one_clear_sentence_and_nothing_is_cached(damage, found, folder):
    damage(folder) if callable(damage) else edit(folder, *damage)
    assert found in error_of_loading(folder)
    assert not (folder.parent / ".fsft-cache").exists()


def test_nothing_there_and_a_wrong_choice(folder, tmp_path):
    assert "expected tiny-imagenet-200/ in it, found none; download http" in error_of_loading(tmp_path / "x")
    assert "found 'some'" in error_of_loading(folder, classes="some")


def test_check_reports_both_splits(folder):
    report = check_dataset("tiny-imagenet", folder.parent)
    assert f"read from {folder}" in report
    assert "train: 9 images of 3x64x64, 3 classes, 3 to 3 per class" in report and "test: 6 images" in report


REAL = Path(os.environ.get("FSFT_DATA", "data"))


@pytest.mark.skipif(not (REAL / tiny_imagenet.FOLDER).is_dir(), reason="no tiny-ImageNet in the data folder")
def test_the_real_classes_at_hand():
    data = load_dataset("tiny-imagenet", "test", REAL, classes="available")
    assert data.labels.bincount().tolist() == [50] * data.num_classes
    assert data.images.shape[1:] == (3, 64, 64)
    assert (data.boxes[:, :2] < data.boxes[:, 2:]).all()
