"""What committed results depend on: none of it may move when the code does.

``frozen.json`` holds digests of all recipes, names and shapes of every network's weights, the canonical form of JSON,
and fingerprints of data. A recipe that is added is added there, by ``python tests/test_frozen.py``; one that changes
would orphan its results.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

import fsft

FROZEN = Path(__file__).with_name("frozen.json")


def short(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def weights(recipe):
    with torch.device("meta"):
        size = dict(recipe.dataset_options).get("image_size", 64 if recipe.dataset == "tiny-imagenet" else 32)
        state = build(recipe, 10, int(size)).state_dict()
    return short([[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in state.items()])


def build(*arguments):
    from fsft.networks import build

    return build(*arguments)


def canonical():
    from fsft.runtime.record import canonical_digest, canonical_json, checksums

    content = {"b": [1, 2.5, None, True, "ä"], "a": {"y": 0.1, "x": 1e-7}, "digest": "left out", "c": torch.tensor(3)}
    plain = json.loads(canonical_json(content))
    return [canonical_json(content), canonical_digest(plain), checksums(plain)]


def fingerprints():
    options = ({}, {"background_correlation": 0.9}, {"background_contrast": 0.3, "size": 200})
    sets = [fsft.load_dataset("photodigits", split, **given) for given in options for split in ("train", "test")]
    statistics = [[round(float(value), 6) for part in data.statistics for value in part] for data in sets]
    return [[data.sha256, list(data.images.shape), values] for data, values in zip(sets, statistics, strict=True)]


def current():
    recipes = {name: [recipe.digest, recipe.slug, weights(recipe)] for name, recipe in sorted(fsft.recipes.items())}
    return {"recipes": recipes, "canonical": canonical(), "fingerprints": fingerprints()}


@pytest.mark.parametrize("part", ["recipes", "canonical", "fingerprints"])
def test_nothing_that_results_depend_on_has_moved(part):
    frozen = json.loads(FROZEN.read_text())
    if part == "recipes":
        expected, found = frozen[part], current()[part]
        assert {name: found.get(name) for name in expected} == expected
        assert found.keys() == expected.keys(), "a new recipe: write it down with `python tests/test_frozen.py`"
    else:
        assert json.loads(json.dumps(globals()[part]())) == frozen[part]


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in current()["recipes"].items())
    rest = {part: globals()[part]() for part in ("canonical", "fingerprints")}
    FROZEN.write_text(f'{{"recipes": {{\n{lines}\n }},\n' + json.dumps(rest, indent=1)[2:] + "\n")
