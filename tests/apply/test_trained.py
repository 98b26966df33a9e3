"""A finished run is put to use: from Python and from the command line, with its own statistics."""

import json

import pytest
import tiny
import torch
from PIL import Image

import fsft
from fsft.cli.main import main
from fsft.runtime.checkpoint import load_state, save_state


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of images, and a run trained on it."""
    folder = tmp_path_factory.mktemp("own")
    for split, images in zip(("train", "test"), tiny.data(), strict=True):
        for row in range(len(images)):
            path = folder / "photos" / split / images.classes[images.labels[row]] / f"{row:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.images[row].permute(1, 2, 0).numpy()).save(path)
    name = f"imagefolder:{folder / 'photos'}"
    recipe = tiny.recipe("fsft-sd", dataset=name, dataset_options=(("image_size", 16),))
    options = {"data_dir": folder, "device": "cpu", "progress": "none"}
    trained = fsft.train(recipe, 0, runs_dir=folder / "runs", results_dir=folder / "results", **options)
    return folder, folder / "runs" / recipe.run_name(0), trained


def test_a_loaded_run_predicts_what_evaluation_does(run):
    folder, place, trained = run
    loaded = fsft.load(place, device="cpu")
    train_set, test_set = (
        fsft.load_dataset(trained.result["recipe"]["dataset"], s, folder, image_size=16) for s in ("train", "test")
    )
    expected = fsft.predict_all(trained.model, test_set, statistics=train_set.statistics, precision="fp32")
    for given in (test_set.images, sorted((folder / "photos" / "test").rglob("*.png"))):
        found = loaded.predict(given)
        assert list(found) == ["si", "ag-last", "ag", "ag-logits", "sd"] and loaded.classes == test_set.classes
        for mode, probabilities in found.items():
            torch.testing.assert_close(probabilities, expected[mode])
    one = sorted((folder / "photos" / "test").rglob("*.png"))[0]
    for given in (one, str(one)):
        torch.testing.assert_close(loaded.predict(given)["si"], loaded.predict([one])["si"])
    with pytest.raises(ValueError, match="expected at least one image, found none"):
        loaded.predict([])
    assert fsft.load(place / "weights.pt").image_size == 16
    assert all(torch.equal(a, b) for a, b in zip(loaded.statistics, train_set.statistics, strict=True))


def test_a_baseline_has_one_mode_and_two_classes_are_all_named(tmp_path, capsys):
    data = tiny.data()
    recipe = tiny.recipe("baseline")
    fsft.train(recipe, 0, data=data, runs_dir=tmp_path, device="cpu", progress="none")
    (probabilities,) = fsft.load(tmp_path / recipe.run_name(0)).predict(data[1].images).values()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(32))
    saved = load_state(tmp_path / recipe.run_name(0) / "weights.pt")
    head = {name: values[:2] for name, values in saved["model"].items() if name.startswith("fc.")}
    save_state(tmp_path / "weights.pt", saved | {"classes": ["red", "green"], "model": saved["model"] | head})
    Image.fromarray(data[1].images[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path), str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out.count("%") == 2


def test_weights_without_statistics_say_how_to_get_them(run, tmp_path):
    folder, place, _ = run
    saved = load_state(place / "weights.pt")
    known = saved.pop("statistics")
    save_state(tmp_path / "weights.pt", saved)
    with pytest.raises(ValueError, match=r"expected channel statistics in .*weights.pt.*give --data-dir"):
        fsft.load(tmp_path)
    assert [values.tolist() for values in fsft.load(tmp_path, data_dir=folder).statistics] == known
    save_state(tmp_path / "weights.pt", saved | {"classes": ["blue", "gray", "green", "white"]})
    with pytest.raises(ValueError, match=r"expected the classes of .* found others"):
        fsft.load(tmp_path, data_dir=folder)
    with pytest.raises(FileNotFoundError, match="expected the folder of a finished run, found no"):
        fsft.load(tmp_path / "nowhere")


def test_command_line(run, tmp_path, capsys):
    folder, place, _ = run
    photo = folder / "photos" / "test" / "red" / "000.png"
    assert (
        main(["predict", str(place), str(photo), str(folder / "photos" / "test" / "blue"), "--json", "--top", "2"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 9 and rows[0]["image"] == str(photo)
    expected = fsft.load(place).predict([photo])
    for mode, named in rows[0]["modes"].items():
        values, indices = expected[mode][0].topk(2)
        assert [best["class"] for best in named] == [fsft.load(place).classes[index] for index in indices]
        assert [best["probability"] for best in named] == pytest.approx(values.tolist(), abs=1e-4)
    assert main(["predict", str(place / "weights.pt"), str(photo)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith(str(photo)) and line.count("%") == 3 for line in lines)


def test_maps_on_request(run, tmp_path, capsys):
    pytest.importorskip("pytorch_grad_cam")
    folder, place, _ = run
    photo = folder / "photos" / "test" / "red" / "000.png"
    assert main(["predict", str(place), str(photo), "--maps", str(tmp_path / "maps")]) == 0
    (file,) = (tmp_path / "maps").iterdir()
    with Image.open(file) as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["{photo}", "--top", "5"], "expected --top from 1 to 4, the number of classes, found 5", 2),
        (["{empty}"], "expected images (.png", 2),
        (["{empty}/a.png"], "expected a file, found nothing; check the path", 3),
        (["{damaged}"], "one that cannot be read", 3),
    ],
)
def test_mistakes_are_named(run, tmp_path, capsys, arguments, message, status):
    folder, place, _ = run
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    names = {"photo": folder / "photos" / "test" / "red" / "000.png", "empty": tmp_path / "empty", "damaged": damaged}
    assert main(["predict", str(place), *(text.format(**names) for text in arguments)]) == status
    assert message in capsys.readouterr().err
