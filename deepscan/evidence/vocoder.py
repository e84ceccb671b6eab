"""Traces of vocoders that write sound block by block: tones and levels that follow the blocks."""

import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.hearing import own_rate
from deepscan.media.periodicity import Floats, lattice, levelled, lines, residual
from deepscan.media.source import Media
from deepscan.verdict import Curve, Evidence, Finding

LEAST_S, MOST_S = 1.0, 20.0

BLOCKS_HZ = (62.5, 75.0, 80.0, 22050 / 256, 93.75, 100.0, 110.25)
"""Blocks a second of the usual pairs of rate and hop, such as 22,050 Hz in hops of 256 samples."""

COARSE_HZ = (2000.0, 22050 / 8, 3000.0)
"""What the networks' last stages repeat: eight samples of 16,000, 22,050 and 24,000 Hz."""

LOWEST_HZ = 1000.0
"""Tones of the mains and of voices lie below."""

TONES_SIGMAS = 4.0
LEVELS_SIGMAS = 5.0
COARSE_DB = 22.0
MIRRORED = 0.06
"""Of 76 genuine recordings, tones and coarse tones were above these in two, levels and mirrors in none."""

MEASURES = (
    "tones_sigmas",
    "tones_block_hz",
    "levels_sigmas",
    "levels_block_hz",
    "coarse_tone_db",
    "mirror_correlation",
)
LIMITS = (
    "Codecs that work in blocks and steady whistles leave similar lines, and a vocoder without them (or "
    "sound that was coded, filtered or played back since) shows nothing. Block rates that are not looked "
    "for are not found."
)


def testify(media: Media) -> Evidence:
    """Look for lines at the multiples of block rates, in the sound itself and in the course of its level.

    ``tones_sigmas`` and ``levels_sigmas`` are the highest of ``periodicity.lattice`` over ``BLOCKS_HZ`` and
    their doubles; ``coarse_tone_db`` is the strongest line at a multiple of ``COARSE_HZ`` over its
    neighbourhood; ``mirror_correlation`` correlates the fine structure of the lower half of the band with the
    mirrored upper half.

    Raises:
        NoSoundError: There is no sound, or nothing but silence.
        TooShortError: It is shorter than a second.
        MediaError: It does not decode.
    """
    recording = own_rate(media, LEAST_S, MOST_S)
    even_N = levelled(residual(recording.wave_N))
    tones_F, levels_F = lines(even_N), lines(np.abs(even_N))
    tones, tones_hz = _strongest(tones_F, recording.rate_hz, LOWEST_HZ)
    levels, levels_hz = _strongest(levels_F, recording.rate_hz, 0.0)
    coarse_db = max(_line_db(tones_F, recording.rate_hz, hz) for hz in COARSE_HZ)
    values = [tones, tones_hz, levels, levels_hz, coarse_db, mirrored(even_N)]
    traces = _traces(dict(zip(MEASURES, values, strict=True)))
    finding: Finding = "unusual" if traces else "ordinary"
    return Evidence(
        analyzer="vocoder",
        summary=_in_words(traces, tones),
        measurements=dict(zip(MEASURES, values, strict=True)),
        limits=LIMITS,
        finding=finding,
        curves=(_comb(tones_F, recording.rate_hz, tones_hz),),
    )


def mirrored(even_N: Floats, length: int = 512) -> float:
    """Return how alike the lower half of the band and the mirrored upper half are, [-1, 1].

    Up-sampling without a filter repeats harmonics as their mirror image. The correlation is that of the fine
    structure of log spectra, averaged over frames.
    """
    import scipy.ndimage

    frames = even_N[: len(even_N) // length * length].reshape(-1, length) * np.hanning(length)
    log = np.log(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    fine = log - scipy.ndimage.uniform_filter1d(log, 15, axis=1)
    half = length // 4
    low, high = fine[:, 8 : half - 8], fine[:, half + 9 : -8][:, ::-1]
    return float((low * high).mean() / np.sqrt((low**2).mean() * (high**2).mean() + 1e-12))


def _strongest(lines_F: Floats, rate_hz: int, lowest_hz: float) -> tuple[float, float]:
    found = [
        (lattice(lines_F, hz / rate_hz, lowest_hz / rate_hz), hz)
        for base_hz in BLOCKS_HZ
        for hz in (base_hz, 2 * base_hz)
        if lowest_hz + 8 * hz < rate_hz / 2
    ]
    return max(found, default=(0.0, BLOCKS_HZ[0]))


def _at(lines_F: Floats, rate_hz: int, spacing_hz: float, lowest_hz: float) -> tuple[Floats, Floats]:
    hz = np.arange(np.ceil(lowest_hz / spacing_hz), 0.49 * rate_hz / spacing_hz) * spacing_hz
    level = lines_F[np.rint(hz / rate_hz * 2 * (len(lines_F) - 1)).astype(int)]
    return hz, 10 * np.log10(np.maximum(level, 1e-3))


def _line_db(lines_F: Floats, rate_hz: int, spacing_hz: float) -> float:
    return float(_at(lines_F, rate_hz, spacing_hz, LOWEST_HZ)[1].max(initial=0.0))


def _comb(lines_F: Floats, rate_hz: int, spacing_hz: float) -> Curve:
    hz, level_db = _at(lines_F, rate_hz, spacing_hz, min(LOWEST_HZ, rate_hz / 8))
    caption = f"How far tones at the multiples of {spacing_hz:.1f} Hz stand out; without a vocoder around 0."
    return curve("tones", caption, hz, level_db, ("hz", "db"))


def _traces(measured: dict[str, float]) -> list[str]:
    tones, levels = measured["tones_sigmas"], measured["levels_sigmas"]
    traces = []
    if tones > TONES_SIGMAS:
        traces.append(
            f"tones every {measured['tones_block_hz']:.1f} Hz ({tones:.1f} deviations above chance)"
        )
    if levels > LEVELS_SIGMAS:
        traces.append(f"levels that repeat {measured['levels_block_hz']:.1f} times a second")
    if measured["coarse_tone_db"] > COARSE_DB:
        traces.append(f"a tone of {measured['coarse_tone_db']:.0f} dB at an eighth of a usual rate")
    if measured["mirror_correlation"] > MIRRORED:
        traces.append(f"an upper band that mirrors the lower ({measured['mirror_correlation']:.2f})")
    return traces


def _in_words(traces: list[str], tones: float) -> str:
    if traces:
        return f"The sound carries {' and '.join(traces)}, as what networks write in blocks does."
    return f"No tones or levels follow the blocks that vocoders write in ({tones:.1f} standard deviations)."


ANALYZERS.register(
    "vocoder",
    Analyzer(
        name="vocoder",
        group="sound",
        summary="Tones and levels that follow the blocks in which networks and vocoders write sound",
        measures=MEASURES,
        accepts=lambda media: media.facts.has_sound,
        testify=testify,
    ),
)
