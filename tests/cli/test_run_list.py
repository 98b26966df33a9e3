import json
from pathlib import Path

import pytest

from fsft.catalog import recipes
from fsft.cli.ledger import TOLERANCE, count, targets
from fsft.cli.main import main
from fsft.evidence import paper
from fsft.evidence.cost import step_cost
from fsft.runtime.checkpoint import load_state, save_state
from fsft.runtime.record import read_result, write_result


@pytest.fixture
def finished(tiny_recipe, capsys):
    """The result file of ``tiny/fsft``, seed 1."""
    assert main(["train", "tiny/fsft", "--seed", "1", "--device", "cpu", "--progress", "none"]) == 0
    capsys.readouterr()
    return Path("results") / f"{tiny_recipe.run_name(1)}.json"


def listed(capsys, *arguments):
    assert main(["recipes", "tiny/*", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_with_and_without_a_result(finished, capsys):
    runs = listed(capsys, "--seeds", "0-2")
    assert [(run["seed"], run["missing"]) for run in runs] == [(0, True), (1, False), (2, True)]
    assert [run["run"] for run in runs][1] == finished.stem
    assert listed(capsys, "--seeds", "0-2", "--missing") == [runs[0], runs[2]]
    (measured,) = runs[0]["measured"]
    seconds = read_result(finished)["seconds"]
    assert (measured["type"], measured["runs"]) == ("cpu", 1) and abs(measured["hours"] - seconds / 3600) < 1e-3


def test_an_epoch_more_takes_longer_and_another_network_is_not_measured(finished, capsys):
    (longer,) = listed(capsys, "--seeds", "0", "--epochs", "2000")
    assert longer["arguments"] == ["tiny/fsft", "--seed", "0", "--epochs", "2000"]
    hours = 1000 * read_result(finished)["seconds"] / 3600
    assert longer["measured"][0]["hours"] == pytest.approx(hours, rel=1e-2)
    assert listed(capsys, "--seeds", "0", "--model", "resnet14")[0]["measured"] == []


def test_the_missing_runs_are_commands_that_train_them(tiny_recipe, capsys):
    assert main(["recipes", "tiny/*", "--missing", "--seeds", "3", "--epochs", "1"]) == 0
    command, total = capsys.readouterr().out.splitlines()
    assert command == "fsft train tiny/fsft --seed 3 --epochs 1  # not measured" and "1 runs" in total
    assert main([*command.split("  #")[0].split()[1:], "--device", "cpu", "--progress", "none"]) == 0
    capsys.readouterr()
    assert listed(capsys, "--missing", "--seeds", "3", "--epochs", "1") == []


def test_two_names_of_one_training_are_one_run(tiny_recipe, monkeypatch, capsys):
    monkeypatch.setitem(recipes, "tiny/other", tiny_recipe.reduced(name="tiny/other"))
    assert [run["recipe"] for run in listed(capsys, "--seeds", "0-1")] == ["tiny/fsft", "tiny/fsft"]


def test_targets_are_the_papers_tables_and_claims():
    found = targets()
    of = {name: found[recipes[name].digest] for name in paper.recipe_names}
    assert all("paper" in names for names in of.values())
    assert {name for name, names in of.items() if "table3" in names} == {f"table3/resnet110/{m}" for m in METHODS}
    assert "claim-si-beats-baseline" in of["table1/resnet56/fsft"]
    assert "table5" in of["table1/resnet110/baseline"]  # to which the overheads refer
    both = {name for name, names in of.items() if "claim-beta-too-low" in names}
    assert both == {"fig4/resnet110/beta-0.1", "table1/resnet110/fsft"}


METHODS = ("baseline", "fsft", "fsft-sd")


def test_the_cost_is_that_of_every_step():
    recipe = recipes["table1/resnet56/baseline"].reduced(model="resnet8", block="basic")
    step = step_cost(recipe)
    assert count(recipe)["flops"] == step.flops * (50_000 // 128)
    fewer = count(recipe.reduced(images_per_class=100))
    assert fewer["flops"] == step.flops * (10_000 // 128) and fewer["weights_bytes"] == 4 * step.parameters
    assert count(recipe.reduced(dataset="photodigits")) is None


def test_evaluate_finds_the_numbers_of_the_result(finished, capsys):
    for given in (f"runs/{finished.stem}", str(finished)):
        assert main(["evaluate", given, "--device", "cpu"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(read_result(finished)["last"])
        assert all(line.endswith("as in the result") for line in lines)


def test_evaluate_finds_a_claim_that_the_weights_do_not_keep(finished, capsys):
    result = read_result(finished)
    result["last"]["si"] += TOLERANCE + 0.5
    write_result(finished, result)
    assert main(["rerun", str(finished), "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert said.out.count("the result says") == 1 and "claims other accuracies" in said.err


def test_evaluate_refuses_the_weights_of_another_run(finished, capsys):
    path = Path("runs") / finished.stem / "weights.pt"
    state = load_state(path)
    state["model"] = {name: tensor + 1 for name, tensor in state["model"].items()}
    save_state(path, state)
    assert main(["evaluate", str(finished), "--device", "cpu"]) == 2
    assert "found others: train it again" in capsys.readouterr().err
