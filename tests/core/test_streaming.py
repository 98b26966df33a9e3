"""Training on images that workers decode: the same loop, and the same bits whatever the workers and interruptions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from fine_grained import declare_official, picture, write_cub

from fsft import evaluate, predict_all, train
from fsft.batches import decoded_images, draws_of_step, epoch_draws, finished_batch
from fsft.catalog import recipes
from fsft.datasets.registry import DataError, load_split
from fsft.datasets.sets import file_set
from fsft.datasets.stream import Samples, evaluation_transform
from fsft.loop import TrainingStoppedError
from fsft.runtime.checkpoint import load_state
from fsft.training import load_weights, recipe_data

HALF = (torch.full((3,), 0.5), torch.full((3,), 0.25))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """24 training and 8 test images of two classes."""
    root = tmp_path_factory.mktemp("pictures")
    names = [f"{number}.jpg" for number in range(32)]
    for name in names:
        picture(root / name, width=24, height=20)
    labels = [number % 2 for number in range(32)]

    def split(name, part):
        boxes = [(0, 0, 24, 20)] * len(names[part])
        data = file_set("pictures", name, root, names[part], labels[part], ("even", "odd"), boxes, "write it again")
        return replace(data, image_size=16)

    return split("train", slice(24)), split("test", slice(24, 32))


def recipe(method="fsft", **changes):
    return tiny.recipe(
        method, **{"batch_size": 6, "epochs": 2, "augment": ("crop", "flip", "cutout", "mixup"), **changes}
    )


def run(sets, folder, workers=0, **options):
    folders = {"runs_dir": folder / "runs", "results_dir": folder / "results"}
    return train(recipe(), 0, data=sets, device="cpu", progress="none", workers=workers, **folders, **options).result


@pytest.fixture(scope="module")
def uninterrupted(sets, tmp_path_factory):
    return tiny.comparable(run(sets, tmp_path_factory.mktemp("whole")))


def batches(recipe, files, seed, epoch, first=0, workers=0):
    """The finished batches of an epoch from step ``first`` on."""
    tables = epoch_draws(recipe, len(files), files.image_size, seed, epoch)
    decoded = decoded_images(recipe, files, tables["order"][first:], seed, epoch, workers, torch.device("cpu"))
    for step, (images, labels) in enumerate(decoded, first):
        yield finished_batch(recipe, HALF, draws_of_step(tables, torch.tensor([step])), images, labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_within_an_epoch_goes_on_to_the_same_bits(sets, tmp_path, monkeypatch, uninterrupted, workers):
    """Stops after 3 of 8 steps, one more, and two more, which is in the second epoch of four steps."""
    for steps in (3, 1, 2):
        tiny.stop_after(monkeypatch, steps)
        with pytest.raises(TrainingStoppedError):
            run(sets, tmp_path, workers)
        monkeypatch.undo()
    assert tiny.comparable(run(sets, tmp_path, workers)) == uninterrupted


def test_whatever_the_start_the_batches_are_the_same(sets):
    whole = list(batches(recipe(), sets[0], seed=3, epoch=1))
    rest = list(batches(recipe(), sets[0], seed=3, epoch=1, first=2, workers=1))
    assert len(whole) == 4 and len(rest) == 2
    for batch, again in zip(whole[2:], rest, strict=True):
        assert torch.equal(batch.images, again.images)
        assert all(torch.equal(a, b) for a, b in zip(batch.targets[0], again.targets[0], strict=True))
    other = next(batches(recipe(), sets[0], seed=3, epoch=2))
    assert not torch.equal(other.images, whole[0].images)


def test_streamed_and_whole_sets_differ_in_the_crop_alone(sets):
    """Order, Cutout and Mixup are drawn alike, so without a random crop the batches are those of the decoded images."""
    files = sets[0]
    plain = recipe(augment=("cutout", "mixup"), cutout_length=5)
    decoded = torch.stack([image for image, _ in map(Samples(files, evaluation_transform(16)).__getitem__, range(24))])
    tables = epoch_draws(plain, 24, 16, seed=5, epoch=2)
    for step, batch in enumerate(batches(plain, files, seed=5, epoch=2)):
        draws = draws_of_step(tables, torch.tensor([step]))
        expected = finished_batch(plain, HALF, draws, decoded[draws["order"]], files.labels[draws["order"]])
        assert torch.equal(batch.images, expected.images)
        for (labels, share), (other, same) in zip(batch.targets, expected.targets, strict=True):
            assert torch.equal(labels, other) and share == same


@pytest.mark.parametrize("method", ["baseline", "fsft-sd", "sla+fsft", "after-layer2"])
def test_every_method_streams(sets, method):
    found = train(recipe(method), 0, data=sets, device="cpu", progress="none", workers=0, max_steps=2).result
    assert len(found["history"]) == 1 and found["data"]["train_sha256"] == sets[0].sha256


def test_weights_know_their_size_and_evaluate_to_the_same(sets, tmp_path):
    result = run(sets, tmp_path)
    (weights,) = (tmp_path / "runs").glob("*/weights.pt")
    assert load_state(weights)["input_size"] == 16
    model = load_weights(weights, torch.device("cpu"))
    statistics = sets[0].statistics
    torch.testing.assert_close(statistics[0], torch.tensor([0.485, 0.456, 0.406]))
    assert evaluate(model, sets[1], statistics=statistics, workers=2, batch_size=3) == result["last"]
    answers = predict_all(model, sets[1], statistics=statistics, workers=0)["ag"].argmax(1)
    assert 100 * (answers == sets[1].labels).float().mean().item() == result["last"]["ag"]


def test_other_files_are_another_run(sets, tmp_path, monkeypatch):
    tiny.stop_after(monkeypatch, 2)
    with pytest.raises(TrainingStoppedError):
        run(sets, tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="was begun with train_sha256"):
        run((sets[0].subset(11, seed=0), sets[1]), tmp_path)


def test_a_damaged_image_ends_the_run_with_one_sentence(sets, tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"no image")
    broken = file_set(
        "pictures", "train", tmp_path, ["0.jpg"] * 6, [0, 1] * 3, ("even", "odd"), [(0, 0, 1, 1)] * 6, "fix"
    )
    with pytest.raises(DataError, match=r"0.jpg: expected an image file, found one that cannot be read"):
        train(recipe(), 0, data=(replace(broken, image_size=16), sets[1]), device="cpu", progress="none", workers=1)


def test_the_recipe_decides_the_size(tmp_path, monkeypatch):
    declare_official(monkeypatch)
    write_cub(tmp_path)
    paper = recipes["table4/cub200/fsft"]
    assert [data.image_size for data in recipe_data(paper, tmp_path)] == [224, 224]
    assert load_split("cub200", "train", tmp_path).image_size == 224
    small = paper.reduced(dataset_options=(("image_size", 64),), images_per_class=1)
    data, test = recipe_data(small, tmp_path)
    assert (data.image_size, test.image_size, len(data)) == (64, 64, 2)
    with pytest.raises(DataError, match=r"expected the options image_size, found the unknown option 'classes'"):
        load_split("cub200", "train", tmp_path, classes="available")
    with pytest.raises(DataError, match="expected image_size to be a positive integer, found 0"):
        load_split("cub200", "train", tmp_path, image_size=0)
