import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fsft.catalog import recipes
from fsft.cli import command
from fsft.cli.main import build_parser, changed_recipe, main
from fsft.cli.options import as_arguments, grid
from fsft.runtime.checkpoint import load_state, save_state
from fsft.runtime.record import write_result


def test_help_does_not_load_torch():
    code = "import sys, fsft, fsft.cli.main\ntry: fsft.cli.main.main(['--help'])\nexcept SystemExit: pass\n"
    code += "loaded = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules); assert not loaded, loaded"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout


def test_public_names_load_on_demand():
    import fsft

    for name in fsft.__all__:
        assert getattr(fsft, name) is not None
    assert callable(fsft.train) and isinstance(fsft.recipes, dict)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fsft.nothing  # noqa: B018


def test_recipes_lists_by_pattern(capsys):
    assert main(["recipes", "table1/resnet56/*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("table1/resnet56/") for line in lines)


def test_changes_to_a_list_that_does_not_show_them_are_refused(capsys):
    assert main(["recipes", "cpu/resnet20/fsft", "--epochs", "5"]) == 2
    assert "expected --json or --missing beside --count and changes to recipes" in capsys.readouterr().err


def test_the_list_of_recipes_tells_neighbors_apart(capsys):
    assert main(["recipes", "cpu/*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.split(maxsplit=1)[1] for line in lines}) == len(lines)
    usual = next(line for line in lines if line.startswith("cpu/resnet20/fsft "))
    assert "beta" not in usual and "head" not in usual and "per class" not in usual


def test_train_then_again_then_evaluate_then_verify(tiny_recipe, capsys):
    assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 0
    first = capsys.readouterr().out
    assert "last epoch" in first and "result: results" in first
    assert main(["train", "tiny/fsft", "--device", "cpu"]) == 0
    assert "done already" in capsys.readouterr().out
    (path,) = Path("results").glob("*.json")
    last = json.loads(path.read_text())["last"]
    assert main(["evaluate", f"runs/{path.stem}", "--device", "cpu"]) == 0
    evaluated = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert evaluated == {mode: f"{accuracy:.2f}" for mode, accuracy in last.items()}
    older = json.loads(path.read_text())
    for modes in (older["last"], older["best"], *(epoch["test"] for epoch in older["history"])):
        modes.pop("ag-logits", None)
    (folder := Path("older")).mkdir()
    write_result(folder / path.name, older)
    assert main(["evaluate", f"runs/{path.stem}", "--results-dir", "older", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^ag-logits .* %  not in the result$", said, re.M) and said.count("  as in the result") == 3
    assert main(["verify"]) == 0
    assert "1 result files, 0 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["verify", "--results-dir", "resluts"], "expected a folder of results, found no resluts"),
        (["sweep", "tiny/*", "--gpus", "0", "--device", "cuda:0"], "expected --gpus or --device, found both"),
        (["train", "tiny/fsft", "--device", "gpu"], "expected a device such as cpu, cuda or cuda:1, found 'gpu'"),
        (
            ["train", "tiny/fsft", "--device", "mps"],
            "expected cpu or cuda, which this package is tested on, found 'mps'",
        ),
        (["train", "tiny/fsft", "--device", "meta"], "expected cpu or cuda, which this package is tested on, found"),
        (
            ["train", "tiny/fsft", "--model", "resnet9999998"],
            "expected at most 2000 layers, and no larger factor, found 'resnet9999998'",
        ),
        (
            ["sweep", "tiny/fsft", "--seeds", "0-99999999999"],
            "expected rising seeds such as 0-3, at most 10,000, found",
        ),
        (["train", "tiny/fstf"], "expected a recipe from 'fsft recipes', found 'tiny/fstf', did you mean 'tiny/fsft'?"),
        (
            ["recipes", "tiny/fsf"],
            "expected a pattern that fits some recipe, found 'tiny/fsf', did you mean 'tiny/fsft'?",
        ),
        (["train", "tiny/fsft", "--epochs", "0"], "recipe field 'epochs': expected a positive whole number, found 0"),
        (["localize", "tiny/fsft", "--images", "0"], "expected at least one image, found 0"),
        (["train", "tiny/fsft", "--seed", "-1"], "expected a seed from 0 to"),
    ],
)
def test_bad_arguments_get_a_sentence(tiny_recipe, capsys, command, message):
    assert main(command) == 2
    assert f"fsft: {message}" in capsys.readouterr().err


def test_a_mistyped_option_is_told_its_neighbour(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "tiny/fsft", "--seeed", "1"])
    assert "unrecognized argument --seeed, did you mean --seed?" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_gets_a_sentence(tiny_recipe, tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 1
    assert "fsft: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "expected memory for this, found too little (no more to be had): close other programs"),
        (RuntimeError("can't allocate memory: you tried to allocate 9 bytes. Error\nat"), "you tried to allocate 9"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "found too little (CUDA out of"),
        (OSError(28, "No space left on device"), "a file: No space left on device; check the path, its permissions"),
        (PermissionError(13, "Permission denied", "x/y"), "x/y: Permission denied; check the path, its permissions"),
    ],
)
def test_full_memory_and_full_disks_get_a_sentence(error, said, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr("fsft.cli.main.list_recipes", fail)
    assert main(["recipes"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fsft: ") and said in line


WRONG = {
    "nothing": lambda saved: {},
    "no class": lambda saved: saved | {"classes": 7},
    "a recipe of another kind": lambda saved: saved | {"recipe": [1]},
    "an unnamed recipe": lambda saved: saved | {"recipe": {}},
    "other weights": lambda saved: saved | {"model": {"a": torch.zeros(2)}},
    "no weights": lambda saved: saved | {"model": None},
    "no statistics": lambda saved: saved | {"statistics": "none"},
}


def test_sealed_files_of_wrong_content_get_a_sentence(tiny_recipe, tmp_path, capsys):
    """The digest fits, and what is inside is not what a run keeps; a checkpoint of that kind, too."""
    image = tmp_path / "image.png"
    Image.new("RGB", (16, 16)).save(image)
    assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    saved = load_state(run / "weights.pt")
    for change in WRONG.values():
        save_state(run / "weights.pt", change(saved))
        save_state(run / "checkpoint-000000001.pt", change({"identity": {}, **saved}))
        capsys.readouterr()
        commands = (
            ["predict", str(run), str(image)],
            ["train", "tiny/fsft", "--device", "cpu", "--results-dir", "other"],
        )
        for arguments in commands:
            assert main(arguments) in (1, 2)
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("fsft: ") and run.name in line, line


def test_an_option_of_the_call_is_no_option_of_the_data(tiny_recipe, capsys):
    assert main(["train", "tiny/fsft", "--dataset-options", "split=test"]) == 3
    assert "found the unknown option 'split'" in capsys.readouterr().err


def test_an_option_that_changes_nothing_is_the_same_run():
    options = build_parser().parse_args(["train", "cpu/resnet20/fsft", "--epochs", "30"])
    assert changed_recipe(options) is recipes["cpu/resnet20/fsft"]


def test_a_damaged_result_does_not_count_as_done(tiny_recipe, tmp_path, capsys):
    path = tmp_path / "results" / f"{tiny_recipe.run_name(0)}.json"
    path.parent.mkdir()
    path.touch()
    for arguments in (["train", "tiny/fsft"], ["sweep", "tiny/fsft", "--seeds", "0"]):
        assert main(arguments) == 2
        assert f"{path.name}: expected a readable JSON file" in capsys.readouterr().err


def test_ctrl_c_outside_of_training_gets_a_sentence(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fsft.cli.main.list_recipes", stop)
    monkeypatch.setattr(sys, "argv", ["fsft", "recipes"])
    assert command() == 130 and capsys.readouterr().err.startswith("fsft: stopped")
    monkeypatch.delitem(sys.modules, "fsft.cli.main")
    monkeypatch.setattr("builtins.__import__", stop)  # while it loads
    assert command() == 130 and capsys.readouterr().err.startswith("fsft: stopped")


def test_a_reader_that_leaves_is_no_error():
    command = f"set -o pipefail; {sys.executable} -m fsft recipes | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode in (0, 141) and "Traceback" not in result.stderr and result.stdout


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert re.fullmatch(r"fsft \d.*\n", capsys.readouterr().out)


def test_evaluate_refuses_other_classes(tiny_recipe, tmp_path, monkeypatch, capsys):
    assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    path = run / "weights.pt"
    save_state(path, load_state(path) | {"classes": list("abcdefghij")})
    assert main(["evaluate", str(run), "--device", "cpu"]) == 2
    assert "expected the classes of" in capsys.readouterr().err


def test_steps_writes_no_result(tiny_recipe, tmp_path, capsys):
    assert main(["train", "tiny/fsft", "--steps", "1", "--device", "cpu", "--progress", "none"]) == 0
    assert "no result written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_options_change_the_recipe():
    options = build_parser().parse_args(["train", "cpu/resnet20/fsft", "--epochs", "7", "--head-lr-scale", "5"])
    recipe = changed_recipe(options)
    assert (recipe.epochs, recipe.head_lr_scale) == (7, 5) and recipe.distance()["epochs"] == [300, 7]


def test_options_of_the_data_set():
    arguments = ["train", "table3/resnet110/fsft", "--dataset-options", "classes=available+size=20"]
    recipe = changed_recipe(build_parser().parse_args(arguments))
    assert recipe.dataset_options == (("classes", "available"), ("size", 20))
    assert recipe.distance()["dataset_options"] == [[], [["classes", "available"], ["size", 20]]]
    (change,) = grid(build_parser().parse_args(["sweep", *arguments[1:]]))
    assert changed_recipe(build_parser().parse_args([*arguments[:2], *as_arguments(change)])) == recipe


def test_method_and_augmentations_compose():
    arguments = ["train", "table1/resnet110/baseline", "--method", "sla+fsft", "--augment", "cutout+flip+crop"]
    recipe = changed_recipe(build_parser().parse_args(arguments))
    assert (recipe.method, recipe.augment) == ("sla+fsft", ("crop", "flip", "cutout"))
    (change,) = grid(build_parser().parse_args(["sweep", *arguments[1:]]))
    assert changed_recipe(build_parser().parse_args([*arguments[:2], *as_arguments(change)])) == recipe
    grids = grid(build_parser().parse_args(["sweep", "x", "--augment", "none,crop", "--method", "baseline,fsft"]))
    found = [(change["augment"], change["method"]) for change in grids]
    assert sorted(found) == [((), "baseline"), ((), "fsft"), (("crop",), "baseline"), (("crop",), "fsft")]


@pytest.mark.parametrize("arguments", [["--augment", "none"], ["--dataset-options", "none"]])
def test_nothing_can_be_asked_for(arguments):
    parser = build_parser()
    recipe = changed_recipe(parser.parse_args(["train", "table4/cub200/fsft", *arguments]))
    assert () in (recipe.augment, recipe.dataset_options)
    (change,) = grid(parser.parse_args(["sweep", "x", *arguments]))
    assert as_arguments(change) == arguments


def test_unknown_augmentations_are_named(capsys):
    with pytest.raises(SystemExit) as error:
        main(["train", "cpu/resnet20/fsft", "--augment", "crop+turn"])
    assert error.value.code == 2
    assert "expected none, or some of crop, flip, cutout, mixup joined by +, found 'turn'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "table9/none"], 2, "expected a recipe from 'fsft recipes', found 'table9/none'"),
        (
            ["train", "cpu/resnet20/fsft", "--dataset", "photodigits", "--model", "resnet21"],
            2,
            r"depth of 6n \+ 2 for basic blocks, found 21",
        ),
        (["train", "cpu/resnet20/fsft", "--dataset", "mnist"], 3, "mnist"),
        (["train", "cpu/resnet20/fsft", "--data-dir", "nowhere"], 3, "nowhere"),
        (["train", "table1/resnet56/fsft", "--method", "magic"], 2, "'method': expected one of .*found 'magic'"),
        (["train", "table4/cub200/fsft", "--data-dir", "nowhere"], 3, "nowhere/CUB_200_2011.*download https://data"),
        (["train", "cpu/resnet20/fsft", "--dataset", "photodigits", "--steps", "0"], 2, "at least one step, found 0"),
        (["data", "check", "cifar100", "--data-dir", "nowhere"], 3, "fsft data download cifar100"),
        (["data", "download", "imagenet"], 3, "only cifar100 can be downloaded"),
        (["evaluate", "runs/none"], 2, "expected the folder of a finished run"),
        (["recipes", "zzz*"], 2, "expected a pattern that fits"),
    ],
)
def test_errors_are_one_sentence_with_a_status(arguments, status, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert error.startswith("fsft: ") and error.count("\n") == 1
    assert re.search(message, error), error


def test_interrupted_run_has_the_signals_status(tiny_recipe, monkeypatch, capsys):
    monkeypatch.setattr("fsft.runtime.progress.ProgressReport.step", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 128 + signal.SIGTERM
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.undo()


def test_lock_has_a_status_of_its_own(tiny_recipe, capsys, tmp_path):
    from fsft.runtime.files import run_lock

    with run_lock(tmp_path / "runs" / f"{tiny_recipe.slug}-seed0"):
        assert main(["train", "tiny/fsft", "--device", "cpu", "--progress", "none"]) == 4
    assert "in use by another process" in capsys.readouterr().err
