"""Class activation maps: against maps by hand, against the grad-cam package, and what a call must not leave behind."""

import copy
import gc
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from fsft import JointNet, PlainNet, backbone, four_rotations, predict
from fsft.framework import MODES
from fsft.maps.cam import FORMULAS, ClassScores, class_maps, class_scores, explained, quadrant_shares

pytest.importorskip("pytorch_grad_cam")

CLASSES = 4
LAYERS = ("stem", "layer1", "layer2")


def stages(inplace=False):
    """Three stages, the last two with a ReLU in front: in place, it overwrites every map that shares its memory."""
    parts = [
        ("stem", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))),
        ("layer1", nn.Sequential(nn.ReLU(inplace), nn.Conv2d(6, 8, 3, 2, padding=1))),
        ("layer2", nn.Sequential(nn.ReLU(inplace), nn.Conv2d(8, 10, 3, padding=1))),
    ]
    return nn.Sequential(OrderedDict(parts))


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return PlainNet(stages(), CLASSES, 12).eval()


@pytest.fixture
def joint():
    torch.manual_seed(1)
    return JointNet(stages(), CLASSES, self_distill=True, input_size=12).eval()


@pytest.fixture
def images():
    return torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(2))


LABELS = torch.tensor([0, 3, 1, 2, 3])


def enlarged(maps):
    return F.interpolate(maps.clamp(min=0)[:, None], (12, 12), mode="bilinear")[:, 0].detach()


def by_hand(features, weights):
    """sum_c w_c f_c with weights (B, C, H, W), or the same everywhere: (B, C, 1, 1)."""
    return (weights * features).sum(1)


def rows(layer, columns):
    return layer.weight[columns][:, :, None, None]


def joint_weights(net, mode):
    """The weights (B, C, H, W) with which a mode's score reads the last features at each place."""
    if mode == "sd":
        return rows(net.fc_distilled, LABELS)
    if mode == "si":
        return rows(net.fc_last, LABELS * 5)
    masks = net.masks_of("layer2")
    share = {"ag-last": 1.0, "ag": 0.5, "ag-logits": 0.5}[mode]
    return share * sum(rows(net.fc_last, LABELS * 5 + j) * masks[j] for j in range(5)) / 5


def test_cam_of_a_plain_network_is_the_class_weights_times_the_features(plain, images):
    features = plain.stages(images)
    expected = enlarged(by_hand(features, rows(plain.fc, LABELS)))
    torch.testing.assert_close(class_maps(plain, images, LABELS, method="cam"), expected)
    torch.testing.assert_close(class_maps(plain, images, LABELS), expected / 36)  # Grad-CAM: the same but for H * W


@pytest.mark.parametrize("mode", MODES)
def test_cam_of_a_joint_network_reads_the_columns_of_its_mode(joint, images, mode):
    features = joint.stages(images)
    weights = joint_weights(joint, mode)
    maps = class_maps(joint, images, LABELS, method="cam", mode=mode)
    torch.testing.assert_close(maps, enlarged(by_hand(features, weights)))
    averaged = weights.expand_as(features).mean((2, 3), keepdim=True) / 36
    torch.testing.assert_close(class_maps(joint, images, LABELS, mode=mode), enlarged(by_hand(features, averaged)))
    layer_cam = class_maps(joint, images, LABELS, method="layer-cam", mode=mode)
    torch.testing.assert_close(layer_cam, enlarged(by_hand(features, weights.clamp(min=0) / 36)))


def test_a_centered_map_is_blind_to_what_all_classes_share(joint, images):
    weights = joint.fc_last.weight[0::5]
    contrast = (weights - weights.mean(0))[LABELS][:, :, None, None]
    expected = enlarged(by_hand(joint.stages(images), contrast))
    torch.testing.assert_close(class_maps(joint, images, LABELS, method="cam", centered=True), expected)
    before = class_maps(joint, images, LABELS, method="cam")
    joint.fc_last.weight.data += torch.randn(10)
    torch.testing.assert_close(class_maps(joint, images, LABELS, method="cam", centered=True), expected)
    assert not torch.allclose(class_maps(joint, images, LABELS, method="cam"), before, rtol=0.1)


def test_the_mean_of_an_uncut_cam_is_the_score_without_its_bias(joint, images):
    for mode in ("si", "ag-last", "sd"):
        raw = by_hand(joint.stages(images), joint_weights(joint, mode)).mean((1, 2))
        net = copy.deepcopy(joint)
        for head in (net.fc_last, net.fc_distilled):
            nn.init.zeros_(head.bias)
        torch.testing.assert_close(raw, class_scores(net(images), mode)[torch.arange(5), LABELS])


def package_maps(name, scores, stage, images):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer = getattr(pytorch_grad_cam, name)(scores, [stage])
    return explainer(images, [ClassifierOutputTarget(label) for label in LABELS.tolist()])


@pytest.mark.parametrize(("method", "name"), FORMULAS.items())
@pytest.mark.parametrize("mode", [None, *MODES])
def test_normalized_maps_are_those_of_the_package_used_its_own_way(plain, joint, images, method, name, mode):
    model = plain if mode is None else joint
    for layer in LAYERS if method != "cam" else ("layer2",):
        ours = class_maps(model, images, LABELS, method=method, mode=mode, layer=layer)
        theirs = package_maps(name, ClassScores(model, mode), model.stages.get_submodule(layer), images)
        low, high = ours.amin((1, 2), keepdim=True), ours.amax((1, 2), keepdim=True)
        np.testing.assert_allclose((ours - low) / (high - low).clamp(min=1e-9), theirs, atol=2e-3)


def test_without_classes_the_mode_s_own_prediction_is_explained(joint, images):
    # By probability class 0 leads, by score class 1: one sure classifier outvotes another's strong veto.
    joint.fc_last.bias.data = torch.tensor([10.0, 8.0, 0.0, 0.0]).repeat_interleave(5)
    joint.fc_penultimate.bias.data = torch.tensor([-20.0, 0.0, 0.0, 0.0]).repeat_interleave(5)
    output = joint(images)
    assert predict(output, "ag").argmax(1).eq(0).all() and class_scores(output, "ag").argmax(1).eq(1).all()
    for mode in MODES:
        predicted = predict(output, mode).argmax(1)
        torch.testing.assert_close(
            class_maps(joint, images, mode=mode), class_maps(joint, images, predicted, mode=mode)
        )
    torch.testing.assert_close(class_maps(joint, images), class_maps(joint, images, mode="si"))
    assert not class_maps(joint, images, LABELS * 0, mode="ag").equal(
        class_maps(joint, images, LABELS * 0 + 1, mode="ag")
    )


def test_plain_predictions_and_batches_and_no_images(plain, images):
    predicted = plain(images).argmax(1)
    maps = class_maps(plain, images)
    torch.testing.assert_close(maps, class_maps(plain, images, predicted, batch_size=2))
    assert maps.dtype == torch.float32 and class_maps(plain, images[:0]).shape == (0, 12, 12)


@pytest.mark.parametrize("method", FORMULAS)
def test_in_place_operations_and_memory_format_change_nothing(plain, images, method):
    in_place = PlainNet(stages(inplace=True), CLASSES, 12).eval()
    in_place.load_state_dict(plain.state_dict())
    for layer in LAYERS if method != "cam" else (None,):
        expected = class_maps(plain, images, LABELS, method=method, layer=layer)
        torch.testing.assert_close(class_maps(in_place, images, LABELS, method=method, layer=layer), expected)
    shuffled = in_place.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        class_maps(shuffled, images, LABELS, method=method), class_maps(plain, images, LABELS, method=method)
    )


def test_gradients_can_be_switched_off_around_the_call(plain, images):
    expected = class_maps(plain, images, LABELS)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close(class_maps(plain, images.clone(), LABELS.clone()), expected)


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())


def test_the_network_is_left_as_it_was(joint, images):
    joint.fc_last.bias.requires_grad_(False)
    joint.fc_last.weight.grad = torch.ones_like(joint.fc_last.weight)
    before = copy.deepcopy(joint.state_dict())
    class_maps(joint, images, mode="ag", layer="stem")
    assert hooks(joint) == 0
    assert [name for name, p in joint.named_parameters() if not p.requires_grad] == ["fc_last.bias"]
    assert [name for name, p in joint.named_parameters() if p.grad is not None] == ["fc_last.weight"]
    assert joint.fc_last.weight.grad.eq(1).all()
    torch.testing.assert_close(joint.state_dict(), before, rtol=0, atol=0)


def test_an_error_on_the_way_leaves_nothing_behind_either(images):
    views = JointNet(stages(), CLASSES, ("layer2",), input_size=12, transform_after="layer1").eval()
    with pytest.raises(ValueError, match="5 images, found 25: this network transforms"):
        class_maps(views, images)
    assert hooks(views) == 0 and all(parameter.requires_grad for parameter in views.parameters())
    assert class_maps(views, images, layer="layer1").shape == (5, 12, 12)
    rotated = JointNet(stages(), CLASSES, input_size=12, input_transform=four_rotations).eval()
    with pytest.raises(ValueError, match="5 images, found 20"):
        class_maps(rotated, images, layer="stem")


def test_a_thousand_calls_keep_no_tensor_alive(plain):
    images = torch.randn(1, 3, 4, 4)
    class_maps(plain, images)

    def tensors():
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # what only the collector would free counts as kept
    try:
        before = tensors()
        for _ in range(1000):
            class_maps(plain, images)
        assert tensors() == before
    finally:
        gc.enable()
    assert hooks(plain) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "layer9"}, r"among the stages \('stem', 'layer1', 'layer2'\), found 'layer9'"),
        ({"layer": "layer1", "method": "cam"}, "the last stage of .*, found 'layer1': it needs"),
        ({"method": "score-cam"}, "a method among .*, found 'score-cam'"),
        ({"mode": "baseline"}, "a mode among .*, found 'baseline'"),
        ({"classes": torch.tensor([0, 1, 4, 0, 0])}, "from 0 to 3, found 4"),
        ({"classes": torch.tensor([0, 1, -1, 0, 0])}, "from 0 to 3, found -1"),
        ({"classes": torch.tensor([0, 1])}, r"each of 5 images, found torch.int64 of shape \(2,\)"),
        ({"classes": torch.zeros(5)}, "integer class index .*float32"),
        ({"images": torch.zeros(3, 12, 12)}, r"\(B, 3, H, W\), found"),
        ({"images": torch.full((5, 3, 12, 12), torch.nan)}, "finite images, found NaN"),
        ({"images": torch.zeros(5, 3, 12, 12, dtype=torch.uint8)}, "floating point .* found torch.uint8"),
    ],
)
def test_wrong_input_is_one_clear_sentence(joint, images, change, message):
    with pytest.raises(ValueError, match=message):
        class_maps(joint, **{"images": images, **change})
    assert hooks(joint) == 0


def test_wrong_networks_and_modes(plain, joint, images):
    with pytest.raises(ValueError, match=r"no mode.*found 'si'"):
        class_maps(plain, images, mode="si")
    without = JointNet(stages(), CLASSES, ("layer2",), input_size=12)
    for mode in ("ag", "sd"):
        with pytest.raises(ValueError, match=f"found '{mode}'; this network lacks"):
            class_scores(without(images), mode)


def test_without_the_package_the_error_says_what_to_install(plain, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(ImportError, match="it is not installed: pip install grad-cam"):
        class_maps(plain, images)
    assert hooks(plain) == 0 and all(parameter.requires_grad for parameter in plain.parameters())


def test_where_a_library_of_the_package_is_missing_the_error_names_it(plain, images, tmp_path, monkeypatch):
    cause = "libGL.so.1: cannot open shared object file"
    (tmp_path / "pytorch_grad_cam.py").write_text(f"raise ImportError({cause!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pytorch_grad_cam", raising=False)
    with pytest.raises(ImportError, match=f"importing it fails: {cause}; .*opencv-python-headless"):
        class_maps(plain, images)


class Classifier(nn.Module):
    """Somebody else's network: stages that it does not call stages, and a classifier on their mean."""

    def __init__(self, to_places=nn.Identity, head=None):
        super().__init__()
        self.trunk, self.places, self.pool = stages(), to_places(), nn.AdaptiveAvgPool2d(1)
        self.head = head or nn.Linear(10, CLASSES)

    def forward(self, x):
        x = self.places(self.trunk(x))
        return self.head(self.pool(x).flatten(1) if x.ndim == 4 else x.mean(1))


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def test_any_classifier_is_explained_with_the_classifier_that_it_has(images):
    torch.manual_seed(0)
    model = Classifier().eval()
    expected = enlarged(by_hand(model.trunk(images), rows(model.head, LABELS))) / 36
    for layer in (None, "trunk", "trunk.layer2.1"):
        torch.testing.assert_close(class_maps(model, images, LABELS, layer=layer), expected)
    torch.testing.assert_close(class_maps(model, images), class_maps(model, images, model(images).argmax(1)))
    assert hooks(model) == 0 and explained(model) == "column y of the classifier"
    assert class_maps(model, images[:, :, :, :7], LABELS).shape == (5, 12, 7)


def test_torchvisions_last_maps_are_found():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 48)
    for model, layer in (
        (models.resnet18(num_classes=4), "layer4"),
        (models.densenet121(num_classes=4), "features"),
        (models.mobilenet_v3_small(num_classes=4), "features"),
        (models.swin_t(num_classes=4), "permute"),
    ):
        maps = class_maps(model, images)
        assert maps.shape == (2, 64, 48) and maps.isfinite().all()
        torch.testing.assert_close(maps, class_maps(model, images, layer=layer))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Classifier(Tokens), {}, r"last features are maps .*, found \(1, 36, 10\) in Classifier"),
        (Classifier(ChannelsLast, nn.Linear(6, CLASSES)), {}, r"last features are maps .*, found \(1, 6, 6, 10\)"),
        (Classifier(Tokens), {"layer": "places"}, r"that gives feature maps .*, found \(5, 36, 10\)"),
        (Classifier(), {"layer": "layer4"}, "the modules of Classifier, found 'layer4'"),
        (Classifier(), {"method": "cam"}, "PlainNet or a JointNet for CAM, found 'Classifier'"),
        (Classifier(), {"mode": "si"}, "Classifier has a single classifier, found 'si'"),
        (Classifier(), {"classes": LABELS + 1}, "from 0 to 3, found 4"),
        (Classifier(head=nn.Unflatten(1, (5, 2))), {"layer": "trunk"}, r"scores \(B, N\), found Tensor"),
        (nn.DataParallel(Classifier()), {}, r"found it inside DataParallel: give model\.module"),
        (torch.compile(Classifier()), {}, r"inside OptimizedModule: give model\._orig_mod"),
    ],
)
def test_networks_that_cannot_be_explained_are_refused_in_a_sentence(model, options, message, images):
    with pytest.raises(ValueError, match=message):
        class_maps(model, images, **options)
    assert hooks(model) == 0


def test_the_explained_column_is_named(plain, joint):
    assert explained(plain) == "column y of the classifier"
    assert explained(joint) == explained(joint, "si") == "column 5y + 0 of the last joint classifier, untouched view"
    assert "j = 0 to 4 of column 5y + j of the last joint classifier" in explained(joint, "ag-last")
    assert explained(joint, "ag").endswith("and of the penultimate one")
    assert explained(joint, "sd") == "column y of the distilled classifier"


def test_shares_of_quadrants():
    maps = torch.zeros(3, 5, 4)
    maps[0, 0, 3], maps[0, 2, 1] = 3, 1  # an odd height: the upper quadrants have two rows, the lower ones three
    maps[1] = 2
    shares = quadrant_shares(maps)
    torch.testing.assert_close(shares[0], torch.tensor([0, 0.75, 0.25, 0]))
    torch.testing.assert_close(shares[1], torch.tensor([0.2, 0.2, 0.3, 0.3]))
    assert shares[2].isnan().all()
    with pytest.raises(ValueError, match="at least 0"):
        quadrant_shares(-maps)


@pytest.mark.parametrize("name", ["wrn10-1", "pyramidnet20-12", "resnet11"])
def test_real_backbones(name):
    options = {"block": "bottleneck"} if name == "resnet11" else {}
    net = JointNet(backbone(name, **options), CLASSES).eval()
    maps = class_maps(net, torch.randn(2, 3, 32, 32), mode="ag", layer="layer2")
    assert maps.shape == (2, 32, 32) and maps.isfinite().all()
