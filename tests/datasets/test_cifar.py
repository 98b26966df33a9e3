"""CIFAR-100 from intact sources and from damaged class-folder trees; the real data where it is."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_miniature import (
    CLASSES,
    PER_CLASS,
    REMEDY,
    declare_official,
    error_of_loading,
    official_files,
    pack,
    python2_pickle,
    split_fields,
    write_folder,
    write_tree,
)
from PIL import Image

from fsft.datasets import cifar, cifar_archive, imagefiles
from fsft.datasets.cifar_archive import ARCHIVE, ARCHIVE_BYTES, FOLDER, MD5
from fsft.datasets.registry import channel_statistics, check_dataset, load_dataset


@pytest.fixture
def miniature(monkeypatch):
    """The miniature's files are the official ones."""
    declare_official(monkeypatch, official_files(), pack(official_files()))


@pytest.fixture
def trusted_tree(miniature, tmp_path, monkeypatch):
    """A data folder that holds an intact class-folder tree."""
    write_folder(tmp_path / "reference", official_files())
    fingerprints = {split: load_dataset("cifar100", split, tmp_path / "reference").sha256 for split in PER_CLASS}
    monkeypatch.setattr(cifar, "SHA256", fingerprints)
    write_tree(tmp_path / "data")
    return tmp_path / "data"


# Intact data


def test_the_miniature_is_what_numpy_reads():
    for split in PER_CLASS:
        expected = split_fields(split)
        read = pickle.loads(python2_pickle(expected), encoding="bytes")
        np.testing.assert_array_equal(read.pop(b"data"), expected.pop(b"data"))
        assert read == expected


@pytest.mark.parametrize("split", ["train", "test"])
def test_archive_folder_and_tree_give_the_same_data_in_the_canonical_order(split, trusted_tree, tmp_path):
    fields = split_fields(split)
    stems = [name.decode()[:-4] for name in fields[b"filenames"]]
    order = sorted(range(len(stems)), key=lambda index: (fields[b"fine_labels"][index], stems[index]))
    expected = torch.from_numpy(fields[b"data"].reshape(-1, 3, 32, 32)[order])
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / ARCHIVE).write_bytes(pack(official_files()))
    write_tree(tmp_path / "webp", ".webp")
    sets = [load_dataset("cifar100", split, tmp_path / source) for source in ("packed", "reference", "data", "webp")]
    for data in sets:
        assert torch.equal(data.images, expected)
        assert data.labels.tolist() == sorted(fields[b"fine_labels"])
        assert data.classes == CLASSES
        assert data.sha256 == sets[0].sha256
    assert os.listdir(tmp_path / "packed" / ".fsft-cache") == [f"cifar100-{split}.npz"]
    assert sorted(os.listdir(tmp_path / "packed")) == [".fsft-cache", ARCHIVE]


def test_column_major_pixels_are_read_too(tmp_path, monkeypatch):
    files = official_files()
    files["train"] = python2_pickle(split_fields("train", fortran=True))
    declare_official(monkeypatch, files)
    write_folder(tmp_path / "columns", files)
    declare_official(monkeypatch, official_files())
    write_folder(tmp_path / "rows", official_files())
    rows = load_dataset("cifar100", "train", tmp_path / "rows")
    declare_official(monkeypatch, files)
    assert load_dataset("cifar100", "train", tmp_path / "columns").sha256 == rows.sha256


def test_cached_archives_are_not_read_again(miniature, tmp_path, monkeypatch):
    (tmp_path / ARCHIVE).write_bytes(pack(official_files()))
    first = load_dataset("cifar100", "train", tmp_path)
    monkeypatch.setattr(cifar, "read_archive", lambda *_: pytest.fail("read although it is cached"))
    assert load_dataset("cifar100", "train", tmp_path).sha256 == first.sha256


def test_check_names_the_source(trusted_tree):
    report = check_dataset("cifar100", trusted_tree)
    assert f"read from {trusted_tree / 'cifar100'}" in report
    assert "train: 9 images of 3x32x32, 3 classes, 3 to 3 per class" in report
    assert "test: 6 images" in report


# Damaged class-folder trees


def tree_class_missing(train):
    for file in (train / "bear").iterdir():
        file.unlink()
    (train / "bear").rmdir()
    return "bear: expected 3 images of class 'bear', found no such class"


def tree_half_unpacked(train):
    next((train / "bear").iterdir()).unlink()
    return "bear: expected 3 images of class 'bear', found 2"


def tree_one_too_many(train):
    Image.new("RGB", (32, 32)).save(train / "bear" / "extra.png")
    return "bear: expected 3 images of class 'bear', found 4"


def tree_other_class(train):
    (train / "yak").mkdir()
    Image.new("RGB", (32, 32)).save(train / "yak" / "yak.png")
    return "yak: expected 0 images of class 'yak', found 1"


def tree_renamed_class(train):
    (train / "worm").rename(train / "wyrm")
    return "worm: expected 3 images of class 'worm', found no such class"


def tree_not_an_image(train):
    file = next((train / "bear").iterdir())
    file.write_text("<html>")
    return f"{file.name}: expected an image file, found one that cannot be read"


def tree_truncated_image(train):
    file = next((train / "bear").iterdir())
    file.write_bytes(file.read_bytes()[:-500])
    return f"{file.name}: expected an image file, found one that cannot be read"


def tree_wrong_size(train):
    file = next((train / "bear").iterdir())
    Image.new("RGB", (64, 48)).save(file)
    return f"{file.name}: expected an image of 32x32 pixels, found 64x48"


def tree_other_pixels(train):
    file = next((train / "bear").iterdir())
    pixels = np.array(Image.open(file))
    pixels[31, 31, 2] ^= 1
    Image.fromarray(pixels).save(file)
    return "train: expected CIFAR-100's images"


def tree_images_of_two_classes_swapped(train):
    first, second = (sorted((train / name).iterdir())[0] for name in ("apple", "bear"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return "train: expected CIFAR-100's images"


def tree_file_for_a_folder(train):
    train.rename(train.with_name("old"))
    train.write_text("")
    return "train: expected a folder, found a file"


def tree_no_split(train):
    train.rename(train.with_name("old"))
    return "train: expected a folder, found nothing"


def tree_empty(train):
    train.rename(train.with_name("old"))
    train.mkdir()
    return "train: expected one folder per class, found none"


TREE_DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("tree_")]


@pytest.mark.parametrize("damage", TREE_DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_tree(damage, trusted_tree):
    expected = damage(trusted_tree / "cifar100" / "train")
    message = error_of_loading("train", trusted_tree)
    assert message.startswith(str(trusted_tree / "cifar100"))
    assert expected in message
    assert REMEDY in message
    assert not (trusted_tree / ".fsft-cache").exists()
    load_dataset("cifar100", "test", trusted_tree)


def test_a_damaged_archive_is_not_replaced_by_the_tree(trusted_tree):
    (trusted_tree / ARCHIVE).write_bytes(b"\x1f\x8b")
    assert "cut off" in error_of_loading("train", trusted_tree)


# The data folder itself


def test_missing_data_folder(tmp_path):
    message = error_of_loading("train", tmp_path / "data")
    assert message == f"{tmp_path / 'data'}: expected a folder, found nothing; {REMEDY}"


def test_empty_data_folder(tmp_path):
    message = error_of_loading("train", tmp_path)
    assert message.startswith(
        f"{tmp_path}: expected {ARCHIVE}, {FOLDER}/ or cifar100/ in it, found none of them; {REMEDY}"
    )


def test_a_file_for_the_data_folder(tmp_path):
    (tmp_path / "data").write_text("")
    assert "expected a folder, found a file" in error_of_loading("train", tmp_path / "data")


def test_a_folder_for_the_archive_and_a_file_for_the_folder(tmp_path):
    (tmp_path / ARCHIVE).mkdir()
    assert f"{ARCHIVE}: expected a file of the official archive, found a folder" in error_of_loading("train", tmp_path)
    (tmp_path / ARCHIVE).rmdir()
    (tmp_path / FOLDER).write_text("")
    assert "found a file in place of its folder" in error_of_loading("train", tmp_path)


@pytest.mark.parametrize("refused", ["folder", "archive"])
def test_no_permission(refused, miniature, tmp_path, monkeypatch):
    (tmp_path / ARCHIVE).write_bytes(pack(official_files()))

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    if refused == "folder":
        monkeypatch.setattr(imagefiles.os, "scandir", refuse)
    else:
        monkeypatch.setattr(cifar_archive, "open", refuse, raising=False)
    assert "found no permission; change its permissions" in error_of_loading("train", tmp_path)


# The real data


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_cifar100(split):
    data_dir = Path(os.environ.get("FSFT_DATA", Path(__file__).parents[2] / "data"))
    if not any((data_dir / name).exists() for name in (ARCHIVE, FOLDER, cifar.TREE)):
        pytest.skip(f"CIFAR-100 is not in {data_dir}; set FSFT_DATA to the folder that has it")
    data = load_dataset("cifar100", split, data_dir)
    assert data.sha256 == cifar.SHA256[split]
    assert data.images.shape == ({"train": 50_000, "test": 10_000}[split], 3, 32, 32)
    if split == "train":
        mean, std = channel_statistics(data.images)
        published = ([0.50707516, 0.48654887, 0.44091784], [0.26733429, 0.25643846, 0.27615047])
        assert [round(value, 8) for value in mean.tolist()] == published[0]
        assert [round(value, 8) for value in std.tolist()] == published[1]


def test_official_constants():
    assert len(cifar.CLASSES) == len(set(cifar.CLASSES)) == 100
    assert list(cifar.CLASSES) == sorted(cifar.CLASSES)
    assert cifar.PER_CLASS == {"train": 500, "test": 100}
    assert ARCHIVE_BYTES == 169_001_437
    from torchvision.datasets import CIFAR100

    assert MD5[ARCHIVE] == CIFAR100.tgz_md5
    assert CIFAR100.train_list == [["train", MD5["train"]]]
    assert CIFAR100.test_list == [["test", MD5["test"]]]
    assert CIFAR100.meta["md5"] == MD5["meta"]
