"""How a mouth moves, and whether it is still while a voice is heard."""

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.portraits import portrait, shows_moving_pictures
from deepscan.media.source import SOUND_RATE_HZ, Media
from deepscan.verdict import Evidence

MEASURES = (
    "opening_median_share",
    "opening_range_share",
    "openings_per_minute",
    "still_share",
    "loud_share",
    "still_while_loud_share",
)

STILL_S = 0.5
"""So long without moving is a pause; the lips of speakers close for 0.1 to 0.2 s within words."""

STILL_SHARE = 0.2
"""Of the clip's whole range of opening: what moves less is still."""

LEAST_RANGE = 0.01
"""A mouth that opens and closes by less over the whole clip is still all the time."""

LOUD_DB = 25.0
"""How far below its loudest moments a sound still counts as loud."""

SILENCE_DB = -60.0
"""Relative to full scale: nobody is heard below."""

LIMITS = (
    "Light, teeth, beards and turning the head change the opening; a voice from outside the picture, music "
    "and noise are heard while the mouth rests. Forgeries that move the mouth move it as speech does."
)

Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Measure the mouth of the face that a clip shows longest; without sound, what is heard is 0.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoFaceError: No face is seen, or too small a one.
        TooShortError: It is seen too shortly.
        MediaError: The media does not decode.
    """
    seen = portrait(media)
    open_T = opening(seen.mouth_THW)
    still_T = _still(open_T, seen.times_s_T)
    loud_T = np.zeros(len(open_T), bool)
    if media.facts.has_sound:
        level_T = loudness_db(media.sound_N, seen.times_s_T)
        loud_T = (level_T > np.percentile(level_T, 95) - LOUD_DB) & (level_T > SILENCE_DB)
    figures = (
        float(np.median(open_T)),
        _range(open_T),
        60 * _openings(open_T) / seen.duration_s,
        float(still_T.mean()),
        float(loud_T.mean()),
        float((still_T & loud_T).sum() / max(loud_T.sum(), 1)),
    )
    measured = dict(zip(MEASURES, figures, strict=True))
    caption = "How much of the mouth's middle is dark, in shares of the light of its surroundings."
    shown = curve(
        "opening", caption, seen.times_s_T, open_T, ("s", ""), spans=_spans(still_T & loud_T, seen.times_s_T)
    )
    return Evidence(
        analyzer="mouth", summary=_in_words(measured), measurements=measured, limits=LIMITS, curves=(shown,)
    )


def opening(mouth_THW: NDArray[np.uint8]) -> Floats:
    """Return how far a mouth is open, float64 [T], from 0 on.

    It is how much darker than three quarters of the patch's median its middle columns are, which the inside
    of an open mouth is; in shares of that median.

    Args:
        mouth_THW: Patches of a ``Portrait``, uint8 [T, S, S].
    """
    side = mouth_THW.shape[1]
    patches_THW = mouth_THW.astype(np.float64)
    light_T11 = np.maximum(np.median(patches_THW, axis=(1, 2), keepdims=True), 1.0)
    middle_THW = patches_THW[:, side // 4 : side * 7 // 8, side * 3 // 8 : side * 5 // 8] / light_T11
    return np.asarray(np.maximum(0.75 - middle_THW, 0).mean(axis=(1, 2)))


def loudness_db(sound_N: NDArray[np.float32], times_s_T: Floats, late_s: float = 0.0) -> Floats:
    """Return how loud a sound is around given times, in decibels relative to full scale, at least -100.

    Args:
        sound_N: float32 [N] in [-1, 1], at 16 kHz.
        times_s_T: When, float64 [T], evenly.
        late_s: How much later to listen.
    """
    half_s = float(np.median(np.diff(times_s_T))) / 2
    power_M = np.concatenate([[0.0], np.cumsum(sound_N.astype(np.float64) ** 2)])
    ends = [
        np.clip(np.rint((times_s_T + late_s + shift_s) * SOUND_RATE_HZ), 0, len(sound_N)).astype(np.int64)
        for shift_s in (0.0, 2 * half_s)
    ]
    mean_T = (power_M[ends[1]] - power_M[ends[0]]) / np.maximum(ends[1] - ends[0], 1)
    return np.asarray(10 * np.log10(np.maximum(mean_T, 1e-10)))


def _range(open_T: Floats) -> float:
    low, high = np.percentile(open_T, [5, 95])
    return float(high - low)


def _still(open_T: Floats, times_s_T: Floats) -> NDArray[np.bool_]:
    """Tell where the mouth has moved little in the half second around."""
    from scipy import ndimage

    frames = max(3, round(STILL_S / float(np.median(np.diff(times_s_T)))) | 1)
    moved_T = ndimage.maximum_filter1d(open_T, frames) - ndimage.minimum_filter1d(open_T, frames)
    return np.asarray(moved_T < max(STILL_SHARE * _range(open_T), LEAST_RANGE))


def _openings(open_T: Floats) -> int:
    from scipy import signal

    least = max(0.25 * _range(open_T), LEAST_RANGE)
    return len(signal.find_peaks(open_T, prominence=least)[0])


def _spans(where_T: NDArray[np.bool_], times_s_T: Floats) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where_T, [False]]).astype(np.int8)))
    pairs = zip(edges[::2], edges[1::2] - 1, strict=True)
    return [(float(times_s_T[begin]), float(times_s_T[end])) for begin, end in pairs]


def _in_words(measured: dict[str, float]) -> str:
    words = (
        f"The mouth opens {measured['openings_per_minute']:.0f} times a minute and is still for "
        f"{measured['still_share']:.0%} of the time"
    )
    if not measured["loud_share"]:
        return f"{words}; nothing is heard."
    return (
        f"{words}, and for {measured['still_while_loud_share']:.0%} of the time in which something is heard."
    )


ANALYZERS.register(
    "mouth",
    Analyzer(
        name="mouth",
        group="face",
        summary="How a mouth moves, and whether it rests while a voice is heard",
        measures=MEASURES,
        accepts=shows_moving_pictures,
        testify=testify,
    ),
)
