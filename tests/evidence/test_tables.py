from typing import Any

import pandas as pd
import pytest
from fake_runs import fake_result, ledger_of, seeds

from fsft.catalog import recipes
from fsft.evidence import tables
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
    made += [
        tables.one_screen(ledger),
        tables.findings_frame(ledger),
        tables.reduced_frame(ledger),
        tables.claims_frame(ledger),
        tables.settings_frame(ledger),
    ]
    made += [tables.gains_frame(ledger), tables.compute_frame(ledger), tables.runs_frame(ledger)]
    return [*made, tables.inconsistencies_frame()]


def plain(text: object) -> str:
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


def row(frame: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_an_empty_ledger_is_all_not_run() -> None:
    summary = tables.one_screen(Ledger())
    assert summary["So far"][0] == "77 not run" and summary["Strength of the evidence"][0] == "no run"
    assert tables.reduced_frame(Ledger()).empty
    for table in TABLES:
        assert set(tables.table_frame(Ledger(), table)["Verdict"]) == {"not run"}
    assert tables.gains_frame(Ledger()).empty and tables.settings_frame(Ledger()).empty


def test_every_number_has_its_row_with_the_papers_value(ledger: Ledger) -> None:
    table = tables.table_frame(ledger, "Table 1")
    assert len(table) == 20
    si = row(table, Row="ResNet-56", Number="Ours-SI")
    assert plain(si["Paper"]) == "74.53 ± 0.07"
    assert plain(si["Ours, last epoch"]) == "74.50 ± 0.10"
    assert plain(si["Best epoch"]) == "75.00 ± 0.10"
    assert (si["Distance"], si["Verdict"], plain(si["Runs"])) == ("none", "reproduced", "3: R1 to R3")
    sd = row(table, Row="ResNet-56", Number="Ours-SD")
    assert (sd["Ours, last epoch"], sd["Verdict"]) == ("–", "not run")
    assert list(tables.table_frame(ledger, "Table 2").columns) == [
        "Row", "Number", "Paper", "Ours, last epoch", "Verdict",
    ]  # fmt: skip


def test_a_number_without_exact_runs_points_to_the_reduced_ones(ledger: Ledger) -> None:
    reduced = ledger_of(*(result for result in results() if result["distance"]))
    si = row(tables.table_frame(reduced, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert plain(si["Distance"]) == "see S1 to S2"
    assert (si["Ours, last epoch"], si["Verdict"]) == ("–", "not run")


def test_one_screen_says_what_ran_and_how_strong_that_is(ledger: Ledger) -> None:
    numbers, claims, reduced, findings, runs = tables.one_screen(ledger).itertuples(index=False, name=None)
    # Table 1's three cells of ResNet-56 are inside the tolerance, and nothing else has run.
    assert numbers[1:] == ("3 reproduced, 74 not run", "3 from 3 seeds")
    assert "inconclusive" in claims[1] and claims[2].startswith("2 of ")
    assert reduced[1] == "SI ahead in 1 of 2, AG ahead in 1 of 2"
    assert "have one seed on a side" in reduced[2] and "0 have one" in reduced[2]
    assert "not run" in findings[1]
    assert runs[1] == "6 with the paper's recipe, 6 with a reduced one"
    assert not any("nan" in text for text in (*numbers, *claims, *reduced, *findings, *runs))


def test_the_headline_claims_no_more_than_the_runs_show(ledger: Ledger) -> None:
    assert tables.headline(Ledger()).startswith("None of the paper's 77 numbers has been put to the test yet")
    assert "3 are reproduced and 0 are not" in tables.headline(ledger)
    reduced = tables.headline(ledger_of(*(result for result in results() if result["distance"])))
    assert "no run has the paper's recipe" in reduced and "SI ahead in 1 of 2" in reduced


def test_single_seeds_are_said_plainly() -> None:
    pair = ledger_of(fake_result(FSFT.reduced(**SHORT), si=60.0, ag=61.0), fake_result(BASE.reduced(**SHORT)))
    screen = tables.one_screen(pair)
    assert screen["Strength of the evidence"][2] == "the interval decides 0 of 2; 2 have one seed on a side"
    (line,) = tables.reduced_frame(pair).to_dict("records")
    assert (plain(line["SI"]), plain(line["AG"]), line["SD"]) == ("+10.00 (one seed)", "+11.00 (one seed)", "–")
    assert plain(line["Runs"]) == "2: R1 to R2" and line["Method"] == "FSFT"


def test_reduced_runs_take_one_line_a_setting_and_other_weights_none() -> None:
    more = ledger_of(
        *results(),
        fake_result(FSFT.reduced(**SHORT, beta=0.5), si=60.0),
        fake_result(FSFT.reduced(**SHORT, method="fsft-sd"), sd=64.0),
    )
    frame = tables.reduced_frame(more)
    assert list(frame["Rate of the heads"]) == ["× 1", "× 5"]
    usual = frame.iloc[0]
    assert plain(usual["SD"]) == "+1.95 (one seed)" and "[" in usual["SI"]
    assert usual["Runs"].href == "#every-run"


def test_the_figure_leaves_other_weights_out_and_prefers_longer_runs() -> None:
    recipes_by_length = [FSFT.reduced(**SHORT | {"epochs": n}) for n in range(2, 12)]
    runs = [fake_result(recipe, si=50.0, ag=50.0) for recipe in recipes_by_length]
    runs += [fake_result(BASE.reduced(**SHORT | {"epochs": n})) for n in range(2, 12)]
    runs += [fake_result(FSFT.reduced(**SHORT | {"epochs": 11}, beta=0.5), si=50.0, ag=50.0)]
    _, alt = gain_plots.forest(tables.forest_frame(ledger_of(*runs), "si"), "FSFT-SI")
    assert "resnet20, 11 ep." in alt and "resnet20, 3 ep." not in alt and "2 more settings" in alt


def test_reduced_settings_are_explained_and_compared(ledger: Ledger) -> None:
    settings = tables.settings_frame(ledger)
    assert list(settings["Setting"]) == ["S1", "S2"]
    text = settings.iloc[1, 2]
    assert "epochs 300 → 4" in text and "model resnet56 → resnet20" in text and "head_lr_scale 1 → 5" in text
    gains = tables.gains_frame(ledger)
    by_name = {(one["Setting"], plain(one["Comparison"])): one for _, one in gains.iterrows()}
    scaled = by_name["S2", "SI − baseline"]
    assert (scaled["Gain"], plain(scaled["Verdict"])) == ("+1.00", "reduced: gain")
    assert ("S1", "AG − SI") in by_name
    assert plain(scaled["Runs"]) == "4: R9 to R12"  # both sides: its baseline is that of the usual heads
    assert set(gains["Setting"]) == {"S1", "S2"}  # exact runs are not listed as reduced


def test_settings_that_differ_in_augmentation_do_not_look_alike() -> None:
    """Both sides of "+ Cutout" have it, so the distance from the paper does not show it."""
    runs = ledger_of(
        fake_result("cpu/short-cifar100/fsft", si=20.0), fake_result("cpu/short-cifar100/cutout+fsft", si=20.0)
    )
    first, second = tables.settings_frame(runs)["Model, data, budget"]
    assert first != second and second.endswith("10 epochs, cutout")


def test_hours_are_summed_by_device() -> None:
    first, *others = results()
    ledger = ledger_of(first | {"device": {"type": "cuda", "name": "Test GPU"}}, *others)
    frame = tables.compute_frame(ledger).set_index("Device")
    assert frame["Hours"].to_dict() == {"CPU: Test CPU": 11.0, "CUDA: Test GPU": 1.0, "all": 12.0}
    assert list(frame["Core-hours of CPU"]) == ["22.0", "–", "22.0"]  # two threads each
    assert tables.gpu_hours(ledger) == 1.0


def test_runs_link_to_file_and_commit_only_when_the_address_is_known() -> None:
    found = results()
    found[1]["git"] = {"commit": None, "dirty": None}
    found[2]["git"]["dirty"] = True
    ledger = ledger_of(*found)
    first, second, *_ = ledger
    unlinked = tables.runs_frame(ledger)
    assert unlinked["Run"][0] == f"R1: {first.file}" and unlinked["Commit"][1] == "–"
    assert unlinked["Commit"][2].endswith("(modified)")
    linked = tables.runs_frame(ledger, "https://github.com/someone/fsft")
    assert linked["Run"][0].href == f"https://github.com/someone/fsft/blob/main/results/{first.file}"
    assert linked["Commit"][0].href.endswith("/commit/" + first.raw["git"]["commit"])
    assert linked["Commit"][1] == "–"
    assert linked["Recipe"][0].href.endswith(f"/tree/{first.raw['git']['commit']}/fsft")
    assert linked["Recipe"][1] == second.recipe.name


@pytest.mark.parametrize("filled", [False, True])
def test_tables_and_figure_can_be_shown(ledger: Ledger, filled: bool, capsys: pytest.CaptureFixture[str]) -> None:
    used = ledger if filled else Ledger()
    for frame in frames(used):
        if not frame.empty:
            plots.table(frame, caption="Some caption")
    plots.show(*gain_plots.forest(tables.forest_frame(used, "si"), "FSFT-SI"))
    shown = capsys.readouterr().out
    assert "Paper: ResNet-56 +0.82" in shown
    assert ("no run yet" in shown) is not filled
    assert ("Ours, the paper's recipe: ResNet-56 +1.10" in shown) is filled


def test_a_single_run_of_an_unnamed_device() -> None:
    lonely = ledger_of(fake_result(FSFT, si=74.5, ag=74.6) | {"device": {}})
    cell = row(tables.table_frame(lonely, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert (cell["Ours, last epoch"], plain(cell["Runs"])) == ("74.50", "1: R1")
    assert cell["Verdict"] == "inconclusive (one run gives no interval)"
    assert "unknown device" in tables.compute_frame(lonely)["Device"][0]
