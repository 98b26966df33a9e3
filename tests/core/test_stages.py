import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.feature_extraction import create_feature_extractor

from fsft import JointNet, as_stages, joint_loss
from fsft.stages import feature_shapes


def small_convnext():
    widths = (8, 16, 24, 32, None)
    settings = [CNBlockConfig(a, b, 1) for a, b in itertools.pairwise(widths)]
    return ConvNeXt(settings, num_classes=10)


FAMILIES = {
    "resnet": (
        models.resnet18,
        {"maxpool": "stem", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3", "layer4": "layer4"},
    ),
    "convnext": (
        small_convnext,
        {"features.1": "layer1", "features.3": "layer2", "features.5": "layer3", "features.7": "layer4"},
    ),
    "efficientnet": (
        models.efficientnet_b0,
        {"features.0": "stem", "features.3": "layer1", "features.5": "layer2", "features.8": "layer3"},
    ),
    "regnet": (
        models.regnet_y_400mf,
        {"stem": "stem", **{f"trunk_output.block{number}": f"layer{number}" for number in (1, 2, 3, 4)}},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_features_equal_the_original_models(family):
    build, nodes = FAMILIES[family]
    torch.manual_seed(0)
    model = build().eval()
    stages, x = as_stages(model, nodes), torch.randn(1, 3, 64, 64)
    expected = create_feature_extractor(model, nodes)(x)
    assert [name for name, _ in stages.named_children()] == list(nodes.values())
    features = x
    for name, stage in stages.named_children():
        features = stage(features)
        assert torch.equal(features, expected[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_joint_net_trains_on_it(family):
    build, nodes = FAMILIES[family]
    torch.manual_seed(0)
    net = JointNet(as_stages(build(), nodes), 3, taps=("layer2", list(nodes.values())[-1]), input_size=72)
    joint_loss(net(torch.randn(2, 3, 72, 72)), torch.tensor([0, 2])).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


class Functions(nn.Module):
    """Functions and a residual sum between the modules, and more after the last feature map."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.a(2 * x)), 2)
        x = self.drop(self.b(x) + x)
        x = self.c(x).mean((2, 3))
        return self.fc(x)


def test_functions_between_the_nodes_are_kept():
    model, x = Functions().eval(), torch.randn(2, 3, 8, 8)
    stages = as_stages(model, ["a", "drop", "c"])
    hidden = F.max_pool2d(torch.relu(model.a(2 * x)), 2)
    assert torch.equal(stages.a(x), model.a(2 * x))
    assert torch.equal(stages(x), model.c(model.b(hidden) + hidden))
    assert stages.drop.b is model.b


def test_dropout_follows_the_mode():
    stages, x = as_stages(Functions(), ["a", "drop"]), torch.randn(1, 3, 8, 8)
    assert not torch.equal(stages.train()(x), stages(x))
    assert torch.equal(stages.eval()(x), stages(x))


def test_default_names_have_no_dots():
    assert [name for name, _ in as_stages(small_convnext(), ["features.1", "features.3"]).named_children()] == [
        "features_1",
        "features_3",
    ]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (["a", "z"], r"expected the names of some modules inside Functions, found \['z'\]"),
        ([], "expected the names of some modules"),
        (["c", "a"], r"expected the nodes in the order in which they run, found \('c', 'a'\)"),
        (["a", "b", "c"], r"depend on it alone, found \['max_pool2d'\] used by add in stage 'c'"),
    ],
)
def test_bad_nodes(nodes, message):
    with pytest.raises(ValueError, match=message):
        as_stages(Functions(), nodes)


def test_a_node_beyond_the_feature_maps_is_named():
    stages = as_stages(Functions(), {"a": "layer1", "fc": "layer2"})
    with pytest.raises(ValueError, match=r"a feature map .* after stage 'layer2', found shape \(1, 2\)"):
        feature_shapes(stages)


class Deciding(nn.Module):
    """Asks for a shape in its forward, or for a value; or returns its maps in a list or dict."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)

    def forward(self, x):
        x = self.a(x)
        if (self.how == "shape" and x.shape[-1] % 2) or (self.how == "value" and x.sum() > 0):
            x = x[..., 1:]
        return self.b(x)


@pytest.mark.parametrize("how", ["shape", "value"])
def test_a_forward_that_decides_is_named(how):
    with pytest.raises(
        ValueError, match=r"Deciding cannot be traced \(.*\): write the nn.Sequential of stages by hand"
    ):
        as_stages(Deciding(how), ["a", "b"])


def test_wrapped_networks_say_where_the_network_is():
    for wrapped, name in ((nn.DataParallel(Functions()), "module"), (torch.compile(Functions()), "_orig_mod")):
        with pytest.raises(ValueError, match=f"expected the network itself, found a .*: give model.{name}"):
            as_stages(wrapped, ["a", "b"])


def test_gradient_checkpointing_is_named():
    model = Functions()
    model.drop.grad_checkpointing = True
    with pytest.raises(ValueError, match=r"no gradient checkpointing.*set_grad_checkpointing\(False\)"):
        as_stages(model, ["a", "drop"])


class Convolutions(nn.Module):
    """Two convolutions, with what a forward has between them."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.between = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), between

    def forward(self, x):
        return self.b(self.between(self.a(x), self))


def test_a_function_that_would_keep_its_mode_is_refused():
    net = Convolutions(lambda x, net: F.dropout(F.relu(x), 0.5, net.training))
    with pytest.raises(ValueError, match=r"dropout and the like as modules, found the functions \['dropout'\]"):
        as_stages(net, ["a", "b"])
    as_stages(Convolutions(lambda x, net: torch.add(F.relu(x), 1).flatten(2).unflatten(2, x.shape[2:])), ["a", "b"])


def test_an_error_without_words_is_named_by_its_kind():
    def wordless(x, net):
        raise AssertionError

    with pytest.raises(ValueError, match=r"cannot be traced \(AssertionError\)"):
        as_stages(Convolutions(wordless), ["a", "b"])


@pytest.mark.parametrize(("returned", "name"), [(lambda x: [x], "list"), (lambda x: {"out": x}, "dict")])
def test_a_stage_that_returns_no_tensor_is_named(returned, name):
    class Odd(nn.Conv2d):
        def forward(self, x):
            return returned(super().forward(x))

    with pytest.raises(ValueError, match=f"after stage '0', found a {name}: .*let each return one tensor"):
        feature_shapes(nn.Sequential(Odd(3, 3, 1)))


def test_what_leads_out_of_the_chain_is_left_out():
    class Auxiliary(Functions):
        def forward(self, x):
            x = self.a(x)
            aside = self.drop(x)
            return self.fc(self.b(x + 1).mean((2, 3))), aside

    stages = as_stages(Auxiliary(), ["a", "b"])
    assert [name for name, _ in stages.b.named_children()] == ["b"]
