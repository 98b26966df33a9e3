"""Figures of chapter 6: what an augmentation does to one image and to its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from fsft.figures import plots


def strip(
    pictures: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    captions: Sequence[str],
    shown: Mapping[int, str],
    *,
    masks: Sequence[np.ndarray] | None = None,
    version: str = "j",
) -> Figure:
    """Pictures in a row, each above its training label.

    Args:
        pictures: (H, W, 3) each.
        targets: (V, N) each, the share of the loss that goes to version v of class n; the shares add up to one.
        captions: a text above each picture.
        shown: the classes that are drawn, with their names.
        masks: (h, w) each; what a mask drops is hatched in the picture.
        version: what a row of a label is called, where there are several.
    """
    count = len(pictures)
    versions = len(targets[0])
    label_height = max(0.34, 0.17 * versions)
    picture_height = min(1.9, plots.WIDTH / count - 0.2)
    fig, axes = plt.subplots(
        2,
        count,
        squeeze=False,
        figsize=(plots.WIDTH, picture_height + label_height + 0.95),
        height_ratios=[picture_height, label_height],
    )
    for k in range(count):
        _picture(axes[0][k], pictures[k], captions[k], None if masks is None else masks[k])
        # In a narrow label two shares would run into each other; the shading still tells them apart.
        _label(axes[1][k], targets[k][:, list(shown)], list(shown.values()), with_shares=count <= 3)
    if versions > 1:
        axes[1][0].set_yticks(range(versions), [str(v) for v in range(versions)], fontsize=10)
        axes[1][0].set_ylabel(f"${version}$", rotation=0, labelpad=8, va="center")
    return fig


def _picture(ax: Axes, picture: np.ndarray, caption: str, mask: np.ndarray | None) -> None:
    ax.imshow(picture)
    plots.hide_axes(ax)
    ax.set_title(caption, fontsize=11)
    if mask is None or mask.all():
        return
    height, width = picture.shape[0] / mask.shape[0], picture.shape[1] / mask.shape[1]
    square = Path.unit_rectangle()
    corners = np.asarray(square.vertices)
    cells = [
        Path(corners * (width, height) + np.array([x * width - 0.5, y * height - 0.5]), square.codes)
        for y, x in np.argwhere(mask == 0)
    ]
    # One patch for all cells: a hatch would start anew in each patch.
    outline = Path.make_compound_path(*cells)
    ax.add_patch(PathPatch(outline, facecolor="white", edgecolor=plots.GREY, hatch="////", linewidth=0))


def _label(ax: Axes, target: np.ndarray, names: Sequence[str], *, with_shares: bool) -> None:
    """A label as a small table, with the classes that it names; shares below one can be written below them."""
    ax.imshow(target, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    plots.hide_axes(ax)
    ax.set_xticks(np.arange(len(names)) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(target)) - 0.5, minor=True)
    ax.grid(which="minor", color="#DDDDDD", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    used = sorted({int(column) for column in np.argwhere(target > 0)[:, 1]})
    shares = target.sum(0)
    texts = [names[k] + (f"\n{shares[k]:.2f}" if with_shares and shares[k] < 0.995 else "") for k in used]
    ax.set_xticks(used, texts, fontsize=10)


def view_grid(pictures: np.ndarray, masks: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Versions of an image in rows, masks in columns, with the joint label of every view above it.

    `pictures` is (R, H, W, 3), `masks` (M, h, w), `labels` (R, M) integers. The hatching stands for what is dropped
    from the features.
    """
    rows, columns = labels.shape
    fig, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(plots.WIDTH, rows * (plots.WIDTH / columns + 0.12) + 0.4)
    )
    for version, line in enumerate(axes):
        for mask, ax in enumerate(line):
            _picture(ax, pictures[version], str(labels[version, mask]), masks[mask])
    fig.suptitle(title, fontsize=12)
    return fig


def soft_target(
    pairs: Sequence[tuple[int, float]], num_classes: int, versions: int = 1, version: int = 0
) -> np.ndarray:
    """A training label as a table (versions, num_classes): each (class, share) in the row of its version."""
    target = np.zeros((versions, num_classes))
    for label, share in pairs:
        target[version, label] += share
    return target
