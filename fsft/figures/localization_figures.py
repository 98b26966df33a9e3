"""Figures of chapter 11: maps with their ground truth, scores against the null models, and the shortcut test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fsft.figures import plots
from fsft.figures.map_figures import MAP_CMAP

_LOOKS = {
    "Baseline": (plots.BLACK, "o", "-"),
    "FSFT": (plots.BLUE, "s", "--"),
    "Cutout": (plots.VERMILION, "^", "-."),
}


def overlays(
    images: Sequence[np.ndarray],
    rows: Mapping[str, Sequence[np.ndarray]],
    regions: Sequence[np.ndarray],
    titles: Sequence[str],
) -> Figure:
    """Images (3, H, W) uint8 above, then a row of maps for each network; the object is outlined in white.

    All maps share one scale, from zero to the highest value of any, and the highest value of each stands below it.
    """
    columns, side = len(images), plots.WIDTH / len(images)
    top = max(float(values.max()) for maps in rows.values() for values in maps)
    fig, axes = plt.subplots(1 + len(rows), columns, squeeze=False, figsize=(plots.WIDTH, (1 + len(rows)) * side + 0.5))
    for column, (image, region) in enumerate(zip(images, regions, strict=True)):
        axes[0][column].imshow(image.transpose(1, 2, 0))
        plots.hide_axes(axes[0][column], titles[column])
        for row, (name, maps) in enumerate(rows.items(), start=1):
            ax = axes[row][column]
            ax.imshow(maps[column], cmap=MAP_CMAP, vmin=0, vmax=top if top > 0 else 1)
            ax.set_xlabel(f"max {maps[column].max():.2g}", fontsize=11)
            ax.contour(region, levels=[0.5], colors="white", linewidths=1.2)
            plots.hide_axes(ax)
            if column == 0:
                ax.set_ylabel(name)
    axes[0][0].set_ylabel("image")
    return fig


def score_distributions(groups: Mapping[str, np.ndarray], xlabel: str) -> Figure:
    """How the images' scores (n,) in percent spread: for each group the middle half, the median and the mean."""
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.9 + 0.55 * len(groups)))
    for y, values in enumerate(groups.values()):
        low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
        ax.plot([low, high], [y, y], color=plots.GREY, linewidth=1.5, marker="", linestyle="-")
        ax.barh(y, three - quarter, left=quarter, height=0.5, color=plots.SKY, edgecolor=plots.BLACK)
        ax.plot([median, median], [y - 0.25, y + 0.25], color=plots.BLACK, marker="", linestyle="-")
        ax.plot(values.mean(), y, marker="D", color=plots.VERMILION, markeredgecolor="white", linestyle="none")
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.set(xlabel=xlabel, xlim=(0, 100))
    ax.grid(False, axis="y")
    return fig


def distributions_alt(groups: Mapping[str, np.ndarray], what: str) -> str:
    """Alternative text for :func:`score_distributions`."""
    parts = [f"{name} mean {values.mean():.0f}, median {np.median(values):.0f}" for name, values in groups.items()]
    return f"Box plot over images of {what}: " + "; ".join(parts) + "."


def shortcut_figure(frame: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy and background mass against the correlation, of ``fsft.evidence.chapters.shortcut_frame``; and alt text.

    A vertical line spans the runs' standard deviation where there are several. Without any run the axes are empty.
    """
    fig, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 6.0), sharex=True)
    labels = {"accuracy": "test accuracy (%)", "background": "map's mass on\nthe background (%)"}
    parts = []
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        for number, (method, (color, marker, line)) in enumerate(_LOOKS.items()):
            rows = frame[(frame["method"] == method) & frame[column].notna()]
            # Side by side: the correlations are shared, and lines on top of each other would hide.
            x = rows["correlation"].to_numpy() + 0.012 * (number - 1)
            y = np.array([summary.mean for summary in rows[column]])
            spread = np.array([summary.sd or 0.0 for summary in rows[column]])
            ax.errorbar(x, y, yerr=spread, color=color, marker=marker, linestyle=line, label=method, capsize=3)
            values = ", ".join(f"{value:.0f} at {c:g}" for c, value in zip(rows["correlation"], y, strict=True))
            parts.append(f"{method}, {column}: {values or 'not run'}")
        ax.set(ylabel=label, ylim=(0, 100))
    axes[1].set_xlabel("share of training images with a telltale background")
    axes[0].axhline(10, color=plots.GREY, linewidth=1, linestyle=":")
    axes[0].text(0.02, 12, "guessing", fontsize=11, color=plots.GREY)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig, "Shortcut test in percent by correlation in training. " + "; ".join(parts) + "."
