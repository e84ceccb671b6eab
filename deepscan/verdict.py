"""What deepscan says about one file: a Verdict and the parts it is made of.

One polarity everywhere: label 1 and probability 1 mean fake. The dataclasses hold plain Python
values only, so that ``to_dict`` is the one JSON schema of the command line, Serve and reports.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, Literal

Label = Literal["real", "fake", "inconclusive"]
Box = tuple[float, float, float, float]

FAILED = "failed"
"""Reason of an abstention that says nothing of the file: the detector broke on it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Where in the media something is.

    Attributes:
        box: Left, top, right, bottom as fractions [0, 1] of the upright picture; None = all of it.
        start_s: Begin in seconds; None where the media has no time.
        end_s: End in seconds; None where the media has no time.
    """

    box: Box | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One examined part of the media (a face, a window of time) and its calibrated P(fake).

    Attributes:
        probability: Calibrated P(fake) of this part alone, in [0, 1].
        region: Where it is.
        weight: Share that it has in its track's or window's score, in [0, 1]; 1 where a part stands alone.
    """

    probability: float
    region: Region
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What one detector says of the whole file.

    Attributes:
        detector: Name of the detector.
        bundle: Id of the bundle it was loaded from.
        modality: The way of looking at the media.
        logit: Aggregated model output before calibration; > 0 leans to fake.
        probability: Calibrated P(fake) in [0, 1].
        label: The detector's own decision at its operating point.
        parts: What was examined, most suspicious first.
        measures: What else the model measured, by name; the unit is the end of the name.
    """

    detector: str
    bundle: str
    modality: str
    logit: float
    probability: float
    label: Label
    parts: tuple[Part, ...] = ()
    measures: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """Why a detector cannot judge the file; takes the place of its Score."""

    detector: str
    bundle: str
    modality: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture that evidence shows: a map that lies over the media, or something found in it.

    Attributes:
        name: Name within its evidence.
        caption: What is to be seen, one sentence; it stands in for the picture where none can be seen.
        png: The picture as PNG in Base64; a map is grey, 8 bits.
        region: Where in the media its pixels lie; None where that means nothing.
        low: What black stands for, in ``unit``; None where the picture is no map.
        high: What white stands for.
        unit: Of the values of a map; "" = none.
    """

    name: str
    caption: str
    png: str
    region: Region | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A measurement over time, frequency or whatever else ``x_unit`` names.

    Attributes:
        name: Name within its evidence.
        caption: What is to be seen, one sentence.
        x: Where it was measured, ascending.
        y: What was measured, as many; None = nothing there.
        x_unit: Unit of ``x``, such as ``s`` or ``hz``; "" = none.
        unit: Unit of ``y``; "" = none.
        spans: What stands out, as begin and end on ``x``.
    """

    name: str
    caption: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    x_unit: str
    unit: str = ""
    spans: tuple[tuple[float, float], ...] = ()


Finding = Literal["none", "ordinary", "unusual", "telling"]
"""What a measure found: nothing, because it could not measure; what genuine files have too; what few genuine
files have; what says by itself how the file was made."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Testimony of an analyzer: it informs a person and does not vote.

    Attributes:
        analyzer: Name of the analyzer.
        summary: One sentence in plain words; of an analyzer that could not measure, why.
        measurements: Named figures; the unit is the end of the name (``_ms``, ``_px``, ``_hz``).
        limits: What the measure cannot tell.
        group: What it looks at, such as ``compression``; evidence is shown by group.
        finding: How much it matters to who has little time.
        reason: Why nothing was measured, a short word as in an Abstention; "" = something was.
        declaration: What a signature that holds says of how the file was made, one sentence, to be shown
            above every score; "" = nothing.
        facts: What was read and is no figure, by name.
        pictures: Maps and what else is to be looked at.
        curves: Measurements over time or frequency.
        elapsed_ms: How long the analyzer worked, in milliseconds.
    """

    analyzer: str
    summary: str
    measurements: dict[str, float]
    limits: str
    group: str = ""
    finding: Finding = "ordinary"
    reason: str = ""
    declaration: str = ""
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curve, ...] = ()
    elapsed_ms: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """How far the probability can be trusted, from validation files that scored alike.

    Attributes:
        low: Lower end of the 95 % interval of the share of fakes among them, in [0, 1].
        high: Upper end of that interval, in [0, 1].
        files: How many such validation files there were; few files make a wide interval.
        entropy: Of the probability, in bits: 0 = certain, 1 = it could as well be a coin; None = not known.
        disagreement: Standard deviation of the probabilities of the detectors that were fused, in
            [0, 0.5]; None where only one voted.
    """

    low: float
    high: float
    files: int
    entropy: float | None = None
    disagreement: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MediaFacts:
    """What the file is, as read from its content.

    Attributes:
        name: File name as given.
        kind: The kind of media.
        container: File format, e.g. ``jpeg``.
        bytes: Size of the file.
        sha256: Digest of the content.
        width_px: Width of the upright picture; None without pictures.
        height_px: Height of the upright picture; None without pictures.
        duration_s: Length in seconds; None for media without time.
        has_sound: Whether there is a sound track.
        notes: What is wrong with the file although it can be judged, one sentence each.
    """

    name: str
    kind: str
    container: str
    bytes: int
    sha256: str
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    has_sound: bool = False
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer for one file.

    Attributes:
        label: ``real``, ``fake`` or ``inconclusive``.
        probability: Calibrated and fused P(fake) in [0, 1]; None when too few detectors voted.
        uncertainty: Interval for the probability; None when there is no probability.
        scores: One per detector that voted.
        abstentions: One per detector that could not.
        evidence: Testimony of the analyzers.
        media: What the file is.
        bundles: Ids of all bundles asked.
        elapsed_ms: Time from bytes to verdict, in milliseconds.
    """

    label: Label
    probability: float | None
    uncertainty: Uncertainty | None
    scores: tuple[Score, ...]
    abstentions: tuple[Abstention, ...]
    evidence: tuple[Evidence, ...]
    media: MediaFacts
    bundles: tuple[str, ...]
    elapsed_ms: float

    @property
    def declarations(self) -> tuple[str, ...]:
        """What signatures that hold say of how the file was made; it stands above every score."""
        return tuple(each.declaration for each in self.evidence if each.declaration)

    @property
    def failed(self) -> bool:
        """Whether some detector broke on the file, so that it may say more when it is asked again."""
        return any(abstention.reason == FAILED for abstention in self.abstentions)


def to_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a Verdict as plain dicts, tuples and scalars, ready for JSON."""
    return dataclasses.asdict(verdict)


def from_dict(values: Mapping[str, Any]) -> Verdict:
    """Return the Verdict that ``to_dict`` made plain, be it by way of JSON.

    Keys that this version does not know are left out, so that an older client reads what a newer service
    says. Nothing is converted: a text is no number.

    Raises:
        ValueError: A field is absent or of another kind; the message names it.
    """
    try:
        text = json.dumps(values)
    except TypeError as error:
        msg = f"No verdict: {error}. Give what to_dict or JSON gives."
        raise ValueError(msg) from error
    # Here and not above, because most who make verdicts read none back.
    import pydantic

    try:
        verdict: Verdict = _reader().validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the whole"
        msg = f"No verdict: {problem['msg']} at {where!r}. Give what to_dict or JSON gives."
        raise ValueError(msg) from error
    return verdict


@functools.cache
def _reader() -> Any:
    import pydantic

    return pydantic.TypeAdapter(Verdict)
