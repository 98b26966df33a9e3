"""The multi-classifier learning framework (Section 3.2, eq. 2-6, Figure 3; Appendix B, segments 2 and 3).

Shapes: B images, N classes, M = T + 1 masks. Joint logits are (B, M, N * M): first the mask that was applied, then the
joint class ``y * M + j`` that is scored. A transform of the input with R versions (SLA) multiplies the number of views:
M becomes R * M, and view j of the image is ``version * M + mask``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsft.masks import SizedMasks, apply_masks, joint_labels, masked_average_pool, no_masks, quadrant_masks
from fsft.stages import feature_shapes, input_channels

AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # device types that have it; "meta" does not
MODES = ("si", "ag-last", "ag", "ag-logits", "sd")


class JointOutput(NamedTuple):
    """What :class:`JointNet` returns."""

    last: Tensor  # (B, M, N * M) joint logits after the last stage, Fc_m
    penultimate: Tensor | None = None  # the same after the penultimate tap, Fc_{m-1}; None with a single tap
    distilled: Tensor | None = None  # (B, N) logits of the self-distillation classifier; None without it


class PlainNet(nn.Module):
    """The baseline: stages, global average pooling, one linear classifier. (B, 3, H, W) to logits (B, N).

    ``drop_in_training``, from 1 to 4, is the row of :func:`fsft.quadrant_masks` that multiplies the last features in
    training mode, so that the classifier never learns from this quadrant: the toy experiment of Figure 1. In evaluation
    mode the whole map counts. The other arguments are those of :class:`JointNet`.
    """

    def __init__(
        self, stages: nn.Sequential, num_classes: int, input_size: int = 32, drop_in_training: int | None = None
    ):
        super().__init__()
        self.stages, self.num_classes, self.drop_in_training = stages, num_classes, drop_in_training
        *_, (channels, height, width) = feature_shapes(stages, input_size).values()
        _check_classes(num_classes)
        self.fc = nn.Linear(channels, num_classes)
        if drop_in_training not in (None, 1, 2, 3, 4):
            raise ValueError(f"expected a quadrant from 1 to 4 or None, found drop_in_training={drop_in_training!r}")
        self.masks = None if drop_in_training is None else SizedMasks(quadrant_masks, height, width)
        self.to(next(stages.parameters()).device)  # where they may be in use already

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(x)
        if self.training and self.masks is not None and self.drop_in_training is not None:
            kept = self.masks(features)[self.drop_in_training, None]
            return _logits(self.fc, masked_average_pool(features, kept)[:, 0])
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
        masks: function (height, width) -> (M, height, width), called for each size of features; M is always the same.
        self_distill: adds the classifier Fc(.; mu) of eq. 6, which sees the unmasked features of the last stage.
        input_size: side in pixels of the images to expect. Others work too, also if they are not square.
        transform_after: name of a stage, not behind the first tap: the masks are applied there instead of at the taps.
            Without convolutions in between, at a single tap, there is no difference.
        input_transform: function (B, 3, H, W) -> (B, R, 3, H, W), such as :func:`fsft.four_rotations`, for the images.
            The first of the R versions is the image as it is, which single inference and the student see.
            ``masks=no_masks`` makes it the only transform.
    """

    def __init__(
        self,
        stages: nn.Sequential,
        num_classes: int,
        taps: str | tuple[str, ...] | None = None,
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
        taps = tuple(shapes)[-2:] if taps is None else (taps,) if isinstance(taps, str) else tuple(taps)
        _check_taps(taps, tuple(shapes), transform_after)
        _check_classes(num_classes)
        self.stages, self.num_classes, self.taps = stages, num_classes, taps
        self.transform_after, self.input_transform = transform_after, input_transform
        masked = taps if transform_after is None else (transform_after,)
        self.masks = nn.ModuleDict({name: SizedMasks(no_masks, *shapes[name][1:]) for name in taps})
        self.masks.update({name: SizedMasks(masks, *shapes[name][1:]) for name in masked})
        counts = [len(self.masks_of(name)) for name in masked]
        if len(set(counts)) > 1:
            raise ValueError(f"expected as many masks at every tap, found {counts}")
        self.num_masks = counts[0]
        self.num_views = self.num_masks
        if input_transform is not None:
            self.num_views *= _count_versions(input_transform, (1, input_channels(stages), input_size, input_size))
        joint_classes = num_classes * self.num_views
        last_channels = shapes[taps[-1]][0]
        self.fc_last = nn.Linear(last_channels, joint_classes)
        self.fc_penultimate = nn.Linear(shapes[taps[0]][0], joint_classes) if len(taps) == 2 else None
        self.fc_distilled = nn.Linear(last_channels, num_classes) if self_distill else None
        self.to(next(stages.parameters()).device)  # where they may be in use already

    def masks_of(self, tap: str) -> Tensor:
        """The masks (M, H, W) that are applied after the stage ``tap`` to images of ``input_size``."""
        return self.get_buffer(f"masks.{tap}.usual")

    def joint_heads(self) -> list[nn.Linear]:
        """The joint classifiers, last first."""
        return [self.fc_last] if self.fc_penultimate is None else [self.fc_last, self.fc_penultimate]

    def forward(self, x: Tensor) -> JointOutput:
        if self.input_transform is not None:
            x = _as_batch(self.input_transform(x), like=x)
        pooled = {}
        for name, stage in self.stages.named_children():
            x = stage(x)
            if name in self.taps:
                # Views that are in the batch already come before the masks: view = version * M + mask.
                pooled[name] = masked_average_pool(x, self.masks[name](x)).reshape(-1, self.num_views, x.shape[1])
            if name == self.transform_after and name != self.taps[-1]:
                x = _as_batch(apply_masks(x, self.masks[name](x)), like=x)
        last = pooled[self.taps[-1]]
        return JointOutput(
            last=_logits(self.fc_last, last),
            penultimate=None if self.fc_penultimate is None else _logits(self.fc_penultimate, pooled[self.taps[0]]),
            # View 0 is the image as it is, without a mask, so row 0 is the ordinary pooled feature.
            distilled=None if self.fc_distilled is None else _logits(self.fc_distilled, last[:, 0]),
        )


def matching_logits(joint: Tensor) -> Tensor:
    """Scores of the N classes under the mask that was really applied, theta_{yj} f_j: (B, M, N * M) to (B, M, N).

    We know which mask j each view has, so only the columns ``y * M + j`` of that j compete (Section 3.2).
    """
    by_mask = joint.unflatten(2, (-1, joint.shape[1]))  # (B, view, N, mask)
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
    """
    scores = mode_scores(output, mode)
    return torch.stack([torch.softmax(one.float(), -1) for one in scores]).mean(0)


def mode_scores(output: JointOutput, mode: str) -> tuple[Tensor, ...]:
    """The scores (B, N) that an inference mode turns into probabilities: two only for ``"ag"``, which averages these.

    ValueError for a mode that the output does not offer.
    """
    _check_output(output)
    if mode not in modes(output):
        lacking = "; this network lacks the classifier that it needs" if mode in MODES else ""
        raise ValueError(f"expected a mode among {modes(output)}, found {mode!r}{lacking}")
    if mode == "si":
        return (matching_logits(output.last)[:, 0],)
    if mode == "sd" and output.distilled is not None:
        return (output.distilled,)
    last = aggregated_logits(output.last)
    if mode == "ag-last" or output.penultimate is None:
        return (last,)
    penultimate = aggregated_logits(output.penultimate)
    return (last, penultimate) if mode == "ag" else ((last + penultimate) / 2,)


def modes(output: JointOutput) -> tuple[str, ...]:
    """The inference modes that an output offers, in the order of :data:`MODES`."""
    missing = ("ag", "ag-logits") * (output.penultimate is None) + ("sd",) * (output.distilled is None)
    return tuple(mode for mode in MODES if mode not in missing)


def joint_loss(
    output: JointOutput,
    labels: Tensor,
    beta: float = 1.0,
    temperature: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The training objective: eq. 3, and eq. 6 when ``output.distilled`` is there.

    Eq. 3 averages the cross-entropy over the M views and adds the penultimate classifier's with weight ``beta``.
    Eq. 6 adds the distilled classifier's cross-entropy and its divergence from the teacher P_AG.

    Whatever is soft about a label, the mask of a view is known. So with class probabilities p, the target of view j is
    p_y on each joint class (y, j), and 0 on those of other masks; smoothing by s first turns p_y into
    ``(1 - s) p_y + s / N``. A class weight w_y counts for (y, j) with every j, and each cross-entropy is the weighted
    mean: divided by the sum of w_y p_y, so that a label and its one-hot vector give the same.

    Args:
        output: what a :class:`JointNet` returned.
        labels: (B,) integer class labels y, or (B, N) class probabilities, such as those of timm's Mixup and CutMix.
        beta: weight of the penultimate classifier.
        temperature: of the divergence in eq. 6, see :func:`distillation_loss`.
        label_smoothing, class_weights: s, from 0 to 1, and w (N,), at least 0.

    Returns:
        Scalar, averaged over the batch, in nats.
    """
    _check_output(output)
    views, num_classes = output.last.shape[1], output.last.shape[2] // output.last.shape[1]
    _check_targets(labels, len(output.last), num_classes, class_weights)
    if not (0 <= beta < math.inf and 0 < temperature < math.inf and 0 <= label_smoothing <= 1):
        raise ValueError(
            "expected beta of at least 0, a temperature above 0 and label_smoothing from 0 to 1, "
            f"found {beta}, {temperature} and {label_smoothing}"
        )
    if labels.ndim == 1 and not label_smoothing and class_weights is None:
        targets, of_image = joint_labels(labels, views), labels.long()[:, None]
    else:
        targets = of_image = _soft(labels, num_classes, label_smoothing, class_weights)
    loss = _cross_entropy(output.last, targets)
    if output.penultimate is not None:
        loss = loss + beta * _cross_entropy(output.penultimate, targets)
    if output.distilled is not None:
        loss = loss + _cross_entropy(output.distilled[:, None], of_image) + distillation_loss(output, temperature)
    return loss


def _soft(labels: Tensor, num_classes: int, smoothing: float, weights: Tensor | None) -> Tensor:
    """(B, N): how much each class counts for each image, w_y p_y."""
    shares = F.one_hot(labels.long(), num_classes).float() if labels.ndim == 1 else labels
    shares = (1 - smoothing) * shares + smoothing / num_classes
    return shares if weights is None else shares * weights


def _cross_entropy(joint: Tensor, targets: Tensor) -> Tensor:
    """Of joint logits (B, M, N * M), averaged over images and views; targets are labels (B, M) or shares (B, N)."""
    if not targets.is_floating_point():
        return F.cross_entropy(joint.flatten(0, 1), targets.flatten())
    of_known_mask = matching_logits(joint.log_softmax(-1))
    return -(targets[:, None] * of_known_mask).sum() / (targets.sum() * joint.shape[1])


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
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return views.flatten(0, 1).contiguous(memory_format=memory_format)


def _logits(classifier: nn.Linear, pooled: Tensor) -> Tensor:
    """A classifier's scores in its own precision, under autocast too.

    In bf16 scores have three digits: the two highest are then equal for some images in a hundred, and their order in
    the list of classes would decide.
    """
    pooled = pooled.to(classifier.weight.dtype)
    device = pooled.device.type
    # Only where it is on: an exported program with a context in it cannot be saved.
    if device in AUTOCAST and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return classifier(pooled)
    return classifier(pooled)


def _count_versions(input_transform: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> int:
    example = torch.linspace(0, 1, math.prod(shape)).view(shape)
    versions = input_transform(example)
    if versions.ndim != 5 or not (versions.is_meta or torch.equal(versions[:, 0], example)):
        found = f"shape {tuple(versions.shape)}" if versions.ndim != 5 else "another first version"
        raise ValueError(f"expected an input_transform to (B, R, C, H, W), the image as it is first, found {found}")
    return versions.shape[1]


def _check_classes(num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f"expected at least one class, found num_classes={num_classes}")


def _check_output(output: object) -> None:
    if not isinstance(output, JointOutput):
        like = "as in joint_loss(net(x), y) and predict(net(x), 'si')"
        raise TypeError(f"expected what a JointNet returns, {like}, found a {type(output).__name__}")


def _check_targets(labels: Tensor, images: int, num_classes: int, weights: Tensor | None) -> None:
    if labels.shape != ((images, num_classes) if labels.is_floating_point() else (images,)):
        targets = f"integer class labels ({images},) or class probabilities ({images}, {num_classes})"
        raise ValueError(f"expected for {images} images {targets}, found {labels.dtype} of {tuple(labels.shape)}")
    if weights is not None and weights.shape != (num_classes,):
        raise ValueError(f"expected a weight for each of {num_classes} classes, found shape {tuple(weights.shape)}")
    # Only on the CPU: on a GPU a look at the numbers would make the host wait for the device at every step.
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if labels.ndim == 1 and not ((labels >= 0) & (labels < num_classes)).all():
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"expected class labels from 0 to {num_classes - 1}, found {found}")
    if labels.ndim == 2 and not ((labels >= 0).all() and ((labels.sum(1) - 1).abs() < 1e-2).all()):
        raise ValueError("expected class probabilities of at least 0 that add up to 1 for each image, found others")
    if weights is not None and not ((weights >= 0) & weights.isfinite()).all():
        raise ValueError(f"expected finite class weights of at least 0, found {weights.tolist()}")


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
