"""An experiment: the pulse in the colour of a face, and how sure one can be of it."""

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import TooShortError, UnclearError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.portraits import SKIN, portrait, shows_moving_pictures
from deepscan.media.source import Media
from deepscan.verdict import Evidence

MEASURES = ("pulse_per_minute", "snr_db", "agreement_correlation", "watched_s")

LEAST_S = 6.0
"""Shorter clips do not tell one rate from another."""

LEAST_SNR_DB = 2.5
"""Below, what is found is as likely noise; ``benchmarks/blinks.py`` prints how often noise reaches it."""

RATES_HZ = (0.7, 3.0)
"""Between 42 and 180 beats a minute."""

LIMITS = (
    "An experiment: compression, movement and light drown the pulse of most genuine clips, and what is "
    "periodic in the light is taken for one. A forgery may keep the pulse of the film it was made from. It "
    "says nothing of health."
)

_WINDOW_S = 1.6
_EVEN_HZ = 25.0
_BINS_HZ = 0.02
_WIDTH_HZ = 0.15

Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Look for the pulse of the face that a clip shows longest.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoFaceError: No face is seen, or too small a one.
        TooShortError: It is seen for less than ``LEAST_S``.
        UnclearError: The pulse is not told from noise.
        MediaError: The media does not decode.
    """
    seen = portrait(media)
    if seen.duration_s < LEAST_S:
        msg = f"The face in {media.facts.name!r} is seen for {seen.duration_s:.1f} s, not {LEAST_S:g} s."
        raise TooShortError(msg)
    even_s, skin_KR3 = _even(seen.times_s_T, seen.skin_TR3)
    waves = [pulse_wave(each_K3) for each_K3 in (skin_KR3.mean(axis=1), *skin_KR3.transpose(1, 0, 2))]
    rate_hz, snr_db = strongest(waves[0])
    if snr_db < LEAST_SNR_DB:
        msg = (
            f"No pulse is told from noise in {media.facts.name!r}: the signal is {snr_db:.1f} dB above the "
            f"noise, and {LEAST_SNR_DB:g} dB are needed. This is so of most compressed clips, genuine or not."
        )
        raise UnclearError(msg)
    figures = (60 * rate_hz, snr_db, _agreement(waves[1:]), seen.duration_s)
    measured = {name: float(value) for name, value in zip(MEASURES, figures, strict=True)}
    caption = "What the pulse is read from: the colour of the skin without light and movement, in deviations."
    shown = curve("pulse", caption, even_s, waves[0] / max(float(waves[0].std()), 1e-12), ("s", ""))
    summary = (
        f"The colour of the skin beats {measured['pulse_per_minute']:.0f} times a minute, {snr_db:.1f} dB "
        f"above the noise; its {len(SKIN)} places agree with a correlation of "
        f"{measured['agreement_correlation']:.2f}."
    )
    return Evidence(analyzer="pulse", summary=summary, measurements=measured, limits=LIMITS, curves=(shown,))


def pulse_wave(skin_K3: Floats) -> Floats:
    """Return the pulse in a mean colour of skin, float64 [K].

    Colours are divided by their mean over 1.6 s and projected on the plane orthogonal to the skin's tone
    (POS: Wang, den Brinker, Stuijk and de Haan, "Algorithmic principles of remote PPG", IEEE TBME 2017).

    Args:
        skin_K3: Mean RGB at 25 Hz, float64 [K, 3].
    """
    wide = min(round(_WINDOW_S * _EVEN_HZ), len(skin_K3))
    wave_K = np.zeros(len(skin_K3))
    for begin in range(len(skin_K3) - wide + 1):
        part_K3 = skin_K3[begin : begin + wide]
        red_K, green_K, blue_K = (part_K3 / np.maximum(part_K3.mean(axis=0), 1e-6)).T
        first_K, second_K = green_K - blue_K, green_K + blue_K - 2 * red_K
        beat_K = first_K + first_K.std() / max(float(second_K.std()), 1e-12) * second_K
        wave_K[begin : begin + wide] += beat_K - beat_K.mean()
    return wave_K


def strongest(wave_K: Floats) -> tuple[float, float]:
    """Return the strongest rate in hertz, and in decibels how far it is above all others.

    Its power is that around it and around its double (de Haan and Jeanne, "Robust pulse rate from
    chrominance-based rPPG", IEEE TBME 2013).

    Args:
        wave_K: At 25 Hz, float64 [K].
    """
    length = round(_EVEN_HZ / _BINS_HZ)
    power_F = (
        np.abs(np.fft.rfft((wave_K - wave_K.mean()) * np.hanning(len(wave_K)), max(length, len(wave_K)))) ** 2
    )
    rates_F = np.fft.rfftfreq(max(length, len(wave_K)), 1 / _EVEN_HZ)
    # What rises towards the end of the band is movement, whose peak lies beyond.
    tops_F = np.concatenate([[False], (np.diff(power_F)[:-1] > 0) & (np.diff(power_F)[1:] <= 0), [False]])
    in_band_F = tops_F & (rates_F >= RATES_HZ[0]) & (rates_F <= RATES_HZ[1])
    rate_hz = float(rates_F[int(np.argmax(np.where(in_band_F, power_F, -1.0)))])
    wide_hz = max(_WIDTH_HZ, 1.5 * _EVEN_HZ / len(wave_K))
    near_F = (np.abs(rates_F - rate_hz) <= wide_hz) | (np.abs(rates_F - 2 * rate_hz) <= wide_hz)
    heard_F = (rates_F >= RATES_HZ[0]) & (rates_F <= 4.0)
    signal, noise = (float(power_F[heard_F & which_F].sum()) for which_F in (near_F, ~near_F))
    return rate_hz, 10 * float(np.log10((signal + 1e-12) / (noise + 1e-12)))


def _even(times_s_T: Floats, skin_TR3: Floats) -> tuple[Floats, Floats]:
    even_s = np.arange(times_s_T[0], times_s_T[-1], 1 / _EVEN_HZ)
    flat_TF = skin_TR3.reshape(len(times_s_T), -1)
    columns = [np.interp(even_s, times_s_T, column_T) for column_T in flat_TF.T]
    return even_s, np.stack(columns, axis=1).reshape(len(even_s), *skin_TR3.shape[1:])


def _agreement(waves: list[Floats]) -> float:
    """The mean correlation of the waves of different places."""
    if min(float(wave_K.std()) for wave_K in waves) < 1e-12:
        return 0.0
    alike_RR = np.asarray(np.corrcoef(np.stack(waves)))
    return float(alike_RR[np.triu_indices(len(waves), 1)].mean())


ANALYZERS.register(
    "pulse",
    Analyzer(
        name="pulse",
        group="face",
        summary="The pulse in the colour of a face, an experiment that says how sure it is",
        measures=MEASURES,
        accepts=shows_moving_pictures,
        testify=testify,
    ),
)
