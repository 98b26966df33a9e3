import contextlib
import functools

import pytest
import tiny
import torch

from fsft import compiling, train
from fsft.checkpoint import weights_digest
from fsft.loop import Loop
from fsft.runtime.progress import ProgressReport
from fsft.runtime.stopping import StopRequest

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def loop(recipe=None, device="cpu", compile=False, precision="fp32"):
    recipe, (train_set, test_set) = recipe or tiny.recipe(), tiny.data()
    identity = {"slug": recipe.slug, "seed": 0, "precision": precision}
    return Loop(recipe, identity, train_set, test_set, torch.device(device), compile, None, None)


def one_epoch(loop):
    assert loop.train_epoch(StopRequest(), ProgressReport("none", "", 1, 1))


@pytest.mark.parametrize(
    ("method", "changes"),
    [("baseline", {"augment": ("crop", "flip", "cutout", "mixup")}), ("fsft-sd", {}), ("after-layer2", {})],
)
def test_compiled_and_eager_agree_in_weights_and_statistics(method, changes, monkeypatch):
    """The compiler's own graph of the step, forward and backward, run operation by operation: no C++ is built here."""
    backend = functools.partial(torch.compile, backend="aot_eager_decomp_partition")
    monkeypatch.setattr(torch, "compile", backend)
    recipe = tiny.recipe(method, epochs=1, **changes)
    options = {"data": tiny.data(), "device": "cpu", "progress": "none", "precision": "fp32"}
    eager, compiled = (train(recipe, 0, compile=compile, **options) for compile in (False, True))
    assert compiled.result["compiled"] and not eager.result["compiled"]
    weights = eager.model.state_dict()
    counts = [name for name in weights if name.endswith("num_batches_tracked")]
    assert counts and all(int(weights[name]) == 4 for name in counts)  # one for each step, none for a warm-up
    torch.testing.assert_close(compiled.model.state_dict(), weights, rtol=1e-4, atol=1e-5)
    assert compiled.result["history"][0]["train_loss"] == pytest.approx(eager.result["history"][0]["train_loss"])


def test_a_learning_rate_in_a_tensor_changes_no_bit():
    digests = []
    for in_tensor in (False, True):
        run = loop(tiny.recipe(head_lr_scale=5.0, schedule="onecycle"))
        if in_tensor:
            run.rates = [torch.zeros((), dtype=torch.float64) for _ in run.rates]
        one_epoch(run)
        digests.append(weights_digest(run.model.state_dict()))
        assert isinstance(run.rate, float)
        assert [float(group["lr"]) / group["lr_scale"] for group in run.optimizer.param_groups] == [run.rate] * 2
    assert digests[0] == digests[1]


@pytest.mark.parametrize("method", ["baseline", "fsft-sd", "sla+fsft", "after-layer1"])
def test_no_step_waits_for_a_number(method):
    """On the device ``meta`` there are no numbers, so every look at one from the host is an error."""
    run = loop(tiny.recipe(method, augment=("crop", "flip", "cutout", "mixup")), device="meta")
    run.autocast = contextlib.nullcontext
    for group in run.optimizer.param_groups:
        group["fused"] = False  # meta has no fused kernel
    one_epoch(run)
    assert run.state.loss_sum.device.type == "meta"


def test_on_a_gpu_the_absence_of_cuda_graphs_is_an_error(monkeypatch):
    asked, marks = [], []

    def compile(function, **options):
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    step = compiling.compiled(lambda x: x + 1, torch.device("cuda"))
    assert [step(1), step(2)] == [2, 3] and len(marks) == 2
    assert asked[0]["options"]["triton.cudagraphs"] and asked[0]["options"]["triton.cudagraph_or_error"]
    compiling.compiled(lambda x: x, torch.device("cpu"))
    assert "options" not in asked[1] and asked[1]["fullgraph"]
    monkeypatch.undo()
    torch.compile(lambda x: x, options=asked[0]["options"])  # misspelled, they would be refused on the first GPU


@pytest.mark.parametrize(
    ("device", "steps", "triton", "compiler", "headers", "expected"),
    [
        ("cuda", 10**6, True, "/usr/bin/cc", True, True),
        ("cuda", 100, True, "/usr/bin/cc", True, False),
        ("cuda", 10**6, False, "/usr/bin/cc", True, False),
        ("cuda", 10**6, True, None, True, False),
        ("cuda", 10**6, True, "/usr/bin/cc", False, False),
        ("cpu", 10**6, True, "/usr/bin/cc", True, False),
    ],
)
def test_long_runs_on_a_gpu_are_compiled_when_nobody_says(
    device, steps, triton, compiler, headers, expected, monkeypatch, tmp_path
):
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(compiling, "has_triton", lambda: triton)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: compiler)
    assert compiling.worth_compiling(torch.device(device), steps) is expected


@on_gpu
@pytest.mark.gpu
def test_cuda_graphs_are_in_use_and_change_nothing():
    """Twenty epochs of four steps; the graphs are recorded in the first two steps and replayed from then on."""
    recipe = tiny.recipe("fsft-sd", epochs=20)
    eager, graphed = loop(recipe, "cuda"), loop(recipe, "cuda", compile=True)
    for run in (eager, graphed):
        one_epoch(run)
        run.state.step = 0
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        one_epoch(graphed)
    launches = sum(event.count for event in profile.key_averages() if "cudaGraphLaunch" in event.key)
    assert launches >= 2 * graphed.steps_per_epoch  # forward and backward
    one_epoch(eager)
    weights = eager.model.state_dict()
    assert all(int(weights[name]) == 8 for name in weights if name.endswith("num_batches_tracked"))
    torch.testing.assert_close(graphed.model.state_dict(), weights, rtol=1e-2, atol=1e-3)


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
def test_no_step_waits_for_the_gpu(compile):
    run = loop(tiny.recipe("fsft-sd", augment=("crop", "flip", "cutout", "mixup")), "cuda", compile)
    one_epoch(run)  # compiles and records, which may wait
    report, stop = ProgressReport("none", "", 1, 1), StopRequest()
    run.state.step = 1
    original = run.batch_loss

    def checked(batch):  # from the first step on: drawing the epoch's plan before it may wait
        torch.cuda.set_sync_debug_mode("error")
        return original(batch)

    run.batch_loss = checked
    try:
        run.train_epoch(stop, report)
    finally:
        torch.cuda.set_sync_debug_mode("default")
