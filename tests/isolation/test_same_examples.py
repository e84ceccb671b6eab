"""What a decoder prepares is what this process prepares, to the last bit."""

import numpy as np
import pytest

from deepscan.media.source import Media, Sampling
from deepscan.media.spectra import FrontEnd
from deepscan.modalities.audio import AudioPrep
from deepscan.modalities.av import AvPrep
from deepscan.modalities.image import ImagePrep
from deepscan.modalities.video import VideoPrep
from deepscan.pipeline import prepare
from tests.clips import faces_clip, spoken
from tests.material import DrawnFace, draw, encoded, shared
from tests.sounds import speech, wav

FACE = DrawnFace(x_px=100, y_px=80, radius_px=50)
CLIP = faces_clip(*[[FACE]] * 60)
FILES = {
    "picture.jpg": (encoded(draw(FACE, size_px=(200, 160)), "JPEG"), ImagePrep(finder="haar", size_px=48)),
    "clip.mp4": (CLIP, VideoPrep(finder="haar", size_px=32, sampling=Sampling(count=5))),
    "voice.wav": (wav(speech()), AudioPrep(window_s=1.5, hop_s=1.0, front_end=FrontEnd(kind="wave"))),
    "spoken.mkv": (
        spoken(CLIP, speech(2.4)),
        AvPrep(window_s=2.4, size_px=24, filters=20, finder="haar"),
    ),
}
REAL = {
    "image/real/ffhq-256": ImagePrep(finder="haar", size_px=64, no_face="center"),
    "video": VideoPrep(finder="haar", size_px=64, sampling=Sampling(count=4)),
    "audio": AudioPrep(),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if not isinstance(expected, list):
        assert str(found) == str(expected)
        return
    assert len(found) == len(expected) >= 1
    for got, known in zip(found, expected, strict=True):
        assert list(got) == list(known)
        for name, array in known.items():
            assert got[name].dtype == array.dtype
            np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("name", FILES)
def test_generated_media(decoders, name):
    data, prep = FILES[name]
    media = decoders.probe(data, name)
    here = Media.from_bytes(data, name)
    assert media.facts == here.facts
    expected = prepare(prep, here)
    assert isinstance(expected, list)
    assert_same(decoders.prepare(prep, media), expected)


def test_pictures_and_sound_of_two_files(decoders):
    parts = Media.from_bytes(CLIP, "clip.mp4"), Media.from_bytes(wav(speech(2.4)), "voice.wav")
    media = Media.joined(*parts)
    prep = AvPrep(window_s=2.4, size_px=24, filters=20, finder="haar")
    assert_same(decoders.prepare(prep, media), prepare(prep, media))


@pytest.mark.media
@pytest.mark.parametrize("folder", REAL)
def test_real_media(decoders, folder):
    files = [path for path in sorted(shared(f"media/{folder}").rglob("*")) if path.is_file()]
    for path in files[:: max(1, len(files) // 2)][:2]:
        here = Media.from_path(path)
        media = decoders.probe(path.read_bytes(), path.name)
        assert media.facts == here.facts
        assert_same(decoders.prepare(REAL[folder], media), prepare(REAL[folder], here))
