"""One step of `make book`: `python -m builder STEP`, in the root folder of the repository."""

import argparse
import signal
import sys
from pathlib import Path

from builder import BookError
from builder.executing import execute, write_key
from fsft.recipe import PROFILES

STEPS = {
    "key": "see whether something changed that every notebook depends on",
    "execute": "execute one notebook",
    "stage": "put the sources of the pages together",
    "extras": "make what stands beside the pages: a picture, a summary, all figures",
    "finish": "mend and check the built pages",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one step; the exit status, 0 when all is good."""
    parser = argparse.ArgumentParser(prog="python -m builder", description=__doc__)
    parser.add_argument("step", choices=STEPS, help="; ".join(f"{step}: {text}" for step, text in STEPS.items()))
    parser.add_argument("notebook", nargs="?", type=Path)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument("--data-dir", default="data", help="the folder of the data sets (default: data)")
    options = parser.parse_args(arguments)
    try:
        problems = run_step(options, Path.cwd())
    except (BookError, ValueError) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"book: {problem}", file=sys.stderr, flush=True)
    return 1 if problems else 0


def run_step(options: argparse.Namespace, root: Path) -> list[str]:
    """The problems that the step found."""
    # Only `execute` is started many times, so what the other steps need is imported here.
    if options.step == "execute":
        execute(options.notebook, root, options.profile, options.data_dir)
        return []
    from builder.checking import page_problems, source_problems
    from builder.staging import mend, stage
    from fsft.evidence.verdicts import marker_problems

    if options.step == "key":
        problems = [*source_problems(root), *marker_problems(root)]
        if not problems:
            write_key(root, options.profile, options.data_dir)
        return problems
    if options.step == "stage":
        stage(root, options.profile)
        return []
    if options.step == "extras":
        from builder.extras import write_extras

        write_extras(root)
        return []
    mend(root)
    return page_problems(root)


if __name__ == "__main__":
    # Ctrl-C ends a step at once, as SIGTERM does: files are written whole or not at all, and a kernel that has lost its
    # parent ends itself within a second.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise SystemExit(main())
