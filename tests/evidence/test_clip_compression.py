"""What the measures of compressed clips say of clips whose storing is known."""

import functools

import numpy as np
import pytest

from deepscan.evidence import bitrate, gop, reencoding, repeated_frames
from deepscan.media.packets import stored
from deepscan.media.source import Media
from tests.films import film, filmed, joined, luma_of, sliding, stored_as
from tests.material import shared


@functools.cache
def encoded_before(distance):
    return tuple(luma_of(stored_as(filmed(240), g=str(distance))))


def of(analyzer, data):
    evidence = analyzer.testify(film(data))
    return evidence, evidence.measurements


def test_key_frames_and_kinds_are_counted():
    evidence, measured = of(gop, stored_as(filmed(60), g="12", bf="0"))
    assert measured == pytest.approx(
        {
            "key_frames": 5,
            "key_distance_median_frames": 12,
            "key_distance_min_frames": 12,
            "key_distance_max_frames": 12,
            "key_distance_same_share": 1,
            "i_share": 5 / 60,
            "p_share": 55 / 60,
            "b_share": 0,
            "b_run_max_frames": 0,
            "encoders": 1,
            "encoder_texts": 1,
            "contradictions": 0,
        }
    )
    assert evidence.finding == "ordinary"
    assert evidence.facts["encoder"].startswith("x264 - core")
    assert "keyint=12" in evidence.facts["settings"]
    assert evidence.facts["kinds"].startswith("IPPPPPPPPPPPI")


def test_the_distance_of_a_single_key_frame_is_the_length():
    evidence, measured = of(gop, stored_as(filmed(60)))
    assert (measured["key_frames"], measured["key_distance_max_frames"]) == (1, 60)
    assert evidence.summary.startswith("One key frame in 60 frames;")


def test_a_stream_of_two_encoders_is_unusual():
    pieces = [stored_as(filmed(60)[:30], "mpegts"), stored_as(filmed(60)[30:], "mpegts")]
    same, measured = of(gop, joined(*pieces))
    assert (same.finding, measured["encoders"], measured["encoder_texts"]) == ("ordinary", 1, 2)
    pieces[1] = pieces[1].replace(b"x264 - core 1", b"x264 - core 0")
    other, measured = of(gop, joined(*pieces))
    assert (other.finding, measured["encoders"]) == ("unusual", 2)
    assert "joined from pieces" in other.summary


@pytest.mark.parametrize(
    ("stated", "instead", "words"),
    [(b"keyint=250", b"keyint=025", "up to 60 frames"), (b"bframes=3", b"bframes=0", "B frames follow")],
)
def test_a_stream_that_breaks_its_own_settings_is_unusual(stated, instead, words):
    data = stored_as(filmed(60))
    assert data.count(stated) == 1
    evidence, measured = of(gop, data.replace(stated, instead))
    assert (evidence.finding, measured["contradictions"]) == ("unusual", 1)
    assert words in evidence.facts["contradiction"]


@pytest.mark.parametrize("distance", [12, 20])
@pytest.mark.parametrize("cut", [0, 5])
def test_the_former_key_frames_are_found_where_they_were(distance, cut):
    evidence, measured = of(reencoding, stored_as(encoded_before(distance)[cut:]))
    assert measured["former_key_distance_frames"] == distance
    assert measured["former_key_offset_frames"] == -cut % distance
    assert measured["chance_log10"] <= -3
    assert f"Every {distance} frames" in evidence.summary
    assert len(evidence.curves[0].spans) == len(range(-cut % distance, 240 - cut, distance))


def test_the_former_key_frames_are_found_under_another_codec():
    _, measured = of(reencoding, stored_as(encoded_before(12), "avi", "mpeg4", g="15", b="1000000"))
    assert measured["former_key_distance_frames"] == 12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_clip_that_was_encoded_once_has_no_beat(seed):
    evidence, measured = of(reencoding, stored_as(filmed(150, seed=seed)))
    assert measured["former_key_distance_frames"] == 0
    assert measured["chance_log10"] > -3
    assert evidence.curves[0].spans == ()


def test_own_key_frames_are_no_former_ones():
    _, measured = of(reencoding, stored_as(filmed(150), g="10", bf="0"))
    assert measured["former_key_distance_frames"] == 0


def test_chance_is_what_it_is_called():
    rng = np.random.default_rng(0)
    series = (reencoding.normal_scores(rng.normal(size=200)) for _ in range(200))
    logs = [reencoding.steadiest(scores_N).log10_chance for scores_N in series]
    assert np.mean(np.array(logs) < -1) <= 0.15


def test_a_beat_in_a_series_is_found():
    scores_N = np.random.default_rng(0).normal(size=200)
    scores_N[7::17] += 2.5
    beat = reencoding.steadiest(reencoding.normal_scores(scores_N))
    assert (beat.distance, beat.offset, beat.places) == (17, 7, 12)


def test_repeated_frames_are_counted_and_found():
    frames = filmed(120)
    data = stored_as(frames[:31] + frames[30:80] + (frames[79],) * 6 + frames[80:])
    evidence, measured = of(repeated_frames, data)
    repeated = repeated_frames.repeats(stored(film(data)))
    assert np.flatnonzero(repeated).tolist() == [31, *range(81, 87)]
    assert (measured["repeats"], measured["freeze_longest_frames"]) == (7, 6)
    assert evidence.finding == "unusual"
    assert evidence.curves[0].spans == ((81 / 25, 87 / 25),)


def test_regular_repeats_are_a_converted_frame_rate():
    frames = [frame for n, frame in enumerate(filmed(100)) for _ in range(1 + (n % 5 == 4))]
    evidence, measured = of(repeated_frames, stored_as(frames))
    assert (measured["repeats"], measured["repeat_distance_frames"]) == (20, 6)
    assert measured["repeats_irregular"] == 0
    assert evidence.finding == "ordinary"


def test_missing_frames_make_a_jump_and_a_scene_change_makes_none():
    slow = sliding()
    whole, _ = of(repeated_frames, stored_as(slow))
    evidence, measured = of(repeated_frames, stored_as(slow[:60] + slow[80:]))
    assert (whole.finding, whole.measurements["jumps"]) == ("ordinary", 0)
    assert (evidence.finding, measured["jumps"]) == ("unusual", 1)
    assert evidence.curves[0].spans == ((59 / 25, 60 / 25),)
    _, measured = of(repeated_frames, stored_as([*slow[:60], *filmed(60)]))
    assert measured["jumps"] == 0


def test_a_gap_in_time_is_found_and_told():
    times = [*range(40), *range(45, 85)]
    evidence, measured = of(repeated_frames, stored_as(filmed(80), times=times))
    assert (measured["time_gaps"], measured["time_gap_longest_ms"]) == (1, pytest.approx(240))
    assert measured["rate_measured_hz"] == pytest.approx(25)
    assert measured["rate_apart_share"] > 0.03
    assert evidence.finding == "unusual"


def test_times_that_vary_all_the_time_have_no_gaps():
    times = np.cumsum(np.random.default_rng(0).integers(1, 4, 80)).tolist()
    evidence, measured = of(repeated_frames, stored_as(filmed(80), times=times))
    assert (evidence.finding, measured["time_gaps"]) == ("ordinary", 0)


def test_nothing_that_moves_is_no_repetition():
    _, measured = of(repeated_frames, stored_as(filmed(20)[:1] * 40))
    assert measured["repeats"] == 0


def test_the_rate_is_that_of_the_packets():
    data = stored_as(filmed(100))
    clip = stored(film(data))
    evidence, measured = of(bitrate, data)
    assert measured["rate_mean_kbit_s"] == pytest.approx(8 * clip.size_N.sum() / 4 / 1000)
    assert measured["bits_per_px"] == pytest.approx(8 * clip.size_N.mean() / (320 * 192))
    assert np.mean(evidence.curves[0].y) == pytest.approx(measured["rate_mean_kbit_s"], rel=0.01)
    assert len(evidence.curves[0].x) == 8
    assert evidence.finding == "ordinary"


def test_a_step_in_the_rate_amid_a_scene_is_found():
    pieces = [
        stored_as(part, "mpegts", crf=crf)
        for part, crf in ((filmed(150)[:75], "18"), (filmed(150)[75:], "32"))
    ]
    evidence, measured = of(bitrate, joined(*pieces))
    assert (evidence.finding, measured["steps"]) == ("unusual", 1)
    assert measured["step_largest_s"] == pytest.approx(3.0, abs=0.3)


def test_a_scene_change_explains_a_step():
    pieces = [
        stored_as(part, "mpegts", crf=crf) for part, crf in ((filmed(75), "18"), (filmed(75, seed=1), "32"))
    ]
    evidence, measured = of(bitrate, joined(*pieces))
    assert (evidence.finding, measured["steps"]) == ("ordinary", 0)


@pytest.mark.media
@pytest.mark.slow
def test_genuine_clips_are_ordinary():
    for path in sorted((shared("media") / "video" / "real").rglob("*.mp4")):
        media = Media.from_path(path)
        for analyzer in (gop, bitrate, reencoding, repeated_frames):
            assert analyzer.testify(media).finding == "ordinary", (path.name, analyzer.__name__)
