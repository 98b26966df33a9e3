"""CIFAR-100's official archive: damaged, hostile, and downloaded."""

from __future__ import annotations

import http.server
import os
import pickle
import struct
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from cifar_miniature import (
    REMEDY,
    declare_official,
    error_of_loading,
    official_files,
    pack,
    python2_pickle,
    split_fields,
    write_folder,
)

from fsft.datasets import cifar_archive
from fsft.datasets.cifar_archive import ARCHIVE, FOLDER
from fsft.datasets.registry import DataError, download_cifar100, load_dataset


@pytest.fixture
def miniature(monkeypatch):
    """The miniature's files are the official ones."""
    declare_official(monkeypatch, official_files(), pack(official_files()))


# Damaged downloads


def archive_truncated(content, files):
    return content[: len(content) // 2], f"expected {len(content):,} bytes, found {len(content) // 2:,}"


def archive_empty(content, files):
    return b"", "found 0 (a download that was cut off)"


def archive_web_page(content, files):
    return b"\n<!DOCTYPE html><html><title>404</title></html>", "found a web page"


def archive_right_length_wrong_bytes(content, files):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "expected the official file with MD5"


def archive_longer(content, files):
    return content + b"\0", "expected the official file with MD5"


ARCHIVE_DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("archive_")]


@pytest.mark.parametrize("damage", ARCHIVE_DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_archive(damage, miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_archive, "_unpickle", lambda *_: pytest.fail("unpickled before it was checked"))
    files = official_files()
    content, expected = damage(pack(files), files)
    (tmp_path / ARCHIVE).write_bytes(content)
    message = error_of_loading("train", tmp_path)
    assert message.startswith(str(tmp_path / ARCHIVE))
    assert expected in message
    assert f"delete it and {REMEDY}" in message


@pytest.mark.parametrize("name", ["train", "meta"])
def test_damaged_member_of_the_folder(name, miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_archive, "_unpickle", lambda *_: pytest.fail("unpickled before it was checked"))
    files = official_files()
    files[name] = files[name][:-1] + b"x"
    write_folder(tmp_path, files)
    assert error_of_loading("train", tmp_path).startswith(
        f"{tmp_path / FOLDER / name}: expected the official file with MD5"
    )


def test_missing_member_of_the_folder(miniature, tmp_path):
    files = official_files()
    del files["meta"]
    write_folder(tmp_path, files)
    message = error_of_loading("train", tmp_path)
    assert message.startswith(f"{tmp_path / FOLDER / 'meta'}: expected a file of the official archive, found nothing")
    assert REMEDY in message


def link_to(target: str) -> tarfile.TarInfo:
    link = tarfile.TarInfo(f"{FOLDER}/train")
    link.type, link.linkname = tarfile.SYMTYPE, target
    return link


@pytest.mark.parametrize("kind", ["no member", "link", "link to a member", "not a tar"])
def test_an_archive_with_the_right_checksum_and_the_wrong_content(kind, tmp_path, monkeypatch):
    files: dict = official_files()
    secret = tmp_path / "secret"
    secret.write_bytes(files["train"])
    contents = {
        "no member": {"meta": files["meta"]},
        "link": {"meta": files["meta"], "train": link_to(str(secret))},
        "link to a member": {"meta": files["meta"], "real": files["train"], "train": link_to("real")},
    }
    archive = pack(contents[kind]) if kind in contents else b"\x1f\x8bnonsense"
    declare_official(monkeypatch, files, archive)
    (tmp_path / ARCHIVE).write_bytes(archive)
    assert f"expected {FOLDER}/train and meta in it" in error_of_loading("train", tmp_path)


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
        lambda canary: b"",
    ],
    ids=["reduce", "nested", "exec", "numpy.load", "dotted", "truncated", "number", "empty"],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_hostile_pickle_is_not_executed_even_with_the_right_checksum(payload, packed, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    files = {**official_files(), "train": payload(canary)}
    archive = pack(files)
    declare_official(monkeypatch, files, archive)
    if packed:
        (tmp_path / ARCHIVE).write_bytes(archive)
    else:
        write_folder(tmp_path, files)
    assert "expected the fields of CIFAR-100's python version" in error_of_loading("train", tmp_path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"data", np.zeros((9, 3072), dtype=np.float32)),
        (b"data", np.zeros((9, 3071), dtype=np.uint8)),
        (b"data", np.zeros((8, 3072), dtype=np.uint8)),
        (b"data", [1, 2]),
        (b"fine_labels", [0] * 8),
        (b"fine_labels", [b"x"] * 9),
        (b"filenames", None),
    ],
)
def test_wrong_fields_with_the_right_checksum(field, value, tmp_path, monkeypatch):
    files = {**official_files(), "train": python2_pickle({**split_fields("train"), field: value})}
    declare_official(monkeypatch, files)
    write_folder(tmp_path, files)
    assert "expected the fields of CIFAR-100's python version" in error_of_loading("train", tmp_path)


@pytest.mark.parametrize("labels", [[0] * 9, [0, 1, 2] * 2 + [3, 3, 3], [0, 1, -1] * 3])
def test_wrong_labels_with_the_right_checksum(labels, tmp_path, monkeypatch):
    files = {**official_files(), "train": python2_pickle({**split_fields("train"), b"fine_labels": labels})}
    declare_official(monkeypatch, files)
    write_folder(tmp_path, files)
    error_of_loading("train", tmp_path)


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
def site(monkeypatch):
    """A server on this machine in place of the official site."""
    from torchvision.datasets import CIFAR100

    archive = pack(official_files())
    declare_official(monkeypatch, official_files(), archive)
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


def test_download(site, tmp_path, monkeypatch):
    path = download_cifar100(tmp_path / "new")
    assert path == tmp_path / "new" / ARCHIVE
    assert os.listdir(path.parent) == [ARCHIVE]
    assert len(load_dataset("cifar100", "train", path.parent)) == 9
    # The second time it is found to be complete, and not fetched again.
    monkeypatch.setattr(site, "content", b"")
    assert download_cifar100(path.parent) == path


def test_download_replaces_a_damaged_archive(site, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"half of it")
    (tmp_path / f"{ARCHIVE}.part").write_bytes(b"half of it")
    assert download_cifar100(tmp_path).read_bytes() == site.content


@pytest.mark.parametrize("trouble", ["wrong bytes", "cut off", "not there", "no folder"])
def test_a_failed_download_leaves_no_archive(site, tmp_path, trouble, monkeypatch):
    target = tmp_path / "data"
    if trouble == "wrong bytes":
        monkeypatch.setattr(site, "content", b"<html>" + site.content[6:])
    elif trouble == "cut off":
        monkeypatch.setattr(site, "content", site.content[:-100])
    elif trouble == "not there":
        monkeypatch.setattr(site, "content", b"")
    else:
        target.write_text("a file in its place")
    with pytest.raises(DataError, match=r"expected the archive from .*, found .* again"):
        download_cifar100(target)
    assert not (target / ARCHIVE).exists()
