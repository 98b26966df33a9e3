import math

import pytest

from fsft.catalog import recipes
from fsft.evidence import paper


def test_every_printed_number_is_there() -> None:
    count = {table: 0 for table in ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4")}
    for cell in paper.cells.values():
        count[cell.table] += 1
    assert count == {"Table 1": 20, "Table 2": 8, "Table 3": 4, "Table 4": 12, "Table 5": 33, "Figure 4": 10}


def test_table_numbers_have_spreads_where_the_paper_prints_them() -> None:
    for cell in paper.cells.values():
        assert (cell.mean is None) == (cell.table == "Figure 4"), cell.id
        assert (cell.sd is not None) == (cell.table in ("Table 1", "Table 3", "Table 4")), cell.id
        assert cell.n == 4


@pytest.mark.parametrize(
    ("kind", "printed"), [("memory", "memory-overhead"), ("time", "time-overhead"), ("si", "gain")]
)
def test_percentages_of_table_5_follow_from_its_numbers(kind: str, printed: str) -> None:
    """A mistyped number would break the paper's own arithmetic, which holds throughout Table 5."""
    base = paper.cells[f"table5/resnet110/baseline/{kind}"].mean
    checked = 0
    for row in ("after-layer3", "after-layer2", "after-layer1", "sla", "fsft"):
        value = paper.cells[f"table5/resnet110/{row}/{kind}"].mean
        assert round(100 * (value / base - 1), 1) == pytest.approx(
            paper.cells[f"table5/resnet110/{row}/{printed}"].mean
        )
        checked += 1
    assert checked == 5


def test_numbers_that_the_paper_repeats_agree() -> None:
    """The same setting in two tables reads alike, but for the one known slip (77.44 and 77.27)."""
    by_setting: dict[tuple[str, str, str], set[float]] = {}
    for cell in paper.cells.values():
        if cell.mean is not None:
            by_setting.setdefault((cell.recipe, cell.mode, cell.quantity), set()).add(cell.mean)
    different = {key: values for key, values in by_setting.items() if len(values) > 1}
    assert different == {("table1/resnet110/fsft", "ag", "accuracy"): {77.44, 77.27}}


def test_numbers_quoted_in_the_text_match_the_tables() -> None:
    assert paper.cells["table1/resnet164/si"].mean == 77.75
    assert paper.cells["table1/pyramidnet/sd"].mean == 82.67 and paper.cells["table1/pyramidnet/sd"].sd == 0.05
    assert paper.cells["table3/resnet110/sd"].mean == 64.14
    assert paper.cells["table4/stanford-cars/ag"].mean == 88.82
    assert paper.cells["table2/resnet110/sla+fsft"].mean == 80.61


def test_recipes_say_how_a_number_would_be_made() -> None:
    cell = paper.cells["table4/stanford-dogs/sd"]
    assert (cell.recipe, cell.mode) == ("table4/stanford-dogs/fsft-sd", "sd")
    assert paper.cells["table1/resnet56/ag"].recipe == "table1/resnet56/fsft"
    assert paper.cells["fig4/resnet110/beta-1.0"].recipe == "table1/resnet110/fsft"
    assert paper.cells["fig4/resnet110/beta-0.3"].recipe == "fig4/resnet110/beta-0.3"
    assert len(paper.recipe_names) == len(set(paper.recipe_names))


def test_recipes_of_the_package_use_these_names() -> None:
    """A recipe under another name would train, and its result would never meet the number it should."""
    for name, recipe in recipes.items():
        # Figure 1 has pictures and no numbers.
        if name.startswith(("table", "fig4")) and recipe.origin is None and "-basic" not in name:
            assert name in paper.recipe_names
            place = name.split("/")[1]
            assert recipe.dataset == (place if name.startswith("table4") else recipe.dataset)
            assert recipe.model.startswith("resnet50" if name.startswith("table4") else place)


def test_betas_are_exact_tenths() -> None:
    assert [math.isclose(beta * 10, k) for k, beta in enumerate(paper.BETAS, start=1)] == [True] * 10
    assert "fig4/resnet110/beta-0.7" in paper.cells
