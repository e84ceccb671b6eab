"""What the analyzer of blinks says of talkers whose blinks are known."""

import dataclasses

import numpy as np
import pytest

from deepscan.evidence import blinks
from deepscan.media.eyes import Blink
from deepscan.media.source import Media
from tests.evidence.faces import still_portrait
from tests.talking import footage, talker


def test_the_blinks_of_a_talker_are_counted_and_timed():
    said = blinks.testify(Media.from_bytes(talker(), "a.mp4"))
    known_s = list(footage()[0].acting.blinks_s)
    assert said.measurements["blink_count"] == len(known_s)
    assert 80 < said.measurements["blink_median_ms"] < 250
    assert said.measurements["left_right_correlation"] > 0.8
    assert said.measurements["both_eyes_share"] == 1
    (curve,) = said.curves
    assert [np.mean(span) for span in curve.spans] == pytest.approx(known_s, abs=0.06)
    assert f"{len(known_s)} blinks" in said.summary
    assert said.finding == "ordinary"


def told(monkeypatch, open_TE, rate_hz=25):
    seen = still_portrait(len(open_TE), rate_hz)
    monkeypatch.setattr(blinks, "portrait", lambda media: seen)
    monkeypatch.setattr(blinks, "openness", lambda eyes_TEHW: open_TE)
    return blinks.testify(None)


def with_dips(seconds, left_s=(), right_s=()):
    times_s = np.arange(0, seconds, 0.04)
    eyes = [
        1 - sum((0.7 * np.exp(-(((times_s - at) / 0.06) ** 2) / 2) for at in dips), np.zeros(len(times_s)))
        for dips in (left_s, right_s)
    ]
    return np.stack(eyes, axis=1) + np.random.default_rng(0).normal(0, 0.01, (len(times_s), 2))


def test_who_never_blinks_for_long_is_unusual(monkeypatch):
    said = told(monkeypatch, with_dips(blinks.UNBLINKING_S + 1))
    assert said.finding == "unusual"
    assert said.summary.startswith("No blink was seen")
    assert said.measurements["interval_median_s"] == said.measurements["blink_median_ms"] == 0
    assert told(monkeypatch, with_dips(blinks.UNBLINKING_S - 1)).finding == "ordinary"


def test_winks_are_told_from_blinks(monkeypatch):
    both = told(monkeypatch, with_dips(10, (2, 5, 8), (2, 5, 8))).measurements
    winks = told(monkeypatch, with_dips(10, (2, 5, 8), (3.5, 6.5, 9))).measurements
    assert both["both_eyes_share"] == 1
    assert winks["both_eyes_share"] == 0
    assert both["left_right_correlation"] > 0.9 > 0.5 > winks["left_right_correlation"]
    assert both["interval_median_s"] == pytest.approx(3, abs=0.05)
    assert both["blinks_per_minute"] == pytest.approx(18, abs=0.5)


def test_a_blink_is_a_plain_value():
    assert dataclasses.astuple(Blink(1.0, 0.1)) == (1.0, 0.1)
