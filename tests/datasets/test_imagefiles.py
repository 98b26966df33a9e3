from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as tv
from PIL import Image

from fsft.datasets import cache, imagefiles
from fsft.datasets.imageset import fingerprint
from fsft.datasets.registry import DataError, channel_statistics, check_dataset, load_dataset

CLASSES = ("cat", "dog", "hen")


# imagefolder


def write_folder(root: Path, sizes=((40, 32), (32, 50), (32, 32), (61, 97))) -> None:
    generator = np.random.default_rng(1)
    for split in ("train", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index, (height, width) in enumerate(sizes):
                pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.bmp")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    write_folder(root)
    return root


@pytest.mark.parametrize("image_size", [32, 20])
def test_imagefolder_equals_torchvision(folder, tmp_path, image_size):
    data = load_dataset(f"imagefolder:{folder}", "train", tmp_path, image_size=image_size)
    transform = tv.Compose([tv.Resize(image_size), tv.CenterCrop(image_size), tv.PILToTensor()])
    paths = [folder / "train" / name / f"{index}.bmp" for name in CLASSES for index in range(4)]
    expected = torch.stack([transform(Image.open(path)) for path in paths])
    assert torch.equal(data.images, expected)
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.classes == CLASSES


def test_imagefolder_accepts_val_grayscale_transparency_and_other_files(folder, tmp_path):
    (folder / "test").rename(folder / "val")
    Image.new("L", (32, 32), 7).save(folder / "val" / "cat" / "0.png")
    (folder / "val" / "cat" / "0.bmp").unlink()
    Image.new("RGBA", (32, 32), (1, 2, 3, 0)).save(folder / "val" / "dog" / "9.png")
    (folder / "val" / "hen" / "notes.txt").write_text("not an image")
    (folder / "val" / ".hidden").mkdir()
    data = load_dataset(f"imagefolder:{folder}", "test", tmp_path)
    assert data.labels.bincount().tolist() == [4, 5, 4]
    assert (data.images[0] == 7).all()
    assert data.images[8, :, 0, 0].tolist() == [1, 2, 3]


def damage_class(folder):
    (folder / "test" / "hen").rename(folder / "test" / "cock")
    return folder, "found 'cock' in only one of them"


def damage_empty(folder):
    for file in (folder / "train" / "dog").iterdir():
        file.unlink()
    return folder / "train" / "dog", "expected image files"


def damage_text(folder):
    (folder / "train" / "dog" / "1.bmp").write_text("this is not an image")
    return folder / "train" / "dog" / "1.bmp", "expected an image file"


def damage_truncated(folder):
    path = folder / "train" / "dog" / "1.bmp"
    path.write_bytes(path.read_bytes()[:1000])
    return path, "expected an image file"


def damage_link(folder):
    (folder / "train" / "dog" / "x.png").symlink_to("nowhere.png")
    return folder / "train" / "dog" / "x.png", "expected an image file, found No such file"


def damage_format(folder):
    Image.new("RGB", (32, 32)).save(folder / "train" / "dog" / "1.gif")
    (folder / "train" / "dog" / "1.gif").rename(folder / "train" / "dog" / "1.png")
    return folder / "train" / "dog" / "1.png", "expected an image file"


def damage_no_test(folder):
    (folder / "test").rename(folder / "exam")
    return folder / "test", "expected a folder, found nothing"


def damage_flat(folder):
    for name in CLASSES:
        (folder / "train" / name).rename(folder / name)
    return folder / "train", "expected one folder per class, found none"


def damage_file(folder):
    (folder / "train").rename(folder / "old")
    (folder / "train").write_text("")
    return folder / "train", "expected a folder, found a file"


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_folders_are_one_clear_sentence(damage, folder, tmp_path):
    path, found = damage(folder)
    with pytest.raises(DataError) as error:
        load_dataset(f"imagefolder:{folder}", "train", tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path}: expected ")
    assert found in message
    assert "\n" not in message
    assert not (tmp_path / cache.FOLDER).exists()


@pytest.mark.parametrize("image_size", [0, -1, 2.5, "32"])
def test_bad_image_size(folder, image_size):
    with pytest.raises(DataError, match="expected image_size to be a positive integer"):
        load_dataset(f"imagefolder:{folder}", "train", image_size=image_size)


def test_unreadable_folder(folder, monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(imagefiles.os, "scandir", refuse)
    with pytest.raises(DataError, match="found no permission; change its permissions"):
        load_dataset(f"imagefolder:{folder}", "train", tmp_path)


# The cache


@pytest.fixture
def name(folder, tmp_path):
    """A small image folder that has been loaded, and so cached, once."""
    name = f"imagefolder:{folder}"
    load_dataset(name, "train", tmp_path)
    return name


def cached_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / cache.FOLDER).iterdir()
    return path


def no_decoding(*_):
    raise AssertionError("decoded although it is cached")


def test_a_cached_set_is_equal_and_not_decoded_again(name, tmp_path, monkeypatch, capsys):
    first = load_dataset(name, "train", tmp_path)
    monkeypatch.setattr(imagefiles, "decode", no_decoding)
    capsys.readouterr()
    again = load_dataset(name, "train", tmp_path)
    assert torch.equal(again.images, first.images)
    assert (again.name, again.split, again.sha256) == (name, "train", first.sha256)
    assert capsys.readouterr().err == ""
    with pytest.raises(AssertionError):
        load_dataset(name, "train", tmp_path, image_size=16)
    with pytest.raises(AssertionError):
        load_dataset(name, "test", tmp_path)


def test_decoding_announces_itself_in_one_line(folder, tmp_path, capsys):
    load_dataset(f"imagefolder:{folder}", "train", tmp_path)
    assert capsys.readouterr().err.splitlines() == [
        f"decoding 12 images of {folder / 'train'} (once; then they are cached)"
    ]


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "resized"])
def test_a_changed_tree_is_read_again(name, folder, tmp_path, capsys, change):
    file = folder / "train" / "cat" / "0.bmp"
    if change == "added":
        Image.new("RGB", (32, 32)).save(folder / "train" / "cat" / "new.png")
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("zzz.bmp"))
    else:
        Image.new("RGB", (50, 50)).save(file)
    before = np.load(cached_file(tmp_path))["images"]
    data = load_dataset(name, "train", tmp_path)
    assert not np.array_equal(data.images, before)
    assert "has changed since it was cached" in capsys.readouterr().err
    assert np.array_equal(np.load(cached_file(tmp_path))["images"], data.images)


def test_no_damage_of_the_cache_is_used_silently(name, tmp_path, monkeypatch, capsys):
    """Flipped bits, truncations and zeroed runs anywhere in the file never give other data."""
    good = load_dataset(name, "train", tmp_path)
    path = cached_file(tmp_path)
    content = path.read_bytes()
    generator = random.Random(0)
    monkeypatch.setattr(imagefiles, "decode", lambda *_: good.images.numpy())
    rebuilt = 0
    for trial in range(150):
        damaged = bytearray(content)
        # Half the trials hit the headers before and after the pixels, which are most of the file.
        place = generator.randrange(len(content)) if trial % 2 else generator.choice((1, -1)) * generator.randrange(700)
        if trial % 5 == 0:
            del damaged[place:]
        elif trial % 5 == 1:
            damaged[place : place + 64] = bytes(len(damaged[place : place + 64]))
        else:
            damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        capsys.readouterr()
        data = load_dataset(name, "train", tmp_path)
        assert (data.name, data.split, data.sha256) == (good.name, "train", good.sha256)
        assert torch.equal(data.images, good.images)
        assert torch.equal(data.labels, good.labels)
        message = capsys.readouterr().err
        if message:
            rebuilt += 1
            assert "reading it again" in message or "reading the data set again" in message
            assert len(message.strip().splitlines()) == 1
    assert rebuilt > 75


def test_a_pickle_in_the_cache_is_not_executed(name, tmp_path, capsys):
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    path = cached_file(tmp_path)
    np.savez(path, images=np.array([Hostile()], dtype=object), labels=np.zeros(1), header=np.array("{}"))
    assert len(load_dataset(name, "train", tmp_path)) == 12
    path.write_bytes(pickle.dumps(Hostile()))
    assert len(load_dataset(name, "train", tmp_path)) == 12
    assert capsys.readouterr().err.count("is damaged") == 2
    assert not canary.exists()


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_cache_that_was_rewritten_is_refused(name, tmp_path, capsys, part):
    """The archive's own CRC holds here; only the fingerprint can tell."""
    path = cached_file(tmp_path)
    good = load_dataset(name, "train", tmp_path)
    with np.load(path) as arrays:
        parts = dict(arrays)
    parts[part].flat[-1] -= 1
    np.savez(path, **parts)
    assert load_dataset(name, "train", tmp_path).sha256 == good.sha256
    assert torch.equal(getattr(load_dataset(name, "train", tmp_path), part), getattr(good, part))
    assert "is damaged (ValueError: expected SHA-256" in capsys.readouterr().err


def test_a_consistent_cache_of_the_wrong_type_is_refused(name, tmp_path, capsys):
    path = cached_file(tmp_path)
    with np.load(path) as arrays:
        parts = dict(arrays)
    header = json.loads(str(parts["header"]))
    images = torch.from_numpy(parts["images"]).float()
    header["sha256"] = fingerprint(images, torch.from_numpy(parts["labels"]), tuple(header["classes"]))
    np.savez(path, images=images.numpy(), labels=parts["labels"], header=np.array(json.dumps(header)))
    assert load_dataset(name, "train", tmp_path).images.dtype == torch.uint8
    assert "expected uint8 images" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_copy_and_no_litter(name, folder, tmp_path, monkeypatch, step):
    before = cached_file(tmp_path).read_bytes()
    Image.new("RGB", (32, 32)).save(folder / "train" / "cat" / "new.png")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np if step == "savez" else os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(name, "train", tmp_path)
    assert cached_file(tmp_path).read_bytes() == before


def test_a_full_or_read_only_disk_only_costs_the_cache(folder, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(load_dataset(f"imagefolder:{folder}", "train", tmp_path)) == 12
    assert "cannot be cached there (No space left on device)" in capsys.readouterr().err
    assert list((tmp_path / cache.FOLDER).iterdir()) == []


def test_the_cache_is_a_plain_archive_that_others_can_read(name, tmp_path):
    path = cached_file(tmp_path)
    assert zipfile.is_zipfile(path)
    probe = tmp_path / "probe"
    probe.touch()
    assert path.stat().st_mode == probe.stat().st_mode


# check_dataset


def test_check_reports_what_is_there(folder, tmp_path):
    report = check_dataset(f"imagefolder:{folder}", tmp_path)
    train = load_dataset(f"imagefolder:{folder}", "train", tmp_path)
    mean, std = channel_statistics(train.images)
    assert str(folder) in report
    assert "train: 12 images of 3x32x32, 3 classes, 4 to 4 per class" in report
    assert "test: 12 images" in report
    for expected in (train.sha256, f"{mean[0]:.8f}", f"{std[2]:.8f}"):
        assert expected in report


def test_a_file_that_is_written_again_is_decoded_again(folder, tmp_path):
    name = f"imagefolder:{folder}"
    before = load_dataset(name, "train", tmp_path).sha256
    file = folder / "train" / "cat" / "2.bmp"
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))
    assert load_dataset(name, "train", tmp_path).sha256 != before


def test_sixteen_bits_are_refused_not_cut_off(folder, tmp_path):
    Image.fromarray(np.full((32, 32), 20000, np.uint16)).save(folder / "train" / "cat" / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: expected an image of 8 bits per channel, found mode I"):
        load_dataset(f"imagefolder:{folder}", "train", tmp_path)


def test_check_reads_the_files_and_not_the_cache(name, folder, tmp_path):
    """A bit that flips on the disk changes neither name nor size nor time, so only a check of the files can see it."""
    file = folder / "train" / "cat" / "2.bmp"
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    cached = load_dataset(name, "train", tmp_path)
    assert cached.sha256 not in check_dataset(name, tmp_path)
    assert load_dataset(name, "train", tmp_path).sha256 != cached.sha256
