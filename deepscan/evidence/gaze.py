"""Where both eyes look, relative to the head, and whether they look together."""

import math

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import TooShortError
from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.eyes import openness, pupil
from deepscan.media.portraits import LEAST_FRAMES, UNIT_PX, portrait, shows_moving_pictures
from deepscan.media.source import Media
from deepscan.verdict import Evidence

MEASURES = (
    "tracked_share",
    "gaze_range_deg",
    "saccades_per_minute",
    "left_right_correlation",
    "vergence_spread_deg",
    "vertical_spread_deg",
)

OPEN = 0.6
"""Less open eyes hide their pupils; 1 is the median."""

RADIUS = 12.0 / 63.0
"""Of an eyeball, in distances of the eyes from each other."""

SACCADE_DEG = 8.0
"""Smallest jump between two frames that is told from the error of the places of eyes and pupils."""

LIMITS = (
    "The pupil of a small or compressed eye is found to within 5 to 10 degrees, and turning the head moves "
    "it, too. Squinting, spectacles and looking at something near part the eyes of genuine people."
)

Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Measure the gaze of the face that a clip shows longest; left and right are those of the picture.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoFaceError: No face is seen, or too small a one.
        TooShortError: It is seen too shortly, or with open eyes too shortly.
        MediaError: The media does not decode.
    """
    seen = portrait(media)
    open_T = openness(seen.eyes_TEHW).min(axis=1) >= OPEN
    if open_T.sum() < LEAST_FRAMES:
        msg = (
            f"The eyes in {media.facts.name!r} are open in {open_T.sum()} frames; {LEAST_FRAMES} are needed."
        )
        raise TooShortError(msg)
    places_NE2 = np.array([[pupil(eye) for eye in pair] for pair in seen.eyes_TEHW[open_T]])
    gaze_NE2 = np.degrees(np.arcsin(np.clip(places_NE2 / (RADIUS * UNIT_PX), -0.95, 0.95)))
    measured = _measure(gaze_NE2, seen.times_s_T[open_T], float(open_T.mean()))
    across_T = np.full(len(open_T), math.nan)
    across_T[open_T] = gaze_NE2[:, :, 0].mean(axis=1)
    shown = curve(
        "gaze",
        "How far both eyes look to the right of the picture in the mean; gaps are blinks.",
        seen.times_s_T,
        across_T,
        ("s", "deg"),
    )
    summary = (
        f"The eyes move over {measured['gaze_range_deg']:.0f} degrees with "
        f"{measured['saccades_per_minute']:.0f} jumps a minute; left and right go together with a "
        f"correlation of {measured['left_right_correlation']:.2f} and part by "
        f"{measured['vergence_spread_deg']:.1f} degrees."
    )
    return Evidence(analyzer="gaze", summary=summary, measurements=measured, limits=LIMITS, curves=(shown,))


def _measure(gaze_NE2: Floats, times_s_N: Floats, tracked: float) -> dict[str, float]:
    left_N, right_N = gaze_NE2[:, 0, 0], gaze_NE2[:, 1, 0]
    together_N = _median_of_three(gaze_NE2[:, :, 0].mean(axis=1))
    jumps = np.abs(np.diff(together_N)) >= SACCADE_DEG
    # A jump that takes two frames is one.
    begun = int(np.sum(jumps & ~np.concatenate([[False], jumps[:-1]])))
    moves = min(left_N.std(), right_N.std()) > 1e-9
    figures = (
        tracked,
        float(np.subtract(*np.percentile(together_N, [95, 5]))),
        60 * begun / max(float(times_s_N[-1] - times_s_N[0]), 1e-3),
        float(np.corrcoef(left_N, right_N)[0, 1]) if moves else 0.0,
        _spread(right_N - left_N),
        _spread(gaze_NE2[:, 1, 1] - gaze_NE2[:, 0, 1]),
    )
    return dict(zip(MEASURES, map(float, figures), strict=True))


def _spread(values_N: Floats) -> float:
    """Deviation as the median has it, which single failures do not change."""
    return float(np.median(np.abs(values_N - np.median(values_N))) / 0.6745)


def _median_of_three(values_N: Floats) -> Floats:
    padded = np.pad(values_N, 1, mode="edge")
    return np.asarray(np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0))


ANALYZERS.register(
    "gaze",
    Analyzer(
        name="gaze",
        group="face",
        summary="Where both eyes look, their jumps, and whether they look together",
        measures=MEASURES,
        accepts=shows_moving_pictures,
        testify=testify,
    ),
)
