"""Media: one file, checked when it is wrapped, decoded when it is looked at."""

import hashlib
import os
import pathlib
import pickle

import numpy as np
import pytest

from deepscan.errors import (
    CorruptMediaError,
    MediaError,
    MediaTooLargeError,
    NoPictureError,
    NoSoundError,
    UnsupportedMediaError,
)
from deepscan.media import source
from deepscan.media.source import Limits, Media, Sampling
from tests.material import Clip, numbers, sound_file, tone


def test_picture_is_upright_contiguous_rgb_of_the_size_in_the_facts(rotated):
    media = Media.from_bytes(rotated("png", 6), "a.png")
    picture = media.picture_HWC
    assert picture.dtype == np.uint8
    assert picture.shape == (media.facts.height_px, media.facts.width_px, 3) == (60, 40, 3)
    assert picture.flags.c_contiguous


def test_picture_is_decoded_once_and_only_when_asked_for(encode, monkeypatch):
    calls = []
    decode = source.decode_picture
    monkeypatch.setattr(source, "decode_picture", lambda data, name: calls.append(name) or decode(data, name))
    media = Media.from_bytes(encode("png"), "a.png")
    assert calls == []
    assert media.picture_HWC is media.picture_HWC
    assert calls == ["a.png"]


@pytest.mark.parametrize("orientation", [1, 6])
def test_shared_picture_cannot_be_changed_by_one_of_its_users(rotated, orientation):
    picture = Media.from_bytes(rotated("png", orientation), "a.png").picture_HWC
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0, 0] = 1


def test_path_and_bytes_give_the_same_media(encode, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode("png"))
    media = Media.from_path(path)
    assert media.data == path.read_bytes()
    assert media.facts == Media.from_bytes(media.data, "a.png").facts


def test_cut_file_has_facts_but_no_picture(encode):
    data = encode("png")
    media = Media.from_bytes(data[: len(data) // 2], "a.png")
    assert media.facts.width_px == 60
    with pytest.raises(CorruptMediaError, match=r"'a\.png' begins like png"):
        _ = media.picture_HWC


def test_missing_file_says_so(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.png' cannot be read .*No such file"):
        Media.from_path(tmp_path / "gone.png")


def test_folder_and_device_are_refused(tmp_path):
    with pytest.raises(MediaError, match="is a folder or a device; name a file"):
        Media.from_path(tmp_path)
    with pytest.raises(MediaError, match="is a folder or a device"):
        Media.from_path(pathlib.Path(os.devnull))


def test_path_with_a_null_byte_is_refused():
    with pytest.raises(MediaError, match="cannot be read"):
        Media.from_path(pathlib.Path("a\0b"))


def test_size_is_checked_before_the_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda self: pytest.fail("the file was read"))
    with pytest.raises(MediaTooLargeError, match=r"'big\.png' has 100 bytes; at most 99"):
        Media.from_path(path, Limits(max_bytes=99))


@pytest.fixture(scope="module")
def film():
    return Media.from_bytes(Clip(sound_N=tone(16_000, 2.0, pitch_hz=100)).encoded(), "a.mp4")


@pytest.fixture(scope="module")
def voice():
    return Media.from_bytes(sound_file(tone(16_000)[None], "wav", "pcm_s16le", 16_000), "b.wav")


def test_joined_media_has_the_pictures_of_one_and_the_sound_of_the_other(film, voice):
    both = Media.joined(film, voice)
    assert numbers(list(both.frames(Sampling(count=4)))) == numbers(list(film.frames(Sampling(count=4))))
    assert both.sound_N is voice.sound_N
    facts = both.facts
    assert (facts.name, facts.kind, facts.has_sound) == ("a.mp4 + b.wav", "video", True)
    assert (facts.width_px, facts.duration_s) == (film.facts.width_px, film.facts.duration_s)
    assert facts.bytes == len(film.data) + len(voice.data)


def test_joined_media_is_told_apart_by_both_files_in_their_order(film, voice):
    digests = film.facts.sha256 + voice.facts.sha256
    assert Media.joined(film, voice).facts.sha256 == hashlib.sha256(digests.encode()).hexdigest()
    assert Media.joined(film, film).facts.sha256 not in (
        film.facts.sha256,
        Media.joined(film, voice).facts.sha256,
    )


def test_joined_media_keeps_the_notes_of_both(film):
    data = sound_file(tone(16_000, 4.0)[None], "flac", "flac", 16_000)
    cut = Media.from_bytes(data[: len(data) // 2], "b.flac")
    (note,) = Media.joined(film, cut).facts.notes
    assert note.startswith("b.flac: The file ends after ")


@pytest.mark.parametrize("decoded_first", [False, True])
def test_joined_media_keeps_both_files_in_another_process(film, voice, decoded_first):
    both = Media.joined(film, Media.from_bytes(voice.data, "b.wav"))
    if decoded_first:
        assert both.sound_N.any()
    there = pickle.loads(pickle.dumps(both))
    assert there.facts == both.facts
    assert np.array_equal(there.sound_N, voice.sound_N)
    assert not there.sound_N.flags.writeable
    assert numbers(list(there.frames(Sampling(count=4)))) == numbers(list(film.frames(Sampling(count=4))))


def test_what_was_decoded_does_not_travel(encode):
    media = Media.from_bytes(encode("jpeg"), "a.jpg")
    size = len(pickle.dumps(media))
    assert media.picture_HWC.nbytes > 1000
    assert len(pickle.dumps(media)) == size


def test_what_has_no_pictures_or_no_sound_cannot_be_joined(film, voice, encode):
    with pytest.raises(NoPictureError, match=r"'b\.wav' holds no moving pictures"):
        Media.joined(voice, film)
    still = Media.from_bytes(encode("png"), "a.png")
    with pytest.raises(NoPictureError, match=r"'a\.png' holds no moving pictures"):
        Media.joined(still, voice)
    with pytest.raises(NoSoundError, match=r"'c\.mp4' has no sound track"):
        Media.joined(film, Media.from_bytes(Clip().encoded(), "c.mp4"))


def test_clip_is_no_still_picture(film):
    with pytest.raises(UnsupportedMediaError, match=r"'a\.mp4' is no still picture but mp4; take its frames"):
        _ = film.picture_HWC
