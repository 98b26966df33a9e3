"""Figures of class activation maps and of their scores, for chapters 9 to 11.

A map is shown plain or over its image in grey. All maps of a figure share one scale from 0 to the largest value in it,
because a map stretched to its own maximum looks as strong as any other; the maximum of each is printed below it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fsft.catalog import recipes
from fsft.evidence.ledger import load_results
from fsft.figures import plots
from fsft.maps.cam import quadrant_shares
from fsft.maps.gallery import load_galleries

QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
MAP_CMAP = "inferno"  # dark where nothing is, in order for every kind of color vision and in grey
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])


def overlay(image: np.ndarray, heat: np.ndarray, high: float) -> np.ndarray:
    """A map (H, W) of at least 0 over its image (3, H, W), uint8: (H, W, 3) floats in [0, 1]; `high` ends the scale.

    The image turns grey, and the map's color covers it the more the larger the map's value, so nothing is colored where
    the map is zero.
    """
    grey = (image.transpose(1, 2, 0) @ _GREY_WEIGHTS / 255)[..., None]
    strength = np.clip(heat / high, 0, 1)[..., None] if high > 0 else np.zeros_like(grey)
    colors = plt.get_cmap(MAP_CMAP)(strength[..., 0])[..., :3]
    return (1 - 0.8 * strength) * grey + 0.8 * strength * colors


def gallery(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    row_labels: Sequence[str],
    *,
    plain: bool = False,
    regions: np.ndarray | None = None,
    unit: str = "map, in units of the score",
) -> tuple[Figure, str]:
    """One row for each image, one column for each network: the maps over the images, or ``plain``; and alt text.

    ``images`` are (n, 3, H, W), uint8, with ``row_labels`` beside them; ``maps`` are (n, H, W) for each column's title,
    on one scale, of which the color bar says the ``unit``; ``regions`` (n, H, W) bool are outlined in every map.
    """
    high = _highest(maps)
    columns, rows = len(maps) + 1, len(images)
    side = min(plots.WIDTH / columns, 1.5)
    size = (max(columns * side, 4.5), rows * (side + 0.22) + 1.3)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=size)
    letters = 11 if columns < 6 else 9
    parts = []
    for row, (image, label) in enumerate(zip(images, row_labels, strict=True)):
        plots.picture(axes[row, 0], image)
        axes[row, 0].set_ylabel(label, fontsize=letters)
        where = []
        for ax, (name, values) in zip(axes[row, 1:], maps.items(), strict=True):
            shown = values[row] if plain else overlay(image, values[row], high)
            plots.picture(ax, shown, cmap=MAP_CMAP, vmin=0, vmax=high)
            ax.set_xlabel(f"max {values[row].max():.3g}", fontsize=letters)
            if regions is not None:
                ax.contour(regions[row], levels=[0.5], colors="white", linewidths=1.2)
            where.append(f"{' '.join(name.split())} {values[row].max():.3g} in the {_peak(values[row])}")
        parts.append(f"image {row + 1} ({label}): " + ", ".join(where))
    for ax, title in zip(axes[0], ("image", *maps), strict=True):
        ax.set_title(title, fontsize=letters)
    _color_bar(fig, axes, high, unit)
    alt = "Class activation maps of the same images, largest value and its quadrant: " + "; ".join(parts) + "."
    return fig, alt + ("" if regions is None else " The object is outlined.")


def of_runs(networks: Mapping[str, tuple[str, str]], rows: slice) -> tuple[Figure, str, str]:
    """Real images with the maps of finished runs, from `results/galleries/`: figure, alt text, and whose maps they are.

    `networks` has for each column's title a recipe's name and the kind of its maps, such as "si"; `rows` are those of
    the galleries' images, which all runs share.
    """
    shown, ledger = load_galleries(), load_results()
    first, *others = (shown[name] for name, _ in networks.values())
    if any(other["images"] != first["images"] for other in others):
        raise ValueError("expected galleries of the same test images, found others: write them with the same number")
    maps = {title: shown[name]["maps"][kind][rows] for title, (name, kind) in networks.items()}
    labels = [name.replace("_", "\n") for name in first["classes"][rows]]
    fig, alt = gallery(first["pixels"][rows], maps, labels, unit="CAM, in units of the score")
    said = []
    for title, (name, kind) in networks.items():
        run = next(run for run in ledger.runs(recipes[name]) if run.seed == shown[name]["seed"])
        right = run.last[kind.partition(",")[0]]
        said.append(f"{' '.join(title.split())}, run {Path(run.file).stem}, right on {right:.1f} % of the test set")
    numbers = ", ".join(map(str, first["images"][rows]))
    return fig, alt, f"Test images {numbers}, evenly chosen, with the maps of finished runs: {'; '.join(said)}."


def mean_maps(maps: Mapping[str, np.ndarray], dropped: Mapping[str, int], unit: str = "mean map") -> tuple[Figure, str]:
    """The mean map (H, W) of each network with the share of its mass in each quadrant, in percent; figure and alt text.

    A frame is around the quadrant, from 1 to 4, that a network was trained without, as `dropped` says.
    """
    high = _highest(maps)
    rows = -(-len(maps) // 3)
    size = (plots.WIDTH, rows * (plots.WIDTH / 3 + 0.3) + 0.9)
    fig, axes = plt.subplots(rows, 3, squeeze=False, figsize=size)
    for ax in axes.flat[len(maps) :]:
        ax.set_visible(False)
    parts = []
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=False):
        height, width = values.shape
        plots.picture(ax, values, title, cmap=MAP_CMAP, vmin=0, vmax=high)
        ax.axhline(height // 2 - 0.5, color="white", linewidth=1)
        ax.axvline(width // 2 - 0.5, color="white", linewidth=1)
        shares = (100 * quadrant_shares(torch.from_numpy(values)[None])[0]).tolist()
        behind = {"facecolor": plots.BLACK, "alpha": 0.55, "edgecolor": "none", "pad": 2}
        for quadrant, share in enumerate(shares):
            bottom, right = divmod(quadrant, 2)
            place = width * (0.25 + 0.5 * right) - 0.5, height * (0.25 + 0.5 * bottom) - 0.5
            ax.text(*place, f"{share:.0f} %", ha="center", va="center", color="white", bbox=behind)
        if title in dropped:
            top, left = divmod(dropped[title] - 1, 2)
            corner = (left * (width // 2) - 0.5, top * (height // 2) - 0.5)
            size = (width - width // 2 if left else width // 2, height - height // 2 if top else height // 2)
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=plots.SKY, linewidth=4, hatch="//"))
        named = ", ".join(f"{name} {share:.0f}" for name, share in zip(QUADRANTS, shares, strict=True))
        parts.append(f"{title}: {named}, largest value {values.max():.3g}")
    _color_bar(fig, axes, high, unit)
    return fig, "Mean maps, with the share of their mass in each quadrant in percent. " + "; ".join(parts) + "."


def share_changes(changes: Mapping[str, np.ndarray], dropped: Mapping[str, int]) -> Figure:
    """What dropping a quadrant does to the shares of all four: one panel for each network, one point for each seed.

    `changes` are (seeds, 4) for each title: the share of each quadrant minus the baseline's, in percentage points;
    `dropped` is the quadrant, from 1 to 4, that each network was trained without.
    """
    fig, axes = plt.subplots(1, len(changes), sharey=True, sharex=True, squeeze=False, figsize=(plots.WIDTH, 3.0))
    for ax, (title, values) in zip(axes[0], changes.items(), strict=True):
        for quadrant in range(4):
            lost = dropped.get(title) == quadrant + 1
            color, marker = (plots.VERMILION, "s") if lost else (plots.BLUE, "o")
            look = {"marker": marker, "color": color, "linestyle": ""}
            ax.plot(values[:, quadrant], [quadrant] * len(values), fillstyle="none", **look)
            ax.plot(values[:, quadrant].mean(), quadrant, markersize=9, **look)
        ax.axvline(0, color=plots.GREY, linewidth=1)
        ax.set_title(title, fontsize=10)
        ax.tick_params(labelsize=10)
    axes[0, 0].set_yticks(range(4), QUADRANTS)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("change of the share (percentage points)", fontsize=11)
    return fig


def score_distributions(groups: Mapping[str, np.ndarray], what: str) -> tuple[Figure, str]:
    """How the images' scores (n,) in percent spread: for each group the middle half, median and mean; and alt text."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.9 + 0.55 * len(groups)))
    for y, values in enumerate(groups.values()):
        low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
        ax.plot([low, high], [y, y], color=plots.GREY, linewidth=1.5, marker="", linestyle="-")
        ax.barh(y, three - quarter, left=quarter, height=0.5, color=plots.SKY, edgecolor=plots.BLACK)
        ax.plot([median, median], [y - 0.25, y + 0.25], color=plots.BLACK, marker="", linestyle="-")
        ax.plot(values.mean(), y, marker="D", color=plots.VERMILION, markeredgecolor="white", linestyle="none")
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set(xlabel=f"{what} (%)", xlim=(0, 100), ylim=(len(groups) - 0.4, -0.6))
    ax.grid(False, axis="y")
    parts = [f"{name} mean {values.mean():.0f}, median {np.median(values):.0f}" for name, values in groups.items()]
    return fig, f"Box plot over images of the {what} in percent: " + "; ".join(parts) + "."


def shortcut_figure(frame: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy and background mass against the correlation, of the shortcut test's table; figure and alt text.

    `frame` is that of :func:`fsft.evidence.chapters.shortcut_frame`. Every network is a hollow marker: where one of two
    has taken the shortcut, their mean is that of no network.
    """
    fig, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 6.0), sharex=True)
    labels = {"accuracy": "test accuracy (%)", "background": "map's mass on\nthe background (%)"}
    looks = [plots.LOOKS[mode].line() for mode in ("baseline", "si", "ag")]
    parts = []
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        for number, (method, look) in enumerate(zip(("Baseline", "FSFT", "Cutout"), looks, strict=True)):
            rows = frame[(frame["method"] == method) & (frame[column].str.len() > 0)]
            # Side by side: the correlations are shared, and lines on top of each other would hide.
            x = rows["correlation"].to_numpy() + 0.012 * (number - 1)
            ax.plot(x, rows[column].map(np.mean), **look | {"label": method, "marker": ""})
            for place, values in zip(x, rows[column], strict=True):
                ax.plot([place] * len(values), values, fillstyle="none", **look | {"linestyle": "", "label": None})
            shown = zip(rows["correlation"], rows[column], strict=True)
            told = ", ".join(f"{' and '.join(f'{value:.0f}' for value in values)} at {c:g}" for c, values in shown)
            parts.append(f"{method}, {column}: {told or 'not run'}")
        ax.set(ylabel=label, ylim=(0, 100))
    axes[1].set_xlabel("share of training images with a telltale background")
    axes[0].axhline(10, color=plots.GREY, linewidth=1, linestyle=":")
    axes[0].text(0.02, 12, "guessing", fontsize=11, color=plots.GREY)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig, "Shortcut test in percent by correlation in training, each network. " + "; ".join(parts) + "."


def _highest(maps: Mapping[str, np.ndarray]) -> float:
    """The end of the scale; 1 where every map is zero."""
    return max(float(values.max()) for values in maps.values()) or 1.0


def _color_bar(fig: Figure, axes: np.ndarray, high: float, unit: str) -> None:
    scale = ScalarMappable(Normalize(0, high), MAP_CMAP)
    fig.colorbar(scale, ax=list(axes.flat), location="bottom", fraction=0.05, pad=0.02, aspect=40, label=unit)


def _peak(values: np.ndarray) -> str:
    """The quadrant in which a map is largest."""
    if values.max() <= 0:
        return "whole map, which is empty"
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return QUADRANTS[2 * int(row >= values.shape[0] // 2) + int(column >= values.shape[1] // 2)]
