"""A recipe: everything that decides a training run but its seed (Section 4, "Implementation Details").

Each cell of the paper's tables has one, by name, with the paper's values: :data:`paper_recipes`. Smaller runs are
derived with :meth:`Recipe.reduced` and tell their distance from the paper's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fsft.methods import MASK_FAMILIES, METHODS

TABLE1_METHODS = ("baseline", "fsft", "fsft-sd")
SCHEDULES = ("step", "cosine", "onecycle")
AUGMENTATIONS = ("crop", "flip", "cutout", "mixup")
FINE_GRAINED = ("cub200", "stanford-dogs", "stanford-cars")
PROFILES = ("quick", "laptop", "paper")
NO_TRAINING = ("name", "origin", "eval_every")  # fields that change no weight
TRAIN_SAMPLE, TRAIN_SAMPLE_EVERY = 5000, 10  # images and epochs of the accuracy on the training set, in every run


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training run except its seed; the defaults are the paper's.

    Attributes:
        name: where it stands in the paper, such as ``table1/resnet56/fsft``; free for reduced recipes.
        dataset: a name that :func:`fsft.datasets.registry.load_split` knows.
        dataset_options: options of that data set, as (name, value) pairs; photodigits' ``size`` and
            ``background_correlation`` change the training set alone. ``image_size`` is the side in pixels to which the
            images of the fine-grained sets are cut.
        model, block, shortcut: see :func:`fsft.backbone`; a Wide ResNet has ``basic`` blocks and shortcut ``B``, a
            PyramidNet shortcut ``A``.
        method: a row of ``fsft.methods.METHODS``.
        augment: on training images, always in this order: ``crop`` (4 black pixels of padding; on the fine-grained
            sets a random part of 8 to 100 % of the image, see :mod:`fsft.datasets.stream`), ``flip``, and after
            normalization ``cutout`` and ``mixup``.
        epochs: passes over the training images; the incomplete last batch of each is left out.
        batch_size: images per step.
        lr: learning rate; the peak with ``onecycle``.
        momentum, weight_decay: of SGD; decay applies to all parameters.
        schedule: ``step`` multiplies lr with ``gamma`` at the ``milestones`` (fractions of the run), ``cosine`` falls
            to zero, ``onecycle`` rises over the first 30 % of the steps and falls to zero; both along a half cosine.
        beta: weight of the penultimate classifier, eq. 3.
        head_lr_scale: multiplies the joint classifiers' learning rate and divides their weight decay. The paper's
            setting is 1. A row of a joint classifier sees a positive once in T + 1 views, so short runs may want more.
        cutout_length: side of Cutout's hole in pixels; its authors use 8 on CIFAR-100.
        mixup_alpha: Mixup's shares are drawn from Beta(alpha, alpha).
        masks: a name in :data:`fsft.mask_families`, for the methods with masks; ``quadrants`` is the paper's.
        temperature: of the self-distillation, see :func:`fsft.framework.distillation_loss`; the paper names none.
        eval_every: epochs between two evaluations on the test set; the last epoch always has one. It changes no weight,
            so recipes that differ in it alone have one digest.
        images_per_class: use only so many training images of each class, drawn by seed 0; None for all.
        origin: name of the paper's recipe that a reduced one derives from.
    """

    name: str
    dataset: str = "cifar100"
    dataset_options: tuple[tuple[str, float | str], ...] = ()
    model: str = "resnet110"
    block: str = "bottleneck"
    shortcut: str = "B"
    method: str = "baseline"
    augment: tuple[str, ...] = ("crop", "flip")
    epochs: int = 300
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    beta: float = 1.0
    head_lr_scale: float = 1.0
    images_per_class: int | None = None
    origin: str | None = None
    cutout_length: int = dataclasses.field(default=8, metadata={"joined_later": True})
    mixup_alpha: float = dataclasses.field(default=1.0, metadata={"joined_later": True})
    masks: str = dataclasses.field(default="quadrants", metadata={"joined_later": True})
    temperature: float = dataclasses.field(default=1.0, metadata={"joined_later": True})
    eval_every: int = 1

    def __post_init__(self) -> None:
        for name in ("name", "dataset", "model", "block", "shortcut"):
            expect(isinstance(getattr(self, name), str), name, "a text", getattr(self, name))
        try:
            object.__setattr__(self, "dataset_options", tuple(dict(self.dataset_options).items()))
        except (TypeError, ValueError):
            expect(False, "dataset_options", "(name, value) pairs", self.dataset_options)
        expect(self.method in METHODS, "method", f"one of {tuple(METHODS)}", self.method)
        families = tuple(MASK_FAMILIES) if METHODS[self.method].masked else ("quadrants",)
        expect(self.masks in families, "masks", f"one of {families} with method {self.method!r}", self.masks)
        expect(self.schedule in SCHEDULES, "schedule", f"one of {SCHEDULES}", self.schedule)
        expect(set(self.augment) <= set(AUGMENTATIONS), "augment", f"a subset of {AUGMENTATIONS}", self.augment)
        # The order in which they are applied is fixed, so the order in which they are named is no difference.
        object.__setattr__(self, "augment", tuple(name for name in AUGMENTATIONS if name in self.augment))
        for name in ("epochs", "batch_size", "cutout_length", "eval_every"):
            value = getattr(self, name)
            expect(isinstance(value, int) and value > 0, name, "a positive whole number", value)
        for name in ("lr", "gamma", "head_lr_scale", "mixup_alpha", "temperature"):
            value = getattr(self, name)
            expect(_is_finite(value) and value > 0, name, "a positive number", value)
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one recipe, also in JSON
        for name in ("momentum", "weight_decay", "beta"):
            value = getattr(self, name)
            expect(_is_finite(value) and value >= 0, name, "a number of at least 0", value)
            object.__setattr__(self, name, float(value))
        marks = self.milestones
        rising = all(_is_finite(mark) for mark in marks) and list(marks) == sorted({*marks})
        expect(rising and all(0 < mark < 1 for mark in marks), "milestones", "rising fractions of the run", marks)
        count = self.images_per_class
        whole = count is None or (isinstance(count, int) and count > 0)
        expect(whole, "images_per_class", "None or a positive whole number", count)

    def reduced(self, **changes: Any) -> Recipe:
        """A recipe derived from this one. Without ``name``, it is named after its origin and what it changes."""
        origin = self.origin or self.name
        derived = replace(self, **{"name": origin, **changes, "origin": origin})
        return derived if "name" in changes else replace(derived, name=f"{origin}~{derived.digest[:8]}")

    def distance(self) -> dict[str, list[Any]]:
        """The fields that differ from the paper's recipe: ``{field: [the paper's value, this value]}``."""
        paper_recipe = paper_recipes.get(self.origin or self.name)
        paper, own = {} if paper_recipe is None else paper_recipe.as_dict(), self.as_dict()
        pairs = {field: [value, own[field]] for field, value in paper.items() if field not in NO_TRAINING}
        return {field: [there, here] for field, (there, here) in pairs.items() if there != here}

    @property
    def digest(self) -> str:
        """SHA-256 of every field that decides the weights, as hexadecimal digits: equal digests mean equal training."""
        content = self.as_dict()
        for field in fields(self):
            # A field that joined later leaves the digests of all earlier recipes alone, and so their results' names.
            joined_later = field.metadata.get("joined_later", False)
            if field.name in NO_TRAINING or (joined_later and getattr(self, field.name) == field.default):
                del content[field.name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def slug(self) -> str:
        """A file name that no other recipe has: the name and the start of :attr:`digest`."""
        return f"{self.name.replace('/', '-').split('~')[0]}-{self.digest[:8]}"

    def run_name(self, seed: int) -> str:
        """What a run's folder and result file are called: ``<slug>-seed<seed>``."""
        return f"{self.slug}-seed{seed}"

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of :meth:`as_dict`; ValueError for fields that a recipe does not have."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"expected the fields of a recipe, found also {', '.join(unknown)}")
        return cls(**{key: _tuples(value) for key, value in values.items()})

    def learning_rate(self, progress: float) -> float:
        """The learning rate at ``progress``, the fraction of all steps done, in [0, 1)."""
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        if self.schedule == "cosine":
            return self.lr * _half_cosine(progress)
        warm_up = 0.3
        if progress < warm_up:
            return self.lr * (1 - 0.96 * _half_cosine(progress / warm_up))
        return self.lr * _half_cosine((progress - warm_up) / (1 - warm_up))


def _half_cosine(t: float) -> float:
    """From 1 at t = 0 down to 0 at t = 1."""
    return (1 + math.cos(math.pi * t)) / 2


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def expect(condition: bool, field: str, expected: str, found: object) -> None:
    if not condition:
        raise ValueError(f"recipe field {field!r}: expected {expected}, found {found!r}")


def _table1() -> dict[str, Recipe]:
    """Table 1, and the networks whose block the paper leaves open with the other one.

    All three depths fit both, as 6n + 2 and as 9n + 2. WRN-28-10 has basic blocks by definition.
    """
    networks = {name: (name, "bottleneck", "B") for name in ("resnet56", "resnet110", "resnet164")}
    networks |= {"wrn28-10": ("wrn28-10", "basic", "B"), "pyramidnet": ("pyramidnet110-270", "basic", "A")}
    variants = {"resnet56": "basic", "resnet110": "basic", "resnet164": "basic", "pyramidnet": "bottleneck"}
    table = {}
    for key, (model, block, shortcut) in networks.items():
        for method in TABLE1_METHODS:
            name = f"table1/{key}/{method}"
            table[name] = Recipe(name=name, model=model, block=block, shortcut=shortcut, method=method)
            if key in variants:
                variant = f"table1/{key}-{variants[key]}/{method}"
                table[variant] = table[name].reduced(name=variant, block=variants[key])
    return table


def _resnet110() -> dict[str, Recipe]:
    """Tables 2 and 5 and Figure 4, all with ResNet-110; what Table 1 has already is not repeated.

    Cutout and Mixup follow "their experimental setups" in the paper; the setting of Section 4 is kept for them here.
    SLA with self-distillation is not in the paper.
    """
    crop_flip = ("crop", "flip")
    settings: dict[str, dict[str, Any]] = {
        "table2/resnet110/cutout": {"method": "baseline", "augment": (*crop_flip, "cutout")},
        "table2/resnet110/cutout+fsft": {"method": "fsft", "augment": (*crop_flip, "cutout")},
        "table2/resnet110/mixup": {"method": "baseline", "augment": (*crop_flip, "mixup")},
        "table2/resnet110/mixup+fsft": {"method": "fsft", "augment": (*crop_flip, "mixup")},
        "table2/resnet110/sla": {"method": "sla"},
        "table2/resnet110/sla+fsft": {"method": "sla+fsft"},
        "sla/resnet110/sla-sd": {"method": "sla-sd"},
    }
    later = [method for method in METHODS if METHODS[method].transform_after]
    settings |= {f"table5/resnet110/{method}": {"method": method} for method in later}
    settings |= {f"fig4/resnet110/beta-{n / 10}": {"method": "fsft", "beta": n / 10} for n in range(1, 10)}
    return _recipes(settings)


def _recipes(settings: dict[str, dict[str, Any]]) -> dict[str, Recipe]:
    return {name: Recipe(name=name, **changes) for name, changes in settings.items()}


def _table3() -> dict[str, Recipe]:
    """Table 3. The paper names no block and no change to the network for images of 64x64 pixels, so there is none."""
    usual = {"dataset": "tiny-imagenet", "batch_size": 256}
    return _recipes({f"table3/resnet110/{method}": usual | {"method": method} for method in TABLE1_METHODS})


def _table4() -> dict[str, Recipe]:
    """Table 4: ResNet-50 with batches of 16. All that the paper does not say is our choice, said here.

    Resolution: 224 x 224 pixels, so that the last feature maps are 7 x 7. Crops: ImageNet's, see
    :mod:`fsft.datasets.stream`; of the whole image, without the boxes that the data sets come with. Initialization:
    random, as everywhere else in the paper, for its accuracies and 300 epochs speak against ImageNet's weights. Taps:
    the last two of the four stages.
    """
    usual = {"dataset_options": (("image_size", 224),), "model": "resnet50", "batch_size": 16}
    places = itertools.product(FINE_GRAINED, TABLE1_METHODS)
    return _recipes({f"table4/{name}/{method}": usual | {"dataset": name, "method": method} for name, method in places})


def _fig1() -> dict[str, Recipe]:
    """Figure 1's toy experiment; its first and last column are ``table4/stanford-dogs/baseline`` and ``fsft``."""
    dogs = _table4()["table4/stanford-dogs/baseline"]
    names = {f"fig1/stanford-dogs/{method}": method for method in METHODS if METHODS[method].drop_in_training}
    return {name: replace(dogs, name=name, method=method) for name, method in names.items()}


paper_recipes: dict[str, Recipe] = _table1() | _resnet110() | _table3() | _table4() | _fig1()
