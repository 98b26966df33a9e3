"""The notebooks' execution: what is executed, when it is executed again, and how it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

import nbformat
import psutil
from builder import BookError
from builder.executing import banner, declared_parameters, executed_folder, write_key
from nbformat.v4 import new_markdown_cell
from tiny_book import command, environment, make, notebook, run


def read(root, name):
    return nbformat.read(executed_folder(root, "quick") / name, as_version=4)


def cells_with(nb, text):
    return [cell for cell in nb.cells if text in cell.source]


def comparable(nb):
    """What two executions must agree on: everything but images, times, and the outputs of cells tagged `timing`."""
    copy = json.loads(nbformat.writes(nb))
    for name in ("seconds", "peak_memory_mib"):
        copy["metadata"]["fsft"].pop(name)
    for cell in copy["cells"]:
        if "timing" in cell["metadata"].get("tags", []):
            cell["outputs"] = []
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return json.dumps(copy, sort_keys=True)


def test_an_executed_notebook_shows_nothing_of_the_machine(built):
    nb = read(built, "01_a.ipynb")
    text = nbformat.writes(nb)
    for trace in (str(built), str(Path.home()) + "/", sys.prefix, "injected", "iopub", "a warning"):
        assert trace not in text, trace
    printed = cells_with(nb, "Path.cwd()")[0].outputs[0].text
    assert printed == "step 2\n./notebooks data quick 1 environment <object object at 0x…>\n"
    assert "status.md" in nb.cells[1].source and "Quick profile" in nb.cells[1].source
    record = nb.metadata["fsft"]
    assert record["peak_memory_mib"] > 20 and record["seconds"] > 0 and record["device"].startswith("CPU")


def test_two_executions_agree_in_all_but_images_and_timings(built):
    first = read(built, "01_a.ipynb")
    done = run(built, "execute", "notebooks/01_a.ipynb")
    assert "01_a: executing" in done.stdout and "01_a: done in" in done.stdout
    assert "01_a, cell 7 wrote to standard error: a warning" in done.stdout
    second = read(built, "01_a.ipynb")
    assert comparable(first) == comparable(second)
    assert cells_with(first, "time_ns")[0].outputs != cells_with(second, "time_ns")[0].outputs


def test_only_what_changed_is_executed_again(built):
    assert run(built, "executed").stdout == ""
    path = built / "notebooks" / "02_b.ipynb"
    source = path.read_text()
    path.write_text(source.replace("1+1", "1+2"))
    printed = run(built, "executed").stdout
    path.write_text(source)
    assert "02_b: done in" in printed and "01_a" not in printed
    # The text is what it was, but what was executed is not: nothing of it may be published.
    done = run(built, "stage")
    assert done.returncode == 1 and "02_b.ipynb or what it depends on changed" in done.stderr
    assert not (executed_folder(built, "quick") / "02_b.ipynb").exists()
    assert "02_b: done in" in run(built, "executed").stdout


def test_the_key_changes_with_package_results_data_and_profile(tmp_path, monkeypatch):
    root = make(tmp_path / "repo", {})
    package = tmp_path / "package"
    (package / "room").mkdir(parents=True)
    monkeypatch.setattr("fsft.__file__", str(package / "__init__.py"))
    seen = []

    def key(profile="quick", data="data"):
        write_key(root, profile, data)
        return (executed_folder(root, profile) / "key").read_text()

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    seen.append(key())
    for path in (
        package / "room" / "module.py",
        root / "results" / "maps" / "a.json",
        root / "benchmarks" / "results" / "a.json",
        root / "data" / "cifar100.tar.gz",
    ):
        write(path)
        seen.append(key())
    seen += [key("laptop"), key("laptop", "elsewhere")]
    assert len(set(seen)) == len(seen)
    (package / "room" / "module.py").unlink()
    assert key() not in seen
    before = (executed_folder(root, "quick") / "key").stat().st_mtime_ns
    write(root / "data" / ".fsft-cache" / "pixels")
    assert key() and (executed_folder(root, "quick") / "key").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("cells", "messages"),
    [
        (
            [new_markdown_cell("## The part that fails"), "x = {}\nx['key']"],
            ["notebooks/01_a.ipynb, cell 5, under '## The part that fails'", "KeyError: 'key'"],
        ),
        (["import sys\nsys.exit(0)", "print('never')"], ["01_a.ipynb: a cell ended the kernel"]),
        (["import os\nos._exit(1)"], ["01_a.ipynb: Kernel died"]),
        (
            ["from IPython.display import HTML\nHTML('<script>alert(1)</script>')"],
            ["01_a.ipynb: cell 4: an HTML output is not of the form that plots.table or choices writes"],
        ),
    ],
)
def test_a_notebook_that_fails_stops_the_build_and_says_where(tmp_path, cells, messages):
    root = make(tmp_path / "repo", {"01_a": notebook(*cells)})
    write_key(root, "quick", "data")
    done = run(root, "execute", "notebooks/01_a.ipynb")
    assert done.returncode == 1
    for message in messages:
        assert message in done.stderr
    assert not list(root.rglob("_build/**/*.ipynb")), "a failed execution left a notebook"


def test_a_failed_notebook_ends_make(tmp_path):
    done = run(make(tmp_path / "repo", {"01_a": notebook("1 / 0"), "02_b": notebook("1")}), "book", "JOBS=1")
    assert done.returncode == 2 and "ZeroDivisionError: division by zero" in done.stderr
    assert "01_a: executing" in done.stdout and "02_b" not in done.stdout


def inside(folder):
    """The processes that work in a folder."""

    def cwd(process):
        try:
            return process.cwd()
        except psutil.Error:
            return ""

    return [process for process in psutil.process_iter() if cwd(process).startswith(str(folder))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_ends_its_kernels(tmp_path, number):
    root = make(tmp_path / "repo", {"01_a": notebook("open('../started', 'w').close()\nimport time\ntime.sleep(1000)")})
    build = subprocess.Popen(command("book"), cwd=root, env=environment(), start_new_session=True)
    while not (root / "started").exists():
        assert build.poll() is None
        time.sleep(0.1)
    # A terminal sends Ctrl-C to the whole group; a supervisor sends SIGTERM to make alone.
    os.killpg(build.pid, number) if number == signal.SIGINT else build.send_signal(number)
    assert build.wait() != 0
    assert psutil.wait_procs(inside(root), timeout=120)[1] == []  # make need not wait for its children
    assert not list(root.rglob("_build/**/*.ipynb"))


def test_an_unknown_profile_is_refused(tmp_path):
    done = run(make(tmp_path / "repo", {"01_a": notebook("1")}), "book", "PROFILE=fast")
    assert done.returncode == 2 and "choose from 'quick', 'laptop', 'paper'" in done.stderr


def test_there_is_exactly_one_parameters_cell():
    nb = notebook("1")
    assert declared_parameters(nb)["profile"] == '"quick"' and declared_parameters(nb)["runs_dir"] == "None"
    nb.cells[2].metadata["tags"] = []
    with pytest.raises(BookError, match="found 0"):
        declared_parameters(nb)


def test_the_banner_says_what_the_numbers_are_good_for():
    record = {"device": "CPU", "commit": "commit 0"}
    trained = banner("quick", record, {"profile": "quick", "data_dir": "data"})
    computed = banner("quick", record, {"profile": "quick"})
    assert "an illustration, not evidence" in trained
    assert "illustration" not in computed and "trains nothing" in computed
