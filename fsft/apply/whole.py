"""From somebody's whole classifier to a :class:`fsft.JointNet`, and from a trained one back to an ordinary network."""

import itertools
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from fsft.framework import JointNet
from fsft.stages import as_stages, input_channels

_ATTEMPTS = 40  # pairs of places at which a cut is tried; each traces the network once


class Taps(NamedTuple):
    """Where the last maps of a classifier are: qualified names of modules."""

    penultimate: str
    last: str
    left_out: tuple[str, ...]  # what has parameters between the last map and the classifier: a JointNet lacks it


class _Call(NamedTuple):
    name: str
    module: nn.Module
    shape: tuple[int, ...]  # of what it returned

    @property
    def depth(self) -> int:
        return self.name.count(".")


def joint(model: nn.Module, num_classes: int, *, input_size: int | None = None, **options: Any) -> JointNet:
    """FSFT on a whole image classifier, such as torchvision's or timm's, in one line.

    ::

        net = fsft.joint(timm.create_model("resnet50", pretrained=True), num_classes=10)

    The taps are those of :func:`find_taps`. What the classifier has behind its last map (normalization, dropout, hidden
    layers) is left out. The other modules are shared, not copied.

    Args:
        model: the classifier, with its own last layer.
        num_classes: N of your data.
        input_size: side in pixels of your images; None takes timm's for this model, or 224.
        options: more arguments of :class:`fsft.JointNet`, such as ``self_distill=True``.

    ValueError: the model has no maps to mask, or cannot be cut.
    """
    taps = find_taps(model, input_size)
    stages = as_stages(model, {taps.penultimate: "penultimate", taps.last: "last"})
    return JointNet(stages, num_classes, input_size=input_size or _usual_size(model), **options)


def find_taps(model: nn.Module, input_size: int | None = None) -> Taps:
    """The taps of a classifier, found by running it once on a black image, of `input_size` pixels where it refuses the
    usual ones (timm's for this model, or 224): at a small size the last map can be too small to be one.

    The last tap is the last map (B, C, H, W) before the classifier, and the penultimate tap the end of the stage before
    it: of the modules whose map is one step larger the outermost, and of these the last. At both the network has a
    single connection.
    """
    kind, usual = type(model).__name__, _usual_size(model)
    calls, classifier = _calls(model, usual, input_size or usual)
    count = Counter(call.name for call in calls)
    maps = [call for call in calls if len(s := call.shape) == 4 and s[2] == s[3] > 1 and count[call.name] == 1]
    behind = calls[calls.index(maps[-1]) + 1 :] if maps else calls
    channels_last = (
        f"expected maps with channels first, found that {kind} hands them on with channels last, as after {{!r}}: "
        "masks would drop channels, not places"
    )
    if turned := [call.name for call in behind if _is_turned(call.shape)]:
        raise ValueError(channels_last.format(turned[-1]))
    if tokens := [call.name for call in behind if len(call.shape) == 3 and call.shape[1] > 1]:
        found = f"{kind} ends in tokens, from {tokens[0]!r} on"
        raise ValueError(f"expected maps before the classifier, found that {found}")
    as_stages(model, [classifier])  # raises where nothing can be cut at all
    for penultimate, last in itertools.islice(_pairs(maps), _ATTEMPTS):
        if not _can_be_cut(model, penultimate.name, last.name):
            continue
        between = [call for call in calls[calls.index(penultimate) : calls.index(last)] if _is_turned(call.shape)]
        beside = [call for call in between if not _lies_in(penultimate, call)]
        outermost = min(beside, key=lambda call: call.depth, default=None)
        if outermost is not None and _can_be_cut(model, penultimate.name, outermost.name, last.name):
            raise ValueError(channels_last.format(outermost.name))
        behind = calls[calls.index(last) + 1 :]
        return Taps(penultimate.name, last.name, tuple(dict.fromkeys(call.name for call in behind if _own(call))))
    sides = sorted({call.shape[2] for call in maps})
    raise ValueError(
        f"expected two places with a single connection and maps of two sizes, found none in {kind}, whose maps have "
        f"the sides {sides}: name the nodes yourself, see fsft.as_stages"
    )


def single_inference_network(net: JointNet) -> nn.Sequential:
    """The ordinary network that is left for single inference (eq. 5): images (B, 3, H, W) to logits (B, N).

    It answers as ``fsft.predict(net(x), "si")`` does, with the layers of the baseline: ``stages`` (shared, not copied),
    ``pool``, ``flatten``, and ``fc`` with the columns y * M + 0 of the last joint classifier.
    """
    if not isinstance(net, JointNet):
        raise TypeError(f"expected a JointNet, found a {type(net).__name__}")
    fc = nn.Linear(net.fc_last.in_features, net.num_classes).to(net.fc_last.weight)
    fc.load_state_dict({name: values[:: net.num_views] for name, values in net.fc_last.state_dict().items()})
    parts = OrderedDict(stages=net.stages, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=fc)
    single = nn.Sequential(parts)
    for part in (single, *single[1:]):  # not the shared stages, whose BatchNorm somebody may have frozen
        part.training = net.training
    return single


def _pairs(maps: list[_Call]) -> Iterator[tuple[_Call, _Call]]:
    """Candidates for the penultimate and the last tap, the likeliest first."""
    for place, last in reversed(list(enumerate(maps))):
        larger = [call for call in maps[:place] if call.shape[2] > last.shape[2]]
        size = min((call.shape[2] for call in larger), default=0)
        # What lies inside the last tap cannot be tapped beside it; then the last tap is one of its own parts.
        free = [call for call in larger if call.shape[2] == size and not _lies_in(call, last)]
        yield from ((call, last) for call in sorted(reversed(free), key=lambda call: call.depth))


def _lies_in(call: _Call, outer: _Call) -> bool:
    return call.name.startswith(outer.name + ".")


def _own(call: _Call) -> bool:
    return any(True for _ in call.module.parameters(recurse=False))


def _is_turned(shape: tuple[int, ...]) -> bool:
    """(B, H, W, C) of a square image."""
    return len(shape) == 4 and shape[1] == shape[2] > 1 and shape[3] != shape[2]


def _can_be_cut(model: nn.Module, *nodes: str) -> bool:
    try:
        as_stages(model, nodes)
    except ValueError:
        return False
    return True


def _usual_size(model: nn.Module) -> int:
    return (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]


@torch.no_grad()
def _calls(model: nn.Module, *sizes: int) -> tuple[list[_Call], str]:
    """The modules that end before the classifier is asked, in order, and its name; at the first size that works."""
    calls: list[_Call] = []
    names = {module: name for name, module in model.named_modules() if name}

    def record(module: nn.Module, _: Any, output: Any) -> None:
        if module in names:
            calls.append(_Call(names[module], module, tuple(output.shape) if isinstance(output, Tensor) else ()))

    kind, parameter = type(model).__name__, next(model.parameters(), torch.zeros(()))
    training = [module for module in model.modules() if module.training]
    try:
        with register_module_forward_hook(record):
            output = model.eval()(parameter.new_zeros(2, input_channels(model), sizes[0], sizes[0]))
    except (RuntimeError, AssertionError) as error:
        if len(sizes) > 1:
            return _calls(model, *sizes[1:])
        found = f"found {error!r}: give the input_size that it takes"
        raise ValueError(f"expected a {kind} that takes images of {sizes[0]} pixels, {found}") from error
    finally:
        for module in training:
            module.training = True
    place = max((place for place, call in enumerate(calls) if _own(call)), default=-1)
    last = calls[place].module if calls else None
    outputs = getattr(last, "out_features", getattr(last, "out_channels", None))
    if not isinstance(output, Tensor) or output.ndim != 2 or outputs != output.shape[1]:
        expected = "expected an image classifier that ends in a linear layer"
        raise ValueError(f"{expected}, found that {kind} does not: build it with its classifier")
    return calls[:place], calls[place].name
