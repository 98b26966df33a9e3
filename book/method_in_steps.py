"""The method in four steps, for the landing page: HTML without script, in the page's own colors, for screen and print.

`book/_static/method.html` is what :func:`method_steps` returns; a test holds the two together. After a change::

    python book/method_in_steps.py > book/_static/method.html
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from fsft.figures import plots
from fsft.masks import quadrant_masks

_STYLE = (
    ".fsft-steps{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:0 1rem}"
    ".fsft-steps>li{flex:1 1 8rem;break-inside:avoid}.fsft-steps>li.views{flex:3 1 18rem}"
    ".fsft-steps>li.labels{flex:1 1 100%}.fsft-steps p{margin-bottom:.5rem}"
    ".fsft-steps svg{display:block;width:100%;max-width:5rem;height:auto}"
    ".fsft-steps div{display:flex;gap:.5rem}.fsft-steps figure{margin:0;padding:0;flex:1 1 0;text-align:center}"
    ".fsft-steps li figure figcaption{font-size:.85em;padding:0;margin:.2rem 0;color:inherit;white-space:nowrap}"
)


def method_steps(label: int = 3) -> str:
    """An image of scikit-learn's digits, its feature map drawn as means of 2 x 2 pixels, five views, joint labels."""
    digits = load_digits()
    image = digits.images[int(np.flatnonzero(digits.target == label)[0])] / 16  # (8, 8)
    features = image.reshape(4, 2, 4, 2).mean((1, 3))
    masks = quadrant_masks(4, 4).numpy()
    count = len(masks)
    views = "".join(
        f"<figure>{_grid(features, f'view {j}: {view}', mask)}<figcaption>({label}, {j})</figcaption></figure>"
        for j, (mask, view) in enumerate(zip(masks, plots.MASK_NAMES, strict=True))
    )
    return (
        f'<style>{_STYLE}</style>\n<ol class="fsft-steps">\n'
        f"<li>{_grid(image, f'image of a {label}')}<p><b>1.</b> An image of class y = {label}.</p></li>\n"
        f"<li>{_grid(features, 'feature map')}<p><b>2.</b> A network makes a feature map of it, once.</p></li>\n"
        f'<li class="views"><div>{views}</div><p><b>3.</b> {count} masked views of the map: the whole map, and one '
        "without each quadrant. View j has the joint label (y, j).</p></li>\n"
        f'<li class="labels"><p><b>4.</b> A classifier with {count} outputs for each class learns to name both: class '
        f"and missing quadrant. Output {count}y + j is the joint label; here {count * label} to "
        f"{count * label + count - 1}. A second such classifier, one stage earlier, is trained too. To predict, use "
        "the whole map alone, or average all views.</p></li>\n</ol>\n"
    )


def _grid(values: np.ndarray, name: str, mask: np.ndarray | None = None) -> str:
    """Values (H, W) in [0, 1] as squares; what a mask drops is crossed out."""
    height, width = values.shape
    cells = [
        f'<path d="M{x} {y + 1}l1-1" stroke="currentColor" stroke-width=".08"/>'
        if mask is not None and not mask[y, x]
        else f'<rect x="{x}" y="{y}" width="1" height="1" fill-opacity="{values[y, x]:.2f}"/>'
        for y, x in np.ndindex(height, width)
    ]
    frame = f'<rect width="{width}" height="{height}" fill="none" stroke="currentColor" stroke-width=".08"/>'
    box = f"-.1 -.1 {width + 0.2} {height + 0.2}"
    return f'<svg viewBox="{box}" role="img" aria-label="{name}" fill="currentColor">{"".join(cells)}{frame}</svg>'


if __name__ == "__main__":
    print(method_steps(), end="")
