"""Official archives of the fine-grained data sets: verified, unpacked whole, and never out of their folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from fine_grained import WRITERS, declare_official

from fsft.cli.main import main
from fsft.datasets import unpacking
from fsft.datasets.registry import DataError, check_dataset

MEMBERS = {
    "cub200": {"CUB_200_2011.tgz": ("CUB_200_2011",)},
    "stanford-dogs": {
        "images.tar": ("Images",),
        "annotation.tar": ("Annotation",),
        "lists.tar": ("train_list.mat", "test_list.mat"),
    },
    "stanford-cars": {
        "cars_train.tgz": ("cars_train",),
        "cars_test.tgz": ("cars_test",),
        "car_devkit.tgz": ("devkit",),
    },
}


def declare(monkeypatch, name, folder):
    """The archives in the folder are, for one test, the official ones."""
    place, digests = unpacking.ARCHIVES[name]
    found = {archive: hashlib.md5((folder / archive).read_bytes()).hexdigest() for archive in digests}
    monkeypatch.setitem(unpacking.ARCHIVES, name, (place, found))


def pack(name: str, data_dir: Path) -> Path:
    """The miniature of a data set as its official archives; what was packed is gone."""
    root = WRITERS[name](data_dir)
    folder = data_dir / unpacking.ARCHIVES[name][0]
    for archive, members in MEMBERS[name].items():
        with tarfile.open(folder / archive, "w:gz" if archive.endswith("tgz") else "w") as file:
            for member in members:
                file.add(folder / member, member)
    for members in MEMBERS[name].values():
        for member in members:
            (folder / member).rename(data_dir / f"gone-{member}")
    return root


@pytest.mark.parametrize("name", MEMBERS)
def test_archives_become_the_data_set(name, tmp_path, monkeypatch, capsys):
    declare_official(monkeypatch)
    pack(name, tmp_path)
    folder = tmp_path / unpacking.ARCHIVES[name][0]
    with pytest.raises(DataError, match=f"fsft data unpack {name}"):
        check_dataset(name, tmp_path)
    with pytest.raises(DataError, match="the official archive with MD5"):
        unpacking.unpack(name, tmp_path)
    assert {path.name for path in folder.iterdir() if not path.name.startswith("gone-")} <= {
        *MEMBERS[name],
        "cars_test_annos_withlabels.mat",
    }, "a wrong archive leaves nothing behind"
    declare(monkeypatch, name, folder)
    assert main(["data", "unpack", name, "--data-dir", str(tmp_path)]) == 0
    assert "unpacked from" in capsys.readouterr().out
    lines: list[str] = []
    unpacking.unpack(name, tmp_path, lines.append)
    assert lines and all("was kept" in line for line in lines)
    assert not list(folder.glob(".unpacking-*"))


def test_a_missing_archive_is_named(tmp_path):
    (tmp_path / "stanford-dogs").mkdir()
    with pytest.raises(DataError, match=r"found no images.tar, annotation.tar, lists.tar; 'fsft data check"):
        unpacking.unpack("stanford-dogs", tmp_path)
    with pytest.raises(DataError, match="only these have archives to unpack"):
        unpacking.unpack("cifar100", tmp_path)


def evil(kind: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo({"traversal": "../escaped.txt"}.get(kind, "CUB/link"))
    if kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "../../outside"
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    else:
        member.size = 1
    return member


@pytest.mark.parametrize("kind", ["traversal", "link", "device"])
def test_nothing_leaves_the_folder_even_with_the_right_checksum(kind, tmp_path, monkeypatch):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with tarfile.open(data_dir / "CUB_200_2011.tgz", "w:gz") as file:
        file.addfile(evil(kind), io.BytesIO(b"x"))
    declare(monkeypatch, "cub200", data_dir)
    with pytest.raises(DataError, match="an archive of plain files and folders"):
        unpacking.unpack("cub200", data_dir)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "CUB_200_2011.tgz"]


def test_a_truncated_archive_is_one_sentence(tmp_path, monkeypatch):
    pack("cub200", tmp_path)
    path = tmp_path / "CUB_200_2011.tgz"
    path.write_bytes(path.read_bytes()[:-400])
    declare(monkeypatch, "cub200", tmp_path)
    with pytest.raises(DataError) as error:
        unpacking.unpack("cub200", tmp_path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not (tmp_path / "CUB_200_2011").exists()
