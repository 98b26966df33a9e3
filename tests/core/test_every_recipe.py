"""Every recipe of the package trains two steps through the command line, on miniatures of the official data."""

from __future__ import annotations

import cifar_miniature
import fine_grained
import pytest
import tiny_imagenet_miniature

from fsft.catalog import recipes
from fsft.cli.main import main
from fsft.evidence import paper
from fsft.recipe import FINE_GRAINED


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """All five data sets in one folder, each with two or three classes."""
    folder = tmp_path_factory.mktemp("data")
    cifar_miniature.write_folder(folder, cifar_miniature.official_files())
    tiny_imagenet_miniature.write(folder)
    for write in fine_grained.WRITERS.values():
        write(folder)
    return folder


@pytest.mark.parametrize("name", recipes)
def test_every_recipe_trains_two_steps(name, data_dir, tmp_path, monkeypatch, capsys):
    cifar_miniature.declare_official(monkeypatch, cifar_miniature.official_files())
    fine_grained.declare_official(monkeypatch)
    tiny_imagenet_miniature.declare_official(monkeypatch)
    monkeypatch.chdir(tmp_path)
    smaller = ["--batch-size", "1"]
    if recipes[name].dataset in FINE_GRAINED:
        smaller += ["--dataset-options", "image_size=72", "--workers", "0"]
    if recipes[name].images_per_class:
        smaller += ["--images-per-class", "1"]
    options = ["--steps", "2", "--device", "cpu", "--precision", "fp32", "--progress", "none"]
    assert main(["train", name, "--data-dir", str(data_dir), *smaller, *options]) == 0
    printed = capsys.readouterr().out
    assert "no result written" in printed
    wanted = {cell.mode for cell in paper.cells.values() if cell.recipe == name}
    assert wanted <= {line.split()[0] for line in printed.splitlines()[1:-1]}


def test_every_cell_of_the_paper_has_a_recipe():
    assert set(paper.recipe_names) <= set(recipes)
