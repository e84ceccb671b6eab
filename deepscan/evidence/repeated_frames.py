"""Frames that are shown twice, and places where some seem to be missing, by what changes between frames."""

import itertools

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.neighbours import largest_nearby, median_nearby
from deepscan.media.packets import Stored, is_stored_in_packets, scene_changes, stored
from deepscan.media.source import Media
from deepscan.verdict import Evidence

NAMES = (
    "repeats",
    "repeats_share",
    "repeat_distance_frames",
    "repeats_irregular",
    "freeze_longest_frames",
    "jumps",
    "jump_largest_ratio",
    "time_gaps",
    "time_gap_longest_ms",
    "rate_stated_hz",
    "rate_measured_hz",
    "rate_apart_share",
)
LEAST_FRAMES = 8
STILL, STILL_BLOCK = 0.3, 0.35
"""A repeated frame differs from the one before by less than so much of what is usual around it, on the whole
and in the block that differs most. Camera noise, and its loss, is more than that."""

EXACT = 0.05
"""Less change than this, in grey levels, is none, however much there is of it."""

MOVING = 0.2
"""A clip moves where its frames differ by more than this in the middle; in others stillness says nothing."""

JUMP = 1.8
"""A frame that differs from the one before by more than so many times the largest difference around it,
among the blocks that move most. Of 2,824 frames of six genuine clips none that is no scene change reaches
1.5."""

LATE = 1.5
STEADY_SHARE = 0.95
"""Share of equal steps in time from which on a clip has a steady rate, so that a gap in it says something."""

FROZEN = 5
"""So many equal frames amid motion; converted frame rates repeat one at a time."""

_REACH, _STILL_REACH = 8, 15
LIMITS = (
    "Conversions of the frame rate repeat frames at equal distances, cameras and networks drop some, editors "
    "cut: none of it is a sign of a fake. Fewer than about ten missing frames, or missing ones where much or "
    "nothing moves, are not seen; nor is what lies behind the part that was decoded."
)


def testify(media: Media) -> Evidence:
    """Compare frames with those before them, and their times with a steady rate.

    ``unusual`` is a jump that is no scene change, a freeze amid motion, or a gap in the times of a clip of a
    steady rate; none of six genuine clips has one of these.

    Raises:
        TooShortError: Fewer than eight frames decode.
        MediaError: It does not decode.
    """
    clip = stored(media, LEAST_FRAMES)
    repeated_N, jumps_N = repeats(clip), jumps(clip)
    measured = _of_repeats(repeated_N, clip.seen) | _of_jumps(clip, jumps_N) | _of_times(clip)
    odd = measured["freeze_longest_frames"] >= FROZEN or measured["jumps"] or measured["time_gaps"]
    return Evidence(
        analyzer="repeated_frames",
        summary=_in_words(measured),
        measurements={name: measured[name] for name in NAMES},
        limits=LIMITS,
        finding="unusual" if odd else "ordinary",
        curves=(
            curve(
                "change",
                "How much each frame differs from the one before; marked are freezes and jumps.",
                clip.times_s[: clip.seen],
                clip.change_N[: clip.seen],
                ("s", "grey levels"),
                _spans(clip, repeated_N, jumps_N),
            ),
        ),
    )


def repeats(clip: Stored) -> NDArray[np.bool_]:
    """Return which frames repeat the one before while those around them move, bool [N]."""
    change_N, largest_N = clip.change_N, clip.largest_N
    usual_N, usual_block_N = (median_nearby(each, _STILL_REACH) for each in (change_N, largest_N))
    moving = np.median(np.nan_to_num(change_N[: clip.seen])) > MOVING
    still_N = (change_N < STILL * usual_N) & (largest_N < STILL_BLOCK * usual_block_N)
    return still_N | (change_N < EXACT) if moving else still_N & (usual_N > EXACT)


def jumps(clip: Stored) -> NDArray[np.bool_]:
    """Return before which frames some seem to be missing, bool [N]."""
    return (_leaps(clip) > JUMP) & ~scene_changes(clip)


def _leaps(clip: Stored) -> NDArray[np.float64]:
    """Return changes over the largest one around; key frames are left out: how they are stored changes."""
    busy_N = np.where([kind == "I" for kind in clip.kinds], np.nan, clip.busy_N)
    return np.nan_to_num(busy_N / np.maximum(largest_nearby(busy_N, _REACH), MOVING))


def _of_repeats(repeated_N: NDArray[np.bool_], seen: int) -> dict[str, float]:
    places = np.flatnonzero(repeated_N)
    distance, regular = _regular(places)
    return {
        "repeats": float(len(places)),
        "repeats_share": len(places) / seen,
        "repeat_distance_frames": float(distance),
        "repeats_irregular": float(len(places) - regular),
        "freeze_longest_frames": float(max((stop - start for start, stop in _runs(repeated_N)), default=0)),
    }


def _regular(places: NDArray[np.int64]) -> tuple[int, int]:
    """Return the distance of repeats that come at equal distances, and how many do; 0 where few do."""
    gaps = np.diff(places)
    if len(gaps) < 4:
        return 0, 0
    distance = int(np.bincount(gaps).argmax())
    # One that was missed doubles a distance, but does not break the beat.
    regular = int((gaps % distance == 0).sum())
    return (distance, regular + 1) if distance > 1 and regular >= 0.7 * len(gaps) else (0, 0)


def _runs(flags_N: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags_N.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _of_jumps(clip: Stored, jumps_N: NDArray[np.bool_]) -> dict[str, float]:
    largest = float(_leaps(clip)[~scene_changes(clip)].max(initial=0.0))
    return {"jumps": float(jumps_N.sum()), "jump_largest_ratio": largest}


def _of_times(clip: Stored) -> dict[str, float]:
    steps_s = np.diff(clip.times_s)
    usual_s = float(np.median(steps_s))
    steady = (np.abs(steps_s - usual_s) < usual_s / 4).mean() >= STEADY_SHARE
    rate_hz = 1 / usual_s if usual_s > 0 else 0.0
    apart = abs(clip.rate_hz - rate_hz) / clip.rate_hz if clip.rate_hz else 0.0
    return {
        "time_gaps": float((steps_s > LATE * usual_s).sum()) if steady else 0.0,
        "time_gap_longest_ms": 1000 * float(steps_s.max()),
        "rate_stated_hz": clip.rate_hz,
        "rate_measured_hz": rate_hz,
        "rate_apart_share": apart,
    }


def _spans(
    clip: Stored, repeated_N: NDArray[np.bool_], jumps_N: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    frozen = (run for run in _runs(repeated_N) if run[1] - run[0] >= FROZEN)
    leapt = ((at - 1, at) for at in np.flatnonzero(jumps_N).tolist())
    last = clip.seen - 1
    return [
        (float(clip.times_s[start]), float(clip.times_s[min(stop, last)]))
        for start, stop in sorted(itertools.chain(frozen, leapt))
    ]


def _in_words(measured: dict[str, float]) -> str:
    words = [f"{measured['repeats']:.0f} frames repeat the one before"]
    if distance := measured["repeat_distance_frames"]:
        words[0] += f", every {distance:.0f} frames, as a converted frame rate does"
    if (longest := measured["freeze_longest_frames"]) >= FROZEN:
        words.append(f"the picture freezes for {longest:.0f} frames amid motion")
    if measured["jumps"]:
        words.append(f"{measured['jumps']:.0f} jumps that are no scene change")
    if measured["time_gaps"]:
        longest_ms = measured["time_gap_longest_ms"]
        words.append(f"{measured['time_gaps']:.0f} gaps in time, the longest step {longest_ms:.0f} ms")
    words.append(
        f"{measured['rate_measured_hz']:.4g} frames a second, {measured['rate_stated_hz']:.4g} stated"
    )
    return "; ".join(words) + "."


ANALYZERS.register(
    "repeated_frames",
    Analyzer(
        name="repeated_frames",
        group="compression",
        summary="Repeated and missing frames, and times that do not fit the rate",
        measures=NAMES,
        accepts=is_stored_in_packets,
        testify=testify,
    ),
)
