"""Error levels: how much a picture changes where it is compressed once more (Krawetz, 2007)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import heat_map
from deepscan.evidence.stills import is_still
from deepscan.evidence.stored import stored, turned
from deepscan.media.jpeg import SIDE, blocks
from deepscan.media.source import Media
from deepscan.verdict import Evidence

QUALITIES = (95, 90, 75)
"""Of libjpeg, at which the luma is compressed once more."""

SHOWN = 90
"""Quality whose map is shown: high enough that fine texture survives, low enough that there is an error."""

MEASURES = tuple(
    f"{what}_at_{quality}_{unit}"
    for quality in QUALITIES
    for what, unit in (("error", "levels"), ("unevenness", "share"))
)
LIMITS = (
    "Edges and texture are always brighter than smooth parts, so a bright part is no sign of editing by "
    "itself: compare parts of like texture. Strong compression, rescaling and screenshots even everything "
    "out. For the eye, not for a score."
)


def testify(media: Media) -> Evidence:
    """Measure luma errors after one more compression: their mean, and how unlike blocks are.

    ``unevenness`` is the standard deviation of the blocks' mean errors as a share of their mean.

    Raises:
        NoPictureError: The picture is smaller than a block.
        MediaError: It does not decode.
    """
    picture = stored(media)
    blocks(picture.luma_HW, most=1)
    maps = {quality: errors(picture.luma_HW, quality) for quality in QUALITIES}
    figures = [figure for map_HW in maps.values() for figure in (map_HW.mean(), _unevenness(map_HW))]
    measures = dict(zip(MEASURES, map(float, figures), strict=True))
    shown_HW = turned(media, maps[SHOWN])
    caption = f"Mean change of luma in each block of 8 by 8 pixels when saved once more at quality {SHOWN}."
    scale = (0.0, max(1.0, float(np.percentile(shown_HW, 99.5))))
    return Evidence(
        analyzer="ela",
        summary=(
            f"Saved once more at quality {SHOWN}, luma changes by {measures['error_at_90_levels']:.1f} "
            f"levels of 255 on average; blocks differ in that by {measures['unevenness_at_90_share']:.0%}."
        ),
        measurements=measures,
        limits=LIMITS,
        pictures=(heat_map("error-levels", caption, shown_HW, scale, unit="levels"),),
    )


def errors(luma_HW: NDArray[np.uint8], quality: int) -> NDArray[np.float32]:
    """Return the mean absolute change of each whole block of luma at a quality, float32 [rows, columns]."""
    done, data = cv2.imencode(".jpg", luma_HW, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    again_HW = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert again_HW is not None
    rows, columns = luma_HW.shape[0] // SIDE, luma_HW.shape[1] // SIDE
    change_HW = cv2.absdiff(luma_HW, again_HW)[: rows * SIDE, : columns * SIDE]
    # Shrinking by a whole factor is the mean; only 32 bits keep its fractions.
    means_HW = cv2.resize(change_HW.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means_HW, np.float32)


def _unevenness(errors_HW: NDArray[np.float32]) -> float:
    return float(errors_HW.std() / max(float(errors_HW.mean()), 1e-3))


ANALYZERS.register(
    "ela",
    Analyzer(
        name="ela",
        group="compression",
        summary="How much each part of a picture changes when it is compressed once more",
        measures=MEASURES,
        accepts=is_still,
        testify=testify,
    ),
)
