"""A report on one file: what the detectors say, what was measured, and how to do it again.

One self-contained HTML page, which runs no script and fetches nothing, and the same as JSON. It is made
of a Verdict alone; the file itself only lends its pictures.
"""

import dataclasses
import functools
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from deepscan.calibration import OperatingPoint
from deepscan.evidence import ordered
from deepscan.media.source import Media
from deepscan.report import drawings, wording
from deepscan.report.moments import SUSPICIOUS, Moment, highlights, moments
from deepscan.report.page import environment
from deepscan.report.stills import Still, moment, stills
from deepscan.verdict import Box, Curve, Evidence, Picture, Score, Verdict, to_dict

SOFTWARE = ("deepscan", "torch")
MOST_ROWS = 60
"""Moments of a table; who wants more of them has the JSON."""

MOST_PLACES = 8
"""Places that are framed in the picture."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a report says beside the Verdict.

    Attributes:
        point: Where all detectors together decide; None = not stated.
        points: Where each detector decides, by bundle id.
        tested: How well each was on its own test files, one sentence by bundle id.
        made_at: When the file was judged, as text; "" = not told.
    """

    point: OperatingPoint | None = None
    points: Mapping[str, OperatingPoint] = dataclasses.field(default_factory=dict)
    tested: Mapping[str, str] = dataclasses.field(default_factory=dict)
    made_at: str = ""


class _Plate(NamedTuple):
    picture: Picture
    over: Markup
    low: str
    high: str


class _Drawn(NamedTuple):
    curve: Curve
    drawing: Markup


class _Exhibit(NamedTuple):
    evidence: Evidence
    finding: tuple[str, str]
    measurements: list[wording.Quantity]
    plates: list[_Plate]
    curves: list[_Drawn]


class _Group(NamedTuple):
    title: str
    exhibits: list[_Exhibit]


class _Said(NamedTuple):
    score: Score
    gauge: Markup
    framed: bool
    decides: str
    tested: str
    measures: list[wording.Quantity]


class _Scene(NamedTuple):
    moment: Moment
    drawing: Markup


def render(verdict: Verdict, media: Media, repeat_command: str, context: Context | None = None) -> str:
    """Return the report as the text of one HTML file.

    Args:
        verdict: What was said of the file.
        media: The file, for its pictures; what of it does not decode is left out.
        repeat_command: The line that makes the same report again.
        context: Where the detectors decide; without it no rate of errors is stated.
    """
    known = context or Context()
    shown = stills(media, _times_s(verdict))
    return environment().get_template("verdict.html.j2").render(
        verdict=verdict,
        context=known,
        command=repeat_command,
        software=software(),
        words=wording,
        sheet=drawings.sheet({each.key: each for each in shown.values()}.values()),
        cover=_cover(verdict, shown),
        gauge=_gauge(verdict),
        said=[_said(number, score, known) for number, score in enumerate(verdict.scores)],
        timelines=_timelines(verdict, known),
        scenes=_scenes(verdict, shown),
        suspicious=_suspicious(verdict),
        most_rows=MOST_ROWS,
        groups=_groups(verdict, shown),
        silent=[each for each in verdict.evidence if each.reason],
    )  # fmt: skip


def to_json(verdict: Verdict, repeat_command: str, context: Context | None = None) -> str:
    """Return the report as JSON: the Verdict, which ``from_dict`` reads, and what is told beside it."""
    content = to_dict(verdict) | {
        "declarations": list(verdict.declarations),
        "context": dataclasses.asdict(context or Context()),
        "software": software(),
        "command": repeat_command,
    }
    return json.dumps(content, indent=2, allow_nan=False)


@functools.cache
def software() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {name: importlib.metadata.version(name) for name in SOFTWARE} | {
        "python": platform.python_version()
    }


def _shown_s(verdict: Verdict) -> float:
    """Return when the file is shown as a whole: at its most suspicious moment, else in its middle."""
    timed = [m for score in verdict.scores for m in moments(score)]
    if timed:
        return max(timed, key=lambda each: each.probability).middle_s
    return round((verdict.media.duration_s or 0.0) / 2, 2)


def _times_s(verdict: Verdict) -> list[float]:
    """Return the times of the pictures to show, the most important first."""
    shown_s = _shown_s(verdict)
    marked = highlights(verdict.scores, verdict.media.duration_s or 0.0)
    maps = [
        moment(picture.region, shown_s)
        for evidence in ordered(verdict.evidence)
        for picture in evidence.pictures
        if picture.low is not None
    ]
    return [shown_s, *(each.middle_s for each in marked), *maps]


def _cover(verdict: Verdict, shown: Mapping[float, Still]) -> Markup | None:
    """Return the file with the places that detectors looked at, the most suspicious first."""
    shown_s = _shown_s(verdict)
    still = shown.get(shown_s)
    if still is None:
        return None
    found: dict[Box, float] = {}
    for part in (part for score in verdict.scores for part in score.parts):
        begin_s, box = part.region.start_s, part.region.box
        now = begin_s is None or begin_s <= shown_s <= (part.region.end_s or begin_s)
        if box and now and box != drawings.WHOLE:
            found[box] = max(part.probability, found.get(box, 0.0))
    ranked = sorted(found, key=lambda box: -found[box])[:MOST_PLACES]
    named = [(f"{chr(65 + n)} {wording.percent(found[box])}", box) for n, box in enumerate(ranked)]
    return drawings.marked("cover", still, named)


def _gauge(verdict: Verdict) -> Markup | None:
    if verdict.probability is None:
        return None
    known = verdict.uncertainty if verdict.uncertainty and verdict.uncertainty.files else None
    return drawings.gauge("all", verdict.probability, known, "files that scored alike")


def _said(number: int, score: Score, context: Context) -> _Said:
    point = context.points.get(score.bundle)
    band = point if point and point.low < point.high else None
    return _Said(
        score=score,
        gauge=drawings.gauge(f"score-{number}", score.probability, band, "here it does not decide"),
        framed=band is not None,
        decides=wording.rate(point) if point else "",
        tested=context.tested.get(score.bundle, ""),
        measures=_quantities(score.measures),
    )


def _timelines(verdict: Verdict, context: Context) -> list[tuple[str, Markup]]:
    """Return the name of each detector that tells moments apart, and what it says over time."""
    drawn = []
    for number, score in enumerate(verdict.scores):
        if found := moments(score):
            point = context.points.get(score.bundle)
            duration_s = verdict.media.duration_s or found[-1].end_s
            high = point.high if point else None
            drawn.append((score.detector, drawings.timeline(f"time-{number}", found, duration_s, high)))
    return drawn


def _scenes(verdict: Verdict, shown: Mapping[float, Still]) -> list[_Scene]:
    chosen = highlights(verdict.scores, verdict.media.duration_s or 0.0)
    return [
        _Scene(each, drawings.scene(f"scene-{number}", still, each) if still else Markup())
        for number, each in enumerate(chosen)
        for still in [shown.get(each.middle_s)]
    ]


def _suspicious(verdict: Verdict) -> list[Moment]:
    """Return the moments that look fake, in order of time."""
    found = [m for score in verdict.scores for m in moments(score) if m.probability >= SUSPICIOUS]
    return sorted(found, key=lambda each: (each.start_s, each.detector))


def _groups(verdict: Verdict, shown: Mapping[float, Still]) -> list[_Group]:
    """Return what was measured by group; the group of the weightiest finding comes first."""
    groups: dict[str, list[_Exhibit]] = {}
    shown_s = _shown_s(verdict)
    for number, evidence in enumerate(ordered(verdict.evidence)):
        if not evidence.reason:
            exhibit = _exhibit(f"evidence-{number}", evidence, shown, shown_s)
            groups.setdefault(evidence.group, []).append(exhibit)
    return [_Group(wording.GROUPS.get(name, name.capitalize()), found) for name, found in groups.items()]


def _exhibit(key: str, evidence: Evidence, shown: Mapping[float, Still], shown_s: float) -> _Exhibit:
    plates = [
        _plate(f"{key}-map-{n}", picture, shown.get(moment(picture.region, shown_s)))
        for n, picture in enumerate(evidence.pictures)
    ]
    curves = [_Drawn(each, drawings.curve(f"{key}-{n}", each)) for n, each in enumerate(evidence.curves)]
    return _Exhibit(
        evidence, wording.FINDINGS[evidence.finding], _quantities(evidence.measurements), plates, curves
    )


def _plate(key: str, picture: Picture, still: Still | None) -> _Plate:
    """Return a picture; a map that belongs somewhere also lies over the still."""
    laid = still is not None and picture.low is not None and picture.region is not None
    over = drawings.overlay(key, picture, still) if laid and still else Markup()
    low, high = (wording.scale(end, picture.unit) for end in (picture.low, picture.high))
    return _Plate(picture, over, low, high)


def _quantities(measured: Mapping[str, Any]) -> list[wording.Quantity]:
    return [wording.quantity(name, value) for name, value in measured.items()]
