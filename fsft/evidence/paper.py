"""The published numbers of arXiv 2106.04922, as data.

`cells` holds every number that Tables 1-5 print, and the ten points of Figure 4, whose values the paper gives
only as a picture. Each cell names the recipe that would reproduce it and the inference mode to read.
`inconsistencies` lists where the paper disagrees with itself. What the text asserts is in `fsft.evidence.assertions`.
Nothing here comes from a run of ours.

One training setting has one recipe name, wherever the paper prints it: the first rows of Table 2, the rows
"Baseline" and "Ours" of Table 5, and the point beta = 1 of Figure 4 all belong to `table1/resnet110/...`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fsft.evidence.statistics import Summary

REFERENCE = "table1/resnet110/baseline"
RUNS = 4  # "results showed in tables are averaged over four runs" (Section 4)


@dataclass(frozen=True)
class Cell:
    """One printed number: its place in the paper, and the recipe and inference mode of our runs to compare.

    `quantity` is "accuracy" (percent), "memory" (MB), "time" (seconds per iteration), or a percentage relative to the
    baseline `REFERENCE`: "memory overhead", "time overhead", "relative gain". `mean` is None where the paper prints no
    number, `sd` where it prints no spread.
    """

    id: str
    table: str
    row: str
    column: str
    recipe: str
    mode: str
    quantity: str = "accuracy"
    mean: float | None = None
    sd: float | None = None
    n: int = RUNS

    @property
    def derived(self) -> bool:
        """Whether it is a percentage of two other cells, and no number of its own."""
        return self.quantity.endswith("overhead") or self.quantity == "relative gain"

    @property
    def printed(self) -> Summary | None:
        """Mean and spread, or None where the paper prints no number."""
        return None if self.mean is None else Summary(self.mean, self.sd, self.n)


# The tables as printed, to be proofread against the paper: key | label | mean and standard deviation of Baseline,
# Ours-SI, Ours-AG, Ours-SD.
_GRIDS = """
table1/resnet56      | ResNet-56     | 73.71 .28, 74.53 .07, 74.66 .13, 74.73 .13
table1/resnet110     | ResNet-110    | 74.78 .24, 76.84 .03, 77.44 .04, 77.16 .06
table1/resnet164     | ResNet-164    | 74.98 .23, 77.75 .05, 78.17 .04, 77.95 .05
table1/wrn28-10      | WRN-28-10     | 79.35 .20, 80.97 .07, 81.10 .10, 81.24 .02
table1/pyramidnet    | PyramidNet    | 81.54 .31, 82.53 .03, 82.58 .01, 82.67 .05
table3/resnet110     | tiny-ImageNet | 61.94 .06, 63.68 .14, 63.77 .05, 64.14 .04
table4/cub200        | CUB200-2011   | 68.30 .21, 73.66 .13, 73.80 .15, 73.63 .09
table4/stanford-dogs | Stanford Dog  | 63.26 .03, 68.07 .21, 68.68 .21, 67.27 .33
table4/stanford-cars | Stanford Car  | 82.95 .02, 88.43 .22, 88.82 .27, 87.70 .03
"""
# Label | recipe | mode | accuracy, printed without a spread; all on CIFAR-100 with ResNet-110.
_TABLE2 = """
ResNet-110                       | table1/resnet110/baseline    | baseline | 74.78
ResNet-110 + Ours-AG             | table1/resnet110/fsft        | ag       | 77.27
ResNet-110 + Cutout              | table2/resnet110/cutout      | baseline | 76.77
ResNet-110 + Cutout + Ours-AG    | table2/resnet110/cutout+fsft | ag       | 78.55
ResNet-110 + Mixup               | table2/resnet110/mixup       | baseline | 77.58
ResNet-110 + Mixup + Ours-AG     | table2/resnet110/mixup+fsft  | ag       | 78.33
ResNet-110 + SLA-AG (4 Rotation) | table2/resnet110/sla         | ag-last  | 80.30
ResNet-110 + SLA + Ours-AG       | table2/resnet110/sla+fsft    | ag       | 80.61
"""
# Label | recipe | mode | MB | s per iteration | accuracy (SI) | the percentages printed under these three.
_TABLE5 = """
Baseline              | table1/resnet110/baseline     | baseline | 2768 | 0.179 | 74.78
Trans after 3rd Layer | table5/resnet110/after-layer3 | si       | 2815 | 0.185 | 75.82 | 1.7   | 3.4   | 1.4
Trans after 2nd Layer | table5/resnet110/after-layer2 | si       | 4403 | 0.293 | 76.76 | 59.1  | 63.7  | 2.6
Trans after 1st Layer | table5/resnet110/after-layer1 | si       | 7474 | 0.470 | 77.13 | 170.0 | 162.6 | 3.1
SLA (4 Rotations)     | table2/resnet110/sla          | si       | 9746 | 0.641 | 77.21 | 252.1 | 258.1 | 3.2
Ours                  | table1/resnet110/fsft         | si       | 3048 | 0.200 | 76.84 | 10.1  | 11.7  | 2.8
"""
_INFERENCE = (
    ("Baseline", "baseline", "baseline"),
    ("Ours-SI", "fsft", "si"),
    ("Ours-AG", "fsft", "ag"),
    ("Ours-SD", "fsft-sd", "sd"),
)
_COSTS = (
    ("memory", "GPU memory (MB)", "memory"),
    ("time", "Training time (s/iteration)", "time"),
    ("si", "Accuracy (SI)", "accuracy"),
    ("memory-overhead", "GPU memory (+%)", "memory overhead"),
    ("time-overhead", "Training time (+%)", "time overhead"),
    ("gain", "Accuracy (+%)", "relative gain"),
)
BETAS = tuple(step / 10 for step in range(1, 11))


def _lines(text: str) -> list[list[str]]:
    return [[part.strip() for part in line.split("|")] for line in text.strip().splitlines()]


def _grids() -> Iterator[Cell]:
    for key, label, values in _lines(_GRIDS):
        table = f"Table {key[len('table')]}"
        for (column, method, mode), value in zip(_INFERENCE, values.split(","), strict=True):
            mean, sd = map(float, value.split())
            yield Cell(f"{key}/{mode}", table, label, column, f"{key}/{method}", mode, mean=mean, sd=sd)


def _others() -> Iterator[Cell]:
    for row, recipe, mode, mean in _lines(_TABLE2):
        key = f"table2/resnet110/{recipe.split('/')[-1]}"
        yield Cell(key, "Table 2", row, "Accuracy", recipe, mode, mean=float(mean))
    for row, recipe, mode, *values in _lines(_TABLE5):
        # The baseline's row is shorter than the others: nothing is printed under its three numbers.
        for (part, column, quantity), value in zip(_COSTS, values, strict=False):
            key = f"table5/resnet110/{recipe.split('/')[-1]}/{part}"
            yield Cell(key, "Table 5", row, column, recipe, mode, quantity, float(value))
    for beta in BETAS:
        # The paper does not say which inference Figure 4 shows; it calls single inference the more telling one.
        key = f"fig4/resnet110/beta-{beta}"
        yield Cell(key, "Figure 4", f"beta = {beta}", "Ours", "table1/resnet110/fsft" if beta == 1 else key, "si")


cells: dict[str, Cell] = {cell.id: cell for cell in (*_grids(), *_others())}
recipe_names: tuple[str, ...] = tuple(dict.fromkeys(cell.recipe for cell in cells.values()))

# Where | what the paper says in one place | what it says in another.
_INCONSISTENCIES = """
Table 1, Table 2 | ResNet-110 with Ours-AG reaches 77.44 in Table 1. | The same setting reads 77.27 in Table 2.
Section 4.1, Table 4 | The text says that self-distillation inference improves further, of Table 1. \
    | It does not carry over: on all three data sets of Table 4, Ours-SD is below Ours-SI.
Section 3.2, Section 4.3 | The text refers to 'Table x' for the choice of beta. \
    | The paper shows beta in Figure 4, as a picture without numbers.
Equation 4, Appendix B | The inner score of equation 4 is written with the index pair jj. \
    | The sentence before it needs yj; the aggregation loop of Appendix B that would settle it is cut.
Table 1 | The baselines' standard deviations of four runs are 0.20 to 0.31, on all five models. \
    | Those of FSFT by single inference are 0.03 to 0.07, 3 to 10 times smaller, and nothing in the method says why.
Table 5 | The 'Accuracy' percentages look like points. \
    | They are relative to the baseline: 76.84 / 74.78 is printed as +2.8 %.
"""
inconsistencies: tuple[tuple[str, ...], ...] = tuple(map(tuple, _lines(_INCONSISTENCIES)))
