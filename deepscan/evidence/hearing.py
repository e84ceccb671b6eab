"""What analyzers of sound ask for before they measure: enough of it, and that it is not silent."""

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoSoundError, TooShortError
from deepscan.media.sound import SOUND_RATE_HZ, Recording
from deepscan.media.source import Media

SILENT = 1e-5
"""A peak below this is no sound: it is less than one step of 16 bits."""


def own_rate(media: Media, least_s: float, most_s: float) -> Recording:
    """Return the begin of the sound at the rate of its file.

    Raises:
        NoSoundError: There is none, or nothing but silence.
        TooShortError: It is shorter than ``least_s``.
        MediaError: It does not decode.
    """
    recording = media.recording
    wave_N = recording.wave_N[: round(most_s * recording.rate_hz)]
    _check(media, wave_N, least_s * recording.rate_hz, least_s)
    return Recording(wave_N, recording.rate_hz)


def common_rate(media: Media, least_s: float, most_s: float) -> NDArray[np.float32]:
    """Return the begin of the sound at ``SOUND_RATE_HZ``; raises what ``own_rate`` does."""
    wave_N = media.sound_N[: round(most_s * SOUND_RATE_HZ)]
    _check(media, wave_N, least_s * SOUND_RATE_HZ, least_s)
    return wave_N


def _check(media: Media, wave_N: NDArray[np.float32], least: float, least_s: float) -> None:
    if len(wave_N) < least:
        msg = f"{media.facts.name!r} holds less than {least_s:g} s of sound, too little for this measure."
        raise TooShortError(msg)
    if np.abs(wave_N).max() < SILENT:
        msg = f"{media.facts.name!r} holds nothing but silence."
        raise NoSoundError(msg)
