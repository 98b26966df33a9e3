"""CIFAR-100 from its archive, its folder and a class-folder tree; hostile, downloaded, and real where it is."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_miniature import (
    CLASSES,
    PER_CLASS,
    declare_official,
    expected,
    official_files,
    pack,
    python2_pickle,
    split_fields,
    write_folder,
    write_tree,
)
from PIL import Image

from fsft.datasets import cifar
from fsft.datasets.cifar import ARCHIVE, FOLDER, MD5
from fsft.datasets.registry import DataError, channel_statistics, check_dataset, download_cifar100, load_dataset


@pytest.fixture
def miniature(monkeypatch):
    """The miniature's files are the official ones."""
    declare_official(monkeypatch, official_files(), pack(official_files()))


@pytest.fixture
def tree(miniature, tmp_path):
    """The training images of an intact class-folder tree."""
    write_tree(tmp_path)
    return tmp_path / "cifar100" / "train"


def test_the_miniature_is_what_numpy_reads():
    for split in PER_CLASS:
        written = split_fields(split)
        read = pickle.loads(python2_pickle(written), encoding="bytes")
        np.testing.assert_array_equal(read.pop(b"data"), written.pop(b"data"))
        assert read == written


@pytest.mark.parametrize("split", ["train", "test"])
def test_archive_folder_and_tree_give_the_same_data_in_the_canonical_order(split, miniature, tmp_path):
    write_folder(tmp_path / "folder", official_files())
    write_tree(tmp_path / "png")
    write_tree(tmp_path / "webp", ".webp")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / ARCHIVE).write_bytes(pack(official_files()))
    for source in ("folder", "png", "webp", "archive"):
        data = load_dataset("cifar100", split, tmp_path / source)
        assert torch.equal(data.images, expected(split).images)
        assert torch.equal(data.labels, expected(split).labels)
        assert (data.classes, data.sha256) == (CLASSES, expected(split).sha256)
    assert sorted(os.listdir(tmp_path / "archive")) == [".fsft-cache", ARCHIVE], "nothing is unpacked"
    (tmp_path / "png" / ARCHIVE).write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=r"bytes, found 2 \(a download that was cut off\); run `fsft data download"):
        load_dataset("cifar100", split, tmp_path / "png")  # a damaged archive is not replaced by the tree


def test_column_major_pixels_are_read_too(tmp_path, monkeypatch):
    files = {**official_files(), "train": python2_pickle(split_fields("train", fortran=True))}
    declare_official(monkeypatch, files)
    write_folder(tmp_path, files)
    assert load_dataset("cifar100", "train", tmp_path).sha256 == expected("train").sha256


def test_cached_archives_are_not_read_again(miniature, tmp_path, monkeypatch):
    (tmp_path / ARCHIVE).write_bytes(pack(official_files()))
    load_dataset("cifar100", "train", tmp_path)
    monkeypatch.setattr(cifar, "_from_archive", lambda *_: pytest.fail("read although it is cached"))
    assert load_dataset("cifar100", "train", tmp_path).sha256 == expected("train").sha256


def test_a_consistent_cache_of_other_pixels_is_not_believed(miniature, tmp_path, capsys):
    """Pixels, labels and the fingerprint in the copy agree, but the data set's fingerprint is known."""
    (tmp_path / ARCHIVE).write_bytes(pack(official_files()))
    load_dataset("cifar100", "train", tmp_path)
    path = tmp_path / ".fsft-cache" / "cifar100-train.npz"
    good = expected("train")
    altered = good.altered(images=255 - good.images)
    with np.load(path) as arrays:
        header = str(arrays["header"]).replace(good.sha256, altered.sha256)
    np.savez(path, header=np.array(header), images=altered.images.numpy(), labels=altered.labels.numpy())
    assert torch.equal(load_dataset("cifar100", "train", tmp_path).images, good.images)
    assert f"expected SHA-256 {good.sha256}, found {altered.sha256}" in capsys.readouterr().err


def test_check_names_the_source(tree, tmp_path):
    report = check_dataset("cifar100", tmp_path)
    assert f"read from {tmp_path / 'cifar100'}" in report
    assert "train: 9 images of 3x32x32, 3 classes, 3 to 3 per class" in report and "test: 6 images" in report


def test_where_nothing_is(tmp_path):
    for place, found in (("data", "a folder, found nothing"), (".", f"{ARCHIVE}, {FOLDER}/ or cifar100/ in it, found")):
        with pytest.raises(DataError, match=f"expected {found}.*; run `fsft data download cifar100`"):
            load_dataset("cifar100", "train", tmp_path / place)
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match=r"expected a folder, found a file in place of a folder; run"):
        load_dataset("cifar100", "train", tmp_path / "data")


# Damages of the whole; those of single files are in test_damages.py.


def a_class_missing(train):
    (train / "bear").rename(train.parent / "bear")
    return "train: expected the folders of 3 classes, found 2"


def one_too_many(train):
    Image.new("RGB", (32, 32)).save(train / "bear" / "extra.png")
    return "bear: expected 3 images, found 4"


def another_class(train):
    (train / "yak").mkdir()
    return "train: expected the folders of 3 classes, found 4"


def a_class_renamed(train):
    (train / "worm").rename(train / "wyrm")
    return "train: expected CIFAR-100's images"


def another_size(train):
    file = next((train / "bear").iterdir())
    Image.new("RGB", (64, 48)).save(file)
    return f"{file.name}: expected an image of 32x32 pixels, found 64x48"


def one_bit(train):
    file = next((train / "bear").iterdir())
    pixels = np.array(Image.open(file))
    pixels[31, 31, 2] ^= 1
    Image.fromarray(pixels).save(file)
    return "train: expected CIFAR-100's images"


def two_classes_exchanged(train):
    (train / "bear").rename(train / "x")
    (train / "apple").rename(train / "bear")
    (train / "x").rename(train / "apple")
    return "train: expected CIFAR-100's images"


def no_split(train):
    train.rename(train.with_name("old"))
    return "train: expected a folder, found nothing"


def no_class(train):
    train.rename(train.with_name("old"))
    train.mkdir()
    return "train: expected one folder per class, found none"


@pytest.mark.parametrize(
    "damage",
    [
        a_class_missing,
        one_too_many,
        another_class,
        a_class_renamed,
        another_size,
        one_bit,
        two_classes_exchanged,
        no_split,
        no_class,
    ],
)
def test_damaged_tree(damage, tree, tmp_path):
    found = damage(tree)
    with pytest.raises(DataError) as error:
        load_dataset("cifar100", "train", tmp_path)
    assert str(error.value).startswith(str(tmp_path / "cifar100")) and found in str(error.value)
    assert str(error.value).endswith("; run `fsft data download cifar100`")
    assert not (tmp_path / ".fsft-cache").exists()
    load_dataset("cifar100", "test", tmp_path)


def test_nothing_is_unpickled_before_it_was_checked(miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar._Unpickler, "load", lambda *_: pytest.fail("unpickled before it was checked"))
    content = bytearray(pack(official_files()))
    content[-9] ^= 1
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match="expected the official file with MD5"):
        load_dataset("cifar100", "train", tmp_path)
    (tmp_path / ARCHIVE).unlink()
    files = official_files()
    write_folder(tmp_path, {**files, "meta": files["meta"][:-1] + b"x"})
    with pytest.raises(DataError, match="meta: expected the official file with MD5"):
        load_dataset("cifar100", "train", tmp_path)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "payload",
    [
        lambda canary: pickle.dumps(Hostile(canary)),
        lambda canary: pickle.dumps({b"data": Hostile(canary)}, protocol=0),
        lambda canary: b"cbuiltins\nexec\n(X" + struct.pack("<i", 5) + b"1 / 0tR.",
        lambda canary: b"cnumpy\nload\n(S'x'\ntR.",
        lambda canary: b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        lambda canary: b"\x80\x04\x95",
        lambda canary: b"I1\n.",
        lambda canary: python2_pickle({**split_fields("train"), b"data": np.zeros((9, 3071), dtype=np.uint8)}),
        lambda canary: python2_pickle({**split_fields("train"), b"data": np.full((9, 3072), 0.5, dtype=np.float32)}),
        lambda canary: python2_pickle({**split_fields("train"), b"fine_labels": [0, 1, -1] * 3}),
        lambda canary: python2_pickle({**split_fields("train"), b"filenames": None}),
    ],
    ids=["reduce", "nested", "exec", "load", "dotted", "truncated", "number", "width", "float", "labels", "names"],
)
def test_a_hostile_pickle_is_not_executed_even_with_the_right_checksum(payload, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    files = {**official_files(), "train": payload(canary)}
    declare_official(monkeypatch, files)
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"expected the fields of CIFAR-100's python version, found .*; run") as error:
        load_dataset("cifar100", "train", tmp_path)
    assert "\n" not in str(error.value) and not canary.exists()


# The download


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``content`` and claims that it has ``length`` bytes."""

    content, length = b"", 0

    def do_HEAD(self) -> None:
        self.send_response(200 if self.content else 404)
        self.send_header("Content-Length", str(self.length))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def site(monkeypatch, miniature):
    """A server on this machine in place of the official site."""
    from torchvision.datasets import CIFAR100

    archive = pack(official_files())
    monkeypatch.setattr(Site, "content", archive)
    monkeypatch.setattr(Site, "length", len(archive))
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{server.server_port}/{ARCHIVE}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("there", ["nothing", "half", "a sparse terabyte"])
def test_download(there, site, tmp_path, monkeypatch):
    target = tmp_path / "new" / ARCHIVE
    if there != "nothing":
        target.parent.mkdir()
        for path in (target, target.with_name(f"{ARCHIVE}.part")):
            path.write_bytes(b"half of it")
            if there == "a sparse terabyte":
                os.truncate(path, 2**40)
    assert download_cifar100(target.parent) == target
    assert os.listdir(target.parent) == [ARCHIVE] and target.read_bytes() == site.content
    # The second time it is found to be complete, and not fetched again.
    monkeypatch.setattr(site, "content", b"")
    assert download_cifar100(target.parent) == target


@pytest.mark.parametrize("trouble", ["wrong bytes", "cut off", "not there", "no folder"])
def test_a_failed_download_leaves_no_archive(site, tmp_path, trouble, monkeypatch):
    target = tmp_path / "data"
    if trouble == "no folder":
        target.write_text("a file in its place")
    else:
        content = {"wrong bytes": b"<html>" + site.content[6:], "cut off": site.content[:-100], "not there": b""}
        monkeypatch.setattr(site, "content", content[trouble])
    with pytest.raises(DataError, match=r"expected the archive from .*, found .* again"):
        download_cifar100(target)
    assert not (target / ARCHIVE).exists()


# The real data


def real(split):
    data_dir = Path(os.environ.get("FSFT_DATA", Path(__file__).parents[2] / "data"))
    if not any((data_dir / name).exists() for name in (ARCHIVE, FOLDER, cifar.TREE)):
        pytest.skip(f"CIFAR-100 is not in {data_dir}; set FSFT_DATA to the folder that has it")
    return load_dataset("cifar100", split, data_dir)


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_cifar100(split):
    data = real(split)
    assert data.sha256 == cifar.SHA256[split]
    assert data.images.shape == ({"train": 50_000, "test": 10_000}[split], 3, 32, 32)
    if split == "train":
        published = ([0.50707516, 0.48654887, 0.44091784], [0.26733429, 0.25643846, 0.27615047])
        found = channel_statistics(data.images)
        assert tuple([round(value, 8) for value in values.tolist()] for values in found) == published


def test_the_duplicates_that_the_page_of_gaps_names():
    """Ten test images are training images, byte for byte, six of them under another label."""
    train, test = real("train"), real("test")
    labels: dict[bytes, set[int]] = {}
    for image, label in zip(train.images, train.labels.tolist(), strict=True):
        labels.setdefault(hashlib.sha256(image.numpy()).digest(), set()).add(label)
    twins = [labels.get(hashlib.sha256(image.numpy()).digest()) for image in test.images]
    found = [label in twin for twin, label in zip(twins, test.labels.tolist(), strict=True) if twin]
    assert (len(found), found.count(False)) == (10, 6)
    page = (Path(__file__).parents[2] / "book" / "paper-gaps.md").read_text()
    assert "Ten of CIFAR-100's 10,000 test images" in page and "six of them under another label" in page


def test_official_constants():
    from torchvision.datasets import CIFAR100

    assert (cifar.NUM_CLASSES, cifar.PER_CLASS, cifar.ARCHIVE_BYTES) == (100, {"train": 500, "test": 100}, 169_001_437)
    assert MD5[ARCHIVE] == CIFAR100.tgz_md5
    assert [*CIFAR100.train_list, *CIFAR100.test_list] == [[split, MD5[split]] for split in ("train", "test")]
    assert CIFAR100.meta["md5"] == MD5["meta"]
