"""Transforms at other depths: rotations of the input (SLA), masks after a stage (Table 5), and both (Table 2)."""

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from fsft import (
    JointNet,
    PlainNet,
    apply_masks,
    backbone,
    joint_loss,
    modes,
    predict,
    profile_recipe,
    quadrant_masks,
    train,
)
from fsft.augment import four_rotations
from fsft.catalog import recipes
from fsft.evidence.cost import saved_activation_bytes
from fsft.masks import no_masks
from fsft.methods import METHODS
from fsft.networks import build

N = 3
LABELS = torch.tensor([2, 0])


def network(**options):
    torch.manual_seed(0)
    return JointNet(backbone("resnet8"), N, **{"input_size": 16, **options})


def sla_network(**options):
    return network(taps=("layer3",), masks=no_masks, input_transform=four_rotations, **options)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)


def rotated(images):
    """SLA's batch: image 0 turned by 0, 90, 180, 270 degrees, then image 1, and so on."""
    return torch.stack([torch.rot90(image, k, (1, 2)) for image in images for k in range(4)])


def sla_targets(labels):
    return torch.tensor([4 * label + k for label in labels.tolist() for k in range(4)])


def aggregated(logits, views):
    """SLA's aggregation: of view i only the columns of view i."""
    return sum(logits[i::views, i::views] for i in range(views)) / views


def masked(features):
    """Appendix B, segment 2: copies of each map in a row, one under each mask."""
    masks = quadrant_masks(*features.shape[2:])
    return torch.stack([feature * mask for feature in features for mask in masks])


def assert_same_gradients(net, loss, expected):
    found, wanted = (torch.autograd.grad(value, list(net.parameters())) for value in (loss, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_rotations_turn_counterclockwise():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = four_rotations(image)[0, :, 0]
    assert views[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert views[1].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert views[2].tolist() == [[8, 7, 6], [5, 4, 3], [2, 1, 0]]
    assert views[3].tolist() == [[6, 3, 0], [7, 4, 1], [8, 5, 2]]


def test_sla_equals_its_description(images):
    net = sla_network()
    logits = net.fc_last(net.stages(rotated(images)).mean((2, 3)))
    expected = F.cross_entropy(logits, sla_targets(LABELS))
    output = net(images)
    torch.testing.assert_close(joint_loss(output, LABELS), expected)
    assert_same_gradients(net, joint_loss(output, LABELS), expected)
    assert output.last.shape == (2, 4, 4 * N) and modes(output) == ("si", "ag-last")
    torch.testing.assert_close(predict(output, "si"), logits[::4, ::4].softmax(1))
    torch.testing.assert_close(predict(output, "ag-last"), aggregated(logits, 4).softmax(1))


def test_sla_with_self_distillation_equals_its_description(images):
    net = sla_network(self_distill=True)
    features = net.stages(rotated(images)).mean((2, 3))
    joint, single = net.fc_last(features), net.fc_distilled(features[::4])
    teacher = aggregated(joint, 4).softmax(1).detach()
    divergence = F.kl_div(single.log_softmax(1), teacher, reduction="batchmean")
    expected = F.cross_entropy(joint, sla_targets(LABELS)) + F.cross_entropy(single, LABELS) + divergence
    output = net(images)
    torch.testing.assert_close(joint_loss(output, LABELS), expected)
    assert_same_gradients(net, joint_loss(output, LABELS), expected)
    torch.testing.assert_close(predict(output, "sd"), single.softmax(1))


def test_sla_with_fsft_equals_both_in_a_row(images):
    """20 N joint classes, numbered y * 20 + rotation * 5 + mask, and views in the same order."""
    net = network(input_transform=four_rotations)
    middle = net.stages[:3](rotated(images))
    last = net.fc_last(masked(net.stages[3](middle)).mean((2, 3)))
    penultimate = net.fc_penultimate(masked(middle).mean((2, 3)))
    targets = torch.tensor([y * 20 + r * 5 + m for y in LABELS.tolist() for r in range(4) for m in range(5)])
    expected = F.cross_entropy(last, targets) + 0.5 * F.cross_entropy(penultimate, targets)
    output = net(images)
    torch.testing.assert_close(joint_loss(output, LABELS, beta=0.5), expected)
    assert_same_gradients(net, joint_loss(output, LABELS, beta=0.5), expected)
    torch.testing.assert_close(predict(output, "si"), last[::20, ::20].softmax(1))
    both = (aggregated(last, 20).softmax(1) + aggregated(penultimate, 20).softmax(1)) / 2
    torch.testing.assert_close(predict(output, "ag"), both)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_transform_after_a_stage_equals_appendix_b_moved_there(images, stage):
    net = network(taps=("layer3",), transform_after=f"layer{stage}")
    views = masked(net.stages[: stage + 1](images))
    logits = net.fc_last(net.stages[stage + 1 :](views).mean((2, 3)))
    expected = F.cross_entropy(logits, torch.tensor([5 * y + j for y in LABELS.tolist() for j in range(5)]))
    output = net(images)
    torch.testing.assert_close(joint_loss(output, LABELS), expected)
    assert_same_gradients(net, joint_loss(output, LABELS), expected)
    torch.testing.assert_close(predict(output, "ag-last"), aggregated(logits, 5).softmax(1))


def test_transform_after_the_last_stage_is_equation_2(images):
    literal, plain = network(taps=("layer3",), transform_after="layer3"), network(taps=("layer3",))
    assert torch.equal(literal(images).last, plain(images).last)


@pytest.mark.parametrize("stage", ["layer1", "layer2"])
def test_both_classifiers_see_every_view(images, stage):
    net = network(transform_after=stage).eval()
    output = net(images)
    assert output.last.shape == output.penultimate.shape == (2, 5, 5 * N)
    early = net.stages[:2](images)
    views = masked(early) if stage == "layer1" else early
    middle = net.stages[2](views) if stage == "layer1" else masked(net.stages[2](views))
    torch.testing.assert_close(output.penultimate.flatten(0, 1), net.fc_penultimate(middle.mean((2, 3))))
    torch.testing.assert_close(output.last.flatten(0, 1), net.fc_last(net.stages[3](middle).mean((2, 3))))


@pytest.mark.parametrize(
    "options", [{"input_transform": four_rotations}, {"transform_after": "layer1"}, {"transform_after": "layer2"}]
)
def test_the_rest_of_the_network_keeps_the_memory_format(images, options):
    net = network(**options).to(memory_format=torch.channels_last)
    seen = []
    net.stages.layer3.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(images)
    assert len(seen[0]) == 2 * (4 if "input_transform" in options else 5)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_masks_are_applied_before_the_next_stage_in_the_features_dtype():
    features = torch.randn(1, 2, 4, 4, dtype=torch.bfloat16)
    assert apply_masks(features, quadrant_masks(4, 4)).dtype == torch.bfloat16
    assert no_masks(3, 4).shape == (1, 3, 4) and no_masks(3, 4).all()


@pytest.mark.parametrize(
    ("method", "views", "offered"),
    [
        ("fsft", 5, ("si", "ag-last", "ag", "ag-logits")),
        ("fsft-sd", 5, ("si", "ag-last", "ag", "ag-logits", "sd")),
        ("sla", 4, ("si", "ag-last")),
        ("sla-sd", 4, ("si", "ag-last", "sd")),
        ("sla+fsft", 20, ("si", "ag-last", "ag", "ag-logits")),
        ("after-layer1", 5, ("si", "ag-last")),
        ("after-layer2", 5, ("si", "ag-last")),
        ("after-layer3", 5, ("si", "ag-last")),
    ],
)
def test_methods_of_a_recipe(images, method, views, offered):
    net = build(tiny.recipe(method), N, 16)
    output = net(images)
    assert output.last.shape == (2, views, views * N) and modes(output) == offered


def test_the_costs_are_ordered_as_in_table_5(images):
    """SLA keeps about four times the baseline's activations, and a transform costs more the earlier it is."""
    saved = {}
    for method in ("baseline", "sla", "fsft", "after-layer1", "after-layer2", "after-layer3"):
        net = build(tiny.recipe(method), N, 16)
        saved[method] = saved_activation_bytes(lambda net=net: net(images), [*net.parameters(), *net.buffers()])
    order = ["baseline", "after-layer3", "fsft", "after-layer2", "after-layer1"]
    assert sorted(order, key=saved.__getitem__) == order
    assert saved["sla"] == pytest.approx(4 * saved["baseline"], rel=0.02)
    assert saved["fsft"] < 1.05 * saved["baseline"]


@pytest.mark.parametrize("quadrant", [1, 2, 3, 4])
def test_a_quadrant_is_dropped_in_training_alone(images, quadrant):
    torch.manual_seed(0)
    plain = build(tiny.recipe("baseline"), N, 16)
    torch.manual_seed(0)
    dropped = build(tiny.recipe(f"drop-{quadrant}"), N, 16)
    for model in (plain, dropped):
        model.stages.eval()  # batch statistics are not the point
    features = dropped.stages(images)
    masked = features * quadrant_masks(*features.shape[2:])[quadrant]
    torch.testing.assert_close(dropped(images), dropped.fc(masked.mean((2, 3))))
    torch.testing.assert_close(dropped.eval()(images), plain.eval()(images))
    assert plain.state_dict().keys() == dropped.state_dict().keys()


def test_there_are_four_quadrants():
    with pytest.raises(ValueError, match=r"from 1 to 4 or None, found drop_in_training=0"):
        PlainNet(backbone("resnet8"), N, drop_in_training=0)
    dogs = recipes["fig1/stanford-dogs/drop-3"]
    assert dogs.distance() == {} and (dogs.model, dogs.dataset) == ("resnet50", "stanford-dogs")


@pytest.mark.parametrize("method", ["sla-sd", "sla+fsft", "after-layer2"])
def test_the_loop_trains_and_evaluates_it(method):
    recipe = tiny.recipe(method, epochs=4, head_lr_scale=5)
    result = train(recipe, 0, data=tiny.data(), device="cpu", progress="none").result
    losses = [entry["train_loss"] for entry in result["history"]]
    assert losses[-1] < losses[0] and {"si", "ag-last"} <= set(result["last"])


@pytest.mark.parametrize("method", ["sla+fsft", "after-layer1"])
def test_compiles_in_one_piece(images, method):
    net = build(tiny.recipe(method), N, 16).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images).last, net(images).last)


def test_table_recipes():
    table2 = {name.rsplit("/", 1)[1]: recipes[name] for name in recipes if name.startswith("table2/")}
    assert {key: (recipe.method, recipe.augment[2:]) for key, recipe in table2.items()} == {
        "cutout": ("baseline", ("cutout",)),
        "cutout+fsft": ("fsft", ("cutout",)),
        "mixup": ("baseline", ("mixup",)),
        "mixup+fsft": ("fsft", ("mixup",)),
        "sla": ("sla", ()),
        "sla+fsft": ("sla+fsft", ()),
    }
    assert all(recipes[f"table5/resnet110/after-layer{k}"].method == f"after-layer{k}" for k in (1, 2, 3))
    assert [recipes[f"fig4/resnet110/beta-0.{k}"].beta for k in range(1, 10)] == [k / 10 for k in range(1, 10)]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_short_recipe(method):
    quick = profile_recipe("quick", method)
    assert quick.method == method and "method" not in quick.distance() and quick.dataset == "photodigits"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform_after": "layer9"}, r"expected taps among the stages .*, found \['layer9'\]"),
        ({"transform_after": "layer3"}, "expected the transform not behind the first tap 'layer2', found 'layer3'"),
    ],
)
def test_misplaced_transform(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_rotations_need_squares():
    with pytest.raises(ValueError, match=r"expected square images \(B, C, H, H\), found shape \(1, 3, 4, 6\)"):
        four_rotations(torch.zeros(1, 3, 4, 6))


def test_the_stem_is_a_place_too(images):
    net = network(taps=("layer3",), transform_after="stem")
    assert net(images).last.shape == (2, 5, 5 * N)
    assert isinstance(net.fc_last, nn.Linear) and net.num_views == 5
