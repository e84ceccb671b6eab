"""Still pictures of a file for a report: the picture itself, or frames of a clip at certain times."""

import base64
import dataclasses
import io
import logging
from collections.abc import Iterable

import PIL.Image

from deepscan.errors import AbstainError, MediaError
from deepscan.media.source import Media, Sampling
from deepscan.verdict import Region

LONGEST_PX = 800
QUALITY = 80
MOST = 16
"""So many stills at most: a report that shows more is too large to send."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Still:
    """One picture, shrunk to ``LONGEST_PX``.

    Attributes:
        key: Name that is unique in the report.
        uri: The picture as JPEG in a data URI.
        width_px: Its width.
        height_px: Its height.
        time_s: When it is shown; 0 for a file without time.
    """

    key: str
    uri: str
    width_px: int
    height_px: int
    time_s: float


def moment(region: Region | None, default_s: float = 0.0) -> float:
    """Return the time in seconds at which a region is best looked at: its middle."""
    if region is None or region.start_s is None:
        return default_s
    return round((region.start_s + (region.end_s or region.start_s)) / 2, 2)


def stills(media: Media, times_s: Iterable[float]) -> dict[float, Still]:
    """Return the pictures at some times, ``MOST`` at most; what does not decode is left out.

    Args:
        media: The file; without pictures there are no stills.
        times_s: Times in seconds, the most important first; a file without time has one picture for all.
    """
    if media.facts.width_px is None:
        return {}
    wanted = list(dict.fromkeys(times_s))
    if media.facts.duration_s is None:
        still = _still(media, 0.0, "still-0")
        return dict.fromkeys(wanted, still) if still else {}
    found = {time_s: _still(media, time_s, f"still-{n}") for n, time_s in enumerate(wanted[:MOST])}
    return {time_s: still for time_s, still in found.items() if still}


def _still(media: Media, time_s: float, key: str) -> Still | None:
    try:
        picture = _decoded(media, time_s)
    except (MediaError, AbstainError) as error:
        _LOGGER.warning("The picture at %.2f s is left out of the report: %s", time_s, error)
        return None
    if picture is None:
        return None
    picture.thumbnail((LONGEST_PX, LONGEST_PX))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Still(key=key, uri=uri, width_px=picture.width, height_px=picture.height, time_s=time_s)


def _decoded(media: Media, time_s: float) -> PIL.Image.Image | None:
    if media.facts.duration_s is None:
        return PIL.Image.fromarray(media.picture_HWC)
    nearest = Sampling(kind="rate", start_s=time_s, span_s=1.0, rate_hz=1.0)
    frame = next(iter(media.frames(nearest)), None)
    return PIL.Image.fromarray(frame.picture_HWC) if frame else None
