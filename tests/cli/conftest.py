import pytest
import tiny

from fsft.catalog import recipes


@pytest.fixture
def tiny_recipe(monkeypatch, tmp_path):
    """A recipe ``tiny/fsft`` that the command line can train in a moment."""
    small = tiny.recipe(dataset="photodigits", dataset_options=(("size", 100),), epochs=2, batch_size=50)
    monkeypatch.setitem(recipes, "tiny/fsft", small)
    monkeypatch.chdir(tmp_path)
    return small
