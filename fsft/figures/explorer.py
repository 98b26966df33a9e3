"""An explorer of maps for a page of the book: choose image, network and view, in HTML and CSS alone.

No script, no kernel, no network: radio buttons choose, and the style sheet shows the picture that fits all choices.
Where a browser cannot do that, all pictures are shown, one below the other. The style sheet travels with the
explorer, so that it works in JupyterLab and Colab too; `fsft.book.outputs` lets this one into a page and no other.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fsft.figures import plots
from fsft.figures.map_figures import overlay

GROUPS = ("image", "network", "view")
MOST = 10  # options in a group: the style sheet has a rule for each
MAX_BYTES = 1_500_000

_HIDE = "".join(
    f".fsft-explorer:not(:has(.fsft-{group}-{number}:checked)) .of-{group}-{number}{{display:none}}"
    for group in GROUPS
    for number in range(MOST)
)
# Colors come from the page's theme where there is one, and otherwise from the system.
STYLE = (
    ".fsft-explorer{border:1px solid var(--pst-color-border,GrayText);border-radius:.5rem;padding:.75rem;margin:1rem 0}"
    ".fsft-explorer fieldset{border:0;margin:0 0 .5rem;padding:0;min-width:0}"
    ".fsft-explorer legend{font-size:1em;font-weight:600;margin:0;padding:0;float:none;width:auto}"
    ".fsft-explorer label{display:inline-flex;align-items:center;gap:.35rem;margin:0 .9rem .25rem 0;min-height:1.75rem}"
    ".fsft-explorer input{width:1.1rem;height:1.1rem;margin:0}"
    ".fsft-explorer input:focus-visible{outline:3px solid var(--pst-color-accent,Highlight);outline-offset:2px}"
    ".fsft-explorer-pictures{display:flex;flex-wrap:wrap;gap:.5rem}"
    ".fsft-explorer figure{margin:0;flex:1 1 6.25rem;max-width:12rem}"
    ".fsft-explorer img{width:100%;height:auto;display:block;filter:none;background:none}"
    ".fsft-explorer figcaption{font-size:.9em}"
    f"@supports selector(:has(*)){{{_HIDE}}}"
)


def explorer(
    images: Sequence[np.ndarray],
    maps: np.ndarray,
    *,
    image_names: Sequence[str],
    networks: Sequence[str],
    views: Sequence[str],
    captions: Sequence[Sequence[Sequence[str]]],
    title: str,
    regions: np.ndarray | None = None,
) -> str:
    """The explorer as HTML.

    For the chosen image it shows the image itself, the first network's map of the first view, to compare with, and the
    map of the chosen network and view. All maps of one network and image share a scale, from zero to their highest
    value; networks are not comparable in size.

    Args:
        images: uint8 (H, W, 3) each.
        maps: (images, networks, views, H, W), at least zero.
        image_names, networks, views: what the choices are called; at most :data:`MOST` each.
        captions: ``captions[image][network][view]`` says in words what that map shows; caption and alternative text.
        title: what the explorer is about; names it for a screen reader.
        regions: (images, H, W) bool, outlined on every picture.

    Raises:
        ValueError: shapes that do not fit, too many options, or more than :data:`MAX_BYTES` of pictures.
    """
    shape = (len(images), len(networks), len(views))
    if maps.shape[:3] != shape or len(image_names) != len(images) or max(shape) > MOST:
        raise ValueError(
            f"expected maps (images, networks, views, H, W) for {shape} names, at most {MOST} of each, "
            f"found {maps.shape}"
        )
    choices = zip(GROUPS, (image_names, networks, views), strict=True)
    parts = [_choice(group, names) for group, names in choices]
    figures, size = [], 0

    def picture(pixels: np.ndarray, text: str, classes: str) -> None:
        nonlocal size
        data = _png(pixels)
        size += len(data)
        label = html.escape(text, quote=True)
        figures.append(
            f'<figure class="{classes}"><img src="data:image/png;base64,{data}" alt="{label}">'
            f"<figcaption>{html.escape(text)}</figcaption></figure>"
        )

    for k, pixels in enumerate(images):
        region = None if regions is None else regions[k]
        picture(_outlined(pixels, region), f"{image_names[k]}: the image", f"of-image-{k}")
        tops = maps[k].max(axis=(1, 2, 3))
        first = _overlay(pixels, maps[k, 0, 0], tops[0], region)
        picture(first, f"For comparison: {captions[k][0][0]}", f"of-image-{k}")
        for n in range(len(networks)):
            for v in range(len(views)):
                shown = _overlay(pixels, maps[k, n, v], tops[n], region)
                picture(shown, captions[k][n][v], f"of-image-{k} of-network-{n} of-view-{v}")
    if size > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes of pictures, found {size}: show fewer or smaller images")
    return (
        f'<div class="fsft-explorer" role="group" aria-label="{html.escape(title, quote=True)}">'
        f"<style>{STYLE}</style>{''.join(parts)}"
        f'<div class="fsft-explorer-pictures">{"".join(figures)}</div></div>'
    )


def show_explorer(*args: object, title: str, **options: object) -> None:
    """Display :func:`explorer`; where only text can be shown, its title. Call it last in a cell."""
    text = explorer(*args, title=title, **options)  # type: ignore[arg-type]
    plots._display({"text/html": text, "text/plain": f"{title} (an explorer, for a browser)"}, {})


def _choice(group: str, names: Sequence[str]) -> str:
    radios = []
    for number, name in enumerate(names):
        checked = ' checked=""' if number == 0 else ""
        radios.append(
            f'<label><input type="radio" name="fsft-{group}" class="fsft-{group}-{number}"{checked}>'
            f"{html.escape(name)}</label>"
        )
    return f"<fieldset><legend>{group.capitalize()}</legend>{''.join(radios)}</fieldset>"


def _overlay(pixels: np.ndarray, values: np.ndarray, top: float, region: np.ndarray | None) -> np.ndarray:
    return _outlined(np.rint(255 * overlay(pixels, values, top)).astype(np.uint8), region)


def _outlined(pixels: np.ndarray, region: np.ndarray | None, scale: int = 3) -> np.ndarray:
    """The picture, enlarged, with a line along the inner edge of the region."""
    large = pixels.repeat(scale, 0).repeat(scale, 1)
    if region is None:
        return large
    inside = region.repeat(scale, 0).repeat(scale, 1)
    core = inside.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            core &= np.roll(inside, step, axis)
    # Black and white in turn, which shows on any ground.
    rows, columns = np.indices(inside.shape)
    dark = (rows + columns) // 3 % 2 == 0
    edge = inside & ~core
    large[edge & dark], large[edge & ~dark] = 0, 255
    return large


def _png(pixels: np.ndarray) -> str:
    """Base64 of a PNG with a palette of 64 colors: a third of the bytes, and no difference that shows."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
