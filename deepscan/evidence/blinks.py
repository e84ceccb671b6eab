"""How a person blinks: how often, how long, and with both eyes at once."""

import numpy as np

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.eyes import PROMINENCE, Blink, blinks, openness
from deepscan.media.portraits import portrait, shows_moving_pictures
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding

MEASURES = (
    "eyes_apart_px",
    "watched_s",
    "blink_count",
    "blinks_per_minute",
    "blink_median_ms",
    "interval_median_s",
    "both_eyes_share",
    "left_right_correlation",
)

UNBLINKING_S = 20.0
"""So long without a blink is unusual: people blink 26 times a minute in conversation, 17 at rest and 4 or 5
while they read (Bentivoglio et al., "Analysis of blink rate patterns in normal subjects", Movement Disorders
1997), so that whoever speaks or rests does this in fewer than 1 of 100 stretches of that length."""

LIMITS = (
    "Forgeries of today blink. People who read, drive or concentrate blink seldom, some people more than "
    "once a second; spectacles, lowered lids, shadows and strong compression hide blinks or look like them. "
    "A blink between two frames that were looked at is missed."
)


def testify(media: Media) -> Evidence:
    """Measure the blinks of the face that a clip shows longest, in its first 24 s; 0 stands for none.

    Raises:
        NoPictureError: The media holds no moving pictures.
        NoFaceError: No face is seen, or too small a one.
        TooShortError: It is seen too shortly.
        MediaError: The media does not decode.
    """
    seen = portrait(media)
    open_TE = openness(seen.eyes_TEHW)
    open_T = open_TE.mean(axis=1)
    found = blinks(seen.times_s_T, open_T)
    # One eye is seen less well than both: half a blink will do where both together show a whole one.
    by_eye = [blinks(seen.times_s_T, open_TE[:, eye], PROMINENCE / 2) for eye in (0, 1)]
    both = [each for each in found if all(_near(each, eye) for eye in by_eye)]
    times_s = [each.time_s for each in found]
    figures = (
        seen.eyes_px,
        seen.duration_s,
        len(found),
        60 * len(found) / seen.duration_s,
        1000 * float(np.median([each.duration_s for each in found] or [0.0])),
        float(np.median(np.diff(times_s) if len(found) > 1 else [0.0])),
        len(both) / max(len(found), 1),
        _correlation(open_TE),
    )
    measured = {name: float(value) for name, value in zip(MEASURES, figures, strict=True)}
    shown = curve(
        "opening",
        "How far both eyes are open in the mean, 1 in the median; blinks are marked.",
        seen.times_s_T,
        open_T,
        ("s", ""),
        spans=[(each.time_s - each.duration_s / 2, each.time_s + each.duration_s / 2) for each in found],
    )
    never = not found and seen.duration_s >= UNBLINKING_S
    finding: Finding = "unusual" if never else "ordinary"
    return Evidence(
        analyzer="blinks",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding=finding,
        curves=(shown,),
    )


def _near(blink: Blink, others: list[Blink]) -> bool:
    return any(abs(blink.time_s - other.time_s) <= max(blink.duration_s, 0.1) for other in others)


def _correlation(open_TE: np.ndarray) -> float:
    left_T, right_T = open_TE.T
    if min(left_T.std(), right_T.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(left_T, right_T)[0, 1])


def _in_words(measured: dict[str, float]) -> str:
    watched = f"in {measured['watched_s']:.1f} s"
    if not measured["blink_count"]:
        return f"No blink was seen {watched}."
    return (
        f"{measured['blink_count']:.0f} blinks were seen {watched}, {measured['blinks_per_minute']:.0f} a "
        f"minute, of {measured['blink_median_ms']:.0f} ms each in the median, "
        f"{measured['both_eyes_share']:.0%} of them with both eyes at once."
    )


ANALYZERS.register(
    "blinks",
    Analyzer(
        name="blinks",
        group="face",
        summary="How often and how long a person blinks, and whether with both eyes",
        measures=MEASURES,
        accepts=shows_moving_pictures,
        testify=testify,
    ),
)
