"""One step, one body: the weights of a plain loop, whether a step is done as it is or from a recording."""

from __future__ import annotations

import contextlib

import pytest
import tiny
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fsft import JointOutput, augment, evaluate, joint_loss, train
from fsft.loop import Loop, TrainingStoppedError, step_seed
from fsft.networks import build, parameter_groups
from fsft.recipe import AUGMENTATIONS, METHODS, SCHEDULES
from fsft.runtime import graphs
from fsft.runtime.checkpoint import weights_digest
from fsft.runtime.graphs import EAGER_STEPS, Recorder
from fsft.training import train_together

ALL = ("crop", "flip", "cutout", "mixup")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def plain_loop(recipe, seed, data, precision):
    """What a training loop is, in the plainest lines. Returns the weights' digest."""
    images, labels, size = data.images, data.labels, recipe.batch_size
    mean, std = (values.float() for values in data.statistics)
    torch.manual_seed(seed)
    model = build(recipe, data.num_classes, data.image_size).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(parameter_groups(model, recipe), lr=1, momentum=recipe.momentum, fused=True)
    steps = len(data) // size
    for epoch in range(recipe.epochs):
        crop, flip = (name in recipe.augment for name in ("crop", "flip"))
        plan = augment.epoch_plan(len(data), seed, epoch, crop=crop, flip=flip)
        centers = augment.cutout_centers(len(data), data.image_size, data.image_size, seed, epoch)
        shares, partners = augment.mixup_plan(steps, size, seed, epoch, recipe.mixup_alpha)
        for step in range(steps):
            rows = slice(step * size, (step + 1) * size)
            x, y = images[plan.order[rows]], labels[plan.order[rows]]
            x = augment.flip(augment.crop(x, plan.shift[rows]), plan.flip[rows])
            x = augment.normalize(x, mean, std, channels_last=True)
            targets = [(y, 1.0)]
            if "cutout" in recipe.augment:
                x = augment.cutout(x, centers[rows], recipe.cutout_length)
            if "mixup" in recipe.augment:
                x = augment.mixup(x, partners[step], shares[step])
                targets = [(y, shares[step]), (y[partners[step]], 1 - shares[step])]
            rate = recipe.learning_rate((epoch * steps + step) / (recipe.epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            torch.manual_seed(step_seed(seed, epoch, step))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                output = model(x)
                losses = [share * plain_loss(output, target, recipe) for target, share in targets]
                loss = torch.stack(losses).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return weights_digest(model.state_dict())


def plain_loss(output, labels, recipe):
    if isinstance(output, JointOutput):
        return joint_loss(output, labels, recipe.beta, recipe.temperature)
    return F.cross_entropy(output, labels)


def options(data, precision="fp32", **more):
    return {"data": (data, tiny.data()[1]), "device": "cpu", "progress": "none", "precision": precision, **more}


CASES = [
    *({"method": method, "augment": ALL, "schedule": "onecycle"} for method in METHODS),
    *({"method": "fsft", "augment": (name,)} for name in AUGMENTATIONS),
    *({"method": "fsft-sd", "schedule": name, "epochs": 4, "head_lr_scale": 5.0} for name in SCHEDULES),
    {"method": "baseline", "augment": ()},
    {"method": "fsft", "model": "wrn10-1"},
]


@pytest.mark.parametrize("changes", CASES, ids=lambda changes: " ".join(map(str, changes.values())))
def test_the_loop_has_the_bits_of_a_plain_one_interrupted_or_not(changes, tmp_path, monkeypatch):
    """70 images, of which each epoch leaves six out; stopped in the second of four steps, and in the next epoch."""
    recipe, data = tiny.recipe(**{"epochs": 2, **changes}), tiny.images("train", 70)
    expected = plain_loop(recipe, 3, data, "fp32")
    assert train(recipe, 3, **options(data)).result["weights_sha256"] == expected
    for steps in (2, 3):
        tiny.stop_after(monkeypatch, steps)
        with pytest.raises(TrainingStoppedError):
            train(recipe, 3, runs_dir=tmp_path, **options(data))
        monkeypatch.undo()
    assert train(recipe, 3, runs_dir=tmp_path, **options(data)).result["weights_sha256"] == expected


def test_in_bf16_too():
    recipe, data = tiny.recipe("fsft-sd", epochs=2), tiny.images("train", 64)
    expected = plain_loop(recipe, 3, data, "bf16")
    assert train(recipe, 3, **options(data, "bf16")).result["weights_sha256"] == expected


class Tape(TorchDispatchMode):
    """The operations of a step; played, they are done again in the same memory, as a CUDA graph does it."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, inputs=(), named=None):
        outputs = operation(*inputs, **(named or {}))
        self.operations.append((operation, inputs, named or {}, outputs))
        return outputs

    @torch.no_grad()
    def play(self):
        for operation, inputs, named, outputs in self.operations:
            again = operation(*inputs, **named)
            for old, new in zip(tree_leaves(outputs), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():  # neither a view nor in place
                    old.copy_(new)


def on_tape(step, random):
    """Stands in for ``cuda_graph`` on a CPU, where recording a step also does it: so all is put back."""
    loop, tape = step.__self__, Tape()
    momenta = [state["momentum_buffer"] for state in loop.optimizer.state.values()]
    own = [loop.place, loop.rates, loop.state.loss_sum, *loop.model.state_dict().values(), *momenta]
    before = [tensor.clone() for tensor in own]
    with torch.random.fork_rng(devices=[]), tape:
        step()
    for tensor, value in zip(own, before, strict=True):
        tensor.detach().copy_(value)
    return tape.play


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "baseline", "augment": ALL, "schedule": "onecycle"},
        {"method": "fsft-sd", "head_lr_scale": 5.0, "schedule": "cosine"},
        {"method": "sla+fsft"},
        {"method": "after-layer2"},
        {"method": "fsft", "model": "wrn10-1"},
    ],
    ids=lambda changes: changes["method"],
)
def test_a_recorded_step_reads_all_that_changes_from_its_tensors(changes, tmp_path, monkeypatch):
    """What a step took from Python, or from a tensor that is replaced, would stay what it was when it was recorded."""
    recipe, data = tiny.recipe(**{"epochs": 3, **changes}), tiny.images("train", 64)
    expected = tiny.comparable(train(recipe, 0, **options(data)).result)
    monkeypatch.setitem(graphs.RECORD, "cpu", on_tape)
    assert tiny.comparable(train(recipe, 0, **options(data)).result) == expected
    with monkeypatch.context() as patch, pytest.raises(TrainingStoppedError):
        tiny.stop_after(patch, 6)
        train(recipe, 0, runs_dir=tmp_path, **options(data))
    assert tiny.comparable(train(recipe, 0, runs_dir=tmp_path, **options(data)).result) == expected


def test_each_call_is_the_step_once(monkeypatch):
    done = []

    def record(step, random):
        done.append("recorded")
        return lambda: done.append("replayed")

    monkeypatch.setitem(graphs.RECORD, "meta", record)
    recorder = Recorder(torch.device("meta"))
    for _ in range(EAGER_STEPS + 2):
        recorder(lambda: done.append("eager"))
    assert done == ["eager"] * EAGER_STEPS + ["recorded", "replayed", "replayed"]


def loop(recipe, device="cpu"):
    identity = {"slug": recipe.slug, "seed": 0, "precision": "fp32"}
    return Loop(recipe, identity, *tiny.data(), torch.device(device))


def one_epoch(loop):
    loop.state.step = 0
    return sum(1 for _ in loop.train_epoch())


@pytest.mark.parametrize("method", ["baseline", "fsft-sd", "sla+fsft", "after-layer1"])
def test_no_step_waits_for_a_number(method):
    """On the device ``meta`` there are no numbers, so every look at one from the host is an error."""
    run = loop(tiny.recipe(method, augment=ALL), device="meta")
    run.autocast = contextlib.nullcontext
    run.optimizer.step = lambda: None  # meta has no kernel for it
    assert one_epoch(run) == 4 and run.state.loss_sum.device.type == "meta"


class Reads(TorchDispatchMode):
    """Counts how often the host reads a number."""

    count = 0

    def __torch_dispatch__(self, operation, types, inputs=(), named=None):
        self.count += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*inputs, **(named or {}))


def test_no_batch_of_an_evaluation_waits_for_a_number():
    train_set, test_set = tiny.data()
    statistics, model = train_set.statistics, build(tiny.recipe("fsft-sd"), 4, 16)
    found = {}
    for size in (32, 3):
        with Reads() as reads:
            found[size] = evaluate(model, test_set, statistics=statistics, precision="fp32", batch_size=size)
        assert reads.count == 0
    assert found[32] == found[3]
    with Reads() as reads:
        int(test_set.labels.sum())
    assert reads.count == 1


def test_an_evaluation_without_images_at_once_is_refused():
    with pytest.raises(ValueError, match="expected a batch size of at least 1, found -1"):
        evaluate(build(tiny.recipe(), 4, 16), tiny.data()[1], statistics=tiny.data()[0].statistics, batch_size=-1)


# On a GPU


def recorded_and_eager(recipe, **more):
    """Two results: with a CUDA graph, and without."""
    recorded = train(recipe, 0, data=tiny.data(), device="cuda", progress="none", **more).result
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(graphs.RECORD, "cuda")
        return recorded, train(recipe, 0, data=tiny.data(), device="cuda", progress="none", **more).result


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize(
    "changes",
    [{"augment": ALL}, {"method": "fsft-sd", "head_lr_scale": 5.0}, {"method": "sla+fsft"}, {"model": "wrn10-1"}],
)
def test_a_cuda_graph_has_the_bits_of_eager_steps(changes, precision):
    recorded, eager = recorded_and_eager(tiny.recipe(**{"schedule": "onecycle", **changes}), precision=precision)
    assert tiny.comparable(recorded) == tiny.comparable(eager)


@on_gpu
@pytest.mark.gpu
def test_a_cuda_graph_is_in_use():
    run = loop(tiny.recipe("fsft-sd"), "cuda")
    assert one_epoch(run) == 4  # the last of which is recorded and replayed
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        one_epoch(run)
        torch.cuda.synchronize()
    assert sum(event.count for event in profile.key_averages() if "cudaGraphLaunch" in event.key) == 4
    weights = run.model.state_dict()
    assert all(int(weights[name]) == 8 for name in weights if name.endswith("num_batches_tracked"))


@on_gpu
@pytest.mark.gpu
def test_on_a_gpu_a_run_resumes_to_the_same_bits(tmp_path, monkeypatch):
    """Stopped after a replayed step, and again while the steps are still eager."""
    recipe, more = tiny.recipe(), {"data": tiny.data(), "device": "cuda", "progress": "none"}
    whole = train(recipe, 0, **more).result
    for steps in (6, 1):
        tiny.stop_after(monkeypatch, steps)
        with pytest.raises(TrainingStoppedError):
            train(recipe, 0, runs_dir=tmp_path, **more)
        monkeypatch.undo()
    assert tiny.comparable(train(recipe, 0, runs_dir=tmp_path, **more).result) == tiny.comparable(whole)


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("recorded", [False, True])
def test_no_step_waits_for_the_gpu(recorded):
    run = loop(tiny.recipe("fsft-sd", augment=ALL), "cuda")
    if not recorded:
        run.recorder.record = None
    one_epoch(run)  # makes momenta and plans, and records: this may wait
    turns = run.train_epoch()
    run.state.step = 0
    next(turns)  # so may the epoch's draws
    try:
        torch.cuda.set_sync_debug_mode("error")
        assert sum(1 for _ in turns) == 3
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
@pytest.mark.gpu
def test_side_by_side_on_a_gpu_runs_have_the_bits_they_have_alone():
    """Two of them with dropout, whose graphs share a seed on the device."""
    runs = [
        (tiny.recipe("fsft-sd"), 0),
        (tiny.recipe(model="wrn10-1"), 1),
        (tiny.recipe("baseline", model="wrn10-1"), 2),
    ]
    more = {"data": tiny.data(), "device": "cuda", "progress": "none"}
    alone = [tiny.comparable(train(recipe, seed, **more).result) for recipe, seed in runs]
    assert [tiny.comparable(run.result) for run in train_together(runs, **more)] == alone
