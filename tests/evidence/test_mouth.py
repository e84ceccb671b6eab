"""What the analyzer of mouths says of a talker, and of a mouth that is drawn."""

import numpy as np
import pytest

from deepscan.evidence import mouth
from deepscan.evidence.mouth import loudness_db, opening
from deepscan.media.portraits import MOUTH_PX
from deepscan.media.source import Media
from tests.clips import faces_clip, spoken
from tests.evidence.faces import still_portrait
from tests.material import DrawnFace
from tests.sounds import silence, speech
from tests.talking import footage, talker


def drawn(openings, light=1.0):
    """Draws lips that are open by these shares of the patch's height."""
    y_SS, x_SS = np.mgrid[-1 : 1 : MOUTH_PX * 1j, -1 : 1 : MOUTH_PX * 1j]
    patches = []
    for share in openings:
        patch = np.full((MOUTH_PX, MOUTH_PX), 170.0)
        patch[(x_SS / 0.6) ** 2 + (y_SS / (0.2 + share)) ** 2 <= 1] = 130
        patch[(x_SS / 0.5) ** 2 + (y_SS / max(share, 1e-6)) ** 2 <= 1] = 40
        patches.append(patch * light)
    return np.asarray(patches).astype(np.uint8)


def test_wider_mouths_are_more_open_whatever_the_light():
    open_T = opening(drawn([0, 0.1, 0.2, 0.4]))
    assert open_T[0] == pytest.approx(0, abs=0.01)
    assert (np.diff(open_T) > 0.02).all()
    assert opening(drawn([0, 0.1, 0.2, 0.4], 0.5)) == pytest.approx(open_T, abs=0.02)
    assert np.isfinite(opening(np.zeros((2, MOUTH_PX, MOUTH_PX), np.uint8))).all()


def test_the_mouth_of_a_talker_is_followed():
    said = mouth.testify(Media.from_bytes(talker(), "a.mp4"))
    (curve,) = said.curves
    known_T = footage()[0].acting.opening_T
    at_s = (np.arange(len(known_T)) / 25)[: len(curve.x)]
    assert np.corrcoef(np.interp(at_s, curve.x, curve.y), known_T[: len(at_s)])[0, 1] > 0.9
    assert said.measurements["still_share"] < 0.3
    assert said.measurements["loud_share"] > 0.5


def told(monkeypatch, openings, sound_N):
    seen = still_portrait(len(openings), mouth_THW=drawn(openings))
    monkeypatch.setattr(mouth, "portrait", lambda media: seen)
    data = spoken(faces_clip(*[[DrawnFace()]] * 3), sound_N)
    return mouth.testify(Media.from_bytes(data, "a.mkv"))


def test_a_voice_from_a_mouth_that_rests_is_told(monkeypatch):
    moving = 0.15 + 0.15 * np.sin(np.arange(75) / 2)
    resting = np.where(np.arange(75) < 40, moving, 0.1)
    speaks, rests = (told(monkeypatch, each, speech(3.0)) for each in (moving, resting))
    assert speaks.measurements["still_while_loud_share"] == 0
    assert 0.25 < rests.measurements["still_while_loud_share"] < 0.6
    assert rests.curves[0].spans
    assert rests.curves[0].spans[-1][1] > 2.5
    assert speaks.measurements["openings_per_minute"] == pytest.approx(60 * 6 / 3, abs=20)


def test_silence_is_not_loud(monkeypatch):
    said = told(monkeypatch, np.full(75, 0.1), silence(3.0))
    assert said.measurements["loud_share"] == said.measurements["still_while_loud_share"] == 0
    assert said.measurements["still_share"] == 1
    assert "nothing is heard" in said.summary


def test_loudness_is_that_of_each_moment():
    sound_N = np.concatenate([np.full(16_000, 0.1), np.full(16_000, 0.01)]).astype(np.float32)
    level_db = loudness_db(sound_N, np.arange(0, 2.0, 0.04))
    assert level_db[:24] == pytest.approx(-20, abs=0.1)
    assert level_db[26:] == pytest.approx(-40, abs=0.1)
    assert loudness_db(sound_N, np.arange(0, 2.0, 0.04), 0.5)[13] == pytest.approx(-40, abs=0.1)
    assert loudness_db(sound_N, np.arange(3.0, 4.0, 0.04)) == pytest.approx(-100)
