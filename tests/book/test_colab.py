"""Chapters away from the repository: in Colab, or downloaded, with what is usual there and the package's wheel."""

import http.server
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fsft.evidence.ledger import load_results
from fsft.maps.scorefile import load_map_scores
from fsft.runtime.provenance import git_state, repository_url

pytest.importorskip("setuptools", "77", reason="wheels are built here")

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
USUAL = ("torch", "torchvision", "numpy", "pillow", "scikit-learn", "scipy", "pandas", "matplotlib", "tqdm", "filelock")
INDEX = ("grad-cam", "ttach", "setuptools")  # what pip finds in a folder, in place of the network
KERNEL = ("ipykernel", "requests", "opencv-python-headless", "pip")


def code_cells(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


SETUP = code_cells(CHAPTERS["01_feature_masks"])[0]


def distributions(names):
    """The installed distributions of these names and all that they need, by name."""
    found, seen, left = {}, set(), [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        try:
            one = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[one.name] = one
        for need in map(Requirement, one.requires or ()):
            holds = any(not need.marker or need.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras))
            if holds and str(need) not in seen:
                seen.add(str(need))
                left.append(need)
    return found


def files_of(distribution):
    """Its files in site-packages; scripts are elsewhere."""
    return [file for file in distribution.files if file.parts[0] != ".." and "__pycache__" not in file.parts]


def copy_of_the_repository(target):
    """What a wheel is built from, without anything that is ignored."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("fsft", "results", "benchmarks/results", "notebooks", "book"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "_config.yml", "_toc.yml"):
        shutil.copyfile(ROOT / name, target / name)
    return target


def run(*line, **options):
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder of wheels: the package's, and those of what a chapter or a build may install."""
    folder = tmp_path_factory.mktemp("wheels")
    source = copy_of_the_repository(tmp_path_factory.mktemp("source"))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source)
    for one in (found for name, found in distributions(["grad-cam", "setuptools"]).items() if name in INDEX):
        files = [file for file in files_of(one) if file.name not in ("RECORD", "INSTALLER")]
        info = next(file.parent for file in files if file.name == "METADATA")
        with zipfile.ZipFile(folder / f"{info.name.removesuffix('.dist-info')}-py3-none-any.whl", "w") as wheel:
            for file in files:
                wheel.write(file.locate(), str(file))
            wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return folder


@pytest.fixture
def stand_in(tmp_path, wheels):
    """An environment such as Colab's: the usual packages, and neither this one nor grad-cam; its python."""
    venv.create(tmp_path / "env", symlinks=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    usual = distributions([*USUAL, *KERNEL])
    assert not usual.keys() & {"fsft", "grad-cam", "papermill", "ttach"} and "torch" in usual
    for one in usual.values():
        for top in {file.parts[0] for file in files_of(one)}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(one.locate_file(top)).resolve())
    (tmp_path / "empty").mkdir()

    def python(*arguments):
        index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "OMP_NUM_THREADS": "1"}
        alone = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FSFT_RESULTS")}
        return run(tmp_path / "env" / "bin" / "python", *arguments, cwd=tmp_path / "empty", env=alone | index)

    return python


EVERY_CHAPTER = """
import json, shutil, site, sys
from pathlib import Path

(folder,) = map(Path, site.getsitepackages())
before = set(folder.iterdir())
for name, (setup, parameters, imports, code) in json.load(open(sys.argv[1])).items():
    for path in set(folder.iterdir()) - before:  # what the chapter before has installed
        shutil.rmtree(path)
    for module in [module for module in sys.modules if module.split(".")[0] in ("pytorch_grad_cam", "ttach")]:
        del sys.modules[module]
    names = {}
    for cell in (setup, parameters, imports):
        exec(cell, names)
    if "class_maps(" in code:
        import pytorch_grad_cam
    print(name)

from fsft.evidence.ledger import load_results
from fsft.evidence.measured import measured
from fsft.maps.scorefile import load_map_scores

ledger = load_results()
assert "site-packages" in sys.modules["fsft"].__file__
print(len(ledger), len(ledger.probes), len(load_map_scores()), measured("own_models") is not None)
"""


@pytest.mark.skipif(not distributions(["grad-cam"]), reason="chapters 9 to 11 need the extra `cam`")
def test_every_chapter_starts_alone_in_an_empty_folder(stand_in, wheels, tmp_path):
    """Setup, parameters and imports of each, from the wheel; what one installs is taken away before the next."""
    stand_in("-m", "pip", "install", "--quiet", "--no-deps", next(wheels.glob("fsft-*.whl")))
    cells = {name: [*found[:3], "\n".join(found)] for name, path in CHAPTERS.items() if (found := code_cells(path))}
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    *printed, last = stand_in("-c", EVERY_CHAPTER, tmp_path / "cells.json").splitlines()
    assert [line for line in printed if line in CHAPTERS] == list(CHAPTERS)
    needing = sum("grad-cam" in found[0].splitlines()[-1] for found in cells.values())
    assert [line for line in printed if "installing" in line] == ["installing grad-cam"] * needing and needing
    ledger, scored = load_results(ROOT / "results"), load_map_scores(ROOT / "results")
    assert last == f"{len(ledger)} {len(ledger.probes)} {len(scored)} True" and len(ledger) > 80


OLDER_TORCH = """
import importlib.metadata, pathlib, sys

for name, version in (("torch", "2.4.0"), ("torchvision", "0.19.0")):
    here = importlib.metadata.distribution(name)
    info = pathlib.Path(here.locate_file("")) / f"{name}-{version}.dist-info"
    here._path.unlink()  # the link to the true one's
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    (info / "RECORD").touch()
try:
    exec(sys.argv[1], {})
except RuntimeError as error:
    print(error)
print(importlib.metadata.version("torch"))
"""


def test_an_older_torch_stays_and_pip_says_what_is_needed(stand_in, wheels):
    cell = SETUP.replace("git+{repository}", "{repository}")
    wheel = next(wheels.glob("fsft-*.whl")).as_uri()
    printed = stand_in("-c", OLDER_TORCH, cell.replace('repository=""', f'repository="{wheel}"'))
    assert "depends on torch>=2.10" in printed and printed.splitlines()[-1] == "2.4.0"


def test_the_wheel_is_small_and_has_all_modules_and_results(wheels):
    (wheel,) = wheels.glob("fsft-*.whl")
    assert wheel.stat().st_size < 5e6
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("fsft-")}
    files = [path for path in (ROOT / "fsft").rglob("*.py")]
    expected = {str(path.relative_to(ROOT)) for path in files}
    for folder in ("results", "benchmarks/results"):
        expected |= {f"fsft/shipped/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*.*")}
    assert names == expected


def asked_of_pip(cell, monkeypatch, fails=False):
    """What the cell tells pip to install where the package is missing."""
    calls = []

    def record(line, **_):
        calls.append(line)
        return subprocess.CompletedProcess(line, int(fails), "", "no space left")

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setitem(sys.modules, "fsft", sys.modules.get("fsft"))  # the cell forgets the module
    exec(cell.replace('"fsft.recipe"', '"fsft.missing"'), {})
    ((*pip, wanted, torch, torchvision),) = calls
    assert pip[1:4] == ["-m", "pip", "install"]
    # What is here is named with its version, so that pip would rather refuse than replace it.
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "torchvision")]
    assert [torch, torchvision] == versions
    return wanted


def test_the_package_comes_from_the_repository_that_the_book_was_built_from(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cell = SETUP.replace('repository=""', 'repository="https://github.com/fork/fsft@0123"')
    assert asked_of_pip(cell, monkeypatch) == "fsft @ git+https://github.com/fork/fsft@0123"


@pytest.mark.parametrize(("clone", "here"), [("content/fsft", "content"), ("fsft", "fsft/notebooks")])
def test_or_from_the_clone_that_the_notebook_lies_in_or_beside(monkeypatch, tmp_path, clone, here):
    (tmp_path / clone / "fsft").mkdir(parents=True)
    (tmp_path / clone / "fsft" / "recipe.py").touch()
    (tmp_path / here).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / here)
    assert asked_of_pip(SETUP, monkeypatch) == f"fsft @ {(tmp_path / clone).as_uri()}"


def test_or_from_the_repository_whose_notebook_colab_has_opened(monkeypatch, tmp_path):
    opened = "fileId=https%3A//github.com/fork/fsft/blob/0123/notebooks/01_feature_masks.ipynb"

    class Sessions(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps([{"path": opened, "name": "01_feature_masks.ipynb"}]).encode())

        def log_message(self, *_):
            pass

    monkeypatch.chdir(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sessions) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
        assert asked_of_pip(SETUP, monkeypatch) == "fsft @ git+https://github.com/fork/fsft@0123"
        server.shutdown()


def test_or_from_nowhere_which_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLAB_JUPYTER_IP", raising=False)
    with pytest.raises(ModuleNotFoundError, match="write its repository's address into the last line"):
        asked_of_pip(SETUP, monkeypatch)


def test_what_pip_says_against_it_is_shown(monkeypatch):
    cell = SETUP.replace('repository=""', 'repository="https://github.com/fork/fsft@0123"')
    with pytest.raises(RuntimeError, match="pip did not install it: no space left"):
        asked_of_pip(cell, monkeypatch, fails=True)


def git(folder, *arguments):
    return run("git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments).strip()


def test_a_fork_s_notebooks_install_the_fork_at_the_built_commit(stand_in, tmp_path, monkeypatch):
    """Two clones stand for two repositories on GitHub: git rewrites the addresses."""
    pytest.importorskip("papermill", reason="the book needs the extra `book`")
    import nbformat
    from builder.downloads import clean
    from builder.staging import launching

    upstream, fork = copy_of_the_repository(tmp_path / "upstream"), tmp_path / "fork"
    git(upstream, "init", "--quiet", "--initial-branch", "main")
    git(upstream, "add", "--all")
    git(upstream, "commit", "--quiet", "--message", "The package")
    run("git", "clone", "--quiet", upstream, fork)
    for folder in (fork, upstream):
        (folder / "fsft" / "methods.py").open("a").write(f"\nWHERE = {folder.name!r}\n")
        git(folder, "commit", "--quiet", "--all", "--message", "A change")
        git(folder, "config", "remote.origin.url", f"https://name:token@github.com/{folder.name}/fsft.git")
    built = {folder: (repository_url(folder), git_state(folder)["commit"]) for folder in (upstream, fork)}
    assert built[fork][0] == "https://github.com/fork/fsft" and built[upstream][0] == "https://github.com/upstream/fsft"
    git(fork, "rm", "--quiet", "-r", "fsft")  # what is pushed later changes nothing
    git(fork, "commit", "--quiet", "--message", "A later change")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    for number, folder in enumerate((upstream, fork)):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", f"url.{folder.as_uri()}.insteadOf")
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", f"https://github.com/{folder.name}/fsft")
    setups = {}
    for folder in (upstream, fork):
        notebook = nbformat.read(CHAPTERS["01_feature_masks"], as_version=4)
        launching(notebook, *built[folder])
        notebook = clean(notebook, ROOT / "book" / "references.bib", None)
        setups[folder] = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert setups[upstream].endswith(f'repository="https://github.com/upstream/fsft@{built[upstream][1]}")')
    (tmp_path / "empty" / "fsft" / "fsft").mkdir(parents=True)  # a clone's folder is no package
    printed = stand_in("-c", f"import fsft\n{setups[fork]}\nimport fsft.methods\nprint(fsft.methods.WHERE)")
    assert printed.splitlines()[-1] == "fork"


@pytest.mark.parametrize(
    ("remote", "found"),
    [
        ("git@github.com:fork/fsft.git", "https://github.com/fork/fsft"),
        ("ssh://git@github.com/fork/fsft", "https://github.com/fork/fsft"),
        ("https://token@github.com/fork/fsft.git", "https://github.com/fork/fsft"),
        ("https://gitlab.com/fork/fsft", "https://github.com/declared/fsft"),
        ("/srv/git/fsft.git", "https://github.com/declared/fsft"),
        ("https://github.com.example.org/fork/fsft", "https://github.com/declared/fsft"),
    ],
)
def test_the_repository_is_the_workflow_s_else_the_remote_s_else_the_declared(tmp_path, monkeypatch, remote, found):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    assert repository_url(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/declared/fsft.git/"\n')
    assert repository_url(tmp_path) == "https://github.com/declared/fsft"
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "remote.origin.url", remote)
    assert repository_url(tmp_path) == found
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "runner/fsft")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert repository_url(tmp_path) == found
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert repository_url(tmp_path) == "https://github.com/runner/fsft"
