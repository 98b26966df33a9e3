import json
import math
import os
import random
import signal
import time
import warnings
from dataclasses import replace

import pytest
import tiny
import torch

import fsft.loop
import fsft.training
from fsft import evaluate, load_dataset, train
from fsft.evidence.verify import verify
from fsft.framework import JointNet
from fsft.loop import TrainingDivergedError, TrainingStoppedError, step_seed
from fsft.networks import build, parameter_groups
from fsft.runtime import files
from fsft.runtime.checkpoint import (
    DamagedFileError,
    checkpoints,
    load_newest_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from fsft.runtime.files import FolderLockedError, run_lock
from fsft.runtime.record import read_result
from fsft.runtime.schema import check_schema
from fsft.training import load_weights, recipe_data, train_together


def run(folder, recipe=None, **options):
    options = {"data": tiny.data(), "device": "cpu", "progress": "none", "checkpoint_seconds": 0.0, **options}
    return train(recipe or tiny.recipe(), 0, runs_dir=folder / "runs", results_dir=folder / "results", **options)


def in_child(work):
    """Run ``work`` in a forked process, so that it may be killed; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except TrainingStoppedError:
            os._exit(3)
        finally:
            os._exit(1)
    return child


def kill_at(name, occurrence):
    """Make the process kill itself when it passes a fault point for the n-th time."""
    passed = 0

    def fault_point(point):
        nonlocal passed
        passed += point == name
        if passed == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    files.fault_point = fault_point


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    begin = time.perf_counter()
    result = run(tmp_path_factory.mktemp("whole")).result
    return tiny.comparable(result), time.perf_counter() - begin


POINTS = ["before open", "half written", "before fsync", "before rename", "after rename", "after folder fsync"]
NAMED = [(point, occurrence) for point in POINTS for occurrence in (1, 3, 5)] + [
    ("before prune", 3),
    ("before result", 1),
]


@pytest.mark.parametrize(("point", "occurrence"), NAMED)
def test_killed_in_a_write_goes_on_to_the_same_bits(tmp_path, uninterrupted, point, occurrence):
    def work():
        kill_at(point, occurrence)
        run(tmp_path)

    _, status = os.waitpid(in_child(work), 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    finish_and_compare(tmp_path, uninterrupted[0])


@pytest.mark.parametrize("trial", range(20))
def test_killed_at_random_goes_on_to_the_same_bits(tmp_path, uninterrupted, trial):
    child = in_child(lambda: run(tmp_path))
    time.sleep(random.Random(trial).uniform(0, 1.1) * uninterrupted[1])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    finish_and_compare(tmp_path, uninterrupted[0])


def finish_and_compare(folder, expected):
    run(folder)
    (path,) = (folder / "results").glob("*.json")
    assert tiny.comparable(read_result(path)) == expected


def test_stopped_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(tmp_path, uninterrupted, monkeypatch):
    """The first stop is in the second epoch; each later one comes after a single further step."""
    for steps in (5, 1, 1, 1, 1):
        tiny.stop_after(monkeypatch, steps)
        with pytest.raises(
            TrainingStoppedError, match=r"SIGTERM in epoch [23] of 3.*the same command goes on"
        ) as stopped:
            run(tmp_path)
        assert stopped.value.signal_number == signal.SIGTERM
        monkeypatch.undo()
    finish_and_compare(tmp_path, uninterrupted[0])


def test_ctrl_c_saves_and_leaves(tmp_path):
    (tmp_path / "runs").mkdir()
    child = in_child(lambda: run(tmp_path, tiny.recipe(epochs=2000)))
    while not list(tmp_path.glob("runs/*/checkpoint-*.pt")):
        time.sleep(0.02)
    os.kill(child, signal.SIGINT)
    _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 3
    (folder,) = (tmp_path / "runs").iterdir()
    state = load_newest_checkpoint(folder)["state"]
    assert 1 <= 4 * state["epoch"] + state["step"] < 4 * 2000


@pytest.mark.parametrize("method", ["baseline", "fsft", "fsft-sd"])
def test_every_method_learns_the_tiny_task(method):
    result = train(tiny.recipe(method, epochs=12, head_lr_scale=5), 0, data=tiny.data(256), progress="none").result
    expected = {"baseline": {"baseline"}, "fsft": {"si", "ag-last", "ag", "ag-logits"}}
    expected["fsft-sd"] = expected["fsft"] | {"sd"}
    assert set(result["last"]) == expected[method]
    assert result["history"][-1]["train_loss"] < result["history"][0]["train_loss"] / 2
    assert min(result["last"].values()) >= 75


def test_result_file_is_complete_and_true(tmp_path):
    finished = run(tmp_path, tiny.recipe("fsft-sd"))
    (path,) = (tmp_path / "results").glob("*.json")
    result = read_result(path)
    assert path.name == f"{result['slug']}-seed0.json" and result["recipe"] == tiny.recipe("fsft-sd").as_dict()
    assert result["distance"]["epochs"] == [300, 3] and "name" not in result["distance"]
    assert [entry["epoch"] for entry in result["history"]] == [1, 2, 3] and result["last"] == result["history"][-1][
        "test"
    ]
    for mode, best in result["best"].items():
        assert best["accuracy"] == max(entry["test"][mode] for entry in result["history"])
    assert result["parameters"] == sum(parameter.numel() for parameter in finished.model.parameters())
    assert {"torch", "python"} <= set(result["versions"]) and result["device"]["type"] == "cpu"
    assert set(result["git"]) == {"commit", "dirty"} and result["data"]["train_images"] == 64


def test_altered_result_is_noticed(tmp_path):
    run(tmp_path)
    (path,) = (tmp_path / "results").glob("*.json")
    content = json.loads(path.read_text())
    content["last"]["si"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="altered after the run"):
        read_result(path)


def test_finished_run_is_loaded_not_trained(tmp_path, monkeypatch):
    first = run(tmp_path)
    monkeypatch.setattr("fsft.training.Loop", None)
    again = run(tmp_path)
    assert again.result == read_result(next((tmp_path / "results").glob("*.json")))
    for ours, theirs in zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert not list((tmp_path / "runs").glob("*/checkpoint-*"))


def test_finished_run_without_weights_says_so(tmp_path):
    run(tmp_path)
    next((tmp_path / "runs").glob("*/weights.pt")).unlink()
    with pytest.raises(FileNotFoundError, match=r"this run is done, but its weights are not there"):
        run(tmp_path)


def test_saved_weights_know_the_size_of_their_images(tmp_path):
    """The masks are not in the file; they follow the size of the images, here 16 pixels."""
    model = run(tmp_path, tiny.recipe(epochs=1)).model
    loaded = load_weights(next((tmp_path / "runs").glob("*/weights.pt")), torch.device("cpu"))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(images).last, model(images).last)


def test_weights_of_another_run_are_refused(tmp_path):
    run(tmp_path)
    weights = next((tmp_path / "runs").glob("*/weights.pt"))
    with pytest.raises(ValueError, match="expected the weights that the result file names"):
        load_weights(weights, torch.device("cpu"), "0" * 64)


def test_seed_decides(tmp_path):
    results = [train(tiny.recipe(epochs=1), seed, data=tiny.data(), progress="none").result for seed in (0, 0, 1)]
    digests = [result["weights_sha256"] for result in results]
    assert digests[0] == digests[1] != digests[2]


def test_trying_out_leaves_nothing_that_a_run_would_go_on_from(tmp_path):
    result = run(tmp_path, max_steps=2).result
    assert len(result["history"]) == 1 and not list(tmp_path.rglob("*"))


def test_the_folder_is_held_until_the_result_is_there(tmp_path, monkeypatch):
    folder, held = tmp_path / "runs" / f"{tiny.recipe().slug}-seed0", []

    def before_result(point):
        if point == "before result":
            with pytest.raises(FolderLockedError), run_lock(folder):
                pass
            held.append(True)

    monkeypatch.setattr(files, "fault_point", before_result)
    run(tmp_path)
    assert held == [True]


def test_a_run_that_another_process_has_finished_meanwhile_is_not_trained_again(tmp_path, monkeypatch):
    """It was not done when this call looked first, and is when this call gets the folder."""
    first, lock = [], fsft.training.run_lock

    def finish_elsewhere(*paths):
        monkeypatch.setattr(fsft.training, "run_lock", lock)
        first.append(run(tmp_path).result)
        return lock(*paths)

    monkeypatch.setattr(fsft.training, "run_lock", finish_elsewhere)
    monkeypatch.setattr(fsft.training.Loop, "resume", lambda self, folder: first and pytest.fail("went on"))
    assert run(tmp_path).result["finished"] == first[0]["finished"]


def test_asked_to_stop_when_all_is_done_it_finishes(tmp_path, monkeypatch):
    """The signal comes after the last evaluation."""
    recipe = tiny.recipe()

    def epoch(self, entry):
        if entry["epoch"] == recipe.epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.epoch", epoch)
    assert len(run(tmp_path, recipe).result["history"]) == recipe.epochs


def test_diverged_run_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    good = tiny.recipe(epochs=3)
    monkeypatch.setattr(
        "fsft.recipe.Recipe.learning_rate", lambda self, progress: 0.05 if progress < 1 / 3 else math.inf
    )
    with pytest.raises(TrainingDivergedError, match="in epoch 2: lower the learning rate; the last good checkpoint"):
        run(tmp_path, good)
    (folder,) = (tmp_path / "runs").iterdir()
    saved = load_newest_checkpoint(folder)
    assert saved["state"]["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


def test_a_diverged_run_that_is_stopped_does_not_claim_to_be_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("fsft.recipe.Recipe.learning_rate", lambda self, progress: math.inf)
    tiny.stop_after(monkeypatch, 3)
    with pytest.raises(TrainingDivergedError, match="in epoch 1: lower the learning rate"):
        run(tmp_path)
    assert not list((tmp_path / "runs").rglob("*.pt"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"expected .*, found '{device}'"):
        train(tiny.recipe(), 0, data=tiny.data(), device=device)


@pytest.mark.parametrize("place", ["runs", "results"])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_training(tmp_path, monkeypatch, place):
    (tmp_path / place).write_text("a file")
    monkeypatch.setattr(fsft.training, "Loop", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match=f"expected a folder that can be written, found .*{place}"):
        run(tmp_path)


def test_bad_calls_get_a_sentence():
    with pytest.raises(TypeError, match=r"expected a Recipe, .* found 'cpu/resnet20/fsft'"):
        train("cpu/resnet20/fsft")
    with pytest.raises(ValueError, match="expected a seed from 0 to 4294967295, found -1"):
        train(tiny.recipe(), -1)
    with pytest.raises(ValueError, match=r"expected a seed from 0 to 4294967295, found 0\.5"):
        train(tiny.recipe(), 0.5)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (math.nan, 1.0), (0.0, math.nan), (0.0, -1.0)])
def test_statistics_that_normalize_nothing_are_named(mean, std):
    network = build(tiny.recipe(), 4, 16)
    with pytest.raises(ValueError, match="expected color channels that vary over the training images, found means"):
        evaluate(network, tiny.data()[1], statistics=(torch.full((3,), mean), torch.full((3,), std)))


def test_no_images_are_named():
    nothing = tiny.data()[1].select(torch.tensor([], dtype=torch.int64))
    with pytest.raises(ValueError, match="expected images, found none in tiny test"):
        evaluate(build(tiny.recipe(), 4, 16), nothing, statistics=(torch.zeros(3), torch.ones(3)))


def test_training_and_test_images_belong_together():
    train_set, test_set = tiny.data()
    with pytest.raises(ValueError, match="images of the same classes"):
        train(tiny.recipe(), 0, data=(train_set, replace(test_set, classes=test_set.classes[::-1])), progress="none")


def test_a_constant_color_channel_is_named():
    train_set, test_set = tiny.data()
    images = train_set.images.clone()
    images[:, 2] = 0
    with pytest.raises(ValueError, match=r"expected color channels that vary .*, 0\.0\]$"):
        train(tiny.recipe(), 0, data=(replace(train_set, images=images), test_set), progress="none")


def test_too_few_images_for_a_batch():
    with pytest.raises(ValueError, match="at least one batch of 16 training images, found 8 images"):
        train(tiny.recipe(), 0, data=tiny.data(8), progress="none")


def test_another_run_cannot_go_on_from_this_one(tmp_path, monkeypatch):
    tiny.stop_after(monkeypatch, 6)
    with pytest.raises(TrainingStoppedError):
        run(tmp_path)
    with pytest.raises(ValueError, match="was begun with train_sha256"):
        run(tmp_path, data=tiny.data(80))
    train_set, test_set = tiny.data()
    with pytest.raises(ValueError, match="was begun with test_sha256"):
        run(tmp_path, data=(train_set, test_set.subset(1, seed=0)))
    with pytest.raises(ValueError, match="was begun with precision"):
        run(tmp_path, precision="fp32" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "bf16")


def test_a_finished_run_is_not_returned_for_other_data(tmp_path):
    recipe, data, places = tiny.finished(tmp_path, tiny.data())
    assert train(recipe, 0, data=data, **places).result["slug"] == recipe.slug
    with pytest.raises(ValueError, match=r"expected the data of .*json, found others: give another results_dir"):
        train(recipe, 0, data=tiny.data(80), **places)


def test_one_process_at_a_time(tmp_path):
    folder = tmp_path / "runs" / f"{tiny.recipe().slug}-seed0"
    with run_lock(folder), pytest.raises(FolderLockedError, match="in use by another process"):
        run(tmp_path)


# Checkpoint files


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step, "weights": torch.full((1000,), float(step))})
    older, newest = checkpoints(tmp_path)
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": content, "truncate": content[:-100], "empty": b""}[damage])
    with pytest.warns(UserWarning, match="is damaged.*going back to the checkpoint before it"):
        assert load_newest_checkpoint(tmp_path)["step"] == 2
    older.write_bytes(b"nothing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_newest_checkpoint(tmp_path) is None


def test_two_damaged_checkpoints_do_not_push_out_the_new_ones(tmp_path):
    for step in (8, 9):
        save_checkpoint(tmp_path, step, {"step": step})
        path = checkpoints(tmp_path)[-1]
        path.write_bytes(path.read_bytes()[:-1])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert load_newest_checkpoint(tmp_path) is None
    assert "going back" in str(said[0].message) and "none is left, so the run begins anew" in str(said[1].message)
    save_checkpoint(tmp_path, 1, {"step": 1})
    assert load_newest_checkpoint(tmp_path) == {"step": 1}
    assert len(list(tmp_path.glob("*.damaged"))) == 2


def test_state_file_never_executes_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    save_state(tmp_path / "state.pt", {"payload": Hostile()})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_state(tmp_path / "state.pt")
    assert not (tmp_path / "executed").exists()


def test_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, {"weights": torch.zeros(10_000)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="its SHA-256 does not fit"):
        load_state(path)


def test_write_order_survives_a_crash(tmp_path, monkeypatch):
    """The bytes are on the disk before the name is, and the name before we go on."""
    calls = []
    monkeypatch.setattr(files, "fault_point", calls.append)
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: calls.append("fsync"))
    files.write_atomically(tmp_path / "a" / "file", b"content")
    assert calls == [
        *("before open", "half written", "before fsync", "fsync"),
        *("before rename", "after rename", "fsync", "after folder fsync"),
    ]
    assert (tmp_path / "a" / "file").read_bytes() == b"content"


# Optimizer and seeds


def test_head_lr_scale_reaches_the_joint_classifiers_alone():
    recipe = tiny.recipe("fsft-sd", head_lr_scale=5)
    model = build(recipe, 4, 16)
    assert isinstance(model, JointNet)
    body, heads = parameter_groups(model, recipe)
    assert {id(parameter) for parameter in heads["params"]} == {
        id(parameter) for head in (model.fc_last, model.fc_penultimate) for parameter in head.parameters()
    }
    assert len(body["params"]) + len(heads["params"]) == len(list(model.parameters()))
    assert (body["lr_scale"], heads["lr_scale"]) == (1, 5)
    assert heads["weight_decay"] == pytest.approx(body["weight_decay"] / 5)


def test_training_options_leave_the_test_set_alone():
    usual = tiny.recipe(dataset="photodigits", dataset_options=(("size", 100),))
    shortcut = usual.reduced(dataset_options=(("size", 100), ("background_correlation", 1.0)), images_per_class=5)
    (train_a, test_a), (train_b, test_b) = recipe_data(usual, "data"), recipe_data(shortcut, "data")
    assert test_a.sha256 == test_b.sha256 == load_dataset("photodigits", "test").sha256
    assert train_a.sha256 != train_b.sha256 and (len(train_a), len(train_b)) == (100, 50)


def test_step_seeds_differ():
    seeds = {step_seed(seed, epoch, step) for seed in range(3) for epoch in range(10) for step in range(40)}
    assert len(seeds) == 3 * 10 * 40


def test_accuracy_on_the_training_set_every_tenth_epoch_and_at_the_end(tmp_path):
    result = run(tmp_path, tiny.recipe("fsft-sd", epochs=12, eval_every=5)).result
    history = result["history"]
    assert [entry["epoch"] for entry in history if "train" in entry] == [10, 12]
    assert [entry["epoch"] for entry in history if "test" in entry] == [5, 10, 12]
    assert set(history[-1]["train"]) == set(history[-1]["test"]) and history[-1]["train"]["si"] > 50
    assert result["best"]["si"]["epoch"] in (5, 10, 12) and verify(tmp_path / "results") == []


def test_evaluating_less_often_changes_no_weight_and_no_digest(tmp_path):
    often, seldom = tiny.recipe(), tiny.recipe(eval_every=3)
    assert often.digest == seldom.digest and seldom.distance() == often.distance()
    digests = {run(tmp_path / str(r.eval_every), r).result["weights_sha256"] for r in (often, seldom)}
    assert len(digests) == 1


# What a kill costs


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test says so; returns the function that lets it."""
    now = [1000.0]

    def wait(seconds):
        now[0] += seconds

    monkeypatch.setattr("fsft.loop.time.perf_counter", lambda: now[0])
    return wait


def saved_places(monkeypatch):
    """(epoch, step) of every checkpoint from here on."""
    places = []

    def save(folder, step, state):
        places.append((state["state"]["epoch"], state["state"]["step"]))
        save_checkpoint(folder, step, state)

    monkeypatch.setattr("fsft.loop.save_checkpoint", save)
    return places


def test_it_saves_by_time_within_an_epoch_and_while_it_evaluates(tmp_path, monkeypatch, clock):
    """Steps of 8 seconds: saved after the fourth, which is before the evaluation, and so on. A batch of it takes 40."""
    places = saved_places(monkeypatch)
    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.step", lambda self: clock(8))
    run(tmp_path / "a", tiny.recipe(epochs=2), checkpoint_seconds=30)
    assert places == [(0, 4), (1, 4)]
    places.clear()
    run(tmp_path / "b", tiny.recipe(epochs=2), checkpoint_seconds=20)
    assert places == [(0, 3), (1, 2)]

    def slow(model, images, *, between, **options):
        clock(40)
        between()
        return {"si": 50.0}

    places.clear()
    monkeypatch.setattr("fsft.loop.evaluate", slow)
    run(tmp_path / "c", tiny.recipe(epochs=1), checkpoint_seconds=30)
    assert places == [(0, 4)] * 3 and min(places) == (0, 4)


def test_stopped_within_an_evaluation_it_saves_and_evaluates_again(tmp_path, uninterrupted, monkeypatch):
    evaluate = fsft.loop.evaluate

    def interrupted(model, images, *, batch_size=None, between, **options):
        def between_batches():
            os.kill(os.getpid(), signal.SIGTERM)
            between()
            pytest.fail("went on with the evaluation")

        return evaluate(model, images, batch_size=5, between=between_batches, **options)

    for epoch in (1, 1, 1):  # nothing is trained meanwhile
        monkeypatch.setattr("fsft.loop.evaluate", interrupted)
        with pytest.raises(TrainingStoppedError, match=f"in epoch {epoch} of 3 after 4 of 4 steps; saved in"):
            run(tmp_path)
        monkeypatch.undo()
    finish_and_compare(tmp_path, uninterrupted[0])


@pytest.mark.parametrize(("ignored", "status"), [(False, 128 + signal.SIGHUP), (True, None)])
def test_a_terminal_that_closes_is_a_request_to_stop_unless_it_is_ignored(tmp_path, monkeypatch, ignored, status):
    """As under nohup."""
    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.step", lambda self: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        if ignored:
            assert len(run(tmp_path).result["history"]) == 3
        else:
            with pytest.raises(TrainingStoppedError, match="stopped by SIGHUP") as stopped:
                run(tmp_path)
            assert 128 + stopped.value.signal_number == status
    finally:
        signal.signal(signal.SIGHUP, before)


# Time, and what computed


def test_the_clock_stops_when_the_device_has_done_the_steps(monkeypatch, clock):
    """A device that is two seconds late; reading the loss waits for it."""
    read = torch.Tensor.item

    def wait_and_read(self):
        clock(2)
        return read(self)

    monkeypatch.setattr(torch.Tensor, "item", wait_and_read)
    result = train(tiny.recipe(), 0, data=tiny.data(), device="cpu", progress="none").result
    assert [entry["seconds"] for entry in result["history"]] == [2, 2, 2] and result["seconds"] == 6
    assert result["images_per_second"] == 64 / 2


def test_time_spent_on_evaluation_and_on_files_is_not_time_of_training(tmp_path, monkeypatch, clock):
    evaluate, save = fsft.loop.evaluate, fsft.loop.save_checkpoint
    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.step", lambda self: clock(1))
    monkeypatch.setattr("fsft.loop.evaluate", lambda *a, **k: (clock(10), evaluate(*a, **k))[1])
    monkeypatch.setattr("fsft.loop.save_checkpoint", lambda *a: (clock(100), save(*a)))
    result = run(tmp_path, tiny.recipe(epochs=2)).result
    assert [entry["seconds"] for entry in result["history"]] == [4, 4]
    assert result["seconds"] == 4 + 10 + 4 + 20 == result["stretches"][0]["seconds"]  # at the end two evaluations


def interrupted_run(folder, monkeypatch, steps=6, **environment):
    tiny.stop_after(monkeypatch, steps)
    with pytest.raises(TrainingStoppedError):
        run(folder)
    monkeypatch.undo()
    real = fsft.loop.environment
    monkeypatch.setattr("fsft.loop.environment", lambda *arguments: real(*arguments) | environment)


def test_every_stretch_is_recorded_and_a_change_is_said(tmp_path, monkeypatch, capsys):
    interrupted_run(tmp_path, monkeypatch, threads=64, git={"commit": "abc", "dirty": False})
    result = run(tmp_path, progress="lines").result
    said = [line for line in capsys.readouterr().out.splitlines() if "other conditions" in line]
    assert len(said) == 1 and f"threads {torch.get_num_threads()}, now 64" in said[0] and "now abc" in said[0]
    first, second = result["stretches"]
    assert (first["begin"], first["end"]) == ([0, 0], [1, 2]) and (second["begin"], second["end"]) == ([1, 2], [3, 0])
    assert first["threads"] == torch.get_num_threads() and second["threads"] == 64 and first["precision"]
    assert {"device", "versions", "git"} <= set(first) and first["seconds"] + second["seconds"] > 0
    assert result["threads"] == 64 and result["git"]["commit"] == "abc"  # of the last
    assert result["images_per_second"] is None and verify(tmp_path / "results") == []
    second["end"] = 3
    (problem,) = check_schema(result)
    assert problem.startswith("field stretches number 2, end: expected [epochs done, steps done of the next], found 3")


def test_a_run_that_goes_on_as_it_began_is_one_stretch(tmp_path, monkeypatch, capsys):
    interrupted_run(tmp_path, monkeypatch)
    result = run(tmp_path, progress="lines").result
    (only,) = result["stretches"]
    assert (only["begin"], only["end"]) == ([0, 0], [3, 0]) and result["images_per_second"] > 0
    said = capsys.readouterr().out
    assert "resuming after epoch 1 of 3 and 2 steps" in said and "other conditions" not in said


def test_a_checkpoint_from_before_there_were_stretches_claims_no_speed(tmp_path, monkeypatch):
    interrupted_run(tmp_path, monkeypatch)
    (path,) = tmp_path.glob("runs/*/checkpoint-000000006.pt")
    saved = load_state(path)
    del saved["state"]["stretches"]
    save_state(path, saved)
    result = run(tmp_path).result
    assert [part["begin"] for part in result["stretches"]] == [[1, 2]] and result["images_per_second"] is None


def test_torchs_random_state_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny.recipe("fsft", model="wrn10-1", epochs=1), 0, data=tiny.data(), device="cpu", progress="none")
    assert torch.equal(torch.rand(3), expected)


# Several runs in one process

TOGETHER = [(tiny.recipe("fsft-sd"), 0), (tiny.recipe("baseline", epochs=2), 1), (tiny.recipe(model="wrn10-1"), 2)]


def together(runs, folder, at_once=None, **options):
    folders = {"runs_dir": folder / "runs", "results_dir": folder / "results"}
    return train_together(
        runs,
        at_once,
        device="cpu",
        progress="none",
        **{"data": tiny.data(), "checkpoint_seconds": 0.0, **folders, **options},
    )


@pytest.fixture(scope="module")
def alone():
    options = {"data": tiny.data(), "device": "cpu", "progress": "none"}
    return [tiny.comparable(train(recipe, seed, **options).result) for recipe, seed in TOGETHER]


@pytest.mark.parametrize("at_once", [None, 2])
def test_runs_in_one_process_have_the_bits_they_have_alone(tmp_path, alone, at_once):
    found = together(TOGETHER, tmp_path, at_once)
    assert [tiny.comparable(run.result) for run in found] == alone
    assert {run.result["device"]["jobs"] for run in found} == {at_once or 3}
    assert len(list((tmp_path / "results").glob("*.json"))) == 3
    again = together(TOGETHER, tmp_path)
    assert [run.result["finished"] for run in again] == [run.result["finished"] for run in found]


def test_runs_in_one_process_stop_and_go_on(tmp_path, alone, monkeypatch):
    for steps in (4, 1, 7):
        tiny.stop_after(monkeypatch, steps)
        outcomes = together(TOGETHER, tmp_path, at_once=2)
        monkeypatch.undo()
        assert all(isinstance(outcome, TrainingStoppedError) for outcome in outcomes)
    assert "began" in str(outcomes[2])  # it had to wait
    assert [tiny.comparable(run.result) for run in together(TOGETHER, tmp_path)] == alone


def test_one_that_fails_does_not_end_the_others(tmp_path, alone, monkeypatch):
    """Diverged, locked, without data of its own kind, and wrongly asked for; and a run that is fine."""
    rate = fsft.recipe.Recipe.learning_rate
    monkeypatch.setattr(
        "fsft.recipe.Recipe.learning_rate", lambda self, progress: math.inf if self.beta == 2 else rate(self, progress)
    )
    bad, locked = tiny.recipe(beta=2.0), tiny.recipe(beta=3.0)
    with run_lock(tmp_path / "runs" / locked.run_name(0)):
        outcomes = together(
            [(bad, 0), (locked, 0), (tiny.recipe(batch_size=65), 0), ("fsft", 0), TOGETHER[0]], tmp_path
        )
    kinds = [TrainingDivergedError, FolderLockedError, ValueError, TypeError]
    assert [type(outcome) for outcome in outcomes[:-1]] == kinds
    assert tiny.comparable(outcomes[-1].result) == alone[0]


def test_runs_with_the_same_data_share_it(monkeypatch):
    loaded, seen = [], []
    init = fsft.training.Loop.__init__

    def note(self, recipe, identity, train_set, test_set, *more):
        init(self, recipe, identity, train_set, test_set, *more)
        seen.append(self.images.data_ptr())

    monkeypatch.setattr(fsft.training.Loop, "__init__", note)
    monkeypatch.setattr(
        fsft.training, "recipe_data", lambda recipe, data_dir: loaded.append(recipe.dataset) or tiny.data()
    )
    recipes = [tiny.recipe(), tiny.recipe("baseline"), tiny.recipe(dataset="photodigits")]
    train_together([(recipe, 0) for recipe in recipes], device="cpu", progress="none", max_steps=1)
    assert loaded == ["cifar100", "photodigits"] and seen[0] == seen[1] != seen[2]


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="compile"):
        train_together([(tiny.recipe(), 0)], compile=True)
