"""Facts of clips and sounds: the format by content, durations from packets, limits before decoding."""

import io
import struct

import av
import numpy as np
import pytest

from deepscan.errors import (
    CorruptMediaError,
    DeepscanError,
    MediaError,
    MediaTooLargeError,
    UnsupportedMediaError,
)
from deepscan.media import container
from deepscan.media.probe import Limits, probe
from deepscan.media.signatures import FORMATS, HEAD_BYTES, sniff
from deepscan.media.source import Media, Sampling
from tests.material import Clip, numbers, shared, sound_file, tone

SOUND_N = tone(16_000, 2.0)
CLIPS = {
    "mp4": Clip(sound_N=SOUND_N),
    "mov": Clip(container="mov", codec="mpeg4", sound_N=SOUND_N),
    "3gp": Clip(container="3gp", sound_N=SOUND_N),
    "matroska": Clip(container="matroska", sound_N=SOUND_N, sound_codec="flac"),
    "webm": Clip(container="webm", codec="libvpx-vp9", sound_N=SOUND_N, sound_codec="libopus"),
    "avi": Clip(container="avi", codec="mpeg4", sound_N=SOUND_N, sound_codec="libmp3lame"),
    "mpegts": Clip(container="mpegts", sound_N=SOUND_N),
    "vob": Clip(container="vob", codec="mpeg2video", sound_N=SOUND_N, sound_codec="mp2"),
    "flv": Clip(container="flv", sound_N=SOUND_N),
    "asf": Clip(container="asf", codec="mpeg4", sound_N=SOUND_N, sound_codec="libmp3lame"),
}
NAMES = {"mov": "mp4", "3gp": "mp4", "webm": "matroska", "mpegts": "mpeg-ts", "vob": "mpeg-ps"}
SOUNDS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "aac": ("adts", "aac", 44_100),
    "ogg": ("ogg", "libopus", 48_000),
    "flac": ("flac", "flac", 44_100),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "aiff": ("aiff", "pcm_s16be", 16_000),
    "caf": ("caf", "pcm_s16be", 16_000),
    "au": ("au", "pcm_s16be", 16_000),
    "mp4": ("mp4", "aac", 44_100),
    "matroska": ("matroska", "libopus", 48_000),
}


class Pipe(io.RawIOBase):
    """A file that can only be appended to, as when a browser records."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.written += data
        return len(data)


def made_sound(name: str, duration_s: float = 1.0) -> bytes:
    file_format, codec, rate_hz = SOUNDS[name]
    return sound_file(tone(rate_hz, duration_s)[None], file_format, codec, rate_hz)


@pytest.fixture(scope="module")
def every_file() -> dict[str, bytes]:
    return {name: clip.encoded() for name, clip in CLIPS.items()} | {
        f"{name} sound": made_sound(name) for name in SOUNDS
    }


@pytest.mark.parametrize("name", CLIPS)
def test_facts_of_moving_pictures_whatever_the_extension(every_file, name):
    facts = probe(every_file[name], "holiday.jpg")
    assert (facts.kind, facts.container, facts.has_sound) == ("video", NAMES.get(name, name), True)
    assert (facts.width_px, facts.height_px, facts.notes) == (64, 48, ())
    assert facts.duration_s == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("name", SOUNDS)
def test_facts_of_sound(every_file, name):
    facts = probe(every_file[f"{name} sound"], "holiday.jpg")
    assert (facts.kind, facts.container, facts.has_sound) == ("audio", name, True)
    assert (facts.width_px, facts.height_px, facts.notes) == (None, None, ())
    assert facts.duration_s == pytest.approx(1.0, abs=0.06)


def test_every_file_matches_one_signature_only(every_file):
    for data in every_file.values():
        (known,) = [each for each in FORMATS if each.signature.match(data[:HEAD_BYTES])]
        assert sniff(data[:HEAD_BYTES], "a") is known


def test_every_demuxer_exists():
    assert {known.demuxer for known in FORMATS if known.demuxer} <= {
        name for each in av.formats_available for name in (each, *each.split(","))
    }


def test_silent_film_has_no_sound():
    facts = probe(Clip().encoded(), "a.mp4")
    assert (facts.kind, facts.has_sound, facts.duration_s) == ("video", False, 2.0)


def test_clip_of_one_frame_is_moving_pictures():
    facts = probe(Clip(times_s=(0.0,)).encoded(), "a.mp4")
    assert (facts.kind, facts.duration_s) == ("video", pytest.approx(0.05))


def test_cover_picture_makes_no_moving_pictures(encode):
    picture = encode("png")
    cover = b"\0image/png\0\3\0" + picture
    frame = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    size = len(frame)
    tag = b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + frame
    media = Media.from_bytes(tag + made_sound("mp3"), "a.mp3")
    with av.open(io.BytesIO(media.data)) as opened:
        assert len(opened.streams.video) == 1
    assert (media.facts.kind, media.facts.width_px, media.facts.duration_s) == (
        "audio",
        None,
        pytest.approx(1, abs=0.06),
    )
    assert len(media.sound_N) > 15_000


@pytest.mark.parametrize("name", ["matroska", "webm", "flv"])
def test_duration_that_the_header_lacks_comes_from_the_packets(name):
    pipe = Pipe()
    CLIPS[name].write(pipe)
    media = Media.from_bytes(bytes(pipe.written), "a")
    assert media.facts.duration_s == pytest.approx(2.0, abs=0.15)
    assert media.facts.notes == ()
    assert len(set(numbers(list(media.frames(Sampling()))))) == 16


@pytest.mark.parametrize("name", ["matroska", "flv"])
def test_file_that_ends_early_gets_a_note(every_file, name):
    data = every_file[name]
    facts = probe(data[: len(data) // 2], "a")
    promised_s = probe(data, "a").duration_s
    assert facts.notes == (
        f"The file ends after {facts.duration_s:.1f} s of the {promised_s:.1f} s its header promises.",
    )
    assert 0.3 < facts.duration_s < 1.5


@pytest.mark.parametrize(
    "name", ["mp4", "matroska", "avi", "mpegts", "flv", "flac sound", "mp4 sound", "ogg sound"]
)
def test_header_that_breaks_off_is_an_error_of_its_own(every_file, name):
    with pytest.raises(MediaError, match=r"'a\.bin'"):
        probe(every_file[name][: 400 if name == "mpegts" else 30], "a.bin")


def test_mp4_without_its_index_says_what_to_do():
    data = Clip().encoded()
    with pytest.raises(CorruptMediaError, match=r"begins like mp4 but does not open .*Get a complete copy"):
        probe(data[: data.index(b"moov")], "a.mp4")


def test_tracks_without_a_decoder_count_as_absent():
    clips = [Clip(container="matroska", sound_N=each, sound_codec="flac") for each in (None, SOUND_N)]
    silent, spoken = (clip.encoded().replace(b"V_MPEG4/ISO/AVC", b"V_ZZZZ4/ISO/AVC") for clip in clips)
    with pytest.raises(
        UnsupportedMediaError, match="holds neither pictures nor sound that deepscan can decode"
    ):
        probe(silent, "a.mkv")
    assert probe(spoken, "a.mkv").kind == "audio"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_pixels=64 * 48 - 1), "64x48 px; at most 3071 pixels"),
        (Limits(max_side_px=63), "64x48 px; no side may exceed 63 px"),
        (Limits(max_duration_s=1.9), r"runs for 2 s; at most 2 s are read\. Cut out"),
        (Limits(max_bytes=100), "at most 100 are read"),
    ],
)
def test_limits_hold_before_anything_is_decoded(monkeypatch, limits, words):
    data = Clip().encoded()
    monkeypatch.setattr(container, "first_frame", lambda *_: pytest.fail("a frame was decoded"))
    with pytest.raises(MediaTooLargeError, match=words):
        probe(data, "a.mp4", limits)


def test_sound_is_limited_by_its_duration():
    with pytest.raises(MediaTooLargeError, match=r"'a\.flac' runs for 3 s; at most 2 s are read"):
        probe(made_sound("flac", 3.0), "a.flac", Limits(max_duration_s=2))


def test_frames_that_outgrow_every_limit_on_the_way_are_refused(monkeypatch):
    monkeypatch.setattr(container, "_MAX_PIXELS", 3000)
    small, large = (Clip(container="mpegts", size_px=size).encoded() for size in ((32, 32), (96, 96)))
    media = Media.from_bytes(small + large, "a.ts")
    sizes = {frame.picture_HWC.shape for frame in media.frames(Sampling(kind="every", step=1, count=99))}
    assert sizes == {(32, 32, 3)}


@pytest.mark.parametrize(
    "name", ["mp4", "webm", "avi", "mpegts", "flv", "mp3 sound", "flac sound", "ogg sound"]
)
def test_damage_anywhere_gives_media_or_an_error_of_ours(every_file, name):
    rng = np.random.default_rng(7)
    outcomes = set()
    for _ in range(25):
        data = bytearray(every_file[name])
        for at in rng.integers(0, len(data), 12):
            data[at] = rng.integers(256)
        try:
            media = Media.from_bytes(bytes(data), "a")
            if media.facts.has_sound:
                assert np.abs(media.sound_N).max(initial=0) <= 1
            if media.facts.width_px:
                times_s = [frame.time_s for frame in media.frames(Sampling(count=4))]
                assert times_s == sorted(set(times_s))
            outcomes.add("read")
        except DeepscanError as error:
            outcomes.add(type(error).__name__)
    assert "read" in outcomes


@pytest.mark.media
def test_real_clips_are_probed():
    for path in sorted(shared("media/video").rglob("*.mp4")):
        facts = Media.from_path(path).facts
        assert (facts.kind, facts.container, facts.has_sound, facts.notes) == ("video", "mp4", False, ())
        assert 10 < facts.duration_s < 30
        assert min(facts.width_px, facts.height_px) >= 480
