"""``imagefolder:<path>``: one's own images, what is left out of them, and the decoded copy in the cache."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as tv
from filelock import FileLock
from PIL import Image, ImageOps

from fsft.cli.main import main
from fsft.datasets import cache, imagefiles
from fsft.datasets.registry import DataError, channel_statistics, check_dataset, load_dataset

CLASSES = ("cat", "dog", "hen")


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(1)
    for split in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for index, (height, width) in enumerate(((40, 32), (32, 50), (32, 32), (61, 97))):
                pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / split / name / f"{index}.bmp")
    return tmp_path / "pets"


def load(folder, split="train", **options):
    return load_dataset(f"imagefolder:{folder}", split, folder.parent, **options)


@pytest.mark.parametrize("image_size", [32, 20])
def test_imagefolder_equals_torchvision(folder, image_size):
    data = load(folder, image_size=image_size)
    transform = tv.Compose([tv.Resize(image_size), tv.CenterCrop(image_size), tv.PILToTensor()])
    paths = [folder / "train" / name / f"{index}.bmp" for name in CLASSES for index in range(4)]
    assert torch.equal(data.images, torch.stack([transform(Image.open(path)) for path in paths]))
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.classes == CLASSES


def test_imagefolder_accepts_val_grayscale_transparency_and_jfif(folder):
    (folder / "test").rename(folder / "val")
    Image.new("L", (32, 32), 7).save(folder / "val" / "cat" / "0.png")
    (folder / "val" / "cat" / "0.bmp").unlink()
    Image.new("RGBA", (32, 32), (1, 2, 3, 0)).save(folder / "val" / "dog" / "9.png")
    Image.new("RGB", (32, 32)).save(folder / "val" / "hen" / "9.jfif", "JPEG")
    (folder / "val" / ".hidden").mkdir()
    data = load(folder, "test")
    assert data.labels.bincount().tolist() == [4, 5, 5]
    assert (data.images[0] == 7).all()
    assert data.images[8, :, 0, 0].tolist() == [1, 2, 3]


def test_what_is_left_out_is_counted_by_reason(folder, capsys):
    assert load(folder).sha256 and "left out" not in capsys.readouterr().err
    red = folder / "train" / "cat"
    for name in ("a.tif", "b.tif", "c.gif", "scan", ".d.png", ".DS_Store", "sub/e.png", "sub/deep/f.png"):
        (red / name).parent.mkdir(parents=True, exist_ok=True)
        (red / name).touch()
    (folder / "train" / "g.jpg").touch()
    expected = (
        f"{folder / 'train'}: left out 8 files: 1 beside the class folders, 1 hidden, 2 in sub-folders, "
        "1 with the suffix .gif, 2 with the suffix .tif, 1 without a suffix\n"
    )
    assert len(load(folder)) == 12 and capsys.readouterr().err.startswith(expected)
    assert len(load(folder)) == 12 and capsys.readouterr().err == expected, "from the cache, too"
    assert main(["data", "check", f"imagefolder:{folder}", "--data-dir", str(folder.parent)]) == 0
    capsys.readouterr()
    assert main(["data", "check", f"imagefolder:{folder}", "--data-dir", str(folder.parent), "--strict"]) == 3
    assert "expected only images in class folders, found other files: 1 beside" in capsys.readouterr().err


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_camera_says(folder, orientation):
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:16, :24] = 255  # a white corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(pixels)
    path = folder / "train" / "cat" / "0.bmp"
    path.unlink()
    upright.save(path.with_suffix(".png"), exif=exif)
    turned = ImageOps.exif_transpose(Image.open(path.with_suffix(".png")))
    expected = tv.Compose([tv.Resize(32), tv.CenterCrop(32), tv.PILToTensor()])(turned)
    assert torch.equal(load(folder).images[0], expected)


def without_a_class(folder):
    (folder / "test" / "hen").rename(folder / "test" / "cock")
    return folder, "found 'cock' in only one of them"


def without_images(folder):
    for file in (folder / "train" / "dog").iterdir():
        file.unlink()
    return folder / "train" / "dog", "expected image files"


def with_a_broken_link(folder):
    (folder / "train" / "dog" / "x.png").symlink_to("nowhere.png")
    return folder / "train" / "dog" / "x.png", "expected an image file, found No such file"


def with_a_format_under_another_name(folder):
    Image.new("RGB", (32, 32)).save(folder / "train" / "dog" / "1.png", "GIF")
    return folder / "train" / "dog" / "1.png", "expected an image file"


def with_sixteen_bits(folder):
    Image.fromarray(np.full((32, 32), 20000, np.uint16)).save(folder / "train" / "cat" / "deep.png")
    return folder / "train" / "cat" / "deep.png", "expected an image of 8 bits per channel, found mode I"


def without_a_test(folder):
    (folder / "test").rename(folder / "exam")
    return folder / "test", "expected a folder, found nothing"


def without_class_folders(folder):
    for name in CLASSES:
        (folder / "train" / name).rename(folder / name)
    return folder / "train", "expected one folder per class, found none"


def with_a_file_for_a_folder(folder):
    (folder / "train").rename(folder / "old")
    (folder / "train").write_text("")
    return folder / "train", "expected a folder, found a file"


@pytest.mark.parametrize(
    "damage",
    [
        without_a_class,
        without_images,
        with_a_broken_link,
        with_a_format_under_another_name,
        with_sixteen_bits,
        without_a_test,
        without_class_folders,
        with_a_file_for_a_folder,
    ],
)
def test_damaged_folders_are_one_clear_sentence(damage, folder):
    path, found = damage(folder)
    with pytest.raises(DataError) as error:
        load(folder)
    message = str(error.value)
    assert message.startswith(f"{path}: expected ") and found in message and "\n" not in message
    assert not (folder.parent / cache.FOLDER).exists()


@pytest.mark.parametrize("image_size", [0, -1, 2.5, "32"])
def test_bad_image_size(folder, image_size):
    with pytest.raises(DataError, match="expected image_size to be a positive integer"):
        load(folder, image_size=image_size)


def test_unreadable_folder(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="found no permission; change its permissions"):
        load(folder)


def test_check_reports_what_is_there(folder):
    report = check_dataset(f"imagefolder:{folder}", folder.parent)
    train = load(folder)
    mean, std = channel_statistics(train.images)
    assert "train: 12 images of 3x32x32, 3 classes, 4 to 4 per class" in report and "test: 12 images" in report
    for expected in (str(folder), train.sha256, f"{mean[0]:.8f}", f"{std[2]:.8f}"):
        assert expected in report


# The cache


@pytest.fixture
def name(folder, tmp_path):
    """A small image folder that has been loaded, and so cached, once."""
    name = f"imagefolder:{folder}"
    load_dataset(name, "train", tmp_path)
    return name


def cached_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / cache.FOLDER).glob("*.npz")
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


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "resized", "replaced"])
def test_a_changed_tree_is_read_again(name, folder, tmp_path, capsys, change):
    file = folder / "train" / "cat" / "0.bmp"
    if change == "added":
        Image.new("RGB", (32, 32)).save(folder / "train" / "cat" / "new.png")
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("zzz.bmp"))
    elif change == "resized":
        Image.new("RGB", (50, 50)).save(file)
    else:  # by one of equal size and time
        status, content = file.stat(), bytearray(file.read_bytes())
        content[len(content) // 2] ^= 128
        file.write_bytes(content)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
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
    assert capsys.readouterr().err.count("cannot be used") == 2
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
    assert "cannot be used (ValueError: expected SHA-256" in capsys.readouterr().err


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
    assert not list((tmp_path / cache.FOLDER).glob("*.tmp"))


KILLED = """
import os, sys
from fsft import load_dataset
os.fsync = lambda _: os.kill(os.getpid(), 9)
load_dataset(sys.argv[1], "train", sys.argv[2])
"""


def test_kills_do_not_pile_up_litter(folder, tmp_path):
    """Each leaves what it had written under the same name, and the first that is not killed clears it away."""
    for _ in range(3):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, f"imagefolder:{folder}", str(tmp_path)], capture_output=True
        )
        assert killed.returncode == -9
        assert len(list((tmp_path / cache.FOLDER).glob("*.tmp"))) == 1
    assert len(load_dataset(f"imagefolder:{folder}", "train", tmp_path)) == 12
    assert cached_file(tmp_path) and not list((tmp_path / cache.FOLDER).glob("*.tmp"))


def test_what_another_process_is_writing_is_left_to_it(name, folder, tmp_path):
    before = cached_file(tmp_path).read_bytes()
    Image.new("RGB", (32, 32)).save(folder / "train" / "cat" / "new.png")
    with FileLock(f"{cached_file(tmp_path)}.lock"):
        assert len(load_dataset(name, "train", tmp_path)) == 13
    assert cached_file(tmp_path).read_bytes() == before


def test_a_full_or_read_only_disk_only_costs_the_cache(folder, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(load_dataset(f"imagefolder:{folder}", "train", tmp_path)) == 12
    assert "cannot be cached there (No space left on device)" in capsys.readouterr().err
    assert not [path for path in (tmp_path / cache.FOLDER).iterdir() if path.suffix != ".lock"]


def test_check_reads_the_files_and_not_the_cache(name, folder, tmp_path, monkeypatch):
    """A bit that flips on the disk changes neither name nor size nor times, so only a check of the files can see it."""
    monkeypatch.setattr(imagefiles, "stamp", lambda status: str(status.st_size))
    first = load_dataset(name, "train", tmp_path)
    file = folder / "train" / "cat" / "2.bmp"
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    assert load_dataset(name, "train", tmp_path).sha256 == first.sha256
    assert first.sha256 not in check_dataset(name, tmp_path)
    assert load_dataset(name, "train", tmp_path).sha256 != first.sha256
