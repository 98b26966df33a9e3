"""CUB-200-2011, Stanford Dogs and Stanford Cars from miniatures in the official layouts."""

from __future__ import annotations

import numpy as np
import pytest
from fine_grained import WRITERS, annotation, cells, declare_official
from scipy.io import loadmat, savemat

from fsft.datasets.registry import DataError, check_dataset, load_dataset, load_split

NAMES = tuple(WRITERS)


@pytest.fixture
def roots(tmp_path, monkeypatch):
    declare_official(monkeypatch)
    return {name: write(tmp_path) for name, write in WRITERS.items()}


def error_of_loading(name, data_dir, split="train") -> str:
    with pytest.raises(DataError) as error:
        load_split(name, split, data_dir)
    message = str(error.value)
    assert "\n" not in message and ": expected " in message and ", found " in message
    return message


def test_cub_follows_its_split_file(roots, tmp_path):
    train, test = load_split("cub200", "train", tmp_path), load_split("cub200", "test", tmp_path)
    assert [name[-5:] for name in train.names] == ["5.jpg", "9.jpg", "3.jpg"]
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1], [0, 1, 1])
    assert train.classes == ("Sooty Albatross", "Wren")
    # x, y, width, height in the file.
    assert train.boxes.tolist() == [[0, 2, 10.5, 22], [2, 2, 12.5, 22], [4, 2, 14.5, 22]]
    assert not set(train.names) & set(test.names)


def test_dogs_follow_their_lists_and_surround_all_dogs(roots, tmp_path):
    train = load_split("stanford-dogs", "train", tmp_path)
    assert [name[-5:] for name in train.names] == ["7.jpg", "2.jpg", "7.jpg", "2.jpg"]
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert train.classes == ("Chihuahua", "Japanese spaniel")
    assert train.boxes[:2].tolist() == [[1, 1, 35, 20], [3, 4, 20, 21]]
    assert load_split("stanford-dogs", "test", tmp_path).labels.tolist() == [0, 1]


def test_cars_count_from_zero(roots, tmp_path):
    train = load_split("stanford-cars", "train", tmp_path)
    assert train.names == ("00001.jpg", "00002.jpg", "00003.jpg", "00004.jpg")
    assert train.labels.tolist() == [1, 0, 1, 0]
    assert train.classes[1] == "Ram C/V Cargo Van Minivan 2012"
    # The box of the whole image.
    assert train.boxes[0].tolist() == [0, 1, 40, 30]
    labeled = roots["stanford-cars"] / "cars_test_annos_withlabels.mat"
    test = load_split("stanford-cars", "test", tmp_path)
    labeled.rename(roots["stanford-cars"] / "devkit" / labeled.name)
    assert load_split("stanford-cars", "test", tmp_path).sha256 == test.sha256


@pytest.mark.parametrize("name", NAMES)
def test_check_decodes_every_image(roots, tmp_path, name):
    assert "40 to 40 by 30 to 30 pixels, 2 classes" in check_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cub200", r"put CUB_200_2011.tgz \(MD5 97eceeb196236b17998738112f37df78\) into .*https://data.caltech.edu/"),
        ("stanford-dogs", r"put images.tar .*annotation.tar .*lists.tar .* from http://vision.stanford.edu"),
        ("stanford-cars", r"cars_test_annos_withlabels.mat; .* no longer .* run `tar -xf cars_train.tgz && "),
    ],
)
def test_what_is_missing_and_how_to_get_it(roots, tmp_path, name, remedy):
    with pytest.raises(DataError, match=f"expected a file, found nothing; .*{remedy}"):
        check_dataset(name, tmp_path / "nothing")


@pytest.mark.parametrize("name", NAMES)
def test_missing_images_are_counted(roots, tmp_path, name):
    data = load_split(name, "train", tmp_path)
    (data.root / data.names[2]).unlink()
    assert f"found 1 of them missing, such as {data.names[2]};" in error_of_loading(name, tmp_path)


@pytest.mark.parametrize("place", ["../../secret.jpg", "/etc/passwd", "a/../../../x.jpg", "..\\x.jpg", "C:x.jpg"])
@pytest.mark.parametrize("name", NAMES)
def test_lists_do_not_lead_out_of_the_folder(roots, tmp_path, name, place):
    root = roots[name]
    (tmp_path / "secret.jpg").write_bytes(b"x")
    if name == "cub200":
        path = root / "images.txt"
        path.write_text(f"1 {place}\n" + path.read_text().partition("\n")[2])
    elif name == "stanford-dogs":
        content = loadmat(root / "train_list.mat")
        files = [str(cell[0][0]) for cell in content["file_list"]]
        savemat(root / "train_list.mat", {"file_list": cells([place, *files[1:]]), "labels": content["labels"]})
    else:
        content = loadmat(root / "devkit" / "cars_train_annos.mat")["annotations"]
        content[0, 0]["fname"] = place
        savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": content})
    assert "expected file names that stay in this folder" in error_of_loading(name, tmp_path)


XML = {
    "<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + annotation((1, 2, 3, 4)): "expected an annotation without a document type",
    "<!doctype x>" + annotation((1, 2, 3, 4)): "expected an annotation without a document type",
    "<annotation/>": "expected XML with a bndbox of whole numbers",
    annotation((1, 2, 3, 4)).replace(">3<", ">x<"): "expected XML with a bndbox of whole numbers",
    annotation((9, 2, 9, 4)): "expected a box with left before right",
    "\ufeff<?xml version='1.0' encoding='utf-16'?><!DOCTYPE x><annotation/>": "expected text in UTF-8",
}


@pytest.mark.parametrize("text", XML)
def test_hostile_and_damaged_annotations(roots, tmp_path, text):
    path = next((roots["stanford-dogs"] / "Annotation").glob("*/*_2"))
    path.write_text(text, encoding="utf-16" if "utf-16" in text else None)
    assert XML[text] in error_of_loading("stanford-dogs", tmp_path)


def many_cells(path):
    savemat(path, {"file_list": cells(["x" * 4000] * 5000), "labels": np.zeros(1)}, do_compression=True)
    assert path.stat().st_size < 1_000_000


def other_fields(path):
    savemat(path, {"x": np.zeros(3)})


def header_alone(path):
    path.write_bytes(path.read_bytes()[:130])


@pytest.mark.parametrize(
    ("damage", "found"),
    [(many_cells, "more than 16,000,000 bytes"), (other_fields, "KeyError"), (header_alone, "Error")],
)
@pytest.mark.parametrize(
    ("name", "file"), [("stanford-dogs", "train_list.mat"), ("stanford-cars", "devkit/cars_train_annos.mat")]
)
def test_hostile_and_damaged_matlab_files(roots, tmp_path, name, file, damage, found):
    damage(roots[name] / file)
    message = error_of_loading(name, tmp_path)
    assert f"{roots[name] / file}: expected a MATLAB file with " in message and found in message


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images.txt", "6 002", "6  002", "and have 2 fields, found 6 lines, line 6 being '6  002"),
        ("image_class_labels.txt", "3 1", "4 1", "expected 6 lines that begin with 1, 2, ... "),
        ("image_class_labels.txt", "6 2\n", "", "found 5 lines"),
        ("image_class_labels.txt", "1 1", "1 3", "expected a label from 1 to 2, found 3"),
        ("bounding_boxes.txt", "10.5", "nan", "bounding_boxes.txt: expected numbers, found"),
        ("bounding_boxes.txt", "10.5", "wide", "bounding_boxes.txt: expected numbers, found"),
        ("bounding_boxes.txt", "10.5", "0.0", "expected a box with left before right"),
        ("train_test_split.txt", "2 0", "2 1", "expected 3 train images, found 4"),
        ("classes.txt", "2 002.Wren\n", "", "expected 2 lines that begin with 1, 2, ... and have 2 fields, found 1"),
    ],
)
def test_damaged_lists_of_cub(roots, tmp_path, file, old, new, message):
    path = roots["cub200"] / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert message in error_of_loading("cub200", tmp_path)


def test_dogs_under_the_wrong_breed(roots, tmp_path):
    path = roots["stanford-dogs"] / "train_list.mat"
    content = loadmat(path)
    content["labels"][1] = 2
    savemat(path, {key: content[key] for key in ("file_list", "labels")})
    assert "one for each folder, found 3 pairs of label and folder" in error_of_loading("stanford-dogs", tmp_path)


def test_the_list_has_a_fingerprint_and_a_subset_keeps_what_belongs_together(roots, tmp_path):
    data = load_split("cub200", "train", tmp_path)
    assert load_split("cub200", "train", tmp_path).sha256 == data.sha256
    with open(data.root / data.names[0], "ab") as file:
        file.write(b"x")
    assert load_split("cub200", "train", tmp_path).sha256 != data.sha256
    part = data.subset(1, seed=0)
    assert sorted(part.labels.tolist()) == [0, 1] and part.sha256 != data.sha256
    where = [data.names.index(name) for name in part.names]
    assert part.labels.tolist() == data.labels[where].tolist() and part.boxes.tolist() == data.boxes[where].tolist()


def test_streaming_sets_are_not_loaded_whole(tmp_path):
    with pytest.raises(DataError, match="use load_split"):
        load_dataset("cub200", "train", tmp_path)
    with pytest.raises(DataError, match="found 'val'"):
        load_split("cub200", "val", tmp_path)
