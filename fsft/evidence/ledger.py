"""The run ledger: all result files of a folder, read once, and the one question that every chapter asks.

`results/<slug>-seed<k>.json` is the only record that a run is done, and all that the book says about runs is computed
from these files. Which runs have a recipe? Those whose recipe has the same digest, whatever its name: equal digest
means equal training. `fsft.evidence.verify` checks the files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fsft.evidence.probes import Probe, load_probes
from fsft.recipe import Recipe
from fsft.runtime.record import Result, find_results, read_result


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run as its result file has it; `raw` is the whole of it, for what is rarely asked.

    `last` has the test accuracies in percent after the last epoch by inference mode, `best` those of the best epoch as
    {"epoch", "accuracy"}, `distance` the recipe's fields that differ from the paper's. `probe` is what its weights were
    asked, see `fsft.evidence.probes`; empty where nobody asked.
    """

    file: str
    recipe: Recipe
    digest: str
    seed: int
    last: Mapping[str, float]
    best: Mapping[str, Mapping[str, float]]
    history: list[dict[str, Any]]
    distance: Mapping[str, list[Any]]
    device: Mapping[str, Any]
    seconds: float
    raw: Result = field(repr=False)
    probe: Probe = field(repr=False, default_factory=dict)

    @classmethod
    def of(cls, result: Result, file: str) -> Run:
        """The run of a result file's content; ValueError when its recipe is none."""
        try:
            recipe = Recipe.from_dict(result["recipe"])
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{file}: field recipe: {error}; `fsft verify` lists all such problems") from None
        same = ("seed", "last", "best", "history", "distance", "device", "seconds")
        return cls(file=file, recipe=recipe, digest=recipe.digest, raw=result, **{name: result[name] for name in same})


class Ledger:
    """Runs in the order in which they are given, and the probes of their weights.

    A training that two files have under two names, with one digest and one seed, is one run: the one finished last.
    `repeats` counts the others.
    """

    def __init__(self, runs: Iterable[Run] = (), probes: Iterable[Probe] = ()) -> None:
        self.probes = tuple(probes)
        probed = {str(probe["run"]): probe for probe in self.probes}
        given = [replace(run, probe=probed.get(run.file, {})) for run in runs]
        by_age = sorted(given, key=lambda run: str(run.raw["finished"]))  # ISO 8601 in UTC
        newest = {(run.digest, run.seed): run for run in by_age}
        self.all = tuple(run for run in given if newest[run.digest, run.seed] is run)
        self.repeats = len(given) - len(self.all)
        self.by_digest: defaultdict[str, list[Run]] = defaultdict(list)
        for run in sorted(self.all, key=lambda run: run.seed):
            self.by_digest[run.digest].append(run)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def runs(self, recipe: Recipe) -> tuple[Run, ...]:
        """All runs of a recipe, by seed: those whose recipe has the same digest, whatever its name."""
        return tuple(self.by_digest.get(recipe.digest, ()))


def load_results(directory: str | Path | None = None, *, verbose: bool = False) -> Ledger:
    """All runs of a results folder (see `fsft.runtime.record.find_results`), and the probes beside them.

    A folder that is named and missing is an empty ledger; `verbose` prints what was found. ValueError, with file and
    field: no folder is named and there is none, or a file is not a result, is named after another run, or was altered.
    """
    folder = find_results(directory)
    paths = sorted(folder.glob("*.json"))
    ledger = Ledger([Run.of(read_result(path), path.name) for path in paths], load_probes(folder))
    if verbose:
        print(f"{len(ledger)} runs in {folder.name}/")
    return ledger


def accuracy_curves(runs: Iterable[Run | Mapping[str, Any]], mode: str) -> np.ndarray:
    """Test accuracy in percent per epoch, one row a seed: float64 (seeds, epochs), from runs or `train`'s results.

    An epoch without a test is NaN. Raises ValueError when the runs have different lengths or do not offer `mode`.
    """
    rows = []
    for run in runs:
        epochs = run.history if isinstance(run, Run) else run["history"]
        tested = [entry["test"] for entry in epochs if "test" in entry]
        if not tested or mode not in tested[0]:
            offered = sorted(tested[0]) if tested else []
            raise ValueError(f"the run offers the modes {offered}, not {mode!r}: ask for one of those")
        rows.append([float(entry["test"][mode]) if "test" in entry else np.nan for entry in epochs])
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"curves need runs of one length, found lengths {[len(row) for row in rows]}")
    return np.asarray(rows)
