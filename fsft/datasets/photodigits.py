"""``photodigits``: real handwritten digits pasted on crops of real photographs, made in memory.

Both come with scikit-learn (``load_digits``, ``load_sample_images``), so nothing is downloaded. The digits
are 8x8 scans, enlarged to 12-22 pixels and tinted; the photographs are cut into ten regions of different
look, one per class. Each image also has its ground truth: a mask of the digit's pixels and its bounding box.
Training and test set share neither a digit nor a photo pixel.

All arithmetic is on integers and all draws are raw PCG64 output, so the bytes do not depend on the machine, nor on a
BLAS. A JPEG decoder that reads the photographs differently would change them; the data set's fingerprint tells.
"""

from typing import Any

import numpy as np

from fsft.datasets.reading import problem
from fsft.datasets.sets import ImageSet, image_set

SIZE = 32
DIGIT_SIZES = range(12, 23)
CROP_SIDES = range(32, 65, 4)
CLASSES = tuple(str(digit) for digit in range(10))
DEFAULT_SIZE = {"train": 10_000, "test": 2_000}

# (photo, x0, y0, x1, y1) of the class's own background; chosen by eye to look different: sky, lake, roofs, foliage, ...
REGIONS = (
    *((0, 330, 0, 640, 130), (0, 350, 200, 545, 300), (0, 545, 140, 640, 427), (0, 90, 90, 330, 200)),
    *((0, 80, 240, 330, 330), (0, 0, 335, 300, 427), (0, 330, 300, 545, 427)),
    *((1, 180, 95, 435, 340), (1, 0, 70, 165, 330), (1, 445, 0, 640, 427)),
)
PHOTO_SHAPE = (427, 640, 3)
# For training, the first part of each region, along its longer side, and of each class's digits.
TRAIN_REGION, TRAIN_DIGITS = 5 / 8, 0.7
BACKGROUND_DRAWS = ("label", "correlated", "region", "scale", "y", "x")
DRAWS = (*BACKGROUND_DRAWS, "digit", "digit_size", "digit_y", "digit_x", "contrast", "tint")
BLOCK = 500


def photodigits(
    split: str,
    *,
    size: int | None = None,
    seed: int = 0,
    background_correlation: float = 0.0,
    background_contrast: float = 1.0,
) -> ImageSet:
    """The ``split`` ("train" or "test") of photodigits: ``size`` (10,000 or 2,000) images, balanced over 10 classes.

    With probability ``background_correlation`` the background is cut from the class's own region of the
    photographs, otherwise from a region drawn uniformly from all ten. It changes the backgrounds only:
    digits, places and sizes of one seed stay. ``background_contrast`` below one fades each background towards its mean
    color, which makes the digits easier to find.
    """
    count = DEFAULT_SIZE[split] if size is None else size
    _require(isinstance(count, int) and count > 0, "size", "a positive integer", size)
    _require(isinstance(seed, int) and seed >= 0, "seed", "an integer of 0 or more", seed)
    shares = {"background_correlation": background_correlation, "background_contrast": background_contrast}
    for option, value in shares.items():
        _require(isinstance(value, int | float) and 0 <= value <= 1, option, "a number in [0, 1]", value)
    draws = _Draws(seed, split, count)
    labels = np.argsort(draws.column("label"), kind="stable") % 10
    backgrounds, _ = _backgrounds(split, labels, background_correlation, draws)
    coverage = _digits(split, labels, draws)
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.uint8)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        rgb = _faded(backgrounds[block].astype(np.uint16), round(background_contrast * 256))
        opacity = coverage[block].astype(np.uint16)
        images[block] = _paste(rgb, opacity, _colors(rgb, opacity, draws, block))
    masks = coverage >= 128
    return image_set("photodigits", split, images, labels, CLASSES, masks=masks, boxes=_boxes(masks))


def _require(condition: bool, option: str, expected: str, found: Any) -> None:
    if not condition:
        raise problem("photodigits", f"{option} to be {expected}", repr(found), "change it")


class _Draws:
    """Columns of random numbers, one row per image: raw output of PCG64, which NumPy promises never to change."""

    def __init__(self, seed: int, split: str, count: int) -> None:
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=(0 if split == "train" else 1,))
        raw = np.asarray(np.random.PCG64(sequence).random_raw(count * len(DRAWS)), dtype=np.uint64)
        self._table = (raw >> np.uint64(32)).astype(np.int64).reshape(len(DRAWS), count)

    def column(self, name: str) -> np.ndarray:
        """Integers in [0, 2**32)."""
        return np.asarray(self._table[DRAWS.index(name)])

    def below(self, name: str, high: np.ndarray | int) -> np.ndarray:
        """Integers in [0, high), per image."""
        return np.asarray((self._table[DRAWS.index(name)] * high) >> 32)


def _photos() -> list[np.ndarray]:
    # Imported where it is used: it takes longer to import than the other data sets take to load.
    from sklearn.datasets import load_sample_images

    photos = [np.asarray(photo) for photo in load_sample_images().images[:2]]
    shapes = [photo.shape for photo in photos]
    if shapes != [PHOTO_SHAPE, PHOTO_SHAPE]:
        expected = f"two photographs of shape {PHOTO_SHAPE} in scikit-learn"
        raise problem("photodigits", expected, str(shapes), "reinstall scikit-learn")
    return photos


def _part(region: tuple[int, int, int, int, int], split: str) -> tuple[slice, slice]:
    """Rows and columns of the region that belong to the split."""
    _, x0, y0, x1, y1 = region

    def part(low: int, high: int) -> slice:
        cut = low + int((high - low) * TRAIN_REGION)
        return slice(low, cut) if split == "train" else slice(cut, high)

    return (slice(y0, y1), part(x0, x1)) if x1 - x0 >= y1 - y0 else (part(y0, y1), slice(x0, x1))


def _shrink(values: np.ndarray, side: int) -> np.ndarray:
    """Integer ``values`` (length, ...) averaged over windows of side/32 pixels along the first axis, times ``side``.

    From running sums, at edges in units of 1/32 pixel: a window may begin and end within a pixel.
    """
    whole, part = np.divmod(np.arange(len(values) * SIZE // side + 1) * side, SIZE)
    after = np.concatenate([values, np.zeros_like(values[:1])])
    before = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)]) * SIZE
    part = part.reshape(-1, *[1] * (values.ndim - 1))
    return np.diff(before[whole] + after[whole] * part, axis=0)


def _tiles(split: str) -> list[list[np.ndarray]]:
    """The split's part of every region at every scale, uint8 (height, width, 3)."""
    photos, tiles = _photos(), []
    for region in REGIONS:
        rows, columns = _part(region, split)
        part = photos[region[0]][rows, columns].astype(np.int64)
        sums = [(_shrink(_shrink(part, side).swapaxes(0, 1), side).swapaxes(0, 1), side * side) for side in CROP_SIDES]
        tiles.append([((values + area // 2) // area).astype(np.uint8) for values, area in sums])
    return tiles


def _backgrounds(split: str, labels: np.ndarray, correlation: float, draws: _Draws) -> tuple[np.ndarray, np.ndarray]:
    """Backgrounds uint8 (n, 3, 32, 32) and the region (n,) each was cut from."""
    tiles = _tiles(split)
    own = draws.column("correlated") < round(correlation * 2**32)
    region = np.where(own, labels, draws.below("region", len(REGIONS)))
    scale = draws.below("scale", len(CROP_SIDES))
    height, width = np.array([[tile.shape[:2] for tile in scales] for scales in tiles])[region, scale].T
    y, x = draws.below("y", height - SIZE + 1), draws.below("x", width - SIZE + 1)
    places = zip(region, scale, y, x, strict=True)
    return np.stack([tiles[r][s][j : j + SIZE, i : i + SIZE] for r, s, j, i in places]).transpose(0, 3, 1, 2), region


def _enlarge_matrix(size: int) -> np.ndarray:
    """Linear interpolation from 8 to ``size`` pixels: integer weights (size, 8), in units of 1/(2 size)."""
    position = np.clip((2 * np.arange(size) + 1) * 8 - size, 0, 14 * size)
    low = np.minimum(position // (2 * size), 6)
    share = position - low * 2 * size
    weights = np.zeros((size, 8), dtype=np.int64)
    weights[np.arange(size), low] = 2 * size - share
    weights[np.arange(size), low + 1] = share
    return weights


def _digit_bank(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The split's digits (m, 8, 8), ordered by class, with the first index and the number of each class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = []
    for label in range(10):
        index = np.flatnonzero(digits.target == label)
        cut = int(len(index) * TRAIN_DIGITS)
        chosen.append(index[:cut] if split == "train" else index[cut:])
    counts = [len(part) for part in chosen]
    return digits.images[np.concatenate(chosen)].astype(np.int64), np.cumsum([0, *counts[:-1]]), np.array(counts)


def _digits(split: str, labels: np.ndarray, draws: _Draws) -> np.ndarray:
    """Coverage uint8 (n, 32, 32): how opaque the digit's ink is at each pixel."""
    bank, first, counts = _digit_bank(split)
    enlarged = []
    for size in DIGIT_SIZES:
        weights = _enlarge_matrix(size)
        ink = weights @ bank @ weights.T
        # 3/2: interpolation thins the strokes; the full ink (16) of the scan is rarely reached in between.
        full = 16 * (2 * size) ** 2
        enlarged.append(np.minimum(ink * 255 * 3 // (2 * full), 255).astype(np.uint8))
    digit = first[labels] + draws.below("digit", counts[labels])
    row = draws.below("digit_size", len(DIGIT_SIZES))
    sizes = np.array(DIGIT_SIZES)[row]
    y, x = draws.below("digit_y", SIZE - sizes + 1), draws.below("digit_x", SIZE - sizes + 1)
    coverage = np.zeros((len(labels), SIZE, SIZE), dtype=np.uint8)
    for k, (j, i, size) in enumerate(zip(y, x, sizes, strict=True)):
        coverage[k, j : j + size, i : i + size] = enlarged[row[k]][digit[k]]
    return coverage


def _faded(rgb: np.ndarray, contrast: int) -> np.ndarray:
    """uint16 (n, 3, 32, 32), each pixel at ``contrast``/256 of its distance from its image's mean color."""
    mean = rgb.sum((2, 3), dtype=np.int64)[:, :, None, None] // SIZE**2
    return np.asarray(mean + ((rgb - mean) * contrast >> 8), dtype=np.uint16)


def _colors(rgb: np.ndarray, opacity: np.ndarray, draws: _Draws, block: slice) -> np.ndarray:
    """Ink uint16 (n, 3) of random contrast and tint: brighter than a dark background, darker than a bright one."""
    # The weights sum to 256, so 16 bits hold the weighted sum of bytes.
    luma = (77 * rgb[:, 0] + 150 * rgb[:, 1] + 29 * rgb[:, 2]) >> 8
    weighted = np.multiply(luma, opacity, dtype=np.uint32)
    under = weighted.sum((1, 2), dtype=np.int64) // opacity.sum((1, 2), dtype=np.int64)
    contrast = 64 + draws.below("contrast", 64)[block]
    base = np.where(under < 128, under + contrast, under - contrast)
    # The three tints share one draw: 24 of its 32 bits, 8 each.
    bits = draws.column("tint")[block]
    tint = np.stack([((bits >> shift) & 255) * 81 >> 8 for shift in (8, 16, 24)], axis=1) - 40
    return np.clip(base[:, None] + tint, 0, 255).astype(np.uint16)


def _paste(rgb: np.ndarray, opacity: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """uint8 (n, 3, 32, 32): the ink mixed with the background."""
    opacity = opacity[:, None]
    # At most 255 * 255 + 127, so 16 bits hold it.
    return ((rgb * (255 - opacity) + colors[:, :, None, None] * opacity + 127) // 255).astype(np.uint8)


def _boxes(masks: np.ndarray) -> np.ndarray:
    """float32 (n, 4): the tightest x0, y0, x1, y1 around each mask, right and lower edges exclusive."""
    sides = []
    for axis in (1, 2):
        filled = np.any(masks, axis=axis)
        sides.append((filled.argmax(1), SIZE - filled[:, ::-1].argmax(1)))
    (x0, x1), (y0, y1) = sides
    return np.stack([x0, y0, x1, y1], axis=1).astype(np.float32)
