import functools

import pytest
import torch
from torch import nn

from fsft import JointNet, backbone, joint_loss, quadrant_masks
from fsft.catalog import profile_recipe, recipes
from fsft.evidence import paper
from fsft.evidence.cost import StepMeter, appendix_b_forward, network_cost, saved_activation_bytes, step_cost
from fsft.methods import METHODS
from fsft.networks import build


def test_counts_what_backward_needs():
    x = torch.randn(8, 4, requires_grad=True)
    layer = nn.Linear(4, 3)
    assert saved_activation_bytes(lambda: layer(x), layer.parameters()) == x.numel() * 4
    assert saved_activation_bytes(lambda: x + 1) == 0
    assert saved_activation_bytes(lambda: (x * 2).exp()) == x.numel() * 4


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_counts_a_shared_storage_once(device):
    x = torch.randn(16, 16, requires_grad=True, device=device)
    assert saved_activation_bytes(lambda: x.sin() + x.cos()) == x.numel() * 4
    assert saved_activation_bytes(lambda: x * x.view(16, 16)) == x.numel() * 4


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_intermediate_results_that_die_early_are_not_merged(device):
    """Freed memory may be given to the next tensor; both count."""
    x = torch.randn(64, 64, requires_grad=True, device=device)
    assert saved_activation_bytes(lambda: x.exp().exp().exp()) == 3 * x.numel() * 4


def measured(work):
    with StepMeter() as meter:
        work()
    return meter


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_meter_counts_traffic_and_what_is_alive(device):
    x = torch.zeros(10, device=device)
    chain = measured(lambda: x.exp().exp().exp())
    # Each operation reads 40 bytes and writes 40; when the third is computed, the first is gone already.
    assert (chain.kernels, chain.moved_bytes, chain.peak_bytes, chain.live_bytes) == (3, 240, 80, 0)
    in_place = measured(lambda: x.add_(1))
    assert (in_place.kernels, in_place.moved_bytes, in_place.peak_bytes) == (1, 80, 0)
    views = measured(lambda: x.view(2, 5).transpose(0, 1)[1:])
    assert (views.kernels, views.moved_bytes, views.peak_bytes) == (0, 0, 0)
    broadcast = measured(lambda: x[:1].expand(10) + 1)
    assert broadcast.moved_bytes == 40 + 40  # an expanded tensor covers its storage, no more


@pytest.mark.parametrize("method", METHODS)
def test_meta_counts_what_the_cpu_really_does(method, monkeypatch):
    monkeypatch.setattr("fsft.framework._check_targets", lambda *_: None)  # looks at labels, but only on a CPU
    recipe = profile_recipe("quick", method, batch_size=4)
    torch.manual_seed(0)
    real = network_cost(build(recipe, 10, 32), 4)
    assert step_cost(recipe, num_classes=10) == real


def test_memory_grows_with_the_batch_and_parameters_do_not():
    small, large = (step_cost(profile_recipe("quick", "fsft"), batch_size=size) for size in (8, 16))
    assert large.parameters == small.parameters
    assert large.flops == 2 * small.flops
    per_image = (large.saved_bytes - small.saved_bytes) / 8
    assert 0 <= small.saved_bytes - 8 * per_image < 0.05 * small.saved_bytes  # statistics and masks do not grow


@pytest.mark.parametrize("num_masks", [3, 5])
def test_the_closed_form_costs_one_product_for_each_tap(num_masks):
    """By hand: two operations for each channel, position and mask, forward and for the features' gradient."""

    def flops(count):
        with torch.device("meta"):
            network = JointNet(
                backbone("resnet8"), 100, masks=lambda height, width: quadrant_masks(height, width)[:count]
            )
        return network_cost(network, 2).flops

    def by_hand(count):
        product = 2 * 2 * count * (32 * 16 * 16 + 64 * 8 * 8)
        heads = 3 * 2 * count * (32 + 64) * 100 * count
        return 2 * (product + heads)

    assert flops(num_masks) - flops(1) == by_hand(num_masks) - by_hand(1)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.joint])
def test_the_literal_form_computes_the_same(method):
    torch.manual_seed(0)
    network = build(profile_recipe("quick", method), 10, 32).eval()
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([3, 7])
    losses = [joint_loss(output, labels) for output in (network(images), appendix_b_forward(network, images))]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, list(network.stages.parameters())) for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_the_literal_form_keeps_a_mask_for_each_copy():
    recipe = profile_recipe("quick", "fsft")
    closed, literal = (step_cost(recipe, batch_size=16, literal=literal) for literal in (False, True))
    copies = 5 * 16 * 4 * (32 * 16 * 16 + 64 * 8 * 8)
    scaled_masks = 5 * 4 * (16 * 16 + 8 * 8)  # which the closed form keeps once, whatever the batch
    assert literal.saved_bytes - closed.saved_bytes == copies - scaled_masks
    assert literal.parameters == closed.parameters and literal.moved_bytes > closed.moved_bytes


@functools.cache
def resnet110(method, block="bottleneck"):
    return step_cost(recipes[f"table1/resnet110/{method}"].reduced(block=block))


def test_overheads_that_the_book_and_the_readme_promise():
    baseline, closed = resnet110("baseline"), resnet110("fsft")
    assert closed.saved_bytes < 1.02 * baseline.saved_bytes
    assert closed.peak_bytes < 1.02 * baseline.peak_bytes and closed.flops < 1.02 * baseline.flops


def test_the_papers_memory_column_fits_the_bottleneck():
    """384 more images in SLA's batch: the slope of Table 5's memory says what one image needs."""
    printed = {row: paper.cells[f"table5/resnet110/{row}/memory"].mean for row in ("baseline", "sla")}
    slope = (printed["sla"] - printed["baseline"]) / 384
    counted = {block: resnet110("baseline", block).saved_bytes / 128 / 2**20 for block in ("basic", "bottleneck")}
    assert abs(slope / counted["bottleneck"] - 1) < 0.15
    assert slope / counted["basic"] > 2
