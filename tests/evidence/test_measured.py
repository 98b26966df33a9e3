"""The benchmarks' reports as the book reads them, and the arithmetic of the benchmarks; nothing is timed here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fsft.evidence.measured import conditions, measured
from fsft.figures import cost_plots

ROOT = Path(__file__).parents[2]
QUESTIONS = re.search(r"^QUESTIONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()


def test_every_question_has_a_script_and_every_report_a_question():
    assert all((ROOT / "benchmarks" / f"{question}.py").is_file() for question in QUESTIONS)
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        question, device = path.stem.rsplit("-", 1)
        report = json.loads(path.read_text())
        if question == "own_models":  # which models can be made joint, and no time: tests/apply/test_own_models.py
            continue
        if question == "probe":  # of a GPU, by make gpu: one report with a part for each question
            report = {"rows": report["steps"]["rows"]} | report["facts"]["rows"][0]
        else:
            assert question in QUESTIONS and report["question"] == question, path
        assert report["environment"]["device"]["type"] == device and report["rows"], path
        assert report["environment"]["versions"]["torch"] in conditions(report)


def test_a_report_that_is_not_there_is_none(tmp_path):
    assert measured("table5", "cpu", tmp_path) is None
    (tmp_path / "table5-cuda.json").write_text('{"rows": []}')
    assert measured("table5", "cpu", tmp_path) is None
    assert measured("table5", "cuda", tmp_path) == {"rows": []}


def test_conditions_say_whose_time_it_was_and_how_busy_the_machine_was():
    where = {"device": {"name": "A"}, "threads": 1, "versions": {"torch": "2"}}
    report = {"environment": where, "settings": {"clock": "cpu"}, "load_average": 7.6}
    assert conditions(report) == "A, 1 thread, CPU seconds, load average 8, torch 2"
    report = {"environment": where | {"threads": 2}, "settings": {}, "load_average": None}
    assert conditions(report) == "A, 2 threads, wall time, torch 2"


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import harness

    return harness


def test_contenders_take_turns_and_are_compared_within_a_turn(harness, monkeypatch):
    """A machine that becomes three times slower in every round changes no ratio."""
    clock = {"now": 0.0, "pace": 1.0}
    monkeypatch.setitem(harness.CLOCKS, "wall", lambda: clock["now"])
    order = []

    def contender(name, cost):
        def work():
            order.append(name)
            clock["now"] += cost * clock["pace"]
            clock["pace"] *= 3 if len(order) % 2 == 0 else 1

        return work

    options = harness.arguments(None, rounds=3).parse_args([])
    times = harness.take_turns({"a": contender("a", 2.0), "b": contender("b", 1.0)}, options)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert harness.ratio(times, "a", "b") == {"median": 2.0, "min": 2.0, "max": 2.0, "n": 3}


def test_the_interval_of_a_median_is_that_of_the_sign_test(harness):
    """Of 21 ratios the 6th and the 16th: the binomial probability of fewer than 6 below the median is 1.3 %."""
    times = {"slow": [float(value) for value in range(21, 0, -1)], "fast": [1.0] * 21}
    assert harness.median_interval(times, "slow", "fast") == [6.0, 16.0]
    few = {name: values[:5] for name, values in times.items()}
    assert harness.median_interval(few, "slow", "fast") is None


def test_every_row_of_table5_takes_turns_with_the_baseline(harness):
    import table5

    groups = list(table5.turns(list(table5.ROWS), 15).values())
    assert [names[0] for names, _ in groups] == ["baseline", "baseline"] and [rounds for _, rounds in groups] == [15, 3]
    assert sorted(name for names, _ in groups for name in names[1:]) == sorted(set(table5.ROWS) - {"baseline"})
    assert list(table5.turns(["baseline", "sla"], 1).values()) == [(["baseline"], 1), (["baseline", "sla"], 1)]


def test_only_chooses_rows_and_a_budget_is_shared_among_them(harness, monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now)
    monkeypatch.setattr(harness, "BEGIN", 0.0)
    options = harness.arguments(None, rounds=9).parse_args(["--only", "basic", "--seconds", "90"])
    ends = []
    for _ in harness.rows_in_time(["a basic", "b basic", "bottleneck", "c basic"], options):
        ends.append(options.until)
        now += 45
    assert ends == [30, 67.5] and "no time left for c basic" in capsys.readouterr().out
    options.until = now
    assert len(harness.take_turns({"a": lambda: None}, options)["a"]) == 1  # one round, however late it is
    options.only = ["wide"]
    with pytest.raises(SystemExit, match="--only: expected a part of one of a, found wide"):
        next(harness.rows_in_time(["a"], options))


def test_a_turn_of_our_loop_is_as_many_steps_as_asked_for(harness):
    import tiny

    images, device = tiny.images("train", 64), torch.device("cpu")
    loops = [harness.loop_of(tiny.recipe("baseline"), images, device, "fp32") for _ in range(2)]
    runs = [harness.steps_of(loop) for loop in loops]
    harness.our_steps(3, *runs)
    assert [loop.state.step for loop in loops] == [3, 3]
    harness.our_steps(3, runs[0])  # an epoch has four
    states = [loop.model.state_dict().items() for loop in loops]
    done = [{int(value) for name, value in state if name.endswith("num_batches_tracked")} for state in states]
    assert done == [{6}, {3}] and loops[0].state.history == []


@pytest.mark.parametrize("question", ["loop_speed"])
def test_scripts_explain_themselves(question):
    """One stands for all: each takes seconds, because it imports torch."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{question}.py"), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--device" in text and "--rounds" in text


def test_slopes_and_exponents_are_those_of_the_data():
    x = [1.0, 2.0, 4.0, 8.0]
    assert cost_plots.line_fit(x, [3 * v + 5 for v in x]) == pytest.approx((3, 5))
    assert cost_plots.exponent(x, [7 * v**2 for v in x]) == pytest.approx(2)
    fig = cost_plots.memory_fit({"a": 10.0, "b": 20.0}, {"one": {"a": 5.0, "b": 10.0}}, {"a": "A", "b": "B"})
    assert fig.axes[0].get_legend().get_texts()[0].get_text() == "one: 2.00"
