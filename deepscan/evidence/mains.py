"""Hum of the mains: how strong, of which frequency, and where its phase jumps because something was cut."""

import dataclasses
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import NoHumError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import common_rate
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding

LEAST_S, MOST_S = 4.0, 60.0
HARMONICS = {50: (1, 2, 3, 4, 5, 7, 8), 60: (1, 2, 3, 4, 6, 7, 8)}
"""Harmonics by frequency of the mains; 300 Hz belongs to both and tells nothing."""

LOW_RATE_HZ, STEP = 1000, 40
"""Rate at which hum is looked for, and samples of it from one value of a harmonic to the next."""

WINDOW_MS = 200
GUARD = WINDOW_MS // STEP // 2
"""Values that are left out on either side of a jump, because the window smears it over them."""

DRIFT_HZ = 0.25
"""The mains, and the clocks of recorders, stray no further."""

POINTS = 4096
PRESENT_DB = 15.0
"""The weaker search, for 50 Hz where the mains have 60, stays below in nearly all recordings."""

SIDE_S = 2.0
"""Time on either side over which phases are compared."""

JUMP_DEG = 75.0
STEADY = 0.8
"""Phases are compared where the hum keeps its own so well, of at most 1, on either side."""

MEASURES = (
    "hum_db",
    "mains_hz",
    "harmonic_hz",
    "frequency_deviation_hz",
    "phase_jump_deg",
    "phase_jump_s",
    "steady_share",
)
LIMITS = (
    "A hum says that something was recorded near the mains, its absence nothing; it can be mixed in. "
    "Without the grid operator's record its frequency tells no date. A cut may by chance meet the phase, "
    "and loud speech close to a harmonic turns it."
)

Floats = NDArray[np.float64]
Phasors = NDArray[np.complex128]
Indices = NDArray[np.intp]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Hum:
    """The strongest hum.

    Attributes:
        level_db: Mean of its two strongest harmonics over the level of their neighbourhood.
        mains_hz: 50 or 60.
        exact_hz: Where the fundamental is.
        harmonic: Number of the strongest harmonic.
        phasors: That harmonic, brought to 0 Hz, every ``STEP`` / ``LOW_RATE_HZ`` seconds, complex128 [T].
    """

    level_db: float
    mains_hz: int
    exact_hz: float
    harmonic: int
    phasors: Phasors


def testify(media: Media) -> Evidence:
    """Find the hum in the first minute and follow its strongest harmonic.

    Raises:
        NoHumError: No hum stands out by ``PRESENT_DB``.
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than four seconds.
        MediaError: It does not decode.
    """
    hum = find(common_rate(media, LEAST_S, MOST_S))
    if hum.level_db < PRESENT_DB:
        msg = (
            f"{media.facts.name!r} carries no hum of the mains: the strongest lines at multiples of 50 and "
            f"60 Hz have {hum.level_db:.1f} dB, {PRESENT_DB:g} dB are needed."
        )
        raise NoHumError(msg)
    time_s, frequency_hz = frequency(hum)
    jump_deg, steady = jumps(hum)
    at = int(np.abs(jump_deg).argmax())
    size_deg = abs(float(jump_deg[at]))
    values = [
        hum.level_db,
        float(hum.mains_hz),
        hum.exact_hz * hum.harmonic,
        float(np.nanstd(frequency_hz)) if np.isfinite(frequency_hz).any() else 0.0,
        size_deg,
        float(time_s[at]) if size_deg else 0.0,
        float(steady.mean()),
    ]
    measured = dict(zip(MEASURES, values, strict=True))
    finding: Finding = "unusual" if size_deg > JUMP_DEG else "ordinary"
    return Evidence(
        analyzer="mains",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        curves=_curves(time_s, frequency_hz, jump_deg, measured),
    )


def find(wave_N: NDArray[np.floating]) -> Hum:
    """Search both frequencies of mains for the hum whose two strongest harmonics stand out most.

    Args:
        wave_N: Sound at 16 kHz.
    """
    import scipy.signal

    low_N = scipy.signal.resample_poly(wave_N.astype(np.float64), 1, SOUND_RATE_HZ // LOW_RATE_HZ)
    return max((_search(low_N, mains_hz) for mains_hz in HARMONICS), key=lambda hum: hum.level_db)


def frequency(hum: Hum) -> tuple[Floats, Floats]:
    """Return times in seconds and the fundamental in hertz, NaN where it cannot be told, float64 [T] each."""
    before, after = _sides(hum, SIDE_S / 2)
    turn = np.angle(after * np.conj(before))
    apart_s = SIDE_S / 2
    told = np.minimum(np.abs(before), np.abs(after)) > STEADY
    hz = hum.exact_hz + turn / (2 * np.pi * apart_s * hum.harmonic)
    return np.arange(len(hz)) * STEP / LOW_RATE_HZ, np.where(told, hz, np.nan)


def jumps(hum: Hum) -> tuple[Floats, NDArray[np.bool_]]:
    """Return by how many degrees the harmonic's phase jumps at each time, and where that can be told.

    How fast the phase drifts is measured within either side, and taken off what lies between their middles.
    """
    before, after = _sides(hum, SIDE_S)
    steady = np.minimum(np.abs(before), np.abs(after)) > STEADY
    weighted, length = _weighted(hum.phasors), round(SIDE_S * LOW_RATE_HZ / STEP)
    lag = length // 2
    advance = np.pad(weighted[lag:] * np.conj(weighted[:-lag]), (0, lag))
    total = np.concatenate([[0], np.cumsum(advance)])
    drift = sum(_between(total, begin, begin + length - lag) for begin, _ in _ends(len(weighted), length))
    turned = np.angle(after * np.conj(before)) - np.angle(drift) * (length + 2 * GUARD) / lag
    return np.where(steady, np.degrees(np.angle(np.exp(1j * turned))), 0.0), np.asarray(steady)


def _search(low_N: Floats, mains_hz: int) -> Hum:
    grid_hz = np.arange(-DRIFT_HZ, DRIFT_HZ + 1e-9, 0.01)
    phasors = {k: _demodulated(low_N, k * mains_hz) for k in HARMONICS[mains_hz]}
    level_KG = np.array([_levels(found, k * grid_hz, 1.5 + 0.1 * k) for k, found in phasors.items()])
    together = np.sort(level_KG, axis=0)[-2:].mean(0)
    best = int(together.argmax())
    harmonic = list(phasors)[int(level_KG[:, best].argmax())]
    exact_hz = mains_hz + float(grid_hz[best])
    return Hum(float(together[best]), mains_hz, exact_hz, harmonic, _demodulated(low_N, harmonic * exact_hz))


def _demodulated(low_N: Floats, hz: float) -> Phasors:
    import scipy.signal

    window = np.hanning(WINDOW_MS + 1)
    turned = low_N * np.exp(-2j * np.pi * hz / LOW_RATE_HZ * np.arange(len(low_N)))
    return np.asarray(scipy.signal.fftconvolve(turned, window / window.sum(), "same")[::STEP], np.complex128)


def _weighted(phasors: Phasors) -> Phasors:
    """Divide by the local power: a steady line is estimated best where little else sounds."""
    power = scipy.ndimage.uniform_filter1d(np.abs(phasors) ** 2, 9)
    return np.asarray(phasors / np.maximum(np.maximum(power, np.percentile(power, 10)), 1e-20), np.complex128)


def _levels(phasors: Phasors, shift_hz: Floats, near_hz: float) -> Floats:
    """Power at some distances from the harmonic, in dB over the median of those up to 5 Hz away."""
    power = np.abs(scipy.fft.fft(_weighted(phasors) * np.hanning(len(phasors)), POINTS)) ** 2
    hz = scipy.fft.fftfreq(POINTS, STEP / LOW_RATE_HZ)
    away = (np.abs(hz) > near_hz) & (np.abs(hz) < 5)
    level = np.median(power[away]) / np.log(2)
    found = power[np.rint(shift_hz * POINTS * STEP / LOW_RATE_HZ).astype(int)]
    return np.asarray(10 * np.log10(np.maximum(found / max(level, 1e-30), 1.0)), np.float64)


def _sides(hum: Hum, side_s: float) -> tuple[Phasors, Phasors]:
    """Mean phasor of the time before and after each value, of size 1 where the phase stands still."""
    length = max(2, round(side_s * LOW_RATE_HZ / STEP))
    weighted = _weighted(hum.phasors)
    total = np.concatenate([[0], np.cumsum(weighted)])
    size = np.concatenate([[0], np.cumsum(np.abs(weighted))])
    before, after = (
        np.where(
            (begin >= 0) & (end <= len(weighted)),
            _between(total, begin, end) / np.maximum(_between(size, begin, end), 1e-30),
            0,
        )
        for begin, end in _ends(len(weighted), length)
    )
    return before, after


def _ends(count: int, length: int) -> list[tuple[Indices, Indices]]:
    """Return where the sides of each value begin and end, before it and after it."""
    middle = np.arange(count)
    return [(middle - GUARD - length, middle - GUARD), (middle + GUARD, middle + GUARD + length)]


def _between(total: NDArray[Any], begin: Indices, end: Indices) -> NDArray[Any]:
    low, high = (np.clip(each, 0, len(total) - 1) for each in (begin, end))
    return np.asarray(total[high] - total[low])


def _curves(
    time_s: Floats, frequency_hz: Floats, jump_deg: Floats, measured: dict[str, float]
) -> tuple[Curve, ...]:
    at_s = measured["phase_jump_s"]
    spans = [(max(0.0, at_s - 0.5), at_s + 0.5)] if measured["phase_jump_deg"] > JUMP_DEG else []
    return (
        curve(
            "frequency",
            "The frequency of the mains as the hum has it; gaps are where it cannot be told.",
            time_s,
            frequency_hz,
            ("s", "hz"),
        ),
        curve("jumps", "By how much the phase of the hum jumps.", time_s, jump_deg, ("s", "deg"), spans),
    )


def _in_words(measured: dict[str, float]) -> str:
    hum = (
        f"A hum of {measured['mains_hz']:.0f} Hz mains, {measured['hum_db']:.0f} dB over its neighbourhood, "
        f"strongest at {measured['harmonic_hz']:.1f} Hz"
    )
    jump = f"{measured['phase_jump_deg']:.0f} degrees"
    if measured["phase_jump_deg"] > JUMP_DEG:
        return f"{hum}; its phase jumps by {jump} at {measured['phase_jump_s']:.1f} s."
    return f"{hum}; its phase does not jump by more than {jump}."


ANALYZERS.register(
    "mains",
    Analyzer(
        name="mains",
        group="sound",
        summary="Hum of 50 or 60 Hz mains: its level, its frequency over time and jumps of its phase",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
