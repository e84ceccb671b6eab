"""Do lips and sound go together? By their correlation alone, without anything learnt.

The opening of the mouth is compared with the loudness for every shift of the sound; its highest point and how
far that lies above the median are what Chung and Zisserman ("Out of time", ACCV workshops 2016) report of
their network's distances.
"""

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoSoundError, TooShortError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.mouth import SILENCE_DB, loudness_db, opening
from deepscan.media.portraits import portrait, shows_moving_pictures
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding

MEASURES = ("offset_ms", "peak_correlation", "confidence", "in_time_correlation", "parted_share", "watched_s")

LONGEST_SHIFT_S, STEP_S = 0.6, 0.02
LEAST_S = 1.0
SLOW_S = 1.0
"""What changes more slowly than this is light, and the turning of the head."""

WINDOW_S, HOP_S = 2.0, 0.5

CLEAR = 0.35
"""Least distance of the highest correlation from the median at which a shift is told; unrelated sound stays
below in 19 of 20 talks, and most genuine recordings in the wild do, too."""

LATE_MS, EARLY_MS = 185.0, -90.0
"""Beyond these viewers do not accept the sound of a broadcast (ITU-R BT.1359-1)."""

LIMITS = (
    "Loudness follows the lips loosely: of many genuine recordings no shift can be told. Sound is late in "
    "genuine files, too, and a voice that is not the speaker's may keep time. A detector that learnt from "
    "talks knows more."
)

Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Compare a mouth with the sound of its clip; a positive offset is a late sound.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoSoundError: There is no sound, or nothing but silence.
        NoFaceError: No face is seen, or too small a one.
        TooShortError: It is seen for less than a second.
        MediaError: The media does not decode.
    """
    sound_N, seen = media.sound_N, portrait(media)
    times_s_K = np.arange(seen.times_s_T[0], seen.times_s_T[-1], STEP_S)
    if len(times_s_K) * STEP_S < LEAST_S:
        msg = f"The face in {media.facts.name!r} is seen for less than {LEAST_S:g} s, too little to compare."
        raise TooShortError(msg)
    if loudness_db(sound_N, times_s_K).max() < SILENCE_DB:
        msg = f"{media.facts.name!r} holds nothing but silence while the face is seen."
        raise NoSoundError(msg)
    frame_s = float(np.median(np.diff(seen.times_s_T)))
    open_K = _quick(np.interp(times_s_K, seen.times_s_T + frame_s / 2, opening(seen.mouth_THW)))
    shifts_s = np.arange(-round(LONGEST_SHIFT_S / STEP_S), round(LONGEST_SHIFT_S / STEP_S) + 1) * STEP_S
    alike_S = np.array([_alike(open_K, _heard(sound_N, times_s_K, late_s)) for late_s in shifts_s])
    best = int(np.argmax(alike_S))
    local = _local(open_K, _heard(sound_N, times_s_K, float(shifts_s[best])), times_s_K)
    figures = (
        1000 * shifts_s[best],
        alike_S[best],
        alike_S[best] - np.median(alike_S),
        alike_S[len(shifts_s) // 2],
        np.mean([each < 0 for _, each in local]),
        len(times_s_K) * STEP_S,
    )
    measured = {name: float(value) for name, value in zip(MEASURES, figures, strict=True)}
    return Evidence(
        analyzer="lips",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding=_finding(measured),
        curves=(_shifts(shifts_s, alike_S), _moments(local, measured)),
    )


def _heard(sound_N: NDArray[np.float32], times_s_K: Floats, late_s: float) -> Floats:
    return _quick(np.maximum(loudness_db(sound_N, times_s_K, late_s - STEP_S / 2), SILENCE_DB))


def _quick(values_K: Floats) -> Floats:
    """What is left of a curve without what changes slowly, smoothed over a tenth of a second."""
    from scipy import ndimage

    smooth_K = ndimage.gaussian_filter1d(values_K, 0.04 / STEP_S)
    return np.asarray(smooth_K - ndimage.gaussian_filter1d(values_K, SLOW_S / STEP_S))


def _alike(first_K: Floats, second_K: Floats) -> float:
    deviations = float(first_K.std() * second_K.std())
    if deviations < 1e-9:
        return 0.0
    return float(np.mean((first_K - first_K.mean()) * (second_K - second_K.mean())) / deviations)


def _local(open_K: Floats, heard_K: Floats, times_s_K: Floats) -> list[tuple[float, float]]:
    """The middles of windows and how alike mouth and sound are in each."""
    wide, hop = round(WINDOW_S / STEP_S), round(HOP_S / STEP_S)
    begins = range(0, max(1, len(open_K) - wide + 1), hop)
    parts = [slice(begin, begin + wide) for begin in begins]
    return [(float(times_s_K[part].mean()), _alike(open_K[part], heard_K[part])) for part in parts]


def _finding(measured: dict[str, float]) -> Finding:
    out_of_time = not EARLY_MS <= measured["offset_ms"] <= LATE_MS
    return "unusual" if out_of_time and measured["confidence"] >= CLEAR else "ordinary"


def _shifts(shifts_s: NDArray[np.floating], alike_S: Floats) -> Curve:
    caption = "How alike mouth and loudness are if the sound is taken to be so late."
    return curve("shifts", caption, shifts_s, alike_S, ("s", ""))


def _moments(local: list[tuple[float, float]], measured: dict[str, float]) -> Curve:
    clear = measured["confidence"] >= CLEAR
    half_s = HOP_S / 2
    return curve(
        "moments",
        "How alike they are in the 2 s around each moment, at the best shift; where they part is marked.",
        np.array([middle_s for middle_s, _ in local]),
        np.array([each for _, each in local]),
        ("s", ""),
        spans=[(at_s - half_s, at_s + half_s) for at_s, each in local if clear and each < 0],
    )


def _in_words(measured: dict[str, float]) -> str:
    found = (
        f"a correlation of {measured['peak_correlation']:.2f}, {measured['confidence']:.2f} above the median"
    )
    if measured["confidence"] < CLEAR:
        return f"At no shift do mouth and loudness go together clearly: at best with {found}."
    offset_ms = measured["offset_ms"]
    late = (
        "in time"
        if abs(offset_ms) < 40
        else f"{abs(offset_ms):.0f} ms {'late' if offset_ms > 0 else 'early'}"
    )
    parted = (
        f"; they part in {measured['parted_share']:.0%} of the moments" if measured["parted_share"] else ""
    )
    return f"The sound is {late}: mouth and loudness go together with {found}{parted}."


ANALYZERS.register(
    "lips",
    Analyzer(
        name="lips",
        group="sync",
        summary="At which shift the sound goes with the lips, and where they part",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound and shows_moving_pictures(media),
        testify=testify,
    ),
)
