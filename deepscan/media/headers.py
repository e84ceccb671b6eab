"""What a file says of itself beside its content: coding, tables, tags, rates.

None of it has to do with whether the content is real, so whatever of it differs between the classes of a
data set is a shortcut for a detector that sees the whole file.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan.media import container
from deepscan.media.jpeg import LUMA_64, nearest_quality
from deepscan.media.levels import active, loudness_db
from deepscan.media.probe import opened
from deepscan.media.signatures import sniff
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.media.source import Media

Measures = dict[str, float | str]
"""By name; numbers end in their unit where they have one, texts name a kind."""


def describe(media: Media) -> Measures:
    """Return what a file says of itself, and how loud its sound is.

    Always ``container`` and ``size_bytes``.
    Of pictures ``pixels`` and ``aspect_ratio``; of still ones ``bits_per_pixel``, ``color_mode``, ``exif``
    and ``color_profile`` (``yes`` or ``no``); of JPEG ``jpeg_tables`` (a digest), ``jpeg_quality`` (see
    there) and ``jpeg_progressive``.
    Of what has time ``duration_s``, ``bit_rate_hz`` and ``encoder``, which wrote the container (empty = not
    said); of its tracks ``picture_codec``, ``pixel_format``, ``frame_rate_hz``, ``sound_codec``,
    ``sample_rate_hz`` and ``channels``.
    Of sound that is not silent throughout ``loudness_db``, ``peak_db``, ``leading_silence_s`` and
    ``trailing_silence_s``.

    Raises:
        MediaError: The header or the sound does not decode.
    """
    facts = media.facts
    measures: Measures = {"container": facts.container, "size_bytes": float(facts.bytes)}
    if facts.width_px and facts.height_px:
        pixels = facts.width_px * facts.height_px
        measures |= {"pixels": float(pixels), "aspect_ratio": facts.width_px / facts.height_px}
        if facts.duration_s is None:
            measures["bits_per_pixel"] = 8 * facts.bytes / pixels
    if facts.duration_s:
        measures |= {"duration_s": facts.duration_s, "bit_rate_hz": 8 * facts.bytes / facts.duration_s}
    known = sniff(media.data, facts.name)
    measures |= _tracks(media.data, facts.name) if known.demuxer else _picture(media.data, facts.name)
    return measures | (_levels(media.sound_N) if facts.has_sound else {})


def jpeg_quality(luma_64: NDArray[np.int64]) -> int:
    """Return the quality, 1 to 100, at which libjpeg's luma table is nearest to the given one.

    Args:
        luma_64: Quantisation of luma, row by row, int [64].
    """
    return nearest_quality(luma_64, LUMA_64)


def _picture(data: bytes, name: str) -> Measures:
    with opened(data, name) as picture:
        info: Mapping[Any, Any] = picture.info
        measures: Measures = {"color_mode": picture.mode}
        measures |= {"exif": _yes(info.get("exif")), "color_profile": _yes(info.get("icc_profile"))}
        tables: dict[int, Any] = getattr(picture, "quantization", {})
    if tables:
        text = repr([list(map(int, tables[key])) for key in sorted(tables)])
        measures |= {
            "jpeg_tables": hashlib.sha256(text.encode()).hexdigest()[:8],
            "jpeg_quality": float(jpeg_quality(np.array(tables[min(tables)], np.int64))),
            "jpeg_progressive": _yes(info.get("progressive")),
        }
    return measures


def _tracks(data: bytes, name: str) -> Measures:
    with container.open_container(data, name) as clip:
        measures: Measures = {"encoder": str(clip.metadata.get("encoder", ""))}
        if pictures := container.picture_track(clip):
            measures |= {
                "picture_codec": pictures.codec_context.name,
                "pixel_format": str(pictures.codec_context.pix_fmt),
                "frame_rate_hz": float(pictures.average_rate or 0),
            }
        if sound := container.sound_track(clip):
            measures |= {
                "sound_codec": sound.codec_context.name,
                "sample_rate_hz": float(sound.codec_context.sample_rate),
                "channels": float(sound.codec_context.channels),
            }
    return measures


def _levels(wave_N: NDArray[np.float32]) -> Measures:
    heard = active(wave_N)
    if heard.start == heard.stop:
        return {}
    return {
        "loudness_db": loudness_db(wave_N),
        "peak_db": 20 * float(np.log10(np.abs(wave_N).max())),
        "leading_silence_s": heard.start / SOUND_RATE_HZ,
        "trailing_silence_s": (len(wave_N) - heard.stop) / SOUND_RATE_HZ,
    }


def _yes(value: object) -> str:
    return "yes" if value else "no"
