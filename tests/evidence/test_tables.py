import re
from typing import Any

import pandas as pd
import pytest
from fake_runs import fake_result, ledger_of, seeds

from fsft.catalog import recipes
from fsft.evidence import tables
from fsft.evidence.comparison import METHOD_FIELDS, recipe_key
from fsft.evidence.ledger import Ledger
from fsft.figures import gain_plots, plots

FSFT, BASE = recipes["table1/resnet56/fsft"], recipes["table1/resnet56/baseline"]
SHORT = {"epochs": 4, "model": "resnet20", "block": "basic"}
TABLES = ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4")


def results() -> list[dict[str, Any]]:
    return [
        *seeds(FSFT, si=(74.5, 74.6, 74.4), ag=(74.7, 74.75, 74.6)),
        *seeds(BASE, baseline=(73.4, 73.5, 73.3)),
        *seeds(FSFT.reduced(**SHORT), si=(60.0, 61.0), ag=(60.5, 61.4)),
        *seeds(FSFT.reduced(**SHORT, head_lr_scale=5.0), si=(63.0, 63.1), ag=(63.5, 63.4)),
        *seeds(BASE.reduced(**SHORT), baseline=(62.0, 62.1)),
    ]


@pytest.fixture
def ledger() -> Ledger:
    return ledger_of(*results())


def frames(ledger: Ledger) -> list[pd.DataFrame]:
    made = [tables.table_frame(ledger, table) for table in TABLES]
    made += [tables.numbers_frame(ledger, run) for run in (True, False)]
    made += [tables.findings_frame(ledger), tables.claims_frame(ledger), tables.gains_frame(ledger)]
    return [*made, tables.compute_frame(ledger), tables.runs_frame(ledger), tables.inconsistencies_frame()]


def plain(text: object) -> str:
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


def row(frame: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_an_empty_ledger_is_all_not_run() -> None:
    assert tables.numbers_frame(Ledger(), run=True).empty
    missing = tables.numbers_frame(Ledger(), run=False)
    assert len(missing) == 62 + 10 and set(missing["Verdict"]) == {"not run"}  # Figure 4 prints no number
    for table in TABLES:
        assert set(tables.table_frame(Ledger(), table)["Verdict"]) == {"not run"}
    assert set(tables.gains_frame(Ledger())["group"]) == {tables.PAPER}


def test_every_number_has_its_row_with_the_papers_value(ledger: Ledger) -> None:
    table = tables.table_frame(ledger, "Table 1")
    assert len(table) == 20
    si = row(table, Row="ResNet-56", Number="Ours-SI")
    assert plain(si["Paper"]) == "74.53 ± 0.07"
    assert plain(si["Ours, last epoch"]) == "74.50 ± 0.10"
    assert plain(si["Best epoch"]) == "75.00 ± 0.10"
    assert (si["Verdict"], plain(si["Runs"])) == ("reproduced", "3: R1 to R3")
    sd = row(table, Row="ResNet-56", Number="Ours-SD")
    assert (sd["Ours, last epoch"], sd["Verdict"]) == ("–", "not run")
    assert list(tables.table_frame(ledger, "Table 2").columns) == [
        "Row", "Number", "Paper", "Ours, last epoch", "Verdict", "Reduced runs",
    ]  # fmt: skip


def test_a_number_without_exact_runs_points_to_the_reduced_ones(ledger: Ledger) -> None:
    reduced = ledger_of(*(result for result in results() if result["distance"]))
    si = row(tables.table_frame(reduced, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert plain(si["Reduced runs"]) == "4: R1 to R4"  # those of its method and data set, not the baseline's
    assert (si["Ours, last epoch"], si["Verdict"]) == ("–", "not run")


def test_gains_stand_by_setting_with_their_runs(ledger: Ledger) -> None:
    gains = tables.gains_frame(ledger)
    paper, ours = gains[gains["group"] == tables.PAPER], gains[gains["group"] != tables.PAPER]
    assert len(paper) == 27 and paper["seeds"].eq(4).all()
    first = paper.iloc[0]
    assert (first["label"], first["mode"], first["fitted"]) == ("ResNet-56", "si", 73.71) and first["runs"] == "–"
    assert list(dict.fromkeys(ours["group"])) == [
        "CIFAR-100, ResNet-20, 4 epochs",
        "CIFAR-100, ResNet-56 bottleneck, 300 epochs",
    ]
    scaled = ours[(ours["label"] == "FSFT, heads × 5") & (ours["mode"] == "si")].iloc[0]
    assert scaled["gain"] == pytest.approx(1.0) and scaled["seeds"] == 2 and scaled["low"] > 0
    assert plain(scaled["runs"]) == "4: R9 to R12"  # both sides: its baseline is that of the usual heads
    assert scaled["runs"].href.startswith("16_scorecard.html#R") and ours["fitted"].isna().all()


def test_no_two_recipes_share_their_words() -> None:
    """A row of a figure is one setting and one part of the method, whatever the catalog holds."""
    budgets: dict[str, set[str]] = {}
    trainings: dict[tuple[str, str], set[str]] = {}
    for recipe in recipes.values():
        name = tables.setting_name(recipe)
        budgets.setdefault(name, set()).add(recipe_key(recipe, *METHOD_FIELDS))
        trainings.setdefault((name, tables.part_name(recipe)), set()).add(recipe.digest)
    assert {name for name, keys in budgets.items() if len(keys) > 1} == set()
    assert {name for name, digests in trainings.items() if len(digests) > 1} == set()
    assert tables.setting_name(recipes["cpu/map-decay/100x30/fsft"]).endswith("30 epochs, weight decay 0.0001")
    assert tables.part_name(recipes["cpu/saturation/a/fsft-sd-t3"]) == "FSFT with student, temperature 3"


def test_a_distance_is_one_sentence() -> None:
    assert tables.distance_sentence(FSFT) == "Distance from table1/resnet56/fsft (paper → here): none."
    text = tables.distance_sentence(FSFT.reduced(**SHORT, head_lr_scale=5.0))
    assert "epochs 300 → 4" in text and "model resnet56 → resnet20" in text and "head_lr_scale 1 → 5" in text


def test_hours_are_summed_by_device() -> None:
    first, *others = results()
    ledger = ledger_of(first | {"device": {"type": "cuda", "name": "Test GPU"}}, *others)
    frame = tables.compute_frame(ledger).set_index("Device")
    assert frame["Hours"].to_dict() == {"CPU: Test CPU": 11.0, "CUDA: Test GPU": 1.0, "all": 12.0}
    assert list(frame["Core-hours of CPU"]) == [22.0, 0.0, 22.0]  # two threads each


def test_runs_link_to_file_and_commit_only_when_the_address_is_known() -> None:
    found = results()
    found[1]["git"] = {"commit": None, "dirty": None}
    found[2]["git"]["dirty"] = True
    ledger = ledger_of(*found)
    first, second, *_ = ledger
    unlinked = tables.runs_frame(ledger)
    assert str(unlinked["Run"][0]) == f"R1: {first.file}" and unlinked["Commit"][1] == "–"
    assert unlinked["Run"][0].href == f"../results/{first.file}"
    assert unlinked["Commit"][2].endswith("(modified)")
    linked = tables.runs_frame(ledger, "https://github.com/someone/fsft")
    assert linked["Run"][0].href == f"https://github.com/someone/fsft/blob/HEAD/results/{first.file}"
    assert linked["Commit"][0].href.endswith("/commit/" + first.raw["git"]["commit"])
    assert linked["Commit"][1] == "–"
    assert linked["Recipe"][0].href.endswith(f"/tree/{first.raw['git']['commit']}/fsft")
    assert linked["Recipe"][1] == second.recipe.name


def test_a_citation_leads_to_the_row_of_its_run(ledger: Ledger) -> None:
    names = tables.run_names(ledger)
    for run in ledger:
        assert tables.cite([run], names).href == f"16_scorecard.html#{names[run.file]}"
    page = plots._table_html(tables.runs_frame(ledger), "Every run", 1)
    assert re.findall(r'<tr id="(R\d+)"><th scope="row"><a href="[^"]*">(R\d+): ', page) == [
        (name, name) for name in names.values()
    ]


@pytest.mark.parametrize("filled", [False, True])
def test_tables_and_figure_can_be_shown(ledger: Ledger, filled: bool, capsys: pytest.CaptureFixture[str]) -> None:
    used = ledger if filled else Ledger()
    for frame in frames(used):
        if not frame.empty:
            plots.table(frame, caption="Some caption")
    plots.show(*gain_plots.forest(tables.gains_frame(used)))
    shown = capsys.readouterr().out
    assert "The paper, 300 epochs: ResNet-56, SI +0.82 (+0.39 to +1.25)" in shown
    assert ("CIFAR-100, ResNet-56 bottleneck, 300 epochs: FSFT, SI +1.10" in shown) is filled


def test_a_single_run_of_an_unnamed_device() -> None:
    lonely = ledger_of(fake_result(FSFT, si=74.5, ag=74.6) | {"device": {}})
    cell = row(tables.table_frame(lonely, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert (cell["Ours, last epoch"], plain(cell["Runs"])) == ("74.50", "1: R1")
    assert cell["Verdict"] == "inconclusive (one run gives no interval)"
    assert "unknown device" in tables.compute_frame(lonely)["Device"][0]
