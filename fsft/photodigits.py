"""``photodigits``: real handwritten digits pasted on crops of real photographs, made in memory in about a
second.

Both come with scikit-learn (``load_digits``, ``load_sample_images``), so nothing is downloaded. The digits
are 8x8 scans, enlarged to 12-22 pixels and tinted; the photographs are cut into ten regions of different
look, one per class. Each image also has its ground truth: a mask of the digit's pixels and its bounding box.
Training and test set share neither a digit nor a photo pixel.

All arithmetic is on integers (or on integers that float64 holds exactly) and all draws are raw PCG64 output,
so the bytes do not depend on the machine; a JPEG decoder that differs in the photographs would, and the data
set's fingerprint tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fsft.imageset import DataError, ImageSet, image_set

SIZE = 32
DIGIT_SIZES = range(12, 23)
CROP_SIDES = range(32, 65, 4)
CLASSES = tuple(str(digit) for digit in range(10))
DEFAULT_SIZE = {"train": 10_000, "test": 2_000}

# (photo, x0, y0, x1, y1) of the class's own background; chosen by eye to look different: sky, lake, roofs,
# foliage, petals, leaf, ...
REGIONS = (
    (0, 330, 0, 640, 130),
    (0, 350, 200, 545, 300),
    (0, 545, 140, 640, 427),
    (0, 90, 90, 330, 200),
    (0, 80, 240, 345, 330),
    (0, 0, 335, 300, 427),
    (0, 330, 300, 545, 427),
    (1, 180, 95, 435, 340),
    (1, 0, 70, 165, 330),
    (1, 445, 0, 640, 427),
)
PHOTO_SHAPE = (427, 640, 3)
# The first part of each region (along its longer side) and of each class's digits is for training, the rest
# for testing.
TRAIN_REGION = 5 / 8
TRAIN_DIGITS = 0.7
DRAWS = 12
BLOCK = 500


def photodigits(
    split: str, *, size: int | None = None, seed: int = 0, background_correlation: float = 0.0
) -> ImageSet:
    """The ``split`` ("train" or "test") of photodigits with ``size`` images (default 10,000 / 2,000),
    balanced over 10 classes.

    With probability ``background_correlation`` the background is cut from the class's own region of the
    photographs, otherwise from a region drawn uniformly from all ten. It changes the backgrounds only:
    digits, places and sizes of one seed stay.
    """
    count = DEFAULT_SIZE[split] if size is None else size
    _require(isinstance(count, int) and count > 0, "size", "a positive integer", size)
    _require(isinstance(seed, int) and seed >= 0, "seed", "an integer of 0 or more", seed)
    number = isinstance(background_correlation, int | float)
    _require(
        number and 0 <= background_correlation <= 1,
        "background_correlation",
        "a number in [0, 1]",
        background_correlation,
    )
    draws = _Draws(seed, split, count)
    labels = np.argsort(draws.column(0), kind="stable") % 10
    backgrounds, _ = _backgrounds(split, labels, background_correlation, draws)
    coverage = _digits(split, labels, draws)
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.uint8)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        colors = _colors(backgrounds[block], coverage[block], draws, block)
        images[block] = _paste(backgrounds[block], coverage[block], colors)
    masks = coverage >= 128
    return image_set("photodigits", split, images, labels, CLASSES, masks=masks, boxes=_boxes(masks))


def _require(condition: bool, option: str, expected: str, found: Any) -> None:
    if not condition:
        raise DataError(f"photodigits: expected {option} to be {expected}, found {found!r}; change it")


class _Draws:
    """Columns of random numbers, one row per image; the raw output of PCG64, which NumPy promises never to
    change.
    """

    def __init__(self, seed: int, split: str, count: int) -> None:
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=(0 if split == "train" else 1,))
        raw = np.asarray(np.random.PCG64(sequence).random_raw(count * DRAWS), dtype=np.uint64)
        self._table = (raw >> np.uint64(32)).astype(np.int64).reshape(DRAWS, count)

    def column(self, index: int) -> np.ndarray:
        """Integers in [0, 2**32)."""
        return np.asarray(self._table[index])

    def below(self, index: int, high: np.ndarray | int) -> np.ndarray:
        """Integers in [0, high), per image."""
        return np.asarray((self._table[index] * high) >> 32)


@dataclass(frozen=True, eq=False)
class _Tiles:
    """Every photo region at every scale in one flat array of packed RGB pixels; ``start``, ``height``,
    ``width`` (10, scales).
    """

    pixels: np.ndarray
    start: np.ndarray
    height: np.ndarray
    width: np.ndarray


def _photos() -> list[np.ndarray]:
    # Imported where it is used: it takes longer to import than the other data sets take to load.
    from sklearn.datasets import load_sample_images

    photos = [np.asarray(photo) for photo in load_sample_images().images]
    if len(photos) < 2 or any(photo.shape != PHOTO_SHAPE for photo in photos[:2]):
        raise DataError(
            f"photodigits: expected two photographs of shape {PHOTO_SHAPE} in scikit-learn's sample images, found "
            f"{[photo.shape for photo in photos]}; reinstall scikit-learn"
        )
    return photos[:2]


def _part(region: tuple[int, int, int, int, int], split: str) -> tuple[slice, slice]:
    """Rows and columns of the region that belong to the split."""
    _, x0, y0, x1, y1 = region
    if x1 - x0 >= y1 - y0:
        cut = x0 + int((x1 - x0) * TRAIN_REGION)
        x0, x1 = (x0, cut) if split == "train" else (cut, x1)
    else:
        cut = y0 + int((y1 - y0) * TRAIN_REGION)
        y0, y1 = (y0, cut) if split == "train" else (cut, y1)
    return slice(y0, y1), slice(x0, x1)


def _shrink_matrix(length: int, side: int) -> np.ndarray:
    """Overlaps, in 1/32 pixel, of each of the pixels shrunk by side/32 with each of ``length`` pixels; rows
    sum to ``side``.
    """
    edges = np.arange(length * SIZE // side + 1) * side
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None] * SIZE
    return np.clip(np.minimum(high, pixel + SIZE) - np.maximum(low, pixel), 0, None).astype(np.float64)


def _tiles(split: str) -> _Tiles:
    photos = _photos()
    flat, starts, shapes, offset = [], [], [], 0
    for region in REGIONS:
        rows, columns = _part(region, split)
        part = photos[region[0]][rows, columns].astype(np.float64)
        for side in CROP_SIDES:
            down, across = _shrink_matrix(part.shape[0], side), _shrink_matrix(part.shape[1], side)
            sums = np.einsum("yh,hwc->ywc", down, part, optimize=True)
            sums = np.einsum("xw,ywc->yxc", across, sums, optimize=True).astype(np.int64)
            shrunk = (sums + side * side // 2) // (side * side)
            flat.append(
                (shrunk[..., 0] | shrunk[..., 1] << 8 | shrunk[..., 2] << 16).astype(np.uint32).ravel()
            )
            starts.append(offset)
            shapes.append(shrunk.shape[:2])
            offset += len(flat[-1])
    grid = (len(REGIONS), len(CROP_SIDES))
    height, width = np.array(shapes, dtype=np.int64).T
    return _Tiles(
        np.concatenate(flat), np.array(starts).reshape(grid), height.reshape(grid), width.reshape(grid)
    )


def _backgrounds(
    split: str, labels: np.ndarray, correlation: float, draws: _Draws
) -> tuple[np.ndarray, np.ndarray]:
    """Packed RGB backgrounds uint32 (n, 32, 32) and the region (n,) each was cut from."""
    tiles = _tiles(split)
    own = draws.column(1) < round(correlation * 2**32)
    region = np.where(own, labels, draws.below(2, len(REGIONS)))
    scale = draws.below(3, len(CROP_SIDES))
    width = tiles.width[region, scale]
    y = draws.below(4, tiles.height[region, scale] - SIZE + 1)
    x = draws.below(5, width - SIZE + 1)
    corner = tiles.start[region, scale] + y * width + x
    step = np.arange(SIZE)
    return tiles.pixels[(corner[:, None] + step * width[:, None])[:, :, None] + step], region


def _enlarge_matrix(size: int) -> np.ndarray:
    """Linear interpolation from 8 to ``size`` pixels, in units of 1/(2 size): integer weights (size, 8); rows
    sum to 2 size.
    """
    position = np.clip((2 * np.arange(size) + 1) * 8 - size, 0, 14 * size)
    low = np.minimum(position // (2 * size), 6)
    share = position - low * 2 * size
    weights = np.zeros((size, 8), dtype=np.float64)
    weights[np.arange(size), low] = 2 * size - share
    weights[np.arange(size), low + 1] = share
    return weights


def _digit_bank(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The split's digits (m, 8, 8), ordered by class, with the first index and the number of each class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen, counts = [], []
    for label in range(10):
        index = np.flatnonzero(digits.target == label)
        cut = int(len(index) * TRAIN_DIGITS)
        part = index[:cut] if split == "train" else index[cut:]
        chosen.append(part)
        counts.append(len(part))
    return digits.images[np.concatenate(chosen)], np.cumsum([0, *counts[:-1]]), np.array(counts)


def _digits(split: str, labels: np.ndarray, draws: _Draws) -> np.ndarray:
    """Coverage uint8 (n, 32, 32): how opaque the digit's ink is at each pixel."""
    bank, first, counts = _digit_bank(split)
    largest = DIGIT_SIZES[-1]
    enlarged = np.zeros((len(DIGIT_SIZES), len(bank), largest + 1, largest + 1), dtype=np.uint8)
    for index, size in enumerate(DIGIT_SIZES):
        weights = _enlarge_matrix(size)
        ink = (weights @ bank @ weights.T).astype(np.int64)
        # 3/2: interpolation thins the strokes; the full ink (16) of the scan is rarely reached in between.
        full = 16 * (2 * size) ** 2
        enlarged[index, :, :size, :size] = np.minimum(ink * 255 * 3 // (2 * full), 255)
    digit = first[labels] + draws.below(6, counts[labels])
    row = draws.below(7, len(DIGIT_SIZES))
    room = SIZE - np.array(DIGIT_SIZES)[row] + 1
    step = np.arange(SIZE)
    # Outside the digit's square both indices point to its last row or column, which is zero.
    down = step - draws.below(8, room)[:, None]
    across = step - draws.below(9, room)[:, None]
    down = np.where((down < 0) | (down > largest), largest, down)
    across = np.where((across < 0) | (across > largest), largest, across)
    return np.asarray(
        enlarged[row[:, None, None], digit[:, None, None], down[:, :, None], across[:, None, :]]
    )


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([(packed >> np.uint32(shift)) & np.uint32(255) for shift in (0, 8, 16)], axis=1)


def _colors(backgrounds: np.ndarray, coverage: np.ndarray, draws: _Draws, block: slice) -> np.ndarray:
    """Ink color (n, 3): brighter than a dark background, darker than a bright one, by a random amount and
    with a random tint.
    """
    rgb = _unpack(backgrounds).astype(np.int64)
    luma = (77 * rgb[:, 0] + 150 * rgb[:, 1] + 29 * rgb[:, 2]) >> 8
    weight = coverage.astype(np.int64)
    under = (luma * weight).sum((1, 2)) // weight.sum((1, 2))
    contrast = 64 + draws.below(10, 64)[block]
    base = np.where(under < 128, under + contrast, under - contrast)
    # The three tints share one draw: 24 of its 32 bits, 8 each.
    bits = draws.column(11)[block]
    tint = np.stack([((bits >> shift) & 255) * 81 >> 8 for shift in (8, 16, 24)], axis=1) - 40
    return np.clip(base[:, None] + tint, 0, 255)


def _paste(backgrounds: np.ndarray, coverage: np.ndarray, colors: np.ndarray) -> np.ndarray:
    rgb = _unpack(backgrounds).astype(np.uint16)
    opacity = coverage.astype(np.uint16)[:, None]
    # At most 255 * 255 + 127, so 16 bits hold it.
    mixed = rgb * (255 - opacity) + colors.astype(np.uint16)[:, :, None, None] * opacity + np.uint16(127)
    return (mixed // np.uint16(255)).astype(np.uint8)


def _boxes(masks: np.ndarray) -> np.ndarray:
    """float32 (n, 4): the tightest x0, y0, x1, y1 around each mask, right and lower edges exclusive."""
    sides = []
    for axis in (1, 2):
        filled = np.any(masks, axis=axis)
        sides.append((filled.argmax(1), SIZE - filled[:, ::-1].argmax(1)))
    (x0, x1), (y0, y1) = sides
    return np.stack([x0, y0, x1, y1], axis=1).astype(np.float32)
