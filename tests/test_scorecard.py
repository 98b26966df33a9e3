import pandas as pd
import pytest
from fake_runs import fake_result, seeds, with_file

from fsft import forest, plots, scorecard
from fsft.comparison import VERDICTS
from fsft.recipe import recipes
from fsft.results import Ledger

FSFT, BASE = recipes["table1/resnet56/fsft"], recipes["table1/resnet56/baseline"]
SHORT = {"epochs": 4, "model": "resnet20", "block": "basic"}
TABLES = ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4")


@pytest.fixture
def ledger() -> Ledger:
    return with_file(
        *seeds(FSFT, si=(74.5, 74.6, 74.4), ag=(74.7, 74.75, 74.6)),
        *seeds(BASE, baseline=(73.4, 73.5, 73.3)),
        *seeds(FSFT.reduced(**SHORT), si=(60.0, 61.0), ag=(60.5, 61.4)),
        *seeds(FSFT.reduced(**SHORT, head_lr_scale=5.0), si=(63.0, 63.1), ag=(63.5, 63.4)),
        *seeds(BASE.reduced(**SHORT), baseline=(62.0, 62.1)),
    )


def frames(ledger: Ledger) -> list[pd.DataFrame]:
    made = [scorecard.table_frame(ledger, table) for table in TABLES]
    made += [
        scorecard.summary_frame(ledger),
        scorecard.evidence_frame(ledger),
        scorecard.claims_frame(ledger),
        scorecard.settings_frame(ledger),
    ]
    made += [scorecard.gains_frame(ledger), scorecard.compute_frame(ledger), scorecard.runs_frame(ledger)]
    return [*made, scorecard.inconsistencies_frame()]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def row(frame: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_an_empty_ledger_is_all_not_run() -> None:
    summary = scorecard.summary_frame([])
    assert dict(zip(summary["Verdict"], summary["Numbers"], strict=True)) == {
        "reproduced": 0, "not reproduced": 0, "inconclusive": 0, "not run": 77, "all": 77,
    }  # fmt: skip
    for table in TABLES:
        assert set(scorecard.table_frame([], table)["Verdict"]) == {"not run"}
    assert scorecard.gains_frame([]).empty and scorecard.settings_frame([]).empty


def test_every_number_has_its_row_with_the_papers_value(ledger: Ledger) -> None:
    table = scorecard.table_frame(ledger, "Table 1")
    assert len(table) == 20
    si = row(table, Row="ResNet-56", Number="Ours-SI")
    assert plain(si["Paper"]) == "74.53 ± 0.07"
    assert plain(si["Ours, last epoch"]) == "74.50 ± 0.10"
    assert plain(si["Best epoch"]) == "75.00 ± 0.10"
    assert (si["Distance"], si["Verdict"], plain(si["Runs"])) == ("none", "reproduced", "3: R1 to R3")
    sd = row(table, Row="ResNet-56", Number="Ours-SD")
    assert (sd["Ours, last epoch"], sd["Verdict"]) == ("–", "not run")
    assert list(scorecard.table_frame(ledger, "Table 2").columns) == [
        "Row", "Number", "Paper", "Ours, last epoch", "Verdict",
    ]  # fmt: skip


def test_a_number_without_exact_runs_points_to_the_reduced_ones(ledger: Ledger) -> None:
    reduced = [result for result in ledger if result["distance"]]
    si = row(scorecard.table_frame(reduced, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert si["Distance"] == "see S1, S2"
    assert (si["Ours, last epoch"], si["Verdict"]) == ("–", "not run")


def test_the_summary_adds_up_and_says_what_is_behind_it(ledger: Ledger) -> None:
    summary = scorecard.summary_frame(ledger)
    for column in ("Numbers", "Claims"):
        values = summary.set_index("Verdict")[column]
        assert sum(values[verdict] for verdict in VERDICTS) == values["all"]
    assert list(scorecard.evidence_frame(ledger)["Amount"]) == ["12", "6", "6", "12.0"]


def test_reduced_settings_are_explained_and_compared(ledger: Ledger) -> None:
    settings = scorecard.settings_frame(ledger)
    assert list(settings["Setting"]) == ["S1", "S2"]
    text = settings.iloc[1, 2]
    assert "epochs 300 → 4" in text and "model resnet56 → resnet20" in text and "head_lr_scale 1 → 5" in text
    gains = scorecard.gains_frame(ledger)
    by_name = {(one["Setting"], plain(one["Comparison"])): one for _, one in gains.iterrows()}
    scaled = by_name["S2", "SI − baseline"]
    assert (scaled["Gain"], plain(scaled["Verdict"])) == ("+1.00", "reduced: gain")
    assert ("S1", "AG − SI") in by_name
    assert plain(scaled["Runs"]) == "4: R9 to R12"  # both sides: its baseline is that of the usual heads
    assert set(gains["Setting"]) == {"S1", "S2"}  # exact runs are not listed as reduced


def test_hours_are_summed_by_device(ledger: Ledger) -> None:
    ledger[0]["device"] = {"type": "cuda", "name": "Test GPU"}
    hours = scorecard.compute_frame(ledger).set_index("Device")["Hours"]
    assert hours.to_dict() == {"CPU: Test CPU": 11.0, "CUDA: Test GPU": 1.0, "all": 12.0}


def test_runs_link_to_file_and_commit_only_when_the_address_is_known(ledger: Ledger) -> None:
    ledger[1]["git"] = {"commit": None, "dirty": None}
    ledger[2]["git"]["dirty"] = True
    unlinked = scorecard.runs_frame(ledger)
    assert unlinked["Run"][0] == f"R1: {ledger[0]['file']}" and unlinked["Commit"][1] == "–"
    assert unlinked["Commit"][2].endswith("(modified)")
    linked = scorecard.runs_frame(ledger, "https://github.com/someone/fsft")
    assert linked["Run"][0].href == f"https://github.com/someone/fsft/blob/main/results/{ledger[0]['file']}"
    assert linked["Commit"][0].href.endswith("/commit/" + ledger[0]["git"]["commit"])
    assert linked["Commit"][1] == "–"


@pytest.mark.parametrize("filled", [False, True])
def test_tables_and_figure_can_be_shown(ledger: Ledger, filled: bool, capsys: pytest.CaptureFixture[str]) -> None:
    used = ledger if filled else []
    for frame in frames(used):
        if not frame.empty:
            plots.table(frame, caption="Some caption")
    fig, alt = forest.gain_figure(used)
    plots.show(fig, alt=alt)
    shown = capsys.readouterr().out
    assert "Paper: ResNet-56 +0.82" in shown
    assert ("no run yet" in shown) is not filled
    assert ("Ours, the paper's recipe: ResNet-56 +1.10" in shown) is filled


def test_a_single_run_of_an_unnamed_device() -> None:
    lonely = with_file(fake_result(FSFT, si=74.5, ag=74.6))
    lonely[0]["device"] = {}
    cell = row(scorecard.table_frame(lonely, "Table 1"), Row="ResNet-56", Number="Ours-SI")
    assert (cell["Ours, last epoch"], plain(cell["Runs"])) == ("74.50", "1: R1")
    assert cell["Verdict"] == "inconclusive (one run gives no interval)"
    assert "unknown device" in scorecard.compute_frame(lonely)["Device"][0]
