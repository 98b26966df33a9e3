from collections import OrderedDict

import appendix_b
import pytest
import torch
from torch.nn import functional as F

from fsft import JointNet, JointOutput, PlainNet, backbone, four_rotations, joint_labels, joint_loss, modes, predict
from fsft.framework import aggregated_logits, distillation_loss, matching_logits
from fsft.masks import no_masks, quadrant_masks


def joint_net(num_classes=4, **options):
    torch.manual_seed(0)
    return JointNet(backbone("resnet8"), num_classes, **options)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, 32, 32, generator=generator), torch.tensor([2, 0, 3])


def random_output(batch=6, num_classes=7, num_masks=5, **present):
    generator = torch.Generator().manual_seed(2)

    def joint():
        return torch.randn(batch, num_masks, num_classes * num_masks, generator=generator, requires_grad=True)

    distilled = torch.randn(batch, num_classes, generator=generator, requires_grad=True)
    return JointOutput(
        joint(), joint() if present.get("penultimate", True) else None, distilled if present.get("sd") else None
    )


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_loss_and_gradients_equal_appendix_b(batch, beta):
    images, labels = batch
    net = joint_net()
    loss = joint_loss(net(images), labels, beta)
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    outputs3, outputs2 = appendix_b.forward(net.stages, net.fc_last, net.fc_penultimate, images)
    oracle = appendix_b.training_loss(outputs3, outputs2, labels, beta)
    torch.testing.assert_close(loss, oracle)
    for ours, theirs in zip(
        gradients, torch.autograd.grad(oracle, list(net.parameters()), allow_unused=True), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_inference_equals_appendix_b(batch):
    net = joint_net().eval()
    output = net(batch[0])
    outputs3, outputs2 = appendix_b.forward(net.stages, net.fc_last, net.fc_penultimate, batch[0])
    torch.testing.assert_close(predict(output, "si"), appendix_b.single_inference(outputs3).softmax(1))
    torch.testing.assert_close(predict(output, "ag"), appendix_b.aggregated_inference(outputs3, outputs2))


def test_loss_averages_over_the_views():
    """Eq. 2: the mean of T + 1 cross-entropies, not their sum."""
    output = random_output(penultimate=False)
    labels = torch.arange(6)
    targets = joint_labels(labels, 5)
    by_view = [F.cross_entropy(output.last[:, j], targets[:, j]) for j in range(5)]
    torch.testing.assert_close(joint_loss(output, labels), torch.stack(by_view).mean())


def test_self_distillation_adds_two_terms():
    """Eq. 6: L_Ours + L_CE + KL(P_AG || distilled), the divergence averaged over images as in SLA."""
    output, labels = random_output(sd=True), torch.arange(6)
    without = joint_loss(output._replace(distilled=None), labels)
    teacher, student = predict(output, "ag"), output.distilled.softmax(1)
    divergence = (teacher * (teacher / student).log()).sum(1).mean()
    torch.testing.assert_close(
        joint_loss(output, labels), without + F.cross_entropy(output.distilled, labels) + divergence
    )


def test_teacher_is_detached():
    output = random_output(sd=True)
    distillation_loss(output).backward()
    assert output.last.grad is None and output.penultimate.grad is None
    assert output.distilled.grad.abs().sum() > 0


def test_distillation_falls_to_zero_when_student_is_teacher():
    output = random_output(sd=True)
    student = predict(output, "ag").log()
    torch.testing.assert_close(
        distillation_loss(output._replace(distilled=student)), torch.tensor(0.0), atol=1e-6, rtol=0
    )


def test_matching_logits_take_the_column_of_the_applied_mask():
    joint = torch.arange(2 * 5 * 15.0).reshape(2, 5, 15)
    expected = torch.stack([joint[:, j, j::5] for j in range(5)], 1)
    assert torch.equal(matching_logits(joint), expected)
    torch.testing.assert_close(aggregated_logits(joint), expected.mean(1))


def test_probabilities_sum_to_one_in_every_mode():
    output = random_output(sd=True)
    assert modes(output) == ("si", "ag-last", "ag", "ag-logits", "sd")
    for mode in modes(output):
        probabilities = predict(output, mode)
        assert probabilities.shape == (6, 7) and (probabilities >= 0).all()
        torch.testing.assert_close(probabilities.sum(1), torch.ones(6))


def test_half_precision_logits_give_float32_probabilities():
    output = JointOutput(random_output(penultimate=False).last.bfloat16())
    assert predict(output, "si").dtype == torch.float32


@pytest.mark.parametrize("net", [JointNet(backbone("resnet8"), 7, self_distill=True), PlainNet(backbone("resnet8"), 7)])
def test_scores_have_the_classifiers_precision_under_autocast(net):
    with torch.autocast("cpu", torch.bfloat16):
        output = net(torch.randn(2, 3, 32, 32))
    assert all(logits.dtype == torch.float32 for logits in (output if isinstance(output, JointOutput) else [output]))
    half = net.bfloat16()(torch.randn(2, 3, 32, 32).bfloat16())
    assert (half.last if isinstance(half, JointOutput) else half).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("present", "mode", "message"),
    [
        ({}, "best", r"expected a mode among \('si', 'ag-last', 'ag', 'ag-logits'\), found 'best'"),
        ({}, "sd", "found 'sd'; this network lacks the classifier"),
        ({"penultimate": False}, "ag", "found 'ag'; this network lacks the classifier"),
    ],
)
def test_unknown_or_missing_mode(present, mode, message):
    with pytest.raises(ValueError, match=message):
        predict(random_output(**present), mode)


def test_single_tap_has_no_penultimate_classifier(batch):
    net = joint_net(taps=("layer3",))
    output = net(batch[0])
    assert output.penultimate is None and modes(output) == ("si", "ag-last")
    torch.testing.assert_close(joint_loss(output, batch[1], beta=1.0), joint_loss(output, batch[1], beta=0.0))


def test_one_mask_and_one_tap_is_the_baseline(batch):
    """T = 0: joint labels are labels, and eq. 2 is plain cross-entropy."""
    joint = joint_net(taps=("layer3",), masks=lambda height, width: torch.ones(1, height, width))
    plain = PlainNet(joint.stages, 4)
    plain.fc = joint.fc_last
    torch.testing.assert_close(joint_loss(joint(batch[0]), batch[1]), F.cross_entropy(plain(batch[0]), batch[1]))


def test_parameters_added_are_two_classifiers():
    plain, joint = PlainNet(backbone("resnet8"), 10), joint_net(10)
    extra = sum(p.numel() for p in joint.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == (64 + 1) * 50 + (32 + 1) * 50 - (64 + 1) * 10


def test_masks_follow_the_feature_size():
    net = JointNet(backbone("resnet8"), 4, input_size=28)
    assert net.masks_of("layer2").shape == (5, 14, 14) and net.masks_of("layer3").shape == (5, 7, 7)
    assert net(torch.zeros(1, 3, 28, 28)).last.shape == (1, 5, 20)


def test_state_dict_holds_no_masks_and_loads_into_a_fresh_network(batch):
    net = joint_net(self_distill=True).eval()
    fresh = JointNet(backbone("resnet8"), 4, self_distill=True).eval()
    assert not any("mask" in name for name in net.state_dict())
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(batch[0]).distilled, net(batch[0]).distilled)


def test_building_a_network_leaves_batch_statistics_alone():
    stages = backbone("resnet8")
    stages.layer1.eval()  # frozen, as in fine-tuning
    JointNet(stages, 4)
    assert stages.training and not any(module.training for module in stages.layer1.modules())
    assert all(int(buffer) == 0 for name, buffer in stages.named_buffers() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (("layer2", "layer9"), r"expected taps among the stages .*, found \['layer9'\]"),
        (("layer2", "layer1"), "expected the last tap to be the last stage 'layer3', found 'layer1'"),
        (("layer3", "layer3"), "expected one or two different taps"),
        ((), "expected one or two different taps"),
        ("layer2", "expected the last tap to be the last stage 'layer3', found 'layer2'"),
    ],
)
def test_bad_taps(taps, message):
    with pytest.raises(ValueError, match=message):
        joint_net(taps=taps)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (lambda h, w: quadrant_masks(h, w)[1:], "expected finite masks whose first keeps everything"),
        (lambda h, w: torch.cat([torch.ones(1, h, w), torch.full((1, h, w), torch.nan)]), "expected finite masks"),
        (lambda h, w: torch.ones(h, h, w), r"expected as many masks at every tap, found \[16, 8\]"),
        (lambda h, w: torch.ones(5, 4, 4), r"expected masks \(M, H, W\) of 16 x 16, found \(5, 4, 4\)"),
        ("halves", "expected masks as a function of .* found 'halves'"),
    ],
)
def test_masks_that_mean_something_else_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        JointNet(backbone("resnet8"), 7, masks=masks)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda x: torch.stack([x.flip(3), x], 1), "the image as it is first, found another first version"),
        (lambda x: x.repeat(2, 1, 1, 1), r"to \(B, R, C, H, W\), .*, found shape \(2, 3, 32, 32\)"),
    ],
)
def test_the_first_version_of_an_image_is_itself(transform, message):
    with pytest.raises(ValueError, match=message):
        JointNet(backbone("resnet8"), 7, masks=no_masks, input_transform=transform)


@pytest.mark.parametrize("kind", [PlainNet, JointNet])
def test_classifiers_and_masks_come_to_the_device_of_the_stages(kind):
    net = kind(backbone("resnet8").to("meta"), 7)
    assert {tensor.device.type for tensor in (*net.parameters(), *net.buffers())} == {"meta"}


def test_no_classes_and_no_parameters_are_named():
    with pytest.raises(ValueError, match="at least one class, found num_classes=0"):
        PlainNet(backbone("resnet8"), 0)
    with pytest.raises(ValueError, match="expected stages with parameters"):
        PlainNet(torch.nn.Sequential(torch.nn.ReLU()), 3)
    with pytest.raises(ValueError, match=r"expected an nn.Sequential of stages, found Linear: see fsft.as_stages"):
        PlainNet(torch.nn.Linear(3, 3), 3)


@pytest.mark.parametrize("options", [{}, {"taps": ("layer3",), "transform_after": "layer1"}])
@pytest.mark.parametrize("size", [(48, 48), (24, 40)])
def test_masks_follow_the_images_whatever_they_expected(size, options):
    net, expecting = (joint_net(input_size=side, **options).eval() for side in (32, 48))
    images = torch.randn(2, 3, *size)
    if size == (48, 48):
        torch.testing.assert_close(net(images), expecting(images))
    features = net.stages.layer2(net.stages.layer1(net.stages.stem(images)))
    assert torch.equal(net.masks["layer1" if options else "layer2"](features), quadrant_masks(*features.shape[2:]))
    joint_loss(net(images), torch.tensor([0, 3])).backward()


def test_sizes_are_remembered_and_serve_training_after_evaluation():
    net, images = joint_net(), torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        net(images)
    made = net.masks["layer3"].others
    first = dict(made)
    joint_loss(net(images), torch.tensor([0, 1])).backward()
    assert len(made) == 1 and all(made[size] is masks for size, masks in first.items())
    assert not any("mask" in name for name in net.state_dict())


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(channels):
    stages = torch.nn.Sequential(
        OrderedDict(a=torch.nn.Conv2d(channels, 4, 3), b=torch.nn.Conv2d(4, 8, 3)),
    )
    net = JointNet(stages, 3, input_size=12, input_transform=four_rotations)
    assert net(torch.zeros(2, channels, 12, 12)).last.shape == (2, 20, 60)


def test_compiled_and_exported_networks_take_other_sizes_and_batches():
    net = joint_net(self_distill=True).eval()
    images = torch.randn(3, 3, 48, 40)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))

    class Aggregated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return predict(self.net(x), "ag")

    for size in (32, 48):
        images = torch.randn(5, 3, size, size)
        program = torch.export.export(Aggregated(), (images[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.testing.assert_close(program.module()(images), predict(net(images), "ag"))


def literal_loss(output, probabilities, beta, weights):
    """Written out: view j of an image has the target p_y on the joint class y * M + j, weighted by w_y."""

    def of(joint, views):
        total = norm = 0.0
        for i, row in enumerate(joint):
            for j in range(views):
                scores = torch.log_softmax(row[j], 0)
                for y, p in enumerate(probabilities[i]):
                    total -= weights[y] * p * scores[y * views + j]
                    norm += weights[y] * p
        return total / norm

    loss = of(output.last, 5) + beta * of(output.penultimate, 5)
    return loss + of(output.distilled[:, None], 1) + distillation_loss(output)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_soft_labels_smoothing_and_class_weights_as_defined(soft, weighted, smoothing):
    output, labels = random_output(sd=True), torch.tensor([0, 6, 2, 2, 3, 5])
    probabilities = F.one_hot(labels, 7).float()
    if soft:
        labels = probabilities = torch.randn(6, 7).softmax(1)
    weights = torch.arange(7.0) if weighted else torch.ones(7)
    loss = joint_loss(output, labels, 0.3, label_smoothing=smoothing, class_weights=weights if weighted else None)
    smooth = (1 - smoothing) * probabilities + smoothing / 7
    torch.testing.assert_close(loss, literal_loss(output, smooth, 0.3, weights))


def test_class_weights_are_those_of_cross_entropy_for_joint_labels():
    output, labels, weights = random_output(penultimate=False), torch.tensor([0, 6, 2, 2, 3, 5]), torch.arange(1.0, 8)
    expected = F.cross_entropy(
        output.last.flatten(0, 1), joint_labels(labels, 5).flatten(), weight=weights.repeat_interleave(5)
    )
    torch.testing.assert_close(joint_loss(output, labels, class_weights=weights), expected)


def test_a_mixed_label_is_the_mixture_of_the_losses():
    output, labels, others = random_output(), torch.arange(6), torch.tensor([3, 3, 0, 1, 6, 5])
    mixed = 0.3 * F.one_hot(labels, 7) + 0.7 * F.one_hot(others, 7)
    expected = 0.3 * joint_loss(output, labels) + 0.7 * joint_loss(output, others)
    torch.testing.assert_close(joint_loss(output, mixed), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda o, y: joint_loss(o.last, y),
            r"what a JointNet returns, as in joint_loss\(net\(x\), y\).*found a Tensor",
        ),
        (lambda o, y: predict(torch.nn.Linear(1, 1), o), "what a JointNet returns.*found a Linear"),
        (lambda o, y: joint_loss(o, y + 0.7), r"integer class labels \(6,\) or class probabilities \(6, 7\)"),
        (lambda o, y: joint_loss(o, y[:5]), r"for 6 images .*, found torch.int64 of \(5,\)"),
        (lambda o, y: joint_loss(o, y[:1], label_smoothing=0.1), r"for 6 images .*, found torch.int64 of \(1,\)"),
        (lambda o, y: joint_loss(o, torch.full((1, 7), 1 / 7)), r"for 6 images .*, found torch.float32 of \(1, 7\)"),
        (lambda o, y: joint_loss(o, y[:, None, None]), r"for 6 images .*, found torch.int64 of \(6, 1, 1\)"),
        (
            lambda o, y: joint_loss(o, torch.rand(6, 35)),
            r"class probabilities \(6, 7\), found torch.float32 of \(6, 35\)",
        ),
        (lambda o, y: joint_loss(o, y - 20), "class labels from 0 to 6, found -20 to -15"),
        (lambda o, y: joint_loss(o, y + 5), "class labels from 0 to 6, found 5 to 10"),
        (lambda o, y: joint_loss(o, torch.ones(6, 7)), "add up to 1 for each image"),
        (lambda o, y: joint_loss(o, torch.full((6, 7), torch.nan)), "add up to 1 for each image"),
        (lambda o, y: joint_loss(o, y, torch.nan), "beta of at least 0.*found nan, 1.0 and 0.0"),
        (lambda o, y: joint_loss(o, y, -5), "beta of at least 0.*found -5"),
        (lambda o, y: joint_loss(o, y, temperature=0), "a temperature above 0"),
        (lambda o, y: joint_loss(o, y, label_smoothing=1.5), "label_smoothing from 0 to 1"),
        (lambda o, y: joint_loss(o, y, class_weights=torch.ones(35)), "a weight for each of 7 classes"),
        (lambda o, y: joint_loss(o, y, class_weights=-torch.ones(7)), "finite class weights of at least 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(random_output(), torch.arange(6))


def test_a_softer_distillation_is_four_times_the_divergence_at_half_the_scores():
    output = random_output(sd=True)
    half = JointOutput(*(logits / 2 for logits in output))
    torch.testing.assert_close(distillation_loss(output, temperature=2.0), 4 * distillation_loss(half))
    assert torch.equal(distillation_loss(output, 1.0), distillation_loss(output))


def test_aggregation_by_logits_is_the_softmax_of_the_mean_of_all_ten_scores():
    output = random_output()
    scores = torch.cat([matching_logits(output.last), matching_logits(output.penultimate)], 1)
    torch.testing.assert_close(predict(output, "ag-logits"), scores.mean(1).softmax(1))


def test_scores_ask_nothing_that_a_tracer_of_torch_2_10_cannot_follow(monkeypatch, batch):
    def untraceable(device_type):
        raise RuntimeError("Dynamo before 2.12 cannot trace this call")

    monkeypatch.setattr(torch.amp, "is_autocast_available", untraceable)
    traced = torch.compile(joint_net(), backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert traced(batch[0]).last.dtype == torch.float32
