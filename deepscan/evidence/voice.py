"""How steady a voice is: pitch, its perturbations, tilt, breath and pauses, window by window."""

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import TooShortError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.source import Media
from deepscan.media.voice import NAMES, RATE_HZ, measure
from deepscan.verdict import Curve, Evidence

WINDOW_S, LONGEST_S = 4.0, 60.0
LEAST_S = 0.5
SHOWN = {
    "pitch_median_hz": "hz",
    "jitter_percent": "%",
    "shimmer_percent": "%",
    "harmonics_to_noise_db": "db",
    "tilt_db_per_octave": "db per octave",
}
"""Measures that are shown over the windows, and their units."""

LIMITS = (
    "Rooms, microphones, codecs, illness and acting change all of these; a voice within the usual ranges may "
    "be synthetic, and one outside of them genuine. Compare with recordings of the same speaker."
)


def testify(media: Media) -> Evidence:
    """Measure the voice in windows of 4 s, at most the first minute; ``_spread`` is their deviation.

    Raises:
        NoSoundError: There is no sound.
        TooShortError: It is shorter than half a second.
        MediaError: It does not decode.
    """
    sound_N = media.sound_N[: round(LONGEST_S * RATE_HZ)]
    if len(sound_N) < LEAST_S * RATE_HZ:
        msg = f"{media.facts.name!r} holds less than {LEAST_S:g} s of sound, too little to measure a voice."
        raise TooShortError(msg)
    windows = _windows(sound_N)
    measured = [measure(window_N) for window_N in windows]
    means = {name: float(np.mean([each[name] for each in measured])) for name in NAMES}
    spreads = {f"{name}_spread": float(np.std([each[name] for each in measured])) for name in NAMES}
    return Evidence(
        analyzer="voice",
        summary=_in_words(means),
        measurements=means | spreads,
        limits=LIMITS,
        curves=_curves(windows, measured),
    )


def _windows(sound_N: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    count = max(1, round(len(sound_N) / (WINDOW_S * RATE_HZ)))
    return np.array_split(sound_N, count)


def _curves(windows: list[NDArray[np.float32]], measured: list[dict[str, float]]) -> tuple[Curve, ...]:
    """Each measure at the middle of its windows; gaps are windows without a pitch."""
    lengths_s = np.array([len(window_N) for window_N in windows]) / RATE_HZ
    middle_s = np.cumsum(lengths_s) - lengths_s / 2
    voiced = np.array([each["voiced_share"] > 0 for each in measured])
    return tuple(
        curve(
            name,
            f"{name.replace('_', ' ').capitalize()} in windows of about {WINDOW_S:g} s; gaps hold no voice.",
            middle_s,
            np.where(voiced, [each[name] for each in measured], np.nan),
            ("s", unit),
        )
        for name, unit in SHOWN.items()
    )


def _in_words(means: dict[str, float]) -> str:
    if means["voiced_share"] == 0:
        return "No voice with a pitch was heard."
    return (
        f"A voice of about {means['pitch_median_hz']:.0f} Hz that moves over "
        f"{means['pitch_range_semitones']:.1f} semitones; its periods differ by "
        f"{means['jitter_percent']:.1f} % in length and {means['shimmer_percent']:.1f} % in amplitude; "
        f"{means['pauses_per_minute']:.0f} pauses and {means['breaths_per_minute']:.0f} breaths a minute."
    )


ANALYZERS.register(
    "voice",
    Analyzer(
        name="voice",
        group="voice",
        summary="Pitch, jitter, shimmer, spectral tilt, breaths and pauses of a voice",
        measures=(*NAMES, *(f"{name}_spread" for name in NAMES)),
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
