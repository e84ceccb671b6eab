"""The shift between lips and sound, where it is known."""

import numpy as np
import pytest

from deepscan.errors import NoSoundError, TooShortError
from deepscan.evidence import lips
from deepscan.evidence.catalog import load_builtin
from deepscan.media.source import Media
from tests.clips import faces_clip, spoken
from tests.evidence.faces import still_portrait
from tests.evidence.test_mouth import drawn
from tests.material import DrawnFace
from tests.sounds import silence
from tests.talking import talker


@pytest.mark.parametrize("late_frames", [-8, 0, 6])
def test_the_shift_of_the_sound_is_found(late_frames):
    said = lips.testify(Media.from_bytes(talker(late_frames), "a.mp4"))
    assert said.measurements["offset_ms"] == pytest.approx(40 * late_frames, abs=40)
    assert said.measurements["confidence"] > lips.CLEAR
    assert said.finding == ("ordinary" if late_frames == 0 else "unusual")
    words = {-8: "early", 0: "in time", 6: "late"}
    assert words[late_frames] in said.summary


def test_other_words_go_less_together():
    own, other = (lips.testify(Media.from_bytes(talker(late), "a.mp4")).measurements for late in (0, None))
    assert other["in_time_correlation"] < 0.5 < own["in_time_correlation"]


def told(monkeypatch, open_T, loud_T):
    """What is said of a mouth that is open by shares, and noise that is as loud as other shares, at 25 Hz."""
    seen = still_portrait(len(open_T), mouth_THW=drawn(open_T))
    monkeypatch.setattr(lips, "portrait", lambda media: seen)
    noise_N = np.random.default_rng(0).normal(0, 0.1, len(loud_T) * 640)
    data = spoken(faces_clip(*[[DrawnFace()]] * 3), noise_N * np.repeat(loud_T, 640))
    return lips.testify(Media.from_bytes(data, "a.mkv"))


def test_where_they_part_is_marked(monkeypatch):
    rng = np.random.default_rng(1)
    shares = np.convolve(rng.uniform(0, 0.5, 300), np.ones(5) / 5, "same")
    loud = shares.copy()
    loud[225:] = 0.35 - shares[225:] / 2
    together, parted = told(monkeypatch, shares, shares), told(monkeypatch, shares, loud)
    assert together.measurements["parted_share"] == 0
    assert together.measurements["offset_ms"] == pytest.approx(0, abs=40)
    assert 0.1 < parted.measurements["parted_share"] < 0.5
    assert parted.curves[1].spans
    assert all(begin > 8 for begin, _ in parted.curves[1].spans)


def test_a_mouth_at_rest_goes_with_nothing(monkeypatch):
    loud = np.random.default_rng(2).uniform(0, 0.5, 100)
    said = told(monkeypatch, np.full(100, 0.1), loud)
    assert said.measurements["peak_correlation"] == 0
    assert said.summary.startswith("At no shift")
    assert said.finding == "ordinary"


def test_what_cannot_be_compared_is_refused_by_type(monkeypatch):
    with pytest.raises(TooShortError):
        told(monkeypatch, np.full(12, 0.1), np.ones(12))
    with pytest.raises(NoSoundError, match="silence"):
        told(monkeypatch, np.full(60, 0.1), silence(60 / 640))
    analyzer = load_builtin().get("lips")
    mute = Media.from_bytes(faces_clip(*[[DrawnFace()]] * 3), "a.mp4")
    assert not analyzer.accepts(mute)
    with pytest.raises(NoSoundError):
        lips.testify(mute)
