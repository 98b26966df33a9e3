"""Drawings of the method: masks and pretext task (Figure 2), joint labels, framework (Figure 3), where beta acts.

They only draw what they are given. A dropped region is hatched instead of dark, so that it is not taken for a small
activation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from fsft.figures import plots

KEPT, DROPPED = "#D9D9D9", "#000000"  # the grey and black of the paper's Figure 2
_MASK_CMAP = ListedColormap([DROPPED, KEPT])
# Lower left corners of the quadrants that the five masks drop, in half sides from the lower left of the map.
_CORNERS = (None, (0, 1), (1, 1), (0, 0), (1, 0))


def draw_mask(ax: Axes, mask: np.ndarray, title: str | None = None) -> None:
    """A binary mask (H, W): grey positions are kept, black ones dropped; thin lines separate the positions."""
    height, width = mask.shape
    plots.picture(ax, mask, title, cmap=_MASK_CMAP, vmin=0, vmax=1)
    for x in range(1, width):
        ax.axvline(x - 0.5, color="white", linewidth=0.4)
    for y in range(1, height):
        ax.axhline(y - 0.5, color="white", linewidth=0.4)


def draw_masked(ax: Axes, channel: np.ndarray, mask: np.ndarray, title: str | None = None, limits: Any = None) -> None:
    """One channel (H, W) of a feature map; positions that the mask drops are white and hatched.

    `limits` are the values of the darkest and the brightest color; without them, the channel's own.
    """
    low, high = limits or (channel.min(), channel.max())
    plots.picture(ax, np.where(mask > 0, channel, np.nan), title, cmap=plots.FEATURE_CMAP, vmin=low, vmax=high)
    _hatch(ax, mask, channel.shape)


def _hatch(ax: Axes, mask: np.ndarray, size: tuple[int, ...]) -> None:
    """Hatch what a mask (h, w) drops, on a picture of this size (H, W, ...)."""
    square = Path.unit_rectangle()
    height, width = size[0] / mask.shape[0], size[1] / mask.shape[1]
    cells = [
        Path(np.asarray(square.vertices) * (width, height) + (x * width - 0.5, y * height - 0.5), square.codes)
        for y, x in np.argwhere(mask == 0)
    ]
    if cells:
        # One patch for all cells: a hatch would start anew in each patch.
        outline = Path.make_compound_path(*cells)
        ax.add_patch(PathPatch(outline, facecolor="white", edgecolor=plots.GREY, hatch="////", linewidth=0))


def mask_row(masks: np.ndarray, names: Sequence[str] = plots.MASK_NAMES) -> Figure:
    """Masks (M, H, W) side by side in rows of five, each with its index and name."""
    columns = min(len(masks), 5)
    rows = math.ceil(len(masks) / columns)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(plots.WIDTH, rows * (plots.WIDTH / columns + 0.8)))
    for ax in axes.flat[len(masks) :]:
        ax.set_visible(False)
    for j, (ax, mask) in enumerate(zip(axes.flat, masks, strict=False)):
        name = names[j].replace(" dropped", "\ndropped") if j < len(names) else ""
        draw_mask(ax, mask)
        ax.set_title(f"$M_{{{j}}}$\n{name}", fontsize=11)
    return fig


def family_rows(families: Mapping[str, np.ndarray]) -> Figure:
    """Families of masks (M, H, W), one below the other, each named on the left; grey is kept, black is dropped."""
    counts = [len(masks) for masks in families.values()]
    size = (plots.WIDTH, len(families) * ((plots.WIDTH - 1.6) / max(counts) + 0.12) + 0.3)
    fig, axes = plt.subplots(len(families), max(counts), squeeze=False, figsize=size)
    for row, (name, masks) in zip(axes, families.items(), strict=True):
        for ax in row[len(masks) :]:
            ax.set_visible(False)
        for ax, mask in zip(row, masks, strict=False):
            draw_mask(ax, mask)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for j, ax in enumerate(axes[np.argmax(counts)]):
        ax.set_xlabel(f"$M_{{{j}}}$", fontsize=11)
    return fig


def pretext_task(image: np.ndarray, channel: np.ndarray, masks: np.ndarray, label: int, class_name: str) -> Figure:
    """Figure 2 of the paper with real numbers: image, one channel of its features, masks, masked features, labels.

    `image` is (H, W, 3), `channel` (h, w), `masks` (M, h, w); the joint labels are numbered label * M + j.
    """
    count = len(masks)
    fig = plt.figure(figsize=(plots.WIDTH, 1.28 * count + 0.5))
    left, right = np.asarray(fig.subfigures(1, 2, width_ratios=(1, 1.9)))
    image_ax, feature_ax = left.subplots(2, 1, gridspec_kw={"hspace": 0.35})
    name = "" if class_name == str(label) else f"\n“{class_name}”"
    plots.picture(image_ax, image, f"image $x$, class {label}{name}")
    draw_masked(feature_ax, channel, np.ones_like(channel), "features $f$\n(one channel)")
    inside = {"xycoords": image_ax.transAxes, "textcoords": image_ax.transAxes}
    plots.arrow(image_ax, (0.5, -0.04), (0.5, -0.3), **inside)
    image_ax.text(0.57, -0.17, "stages", transform=image_ax.transAxes, va="center")
    rows = right.subplots(count, 3, squeeze=False)
    for j, (mask_ax, masked_ax, text_ax) in enumerate(rows):
        draw_mask(mask_ax, masks[j])
        mask_ax.set_ylabel(f"$j = {j}$", rotation=0, ha="right", va="center", labelpad=4)
        draw_masked(masked_ax, channel, masks[j])
        text_ax.axis("off")
        color = plots.MASK_COLORS[j % len(plots.MASK_COLORS)]
        text_ax.text(0.5, 0.64, f"({label}, {j})", ha="center", va="center", color=color, fontsize=15)
        text_ax.text(0.5, 0.32, f"{label}·{count} + {j} = {label * count + j}", ha="center", va="center")
        for before, after in ((mask_ax, masked_ax), (masked_ax, text_ax)):
            between = {"xycoords": after.transAxes, "textcoords": before.transAxes}
            plots.arrow(after, (1.02, 0.5), (-0.02, 0.5), plots.GREY, **between)
    for ax, title in zip(rows[0], ("mask $M_j$", r"$\tilde{f}_j = f \odot M_j$", r"label $(y, j)$"), strict=True):
        ax.set_title(title)
    return fig


def joint_label_grid(num_classes: int, num_masks: int, row: int | None = None) -> Figure:
    """The numbering y * M + j as a grid: one row a class, one column a mask; `row` is set off."""
    shown = min(num_classes, 10)
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.42 * shown + 1.0))
    for y, j in np.ndindex(shown, num_masks):
        color, weight = (plots.YELLOW, "bold") if y == row else ("white", "normal")
        ax.add_patch(Rectangle((j, y), 1, 1, facecolor=color, edgecolor=plots.GREY))
        ax.text(j + 0.5, y + 0.5, str(y * num_masks + j), ha="center", va="center", weight=weight)
    ax.set(xlim=(0, num_masks), ylim=(shown, 0), ylabel="class $y$", xlabel="mask $j$")
    for axis, count in ((ax.xaxis, num_masks), (ax.yaxis, shown)):
        axis.set_ticks(np.arange(count) + 0.5, [str(number) for number in range(count)])
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if shown < num_classes:
        ax.text(0, shown + 0.1, f"… and so on, up to class {num_classes - 1}", va="top")
    return fig


def framework() -> Figure:
    """Figure 3 of the paper: two tapped feature maps, their masked views, the classifiers, and the ways to predict."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 6.9))
    ax.set(xlim=(0, plots.WIDTH), ylim=(0.4, 7.3), aspect="equal")
    ax.axis("off")
    trunk, views, heads, size, wide = 0.85, 2.95, 5.35, (1.64, 0.54), 2.0
    plots.box(ax, trunk, 7.0, "image $x$", size)
    for y, stage, features in ((6.0, r"stages $L_1 \dots L_{m-1}$", "$f_{m-1}$"), (4.0, r"stage $L_m$", "$f_m$")):
        plots.box(ax, trunk, y, stage, size, facecolor="#E8E8E8")
        plots.box(ax, trunk, y - 1, f"features {features}", size, plots.BLUE)
        for start in (y + 1, y):
            plots.arrow(ax, (trunk, start - 0.28), (trunk, start - 0.72))
    for y, head, loss in ((5.0, "Fc_{m-1}", r"\beta\,\mathcal{L}_{m-1}"), (3.0, "Fc_m", r"\mathcal{L}_m")):
        _views(ax, views, y)
        text = f"$\\mathrm{{{head}}}$: 5N joint classes\nloss ${loss}$"
        plots.box(ax, heads, y, text, (wide, 0.72), plots.ORANGE)
        plots.arrow(ax, (trunk + 0.83, y), (views - 0.83, y))
        plots.arrow(ax, (views + 0.83, y), (heads - 1.02, y))
    for y, mode, source in ((4.0, "ag", ": mean of both"), (2.0, "si", ": whole map"), (1.0, "sd", "")):
        look = plots.LOOKS[mode]
        plots.box(ax, heads, y, look.label + source, (wide, 0.54), look.color, linestyle="--")
    for start, end in ((4.64, 4.28), (3.36, 3.72), (2.64, 2.28)):
        plots.arrow(ax, (heads, start), (heads, end))
    plots.box(ax, views, 1.0, "pool, $\\mathrm{Fc}(\\cdot\\,;\\mu)$:\nN classes", (1.64, 0.72), plots.ORANGE)
    ax.plot([trunk, trunk], [2.72, 1.0], color=plots.BLACK, linewidth=1.5, marker="", linestyle="-")
    plots.arrow(ax, (trunk, 1.0), (views - 0.83, 1.0))
    plots.arrow(ax, (views + 0.83, 1.0), (heads - 1.02, 1.0))
    return fig


def _views(ax: Axes, x: float, y: float) -> None:
    """A box with the masks in miniature."""
    plots.box(ax, x, y, "", (1.64, 0.86), plots.BLUE)
    ax.text(x, y + 0.22, "5 masks, pool", ha="center", va="center", fontsize=11)
    side, gap = 0.24, 0.06
    left = x - (len(_CORNERS) * (side + gap) - gap) / 2
    for k, corner in enumerate(_CORNERS):
        origin = (left + k * (side + gap), y - 0.32)
        ax.add_patch(Rectangle(origin, side, side, facecolor=KEPT, edgecolor=plots.GREY, linewidth=0.8, zorder=3))
        if corner is not None:
            dropped = (origin[0] + corner[0] * side / 2, origin[1] + corner[1] * side / 2)
            ax.add_patch(Rectangle(dropped, side / 2, side / 2, facecolor=DROPPED, zorder=4))


def pooling_as_product(features: np.ndarray, masks: np.ndarray) -> Figure:
    """The closed form as a picture: features (C, H * W) times masks (H * W, M) are the pooled views (C, M)."""
    channels, positions = features.shape
    count = masks.shape[1]
    pooled = features @ masks / positions
    ratios = [positions, 8, count * 3, 8, count * 3]
    fig, axes = plt.subplots(1, 5, figsize=(plots.WIDTH, 3.9), width_ratios=ratios)
    panels = (
        (axes[0], features, f"features\n{channels} × {positions}", "position", "channel", plots.FEATURE_CMAP),
        (axes[2], masks, f"masks\n{positions} × {count}", "$j$", "position", _MASK_CMAP),
        (axes[4], pooled, f"pooled\n{channels} × {count}", "$j$", "", plots.FEATURE_CMAP),
    )
    for ax, values, title, xlabel, ylabel, cmap in panels:
        plots.picture(ax, values, title, cmap=cmap, aspect="auto")
        ax.set(xlabel=xlabel, ylabel=ylabel)
    for ax, sign in ((axes[1], "×"), (axes[3], "=")):
        ax.axis("off")
        ax.text(0.5, 0.5, sign, ha="center", va="center", fontsize=16)
    return fig


def two_streams() -> Figure:
    """Where beta acts: the gradients of both classifiers meet at the penultimate tap, and go on as their sum."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.6))
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    for x, y, text in (
        (1.2, 1.2, "stem,\nlayer1,\nlayer2"),
        (4.4, 1.2, "tap\n$f_{m-1}$"),
        (7.2, 1.2, "layer3\n$f_m$"),
        (4.4, 4.6, "classifier\n$m-1$"),
        (7.2, 4.6, "classifier\n$m$"),
    ):
        plots.box(ax, x, y, text, (2.0, 1.7))
    streams = (
        ((4.4, 3.7), (4.4, 2.1), plots.VERMILION, "$\\beta \\times$ gradient", (4.2, 2.9), "right"),
        ((7.2, 3.7), (7.2, 2.1), plots.BLUE, "gradient", (7.4, 2.9), "left"),
        ((6.15, 1.2), (5.45, 1.2), plots.BLUE, "", (0, 0), "left"),
        ((3.35, 1.2), (2.25, 1.2), plots.BLACK, "sum", (2.8, 0.75), "center"),
    )
    for start, end, color, text, (x, y), side in streams:
        plots.arrow(ax, start, end, color)
        ax.text(x, y, text, ha=side, va="center", color=color)
    return fig


def labelled_strip(
    pictures: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    captions: Sequence[str],
    shown: Mapping[int, str],
    *,
    masks: Sequence[np.ndarray] | None = None,
    version: str = "j",
) -> Figure:
    """Pictures (H, W, 3) in a row, each below its caption and above its training label.

    `targets` are (V, N) each, the share of the loss that goes to version v of class n, adding up to one; `shown` maps
    the classes that are drawn to their names; what `masks` (h, w) drop is hatched in the picture; `version` names the
    rows of a label, where there are several.
    """
    count, versions = len(pictures), len(targets[0])
    heights = [min(1.9, plots.WIDTH / count - 0.2), max(0.34, 0.17 * versions)]
    size = (plots.WIDTH, sum(heights) + 0.95)
    fig, axes = plt.subplots(2, count, squeeze=False, figsize=size, height_ratios=heights)
    for k in range(count):
        _picture(axes[0][k], pictures[k], captions[k], None if masks is None else masks[k])
        # In a narrow label two shares would run into each other; the shading still tells them apart.
        _label(axes[1][k], targets[k][:, list(shown)], list(shown.values()), with_shares=count <= 3)
    if versions > 1:
        axes[1][0].set_yticks(range(versions), [str(v) for v in range(versions)], fontsize=10)
        axes[1][0].set_ylabel(f"${version}$", rotation=0, labelpad=8, va="center")
    return fig


def _picture(ax: Axes, picture: np.ndarray, caption: str, mask: np.ndarray | None) -> None:
    plots.picture(ax, picture)
    ax.set_title(caption, fontsize=11)
    if mask is not None:
        _hatch(ax, mask, picture.shape)


def _label(ax: Axes, target: np.ndarray, names: Sequence[str], *, with_shares: bool) -> None:
    """A label as a small table, with the classes that it names; shares below one can be written below them."""
    plots.picture(ax, target, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(np.arange(len(names)) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(target)) - 0.5, minor=True)
    ax.grid(which="minor", color="#DDDDDD", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    used = sorted({int(column) for column in np.argwhere(target > 0)[:, 1]})
    shares = target.sum(0)
    texts = [names[k] + (f"\n{shares[k]:.2f}" if with_shares and shares[k] < 0.995 else "") for k in used]
    ax.set_xticks(used, texts, fontsize=10)


def view_grid(pictures: Sequence[np.ndarray], masks: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Versions of an image in rows, masks in columns, with the joint label of every view above it.

    `pictures` is (R, H, W, 3), `masks` (M, h, w), `labels` (R, M) integers. The hatching stands for what is dropped
    from the features.
    """
    rows, columns = labels.shape
    size = (plots.WIDTH, rows * (plots.WIDTH / columns + 0.12) + 0.4)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=size)
    for line, picture, of_line in zip(axes, pictures, labels, strict=True):
        for ax, mask, label in zip(line, masks, of_line, strict=True):
            _picture(ax, picture, str(label), mask)
    fig.suptitle(title, fontsize=12)
    return fig
