"""Figures of class activation maps for chapters 9 to 11: the same images, one scale, a color bar, and the raw maximum.

A map is shown plain or over its image in grey. All maps of a figure share one scale from 0 to the largest value in it,
because a map stretched to its own maximum looks as strong as any other; the maximum of each is printed below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fsft.figures import plots

QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
MAP_CMAP = "inferno"  # dark where nothing is, in order for every kind of color vision and in grey
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])


def overlay(image: np.ndarray, heat: np.ndarray, high: float) -> np.ndarray:
    """A map over its image: (H, W, 3) floats in [0, 1].

    The image turns grey, and the map's color covers it the more the larger the map's value, so nothing is colored where
    the map is zero.

    Args:
        image: (3, H, W) or (H, W, 3), uint8.
        heat: (H, W), at least 0.
        high: the end of the scale.
    """
    if image.shape[0] == 3 and image.shape[-1] != 3:
        image = image.transpose(1, 2, 0)
    grey = (image @ _GREY_WEIGHTS / 255)[..., None]
    strength = np.clip(heat / high, 0, 1)[..., None] if high > 0 else np.zeros_like(grey)
    colors = plt.get_cmap(MAP_CMAP)(strength[..., 0])[..., :3]
    return (1 - 0.8 * strength) * grey + 0.8 * strength * colors


def gallery(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    row_labels: Sequence[str] = (),
    plain: bool = False,
    unit: str = "map, in units of the score",
) -> Figure:
    """One row for each image, one column for each network: the maps over the images, or ``plain``.

    Args:
        images: (n, 3, H, W), uint8; they are the first column.
        maps: (n, H, W) for each column's title, on one scale.
        row_labels: what stands beside the images, such as their classes.
        plain: the maps alone.
        unit: what the color bar says.
    """
    high = max(float(values.max()) for values in maps.values())
    columns, rows = len(maps) + 1, len(images)
    side = min(plots.WIDTH / columns, 1.5)
    fig, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(max(columns * side, 4.5), rows * (side + 0.22) + 1.3)
    )
    size = 11 if columns < 6 else 9
    for row, image in enumerate(images):
        axes[row, 0].imshow(image.transpose(1, 2, 0))
        plots.hide_axes(axes[row, 0])
        if row_labels:
            axes[row, 0].set_ylabel(row_labels[row], fontsize=size)
        for ax, values in zip(axes[row, 1:], maps.values(), strict=True):
            _map(ax, image, values[row], high, plain)
            ax.set_xlabel(f"max {values[row].max():.3g}", fontsize=size)
    for ax, title in zip(axes[0], ("image", *maps), strict=True):
        ax.set_title(title, fontsize=size)
    _color_bar(fig, axes, high, unit)
    return fig


def gallery_alt(maps: Mapping[str, np.ndarray], row_labels: Sequence[str]) -> str:
    """Alternative text for :func:`gallery`: the raw maximum of every map, and where it lies."""
    parts = []
    for row, label in enumerate(row_labels):
        where = (f"{name} {values[row].max():.3g} in the {_peak(values[row])}" for name, values in maps.items())
        parts.append(f"image {row + 1} ({label}): " + ", ".join(where))
    return "Class activation maps of the same images, largest value and its quadrant: " + "; ".join(parts) + "."


def mean_maps(
    maps: Mapping[str, np.ndarray], dropped: Mapping[str, int] | None = None, unit: str = "mean map", columns: int = 3
) -> Figure:
    """The mean map of each network with the share of its mass in each quadrant, in percent.

    Args:
        maps: (H, W) for each title, on one scale.
        dropped: the quadrant, from 1 to 4, that a network was trained without: it gets a frame.
        unit: what the color bar says.
        columns: panels in a row.
    """
    high = max(float(values.max()) for values in maps.values())
    rows = -(-len(maps) // columns)
    side = plots.WIDTH / columns
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(plots.WIDTH, rows * (side + 0.3) + 0.9))
    for ax in axes.flat[len(maps) :]:
        ax.set_visible(False)
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=False):
        _map(ax, None, values, high, plain=True)
        ax.set_title(title)
        height, width = values.shape
        ax.axhline(height // 2 - 0.5, color="white", linewidth=1)
        ax.axvline(width // 2 - 0.5, color="white", linewidth=1)
        for quadrant, share in enumerate(_shares(values)):
            ax.text(
                *_center(quadrant, height, width),
                f"{100 * share:.0f} %",
                ha="center",
                va="center",
                color="white",
                bbox={"facecolor": plots.BLACK, "alpha": 0.55, "edgecolor": "none", "pad": 2},
            )
        if dropped and title in dropped:
            top, left = divmod(dropped[title] - 1, 2)
            corner = (left * (width // 2) - 0.5, top * (height // 2) - 0.5)
            size = (width - width // 2 if left else width // 2, height - height // 2 if top else height // 2)
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=plots.SKY, linewidth=4, hatch="//"))
    _color_bar(fig, axes, high, unit)
    return fig


def mean_maps_alt(maps: Mapping[str, np.ndarray]) -> str:
    """Alternative text for :func:`mean_maps`: the shares of the quadrants."""
    parts = []
    for title, values in maps.items():
        shares = ", ".join(f"{name} {100 * share:.0f}" for name, share in zip(QUADRANTS, _shares(values), strict=True))
        parts.append(f"{title}: {shares}, largest value {values.max():.3g}")
    return "Mean maps, with the share of their mass in each quadrant in percent. " + "; ".join(parts) + "."


def share_changes(changes: Mapping[str, np.ndarray], dropped: Mapping[str, int]) -> Figure:
    """What dropping a quadrant does to the shares of all four: one panel for each network, one point for each seed.

    Args:
        changes: (seeds, 4) for each title: the share of each quadrant minus the baseline's, in percentage points.
        dropped: the quadrant, from 1 to 4, that each network was trained without; others show four hollow rows.
    """
    fig, axes = plt.subplots(1, len(changes), sharey=True, sharex=True, squeeze=False, figsize=(plots.WIDTH, 3.0))
    for ax, (title, values) in zip(axes[0], changes.items(), strict=True):
        for quadrant in range(4):
            lost = dropped.get(title) == quadrant + 1
            color, marker = (plots.VERMILION, "s") if lost else (plots.BLUE, "o")
            ax.plot(values[:, quadrant], [quadrant] * len(values), marker, color=color, linestyle="", fillstyle="none")
            ax.plot(values[:, quadrant].mean(), quadrant, marker, color=color, linestyle="", markersize=9)
        ax.axvline(0, color=plots.GREY, linewidth=1)
        ax.set_title(title, fontsize=10)
        ax.tick_params(labelsize=10)
    axes[0, 0].set_yticks(range(4), QUADRANTS)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("change of the share (percentage points)", fontsize=11)
    return fig


def _map(ax: Axes, image: np.ndarray | None, heat: np.ndarray, high: float, plain: bool) -> None:
    if plain or image is None:
        ax.imshow(heat, cmap=MAP_CMAP, vmin=0, vmax=high if high > 0 else 1)
    else:
        ax.imshow(overlay(image, heat, high))
    plots.hide_axes(ax)


def _color_bar(fig: Figure, axes: np.ndarray, high: float, unit: str) -> None:
    scale = ScalarMappable(Normalize(0, high if high > 0 else 1), MAP_CMAP)
    fig.colorbar(scale, ax=list(axes.flat), location="bottom", fraction=0.05, pad=0.02, aspect=40, label=unit)


def _shares(values: np.ndarray) -> list[float]:
    """The share of a map's mass in each quadrant; NaN when there is none."""
    middle, center = values.shape[0] // 2, values.shape[1] // 2
    parts = (values[:middle, :center], values[:middle, center:], values[middle:, :center], values[middle:, center:])
    total = float(values.sum())
    return [float(part.sum()) / total if total > 0 else float("nan") for part in parts]


def _center(quadrant: int, height: int, width: int) -> tuple[float, float]:
    """(x, y) of the middle of a quadrant, from 0 to 3."""
    bottom, right = divmod(quadrant, 2)
    return width * (0.25 + 0.5 * right) - 0.5, height * (0.25 + 0.5 * bottom) - 0.5


def _peak(values: np.ndarray) -> str:
    """The quadrant in which a map is largest."""
    if values.max() <= 0:
        return "whole map, which is empty"
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return QUADRANTS[2 * int(row >= values.shape[0] // 2) + int(column >= values.shape[1] // 2)]
