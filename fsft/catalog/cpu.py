"""Reduced recipes that a CPU, or a large GPU, trains in minutes or hours; each knows its distance from the paper's."""

from itertools import product
from typing import Any

from fsft.methods import MASK_FAMILIES, METHODS
from fsft.recipe import TABLE1_METHODS, Recipe, paper_recipes

SHORT: dict[str, Any] = {"block": "basic", "schedule": "onecycle", "lr": 0.2, "weight_decay": 5e-4}


def _cpu() -> dict[str, Recipe]:
    """ResNet-20 on all of CIFAR-100 within an hour on two CPU cores: a short schedule with a high peak rate.

    ``cpu/tiny-imagenet`` trains ResNet-8 on the classes of tiny-ImageNet that are there, for the maps of Part III;
    ``gpu/resnet56`` is Table 1's own network in a third of its epochs, minutes of a large GPU.
    """
    usual = {method: {"origin": f"table1/resnet56/{method}"} for method in TABLE1_METHODS}
    tiny = {
        method: {"origin": f"table3/resnet110/{method}", "head_lr_scale": short_head_lr_scale(method)}
        for method in TABLE1_METHODS
    }
    at_hand = {"dataset_options": (("classes", "available"),), "model": "resnet8", "batch_size": 128, "epochs": 12}
    found = _recipes("cpu/resnet20", SHORT | {"model": "resnet20", "epochs": 30}, usual)
    found |= _recipes("gpu/resnet56", {"epochs": 100, "eval_every": 5}, usual)
    return found | _recipes("cpu/tiny-imagenet", SHORT | at_hand, tiny)


def _cpu_short() -> dict[str, Recipe]:
    """Minutes of every method on one CPU core: 100 images per class of CIFAR-100, and of tiny-ImageNet's classes."""
    origins = {method: f"table1/resnet110/{method}" for method in TABLE1_METHODS}
    origins |= {method: f"table2/resnet110/{method}" for method in ("cutout", "mixup", "sla", "sla+fsft")}
    origins |= {f"{method}+fsft": f"table2/resnet110/{method}+fsft" for method in ("cutout", "mixup")}
    origins |= {"sla-sd": "sla/resnet110/sla-sd"}
    origins |= {method: f"table5/resnet110/{method}" for method in METHODS if METHODS[method].transform_after}
    settings: dict[str, dict[str, Any]] = {}
    for method, origin in origins.items():
        settings[method] = {"origin": origin, "head_lr_scale": short_head_lr_scale(paper_recipes[origin].method)}
    common: dict[str, Any] = SHORT | {"images_per_class": 100, "model": "resnet20", "epochs": 10}
    found = _recipes("cpu/short-cifar100", common, settings)
    common |= {"dataset": "tiny-imagenet", "dataset_options": (("classes", "available"),), "model": "resnet8"}
    for method in settings:
        if "cutout" in method:
            settings[method]["cutout_length"] = 16  # the same share of an image of twice the side
    return found | _recipes("cpu/short-tiny-imagenet", common | {"epochs": 6}, settings)


CORRELATIONS = (0.0, 0.5, 0.9, 1.0)


def _shortcut() -> dict[str, Recipe]:
    """The shortcut test of chapter 11: digits whose background gives the class away, more or less, in training alone.

    Backgrounds are faded, so that a small network learns the digits within minutes where nothing leads it astray.
    """
    origins = {method: f"table1/resnet56/{method}" for method in ("baseline", "fsft")}
    origins["cutout"] = "table2/resnet110/cutout"
    common: dict[str, Any] = SHORT | {"dataset": "photodigits", "model": "resnet8", "epochs": 6}
    common |= {"batch_size": 32, "lr": 0.1}
    settings: dict[str, dict[str, Any]] = {}
    for correlation, (method, origin) in product(CORRELATIONS, origins.items()):
        settings[f"{correlation}/{method}"] = {
            "origin": origin,
            "dataset_options": (("background_correlation", correlation), ("background_contrast", 0.3)),
            "augment": ("cutout",) if method == "cutout" else (),
            "head_lr_scale": short_head_lr_scale(paper_recipes[origin].method),
        }
    return _recipes("cpu/shortcut", common, settings)


MAP_BUDGETS = {100: (10, 30, 100), 500: (10, 30)}  # epochs by images per class; CIFAR-100 has 500 of each


def _cpu_map() -> dict[str, Recipe]:
    """Chapter 13's map: where does the gain begin, over images per class, epochs, and the joint classifiers' rate?

    ``-x5`` is ``head_lr_scale`` 5. Cells that another recipe trains already are left to it: find runs by their fields.
    """
    settings: dict[str, dict[str, Any]] = {}
    budgets = [(images, epochs) for images, all_epochs in MAP_BUDGETS.items() for epochs in all_epochs]
    for (images, epochs), method in product(budgets, ("baseline", "fsft-x5", "fsft", "fsft-sd-x5", "fsft-sd")):
        own: dict[str, Any] = {"images_per_class": None if images == 500 else images, "epochs": epochs}
        own |= {"origin": f"table1/resnet56/{method.removesuffix('-x5')}"}
        settings[f"{images}x{epochs}/{method}"] = own | {"head_lr_scale": 5.0 if method.endswith("-x5") else 1.0}
    cells = _recipes("cpu/map", SHORT | {"model": "resnet20"}, settings)
    # Beside the map, at one of its budgets: is it the weight decay, or the depth?
    sides: dict[str, dict[str, Any]] = {"decay": {"weight_decay": 1e-4}, "depth": {"model": "resnet8"}}
    for side, changes in sides.items():
        for method in ("baseline", "fsft-x5", "fsft"):
            cell, name = cells[f"cpu/map/100x30/{method}"], f"cpu/map-{side}/100x30/{method}"
            cells[name] = cell.reduced(name=name, **changes)
    known = {recipe.digest for recipe in (_cpu() | _cpu_short()).values()}
    return {name: recipe for name, recipe in cells.items() if recipe.digest not in known}


def _cpu_beta() -> dict[str, Recipe]:
    """Figure 4's ten weights in minutes each; beta = 1 is ``cpu/short-cifar100/fsft``."""
    common = SHORT | {"model": "resnet20", "images_per_class": 100, "epochs": 10, "head_lr_scale": 5.0}
    betas = {f"{n / 10}": {"origin": f"fig4/resnet110/beta-{n / 10}"} for n in range(1, 10)}
    return _recipes("cpu/beta", common, betas)


def _cpu_masks() -> dict[str, Recipe]:
    """Chapter 14's families of masks in minutes each; the quadrants are ``cpu/short-cifar100/fsft``.

    A row of a joint classifier meets a positive in one view of M: its rate is multiplied by M, whatever the family.
    """
    common = SHORT | {"origin": "table1/resnet110/fsft", "model": "resnet20", "images_per_class": 100, "epochs": 10}
    others = {family: views for family, views in MASK_FAMILIES.items() if family != "quadrants"}
    settings = {family: {"masks": family, "head_lr_scale": float(views)} for family, views in others.items()}
    return _recipes("cpu/masks", common, settings)


def _split() -> dict[str, Recipe]:
    """The method taken apart in short training: {no masks, quadrants} x {last classifier, both} x {heads x 1, x 5}.

    ``masks`` is eq. 2, the pretext task with a single joint classifier; ``two-heads`` is eq. 3 without masks; and one
    classifier without masks is the baseline. ``basic`` has 32 channels at the penultimate tap, ``bottleneck`` has 128,
    as the paper's networks do.
    """
    apart: dict[str, dict[str, Any]] = {
        "baseline": {"origin": "table1/resnet56/baseline"},
        "masks": {"origin": "table5/resnet110/after-layer3"},
        "two-heads": {"origin": "table1/resnet56/fsft", "masks": "none"},
        "fsft": {"origin": "table1/resnet56/fsft"},
    }
    settings = dict(apart)
    settings["baseline-x5"] = {"origin": "table5/resnet110/after-layer3", "masks": "none", "head_lr_scale": 5.0}
    settings |= {f"{name}-x5": apart[name] | {"head_lr_scale": 5.0} for name in ("masks", "two-heads", "fsft")}
    settings |= {f"fsft-beta-{beta}": apart["fsft"] | {"beta": beta} for beta in (0.1, 0.3)}
    common: dict[str, Any] = SHORT | {"images_per_class": 100, "epochs": 30, "eval_every": 10}
    places = {f"basic/{name}": changes | {"model": "resnet20"} for name, changes in settings.items()}
    wide = {"model": "resnet29", "block": "bottleneck"}
    places |= {f"bottleneck/{name}": apart[name] | wide for name in ("baseline", "masks", "fsft")}
    return _recipes("cpu/split", common, places)


def _saturation() -> dict[str, Recipe]:
    """The paper's schedule on so few images that small networks fit them all, as the paper's networks fit theirs.

    ``a`` takes the method apart; ``b`` varies the depth, ``c`` the images of a class, ``d`` beta and the heads' rate;
    ``e`` adds SLA and Cutout; ``e3`` is the paper's own ResNet-56; ``f`` is shorter. Batches of 32: enough steps.
    """
    origins = {method: f"table1/resnet56/{method}" for method in TABLE1_METHODS}
    origins["masks"] = "table5/resnet110/after-layer3"
    apart: dict[str, dict[str, Any]] = {method: {"origin": origin} for method, origin in origins.items()}
    apart["two-heads"] = {"origin": origins["fsft"], "masks": "none"}
    apart["fsft-sd-t3"] = {"origin": origins["fsft-sd"], "temperature": 3.0}
    parts = {method: apart[method] for method in ("baseline", "masks", "fsft")}
    settings = {f"a/{name}": changes for name, changes in apart.items()}
    settings |= {f"b/{net}/{name}": parts[name] | {"model": net} for net in ("resnet8", "resnet56") for name in parts}
    for place, what, values in (("c", "images_per_class", (10, 50, 100)), ("f", "epochs", (60, 100))):
        settings |= {f"{place}/{value}/{name}": parts[name] | {what: value} for value in values for name in parts}
    settings |= {f"d/beta-{beta}": apart["fsft"] | {"beta": beta} for beta in (0.1, 0.3)}
    settings["d/x5"] = apart["fsft"] | {"head_lr_scale": 5.0}
    for name in ("sla", "sla+fsft", "cutout", "cutout+fsft"):
        settings[f"e/{name}"] = {"origin": f"table2/resnet110/{name}"}
    for name in (*TABLE1_METHODS, "fsft-sd-t3"):
        settings[f"e3/{name}"] = apart[name] | {"model": "resnet56", "block": "bottleneck"}
    common = {"model": "resnet20", "block": "basic", "images_per_class": 25, "batch_size": 32, "eval_every": 20}
    return _recipes("cpu/saturation", common, settings)


def short_head_lr_scale(method: str) -> float:
    """``head_lr_scale`` of short runs, in which the paper's 1 leaves FSFT farther behind (chapter 4)."""
    return 1.0 if method == "baseline" else 5.0


def _recipes(place: str, common: dict[str, Any], settings: dict[str, dict[str, Any]]) -> dict[str, Recipe]:
    """A recipe for each of the settings, named below a place; an `origin` is the paper's recipe that it changes."""
    changes = {f"{place}/{name}": common | own for name, own in settings.items()}
    return {name: paper_recipes[own.pop("origin")].reduced(name=name, **own) for name, own in changes.items()}


cpu_recipes: dict[str, Recipe] = _cpu() | _cpu_short() | _cpu_map() | _cpu_beta() | _cpu_masks() | _shortcut()
cpu_recipes |= _split() | _saturation()
