"""One battery of damages for every kind of file that the package reads.

Each is refused in one sentence that names the place, what was expected, what was found and what to do; nothing is
cached, and nothing waits for a pipe or reads a terabyte.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cifar_miniature
import fine_grained
import numpy as np
import pytest
import tiny_imagenet_miniature
from PIL import Image

from fsft.datasets import cifar, tiny_imagenet
from fsft.datasets.registry import DataError, check_dataset


def cifar_archive(data_dir, monkeypatch):
    files = cifar_miniature.official_files()
    cifar_miniature.declare_official(monkeypatch, files, cifar_miniature.pack(files))
    (data_dir / cifar.ARCHIVE).write_bytes(cifar_miniature.pack(files))


def cifar_folder(data_dir, monkeypatch):
    cifar_miniature.declare_official(monkeypatch, cifar_miniature.official_files())
    cifar_miniature.write_folder(data_dir, cifar_miniature.official_files())


def cifar_tree(data_dir, monkeypatch):
    cifar_miniature.declare_official(monkeypatch, cifar_miniature.official_files())
    cifar_miniature.write_tree(data_dir)


def tiny_folder(data_dir, monkeypatch):
    tiny_imagenet_miniature.declare_official(monkeypatch)
    tiny_imagenet_miniature.write(data_dir)


def pictures(data_dir, monkeypatch):
    for name in ("train/cat/1.png", "train/cat/2.png", "test/cat/1.png"):
        fine_grained.picture(data_dir / "pets" / name)


def miniature(name):
    def build(data_dir, monkeypatch):
        fine_grained.declare_official(monkeypatch)
        fine_grained.WRITERS[name](data_dir)

    return build


# What is written, which of its files is damaged, and the data set that is checked.
WNID = tiny_imagenet_miniature.WNIDS[1]
SOURCES = {
    "cifar archive": (cifar_archive, cifar.ARCHIVE, "cifar100"),
    "cifar member": (cifar_folder, f"{cifar.FOLDER}/test", "cifar100"),
    "cifar meta": (cifar_folder, f"{cifar.FOLDER}/meta", "cifar100"),
    "cifar image": (cifar_tree, "cifar100/test/bear/*", "cifar100"),
    "tiny classes": (tiny_folder, f"{tiny_imagenet.FOLDER}/wnids.txt", "tiny-imagenet"),
    "tiny words": (tiny_folder, f"{tiny_imagenet.FOLDER}/words.txt", "tiny-imagenet"),
    "tiny boxes": (tiny_folder, f"{tiny_imagenet.FOLDER}/train/{WNID}/{WNID}_boxes.txt", "tiny-imagenet"),
    "tiny labels": (tiny_folder, f"{tiny_imagenet.FOLDER}/val/val_annotations.txt", "tiny-imagenet"),
    "tiny image": (tiny_folder, f"{tiny_imagenet.FOLDER}/train/{WNID}/images/{WNID}_2.JPEG", "tiny-imagenet"),
    "own image": (pictures, "pets/train/cat/1.png", "imagefolder"),
    "birds' list": (miniature("cub200"), "CUB_200_2011/images.txt", "cub200"),
    "birds' boxes": (miniature("cub200"), "CUB_200_2011/bounding_boxes.txt", "cub200"),
    "birds' classes": (miniature("cub200"), "CUB_200_2011/classes.txt", "cub200"),
    "bird": (miniature("cub200"), "CUB_200_2011/images/*/*_5.jpg", "cub200"),
    "dogs' list": (miniature("stanford-dogs"), "stanford-dogs/test_list.mat", "stanford-dogs"),
    "dog's box": (miniature("stanford-dogs"), "stanford-dogs/Annotation/*/*_4", "stanford-dogs"),
    "cars' list": (miniature("stanford-cars"), "stanford_cars/devkit/cars_train_annos.mat", "stanford-cars"),
    "cars' labels": (miniature("stanford-cars"), "stanford_cars/cars_test_annos_withlabels.mat", "stanford-cars"),
    "cars' classes": (miniature("stanford-cars"), "stanford_cars/devkit/cars_meta.mat", "stanford-cars"),
}


def check(data_dir: Path, name: str) -> None:
    check_dataset(f"imagefolder:{data_dir / 'pets'}" if name == "imagefolder" else name, data_dir)


# What is done to a file, and what the sentence may say.


def missing(path, monkeypatch):
    path.unlink()
    return ("found nothing", "missing", "no such file", "found 1", "found 2", "none of them", "found no ", "neither")


def empty(path, monkeypatch):
    path.write_bytes(b"")
    return ()


def truncated(path, monkeypatch):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return ()


def a_web_page(path, monkeypatch):
    path.write_bytes(b"\n<!DOCTYPE html><html><title>404 Not Found</title></html>")
    return ()


def other_bytes_of_the_right_length(path, monkeypatch):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    return ()


def a_folder(path, monkeypatch):
    path.unlink()
    path.mkdir()
    return ("a folder", "found 1", "found 2", "no original")


def a_pipe(path, monkeypatch):
    path.unlink()
    os.mkfifo(path)
    return ("a pipe or a device",)


def a_sparse_terabyte(path, monkeypatch):
    try:
        os.truncate(path, 2**40)
    except OSError:
        pytest.skip("this file system has no files of a terabyte")
    return ("found 1,099,511,627,776 bytes",)


def no_permission(path, monkeypatch):
    real = os.open

    def refuse(name, *arguments, **options):
        if Path(name) == path:
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    return ("found no permission; change its permissions",)


DAMAGES = (
    missing,
    empty,
    truncated,
    a_web_page,
    other_bytes_of_the_right_length,
    a_folder,
    a_pipe,
    a_sparse_terabyte,
    no_permission,
)
# One's own images are what is there: fewer are no damage, and a folder holds no image.
NO_DAMAGE = {("own image", missing), ("own image", a_folder)}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("source", SOURCES)
def test_damage_is_one_clear_sentence_and_nothing_is_cached(source, damage, tmp_path, monkeypatch):
    if (source, damage) in NO_DAMAGE:
        pytest.skip("no damage")
    build, pattern, name = SOURCES[source]
    build(tmp_path, monkeypatch)
    check(tmp_path, name)
    shutil.rmtree(tmp_path / ".fsft-cache", ignore_errors=True)
    [path, *_] = sorted(tmp_path.glob(pattern))
    found = damage(path, monkeypatch)
    with pytest.raises(DataError) as error:
        check(tmp_path, name)
    message = str(error.value)
    assert "\n" not in message and message.startswith(str(tmp_path))
    place, _, rest = message.partition(": expected ")
    expected, _, rest = rest.partition(", found ")
    what, _, remedy = rest.rpartition("; ")
    assert place and expected and what and remedy
    assert not found or any(part in message for part in found)
    of_the_test = "test" in pattern or "val" in pattern
    assert not list(tmp_path.glob(".fsft-cache/*-test.npz" if of_the_test else ".fsft-cache/*.npz"))


def test_a_picture_of_few_bytes_and_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    pictures(tmp_path, monkeypatch)
    for width, height in ((400_000, 1), (1, 400_000), (8_000, 7_000)):
        Image.new("1", (width, height)).save(tmp_path / "pets/train/cat/1.png")
        monkeypatch.setattr(Image.Image, "resize", lambda *_: pytest.fail("resized"))
        with pytest.raises(DataError, match=f"1.png: expected an image of at most .* found {width} x {height}"):
            check(tmp_path, "imagefolder")
        monkeypatch.undo()


def test_memory_that_does_not_suffice_is_no_damage(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    pictures(tmp_path, monkeypatch)
    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(DataError, match=r"cat/1.png: expected memory for its pixels, found too little"):
        check(tmp_path, "imagefolder")
    monkeypatch.undo()
    monkeypatch.setattr("fsft.datasets.imagefiles.np.empty", full)
    with pytest.raises(DataError, match="expected memory for 2 images of 32x32 pixels, found too little; choose"):
        check(tmp_path, "imagefolder")
