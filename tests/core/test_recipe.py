import json
import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsft import Recipe, mask_families, profile_recipe, recipes
from fsft.methods import MASK_FAMILIES
from fsft.networks import build


def test_defaults_are_the_papers():
    """Section 4, "Implementation Details"."""
    recipe = recipes["table1/resnet110/fsft"]
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.momentum, recipe.weight_decay) == (
        300,
        128,
        0.1,
        0.9,
        1e-4,
    )
    assert (recipe.schedule, recipe.milestones, recipe.gamma) == ("step", (0.5, 0.75), 0.1)
    assert (recipe.beta, recipe.head_lr_scale, recipe.images_per_class) == (1, 1, None)
    assert recipe.distance() == {}
    assert recipes["table1/resnet110-basic/fsft"].distance() == {"block": ["bottleneck", "basic"]}


def test_a_papers_name_with_other_values_has_a_distance():
    assert replace(recipes["table1/resnet56/fsft"], epochs=20).distance() == {"epochs": [300, 20]}


def test_names_slugs_and_digests_do_not_collide():
    assert all(name == recipe.name for name, recipe in recipes.items())
    assert len({recipe.slug for recipe in recipes.values()}) == len(recipes)
    # Three cells of the map are trained again, with the accuracy on the training set, beside those they belong to.
    twins = [recipe.digest for recipe in recipes.values() if not recipe.name.startswith("cpu/split/")]
    assert len(set(twins)) == len(twins)
    assert len({recipe.digest for recipe in recipes.values()}) == len(recipes) - 3


def test_every_recipe_survives_json():
    for recipe in recipes.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_reduced_recipe_tells_its_distance():
    reduced = recipes["table1/resnet56/fsft"].reduced(epochs=20, images_per_class=100)
    assert reduced.distance() == {"epochs": [300, 20], "images_per_class": [None, 100]}
    assert reduced.name.startswith("table1/resnet56/fsft~") and reduced.origin == "table1/resnet56/fsft"
    again = reduced.reduced(epochs=40)
    assert again.origin == "table1/resnet56/fsft" and again.distance()["epochs"] == [300, 40]
    assert again.slug != reduced.slug


def test_equal_settings_have_equal_digests_whatever_their_name():
    paper = recipes["table1/resnet56/fsft"]
    assert paper.reduced(name="mine", epochs=20).digest == paper.reduced(epochs=20).digest
    assert paper.reduced(name="mine").distance() == {}


def test_a_new_field_keeps_the_names_of_old_results():
    @dataclass(frozen=True, kw_only=True)
    class Later(Recipe):
        dropout: float = field(default=0.0, metadata={"joined_later": True})

    old = recipes["table1/resnet56/fsft"]
    assert Later(**vars(old)).slug == old.slug
    assert Later(**vars(old), dropout=0.3).slug != old.slug


def test_slugs_of_committed_results_do_not_change():
    """Files in results/ are found by these names."""
    assert recipes["table1/resnet56/fsft"].slug == "table1-resnet56-fsft-6b0f41a3"
    assert recipes["cpu/resnet20/fsft"].slug == "cpu-resnet20-fsft-a76851dc"


@pytest.mark.parametrize("steps", [100, 391])
def test_step_schedule_equals_torch(steps):
    recipe = Recipe(name="test")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [math.ceil(steps / 2), math.ceil(steps * 3 / 4)], 0.1)
    for step in range(steps):
        assert recipe.learning_rate(step / steps) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_cosine_schedule_equals_torch():
    recipe = Recipe(name="test", schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(50):
        assert recipe.learning_rate(step / 50) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


def test_onecycle_is_near_torchs():
    """torch counts steps from 0 to n - 1 and stops a little above zero; the shape is the same."""
    recipe, steps = Recipe(name="test", schedule="onecycle", lr=0.2), 1000
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert recipe.learning_rate(step / steps) == pytest.approx(schedule.get_last_lr()[0], abs=0.2 * 0.006)
        optimizer.step()
        schedule.step()


@given(st.sampled_from(["step", "cosine", "onecycle"]), st.floats(0, 1, exclude_max=True))
def test_learning_rate_stays_within_its_peak(schedule, progress):
    assert 0 <= Recipe(name="test", schedule=schedule, lr=0.3).learning_rate(progress) <= 0.3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", "magic", "expected one of .*found 'magic'"),
        ("schedule", "linear", "expected one of"),
        ("augment", ("rotate",), "expected a subset of"),
        ("epochs", 0, "expected a positive whole number, found 0"),
        ("epochs", 2.5, "expected a positive whole number, found 2.5"),
        ("epochs", "3", "expected a positive whole number, found '3'"),
        ("gamma", -1.0, "expected a positive number, found -1.0"),
        ("cutout_length", 0, "expected a positive whole number"),
        ("mixup_alpha", -1.0, "expected a positive number"),
        ("lr", math.nan, "expected a positive number, found nan"),
        ("weight_decay", -1, "expected a number of at least 0"),
        ("images_per_class", 0, "expected None or a positive whole number"),
        ("dataset_options", "size", r"expected \(name, value\) pairs"),
    ],
)
def test_bad_fields(field, value, message):
    with pytest.raises(ValueError, match=f"recipe field '{field}': {message}"):
        Recipe(name="test", **{field: value})


def test_equal_numbers_and_options_make_one_recipe():
    changes = {"beta": 1, "head_lr_scale": 5, "dataset_options": [("image_size", 64)]}
    whole = Recipe(name="test", **changes)
    assert whole.digest == Recipe(name="test", head_lr_scale=5.0, dataset_options=(("image_size", 64),)).digest
    assert whole == Recipe(name="test", **{**changes, "dataset_options": {"image_size": 64}}) and hash(whole)


def test_augmentations_have_one_order_whatever_they_are_listed_in():
    listed, usual = (Recipe(name="test", augment=names) for names in (("mixup", "crop"), ("crop", "mixup")))
    assert listed.augment == ("crop", "mixup") and listed.digest == usual.digest


def test_unknown_fields_in_a_file_are_named():
    with pytest.raises(ValueError, match="found also learning_rate"):
        Recipe.from_dict({"name": "test", "learning_rate": 0.1})


@pytest.mark.parametrize("method", ["baseline", "fsft", "fsft-sd"])
def test_profiles(method):
    assert profile_recipe("paper", method).distance() == {}
    quick = profile_recipe("quick", method)
    assert quick.dataset == "photodigits" and quick.distance()
    assert ("head_lr_scale" in quick.distance()) == (method != "baseline")
    assert quick.slug.startswith(f"quick-photodigits-resnet8-{method}-{quick.digest[:8]}")
    assert profile_recipe("quick", method, epochs=1).name != quick.name
    assert profile_recipe("laptop", method, epochs=1).epochs == 1
    with pytest.raises(ValueError, match=r"expected one of .*found 'fast'"):
        profile_recipe("fast", method)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ("resnet110", 1_170_868),
        ("wrn28-10", 36_536_884),
        ("pyramidnet", 28_511_307),
        ("pyramidnet-bottleneck", 18_426_837),
    ],
)
@pytest.mark.parametrize("method", ["baseline", "fsft", "fsft-sd"])
def test_table1_builds_the_networks_of_the_paper(network, parameters, method):
    with torch.device("meta"):
        net = build(recipes[f"table1/{network}/{method}"], 100)
    if method != "baseline":
        heads = [*net.joint_heads(), net.fc_distilled] if net.fc_distilled else net.joint_heads()
        parameters += sum(p.numel() for head in heads for p in head.parameters())
        parameters -= (net.fc_last.in_features + 1) * 100
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_wide_resnet_drops_thirty_percent():
    with torch.device("meta"):
        net = build(recipes["table1/wrn28-10/fsft"], 100)
    rates = [module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates == [0.3] * 12


def test_variants_tell_what_the_table_leaves_open():
    assert recipes["table1/pyramidnet-bottleneck/fsft"].distance() == {"block": ["basic", "bottleneck"]}


def test_table3_differs_from_table1_in_data_and_batch_size_alone():
    for method in ("baseline", "fsft", "fsft-sd"):
        large, small = recipes[f"table3/resnet110/{method}"].as_dict(), recipes[f"table1/resnet110/{method}"].as_dict()
        different = {field: value for field, value in large.items() if value != small[field]}
        assert different == {"name": f"table3/resnet110/{method}", "dataset": "tiny-imagenet", "batch_size": 256}


def test_masks_are_part_of_a_recipe_and_the_papers_leave_its_digest_alone():
    paper = recipes["cpu/short-cifar100/fsft"]
    assert paper.slug == "cpu-short-cifar100-fsft-2e2bee24" and replace(paper, masks="halves").digest != paper.digest
    assert {name: len(masks(8, 8)) for name, masks in mask_families.items()} == MASK_FAMILIES
    for family, views in {"none": 1, "halves": 5, "kept-quadrants": 5, "ninths": 10, "checkerboard": 3}.items():
        recipe = recipes[f"cpu/masks/{family}"]
        network = build(recipe, 100)
        assert network.num_views == views == recipe.head_lr_scale
        assert torch.equal(network.masks_of("layer3"), mask_families[family](8, 8))
        assert replace(recipe, masks="quadrants", head_lr_scale=5.0).digest == paper.digest


@pytest.mark.parametrize(("method", "masks"), [("baseline", "halves"), ("sla", "none"), ("fsft", "thirds")])
def test_masks_that_a_method_does_not_have_are_refused(method, masks):
    with pytest.raises(ValueError, match="recipe field 'masks': expected one of"):
        Recipe(name="mine", method=method, masks=masks)


def test_the_map_reuses_runs_that_other_recipes_make():
    """Each cell of chapter 13's map is trained by exactly one recipe, but for those that the split trains again."""
    fields = {"model": "resnet20", "schedule": "onecycle", "dataset": "cifar100", "beta": 1.0, "weight_decay": 5e-4}
    fields["masks"] = "quadrants"
    cells = [
        (recipe.images_per_class, recipe.epochs, recipe.method, recipe.head_lr_scale)
        for recipe in recipes.values()
        if fields.items() <= recipe.as_dict().items() and recipe.augment == ("crop", "flip")
        if not recipe.name.startswith("cpu/split/")
    ]
    methods = [("baseline", 1.0), *((method, scale) for method in ("fsft", "fsft-sd") for scale in (1.0, 5.0))]
    for budget in ((100, 10), (100, 30), (100, 100), (None, 10), (None, 30)):
        for method, scale in methods:
            assert cells.count((*budget, method, scale)) == 1
    assert "cpu/map/500x30/baseline" not in recipes and "cpu/map/500x30/fsft-x5" in recipes


def test_the_weights_of_figure_4_differ_in_beta_alone():
    one = recipes["cpu/short-cifar100/fsft"].as_dict()
    for n in range(1, 10):
        other = recipes[f"cpu/beta/{n / 10}"]
        assert other.distance().keys() == recipes["cpu/short-cifar100/fsft"].distance().keys()
        assert {field for field, value in other.as_dict().items() if value != one[field]} == {"name", "origin", "beta"}
