"""Traces of resampling: interpolated samples are predicted better, with the period of the factor."""

import math

import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import own_rate
from deepscan.media.periodicity import Floats, levelled, lines, residual
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

LEAST_S, MOST_S = 1.0, 20.0

LOWEST, HIGHEST = 0.02, 0.498
"""Range of the search in cycles a sample; below, voices have lines of their own."""

LINE_DB = 13.5
"""Higher lines are unusual: noise alone reaches 11 dB among so many bins."""

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
POINTS = 400

MEASURES = ("line_db", "line_cycles_per_sample", "line_lead_db", "source_rate_hz")
LIMITS = (
    "Good converters leave hardly any trace, halving the rate leaves none, coding with loss hides it, and "
    "honest editing resamples too. Steady electronic tones can make such a line, and several rates can "
    "share one."
)


def testify(media: Media) -> Evidence:
    """Find the highest line in the spectrum of the prediction error's size, over the first 20 s.

    A sound brought from rate a to rate b has it at a / b cycles a sample (Kirchner, 2008), folded below 1/2.
    ``line_lead_db`` is its lead over the highest that is not next to it; ``source_rate_hz`` is the usual rate
    nearest to what the line tells, 0 where it tells none of them.

    Raises:
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than a second.
        MediaError: It does not decode.
    """
    recording = own_rate(media, LEAST_S, MOST_S)
    lines_F = lines(np.abs(levelled(residual(recording.wave_N))))
    cycles_F = np.arange(len(lines_F)) / (2 * (len(lines_F) - 1))
    inside = (cycles_F > LOWEST) & (cycles_F < HIGHEST)
    cycles, level_db = cycles_F[inside], 10 * np.log10(np.maximum(lines_F[inside], 1e-3))
    best = int(level_db.argmax())
    others = np.abs(np.arange(len(level_db)) - best) > 4
    line_db, at = float(level_db[best]), float(cycles[best])
    source_hz = _source(at, recording.rate_hz) if line_db > LINE_DB else 0
    values = [line_db, at, line_db - float(level_db[others].max()), float(source_hz)]
    finding: Finding = "unusual" if line_db > LINE_DB else "ordinary"
    return Evidence(
        analyzer="resampled_sound",
        summary=_in_words(line_db, at, source_hz, recording.rate_hz),
        measurements=dict(zip(MEASURES, values, strict=True)),
        limits=LIMITS,
        finding=finding,
        curves=(
            curve(
                "periods",
                "The highest line near each frequency in the size of the prediction error; one stands out.",
                _pooled(cycles) * recording.rate_hz,
                _pooled(level_db),
                ("hz", "db"),
            ),
        ),
    )


def _pooled(values_F: Floats) -> Floats:
    return np.array([piece.max() for piece in np.array_split(values_F, POINTS)])


def _source(cycles: float, rate_hz: int) -> int:
    """Return the usual rate whose sound, brought to ``rate_hz``, has its line there; 0 = none."""
    apart = {hz: abs(abs(hz / rate_hz - round(hz / rate_hz)) - cycles) for hz in RATES_HZ if hz != rate_hz}
    # Sound that was brought down has weaker lines, so rates below come first.
    close = [hz for hz in apart if apart[hz] < 1e-4]
    return min(close, key=lambda hz: (hz > rate_hz, abs(math.log(hz / rate_hz))), default=0)


def _in_words(line_db: float, cycles: float, source_hz: int, rate_hz: int) -> str:
    if line_db <= LINE_DB:
        return f"No period of an interpolation was found (the highest line has {line_db:.1f} dB)."
    told = f", as if brought from {source_hz} Hz to {rate_hz} Hz" if source_hz else ""
    period = f"a period of {1 / cycles:.3f} samples (a line of {line_db:.1f} dB)"
    return f"The sound follows {period}{told}: interpolation leaves such."


ANALYZERS.register(
    "resampled_sound",
    Analyzer(
        name="resampled_sound",
        group="sound",
        summary="Periods that an interpolation to another rate or speed leaves in the samples",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
