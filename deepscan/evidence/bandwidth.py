"""How high the sound reaches: a band that ends below what the file's rate can hold was cut on the way."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import own_rate
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

LEAST_S, MOST_S = 0.5, 20.0
BIN_HZ = 40.0
"""About how far apart the bins of the long-term spectrum are."""

NEAR_HZ, FAR_HZ = 100.0, 500.0
"""Between these distances from a frequency, levels on both sides are compared."""

LOWEST_HZ = 2000.0
CUT_DB = 18.0
"""A fall that steep is a filter: voices and rooms fell by at most 15 dB in 280 uncut utterances."""

CUT_SHARE = 0.9
"""Above this share of half the rate every recorder cuts, so that nothing folds back."""

RATES_HZ = (8000, 16000, 22050, 32000)
"""Rates in whose middle a cut tells that the sound came from there: telephones, speech, networks, codecs."""

LOSSLESS = ("wav", "flac", "aiff", "au", "caf")
"""Containers whose sound is rarely coded with loss; codecs cut by themselves."""

MEASURES = (
    "rate_hz",
    "band_limit_hz",
    "band_limit_share",
    "cut_db",
    *(f"fall_at_{rate_hz // 2}_hz_db" for rate_hz in RATES_HZ),
)
LIMITS = (
    "Codecs, telephones, old microphones and editing cut bands too, and a cut says nothing of who spoke. "
    "A network can also write sound up to the end of the band."
)

Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Find where the long-term spectrum of the first 20 s falls most steeply.

    Raises:
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than half a second.
        MediaError: It does not decode.
    """
    recording = own_rate(media, LEAST_S, MOST_S)
    hz_F, level_F = long_term(recording.wave_N, recording.rate_hz)
    found_hz, fall_F = _falls(hz_F, level_F)
    steepest = int(fall_F.argmax()) if len(fall_F) else 0
    cut_db = float(fall_F[steepest]) if len(fall_F) else 0.0
    half_hz = recording.rate_hz / 2
    limit_hz = float(found_hz[steepest]) if cut_db >= CUT_DB else half_hz
    at_rates = [_at(found_hz, fall_F, rate_hz / 2) for rate_hz in RATES_HZ]
    values = [float(recording.rate_hz), limit_hz, limit_hz / half_hz, cut_db, *at_rates]
    cut = limit_hz < CUT_SHARE * half_hz
    lossless = media.facts.container in LOSSLESS
    finding: Finding = "unusual" if cut and lossless else "ordinary"
    return Evidence(
        analyzer="bandwidth",
        summary=_in_words(limit_hz, recording.rate_hz, cut_db, lossless),
        measurements=dict(zip(MEASURES, values, strict=True)),
        limits=LIMITS,
        finding=finding,
        curves=(
            curve(
                "spectrum",
                "The long-term spectrum; what is marked holds nothing of the sound.",
                hz_F,
                level_F,
                ("hz", "db"),
                [(limit_hz, half_hz)] if cut else [],
            ),
        ),
    )


def long_term(wave_N: NDArray[np.floating], rate_hz: int) -> tuple[Floats, Floats]:
    """Return the mean power spectrum, its frequencies [F] and levels in dB of full scale a bin [F]."""
    length = min(2 ** round(np.log2(rate_hz / BIN_HZ)), len(wave_N))
    frames = sliding_window_view(wave_N, length)[:: max(1, length // 2)]
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(length))) ** 2, 0) / length**2
    hz_F = np.fft.rfftfreq(length, 1 / rate_hz).astype(np.float64)
    return hz_F, 10 * np.log10(power + 1e-15)


def _falls(hz_F: Floats, level_F: Floats) -> tuple[Floats, Floats]:
    """Return how many dB lower the levels above each frequency are than those below it."""
    near, far = (max(1, round(hz / hz_F[1])) for hz in (NEAR_HZ, FAR_HZ))
    middle = np.arange(far, len(level_F) - far)
    middle = middle[hz_F[middle] >= LOWEST_HZ]
    total = np.concatenate([[0.0], np.cumsum(level_F)])
    below = total[middle - near + 1] - total[middle - far + 1]
    above = total[middle + far] - total[middle + near]
    return hz_F[middle], (below - above) / max(1, far - near)


def _at(found_hz: Floats, fall_F: Floats, hz: float) -> float:
    """The steepest fall close to a frequency; 0 where the spectrum does not reach so far."""
    close = fall_F[np.abs(found_hz - hz) <= FAR_HZ]
    reached = len(found_hz) > 0 and hz <= found_hz[-1]
    return float(close.max()) if reached and len(close) else 0.0


def _in_words(limit_hz: float, rate_hz: int, cut_db: float, lossless: bool) -> str:
    half_hz = rate_hz / 2
    if limit_hz >= CUT_SHARE * half_hz:
        return f"The sound fills the band of its rate of {rate_hz} Hz, up to {half_hz / 1000:.1f} kHz."
    cause = "it came from a lower rate or a codec" if lossless else "as codecs do"
    return (
        f"The sound ends at {limit_hz / 1000:.1f} kHz by a fall of {cut_db:.0f} dB, although its rate of "
        f"{rate_hz} Hz reaches {half_hz / 1000:.1f} kHz: {cause}."
    )


ANALYZERS.register(
    "bandwidth",
    Analyzer(
        name="bandwidth",
        group="sound",
        summary="Where the band of the sound ends, and whether that fits the rate of the file",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
