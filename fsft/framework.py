"""The multi-classifier learning framework (Section 3.2, eq. 2-6, Figure 3; Appendix B, segments 2 and 3).

Shapes: B images, N classes, M = T + 1 masks. Joint logits are (B, M, N * M): first the mask that was applied, then the
joint class ``y * M + j`` that is scored. A transform of the input with R versions (SLA) multiplies the number of views:
M becomes R * M, and view j of the image is ``version * M + mask``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsft.masks import apply_masks, joint_labels, masked_average_pool, no_masks, quadrant_masks
from fsft.stages import feature_shapes

AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # device types that have it; "meta" does not
MODES = ("si", "ag-last", "ag", "ag-logits", "sd")


class JointOutput(NamedTuple):
    """What :class:`JointNet` returns.

    Attributes:
        last: (B, M, N * M) joint logits after the last stage, Fc_m.
        penultimate: (B, M, N * M) joint logits after the penultimate tap, Fc_{m-1}; None with a single tap.
        distilled: (B, N) logits of the self-distillation classifier; None without it.
    """

    last: Tensor
    penultimate: Tensor | None = None
    distilled: Tensor | None = None


class PlainNet(nn.Module):
    """The baseline: stages, global average pooling, one linear classifier. (B, 3, H, W) to logits (B, N).

    Args:
        stages: named stages, see :func:`fsft.backbone`.
        num_classes: N.
        input_size: side of the input images in pixels.
        drop_in_training: from 1 to 4, the row of :func:`fsft.quadrant_masks` that multiplies the last features in
            training mode, so that the classifier never learns from this quadrant: the toy experiment of Figure 1. In
            evaluation mode the whole map counts.
    """

    def __init__(
        self, stages: nn.Sequential, num_classes: int, input_size: int = 32, drop_in_training: int | None = None
    ):
        super().__init__()
        self.stages = stages
        self.num_classes = num_classes
        *_, (channels, height, width) = feature_shapes(stages, input_size).values()
        _check_classes(num_classes)
        self.fc = nn.Linear(channels, num_classes)
        if drop_in_training not in (None, 1, 2, 3, 4):
            raise ValueError(f"expected a quadrant from 1 to 4 or None, found drop_in_training={drop_in_training!r}")
        self.kept_in_training: Tensor | None
        kept = None if drop_in_training is None else quadrant_masks(height, width)[drop_in_training, None]
        self.register_buffer("kept_in_training", kept, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(x)
        if self.training and self.kept_in_training is not None:
            return _logits(self.fc, masked_average_pool(features, self.kept_in_training)[:, 0])
        return _logits(self.fc, features.mean((-2, -1)))


class JointNet(nn.Module):
    """A backbone with a joint classifier after each tapped stage (Figure 3).

    A transform with joint labels can sit at three depths: on the pooled features at the taps, which is FSFT and costs
    next to nothing; after an earlier stage (``transform_after``, the "Trans after" rows of Table 5); or at the input
    (``input_transform``, SLA). The latter two send every view through the rest of the network.

    Args:
        stages: named stages, see :func:`fsft.backbone`. They are used as they are, not copied.
        num_classes: N.
        taps: names of the stages whose features are masked and classified: penultimate, then last. A single name gives
            the network of eq. 2, without the penultimate classifier. The last tap must be the last stage. None takes
            the last two stages. Between stages, a pre-activation network is tapped before its next BN-ReLU.
        masks: function (height, width) -> (M, height, width); M must not depend on the size.
        self_distill: adds the classifier Fc(.; mu) of eq. 6, which sees the unmasked features of the last stage.
        input_size: side of the input images in pixels, used once to find the channels at the taps.
        transform_after: name of a stage, not behind the first tap: the masks are applied there instead of at the taps.
            Without convolutions in between, at a single tap, there is no difference.
        input_transform: function (B, 3, H, W) -> (B, R, 3, H, W), such as :func:`fsft.four_rotations`, for the images.
            ``masks=no_masks`` makes it the only transform.

    Raises:
        ValueError: unknown, repeated or misplaced taps or transform, fewer than one class.
    """

    def __init__(
        self,
        stages: nn.Sequential,
        num_classes: int,
        taps: tuple[str, ...] | None = None,
        masks: Callable[[int, int], Tensor] = quadrant_masks,
        self_distill: bool = False,
        input_size: int = 32,
        transform_after: str | None = None,
        input_transform: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        shapes = feature_shapes(stages, input_size)
        if not callable(masks):
            raise ValueError(f"expected masks as a function of (H, W), such as fsft.quadrant_masks, found {masks!r}")
        taps = tuple(shapes)[-2:] if taps is None else tuple(taps)
        _check_taps(taps, tuple(shapes), transform_after)
        _check_classes(num_classes)
        self.stages = stages
        self.num_classes = num_classes
        self.taps = taps
        self.transform_after = transform_after
        self.input_transform = input_transform
        masked = taps if transform_after is None else (transform_after,)
        for name in dict.fromkeys((*masked, *taps)):
            family = masks if name in masked else no_masks
            # Buffers: they follow .to(device), but are derived from the taps, so checkpoints need not hold them.
            self.register_buffer(f"masks_{name}", family(*shapes[name][1:]), persistent=False)
        _check_masks({name: self.masks_of(name) for name in masked}, shapes)
        self.num_masks = len(self.masks_of(masked[0]))
        versions = 1 if input_transform is None else input_transform(torch.zeros(1, 3, input_size, input_size)).shape[1]
        self.num_views = versions * self.num_masks
        joint_classes = num_classes * self.num_views
        last_channels = shapes[taps[-1]][0]
        self.fc_last = nn.Linear(last_channels, joint_classes)
        self.fc_penultimate = nn.Linear(shapes[taps[0]][0], joint_classes) if len(taps) == 2 else None
        self.fc_distilled = nn.Linear(last_channels, num_classes) if self_distill else None

    def masks_of(self, tap: str) -> Tensor:
        """The masks (M, H, W) that are applied after the stage ``tap``."""
        return self.get_buffer(f"masks_{tap}")

    def joint_heads(self) -> list[nn.Linear]:
        """The joint classifiers, last first."""
        return [self.fc_last] if self.fc_penultimate is None else [self.fc_last, self.fc_penultimate]

    def forward(self, x: Tensor) -> JointOutput:
        batch = len(x)
        if self.input_transform is not None:
            x = _as_batch(self.input_transform(x), like=x)
        pooled = {}
        for name, stage in self.stages.named_children():
            x = stage(x)
            if name in self.taps:
                # Views that are in the batch already come before the masks: view = version * M + mask.
                pooled[name] = masked_average_pool(x, self.masks_of(name)).reshape(batch, self.num_views, -1)
            if name == self.transform_after and name != self.taps[-1]:
                x = _as_batch(apply_masks(x, self.masks_of(name)), like=x)
        last = pooled[self.taps[-1]]
        return JointOutput(
            last=_logits(self.fc_last, last),
            penultimate=None if self.fc_penultimate is None else _logits(self.fc_penultimate, pooled[self.taps[0]]),
            # View 0 is the image as it is, without a mask, so row 0 is the ordinary pooled feature.
            distilled=None if self.fc_distilled is None else _logits(self.fc_distilled, last[:, 0]),
        )


def matching_logits(joint: Tensor) -> Tensor:
    """From joint logits, the scores of the N classes under the mask that was really applied: theta_{yj} f_j.

    We know which mask j each view has, so only the columns ``y * M + j`` of that j compete (Section 3.2).

    Args:
        joint: (B, M, N * M).

    Returns:
        (B, M, N).
    """
    num_masks = joint.shape[1]
    by_mask = joint.unflatten(2, (-1, num_masks))  # (B, view, N, mask)
    return by_mask.diagonal(dim1=1, dim2=3).transpose(1, 2)


def aggregated_logits(joint: Tensor) -> Tensor:
    """s_{m,y} of eq. 4: matching logits averaged over the M views. (B, M, N * M) to (B, N).

    The paper writes theta_{jj}; the only reading that scores class y is theta_{yj}, which is also SLA's definition.
    """
    return matching_logits(joint).mean(1)


def predict(output: JointOutput, mode: str) -> Tensor:
    """Class probabilities in one of the paper's inference modes.

    Args:
        output: what a :class:`JointNet` returned.
        mode: ``"si"`` single inference, eq. 5: the last classifier on the untouched features;
            ``"ag-last"`` the last classifier aggregated over all views, P_{m,AG};
            ``"ag"`` aggregated inference of aggregations, eq. 4: the mean of P_{m,AG} and P_{m-1,AG};
            ``"ag-logits"`` what later code of this method does instead: the softmax of the mean over all 2 M scores;
            ``"sd"`` the self-distillation classifier.

    Returns:
        (B, N) probabilities in float32.

    Raises:
        ValueError: an unknown mode, or one that this network has no classifier for.
    """
    if mode not in modes(output):
        raise ValueError(
            f"expected a mode among {modes(output)}, found {mode!r}"
            + ("; this network lacks the classifier that it needs" if mode in MODES else "")
        )
    if mode == "si":
        return _softmax(matching_logits(output.last)[:, 0])
    if mode == "ag-last":
        return _softmax(aggregated_logits(output.last))
    if mode == "sd":
        assert output.distilled is not None
        return _softmax(output.distilled)
    assert output.penultimate is not None
    last, penultimate = aggregated_logits(output.last), aggregated_logits(output.penultimate)
    if mode == "ag-logits":
        return _softmax((last + penultimate) / 2)
    return (_softmax(last) + _softmax(penultimate)) / 2


def modes(output: JointOutput) -> tuple[str, ...]:
    """The inference modes that an output offers, in the order of :data:`MODES`."""
    missing = {"ag", "ag-logits"} if output.penultimate is None else set()
    if output.distilled is None:
        missing.add("sd")
    return tuple(mode for mode in MODES if mode not in missing)


def joint_loss(output: JointOutput, labels: Tensor, beta: float = 1.0, temperature: float = 1.0) -> Tensor:
    """The training objective: eq. 3, and eq. 6 when ``output.distilled`` is there.

    Eq. 3 averages the cross-entropy over the M views and adds the penultimate classifier's with weight ``beta``.
    Eq. 6 adds the distilled classifier's cross-entropy and its divergence from the teacher P_AG.

    Args:
        output: what a :class:`JointNet` returned.
        labels: (B,) integer class labels y.
        beta: weight of the penultimate classifier.
        temperature: of the divergence in eq. 6, see :func:`distillation_loss`.

    Returns:
        Scalar, averaged over the batch, in nats.
    """
    targets = joint_labels(labels, output.last.shape[1]).flatten()
    loss = F.cross_entropy(output.last.flatten(0, 1), targets)
    if output.penultimate is not None:
        loss = loss + beta * F.cross_entropy(output.penultimate.flatten(0, 1), targets)
    if output.distilled is not None:
        loss = loss + F.cross_entropy(output.distilled, labels) + distillation_loss(output, temperature)
    return loss


def distillation_loss(output: JointOutput, temperature: float = 1.0) -> Tensor:
    """KL(P_AG || Fc(f; mu)), the last term of eq. 6: a scalar in nats, averaged over the batch.

    The teacher is detached, as in SLA: the joint classifiers are not pulled towards their student. With a single tap
    the teacher is P_{m,AG}. The paper names no ``temperature``; later code of this method divides all scores by 3 and
    multiplies the divergence by 9, which keeps the size of its gradient.
    """
    assert output.distilled is not None
    penultimate = None if output.penultimate is None else output.penultimate / temperature
    softer = JointOutput(output.last / temperature, penultimate)
    teacher = predict(softer, "ag" if penultimate is not None else "ag-last").detach()
    student = F.log_softmax(output.distilled.float() / temperature, -1)
    divergence = F.kl_div(student, teacher, reduction="batchmean")
    return temperature**2 * divergence


def _as_batch(views: Tensor, like: Tensor) -> Tensor:
    """(B, M, C, H, W) to (B * M, C, H, W), the views of an image in a row, in the memory format of ``like``."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    return views.flatten(0, 1).contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _logits(classifier: nn.Linear, pooled: Tensor) -> Tensor:
    """A classifier's scores in its own precision, under autocast too.

    In bf16 scores have three digits: the two highest are then equal for some images in a hundred, and their order in
    the list of classes would decide.
    """
    # Asking torch.amp.is_autocast_available would stop torch.compile and torch.export before 2.12.
    autocast = pooled.device.type in AUTOCAST
    with torch.autocast(pooled.device.type, enabled=False) if autocast else contextlib.nullcontext():
        return classifier(pooled.to(classifier.weight.dtype))


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), -1)


def _check_classes(num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f"expected at least one class, found num_classes={num_classes}")


def _check_masks(families: dict[str, Tensor], shapes: dict[str, tuple[int, int, int]]) -> None:
    """View 0 has to be the whole map, for single inference and the student, and every tap needs the same labels."""
    for name, family in families.items():
        if family.ndim != 3 or family.shape[1:] != shapes[name][1:] or len(family) == 0:
            size = "{1} x {2}".format(*shapes[name])
            raise ValueError(f"expected masks (M, H, W) of {size} for {name!r}, found {tuple(family.shape)}")
        if not (family.is_meta or bool((family[0] == 1).all())):
            raise ValueError(f"expected masks whose first keeps everything (M_0 of eq. 1), found another for {name!r}")
    counts = [len(family) for family in families.values()]
    if len(set(counts)) > 1:
        raise ValueError(f"expected as many masks at every tap, found {counts}")


def _check_taps(taps: tuple[str, ...], stage_names: tuple[str, ...], transform_after: str | None) -> None:
    unknown = [name for name in (*taps, transform_after) if name not in (*stage_names, None)]
    if unknown:
        raise ValueError(f"expected taps among the stages {stage_names}, found {unknown}")
    if len(taps) not in (1, 2) or len(set(taps)) != len(taps):
        raise ValueError(f"expected one or two different taps (penultimate, last), found {taps}")
    if taps[-1] != stage_names[-1]:
        raise ValueError(f"expected the last tap to be the last stage {stage_names[-1]!r}, found {taps[-1]!r}")
    if transform_after is not None and stage_names.index(transform_after) > stage_names.index(taps[0]):
        raise ValueError(f"expected the transform not behind the first tap {taps[0]!r}, found {transform_after!r}")
