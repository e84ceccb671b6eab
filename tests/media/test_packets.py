"""How clips are stored, read back from files that were stored in a known way."""

import gc

import numpy as np
import pytest

from deepscan.errors import TooShortError
from deepscan.media import packets
from deepscan.media.neighbours import largest_nearby, median_nearby
from tests.films import film, filmed, luma_of, stored_as
from tests.material import Clip, encoded
from tests.sounds import silence, wav


def read(data, **options):
    return packets.stored(film(data), **options)


def test_kinds_and_keys_are_those_that_the_encoder_was_told_to_make():
    clip = read(stored_as(filmed(40), g="8", bf="0"))
    assert clip.kinds == "IPPPPPPP" * 5
    assert np.flatnonzero(clip.key_N).tolist() == [0, 8, 16, 24, 32]


def test_frames_stand_in_the_order_in_which_they_are_shown():
    options = {"g": "20", "bf": "2", "x264-params": "b-adapt=0:b-pyramid=none:scenecut=0:asm=avx2"}
    clip = read(stored_as(filmed(40), **options))
    assert clip.kinds == ("IBBPBBPBBPBBPBBPBBPP" * 2)
    kinds = np.array(list(clip.kinds))
    assert clip.size_N[kinds == "B"].max() < clip.size_N[kinds == "P"].max() < clip.size_N[kinds == "I"].min()
    assert clip.times_s == pytest.approx(np.arange(40) / 25, abs=1e-3)


@pytest.mark.parametrize(
    ("container", "codec"), [("avi", "mpeg4"), ("matroska", "libx264"), ("mpegts", "libx264")]
)
def test_every_container_gives_the_same_frames(container, codec):
    clip = read(stored_as(filmed(30), container, codec))
    assert clip.seen == len(clip.size_N) == 30
    assert "?" not in clip.kinds
    assert np.isfinite(clip.change_N[1:]).all()
    assert clip.rate_hz == pytest.approx(25, rel=0.05)


def test_changes_are_those_of_the_decoded_pictures():
    data = stored_as(filmed(12), "matroska", "mpeg4")
    luma = [frame.astype(float) for frame in luma_of(data)]
    clip = read(data)
    assert np.isnan(clip.change_N[0])
    for at in range(1, 12):
        assert clip.change_N[at] == pytest.approx(np.abs(luma[at] - luma[at - 1]).mean(), rel=0.02)


def test_large_and_deep_pictures_are_measured_too():
    deep = Clip(pixels="yuv420p10le", times_s=tuple(n / 20 for n in range(8)))
    wide = Clip(size_px=(1288, 32), times_s=tuple(n / 20 for n in range(8)))
    for each in (deep, wide):
        assert read(each.encoded()).change_N[1:] == pytest.approx([5 * 219 / 255] * 7, abs=1.5)


def test_a_scene_change_is_told_from_motion():
    frames = filmed(30) + filmed(30, seed=1)
    assert np.flatnonzero(packets.scene_changes(read(stored_as(frames)))).tolist() == [30]


def test_decoding_stops_and_the_packets_are_read_to_the_end(monkeypatch):
    monkeypatch.setattr(packets, "MOST_PIXELS", 1)
    clip = read(stored_as(filmed(100), bf="0"))
    assert (clip.seen, len(clip.size_N)) == (packets.LEAST_FRAMES, 100)
    assert np.isnan(clip.change_N[packets.LEAST_FRAMES :]).all()


def test_one_pass_serves_all_who_ask_and_is_forgotten_with_the_media():
    media = film(stored_as(filmed(20)))
    assert packets.stored(media) is packets.stored(media, 10)
    kept = len(packets._READ)
    del media
    gc.collect()
    assert len(packets._READ) < kept


def test_too_few_frames_are_refused():
    with pytest.raises(TooShortError, match="has 5 frames that decode; this takes at least 6"):
        read(stored_as(filmed(20)[:5]), least=6)


def test_what_the_encoder_wrote_is_found():
    (text,) = read(stored_as(filmed(20))).texts
    assert text.startswith("x264 - core")
    assert "crf=20.0" in text
    assert read(stored_as(filmed(20), codec="mpeg4")).texts[0].startswith("Lavc")


def test_animations_pictures_and_sound_have_no_packets_of_pictures():
    picture = film(encoded(filmed(20)[0]))
    animation = film(encoded(filmed(20)[0], "GIF", save_all=True, append_images=[]))
    assert packets.is_stored_in_packets(film(stored_as(filmed(20))))
    for media in (picture, animation, film(wav(silence(1.0)))):
        assert not packets.is_stored_in_packets(media)


def test_neighbours_leave_out_gaps_and_the_value_itself():
    values_N = np.array([1.0, 5.0, np.nan, 3.0, 9.0])
    assert median_nearby(values_N, 2).tolist() == [5.0, 1.0, 3.0, 5.0, 3.0]
    assert largest_nearby(values_N, 1) == pytest.approx([5.0, 1.0, 5.0, 9.0, 3.0])
    assert np.isnan(median_nearby(values_N, 1, least=2)).tolist() == [True, True, False, True, True]
