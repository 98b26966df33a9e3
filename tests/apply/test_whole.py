"""Whole classifiers made joint, and ordinary networks made of joint ones; timm's only where it is installed."""

import io
import itertools

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

import fsft
from fsft import JointNet, PlainNet, backbone, four_rotations, joint_loss, modes, predict
from fsft.apply.whole import find_taps


def convnext():
    widths = (8, 16, 24, 32, None)
    return ConvNeXt([CNBlockConfig(a, b, 1) for a, b in itertools.pairwise(widths)], num_classes=10)


def swin():
    return SwinTransformer([4, 4], 8, [1, 1, 1], [1, 2, 4], [7, 7], num_classes=10)


def vit():
    return models.VisionTransformer(image_size=224, patch_size=56, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8)


WORKS = {
    "resnet18": (models.resnet18, ("layer3", "layer4", ())),
    "googlenet": (lambda: models.googlenet(init_weights=False), ("inception4e", "inception5b", ())),
    "densenet": (lambda: models.DenseNet(4, (1, 1, 1, 1), 8), ("features.denseblock3", "features.norm5", ())),
    "squeezenet": (models.squeezenet1_1, ("features.7", "classifier.0", ())),
    "mobilenet": (models.mobilenet_v3_small, ("features.8", "features.12", ("classifier.0",))),
    "regnet": (models.regnet_y_400mf, ("trunk_output.block3", "trunk_output.block4", ())),
    "convnext": (convnext, ("features.5", "features.7", ("classifier.0",))),
}


@pytest.mark.parametrize("name", WORKS)
def test_torchvision_in_one_line(name):
    build, expected = WORKS[name]
    model = build()
    modes = [module.training for module in model.modules()]
    assert find_taps(model) == expected
    assert [module.training for module in model.modules()] == modes
    net = fsft.joint(model, 3, self_distill=True)
    joint_loss(net(torch.randn(2, 3, 96, 128)), torch.tensor([0, 2])).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    if hasattr(model, "layer4"):
        assert net.stages.last is model.layer4  # shared, not copied


class Isotropic(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (vit, "VisionTransformer ends in tokens, from 'encoder.dropout' on"),
        (swin, "SwinTransformer hands them on with channels last, as after 'norm': masks would drop channels"),
        (Isotropic, r"maps of two sizes, found none in Isotropic, whose maps have the sides \[14\]"),
        (lambda: models.resnet18().layer1, "ends in a linear layer, found that Sequential does not"),
        (
            lambda: nn.DataParallel(models.resnet18()),
            r"expected the network itself, found a DataParallel: give model.module",
        ),
        (lambda: nn.Sequential(*list(models.resnet18().children())[:-1]), "build it with its classifier"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        fsft.joint(build(), 3)


def test_small_images_are_refused_and_not_tapped_elsewhere():
    with pytest.raises(
        ValueError, match=r"at least 2 x 2 places.*found 1 x 1: tap an earlier stage, or use larger images"
    ):
        fsft.joint(models.resnet18(), 3, input_size=32)


class ForCifar(nn.Sequential):
    """Takes 32 pixels alone."""

    def __init__(self):
        blocks = [nn.Conv2d(3, 8, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 1, 1), nn.MaxPool2d(2)]
        super().__init__(*blocks, nn.Flatten(), nn.Linear(16 * 8 * 8, 10))


def test_a_network_of_one_size_is_run_at_this_size():
    assert find_taps(ForCifar(), 32)[:2] == ("2", "3")
    assert fsft.joint(ForCifar(), 3, input_size=32)(torch.zeros(1, 3, 32, 32)).last.shape == (1, 5, 15)
    for size, said in ((None, "224"), (64, "64")):
        with pytest.raises(
            ValueError,
            match=f"a ForCifar that takes images of {said} pixels, found RuntimeError.*mat1 .*: give the input_size",
        ):
            fsft.joint(ForCifar(), 3, input_size=size)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet10t", ("layer3", "layer4", ())),
        ("resnetv2_18", ("stages.2", "norm", ())),
        ("convnext_atto", ("stages.2", "norm_pre", ("head.norm",))),
        ("mobilenetv3_small_050", ("blocks.3", "blocks.5", ("conv_head",))),
        ("poolformer_s12", ("stages.2", "stages.3", ("head.norm",))),
        ("swin_tiny_patch4_window7_224", "with channels last"),
        ("vit_tiny_patch16_224", "ends in tokens"),
    ],
)
def test_timm_in_one_line(name, expected):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=7)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            fsft.joint(model, 3)
        return
    assert find_taps(model) == expected
    assert fsft.joint(model, 3)(torch.zeros(1, 3, 96, 96)).last.shape == (1, 5, 15)


def trained_net(**options):
    torch.manual_seed(0)
    net = JointNet(backbone("resnet8"), 4, **options)
    net(torch.randn(8, 3, 32, 32))  # batch statistics of its own
    return net.eval()


@pytest.mark.parametrize(
    "options", [{}, {"input_transform": four_rotations}, {"taps": ("layer3",), "transform_after": "layer1"}]
)
def test_single_inference_network_answers_as_single_inference(options):
    net, images = trained_net(**options), torch.randn(16, 3, 32, 32)
    single = fsft.single_inference_network(net)
    assert not single.training and single.stages is net.stages
    output = net(images)
    torch.testing.assert_close(single(images).softmax(1), predict(output, "si"))
    assert torch.equal(single(images).argmax(1), predict(output, "si").argmax(1))
    plain = PlainNet(backbone("resnet8"), 4).eval()
    plain.load_state_dict(single.state_dict())
    torch.testing.assert_close(plain(images), single(images))
    with pytest.raises(TypeError, match="expected a JointNet, found a PlainNet"):
        fsft.single_inference_network(plain)


def test_a_frozen_layer_stays_frozen():
    net = trained_net().train()
    net.stages.eval()
    single = fsft.single_inference_network(net)
    assert single.training and single.fc.training and not any(part.training for part in single.stages.modules())


class InMode(nn.Module):
    def __init__(self, net, mode):
        super().__init__()
        self.net, self.mode = net, mode
        self.train(net.training)

    def forward(self, x):
        return predict(self.net(x), self.mode)


BATCH = ({0: torch.export.Dim.DYNAMIC},)


def exported(module):
    """Saved and loaded again, for a batch of any size."""
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (torch.randn(2, 3, 32, 32),), dynamic_shapes=BATCH), file)
    file.seek(0)
    return torch.export.load(file).module()


def test_torch_export_with_any_batch_gives_equal_classes():
    net, images = trained_net(self_distill=True), torch.randn(37, 3, 32, 32)
    single = exported(fsft.single_inference_network(net))
    output = net(images)
    assert torch.equal(single(images).argmax(1), predict(output, "si").argmax(1))
    for mode in modes(output):
        probabilities = exported(InMode(net, mode))(images)
        torch.testing.assert_close(probabilities, predict(output, mode))
        assert torch.equal(probabilities.argmax(1), predict(output, mode).argmax(1))


@pytest.mark.parametrize("mode", ["si", "ag"])
def test_onnx_with_any_batch_gives_equal_classes(mode, tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    net, images = trained_net(), torch.randn(37, 3, 32, 32)
    module = fsft.single_inference_network(net) if mode == "si" else InMode(net, mode)
    path = tmp_path / "net.onnx"
    torch.onnx.export(module, (images[:2],), path, dynamo=True, dynamic_shapes=BATCH, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert torch.equal(torch.from_numpy(scores).argmax(1), predict(net(images), mode).argmax(1))
