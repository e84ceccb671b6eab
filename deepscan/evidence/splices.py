"""Where sound may have been cut: other backgrounds before and after, clicks, stretches of digital silence."""

import dataclasses

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import own_rate
from deepscan.media.periodicity import residual
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

LEAST_S, MOST_S = 1.0, 60.0
STEP_S, FRAME_S = 0.02, 0.032
BANDS, BAND_HZ = 20, (80.0, 7600.0)
BLOCK, QUIET_PERCENT = 200, 8
"""The quietest frames of every 4 s are taken for background."""

REACH, LEAST_FRAMES = 1000, 12
"""Backgrounds are compared over at most 20 s on either side, and from so many quiet frames on."""

LEAST_VARIANCE = 4.0
"""In dB squared: a background that is steadier than this is as good as steady."""

CLICK_MS, AROUND_MS = 3, 25
"""A click is over in less than the first, and is compared with what is up to the second away."""

FLOOR = 3e-4
"""Residuals below this are no click: ten steps of 16 bits."""

SILENCE_S = 0.01
"""Equal samples for so long are no recording of a room."""

BACKGROUND_DEVIATIONS, CLICK_DB = 2.3, 26.0
"""One in about 40 genuine recordings exceeds the first, one in about 40 the second."""

MEASURES = (
    "background_change_deviations",
    "background_change_s",
    "click_db",
    "click_s",
    "clicks_per_minute",
    "silence_share",
    "inner_silence_ms",
)
LIMITS = (
    "Doors, engines, automatic gain and noise suppression change backgrounds too, lips and switches "
    "click, and encoders write silence. A cut within one recording, or one that was faded over, may leave "
    "nothing. Times are those of the pauses around a cut."
)

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How much backgrounds before and after a time differ, float64 [T], and when, in seconds [T]."""

    deviations: Floats
    evidence: Floats
    time_s: Floats


def testify(media: Media) -> Evidence:
    """Look for cuts in the first minute.

    ``background_change_deviations`` is the change of the background's spectrum in its own standard
    deviations, root mean square over 20 bands, where it is surest; ``click_db`` how far the sharpest click
    stands out of the 25 ms around it; ``inner_silence_ms`` the longest run of equal samples that is neither
    at the begin nor at the end. Times are 0 where there is nothing.

    Raises:
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than a second.
        MediaError: It does not decode.
    """
    recording = own_rate(media, LEAST_S, MOST_S)
    wave_N, rate_hz = recording.wave_N, recording.rate_hz
    change = background(wave_N, rate_hz)
    surest = int(change.evidence.argmax())
    click_T = clicks(wave_N, rate_hz)
    sharpest = int(click_T.argmax())
    runs = [(begin / rate_hz, end / rate_hz) for begin, end in silences(wave_N, rate_hz)]
    inner = [end - begin for begin, end in runs if begin > 0 and end < recording.duration_s]
    found = click_T > CLICK_DB
    values = [
        float(change.deviations[surest]),
        float(change.time_s[surest]),
        float(click_T[sharpest]),
        sharpest / 1000 if click_T[sharpest] > 0 else 0.0,
        float(np.count_nonzero(found[1:] & ~found[:-1])) * 60 / recording.duration_s,
        sum(end - begin for begin, end in runs) / recording.duration_s,
        1000 * max(inner, default=0.0),
    ]
    measured = dict(zip(MEASURES, values, strict=True))
    spans = _spans(measured, runs, recording.duration_s)
    finding: Finding = "unusual" if spans else "ordinary"
    return Evidence(
        analyzer="splices",
        summary=_in_words(measured, spans),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        curves=(
            curve(
                "background",
                "How much the background before differs from that after; marked are possible cuts.",
                change.time_s,
                change.deviations,
                ("s", ""),
                spans,
            ),
        ),
    )


def background(wave_N: NDArray[np.floating], rate_hz: int) -> Change:
    """Compare the quietest frames before every time with those after it."""
    level_TB = _bands(wave_N, rate_hz)
    whole = level_TB.mean(1)
    limit = scipy.ndimage.percentile_filter(whole, QUIET_PERCENT, size=min(BLOCK, len(whole)), mode="reflect")
    quiet = np.flatnonzero(whole <= limit)
    times = np.arange(0, len(whole), 5)
    before, middle, after = (np.searchsorted(quiet, times + shift) for shift in (-REACH, 0, REACH))
    enough = (middle - before >= LEAST_FRAMES) & (after - middle >= LEAST_FRAMES)
    deviations, sure = np.zeros(len(times)), np.zeros(len(times))
    if enough.any():
        ends = before[enough], middle[enough], after[enough]
        deviations[enough], sure[enough] = _differences(level_TB[quiet], *ends)
    return Change(deviations, sure, (times * STEP_S + FRAME_S / 2).astype(np.float64))


def clicks(wave_N: NDArray[np.floating], rate_hz: int) -> Floats:
    """Return how far the prediction error of each millisecond stands out, in dB, float64 [ms]."""
    length = max(1, rate_hz // 1000)
    error = np.abs(residual(wave_N))
    error[: CLICK_MS * length] = 0
    peaks = error[: len(error) // length * length].reshape(-1, length).max(1)
    reach = AROUND_MS - CLICK_MS
    around = scipy.ndimage.maximum_filter1d(peaks, 2 * (reach // 2) + 1)
    away = CLICK_MS + reach // 2
    sides = np.maximum(_shifted(around, away), _shifted(around, -away))
    return np.asarray(20 * np.log10(np.maximum(peaks, FLOOR) / np.maximum(sides, FLOOR)), np.float64)


def silences(wave_N: NDArray[np.floating], rate_hz: int) -> list[tuple[int, int]]:
    """Return begin and end, in samples, of the stretches in which all samples are equal."""
    same = np.concatenate([[False], np.diff(wave_N) == 0, [False]])
    edges = np.flatnonzero(np.diff(same.astype(np.int8))).reshape(-1, 2)
    return [(int(a), int(b) + 1) for a, b in edges if b - a >= SILENCE_S * rate_hz]


def _bands(wave_N: NDArray[np.floating], rate_hz: int) -> Floats:
    length = 2 ** round(np.log2(rate_hz * FRAME_S))
    frames = sliding_window_view(wave_N, length)[:: round(rate_hz * STEP_S)]
    power = np.abs(scipy.fft.rfft(frames * np.hanning(length).astype(np.float32))) ** 2 / length**2
    top_hz = min(BAND_HZ[1], 0.47 * rate_hz)
    edges = np.unique(np.round(np.geomspace(BAND_HZ[0], top_hz, BANDS + 1) * length / rate_hz).astype(int))
    summed = np.add.reduceat(power, edges, axis=1)[:, :-1] / np.diff(edges)
    return np.asarray(10 * np.log10(summed + 1e-12), np.float64)


def _differences(
    level_QB: Floats, begin: NDArray[np.intp], middle: NDArray[np.intp], end: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Difference of two means in pooled deviations, and its generalised likelihood ratio, over all bands."""
    first, second = (np.pad(np.cumsum(level_QB**power, 0), ((1, 0), (0, 0))) for power in (1, 2))
    before, after = (middle - begin)[:, None], (end - middle)[:, None]
    mean_before, mean_after = (first[middle] - first[begin]) / before, (first[end] - first[middle]) / after
    squares = second[end] - second[begin] - before * mean_before**2 - after * mean_after**2
    variance = np.maximum(squares / (before + after - 2), LEAST_VARIANCE)
    effect = (mean_after - mean_before) ** 2 / variance
    sure = effect * before * after / (before + after)
    return np.sqrt(effect.mean(1)), np.sqrt(sure.mean(1))


def _shifted(values_T: Floats, by: int) -> Floats:
    moved = np.zeros_like(values_T)
    if by > 0:
        moved[by:] = values_T[:-by]
    else:
        moved[:by] = values_T[-by:]
    return moved


def _spans(
    measured: dict[str, float], runs: list[tuple[float, float]], duration_s: float
) -> list[tuple[float, float]]:
    spans = [(begin, end) for begin, end in runs if begin > 0 and end < duration_s]
    if measured["background_change_deviations"] > BACKGROUND_DEVIATIONS:
        spans.append(_around(measured["background_change_s"], 0.5))
    if measured["click_db"] > CLICK_DB:
        spans.append(_around(measured["click_s"], 0.02))
    return sorted(spans)


def _around(time_s: float, reach_s: float) -> tuple[float, float]:
    return max(0.0, time_s - reach_s), time_s + reach_s


def _in_words(measured: dict[str, float], spans: list[tuple[float, float]]) -> str:
    deviations = measured["background_change_deviations"]
    told = []
    if deviations > BACKGROUND_DEVIATIONS:
        told.append(
            f"the background changes by {deviations:.1f} of its deviations at about "
            f"{measured['background_change_s']:.1f} s"
        )
    if measured["click_db"] > CLICK_DB:
        told.append(f"a click of {measured['click_db']:.0f} dB at {measured['click_s']:.2f} s")
    if measured["inner_silence_ms"]:
        told.append(f"a digital silence of {measured['inner_silence_ms']:.0f} ms within")
    if not spans:
        return (
            f"No sign of a cut: the background changes by {deviations:.1f} of its deviations, nothing clicks."
        )
    return f"Possible cuts: {'; '.join(told)}."


ANALYZERS.register(
    "splices",
    Analyzer(
        name="splices",
        group="sound",
        summary="Changes of the background, clicks and digital silence, where sound may have been cut",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
