import dataclasses
import json
import struct

import numpy as np
import pytest

from deepscan.errors import ConfigError, CorruptMediaError, MediaTooLargeError
from deepscan.media.source import Limits
from deepscan.serving import sliding
from deepscan.serving.sliding import FramesRequest, SlidingFrames, SlidingSound, SoundRequest, StreamSettings
from tests.material import encoded

RATE_HZ = 8000


def picture(level: int = 0, size_px: tuple[int, int] = (16, 12)) -> bytes:
    return encoded(np.full((*size_px[::-1], 3), level, np.uint8), "JPEG")


def stamped(time_s: float, data: bytes | None = None) -> bytes:
    return struct.pack("<d", time_s) + (picture() if data is None else data)


def frames(settings: StreamSettings | None = None, **asked: object) -> SlidingFrames:
    request = FramesRequest(**({"timed": True} | asked))
    return SlidingFrames(request, settings or StreamSettings(), Limits())


def fed(source, times_s) -> list[tuple[float, float, int]]:
    """Returns end, length and number of frames of each window that came due, rounded."""
    windows = [window for time_s in times_s for window in source.add(stamped(time_s), 0.0)]
    return [(round(w.end_s, 3), round(w.length_s, 3), len(w.frames)) for w in windows]


def ticks(count: int, rate_hz: float) -> list[float]:
    return [number / rate_hz for number in range(count)]


def test_a_window_is_due_every_so_often_and_reaches_back_so_far():
    assert fed(frames(window_s=2, every_s=1), ticks(21, 5)) == [
        (1.0, 1.0, 6), (2.0, 2.0, 11), (3.0, 2.0, 11), (4.0, 2.0, 11),
    ]  # fmt: skip


def test_due_times_do_not_drift_by_rounding():
    due = fed(frames(window_s=1, every_s=0.3), ticks(101, 10))
    assert [end_s for end_s, _, _ in due] == pytest.approx([0.3 * number for number in range(1, 34)])


def test_a_stream_may_begin_at_any_time():
    assert fed(frames(window_s=4, every_s=1), [1e6 + each for each in ticks(6, 5)]) == [(1e6 + 1, 1.0, 6)]


def test_a_gap_makes_one_window_due_and_leaves_what_is_too_old_behind():
    source = frames(window_s=2, every_s=1)
    assert fed(source, [0.0, 0.5, 9.7]) == [(9.7, 0.0, 1)]
    assert fed(source, [9.9, 10.0, 10.4]) == [(10.0, pytest.approx(0.3), 3)]


def test_frames_without_a_time_have_that_of_their_arrival():
    source = frames(timed=False, window_s=2, every_s=0.5)
    (window,) = [w for at_s in (70.0, 70.2, 70.4, 70.6) for w in source.add(picture(), at_s)]
    assert [round(frame.time_s, 3) for frame in window.frames] == [0.0, 0.2, 0.4, 0.6]


@pytest.mark.parametrize(("rate_hz", "kept"), [(10, 100), (15, 150), (20, 150), (30, 150), (60, 150)])
def test_frames_that_come_too_fast_are_left_out_evenly(rate_hz, kept):
    source = frames(window_s=30, every_s=30)
    assert fed(source, ticks(rate_hz * 10, rate_hz)) == []
    window = source.rest()
    assert len(window.frames) == pytest.approx(kept, abs=1)
    assert source.dropped == rate_hz * 10 - len(window.frames)
    gaps_s = np.diff([frame.time_s for frame in window.frames])
    assert gaps_s.max() <= max(0.1, 1 / rate_hz) + 1e-6
    assert gaps_s.min() >= 0.05 - 1e-6


def test_an_unsteady_camera_within_the_rate_loses_no_frame():
    rng = np.random.default_rng(0)
    times_s = np.arange(150) / 15 + rng.uniform(0, 0.01, 150)
    source = frames(window_s=30, every_s=30)
    fed(source, times_s.tolist())
    assert (len(source.rest().frames), source.dropped) == (150, 0)


def test_the_oldest_frames_go_where_the_window_holds_too_many_bytes():
    size_bytes = len(picture())
    settings = StreamSettings(max_message_bytes=size_bytes, max_window_bytes=3 * size_bytes)
    assert fed(frames(settings, window_s=4, every_s=1), ticks(6, 5)) == [(1.0, 0.4, 3)]


def test_a_window_begins_anew_where_the_size_changes():
    source = frames(window_s=4, every_s=1)
    sizes_px = [(16, 12)] * 3 + [(12, 16)] * 3
    due = [
        window
        for time_s, size_px in zip(ticks(6, 5), sizes_px, strict=True)
        for window in source.add(stamped(time_s, picture(size_px=size_px)), 0.0)
    ]
    assert [[frame.size_px for frame in window.frames] for window in due] == [[(12, 16)] * 3]
    assert source.rest() is None


def test_a_frame_that_cannot_be_read_leaves_the_window_as_it_was():
    source = frames(window_s=4, every_s=1)
    fed(source, ticks(3, 5))
    with pytest.raises(CorruptMediaError):
        list(source.add(stamped(0.6, b"\xff\xd8\xff"), 0.0))
    assert len(source.rest().frames) == 3


def test_the_rest_of_frames_is_what_no_window_has_ended_with():
    source = frames(window_s=4, every_s=1)
    assert source.rest() is None
    fed(source, ticks(6, 5))
    assert source.rest() is None
    fed(source, [1.2])
    assert [round(source.rest().end_s, 3), len(source.rest().frames)] == [1.2, 7]


@pytest.mark.parametrize("time_s", [0.4, 0.3, float("nan"), float("inf"), -1.0])
def test_times_of_frames_must_grow(time_s):
    source = frames()
    fed(source, [0.4])
    with pytest.raises(ConfigError, match="must grow"):
        list(source.add(stamped(time_s), 0.0))


@pytest.mark.parametrize("length", [0, 7, 8])
def test_a_timed_frame_needs_its_time_and_a_picture(length):
    with pytest.raises(ConfigError, match=f"8 bytes of time; this message has {length}"):
        list(frames().add(bytes(length), 0.0))


def test_a_window_of_frames_is_a_clip_and_its_newest_frame_the_picture_that_came():
    source = frames(window_s=4, every_s=1)
    for number, time_s in enumerate(ticks(5, 5)):
        list(source.add(stamped(time_s, picture(40 * number)), 0.0))
    window = source.rest()
    assert (window.basis, window.media(Limits()).facts.container) == ("clip", "matroska")
    assert window.newest(Limits()).data == picture(160)
    with pytest.raises(MediaTooLargeError):
        window.newest(Limits(max_bytes=10))


def samples(duration_s: float, begin: int = 0) -> np.ndarray:
    return np.arange(begin, begin + round(duration_s * RATE_HZ)).astype("<i2")


@pytest.mark.parametrize("chunk", [2, 1000, 16_000, 100_000])
def test_windows_of_sound_end_on_the_sample_however_it_is_cut(chunk):
    source = SlidingSound(SoundRequest(rate_hz=RATE_HZ, window_s=2, every_s=0.5))
    whole = samples(3.25)
    data = whole.tobytes()
    due = [w for at in range(0, len(data), chunk) for w in source.add(data[at : at + chunk], 0.0)]
    assert [window.end_s for window in due] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [window.length_s for window in due] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    for window in [*due, source.rest()]:
        last = round(window.end_s * RATE_HZ)
        first = last - round(window.length_s * RATE_HZ)
        assert window.samples == whole[first:last].tobytes()
    assert (source.rest().end_s, source.dropped) == (3.25, 0)


def test_there_is_no_rest_of_sound_that_ended_with_a_window():
    source = SlidingSound(SoundRequest(rate_hz=RATE_HZ, window_s=2, every_s=0.5))
    assert source.rest() is None
    list(source.add(samples(1.0).tobytes(), 0.0))
    assert source.rest() is None


def test_a_window_of_sound_is_a_wav():
    source = SlidingSound(SoundRequest(rate_hz=RATE_HZ, format="f32le", window_s=2, every_s=1))
    (window,) = source.add(np.zeros(RATE_HZ, "<f4").tobytes(), 0.0)
    facts = window.media(Limits()).facts
    assert (window.basis, facts.container, facts.duration_s) == ("sound", "wav", 1.0)
    assert window.newest(Limits()) is None


def test_half_a_sample_is_refused():
    with pytest.raises(ConfigError, match="whole samples of 2 bytes, not 3"):
        list(SlidingSound(SoundRequest()).add(b"abc", 0.0))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("", "begins with JSON"),
        ("[" * 100_000, "begins with JSON"),
        ("[]", "begins with JSON"),
        ("{}", "asks for 0"),
        ('{"frames": {}, "sound": {}}', "asks for 2"),
        ('{"frame": {}}', "Did you mean 'frames'"),
        ('{"frames": {"window": 4}}', "'frames.window'.*'window_s'"),
        ('{"frames": {"window_s": 31}}', r"'window_s' of a stream must be in \[0.25, 30\]"),
        ('{"frames": {"window_s": NaN}}', "'window_s'"),
        ('{"frames": {"every_s": 0.1}}', "'every_s'"),
        ('{"frames": 4}', "'frames' cannot be 4"),
        ('{"sound": {"format": "mp3"}}', "'sound.format'"),
        ('{"sound": {"rate_hz": 100}}', "'rate_hz' must be in"),
        (
            '{"sound": {"rate_hz": 192000, "format": "f32le", "window_s": 30}}',
            "of which 16777216 may be kept",
        ),
    ],
)
def test_what_a_first_message_may_say(first, words):
    settings = StreamSettings(max_window_bytes=16 * 2**20)
    with pytest.raises(ConfigError, match=words):
        sliding.opened(first, settings, Limits())


def test_a_first_message_opens_the_stream_that_it_asks_for():
    ask = {"frames": {"window_s": 2, "every_s": 0.5, "timed": True}}
    opened = sliding.opened(json.dumps(ask), StreamSettings(), Limits())
    assert isinstance(opened, SlidingFrames)
    assert fed(opened, ticks(3, 5)) == []
    assert fed(opened, [0.6]) == [(0.6, 0.6, 4)]
    assert isinstance(sliding.opened('{"sound": {}}', StreamSettings(), Limits()), SlidingSound)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(StreamSettings)])
def test_settings_of_streams_are_above_zero(name):
    with pytest.raises(ConfigError, match=name):
        StreamSettings(**{name: 0})


def test_a_window_has_room_for_a_message():
    with pytest.raises(ConfigError, match="at most max_window_bytes"):
        StreamSettings(max_message_bytes=100, max_window_bytes=99)
