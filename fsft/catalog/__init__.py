"""All recipes by name, and those of the course's profiles: the only place with hyper-parameters."""

from dataclasses import replace
from typing import Any

from fsft.catalog.cpu import SHORT, cpu_recipes, short_head_lr_scale
from fsft.methods import METHODS
from fsft.recipe import PROFILES, Recipe, expect, paper_recipes

recipes: dict[str, Recipe] = paper_recipes | cpu_recipes


def profile_recipe(profile: str, method: str = "baseline", **changes: Any) -> Recipe:
    """The recipe that the course's notebooks train in a profile.

    ``quick`` illustrates on photodigits in seconds, ``laptop`` shows the method on CIFAR-100 in minutes, ``paper`` is
    Table 1's ResNet-56, or the ResNet-110 of Tables 2 and 5 for methods that stand only there. Both short profiles
    raise the joint classifiers' learning rate (``head_lr_scale``), which takes back a part of what FSFT loses in a few
    epochs; chapter 4 shows this.
    """
    expect(profile in PROFILES, "profile", f"one of {PROFILES}", profile)
    expect(method in METHODS, "method", f"one of {tuple(METHODS)}", method)
    places = ("table1/resnet56", "table2/resnet110", "table5/resnet110", "sla/resnet110", "fig1/stanford-dogs")
    paper = next(recipes[f"{place}/{method}"] for place in places if f"{place}/{method}" in recipes)
    if profile == "paper":
        return paper.reduced(**changes) if changes else paper
    short = SHORT | {"head_lr_scale": short_head_lr_scale(method)}
    if profile == "quick":
        short |= {"dataset": "photodigits", "dataset_options": (), "model": "resnet8", "augment": ()}
        short |= {"epochs": 3, "batch_size": 32, "lr": 0.1}
    else:
        short |= {"dataset": "cifar100", "dataset_options": (), "model": "resnet20", "epochs": 5}
    derived = paper.reduced(**{**short, **changes})
    # After what is trained, so that a log with a small network on digits does not name the paper's table.
    data = derived.dataset.partition(":")[0]
    name = f"{profile}/{data}/{derived.model}/{method}~{derived.digest[:8]}"
    return replace(derived, name=changes.get("name", name))
