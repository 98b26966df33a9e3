import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import fsft
from fsft.catalog import recipes
from fsft.cli.main import main
from fsft.evidence.verify import verify
from fsft.maps.cam import class_maps
from fsft.maps.gallery import FOLDER, load_galleries
from fsft.runtime.record import canonical_digest
from fsft.training import load_weights

pytest.importorskip("pytorch_grad_cam")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny.finished(tmp_path_factory.mktemp("run"), tiny.data())


@pytest.fixture
def gallery(run, monkeypatch):
    recipe, data, places = run
    monkeypatch.setattr("fsft.maps.localize.recipe_data", lambda *_: data)
    monkeypatch.setitem(recipes, recipe.name, recipe)
    folders = ["--runs-dir", str(places["runs_dir"]), "--results-dir", str(places["results_dir"])]
    assert main(["localize", recipe.name, "--gallery", "5", *folders]) == 0
    return places["results_dir"] / FOLDER / f"{recipe.run_name(0)}.json", places


def test_a_gallery_holds_the_images_and_maps_of_the_runs_weights(run, gallery):
    recipe, (train_set, test_set), places = run
    found = load_galleries(places["results_dir"])[recipe.name]
    rows = torch.tensor(found["images"])
    assert len(rows) == 5 and (rows[1:] > rows[:-1]).all()
    np.testing.assert_array_equal(found["pixels"], test_set.images[rows].numpy())
    assert found["classes"] == [test_set.classes[label] for label in test_set.labels[rows].tolist()]
    model = load_weights(places["runs_dir"] / recipe.run_name(0) / "weights.pt", torch.device("cpu"))
    x = fsft.augment.normalize(test_set.images[rows], *train_set.statistics, channels_last=True)
    kinds = {"si": ("si", True), "ag-last": ("ag-last", True), "si, raw": ("si", False)}
    assert set(found["maps"]) == set(kinds)
    for kind, (mode, centered) in kinds.items():
        maps = class_maps(model, x, test_set.labels[rows], method="cam", mode=mode, centered=centered).numpy()
        np.testing.assert_allclose(found["maps"][kind], maps, atol=maps.max() / 400)
    assert verify(places["results_dir"], places["runs_dir"]) == []


@pytest.mark.parametrize("what", ["sheet", "no sheet", "answer", "weights"])
def test_verify_names_a_gallery_that_was_altered(gallery, what):
    path, places = gallery
    sheet, content = path.with_suffix(".webp"), json.loads(path.read_text())
    if what == "sheet":
        sheet.write_bytes(sheet.read_bytes()[:-1] + b"?")
    elif what == "no sheet":
        sheet.unlink()
    elif what == "answer":
        content["answers"]["si"][0] = "another"
    else:
        content["weights_sha256"] = "0" * 64
        content["digest"] = canonical_digest({key: value for key, value in content.items() if key != "digest"})
    path.write_text(json.dumps(content))
    [problem] = verify(places["results_dir"])
    assert problem.startswith(f"{FOLDER}/{path.name}: ")
    if what != "weights":  # which a folder's results tell alone
        with pytest.raises(ValueError, match=r"digest|webp"):
            load_galleries(places["results_dir"])


def test_the_published_galleries_are_small():
    folder = Path(__file__).resolve().parents[2] / "results" / FOLDER
    assert 0 < sum(path.stat().st_size for path in folder.iterdir()) < 200_000
