"""Figures, goals, processes and configurations of benchmarks/serving_load.py."""

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml

from benchmarks import serving_load
from benchmarks.serving import figures, processes, steady, systems
from benchmarks.serving.figures import Outcome
from deepscan.serving.config import parse

PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "input()"])
print("on", flush=True)
input()
"""


def outcome(*samples, wall_s=2.0) -> Outcome:
    return Outcome(samples=list(samples), cpu_s=0.5, wall_s=wall_s, probabilities={})


def test_a_percentile_is_a_value_that_so_many_do_not_exceed():
    values_s = [i / 1000 for i in range(100, 0, -1)]
    assert [figures.milliseconds(values_s, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert figures.milliseconds([0.007], 99) == 7
    assert figures.milliseconds([], 50) is None


def test_refusals_errors_and_answers_are_counted_apart():
    told = outcome((0, 0, 0.1, 200), (0, 0, 0.2, 200), (0, 0.05, 0.001, 503), (0, 0, 0.3, 500), (0, 0, 9, -2))
    row = told.figures()
    assert (row["requests"], row["refused"], row["errors"]) == (5, 1, 2)
    assert (row["per_s"], row["client_cpu"]) == (1.0, 0.25)
    assert (row["p50_ms"], row["p99_ms"], row["refused_p50_ms"], row["late_p99_ms"]) == (100, 200, 1, 50)
    assert row["statuses"] == {"-2": 1, "500": 1}


def test_what_a_client_wrote_is_read_back():
    text = json.dumps({"samples": [[0, 0, 0.1, 200.0]], "cpu_s": 1, "wall_s": 2, "probabilities": {"0": 0.5}})
    assert Outcome.from_json(text).latencies_s() == [0.1]
    assert Outcome.from_json(text).samples[0][3] == 200


def test_a_goal_says_whether_it_is_met():
    assert figures.goal("speed", 0.97, least=0.95)["met"]
    assert not figures.goal("speed", 0.9, least=0.95)["met"]
    assert not figures.goal("errors", 1, most=0)["met"]
    assert not figures.goal("p99", None, most=2)["met"]
    assert figures.ratio(1, 3) == 0.333
    assert figures.ratio(None, 3) is figures.ratio(1, 0) is None


def test_a_table_has_a_column_for_every_key_and_none_for_lists():
    lines = figures.table([{"a": 1, "b": 2.5}, {"a": 10, "c": None, "d": [1]}]).splitlines()
    assert [line.split() for line in lines] == [["a", "b", "c"], ["1", "2.5", "-"], ["10", "-", "-"]]
    assert len({len(line) for line in lines}) == 1


def test_a_result_is_written_with_what_it_was_measured_on(tmp_path, capsys):
    path = figures.write(
        tmp_path / "new", "kill", {"rows": [{"a": 1}], "goals": [figures.goal("g", 1, most=2)]}
    )
    assert path.name == "serving-kill.json"
    assert {"step", "date", "cores", "rows", "goals"} <= set(json.loads(path.read_text()))
    assert "at_most" in capsys.readouterr().out


def test_goals_of_the_comparison_are_ratios_in_the_same_run():
    speeds = {
        "bare": {"1": 10.0, "16": 20.0},
        "local": {"1": 9.0, "16": 21.0},
        "litserve": {"1": 8.0, "16": 22.0},
        "production": {"1": 5.0, "16": 15.0},
    }
    met = {each["goal"]: (each["value"], each["met"]) for each in steady._speed_goals(speeds)}
    assert met["local / bare at 1"] == (0.9, False)
    assert met["local / bare at 16"] == (1.05, True)
    assert met["local / litserve at 16"] == (0.955, False)
    assert met["production / bare at 16"] == (0.75, True)
    assert steady._speed_goals({"bare": {"1": 1.0}}) == []


def test_systems_that_answer_otherwise_are_noticed():
    same = {"bare": {"0": 0.5, "1": 0.25}, "local": {"0": 0.5 + 1e-7}}
    assert steady._same_answers(same)["met"]
    assert not steady._same_answers(same | {"serve": {"1": None}})["met"]
    assert not steady._same_answers(same | {"serve": {"1": 0.3}})["met"]


def test_the_median_of_the_rounds_counts():
    rows = [{"system": "bare", "connections": 4, "per_s": per_s} for per_s in (3.0, 1.0, 2.0)]
    assert steady.medians(rows) == {"bare": {"4": 2.0}}


def test_memory_is_compared_after_getting_warm():
    flat = [(float(at_s), 50 if at_s < 2 else 100) for at_s in range(11)]
    assert steady.growth(flat) == 1.0
    assert steady.growth([(at_s, bytes_ + 10 * (at_s > 7)) for at_s, bytes_ in flat]) == 1.1


def test_a_family_is_found_weighed_and_ended(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    family = processes.tree(process.pid)
    assert [member.parent for member in family[1:]] == [process.pid]
    assert process.pid in {member.pid for member in family}
    assert processes.memory_bytes(family) > 2**20
    processes.end(process)
    assert process.poll() is not None
    # Who was an orphan for a moment is gone once the first process of the machine has taken notice.
    pids = {member.pid for member in family}
    processes.wait_until(lambda: not pids & set(processes.processes()), 20, "The end of the family")


def test_waiting_gives_up_in_time_and_returns_what_it_waited_for():
    answers = iter([0, 0, 7])
    assert processes.wait_until(lambda: next(answers), 5, "counting", every_s=0) == 7
    with pytest.raises(SystemExit, match="counting took longer"):
        processes.wait_until(lambda: 0, 0, "counting", every_s=0)


@pytest.mark.parametrize("name", ["serve", "production", "autoscale"])
def test_a_configuration_of_serve_names_the_bundle_and_listens_on_the_loopback(name, tmp_path):
    made = yaml.safe_load(yaml.safe_dump(systems.config(name, tmp_path, 1234, batch_size=2)))
    assert made["http_options"] | {"host": "127.0.0.1", "port": 1234} == made["http_options"]
    (application,) = made["applications"]
    args = parse(application["args"])
    assert (args.bundles, args.batch_size) == ((str(tmp_path),), 2)
    assert systems.DEFAULT_CONFIG["applications"][0]["args"] == {}


def test_production_settings_are_those_of_the_repository_where_it_has_them(tmp_path, monkeypatch):
    theirs = {
        "http_options": {"port": 8000, "request_timeout_s": 9},
        "applications": [{"args": {"batch_size": 3}}],
    }
    monkeypatch.setattr(systems, "PRODUCTION_CONFIG", tmp_path / "production.yaml")
    ours = systems.config("production", tmp_path, 5)["applications"][0]["args"]
    assert ours["replica"]["min_replicas"] == 2
    systems.PRODUCTION_CONFIG.write_text(yaml.safe_dump(theirs))
    made = systems.config("production", tmp_path, 5)
    assert made["http_options"]["request_timeout_s"] == 9
    assert made["applications"][0]["args"] == {"batch_size": 3, "bundles": [str(tmp_path)]}


def test_a_system_that_is_not_installed_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.setattr(systems.importlib.util, "find_spec", lambda name: None)
    assert "deepscan[bench]" in systems.absent("litserve")
    assert systems.absent("bare") == ""


def test_a_system_that_ends_at_once_shows_its_log(tmp_path):
    log = tmp_path / "log"
    process = processes.start([sys.executable, "-c", "raise SystemExit('no such bundle')"], log, {})
    process.wait(30)
    with pytest.raises(SystemExit, match="no such bundle"):
        systems.System("bare", 1, process, log).is_ready()


def test_processes_that_ended_meanwhile_take_nothing_back(monkeypatch):
    system = systems.System("bare", 1, None, None)
    old, gone, later = (
        processes.Process(pid, 1, 5, cpu_s, "") for pid, cpu_s in ((7, 2.0), (8, 9.0), (8, 0.5))
    )
    later = dataclasses.replace(later, start_ticks=6)
    now = [dataclasses.replace(old, cpu_s=3.0), later]
    monkeypatch.setattr(systems.System, "members", lambda self: now)
    assert system.cpu_s([old, gone]) == 1.5


def test_every_step_is_described():
    assert [step for step in serving_load.STEPS if f"\n    {step} " not in serving_load.__doc__] == []
