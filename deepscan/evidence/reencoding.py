"""Traces of an earlier encoding: frames that cost more than others of their kind, at equal distances.

Where a key frame stood before, the frame before it predicts it badly, so that whatever encodes it again pays
for it (Wang and Farid, Exposing digital forgeries in video by detecting double MPEG compression, 2006;
Stamm, Lin and Liu, Temporal forensics and anti-forensics for motion compensated video, 2012).
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.evidence.repeated_frames import repeats
from deepscan.media.neighbours import median_nearby
from deepscan.media.packets import Stored, is_stored_in_packets, stored
from deepscan.media.source import Media
from deepscan.verdict import Evidence

NAMES = (
    "former_key_distance_frames",
    "former_key_offset_frames",
    "strength_deviations",
    "chance_log10",
    "places",
)
LEAST_FRAMES = 25
LEAST_DISTANCE, LEAST_PLACES = 5, 5
CHANCE = 1e-3
"""Periods that chance gives more often than this, all periods tried taken together, are not told."""

_LEAST_LOG10 = -30.0
_REACH = 12
_LEAST_ALIKE = 3
LIMITS = (
    "Every platform that encodes a clip anew leaves this trace, so it is no sign of a fake. Not seen is an "
    "earlier encoding with few key frames, with key frames at scene changes only or of much better quality. "
    "A converted frame rate, a steady pattern of kinds or a thing that moves to a beat may look like it."
)
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """The steadiest beat in a series.

    Attributes:
        distance: Frames from one beat to the next; 0 = too few frames for any.
        offset: Number of the first one.
        strength: Mean of the beats over its standard error where there is no beat.
        places: How many of them hold a value.
        log10_chance: Logarithm of the probability that chance gives so strong a one anywhere.
    """

    distance: int = 0
    offset: int = 0
    strength: float = 0.0
    places: int = 0
    log10_chance: float = 0.0


def testify(media: Media) -> Evidence:
    """Look for a beat in the sizes of frames; the distance is 0 where there is none.

    The finding is always ``ordinary``: three of six genuine clips that a platform had encoded have a beat.

    Raises:
        TooShortError: Too few frames decode.
        MediaError: It does not decode.
    """
    clip = stored(media, LEAST_FRAMES)
    excess_N = excess(clip)
    beat = steadiest(carried_back(normal_scores(excess_N), clip.kinds))
    found = beat.log10_chance <= math.log10(CHANCE)
    figures = (beat.distance * found, beat.offset * found, beat.strength, beat.log10_chance, beat.places)
    times_N = clip.times_s[: clip.seen]
    places = range(beat.offset, clip.seen, beat.distance) if found else ()
    half_s = float(np.median(np.diff(times_N))) / 2
    return Evidence(
        analyzer="reencoding",
        summary=_in_words(beat, found=found),
        measurements={name: float(figure) for name, figure in zip(NAMES, figures, strict=True)},
        limits=LIMITS,
        curves=(
            curve(
                "excess",
                "How much larger each frame is than its like nearby; marked is where key frames were before.",
                times_N,
                excess_N,
                ("s", "octaves"),
                [(times_N[at] - half_s, times_N[at] + half_s) for at in places],
            ),
        ),
    )


def excess(clip: Stored) -> Floats:
    """Return how many times larger each frame is than its like nearby, in octaves; NaN for key frames.

    Alike are frames of one kind that follow frames of one kind. Repeated frames say nothing and are left out.
    """
    kinds = np.array(list(clip.kinds[: clip.seen]))
    before = np.concatenate([["?"], kinds[:-1]])
    sizes_N = np.log2(np.maximum(clip.size_N[: clip.seen], 1.0))
    usable_N = np.isin(kinds, ("P", "B")) & ~repeats(clip)[: clip.seen]
    excess_N = np.full(len(kinds), np.nan)
    for kind, last in {*zip(kinds.tolist(), before.tolist(), strict=True)}:
        alike_N = usable_N & (kinds == kind) & (before == last)
        values_N = np.where(alike_N, sizes_N, np.nan)
        excess_N[alike_N] = (values_N - median_nearby(values_N, _REACH, _LEAST_ALIKE))[alike_N]
    return excess_N


def normal_scores(values_N: Floats) -> Floats:
    """Return values as normal deviates of their ranks, so that no single one weighs much; NaN stays."""
    from scipy.special import ndtri

    scores_N = np.full(len(values_N), np.nan)
    known = np.flatnonzero(np.isfinite(values_N))
    ascending = known[np.argsort(values_N[known], kind="stable")]
    scores_N[ascending] = ndtri((np.arange(len(known)) + 0.5) / max(len(known), 1))
    return scores_N


def carried_back(scores_N: Floats, kinds: str) -> Floats:
    """Add to each B frame what the next frame that is none has: it had to carry what is new from there on."""
    carried_N = np.nan_to_num(scores_N)
    ahead = 0.0
    for at in range(len(scores_N) - 1, -1, -1):
        if kinds[at] == "B":
            carried_N[at] = (carried_N[at] + ahead) / math.sqrt(2)
        else:
            ahead = carried_N[at]
    carried_N[[kind in "I?" for kind in kinds[: len(scores_N)]]] = np.nan
    return normal_scores(carried_N)


def steadiest(scores_N: Floats) -> Beat:
    """Return the strongest beat of normal scores, float64 [N] with NaN for gaps.

    Every distance and every offset is tried that has enough places. Chance is the normal tail of the
    strongest one, times how many were tried (Bonferroni).
    """
    from scipy.special import log_ndtr

    best, tried = Beat(), 0
    for distance in range(LEAST_DISTANCE, len(scores_N) // LEAST_PLACES + 1):
        padded = np.pad(scores_N, (0, -len(scores_N) % distance), constant_values=np.nan)
        folded = padded.reshape(-1, distance)
        places = np.isfinite(folded).sum(axis=0)
        strengths = np.where(
            places >= LEAST_PLACES - 1, np.nansum(folded, axis=0) / np.sqrt(np.maximum(places, 1)), 0.0
        )
        tried += distance
        at = int(strengths.argmax())
        if strengths[at] > best.strength:
            best = Beat(distance=distance, offset=at, strength=float(strengths[at]), places=int(places[at]))
    log10 = (float(log_ndtr(-best.strength)) + math.log(max(tried, 1))) / math.log(10)
    return dataclasses.replace(best, log10_chance=min(0.0, max(_LEAST_LOG10, log10)))


def _in_words(beat: Beat, *, found: bool) -> str:
    if not found:
        return (
            "No beat in the sizes of frames tells of an earlier encoding; the strongest, every "
            f"{beat.distance} frames, reaches {beat.strength:.1f} standard deviations."
        )
    return (
        f"Every {beat.distance} frames, from frame {beat.offset} on, frames cost more than others of their "
        f"kind ({beat.strength:.1f} standard deviations at {beat.places} places): the clip was most likely "
        "encoded before, with key frames there."
    )


ANALYZERS.register(
    "reencoding",
    Analyzer(
        name="reencoding",
        group="compression",
        summary="A beat in the sizes of frames that an earlier encoding left",
        measures=NAMES,
        accepts=is_stored_in_packets,
        testify=testify,
    ),
)
