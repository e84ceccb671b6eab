"""When alerts begin and end, and which rules are refused."""

import pytest

from deepscan.errors import ConfigError
from deepscan.monitor.alerts import DEFAULTS, FIGURES, MACHINE, Rule, check, evaluate

SLOW = Rule(name="slow", figure="latency_p95_ms", above=1000, for_s=30)


def run(rule, values, step_s=10.0):
    """Return the states after each look and the changes told at it."""
    state, states, told = {}, [], []
    for number, value in enumerate(values):
        state, changes = evaluate([rule], lambda _, value=value: value, state, number * step_s)
        states.append(state[rule.name].state if state else None)
        told.append([(alert.state, alert.since_s, alert.value) for alert in changes])
    return states, told


def test_an_alert_fires_after_its_time_and_is_told_once():
    states, told = run(SLOW, [1500] * 6)
    assert states == ["pending"] * 3 + ["firing"] * 3
    assert told == [[], [], [], [("firing", 30.0, 1500)], [], []]


def test_an_alert_that_ends_is_told_once():
    states, told = run(SLOW, [1500] * 5 + [900, 900])
    assert states[4:] == ["firing", None, None]
    assert told[5:] == [[("resolved", 50.0, 900)], []]


def test_a_figure_that_recovers_in_time_is_no_alert():
    states, told = run(SLOW, [1500, 1500, 999, 1500, 1500, 1500, 1000])
    assert states == ["pending", "pending", None, "pending", "pending", "pending", None]
    assert told == [[]] * 7


def test_an_unknown_figure_ends_an_alert():
    _, told = run(SLOW, [1500] * 4 + [None])
    assert told[4] == [("resolved", 40.0, None)]


def test_without_a_time_it_fires_at_once_and_a_bound_itself_is_in_order():
    low = Rule(name="idle", figure="throughput_hz", below=2)
    states, told = run(low, [2, 1.9, 2])
    assert states == [None, "firing", None]
    assert [len(each) for each in told] == [0, 1, 1]


def test_rules_do_not_disturb_each_other():
    other = Rule(name="cpu", figure="cpu_share", above=0.5)
    values = {"slow": 1500.0, "cpu": 0.4}
    state, changes = evaluate([SLOW, other], lambda rule: values[rule.name], {}, 0)
    assert (list(state), changes) == (["slow"], [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"figure": "cpu_shar"}, "Did you mean 'cpu_share'"),
        ({"figure": "zzz"}, "Known: latency_p50_ms"),
        ({"above": None}, "either 'above' or 'below'"),
        ({"below": 3}, "either 'above' or 'below'"),
        ({"for_s": -1}, "for_s of 0 or above"),
        ({"window_s": 0}, "window_s above 0"),
        ({"min_requests": 0}, "min_requests of 1"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        Rule(**{"name": "slow", "figure": "latency_p95_ms", "above": 1.0} | changes)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="Several alerts are called 'slow'"):
        check([SLOW, SLOW], 3600)


def test_a_rule_that_looks_back_too_far_is_refused():
    with pytest.raises(ConfigError, match="at most 60 s"):
        check([SLOW], 60)


def test_the_default_rules_are_sound():
    check(DEFAULTS, 3600)
    assert set(FIGURES) >= MACHINE
