"""The book's machinery: parameters, outputs, execution, staging, and the checks of pages and sources."""

import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

import nbformat
import psutil
import yaml
from hostile import HOSTILE_PARAMETERS
from nbformat.v4 import new_markdown_cell, new_output
from tiny_book import ROOT, executed, make, notebook, rich_notebook

import fsft
from fsft import book
from fsft.book import lint, run, schedule, site, stage
from fsft.book.notebook import comparable
from fsft.book.plan import plan_jobs
from fsft.book.run import NotebookError


def test_hostile_parameters_start_no_kernel(tmp_path, monkeypatch, capsys):
    """Through the front door: nothing is executed, nothing is written, one sentence says why."""
    assert len(HOSTILE_PARAMETERS) >= 60
    root = make(tmp_path / "book", {"01_a": notebook("print(1)")})
    monkeypatch.setattr(schedule, "_run_all", lambda *_: pytest.fail("an execution was started"))
    for name, value in HOSTILE_PARAMETERS:
        assert book.build(root=root, parameters={name: value}) == 1, (name, value)
        assert capsys.readouterr().err.startswith("fsft book: ")
    assert not list(tmp_path.rglob("canary")) and not list((root / "_build").rglob("*.ipynb"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A two-chapter book, executed and built once; the tests look at it."""
    root = make(
        tmp_path_factory.mktemp("built") / "repo", {"01_a": rich_notebook(), "02_b": notebook("print(seeds)", "1+1")}
    )
    (root / "results").mkdir()
    assert book.build(root=root) == 0
    return root


def cells_with(nb, text):
    return [cell for cell in nb.cells if text in cell.source]


def test_an_executed_notebook_lies_at_its_place_and_shows_nothing_of_the_machine(built):
    text = (built / "_build" / "book" / "notebooks" / "01_a.ipynb").read_text()
    nb = nbformat.reads(text, as_version=4)
    for trace in (str(built), str(Path.home()) + "/", sys.prefix, "papermill", "iopub", "a warning"):
        assert trace not in text, trace
    printed = cells_with(nb, "Path.cwd()")[0].outputs[0].text
    assert printed == "step 2\n./notebooks data quick 1 environment <object object at 0x…>\n"
    assert "status.md" in nb.cells[1].source and "Quick profile" in nb.cells[1].source
    record = json.loads((built / "_build" / "cache" / "quick" / "01_a.json").read_text())
    assert record["peak_memory_mib"] > 20 and record["seconds"] > 0 and record["device"].startswith("CPU")


def test_two_executions_agree_in_all_but_images_and_timings(built, monkeypatch):
    job = plan_jobs(built, ["notebooks/01_a.ipynb"], "quick", "data", {})[0]
    first = nbformat.read(job.target, as_version=4)
    again = run.Job(**{**vars(job), "target": str(built / "again.ipynb"), "record": str(built / "again.json")})
    for key, value in schedule._environment(built, 1).items():
        monkeypatch.setenv(key, value)
    notes = run.execute(again)
    second = nbformat.read(again.target, as_version=4)
    assert comparable(first) == comparable(second)
    assert cells_with(first, "time_ns")[0].outputs != cells_with(second, "time_ns")[0].outputs
    assert any("standard error: a warning" in note for note in notes)
    cells_with(second, "Path.cwd()")[0].outputs[0].text += "x"
    assert comparable(first) != comparable(second)


def test_unchanged_notebooks_are_not_executed_again(built, monkeypatch):
    executions = []
    monkeypatch.setattr(
        schedule, "_run_all", lambda todo, *_: executions.append([Path(job.source).stem for job in todo])
    )

    def executed_now(data_dir="data"):
        schedule.execute_all(built, "quick", data_dir, say=lambda _: None)
        return executions.pop()

    assert executed_now() == []
    assert executed_now(data_dir="elsewhere") == ["01_a", "02_b"]
    (built / "results" / "run.json").write_text("{}")
    assert executed_now() == ["01_a", "02_b"]
    (built / "results" / "run.json").unlink()
    path = built / "notebooks" / "02_b.ipynb"
    source = path.read_text()
    path.write_text(source.replace("1+1", "1+2"))
    assert executed_now() == ["02_b"]
    path.write_text(source)
    target = built / "_build" / "cache" / "quick" / "02_b.ipynb"
    text = target.read_text()
    target.unlink()
    with pytest.raises(FileNotFoundError):
        executed_now()
    assert executions.pop() == ["02_b"]
    target.write_text(text)


def test_the_built_pages_are_complete_and_their_own(built):
    assert site.check_site(built) == []
    page = (built / "_build" / "html" / "notebooks" / "01_a.html").read_text()
    assert 'alt="A line that rises from 1 to 3 in two steps."' in page
    assert "Parameters of this execution" not in page
    assert 'class="fsft-table"' in page and "Quick profile" in page
    status = (built / "_build" / "html" / "book" / "status.html").read_text()
    assert "Peak memory (MiB)" in status and stage.STATUS_MARK not in status
    assert "colab" not in page and "github.com" not in page


def damage(text, page):
    return {
        "outputs": lambda: page.replace("cell_output", "gone"),
        "alt": lambda: re.sub(r'alt="A line[^"]*"', 'alt="image.png"', page),
        "script": lambda: page.replace('<div class="fsft-table"', '<script>1</script><div class="fsft-table"'),
        "sheet": lambda: page.replace('<div class="fsft-table"', '<style>a {}</style><div class="fsft-table"'),
        "handler": lambda: page.replace("<h1>", '<h1 onclick="x()">'),
        "remote": lambda: page.replace("</head>", '<script src="https://cdn.example/x.js"></script></head>'),
        "style": lambda: page.replace("</head>", '<link rel="stylesheet" href="//cdn.example/x.css"></head>'),
        "link": lambda: page.replace('href="02_b.html"', 'href="03_c.html"'),
        "anchor": lambda: page.replace('href="02_b.html"', 'href="02_b.html#no-such-part"'),
        "widget": lambda: page.replace("</article>", "<i>application/vnd.jupyter.widget-view+json</i></article>"),
        "button": lambda: page.replace(
            'class="dropdown dropdown-download-buttons"',
            'class="dropdown-launch-buttons"><a href="https://colab.research.google.com/github/other/book">x</a></div><div',
        ),
    }[text]()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("outputs", "shows the outputs of 0 cells"),
        ("alt", "no alternative text"),
        ("script", "an output holds <script>"),
        ("sheet", "an output holds <style>"),
        ("handler", "active attribute onclick"),
        ("remote", "<script> loads https://cdn.example/x.js"),
        ("style", "<link> loads //cdn.example/x.css"),
        ("link", "'03_c.html' leads nowhere"),
        ("anchor", "names a part that its page does not have"),
        ("widget", "holds a widget"),
        ("button", "names no repository"),
    ],
)
def test_damaged_pages_are_noticed(built, what, message):
    path = built / "_build" / "book" / "_build" / "html" / "notebooks" / "01_a.html"
    page = path.read_text()
    broken = damage(what, page)
    assert broken != page
    try:
        path.write_text(broken)
        assert any(message in problem for problem in site.check_site(built)), site.check_site(built)
    finally:
        path.write_text(page)


def test_a_missing_page_and_a_missing_book_are_noticed(built, tmp_path):
    page = built / "_build" / "book" / "_build" / "html" / "book" / "status.html"
    text = page.read_text()
    page.unlink()
    try:
        assert "book/status: the page is missing" in site.check_site(built)
    finally:
        page.write_text(text)
    with pytest.raises(stage.BookError, match="make book"):
        site.check_site(tmp_path)


def test_a_failing_cell_stops_the_build_and_says_where(tmp_path, capsys):
    failing = notebook(new_markdown_cell("## The part that fails"), "x = {}\nx['key']", title="Bad")
    root = make(tmp_path / "repo", {"01_a": failing, "02_b": notebook("import time\ntime.sleep(100)")})
    assert book.build(root=root, jobs=2) == 1
    error = capsys.readouterr().err
    assert "notebooks/01_a.ipynb, cell 5, under '## The part that fails'" in error
    assert "KeyError" in error
    assert not list(root.rglob("_build/**/*.ipynb")), "a failed or ended execution left a notebook"
    assert [process for process in psutil.process_iter() if cwd(process).startswith(str(root))] == []


def cwd(process):
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def sleeper(*_):
    """A worker whose child sleeps, as a kernel would."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])"
    process = subprocess.Popen([sys.executable, "-c", code], text=True, start_new_session=True)
    return schedule._Running(SimpleNamespace(profile="quick"), "01_a", process, time.monotonic(), io.StringIO())


def test_a_notebook_that_hangs_is_ended_with_all_its_children(monkeypatch):
    monkeypatch.setattr(schedule, "_start", sleeper)
    monkeypatch.setitem(schedule.NOTEBOOK_TIMEOUT, "quick", 0.5)
    monkeypatch.setattr(schedule, "last_seconds", lambda _: None)
    with pytest.raises(NotebookError, match=r"01_a: still running after 0\.5 s"):
        schedule._run_all([SimpleNamespace(source="a")], 1, {}, lambda _: None)
    assert psutil.Process().children(recursive=True) == []


def test_a_build_that_is_terminated_ends_its_kernels(monkeypatch):
    monkeypatch.setattr(schedule, "_start", sleeper)
    monkeypatch.setattr(schedule, "last_seconds", lambda _: None)
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(SystemExit) as ended:
        schedule._run_all([SimpleNamespace(source="a")], 1, {}, lambda _: None)
    assert ended.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) == before
    assert psutil.Process().children(recursive=True) == []


def test_the_time_left_counts_what_is_running_and_what_waits():
    def job(name):
        return SimpleNamespace(source=name)

    estimate = {"a": 30.0, "b": 50.0, "c": 10.0, "new": None}
    running = [schedule._Running(job("b"), "b", None, time.monotonic() - 20, None)]
    assert schedule._remaining([job("a"), job("c")], running, estimate, 2) == pytest.approx(35, abs=2)
    assert schedule._remaining([job("a")], [], estimate, 8) == 30
    assert schedule._remaining([job("new")], running, estimate, 2) is None
    assert schedule._remaining([], [], estimate, 2) == 0


def test_quick_notebooks_share_the_cores_and_a_long_training_gets_them_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 2**30))
    assert schedule._workers("quick", 8, None) == (4, 1)
    assert schedule._workers("quick", 2, None) == (2, 2)
    assert schedule._workers("laptop", 8, None) == (1, 4)
    assert schedule._workers("laptop", 8, 3) == (3, 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * 2**30))
    assert schedule._workers("quick", 8, None) == (1, 4)


def test_a_notebook_that_ends_its_kernel_early_is_not_a_success(tmp_path):
    root = make(tmp_path / "repo", {"01_a": notebook("import sys\nsys.exit(0)", "print('never')")})
    with pytest.raises(NotebookError, match=r"01_a.*(did not run|SystemExit)"):
        schedule.execute_all(root, "quick", "data", say=lambda _: None)


def test_the_setting_of_pages_needs_the_repository_root(tmp_path, capsys):
    assert book.build(root=tmp_path) == 1
    assert "root folder of the repository" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_profiles_and_globs_are_refused(tmp_path, capsys):
    root = make(tmp_path / "repo", {"01_a": notebook("1")})
    assert book.build("fast", root=root) == 1
    assert "quick, laptop, paper" in capsys.readouterr().err
    assert book.build(only="99*", root=root) == 1
    assert "no notebook of _toc.yml matches '99*'" in capsys.readouterr().err


def test_until_the_repository_is_set_nothing_points_to_one(tmp_path):
    root = make(tmp_path / "repo", {"01_a": notebook("1")})
    config = yaml.safe_load((root / "_config.yml").read_text())
    staged = stage.staged_config(config, stage.repository_url(root))
    assert staged["repository"]["url"] == "" and "colab_url" not in staged["launch_buttons"]
    assert not staged["html"]["use_repository_button"]
    assert "github.com" not in yaml.safe_dump(staged) + lint.setup_cell(None)


def test_with_a_repository_every_link_leads_to_a_file_in_it(tmp_path):
    url = "https://github.com/someone/fsft"
    root = make(tmp_path / "repo", {"01_a": notebook("1", repository=url)}, repository=url + ".git/")
    assert stage.repository_url(root) == url
    (root / "_build" / "book" / "notebooks").mkdir(parents=True)
    nb = executed("1")
    nb.cells[-1].outputs = [new_output("stream", name="stdout", text="1")]
    (root / "_build" / "book" / "notebooks" / "01_a.ipynb").write_text(nbformat.writes(nb))
    pages = stage.build_html(stage.stage(root, []), root)
    page = (pages / "notebooks" / "01_a.html").read_text()
    assert "https://colab.research.google.com/github/someone/fsft/blob/main/notebooks/01_a.ipynb" in page
    assert site.check_site(root) == []
    (root / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/other/book"\n')
    assert any("is not https://github.com/other/book" in problem for problem in site.check_site(root))
    (root / "notebooks" / "01_a.ipynb").rename(root / "notebooks" / "01_moved.ipynb")
    assert any("not a file of the repository" in problem for problem in site.check_site(root))


@pytest.mark.parametrize(
    "url", ["https://example.org/a/b", "https://github.com/a", "git@github.com:a/b", "https://github.com/a/b/c"]
)
def test_a_repository_address_that_the_buttons_cannot_use_is_refused(tmp_path, url):
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "{url}"\n')
    with pytest.raises(stage.BookError, match=r"github\.com/owner/name"):
        stage.repository_url(tmp_path)


def test_the_api_page_names_every_public_name():
    text = (ROOT / "book" / "api.md").read_text()
    missing = [
        name
        for name in fsft.__all__
        if not name.startswith("__") and not re.search(rf":: (fsft\.\w+\.)?{name}\n", text)
    ]
    assert missing == []


def test_every_citation_has_an_entry_and_every_entry_is_complete():
    entries = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    texts = [path.read_text() for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("book/*.md")]]
    cited = {
        key.strip()
        for text in texts
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    assert cited <= entries, cited - entries


def test_the_workflow_uses_actions_by_hash_and_few_rights():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + "0" * 40)), step


def test_the_fixture_book_is_within_the_rules():
    assert list(lint.lint_notebook(rich_notebook(), None)) == []


def test_without_a_book_the_page_tests_skip_unless_the_book_is_required(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("test_pages", ROOT / "tests" / "book" / "test_pages.py")
    test_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(test_pages)
    monkeypatch.setattr(test_pages, "BUILT", tmp_path)
    monkeypatch.delenv("FSFT_REQUIRE_BOOK", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make book"):
        test_pages.require_book()
    monkeypatch.setenv("FSFT_REQUIRE_BOOK", "1")
    with pytest.raises(pytest.fail.Exception, match="make book"):
        test_pages.require_book()
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="no chromium"):
        test_pages.require_book()
