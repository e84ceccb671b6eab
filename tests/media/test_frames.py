"""Frames of clips: the right ones, at the right times, upright and in the right colours."""

import io
import itertools
import logging
import os
import struct

import av
import numpy as np
import pytest

from deepscan.errors import ConfigError, CorruptMediaError, NoPictureError
from deepscan.media import frames
from deepscan.media.source import Media, Sampling
from tests.material import Clip, numbers, shared, sound_file, tone

MATRICES = {  # orientation of EXIF: which pixel of the stored picture is the first of the upright one
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
ENCODINGS = [
    ("mp4", "libx264"),
    ("mp4", "libx265"),
    ("mov", "mpeg4"),
    ("matroska", "libx264"),
    ("webm", "libvpx-vp9"),
    ("webm", "libsvtav1"),
    ("avi", "libx264"),
    ("avi", "mjpeg"),
    ("mpegts", "mpeg2video"),
    ("flv", "libx264"),
]
UNEVEN_S = tuple(itertools.accumulate([0.0, *[0.03] * 20, *[0.2] * 19]))


def of(clip: Clip, name: str = "a.mp4") -> Media:
    return Media.from_bytes(clip.encoded(), name)


def sampled(media: Media, **sampling) -> tuple[list[int], list[float]]:
    found = list(media.frames(Sampling(**sampling)))
    return numbers(found), [frame.time_s for frame in found]


def turned(data: bytes, matrix: tuple[int, ...]) -> bytes:
    """Write a matrix into the header of an MP4's track: the way up that phones store."""
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


@pytest.fixture(scope="module")
def film() -> Media:
    """Two seconds of 20 frames each with B-frames and a key frame every half second."""
    return of(Clip(options={"g": "10", "bf": "3"}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("container", "codec"), ENCODINGS)
def test_even_frames_lie_in_the_middle_of_equal_slices(container, codec):
    options = {"qmin": "1", "qmax": "3"} if codec in ("mpeg4", "mpeg2video") else {}
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    media = of(Clip(container=container, codec=codec, pixels=pixels, options=options))
    found, times_s = sampled(media, count=8)
    assert np.abs(np.array(times_s) - (np.arange(8) + 0.5) / 4).max() <= 0.0501
    assert np.abs(np.array(found) - (np.array(times_s) * 20 - round(times_s[0] * 20) + found[0])).max() <= 0.6


def test_an_encoder_of_the_tests_leaves_this_process_its_priority():
    """SVT-AV1 would raise it, and every process that a later test starts would starve the machine."""
    of(Clip(container="webm", codec="libsvtav1"))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_sixteen_samples_are_sixteen_frames_and_their_times_are_true(film):
    found, times_s = sampled(film)
    assert len(set(found)) == 16
    assert times_s == pytest.approx([number / 20 for number in found])
    assert np.abs(np.array(times_s) - (np.arange(16) + 0.5) / 8).max() <= 0.025 + 1e-9


def test_clip_with_fewer_frames_gives_each_once():
    media = of(Clip(times_s=(0.0, 0.05, 0.1)))
    assert sampled(media)[0] == [0, 1, 2]
    assert sampled(of(Clip(times_s=(0.0,))))[0] == [0]


def test_every_takes_steps_by_number(film):
    assert sampled(film, kind="every", step=7, count=4)[0] == [0, 7, 14, 21]
    assert sampled(film, kind="every", step=7, count=99)[0] == [0, 7, 14, 21, 28, 35]


def test_window_is_even_around_its_centre(film):
    assert sampled(film, kind="window", center_s=1.0, span_s=0.5, count=5)[0] == [16, 18, 20, 22, 24]
    assert sampled(film, kind="window", center_s=0.0, span_s=0.2, count=9)[0] == [0, 1]
    assert sampled(film, kind="window", center_s=9.0, span_s=0.2, count=9)[0] == []


def test_rate_gives_each_tick_its_nearest_frame_and_repeats_it_where_needed(film):
    found, times_s = sampled(film, kind="rate", rate_hz=40, start_s=0.5, span_s=0.2)
    assert found == [10, 10, 11, 11, 12, 12, 13, 13]
    assert times_s == pytest.approx([number / 20 for number in found])
    assert sampled(film, kind="rate", rate_hz=5, start_s=0.0, span_s=1.0)[0] == [0, 4, 8, 12, 16]
    assert sampled(film, kind="rate", rate_hz=20, start_s=1.9, span_s=9.0)[0] == [38, 39]


def test_window_decodes_only_from_the_key_frame_before(film, monkeypatch):
    given = []
    decode = frames._decode_packet
    monkeypatch.setattr(
        frames,
        "_decode_packet",
        lambda context, packet, said: given.append(packet) or decode(context, packet, said),
    )
    sampled(film, kind="window", center_s=1.6, span_s=0.1, count=2)
    packets = [packet for packet in given if packet is not None]
    assert 2 <= len(packets) <= 11
    assert packets[0].pts < packets[1].pts, "the first packet of the clip says how to decode the others"
    assert packets[0].is_keyframe
    assert packets[1].is_keyframe


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video"])
@pytest.mark.parametrize("step", [1, 3, 7])
def test_leaving_frames_out_alters_none_of_those_that_are_kept(codec, step):
    media = of(Clip(container="matroska", codec=codec, options={"g": "12", "bf": "2"}))
    with av.open(io.BytesIO(media.data)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    found = list(media.frames(Sampling(kind="every", step=step, count=40)))
    assert len(every) == 40
    assert all(np.array_equal(a.picture_HWC, b) for a, b in zip(found, every[::step], strict=True))


def test_frames_are_decoded_as_they_are_asked_for(film, monkeypatch):
    made = []
    convert = frames._upright_rgb
    monkeypatch.setattr(frames, "_upright_rgb", lambda frame: made.append(frame) or convert(frame))
    stream = film.frames(Sampling(count=8))
    assert made == []
    next(stream)
    assert len(made) == 1


def test_uneven_clip_is_sampled_by_time_and_not_by_number():
    media = of(Clip(container="matroska", times_s=UNEVEN_S))
    found, times_s = sampled(media, count=4)
    assert times_s == pytest.approx([UNEVEN_S[number] for number in found], abs=2e-3)
    assert np.abs(np.array(times_s) - (np.arange(4) + 0.5) / 4 * media.facts.duration_s).max() < 0.11
    assert found[0] > 10


@pytest.mark.parametrize("size_px", [(35, 47), (1, 1), (2, 33)])
def test_odd_sizes_keep_every_pixel(size_px):
    media = of(Clip(container="matroska", codec="ffv1", pixels="yuv444p", size_px=size_px))
    frame = next(media.frames(Sampling(count=1)))
    assert frame.picture_HWC.shape == (*size_px[::-1], 3) == (media.facts.height_px, media.facts.width_px, 3)
    assert (frame.picture_HWC.dtype, frame.picture_HWC.flags.c_contiguous) == (np.uint8, True)


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv422p", "yuv444p", "gray"])
def test_deep_and_grey_pixels_become_eight_bit_rgb(pixels):
    codec = "ffv1" if pixels == "gray" else "libx264"
    media = of(Clip(container="matroska", codec=codec, pixels=pixels))
    picture_HWC = next(media.frames(Sampling(kind="every", count=1))).picture_HWC
    assert picture_HWC.shape == (48, 64, 3)
    assert np.abs(picture_HWC.astype(int) - 20).max() <= 2


@pytest.mark.parametrize("orientation", MATRICES)
def test_frames_are_upright(scene, orientation):
    stream = io.BytesIO()
    with av.open(stream, "w", "mp4") as output:
        track = output.add_stream("libx264", 20, options={"qp": "0"})
        track.width, track.height, track.pix_fmt = 60, 40, "yuv444p"
        output.mux([*track.encode(av.VideoFrame.from_ndarray(scene)), *track.encode(None)])
    media = Media.from_bytes(turned(stream.getvalue(), MATRICES[orientation]), "a.mp4")
    picture_HWC = next(media.frames(Sampling(count=1))).picture_HWC
    expected = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, -1),
        7: scene.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(scene),
    }[orientation]
    assert picture_HWC.shape == expected.shape == (media.facts.height_px, media.facts.width_px, 3)
    assert np.abs(picture_HWC.astype(int) - expected).max() <= 6


def test_offset_of_the_clock_is_removed():
    clip = Clip(container="matroska", times_s=tuple(5 + number / 20 for number in range(20)))
    _, times_s = sampled(of(clip), count=4)
    assert times_s == pytest.approx([0.1, 0.35, 0.6, 0.85], abs=0.03)


@pytest.mark.parametrize("container", ["matroska", "mpegts", "flv"])
def test_truncated_clip_gives_what_is_there(container):
    data = Clip(container=container, options={"g": "10"}).encoded()
    media = Media.from_bytes(data[: len(data) * 6 // 10], "a")
    assert media.facts.duration_s < 1.7
    found, times_s = sampled(media, count=6)
    assert len(set(found)) == len(found) >= 5
    assert found == [round(time_s * 20) for time_s in times_s]
    assert max(times_s) < media.facts.duration_s


def damaged(first: int, last: int) -> bytes:
    """A clip of JPEG pictures, of which those from ``first`` to before ``last`` are wiped out."""
    data = Clip(container="matroska", codec="mjpeg", pixels="yuvj420p").encoded()
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xd8\xff", at)]
    assert len(starts) == 40
    for at in starts[first:last]:
        end = data.index(b"\xff\xd9", at)
        data = data[:at] + bytes(end - at) + data[end:]
    return data


def test_damaged_frames_are_left_out_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        found, times_s = sampled(Media.from_bytes(damaged(10, 20), "a"), count=8)
    assert found == [2, 7, 22, 27, 32, 37]
    assert times_s == pytest.approx([number / 20 for number in found])
    assert caplog.text.count("does not decode") == 1


def test_clip_of_which_nothing_decodes_is_corrupt():
    media = Media.from_bytes(damaged(0, 40), "a.mkv")
    with pytest.raises(CorruptMediaError, match=r"No wanted frame of 'a\.mkv' decodes"):
        list(media.frames(Sampling()))


def test_sound_has_no_frames():
    media = Media.from_bytes(sound_file(tone(8000)[None], "wav", "pcm_s16le", 8000), "a.wav")
    with pytest.raises(NoPictureError, match=r"'a\.wav' holds no moving pictures; give a video"):
        media.frames(Sampling())


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"step": 0}, {"span_s": 0.0}, {"rate_hz": 0.0}, {"center_s": -1.0}, {"start_s": -0.1}],
)
def test_sampling_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="A sampling needs count and step of at least 1"):
        Sampling(**wrong)


@pytest.mark.media
def test_real_clips_give_the_frames_that_full_decoding_gives():
    for path in sorted(shared("media/video").rglob("*.mp4"))[::12]:
        media = Media.from_path(path)
        found = list(media.frames(Sampling()))
        # FFmpeg decodes 4:4:4 of x264 before build 151 in another way, and only the begin tells the build.
        late = Sampling(kind="rate", start_s=media.facts.duration_s - 1, rate_hz=1.0)
        wanted_s = (np.arange(16) + 0.5) / 16 * media.facts.duration_s
        assert np.abs(np.array([frame.time_s for frame in found]) - wanted_s).max() < 0.1
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            every = {round(frame.time, 4): frame for frame in container.decode(video=0)}
        assert all(
            np.array_equal(each.picture_HWC, every[round(each.time_s, 4)].to_ndarray(format="rgb24"))
            for each in [*found[::5], *media.frames(late)]
        )
        assert len({each.picture_HWC.tobytes() for each in found}) == 16
