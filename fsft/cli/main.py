"""The command line: ``fsft recipes | train | sweep | evaluate | predict | localize | data | verify``.

Exit status: 0 done; 1 the run failed (diverged) or a check found something; 2 bad arguments; 3 a data set is missing or
damaged; 4 another process works on the same run; 129, 130 or 143 stopped by SIGHUP, Ctrl-C or SIGTERM, the state is
saved.
"""

import argparse
import dataclasses
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from fsft import __version__
from fsft.catalog import recipes
from fsft.cli.ledger import (
    add_device,
    add_evaluate,
    add_folders,
    add_run,
    add_run_options,
    did_you_mean,
    list_runs,
    matching,
)
from fsft.cli.options import IN_USE, add_changes, changed, changes_in, grid, parse_seeds
from fsft.cli.predict import add_predict
from fsft.recipe import Recipe

FAILED, BAD_ARGUMENTS, BAD_DATA, SIGNALED = 1, 2, 3, 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        return options.command(options)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNALED + getattr(signal, "SIGPIPE", 13)  # Windows has none
    except Exception as caught:
        from fsft.datasets.stream import worker_lost
        from fsft.runtime.devices import memory_full

        error = worker_lost(caught) or memory_full(caught) or caught
        status = _exit_status(error)
        if status is None:
            raise
        text = str(error)
        if isinstance(error, OSError) and error.strerror:  # the system's own words
            text = f"{error.filename or 'a file'}: {error.strerror}; check the path, its permissions, room on the disk"
        print(f"fsft: {text}", file=sys.stderr)
        return status


def _exit_status(error: Exception) -> int | None:
    """The status for an error that a user can act on; None for a defect of ours, which deserves its traceback."""
    from fsft.datasets.registry import DataError
    from fsft.loop import TrainingDivergedError, TrainingStoppedError
    from fsft.runtime.checkpoint import DamagedFileError
    from fsft.runtime.files import FolderLockedError

    if isinstance(error, TrainingStoppedError):
        return SIGNALED + error.signal_number
    statuses = {  # the first that fits: some are kinds of those below them
        DataError: BAD_DATA,
        FolderLockedError: IN_USE,
        TrainingDivergedError | DamagedFileError: FAILED,
        ValueError | FileNotFoundError: BAD_ARGUMENTS,
        OSError | ImportError | MemoryError: FAILED,  # a folder that cannot be written, a missing package
    }
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), None)


class Parser(argparse.ArgumentParser):
    """One that says which option a mistyped one is close to; the parsers of its commands are of this class, too."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        for text in unknown:
            near = difflib.get_close_matches(text.partition("=")[0], self._option_string_actions, n=1)
            if near and text.startswith("--"):
                self.error(f"unrecognized argument {text}, did you mean {near[0]}?")
        return found, unknown


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fsft", description="Self-supervision of feature transformation (arXiv 2106.04922), reproduced."
    )
    parser.add_argument("--version", action="version", version=f"fsft {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_recipes, _add_train, _add_sweep, add_evaluate, add_predict, _add_localize, _add_data, _add_verify):
        add(commands)
    return parser


def _add_recipes(commands: Any) -> None:
    command = commands.add_parser("recipes", help="list the recipes, or the runs that have no result yet")
    command.add_argument("pattern", nargs="*", default=["*"], help="such as 'table1/*' (default: all)")
    add_run_options(command)
    command.set_defaults(command=list_recipes)


def _add_train(commands: Any) -> None:
    about = "Train a recipe. The same command again goes on where the run was, or says that it is done."
    command = commands.add_parser("train", help="train a recipe, or go on with it", description=about)
    add_run(command)
    add_device(command)
    command.add_argument("--progress", choices=("auto", "bar", "lines", "none"), default="auto")
    command.add_argument("--workers", type=int, metavar="N", help="processes that decode images (fine-grained data)")
    command.add_argument("--steps", type=int, metavar="N", help="only try it out: stop after N steps, write no result")
    add_changes(command, lists=False)
    command.set_defaults(command=train_recipe)


def _add_sweep(commands: Any) -> None:
    about = "Train what has no result yet, each run in a process of its own or several in one. The same command again "
    title = "train many recipes and seeds, whatever is not done yet"
    command = commands.add_parser("sweep", help=title, description=f"{about}goes on.")
    command.add_argument("pattern", nargs="+", help="such as 'table1/resnet56/*'")
    command.add_argument("--seeds", default="0-3", help="such as 0-3 or 0,2,5 (default: 0-3, as in the paper)")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, on each GPU (default: 1)")
    command.add_argument("--gpus", default="", help="such as 0,1")
    command.add_argument("--together", type=int, metavar="K", help="K runs at a time in one process, on one GPU")
    add_folders(command)
    add_device(command)
    add_changes(command, lists=True)
    command.set_defaults(command=sweep_recipes)


def _add_localize(commands: Any) -> None:
    command = commands.add_parser(
        "localize",
        help="score the maps of a finished run: do they find the object?",
        description="Score the class activation maps of a finished run against the masks or boxes of its test images, "
        "and write results/maps/<slug>-seed<seed>.json.",
    )
    add_run(command)
    add_device(command, precision=False)
    command.add_argument("--images", type=int, metavar="N", help="up to N test images, evenly chosen (default: all)")
    command.add_argument("--gallery", type=int, metavar="N", help="instead, N images with maps into results/galleries/")
    command.set_defaults(command=localize_run)


def _add_data(commands: Any) -> None:
    command = commands.add_parser("data", help="check or download data sets")
    command.add_argument("action", choices=("check", "download"))
    command.add_argument("name", help="such as cifar100, tiny-imagenet, cub200, imagefolder:PATH")
    add_folders(command, "data")
    command.add_argument("--strict", action="store_true", help="refuse files in class folders that are not read")
    command.set_defaults(command=handle_data)


def _add_verify(commands: Any) -> None:
    command = commands.add_parser("verify", help="check every result file, and name what was altered")
    add_folders(command, "runs", "results")
    command.add_argument("--register", action="store_true", help="if all is well, enter new runs in runs.txt")
    command.set_defaults(command=verify_results)


def list_recipes(options: argparse.Namespace) -> int:
    if options.missing or options.json:
        return list_runs(options)
    if changes_in(options) or options.count:
        raise ValueError("expected --json or --missing beside --count and changes to recipes, found neither")
    names = matching(options.pattern)
    width = max(map(len, names))
    for name in names:
        recipe = recipes[name]
        data = " ".join([recipe.dataset, *(f"{option}={value}" for option, value in recipe.dataset_options)])
        augment = "+".join(recipe.augment) or "not augmented"
        print(
            f"{name:<{width}}  {data}, {recipe.model} ({recipe.block}), {recipe.method}, {augment}, "
            f"{recipe.epochs} epochs, batch {recipe.batch_size}, lr {recipe.lr:g} ({recipe.schedule}), "
            f"weight decay {recipe.weight_decay:g}{unusual(recipe)}"
        )
    return 0


def unusual(recipe: Recipe) -> str:
    """What the line of a recipe says only where it differs from the paper's usual setting."""
    texts = {
        "beta": f"beta {recipe.beta:g}",
        "masks": f"masks {recipe.masks}",
        "head_lr_scale": f"head lr x{recipe.head_lr_scale:g}",
        "images_per_class": f"{recipe.images_per_class} images per class",
        "temperature": f"temperature {recipe.temperature:g}",
        "eval_every": f"tested every {recipe.eval_every} epochs",
    }
    usual = {field.name: field.default for field in dataclasses.fields(Recipe)}
    return "".join(f", {text}" for name, text in texts.items() if getattr(recipe, name) != usual[name])


def train_recipe(options: argparse.Namespace) -> int:
    from fsft.runtime.record import read_result
    from fsft.training import recipe_data, train

    recipe = changed_recipe(options)
    result_path = options.results_dir / f"{recipe.run_name(options.seed)}.json"
    if result_path.exists() and options.steps is None:
        result = read_result(result_path)
        how = f"{result['precision']} on {result['device'].get('type')}"
        print(f"{recipe.name}, seed {options.seed}: done already, in {how}, see {result_path}")
        print("to train it yourself, give another --seed, or another --results-dir")
        return 0
    data = None
    if options.steps is not None:  # the whole test set would take much longer than the steps
        train_set, test_set = recipe_data(recipe, options.data_dir)
        data = train_set, test_set.subset(1, seed=0)
    chosen = _chosen(options, "data_dir", "results_dir", "device", "precision", "progress", "workers")
    runs_dir = options.runs_dir if options.steps is None else None
    run = train(recipe, options.seed, runs_dir=runs_dir, max_steps=options.steps, data=data, **chosen)
    print(summary(recipe, run.result))
    tried = "tried out, and tested on one image of each class: no result written"
    print(tried if options.steps is not None else f"result: {result_path}")
    return 0


def _chosen(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def changed_recipe(options: argparse.Namespace) -> Recipe:
    """The named recipe, with the changes asked for on the command line."""
    return changed(named_recipe(options.recipe), changes_in(options))


def named_recipe(name: str) -> Recipe:
    if name not in recipes:
        raise ValueError(f"expected a recipe from 'fsft recipes', found {name!r}{did_you_mean(name)}")
    return recipes[name]


def summary(recipe: Recipe, result: dict[str, Any]) -> str:
    """Accuracies of the last and of the best epoch, for a terminal."""
    lines = [f"{recipe.name}, seed {result['seed']}: test accuracy"]
    for mode, accuracy in result["last"].items():
        best = result["best"][mode]
        lines.append(f"  {mode:<8}  last epoch {accuracy:.2f} %, best {best['accuracy']:.2f} % (epoch {best['epoch']})")
    return "\n".join(lines)


def sweep_recipes(options: argparse.Namespace) -> int:
    from fsft.cli.sweep import make_jobs, run_sweep, run_together
    from fsft.runtime.record import read_result

    for name in ("jobs", "together"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"expected --{name} of at least 1, found {getattr(options, name)}")
    if options.together and (options.jobs != 1 or options.gpus):
        raise ValueError("expected --together, or --jobs and --gpus, found both: --together runs in this process alone")
    if options.gpus and options.device:
        raise ValueError("expected --gpus or --device, found both: --gpus gives each run a GPU of its own")
    names = matching(options.pattern)
    common = ["--precision", options.precision, *(["--device", options.device] if options.device else [])]
    folders = _chosen(options, "data_dir", "runs_dir", "results_dir")
    jobs = make_jobs(names, parse_seeds(options.seeds), list(grid(options)), common, folders)
    for job in jobs:
        if job.state == "done":
            read_result(job.result)  # a damaged file is no result
    if options.together:
        chosen = _chosen(options, "precision", "device")
        return run_together(jobs, options.together, {**folders, **chosen, "progress": "lines"})
    return run_sweep(jobs, at_once=options.jobs, gpus=[gpu for gpu in options.gpus.split(",") if gpu])


def localize_run(options: argparse.Namespace) -> int:
    from fsft.maps.gallery import write_gallery
    from fsft.maps.localize import localize

    recipe = named_recipe(options.recipe)
    where = _chosen(options, "data_dir", "runs_dir", "results_dir", "device")
    if options.gallery is not None:
        print(f"gallery: {write_gallery(recipe, options.seed, images=options.gallery, **where)}")
        return 0
    found = localize(recipe, options.seed, images=options.images, **where)
    print(f"{recipe.name}, seed {options.seed}: {found['region']} and maps, mean over images in percent")
    for kind, scores in found["scores"].items():
        means = ", ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in scores.items())
        print(f"  {kind:<18} {means}")
    return 0


def handle_data(options: argparse.Namespace) -> int:
    from fsft.datasets.registry import DataError, check_dataset, download_cifar100

    if options.action == "download":
        if options.name != "cifar100":
            others = "'fsft data check' says how to get the others"
            raise DataError(f"only cifar100 can be downloaded, found {options.name!r}; {others}")
        download_cifar100(options.data_dir)
    print(check_dataset(options.name, options.data_dir, strict=options.strict))
    return 0


def verify_results(options: argparse.Namespace) -> int:
    from fsft.evidence.verify import register, verify

    if not options.results_dir.is_dir():
        raise FileNotFoundError(f"expected a folder of results, found no {options.results_dir}: give --results-dir")
    problems = verify(options.results_dir, options.runs_dir)
    for problem in problems:
        print(problem, file=sys.stderr)
    count, maps = (len(list(options.results_dir.glob(pattern))) for pattern in ("*.json", "maps/*.json"))
    print(f"{count} result files, {f'{maps} files of map scores, ' if maps else ''}{len(problems)} problems")
    if options.register and not problems:
        print(f"{len(register(options.results_dir))} runs entered")
    return FAILED if problems else 0
