import dataclasses
import io
import json
import wave

import numpy as np
import pytest
from PIL import Image

from deepscan.errors import CorruptMediaError, EmptyMediaError, MediaTooLargeError, UnsupportedMediaError
from deepscan.media import container
from deepscan.media.pixels import decode_picture
from deepscan.media.source import Limits, Media, Sampling
from deepscan.media.windows import FRAME_FORMATS, LiveFrame, clip_of, read_frame, sound_of
from deepscan.modalities.video import VideoPrep
from tests.material import DrawnFace, draw, encoded, shared
from tests.sounds import speech

TIMES_S = (5.0, 5.2, 5.45, 5.6, 5.8, 6.0)
SIZE_PX = (203, 161)
ALL = Sampling(count=100)


def face(number: int) -> np.ndarray:
    return draw(DrawnFace(x_px=90 + 3 * number, y_px=80, radius_px=45), size_px=SIZE_PX)


def frames(kind: str = "JPEG", times_s: tuple[float, ...] = TIMES_S, **options: object) -> list[LiveFrame]:
    options = {"quality": 92} | options
    return [
        read_frame(encoded(face(number), kind, **options), time_s) for number, time_s in enumerate(times_s)
    ]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(face(0), "JPEG", exif=exif.tobytes())


def shown(media: Media) -> tuple[list[float], list[np.ndarray]]:
    seen = list(media.frames(ALL))
    return [round(each.time_s, 3) for each in seen], [each.picture_HWC for each in seen]


def worst(pictures: list[np.ndarray], live: list[LiveFrame]) -> tuple[int, float]:
    """Returns the largest and the mean difference to the frames read as pictures."""
    apart = [
        np.abs(picture.astype(int) - decode_picture(frame.data))
        for picture, frame in zip(pictures, live, strict=True)
    ]
    return max(each.max() for each in apart), max(each.mean() for each in apart)


def test_a_clip_of_jpeg_holds_the_very_bytes_that_came():
    live = frames()
    media = clip_of(live)
    with container.open_container(media.data, "live") as clip:
        track = container.picture_track(clip)
        assert track.codec_context.name == "mjpeg"
        assert [bytes(packet) for packet in container.packets(clip, track)] == [each.data for each in live]


def test_a_clip_has_the_times_of_its_frames_from_the_first_on():
    media = clip_of(frames())
    facts = media.facts
    assert (facts.kind, facts.container, facts.width_px, facts.height_px) == ("video", "matroska", *SIZE_PX)
    assert (facts.duration_s, facts.notes, facts.has_sound) == (pytest.approx(1.2), (), False)
    assert shown(media)[0] == [0.0, 0.2, 0.45, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("options", "most_levels", "mean_levels"),
    [
        ({"subsampling": 0}, 3, 0.05),
        ({"subsampling": 0, "progressive": True}, 3, 0.05),
        ({"subsampling": 0, "keep_rgb": True}, 3, 0.05),
        # Decoders bring colour of half the resolution to full size each in their own way.
        ({"subsampling": 2}, 40, 0.6),
    ],
)
def test_pixels_of_a_jpeg_clip_are_those_of_its_frames_as_pictures(options, most_levels, mean_levels):
    live = frames(**options)
    most, mean = worst(shown(clip_of(live))[1], live)
    assert all(frame.plain for frame in live)
    assert most <= most_levels
    assert mean <= mean_levels


def test_grey_frames_make_a_clip():
    grey = Image.fromarray(face(0)).convert("L")
    live = [read_frame(encoded(np.asarray(grey), "JPEG"), time_s) for time_s in TIMES_S]
    assert worst(shown(clip_of(live))[1], live)[0] <= 2


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {})])
def test_frames_that_are_no_jpeg_keep_every_pixel(kind, options):
    live = frames(kind, **options)
    times_s, pictures = shown(clip_of(live))
    assert times_s == [0.0, 0.2, 0.45, 0.6, 0.8, 1.0]
    assert worst(pictures, live) == (0, 0)


def test_one_frame_that_is_not_plain_keeps_the_pixels_of_all():
    live = [*frames()[:5], read_frame(encoded(face(5)), 6.0)]
    assert [each.plain for each in live] == [True] * 5 + [False]
    assert worst(shown(clip_of(live))[1], live) == (0, 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_frame_stands_upright(orientation):
    live = [read_frame(turned(orientation), time_s) for time_s in TIMES_S[:2]]
    upright_px = SIZE_PX[::-1] if orientation >= 5 else SIZE_PX
    assert (live[0].plain, live[0].size_px) == (False, upright_px)
    media = clip_of(live)
    assert (media.facts.width_px, media.facts.height_px) == upright_px
    assert worst(shown(media)[1], live) == (0, 0)


def test_cmyk_keeps_the_colours_of_a_picture():
    stream = io.BytesIO()
    Image.fromarray(face(0)).convert("CMYK").save(stream, "JPEG")
    live = [read_frame(stream.getvalue(), 0.0)]
    assert worst(shown(clip_of(live))[1], live) == (0, 0)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_motion_jpeg_with_exif_is_read_the_way_up(orientation):
    """FFmpeg hands the EXIF of each frame on, which PyAV has no name for."""
    live = [dataclasses.replace(read_frame(turned(orientation), t), plain=True) for t in TIMES_S[:2]]
    stored = [dataclasses.replace(each, size_px=SIZE_PX) for each in live]
    media = clip_of(stored)
    assert (media.facts.width_px, media.facts.height_px) == live[0].size_px
    assert worst(shown(media)[1], live)[1] < 1


def test_a_lone_frame_is_a_short_clip():
    media = clip_of(frames()[:1])
    assert media.facts.duration_s == pytest.approx(0.1)
    assert shown(media)[0] == [0.0]


def test_frames_of_one_moment_are_shown_one_after_the_other():
    times_s = (1.0, 1.0, 1.0002, 1.2)
    assert shown(clip_of(frames(times_s=times_s)))[0] == [0.0, 0.001, 0.002, 0.2]


def test_equal_windows_are_equal_files():
    shas = [clip_of(live).facts.sha256 for live in (frames(), frames(), frames("PNG"), frames("PNG"))]
    assert shas[0] == shas[1] != shas[2] == shas[3]
    later = [dataclasses.replace(each, time_s=each.time_s + 100) for each in frames()]
    assert clip_of(later).facts.sha256 == shas[0]


def test_faces_are_followed_through_a_clip_of_live_frames():
    times_s = tuple(number / 5 for number in range(10))
    (example,) = VideoPrep(finder="haar", size_px=64)(clip_of(frames(times_s=times_s)))
    assert example["time_s"][example["mask"] == 1].tolist() == pytest.approx(times_s)


@pytest.mark.media
def test_real_faces_are_followed_alike_in_a_file_and_in_its_frames_sent_live():
    clips = shared("media") / "video"
    path = next(p for p in sorted(clips.rglob("*.mp4")))
    seen = list(Media.from_path(path).frames(Sampling(kind="rate", span_s=3, rate_hz=8)))
    live = [read_frame(encoded(each.picture_HWC, "JPEG", quality=95), each.time_s) for each in seen]
    (example, *_) = VideoPrep(finder="haar")(clip_of(live))
    assert example["mask"].sum() >= 8


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_frames_in_other_formats_are_refused(kind):
    with pytest.raises(UnsupportedMediaError, match=f"cannot be {kind.lower()}; .*{FRAME_FORMATS[0]}"):
        read_frame(encoded(face(0), kind), 0.0)


def test_a_moving_picture_is_no_frame():
    pages = [Image.fromarray(face(number)) for number in range(2)]
    stream = io.BytesIO()
    pages[0].save(stream, "WEBP", save_all=True, append_images=pages[1:])
    with pytest.raises(UnsupportedMediaError, match="moving webp"):
        read_frame(stream.getvalue(), 0.0)


@pytest.mark.parametrize(
    ("data", "limits", "error"),
    [
        (b"", Limits(), EmptyMediaError),
        (b"\xff\xd8\xff", Limits(), CorruptMediaError),
        (json.dumps({"end": True}).encode(), Limits(), UnsupportedMediaError),
        (encoded(face(0), "JPEG"), Limits(max_pixels=1000), MediaTooLargeError),
    ],
)
def test_a_frame_is_checked_before_it_is_kept(data, limits, error):
    with pytest.raises(error):
        read_frame(data, 0.0, limits)


def test_a_frame_whose_pixels_are_missing_is_an_error_where_it_is_decoded():
    whole = encoded(face(0))
    with pytest.raises(CorruptMediaError):
        clip_of([read_frame(whole[: len(whole) // 2], 0.0)])


def test_a_clip_keeps_to_the_limits():
    with pytest.raises(MediaTooLargeError):
        clip_of(frames(), Limits(max_bytes=1000))


def test_whole_numbers_become_a_wav_that_everybody_reads():
    samples = np.rint(speech(1.0) * 32767).astype("<i2")
    media = sound_of(samples.tobytes(), 16_000, "s16le")
    with wave.open(io.BytesIO(media.data)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 16_000, 2)
        assert file.readframes(20_000) == samples.tobytes()
    assert (media.facts.container, media.facts.duration_s, media.facts.has_sound) == ("wav", 1.0, True)
    assert np.array_equal(media.sound_N, samples.astype(np.float32) / 32768)


def test_floats_are_heard_as_they_are():
    wave_N = speech(1.0)
    assert np.array_equal(sound_of(wave_N.astype("<f4").tobytes(), 16_000, "f32le").sound_N, wave_N)


def test_sound_of_another_rate_lasts_as_long():
    media = sound_of(bytes(2 * 48_000), 48_000, "s16le")
    assert (media.facts.duration_s, len(media.sound_N)) == (1.0, 16_000)
