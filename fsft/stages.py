"""Named stages: the form in which every network of this package and of others comes to FSFT (Section 3, "Notation").

A network's convolutional part is an ``nn.Sequential`` of stages L_1, ..., L_m with names, so that features can be
tapped after any of them. :func:`as_stages` brings other people's classifiers into this form.
"""

import inspect
import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


def input_channels(stages: nn.Module) -> int:
    """The channels of the images that a network takes: its first convolution's, or 3 without one."""
    return next((m.in_channels for m in stages.modules() if isinstance(m, nn.Conv2d)), 3)


@torch.no_grad()
def feature_shapes(stages: nn.Sequential, input_size: int = 32) -> dict[str, tuple[int, int, int]]:
    """(C, H, W) after each named stage for square images of ``input_size`` pixels.

    Runs one black image in evaluation mode, so batch statistics stay as they are, and so does the mode of every part.
    """
    if not isinstance(stages, nn.Sequential):
        raise ValueError(f"expected an nn.Sequential of stages, found {type(stages).__name__}: see fsft.as_stages")
    modes = [(module, module.training) for module in stages.modules()]
    parameter = next(stages.parameters(), None)
    if parameter is None:
        raise ValueError(f"expected stages with parameters, found none in {tuple(dict(stages.named_children()))}")
    x = parameter.new_zeros(1, input_channels(stages), input_size, input_size)
    shapes = {}
    stages.eval()
    try:
        for name, stage in stages.named_children():
            x = stage(x)
            if not isinstance(x, Tensor) or x.ndim != 4:
                found = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
                raise ValueError(
                    f"expected a feature map (B, C, H, W) after stage {name!r}, found {found}: "
                    "end the stages before the network's pooling, and let each return one tensor"
                )
            shapes[name] = (x.shape[1], x.shape[2], x.shape[3])
    finally:
        for module, training in modes:
            module.training = training
    return shapes


def he_initialization(module: nn.Module) -> None:
    """He et al. (2015), fan-out, for convolutions: variance 2 / (k * k * out_channels)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Append zero channels: (B, C, H, W) to (B, channels, H, W), on any device and in any dtype."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


def as_stages(model: nn.Module, nodes: Mapping[str, str] | Sequence[str]) -> nn.Sequential:
    """Cut a classifier, such as torchvision's or timm's, into named stages.

    ::

        as_stages(resnet50(), ["maxpool", "layer1", "layer2", "layer3", "layer4"])
        as_stages(convnext_tiny(), {"features.1": "layer1", "features.3": "layer2", "features.7": "layer3"})

    A stage holds everything between two nodes, also functions and operators of the model's ``forward``; what comes
    after the last node (normalization, pooling, classifier) is left out. The nodes are executed as they are, so dropout
    and stochastic depth inside them keep following ``train()`` and ``eval()``; outside, an ``if self.training:`` keeps
    the branch of the mode in which the model is.

    Args:
        model: its modules are shared with the result, not copied.
        nodes: the modules after which to cut, by qualified name and in the order in which they run; or a mapping from
            them to stage names. Without a mapping, ``features.1`` becomes the stage ``features_1``.

    ValueError: a node does not exist or runs out of order, a connection passes around it, the forward cannot be traced,
    or a function in it, such as ``F.dropout(x, p, self.training)``, would stay in the mode in which it was traced.
    """
    for wrapped in ("module", "_orig_mod"):  # of DataParallel, of torch.compile
        if isinstance(getattr(model, wrapped, None), nn.Module):
            raise ValueError(f"expected the network itself, found a {type(model).__name__}: give model.{wrapped}")
    if any(getattr(module, "grad_checkpointing", False) for module in model.modules()):
        raise ValueError("expected no gradient checkpointing, which cannot be cut: model.set_grad_checkpointing(False)")
    names = dict(nodes) if isinstance(nodes, Mapping) else {node: node.replace(".", "_") for node in nodes}
    if len(set(names.values())) < len(names):
        raise ValueError(f"expected a name of its own for each stage, found {tuple(names.values())}")
    modules = dict(model.named_modules())
    unknown = [node for node in names if not node or node not in modules]
    if unknown or not names:
        raise ValueError(f"expected the names of some modules inside {type(model).__name__}, found {unknown}")
    try:
        graph = _StageTracer(tuple(names)).trace(model)
    except Exception as error:  # whatever a forward does with a value or a shape that is not there yet
        raise ValueError(
            f"expected a forward that decides nothing by values or shapes, but {type(model).__name__} cannot be traced "
            f"({(str(error).splitlines() or [type(error).__name__])[0]}): write the nn.Sequential of stages by hand"
        ) from error
    steps = [step for step in graph.nodes if step.op not in ("placeholder", "output")]
    called = [step.target for step in steps]
    missing = [node for node in names if node not in called]
    if missing:
        raise ValueError(f"expected every node to be called by the network itself, found {missing} never called")
    ends = [called.index(node) + 1 for node in names]
    if sorted(ends) != ends:
        raise ValueError(f"expected the nodes in the order in which they run, found {tuple(names)}")
    if frozen := [str(step) for step in steps[: ends[-1]] if _asks_for_mode(step)]:
        raise ValueError(
            f"expected dropout and the like as modules, found the functions {frozen}, which would stay in the mode in "
            "which the network was cut: write nn.Dropout in place of F.dropout(x, p, self.training)"
        )
    source = next(step for step in graph.nodes if step.op == "placeholder")
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for name, (begin, end) in zip(names.values(), itertools.pairwise([0, *ends]), strict=True):
        stages[name] = _stage(model, source, steps[begin:end], name)
        source = steps[end - 1]
    return nn.Sequential(stages)


def _asks_for_mode(step: fx.Node) -> bool:
    """Whether a step is a function that was told `training`, as a value that the trace has fixed."""
    if not callable(step.target):
        return False
    try:
        return "training" in inspect.signature(step.target).bind(*step.args, **step.kwargs).arguments
    except (TypeError, ValueError):  # a builtin without a signature
        return False


class _StageTracer(fx.Tracer):
    """Looks inside a module only where it has to, because a node lies within: the rest may do what fx cannot trace."""

    def __init__(self, nodes: tuple[str, ...]):
        super().__init__()
        self.nodes = nodes

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(node.startswith(module_qualified_name + ".") for node in self.nodes)


def _stage(model: nn.Module, source: fx.Node, steps: list[fx.Node], name: str) -> nn.Module:
    """The steps of a traced network as a module: from the value of ``source`` to the value of the last step."""
    used = {steps[-1]}
    for step in reversed(steps):
        used.update(step.all_input_nodes if step in used else ())
    steps = [step for step in steps if step in used]  # not an auxiliary classifier, which leads out of the chain
    chain = [source, *steps]
    if all(step.op == "call_module" and step.args == (before,) for before, step in itertools.pairwise(chain)):
        parts = OrderedDict(
            (str(step.target).replace(".", "_"), model.get_submodule(str(step.target))) for step in steps
        )
        return nn.Sequential(parts) if len(parts) > 1 else next(iter(parts.values()))
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for step in steps:
        around = [str(value) for value in step.all_input_nodes if value not in copies]
        if around:
            raise ValueError(
                f"expected everything after {source} to depend on it alone, found {around} used by {step} "
                f"in stage {name!r}: choose nodes where the network has a single connection"
            )
        copies[step] = graph.node_copy(step, copies.__getitem__)
    graph.output(copies[steps[-1]])
    return fx.GraphModule(model, graph, name)
