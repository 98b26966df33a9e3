"""The committed notebooks' rules, the staged sources, and the checks of the built pages."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="the book needs the extra `book`")

import nbformat
import yaml
from builder.checking import notebook_problems, page_problems, source_problems
from builder.executing import current, executed_folder, write_key
from builder.staging import STATUS_MARK, mend, stage, staged_config
from nbformat.v4 import new_output
from tiny_book import ROOT, SETUP, environment, executed, make, notebook, rich_notebook

import fsft

URL = "https://github.com/someone/fsft"


def pages(root):
    return root / "_build" / "html"


def test_the_built_pages_are_complete_and_their_own(built):
    assert page_problems(built) == []
    page = (pages(built) / "notebooks" / "01_a.html").read_text()
    assert 'alt="A line that rises from 1 to 3 in two steps."' in page
    assert 'class="fsft-table"' in page and "Quick profile" in page
    href = re.search(r'href="\.\./(_sources/notebooks/01_a\.ipynb)"', page)  # the download button
    download = (pages(built) / href[1]).read_text()
    assert "{cite" not in download and '"outputs": []' in download and '"text": [' not in download
    status = (pages(built) / "book" / "status.html").read_text()
    assert "Peak memory (MiB)" in status and STATUS_MARK not in status
    assert "colab" not in page and "github.com" not in page


DAMAGES = {
    "shows the outputs of 0 cells": ("cell_output", "gone"),
    "no alternative text": (r'alt="A line[^"]*"', 'alt="image.png"'),
    "holds <script>": ('<div class="fsft-table"', '<script>1</script><div class="fsft-table"'),
    "2 H1 titles": ("</h1>", "</h1><h1>Another</h1>"),
    "'03_c.html' leads nowhere": ('href="02_b.html"', 'href="03_c.html"'),
    "names a part that its page does not have": ('href="02_b.html"', 'href="02_b.html#no-such-part"'),
    "is not expected without an address": (
        '<div class="dropdown dropdown-download-buttons"',
        '<div class="dropdown-launch-buttons"><a href="https://colab.research.google.com/github/other/book">x</a></div>'
        '<div class="dropdown dropdown-download-buttons"',
    ),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_pages_are_noticed(built, message):
    path = pages(built) / "notebooks" / "01_a.html"
    page = path.read_text()
    broken = re.sub(DAMAGES[message][0], DAMAGES[message][1], page)
    assert broken != page
    try:
        path.write_text(broken)
        assert any(message in problem for problem in page_problems(built)), page_problems(built)
    finally:
        path.write_text(page)


def test_a_missing_page_is_noticed(built):
    page = pages(built) / "book" / "status.html"
    text = page.read_text()
    page.unlink()
    try:
        assert "book/status: the page is missing: run `make book`" in page_problems(built)
    finally:
        page.write_text(text)


def test_until_the_repository_is_set_nothing_points_to_one():
    staged = staged_config(yaml.safe_load((ROOT / "_config.yml").read_text()), None, "main")
    assert staged["repository"]["url"] == "" and "colab_url" not in staged["launch_buttons"]
    assert not staged["html"]["use_repository_button"]
    assert "github.com" not in yaml.safe_dump(staged)


def test_with_a_repository_every_link_leads_to_a_file_in_it(tmp_path):
    root = make(tmp_path / "repo", {"01_a": notebook("1")}, repository=URL + ".git/")
    source = root / "notebooks" / "01_a.ipynb"
    write_key(root, "quick", "data")
    nb = executed("1")
    nb.cells[-1].outputs = [new_output("stream", name="stdout", text="1")]
    numbers = {"seconds": 1.0, "peak_memory_mib": 1.0, "threads": 1}
    texts = {"profile": "quick", "commit": "commit 0", "device": "CPU", "versions": {"torch": "2"}}
    nb.metadata["fsft"] = current(source, root, "quick") | numbers | texts
    (executed_folder(root, "quick") / "01_a.ipynb").write_text(nbformat.writes(nb))
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([jupyter_book, "build", "--quiet", stage(root, "quick")], env=environment(), check=True)
    mend(root)
    assert page_problems(root) == []
    page = (root / "_build" / "book" / "_build" / "html" / "notebooks" / "01_a.html").read_text()
    assert "https://colab.research.google.com/github/someone/fsft/blob/main/notebooks/01_a.ipynb" in page
    download = nbformat.read(root / "_build/book/_build/html/_sources/notebooks/01_a.ipynb", as_version=4)
    assert f'repository="{URL}@main"' in next(cell.source for cell in download.cells if cell.cell_type == "code")
    (root / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/other/book"\n')
    assert any("is not https://github.com/other/book" in problem for problem in page_problems(root))
    source.rename(root / "notebooks" / "01_moved.ipynb")
    assert any("not a file of the repository" in problem for problem in page_problems(root))


def test_all_setup_cells_are_one_but_for_what_they_need(tmp_path):
    needy, other = notebook("1"), notebook("1")
    needy.cells[1].source = SETUP.source.replace('"fsft"}', '"fsft", "timm": "timm"}')
    other.cells[1].source = SETUP.source.replace("timeout=20", "timeout=1")
    assert source_problems(make(tmp_path / "good", {"01_a": notebook("1"), "02_b": needy})) == []
    problems = source_problems(make(tmp_path / "bad", {"01_a": notebook("1"), "02_b": other}))
    assert len(problems) == 1 and "02_b.ipynb: its setup cell is not that of the chapters before" in problems[0]


def change(what):
    nb = notebook("print(1)")
    code = nb.cells[-1]
    if what == "output":
        code.outputs = [new_output("stream", name="stdout", text="1")]
    elif what == "count":
        code.execution_count = 3
    elif what == "kernel":
        nb.metadata["kernelspec"]["name"] = "my-env"
    elif what == "metadata":
        nb.metadata["widgets"] = {}
    elif what == "title":
        nb.cells[0].source = "No title"
    elif what == "two parameters":
        code.metadata["tags"] = ["parameters"]
    elif what == "profile":
        nb.cells[2].source = 'profile = "paper"'
    elif what == "setup":
        nb.cells[1].source = SETUP.source.replace('repository=""', f'repository="{URL}"')
    return nb


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("output", "do not belong into git"),
        ("count", "do not belong into git"),
        ("kernel", "kernelspec"),
        ("metadata", "'widgets'"),
        ("title", "must start with the title"),
        ("two parameters", "found 2"),
        ("profile", 'profile = "quick"'),
        ("setup", "must be the setup cell"),
    ],
)
def test_broken_rules_of_committed_notebooks_are_noticed(what, message):
    assert list(notebook_problems(notebook("print(1)"))) == list(notebook_problems(rich_notebook())) == []
    problems = list(notebook_problems(change(what)))
    assert any(message in problem for problem in problems), problems


def test_the_committed_notebooks_keep_the_rules():
    assert source_problems(ROOT) == []


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
