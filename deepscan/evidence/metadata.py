"""What a file says of its own making: camera, programs, dates, declarations, and where these contradict."""

import datetime
import re
from collections.abc import Iterator

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.wording import CAPTURED, GENERATED, clean, code_of, facts_of
from deepscan.media.embedded import Embedded, embedded
from deepscan.media.source import Media
from deepscan.verdict import Evidence, Finding, MediaFacts

MEASURES = (
    "exif_fields",
    "xmp_properties",
    "iptc_fields",
    "tags",
    "history_steps",
    "photoshop_resources",
    "date_conflicts",
    "size_share",
    "aspect_share",
)
LIMITS = (
    "Whoever has the file can remove or write all of this, and none of it is signed: what it says can be "
    "invented, and most services remove it from genuine files. Camera clocks are often wrong."
)
APART = datetime.timedelta(hours=26)
"""Dates without a zone may lie so far apart and mean one moment, as zones go from -12 to +14 hours."""

ASPECT_TOLERANCE = 0.02
"""A picture whose shape differs by more from what EXIF says was cropped; rounding to blocks changes less."""

_SOURCE = "Iptc4xmpExt:DigitalSourceType"
_XMP = (
    _SOURCE,
    "xmp:CreatorTool",
    "xmp:CreateDate",
    "xmp:ModifyDate",
    "xmp:MetadataDate",
    "stEvt:action",
    "stEvt:softwareAgent",
    "photoshop:Credit",
    "photoshop:DateCreated",
    "tiff:Make",
    "tiff:Model",
    "tiff:Software",
    "dc:creator",
    "dc:description",
    "dcterms:provenance",
)
_FACE_APPS = re.compile(
    r"\b(avatarify|beautyplus|deepfacelab|deepfacelive|faceapp|facefusion|faceswap|facetune|meitu|reface|remini|"
    r"roop|youcam|zao)\b",
    re.IGNORECASE,
)
"""Programs whose purpose is to change faces."""

_EDITORS = re.compile(
    r"\b(affinity|after effects|canva|capcut|capture one|final cut|gimp|imovie|inshot|lightroom|paint\.net|"
    r"photoshop|picasa|picsart|pixelmator|pixlr|premiere|resolve|snapseed|vsco)\b",
    re.IGNORECASE,
)
_PROGRAM_KEYS = re.compile(
    r"(^|\.)(software|encoder|encoded_by|creation_tool|com\.apple\.quicktime\.software)$"
)
_PLACE = re.compile(r"gps|location|geotag|\bgeo\b|\bxyz\b|latitude|longitude", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[T ](\d\d):(\d\d):(\d\d)")
_ORDER = (
    ("EXIF DateTimeOriginal", "EXIF DateTimeDigitized"),
    ("EXIF DateTimeOriginal", "EXIF DateTime"),
    ("EXIF DateTimeDigitized", "EXIF DateTime"),
    ("EXIF DateTimeOriginal", "XMP xmp:ModifyDate"),
    ("XMP xmp:CreateDate", "XMP xmp:ModifyDate"),
    ("container created", "container changed"),
)
"""Which date must not come before which: taking, digitising, changing."""


def testify(media: Media) -> Evidence:
    """Read EXIF, XMP, IPTC and the container's tags, and compare what they say.

    Measurements: how many fields of each kind there are; ``history_steps`` that XMP lists, resources that
    Photoshop left; ``date_conflicts``, pairs of dates in the wrong order by more than ``APART``;
    ``size_share`` and ``aspect_share``, longer side and shape of the picture over what EXIF says, 1 where
    it says nothing.

    Raises:
        MediaError: The file does not open.
    """
    said = embedded(media)
    facts = dict(_facts(said))
    conflicts = list(_conflicts(facts))
    size_share, aspect_share = _shares(said, media.facts)
    measured = (
        said.exif.entries,
        sum(map(len, said.xmp.values())),
        len(said.iptc),
        len(said.texts),
        len(said.xmp.get("stEvt:action", ())),
        said.photoshop,
        len(conflicts),
        size_share,
        aspect_share,
    )
    remarks = [*_programs(said), *conflicts, *_size_remarks(size_share, aspect_share)]
    declared = next((code for each in said.xmp.get(_SOURCE, ()) if (code := code_of(each)) in GENERATED), "")
    cropped = abs(aspect_share - 1) > ASPECT_TOLERANCE
    changed_face = any(_FACE_APPS.search(text) for text in _program_names(said))
    return Evidence(
        analyzer="metadata",
        summary=_in_words(said, declared, remarks),
        measurements=dict(zip(MEASURES, map(float, measured), strict=True)),
        limits=LIMITS,
        finding=_finding(bool(declared), bool(conflicts or cropped or changed_face)),
        facts=facts_of(facts.items()),
    )


def _finding(declared: bool, odd: bool) -> Finding:
    return "telling" if declared else "unusual" if odd else "ordinary"


def _facts(said: Embedded) -> Iterator[tuple[str, str]]:
    yield from ((f"EXIF {name}", text) for name, text in said.exif.texts.items())
    yield from (
        (f"XMP {name}", ", ".join(dict.fromkeys(said.xmp[name]))) for name in _XMP if name in said.xmp
    )
    yield from ((f"IPTC {name}", text) for name, text in said.iptc.items())
    yield "container created", said.movie.created
    yield "container changed", said.movie.modified
    yield "container brands", ", ".join(said.movie.brands)
    yield "container layout", " ".join(said.movie.layout)
    yield "container handlers", ", ".join(said.movie.handlers)
    if said.exif.located or any(_PLACE.search(key) for key in (*said.xmp, *dict(said.texts))):
        yield "position", "present; it is not shown"
    if said.exif.maker_note:
        yield "maker note", "present"
    yield from ((f"EXIF {name}", f"{value:g}") for name, value in said.exif.figures.items())
    yield from ((f"tag {key}", text) for key, text in said.texts if not _PLACE.search(key))


def _program_names(said: Embedded) -> list[str]:
    named = [
        said.exif.texts.get("Software", ""),
        *said.xmp.get("xmp:CreatorTool", ()),
        *said.xmp.get("stEvt:softwareAgent", ()),
        said.iptc.get("OriginatingProgram", ""),
        *(text for key, text in said.texts if _PROGRAM_KEYS.search(key.lower())),
    ]
    return [*dict.fromkeys(clean(name, 80) for name in named if name.strip())]


def _programs(said: Embedded) -> Iterator[str]:
    named = _program_names(said)
    if changing := [name for name in named if _FACE_APPS.search(name)]:
        yield f"{changing[0]}, which changes faces, wrote it"
    elif editing := [name for name in named if _EDITORS.search(name)]:
        yield f"{editing[0]} edited it"
    elif named:
        yield f"{named[0]} wrote it"
    elif said.photoshop:
        yield "Photoshop, or a program like it, left its traces"
    if steps := len(said.xmp.get("stEvt:action", ())):
        yield f"its history has {steps} step{'s' if steps > 1 else ''}"


def _conflicts(facts: dict[str, str]) -> Iterator[str]:
    for earlier, later in _ORDER:
        first, second = (_date(facts.get(name, "")) for name in (earlier, later))
        if first and second and first - second > APART:
            yield f"{later} ({second:%Y-%m-%d}) lies before {earlier} ({first:%Y-%m-%d})"


def _date(text: str) -> datetime.datetime | None:
    found = _DATE.match(text)
    try:
        return datetime.datetime(*map(int, found.groups())) if found else None  # type: ignore[arg-type]
    except ValueError:
        return None


def _shares(said: Embedded, facts: MediaFacts) -> tuple[float, float]:
    """Return the longer side and the shape of the picture over those that EXIF says, whichever way up."""
    stated = [said.exif.figures.get(name, 0.0) for name in ("PixelXDimension", "PixelYDimension")]
    if min(stated) < 1 or not (facts.width_px and facts.height_px):
        return 1.0, 1.0
    short, long = sorted((facts.width_px, facts.height_px))
    return long / max(stated), (long / short) / (max(stated) / min(stated))


def _size_remarks(size_share: float, aspect_share: float) -> Iterator[str]:
    if abs(aspect_share - 1) > ASPECT_TOLERANCE:
        yield "it has another shape than EXIF says, so it was cropped afterwards"
    elif size_share != 1:
        yield f"it has {size_share:.0%} of the size that EXIF says, so it was scaled afterwards"


def _in_words(said: Embedded, declared: str, remarks: list[str]) -> str:
    exif = said.exif.texts
    maker, model = exif.get("Make", ""), exif.get("Model", "")
    camera = (model if model.startswith(maker) else f"{maker} {model}").strip()
    remarks = ([f"EXIF names the camera {clean(camera, 80)}"] if camera else []) + remarks
    if declared:
        remarks = [f"It declares, unsigned, that it was {GENERATED[declared]}", *remarks]
    elif claimed := [CAPTURED[c] for c in map(code_of, said.xmp.get(_SOURCE, ())) if c in CAPTURED]:
        remarks.append(f"it declares, unsigned, that it was {claimed[0]}")
    if not remarks:
        return "The file says nothing of the camera or the program that made it."
    sentence = "; ".join(remarks)
    return f"{sentence[0].upper()}{sentence[1:]}."


ANALYZERS.register(
    "metadata",
    Analyzer(
        name="metadata",
        group="metadata",
        summary="EXIF, XMP, IPTC and container tags: camera, programs, dates, and their contradictions",
        measures=MEASURES,
        accepts=lambda media: True,
        testify=testify,
    ),
)
