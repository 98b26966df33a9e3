import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from fine_grained import picture

import fsft.training
from fsft.catalog import recipes
from fsft.cli.main import main
from fsft.datasets.sets import file_set
from fsft.evidence.verify import verify
from fsft.maps.cam import class_maps
from fsft.maps.localize import localize, map_scores
from fsft.maps.scorefile import load_map_scores, percent, write_map_scores
from fsft.maps.scores import SCORES, localization_scores
from fsft.runtime.files import FolderLockedError, run_lock
from fsft.runtime.record import canonical_digest

pytest.importorskip("pytorch_grad_cam")

CORNER = torch.tensor([0.0, 0.0, 8.0, 8.0])


def boxed(images):
    return replace(images, boxes=CORNER.expand(len(images), 4).clone())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on images with boxes, its folders, and its recipe under a name that the command line knows."""
    return tiny.finished(tmp_path_factory.mktemp("run"), tuple(boxed(images) for images in tiny.data()))


@pytest.fixture
def scored(run, monkeypatch):
    recipe, data, places = run
    monkeypatch.setattr("fsft.maps.localize.recipe_data", lambda *_: data)
    monkeypatch.setitem(recipes, recipe.name, recipe)
    path = places["results_dir"] / "maps" / f"{recipe.run_name(0)}.json"
    if not path.exists():
        localize(recipe, 0, **places)
    return path, places


def test_the_file_holds_what_the_scores_of_the_runs_weights_are(run, scored):
    recipe, (train_set, test_set), places = run
    [content] = load_map_scores(places["results_dir"])
    modes = ("si", "ag-last", "ag", "ag-logits")
    kinds = ["grad-cam/si", "grad-cam-raw/si", "grad-cam/ag-last", "grad-cam-raw/ag-last", "cam/ag-last"]
    assert list(content["scores"]) == ["uniform", "center", *kinds]
    assert set(content["correct"]) == set(modes) and content["correct"]["si"].dtype == bool
    np.testing.assert_array_equal(content["scores"]["uniform"]["energy"], 25)
    model = fsft.training.load_weights(places["runs_dir"] / recipe.run_name(0) / "weights.pt", torch.device("cpu"))
    images = fsft.augment.normalize(test_set.images, *fsft.channel_statistics(train_set.images), channels_last=True)
    for kind, method, mode, centered in (
        ("cam/ag-last", "cam", "ag-last", True),
        ("grad-cam/si", "grad-cam", "si", True),
        ("grad-cam-raw/si", "grad-cam", "si", False),
    ):
        maps = class_maps(model, images, test_set.labels, method=method, mode=mode, centered=centered)
        expected = localization_scores(maps, boxes=test_set.boxes)
        for name in SCORES:
            np.testing.assert_array_equal(content["scores"][kind][name], percent(expected[name]))
    assert content["region"] == "box"
    # Left out of the file, because they would repeat what is in it.
    for method, mode, same in (("cam", "si", "grad-cam/si"), ("grad-cam", "ag", "grad-cam/ag-last")):
        maps = class_maps(model, images, test_set.labels, method=method, mode=mode, centered=True)
        energy = localization_scores(maps, boxes=test_set.boxes)["energy"]
        np.testing.assert_allclose(100 * energy, content["scores"][same]["energy"], atol=0.51)


def test_streamed_images_are_scored_as_the_network_sees_them(tmp_path, monkeypatch):
    """Of 8 test images, two have their object outside the part that is cut out; parts of 3 images change nothing."""
    names = [f"{number}.jpg" for number in range(16)]
    for name in names:
        picture(tmp_path / name, width=40, height=20)
    boxes = [(0, 0, 3, 20) if number in (9, 12) else (10, 5, 30, 15) for number in range(16)]

    def split(name, part):
        labels = [number % 2 for number in range(16)][part]
        data = file_set("pictures", name, tmp_path, names[part], labels, ("even", "odd"), boxes[part], "write it again")
        return replace(data, image_size=16)

    data = split("train", slice(8)), split("test", slice(8, 16))
    recipe, places = (
        tiny.recipe("fsft", epochs=1, batch_size=4),
        {name: tmp_path / name for name in ("runs_dir", "results_dir")},
    )
    fsft.training.train(recipe, 0, data=data, progress="none", workers=0, **places)
    monkeypatch.setattr("fsft.maps.localize.recipe_data", lambda *_: data)
    whole = localize(recipe, 0, **places)
    monkeypatch.setattr("fsft.maps.localize.PART", 3)
    parts = localize(recipe, 0, **places)
    assert whole["region"] == "box" and whole["data"]["test_images"] == 8 and whole["data"]["scored_images"] == 6
    assert len(whole["correct"]["si"]) == 6 and verify(places["results_dir"]) == []
    for kind, scores in whole["scores"].items():
        for name, values in scores.items():
            np.testing.assert_allclose(parts["scores"][kind][name], values, atol=1)
    # Resized to 36 x 18 pixels, the box has 18 x 9, of which the central 16 x 16 of the image hold 16 x 9.
    np.testing.assert_allclose(whole["scores"]["uniform"]["energy"], 100 * 9 / 16, atol=1)


def test_some_images_are_evenly_chosen(scored, run):
    path, places = scored
    every_image = json.loads(path.read_text())
    with pytest.raises(ValueError, match=r"expected no scores yet, found .*, perhaps of more than 8 images"):
        localize(run[0], 0, images=8, **places)
    path.unlink()
    try:
        some = localize(run[0], 0, images=8, **places)
        assert some["data"] == every_image["data"] | {"scored_images": 8}
        for kind, scores in some["scores"].items():
            for name, values in scores.items():
                np.testing.assert_allclose(values, every_image["scores"][kind][name][::4], atol=1)
        assert verify(places["results_dir"]) == []
    finally:
        path.write_text(json.dumps(every_image))


def test_what_the_sanity_check_compares(run):
    recipe, (train_set, test_set), places = run
    model = fsft.training.load_weights(places["runs_dir"] / recipe.run_name(0) / "weights.pt", torch.device("cpu"))
    found = map_scores(model, train_set, test_set)
    energy = np.mean(found["scores"]["grad-cam/si"]["energy"])
    assert found["sanity"]["trained"]["energy"] == pytest.approx(energy, abs=0.6)
    assert set(found["sanity"]["all"]) == {"energy", "rank_correlation", "images"}
    assert abs(found["sanity"]["head"]["rank_correlation"]) < 1


def test_the_command_writes_it_and_verify_accepts_it(scored, capsys):
    path, places = scored
    path.unlink()
    folders = ["--runs-dir", str(places["runs_dir"]), "--results-dir", str(places["results_dir"])]
    assert main(["localize", "tiny/fsft", *folders]) == 0
    assert "grad-cam/si" in capsys.readouterr().out and path.exists()
    assert verify(places["results_dir"], places["runs_dir"]) == []
    assert main(["localize", "tiny/fsft", "--seed", "5", *folders]) == 2
    assert "expected a finished run" in capsys.readouterr().err


def test_a_run_that_another_process_works_on_is_left_alone(run, scored):
    recipe, _, places = run
    with run_lock(places["runs_dir"] / recipe.run_name(0)), pytest.raises(FolderLockedError, match="in use by another"):
        localize(recipe, 0, **places)


def test_other_images_are_refused(run, scored, monkeypatch):
    recipe, (train_set, test_set), places = run
    monkeypatch.setattr("fsft.maps.localize.recipe_data", lambda *_: (train_set, replace(test_set, sha256="0" * 64)))
    with pytest.raises(ValueError, match="found another"):
        localize(recipe, 0, **places)
    monkeypatch.setattr("fsft.maps.localize.recipe_data", lambda *_: (train_set, replace(test_set, boxes=None)))
    with pytest.raises(ValueError, match="masks or boxes"):
        localize(recipe, 0, **places)


def change(content, what):
    if what == "score":
        content["scores"]["cam/ag-last"]["energy"][0] = (content["scores"]["cam/ag-last"]["energy"][0] + 1) % 100
    elif what == "missing image":
        content["scores"]["cam/ag-last"]["energy"].pop()
    elif what == "range":
        content["scores"]["cam/ag-last"]["energy"][0] = 101
    elif what == "correct":
        content["correct"]["si"] = "2" * len(content["correct"]["si"])
    elif what == "weights":
        content["weights_sha256"] = "0" * 64
    elif what == "data":
        content["data"]["test_sha256"] = "0" * 64
    elif what == "field":
        del content["sanity"]
    elif what == "digest":
        del content["digest"]
    elif what == "seed":
        content["seed"] = 1
    if what not in ("score", "digest"):
        content["digest"] = canonical_digest(content)
    return content


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("score", "digest: does not belong"),
        ("missing image", "scores.cam/ag-last.energy: expected 32"),
        ("range", "from 0 to 100"),
        ("correct", "correct.si"),
        ("weights", "weights_sha256: expected"),
        ("data", "data.test_sha256: expected"),
        ("field", "sanity: expected an object, found nothing"),
        ("digest", "expected the SHA-256"),
        ("seed", "file name"),
    ],
)
def test_verify_names_what_was_altered(scored, what, message):
    path, places = scored
    original = path.read_text()
    try:
        path.write_text(json.dumps(change(json.loads(original), what)))
        problems = verify(places["results_dir"])
        assert len(problems) == 1 and message in problems[0] and path.name in problems[0], problems
        if what in ("score", "missing image", "field"):
            with pytest.raises(ValueError, match="fsft verify"):
                load_map_scores(places["results_dir"])
    finally:
        path.write_text(original)


def test_scores_without_their_run_are_noticed(scored, tmp_path):
    path, _ = scored
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / path.name).write_text(path.read_text())
    assert any("expected the run's result" in problem for problem in verify(tmp_path))


def test_a_broken_content_is_not_written(scored, tmp_path):
    path, _ = scored
    content = change(json.loads(path.read_text()), "range")
    with pytest.raises(ValueError, match="from 0 to 100"):
        write_map_scores(tmp_path / path.name, content)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_no_scores(tmp_path):
    assert load_map_scores(tmp_path) == []
