"""The tables and curves of the short runs take exactly the recipe's runs, and say so where there are none."""

import pytest
from fake_runs import fake_result, with_file

from fsft.catalog import recipes
from fsft.evidence import short_runs

FAMILY = "cpu/short-cifar100"


def test_every_short_recipe_has_a_name_and_every_name_a_recipe():
    for family in (FAMILY, "cpu/short-tiny-imagenet"):
        found = {name.removeprefix(f"{family}/") for name in recipes if name.startswith(f"{family}/")}
        assert found == set(short_runs.NAMES)


def test_an_empty_ledger_is_not_run_everywhere():
    frame = short_runs.accuracy_frame([], FAMILY)
    assert set(frame["runs"]) == {0} and set(frame["AG (%)"]) == {"not run"}
    assert short_runs.table2_curves([], FAMILY) == {"plain": {}, "Cutout": {}, "Mixup": {}, "SLA": {}}


def test_modes_that_a_method_lacks_are_not_called_not_run():
    ledger = with_file(
        fake_result(f"{FAMILY}/cutout", baseline=30.0),
        fake_result(f"{FAMILY}/sla", si=31.0, ag_last=34.0),
        fake_result(f"{FAMILY}/fsft", 0, si=20.0, ag_last=21.0, ag=22.0),
        fake_result(f"{FAMILY}/fsft", 1, si=22.0, ag_last=21.0, ag=22.0),
    )
    rows = short_runs.accuracy_frame(ledger, FAMILY).set_index("trained with")
    assert rows.loc["Cutout", "single (%)"] == "30.00" and rows.loc["Cutout", "AG (%)"] == "–"
    assert rows.loc["Cutout", "best epoch, single (%)"] == "30.50"
    assert rows.loc["SLA", "single (%)"] == "31.00" and rows.loc["SLA", "AG, last classifier (%)"] == "34.00"
    assert rows.loc["SLA", "AG (%)"] == "–" and rows.loc["FSFT", "runs"] == 2
    assert rows.loc["FSFT", "single (%)"].startswith("21.00") and "±" in rows.loc["FSFT", "single (%)"]
    assert rows.loc["Mixup", "single (%)"] == "not run"


def test_runs_of_a_changed_recipe_do_not_count():
    other = recipes[f"{FAMILY}/cutout"].reduced(epochs=3)
    ledger = with_file(fake_result(other, baseline=90.0), fake_result("cpu/resnet20/baseline", baseline=65.0))
    assert set(short_runs.accuracy_frame(ledger, FAMILY)["runs"]) == {0}


def test_curves_follow_table_2():
    ledger = with_file(
        fake_result(f"{FAMILY}/sla", si=31.0, ag_last=34.0),
        fake_result(f"{FAMILY}/sla+fsft", si=30.0, ag_last=33.0, ag=35.0),
        fake_result(f"{FAMILY}/baseline", baseline=25.0),
    )
    panels = short_runs.table2_curves(ledger, FAMILY)
    assert {name: values[-1] for name, values in panels["SLA"].items()} == pytest.approx(
        {"without": 34.0, "si": 30.0, "ag": 35.0}
    )
    assert list(panels["plain"]) == ["without"] and panels["Mixup"] == {}
    assert len(panels["plain"]["without"]) == recipes[f"{FAMILY}/baseline"].epochs
