import io
import math

import numpy as np
import pytest
from PIL import Image

from deepscan.errors import CorruptMediaError
from deepscan.media.headers import describe, jpeg_quality
from deepscan.media.source import Media
from tests.material import Clip, encoded, sound_file, tone
from tests.sounds import silence, sine, wav

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def measures(data, name="file"):
    return describe(Media.from_bytes(data, name))


@pytest.mark.parametrize("quality", [5, 30, 49, 50, 51, 75, 90, 95, 100])
def test_the_quality_is_the_one_that_libjpeg_was_told(quality):
    data = encoded(NOISE, "JPEG", quality=quality)
    assert measures(data)["jpeg_quality"] == quality
    with Image.open(io.BytesIO(data)) as picture:
        assert jpeg_quality(np.array(picture.quantization[0])) == quality


def test_a_picture_tells_its_size_coding_and_tags():
    exif = Image.Exif()
    exif[0x010F] = "camera"
    data = encoded(NOISE, "JPEG", quality=80, progressive=True, exif=exif.tobytes(), icc_profile=b"x" * 200)
    found = measures(data)
    assert found == {
        "container": "jpeg",
        "size_bytes": len(data),
        "pixels": 2400,
        "aspect_ratio": 1.5,
        "bits_per_pixel": 8 * len(data) / 2400,
        "color_mode": "RGB",
        "exif": "yes",
        "color_profile": "yes",
        "jpeg_quality": 80,
        "jpeg_tables": found["jpeg_tables"],
        "jpeg_progressive": "yes",
    }


def test_tables_have_a_digest_that_changes_with_them():
    tables = [measures(encoded(NOISE, "JPEG", quality=q))["jpeg_tables"] for q in (80, 80, 81)]
    assert tables[0] == tables[1] != tables[2]


def test_a_picture_without_tags_says_so_and_has_no_measures_of_other_formats():
    found = measures(encoded(NOISE[..., 0]))
    assert (found["color_mode"], found["exif"], found["color_profile"]) == ("L", "no", "no")
    assert not {name for name in found if name.startswith("jpeg") or name.endswith("_hz")}


def test_a_clip_tells_of_its_tracks():
    data = Clip(sound_N=tone(16_000, 2.0)).encoded()
    found = measures(data)
    assert (found["picture_codec"], found["pixel_format"], found["sound_codec"]) == ("h264", "yuv420p", "aac")
    assert (found["frame_rate_hz"], found["sample_rate_hz"], found["channels"]) == (20, 16_000, 1)
    assert found["bit_rate_hz"] == pytest.approx(8 * len(data) / found["duration_s"])
    assert found["encoder"].startswith("Lavf")


def test_a_silent_film_has_no_measures_of_sound():
    assert not {name for name in measures(Clip().encoded()) if "sound" in name or name.endswith("_db")}


def test_sound_tells_its_level_and_the_silence_at_its_ends():
    wave_N = np.concatenate([silence(0.5), sine(440, 1.0, level=0.1), silence(0.25)])
    found = measures(wav(wave_N))
    assert found["peak_db"] == pytest.approx(-20, abs=0.05)
    assert found["loudness_db"] == pytest.approx(-20 - 10 * math.log10(2), abs=0.05)
    assert found["leading_silence_s"] == pytest.approx(0.5, abs=0.01)
    assert found["trailing_silence_s"] == pytest.approx(0.25, abs=0.01)


def test_nothing_but_silence_has_no_level():
    assert "loudness_db" not in measures(wav(silence(1.0)))


def test_the_rate_is_that_of_the_file_and_not_ours():
    assert measures(sound_file(tone(44_100)[None], "mp3", "libmp3lame", 44_100))["sample_rate_hz"] == 44_100


def test_a_broken_header_is_an_error_of_media():
    with pytest.raises(CorruptMediaError):
        measures(encoded(NOISE, "JPEG")[:200])
