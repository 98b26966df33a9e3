"""Diagrams of the method for the first chapters: the pretext task (Figure 2), joint labels, the framework (Figure 3).

They only draw what they are given. A dropped region is hatched instead of dark, so that it is not taken for a small
activation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from fsft.figures import plots

KEPT, DROPPED = "#D9D9D9", "#000000"  # the grey and black of the paper's Figure 2
_MASK_CMAP = ListedColormap([DROPPED, KEPT])
# Lower left corners of the quadrants that the five masks drop, in half sides from the lower left of the map.
_CORNERS = (None, (0, 1), (1, 1), (0, 0), (1, 0))


def draw_mask(ax: Axes, mask: np.ndarray, title: str | None = None) -> None:
    """A binary mask (H, W): grey positions are kept, black ones dropped; thin lines separate the positions."""
    height, width = mask.shape
    ax.imshow(mask, cmap=_MASK_CMAP, vmin=0, vmax=1)
    plots.hide_axes(ax, title)
    for x in range(1, width):
        ax.axvline(x - 0.5, color="white", linewidth=0.4)
    for y in range(1, height):
        ax.axhline(y - 0.5, color="white", linewidth=0.4)


def draw_masked(
    ax: Axes,
    channel: np.ndarray,
    mask: np.ndarray,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """One channel (H, W) of a feature map; positions that the mask drops are white and hatched.

    `limits` are the values of the darkest and the brightest color; without them, the channel's own.
    """
    low, high = limits or (float(channel.min()), float(channel.max()))
    ax.imshow(np.where(mask > 0, channel, np.nan), cmap=plots.FEATURE_CMAP, vmin=low, vmax=high)
    plots.hide_axes(ax, title)
    square = Path.unit_rectangle()
    cells = [Path(square.vertices + np.array([x - 0.5, y - 0.5]), square.codes) for y, x in np.argwhere(mask == 0)]
    if cells:
        # One patch for all cells: a hatch would start anew in each patch.
        outline = Path.make_compound_path(*cells)
        ax.add_patch(PathPatch(outline, facecolor="white", edgecolor=plots.GREY, hatch="////", linewidth=0))


def mask_row(masks: np.ndarray, names: Sequence[str] = plots.MASK_NAMES) -> Figure:
    """Masks (M, H, W) side by side in rows of five, each with its index and name."""
    columns = min(len(masks), 5)
    rows = math.ceil(len(masks) / columns)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(plots.WIDTH, rows * (plots.WIDTH / columns + 0.8)))
    for j, ax in enumerate(axes.flat):
        if j < len(masks):
            name = names[j].replace(" dropped", "\ndropped") if j < len(names) else ""
            draw_mask(ax, masks[j])
            ax.set_title(f"$M_{{{j}}}$\n{name}", fontsize=11)
        else:
            ax.set_visible(False)
    return fig


def family_rows(families: Mapping[str, np.ndarray]) -> Figure:
    """Families of masks (M, H, W), one below the other, each named on the left; grey is kept, black is dropped."""
    columns = max(len(masks) for masks in families.values())
    side = (plots.WIDTH - 1.6) / columns
    fig, axes = plt.subplots(
        len(families), columns, squeeze=False, figsize=(plots.WIDTH, len(families) * (side + 0.12) + 0.3)
    )
    for row, (name, masks) in zip(axes, families.items(), strict=True):
        for j, ax in enumerate(row):
            if j < len(masks):
                draw_mask(ax, masks[j])
            else:
                ax.set_visible(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for j, ax in enumerate(axes[np.argmax([len(masks) for masks in families.values()])]):
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
    image_ax.imshow(image)
    name = "" if class_name == str(label) else f"\n“{class_name}”"
    plots.hide_axes(image_ax, f"image $x$, class {label}{name}")
    draw_masked(feature_ax, channel, np.ones_like(channel), "features $f$\n(one channel)")
    arrow = {"arrowstyle": "-|>", "color": plots.BLACK, "linewidth": 1.5}
    image_ax.annotate("", (0.5, -0.3), (0.5, -0.04), "axes fraction", "axes fraction", arrowprops=arrow)
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
        _connect(mask_ax, masked_ax)
        _connect(masked_ax, text_ax)
    for ax, title in zip(rows[0], ("mask $M_j$", r"$\tilde{f}_j = f \odot M_j$", r"label $(y, j)$"), strict=True):
        ax.set_title(title)
    return fig


def _connect(left: Axes, right: Axes) -> None:
    """A small arrow from one axes to the next."""
    right.annotate(
        "",
        xy=(-0.02, 0.5),
        xycoords=right.transAxes,
        xytext=(1.02, 0.5),
        textcoords=left.transAxes,
        arrowprops={"arrowstyle": "-|>", "color": plots.GREY, "shrinkA": 0, "shrinkB": 0},
    )


def joint_label_grid(num_classes: int, num_masks: int, row: int | None = None) -> Figure:
    """The numbering y * M + j as a grid: one row a class, one column a mask; `row` is set off."""
    shown = min(num_classes, 10)
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.42 * shown + 1.0))
    for y in range(shown):
        for j in range(num_masks):
            chosen = y == row
            ax.add_patch(Rectangle((j, y), 1, 1, facecolor=plots.YELLOW if chosen else "white", edgecolor=plots.GREY))
            weight = "bold" if chosen else "normal"
            ax.text(j + 0.5, y + 0.5, str(y * num_masks + j), ha="center", va="center", weight=weight)
    ax.set(xlim=(0, num_masks), ylim=(shown, 0), ylabel="class $y$", xlabel="mask $j$")
    ax.set_xticks(np.arange(num_masks) + 0.5, [str(j) for j in range(num_masks)])
    ax.set_yticks(np.arange(shown) + 0.5, [str(y) for y in range(shown)])
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if shown < num_classes:
        ax.text(0, shown + 0.1, f"… and so on, up to class {num_classes - 1}", va="top")
    return fig


def framework() -> Figure:
    """Figure 3 of the paper: two tapped feature maps, their masked views, the classifiers, and the ways to predict."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 6.9))
    ax.set(xlim=(0, plots.WIDTH), ylim=(0.4, 7.3), aspect="equal")
    ax.axis("off")
    trunk, views, heads = 0.85, 2.95, 5.35
    _box(ax, trunk, 7.0, "image $x$", plots.BLACK)
    _box(ax, trunk, 6.0, r"stages $L_1 \dots L_{m-1}$", plots.BLACK, fill="#E8E8E8")
    _box(ax, trunk, 5.0, r"features $f_{m-1}$", plots.BLUE)
    _box(ax, trunk, 4.0, r"stage $L_m$", plots.BLACK, fill="#E8E8E8")
    _box(ax, trunk, 3.0, r"features $f_m$", plots.BLUE)
    for start in (7.0, 6.0, 5.0, 4.0):
        _arrow(ax, (trunk, start - 0.28), (trunk, start - 0.72))
    joint = "5N joint classes"
    for y, head, loss in ((5.0, "Fc_{m-1}", r"\beta\,\mathcal{L}_{m-1}"), (3.0, "Fc_m", r"\mathcal{L}_m")):
        _views(ax, views, y)
        _box(ax, heads, y, f"$\\mathrm{{{head}}}$: {joint}\nloss ${loss}$", plots.ORANGE, width=2.0, height=0.72)
        _arrow(ax, (trunk + 0.83, y), (views - 0.83, y))
        _arrow(ax, (views + 0.83, y), (heads - 1.02, y))
    modes = {name: plots.METHODS[name] for name in ("ag", "si", "sd")}
    _box(ax, heads, 4.0, f"{modes['ag'].label}: mean of both", modes["ag"].color, width=2.0, dashed=True)
    _arrow(ax, (heads, 4.64), (heads, 4.28))
    _arrow(ax, (heads, 3.36), (heads, 3.72))
    _box(ax, heads, 2.0, f"{modes['si'].label}: whole map", modes["si"].color, width=2.0, dashed=True)
    _arrow(ax, (heads, 2.64), (heads, 2.28))
    _box(ax, views, 1.0, "pool, $\\mathrm{Fc}(\\cdot\\,;\\mu)$:\nN classes", plots.ORANGE, height=0.72)
    _box(ax, heads, 1.0, f"{modes['sd'].label}", modes["sd"].color, width=2.0, dashed=True)
    ax.plot([trunk, trunk], [2.72, 1.0], color=plots.BLACK, linewidth=1.5, marker="", linestyle="-")
    _arrow(ax, (trunk, 1.0), (views - 0.83, 1.0))
    _arrow(ax, (views + 0.83, 1.0), (heads - 1.02, 1.0))
    return fig


def _box(
    ax: Axes, x: float, y: float, text: str, color: str, *,
    width: float = 1.64, height: float = 0.54, fill: str = "white", dashed: bool = False,
) -> None:  # fmt: skip
    """A labeled box with its center at (x, y); a dashed one is a way to predict."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=fill,
            edgecolor=color,
            linewidth=2,
            linestyle="--" if dashed else "-",
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=11, linespacing=1.4)


def _views(ax: Axes, x: float, y: float) -> None:
    """A box with the masks in miniature."""
    _box(ax, x, y, "", plots.BLUE, height=0.86)
    ax.text(x, y + 0.22, "5 masks, pool", ha="center", va="center", fontsize=11)
    side, gap = 0.24, 0.06
    left = x - (len(_CORNERS) * (side + gap) - gap) / 2
    for k, corner in enumerate(_CORNERS):
        origin = (left + k * (side + gap), y - 0.32)
        ax.add_patch(Rectangle(origin, side, side, facecolor=KEPT, edgecolor=plots.GREY, linewidth=0.8))
        if corner is not None:
            dropped = (origin[0] + corner[0] * side / 2, origin[1] + corner[1] * side / 2)
            ax.add_patch(Rectangle(dropped, side / 2, side / 2, facecolor=DROPPED))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": plots.BLACK, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0},
    )


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
        ax.imshow(values, cmap=cmap, aspect="auto", interpolation="nearest")
        plots.hide_axes(ax, title)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
    for ax, sign in ((axes[1], "×"), (axes[3], "=")):
        ax.axis("off")
        ax.text(0.5, 0.5, sign, ha="center", va="center", fontsize=16)
    return fig
