import pytest


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A two-chapter book, executed and built once; the tests look at it, and put right what they change."""
    from tiny_book import make, notebook, rich_notebook, run  # the book's extra is needed from here on

    root = make(
        tmp_path_factory.mktemp("built") / "repo", {"01_a": rich_notebook(), "02_b": notebook("print(seeds)", "1+1")}
    )
    done = run(root, "book", "JOBS=2")
    assert done.returncode == 0, done.stdout + done.stderr
    return root
