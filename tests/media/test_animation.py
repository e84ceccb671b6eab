"""Animations: pictures that are clips, too, with frames that last as long as they please."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from deepscan.errors import CorruptMediaError, MediaTooLargeError, NoPictureError
from deepscan.media.animation import delays_s
from deepscan.media.source import Limits, Media, Sampling
from tests.material import numbers

FORMATS = {"gif": {}, "webp": {"lossless": True}, "png": {}}
DELAYS_MS = (100, 200, 50, 400, 250)


def animated(container: str, delays_ms: tuple[int, ...] = DELAYS_MS, **options: object) -> bytes:
    """Grey frames that tell their numbers; see ``numbers``."""
    pictures = [Image.new("RGB", (35, 47), (20 + 5 * number,) * 3) for number in range(len(delays_ms))]
    stream = io.BytesIO()
    pictures[0].save(
        stream, container, save_all=True, append_images=pictures[1:], duration=list(delays_ms),
        **FORMATS[container], **options,
    )  # fmt: skip
    return stream.getvalue()


@pytest.mark.parametrize("container", FORMATS)
def test_animation_is_a_picture_with_a_duration(container):
    media = Media.from_bytes(animated(container), "a")
    assert (media.facts.kind, media.facts.container, media.facts.duration_s) == ("image", container, 1.0)
    assert media.picture_HWC.mean() == 20
    assert not media.facts.has_sound


@pytest.mark.parametrize("container", FORMATS)
def test_frames_keep_their_own_times(container):
    found = list(Media.from_bytes(animated(container), "a").frames(Sampling()))
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert [frame.time_s for frame in found] == pytest.approx([0, 0.1, 0.3, 0.35, 0.75])
    assert all(frame.picture_HWC.shape == (47, 35, 3) for frame in found)


@pytest.mark.parametrize("container", FORMATS)
def test_even_samples_go_by_time(container):
    media = Media.from_bytes(animated(container, (40,) * 10 + (800, 800)), "a")
    assert numbers(list(media.frames(Sampling(count=2)))) == [10, 11]
    at_rate = media.frames(Sampling(kind="rate", rate_hz=50, span_s=0.1))
    assert numbers(list(at_rate)) == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("container", FORMATS)
def test_still_picture_has_no_duration(container, encode):
    media = Media.from_bytes(encode(container), "a.bin")
    assert media.facts.duration_s is None
    with pytest.raises(NoPictureError, match="holds no moving pictures"):
        media.frames(Sampling())


@pytest.mark.parametrize("container", FORMATS)
def test_frame_that_asks_for_no_time_lasts_a_tenth_of_a_second(container):
    delays_ms = (0, 10, 300) if container != "gif" else (10, 10, 300)
    assert delays_s(animated(container, delays_ms)) == pytest.approx((0.1, 0.1, 0.3))


def test_png_whose_still_picture_is_no_part_of_the_animation():
    media = Media.from_bytes(animated("png", (50, 100, 300), default_image=True), "a.png")
    assert media.facts.duration_s == pytest.approx(0.15)
    assert numbers(list(media.frames(Sampling()))) == [1, 2]
    assert media.picture_HWC.mean() == 20


def test_transparent_animation_is_composited_over_white():
    pictures = [Image.new("RGBA", (8, 8), (0, 0, 0, alpha)) for alpha in (0, 255)]
    stream = io.BytesIO()
    pictures[0].save(stream, "webp", save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    found = list(Media.from_bytes(stream.getvalue(), "a").frames(Sampling()))
    assert [frame.picture_HWC.mean() for frame in found] == [255, 0]


def test_animation_that_breaks_off_gives_what_is_there(caplog):
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(6)]
    stream = io.BytesIO()
    pictures[0].save(stream, "png", save_all=True, append_images=pictures[1:], duration=100)
    data = stream.getvalue()
    with caplog.at_level(logging.WARNING):
        found = list(Media.from_bytes(data[: len(data) * 7 // 10], "a.png").frames(Sampling()))
    assert 3 <= len(found) <= 4
    assert np.array_equal(found[2].picture_HWC, np.asarray(pictures[2]))
    assert "breaks off" in caplog.text


def test_animation_of_which_nothing_decodes_is_corrupt():
    data = bytearray(animated("png"))
    at = data.index(b"IDAT")
    data[at + 4 : at + 24] = bytes(20)
    with pytest.raises(CorruptMediaError):
        list(Media.from_bytes(bytes(data), "a.png").frames(Sampling()))


@pytest.mark.parametrize("container", FORMATS)
def test_long_animation_is_refused(container):
    with pytest.raises(MediaTooLargeError, match="runs for 60 s; at most 59 s are read"):
        Media.from_bytes(animated(container, (20_000,) * 3), "a", Limits(max_duration_s=59))


@pytest.mark.parametrize("container", FORMATS)
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_animation_frames=4), "5 frames; at most 4 .* raise max_animation_frames"),
        (Limits(max_animation_pixels=5 * 35 * 47 - 1), "8225 pixels in its 5 frames; at most 8224"),
    ],
    ids=["frames", "pixels"],
)
def test_an_animation_that_takes_for_ever_to_decode_is_refused(container, limits, message):
    with pytest.raises(MediaTooLargeError, match=message):
        Media.from_bytes(animated(container), "a", limits)


def test_the_limits_of_animations_leave_those_at_them_and_still_pictures_alone():
    limits = Limits(max_animation_frames=5, max_animation_pixels=5 * 35 * 47)
    assert Media.from_bytes(animated("gif"), "a", limits).facts.duration_s == 1.0
    still = Limits(max_animation_frames=1, max_animation_pixels=1)
    assert Media.from_bytes(animated("png", (100,)), "a", still).facts.duration_s is None


@pytest.mark.parametrize("container", FORMATS)
def test_any_cut_of_an_animation_is_measured_without_an_error(container):
    data = animated(container)
    lengths = [len(delays_s(data[:end])) for end in range(len(data))]
    assert lengths == sorted(lengths)
    assert lengths[-1] in (0, 5)
