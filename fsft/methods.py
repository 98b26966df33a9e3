"""The table of methods: every training method that a recipe can name, and what it is made of.

A method is a row. Whoever adds one adds a row here, and everything else follows from it: the network
(:func:`fsft.networks.build`), what a recipe may combine it with, and how tables call it. Nothing else reads a meaning
out of a method's name. This file needs no torch, so that recipes can be listed and results be read without it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a network of this method has.

    Attributes:
        label: how tables and figures call it.
        joint: joint classifiers (Section 3.2); without them it is the baseline's network.
        taps: how many stages have a joint classifier: the last (eq. 2), or the penultimate too (eq. 3).
        masked: whether the recipe's masks are applied.
        transform_after: the stage after which they are, instead of at the taps ("Trans after" in Table 5).
        rotated: four rotations of the input, SLA's transforms.
        teaches: the method of the same network without self-distillation (eq. 6); None for one that has none.
        drop_in_training: the quadrant that the baseline's classifier never sees (Figure 1).
    """

    label: str
    joint: bool = True
    taps: int = 2
    masked: bool = True
    transform_after: str | None = None
    rotated: bool = False
    teaches: str | None = None
    drop_in_training: int | None = None


METHODS: dict[str, Method] = {
    "baseline": Method(label="Baseline", joint=False, masked=False),
    "fsft": Method(label="FSFT"),
    "fsft-sd": Method(label="FSFT with student", teaches="fsft"),
    "sla": Method(label="SLA", taps=1, masked=False, rotated=True),
    "sla-sd": Method(label="SLA with student", taps=1, masked=False, rotated=True, teaches="sla"),
    "sla+fsft": Method(label="SLA + FSFT", rotated=True),
    **{
        f"after-layer{n}": Method(label=f"masks after layer {n}", taps=1, transform_after=f"layer{n}")
        for n in (1, 2, 3)
    },
    **{
        f"drop-{n}": Method(label=f"quadrant {n} dropped", joint=False, masked=False, drop_in_training=n)
        for n in (1, 2, 3, 4)
    },
}

# The families of masks (functions in fsft.masks), and how many views M of an image each makes, the untouched one too.
MASK_FAMILIES = {"quadrants": 5, "none": 1, "checkerboard": 3, "halves": 5, "kept-quadrants": 5, "ninths": 10}
