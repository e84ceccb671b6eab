"""Occlusion (Zeiler and Fergus, ECCV 2014): by how much the logit falls where something is hidden.

It needs no gradients, so it shows what exported models look at, too.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from deepscan.detector import Detector
from deepscan.heatmaps import METHODS, Method
from deepscan.heatmaps.placing import MEASURES, Drawing, Maps, draw
from deepscan.heatmaps.subject import Canvas, Subject, blank, canvas_of
from deepscan.modalities import Example

CELL_PX = 16
"""Distance of the places that are hidden, unless they became too many or too few; they are twice as wide."""

FEWEST, MOST, MOST_OF_CLIP = 4, 14, 7
"""Places along a side: of clips fewer, because all frames of an Example are judged for each."""

BATCH = 16
"""Examples that are judged at once; of clips, pictures."""

LIMITS = (
    "What is hidden becomes its mean colour, or the mean of each row of sound, with soft edges: a model may "
    "react to that as well as to what is gone. Traces that lie all over a picture show nowhere."
)


def occlusion_maps(subject: Subject) -> Maps:
    """Return how much lower the logit is with each place hidden; all frames of a clip at once.

    Raises:
        NoMapError: What the model reads has no places.
    """
    canvas = canvas_of(subject.detector)
    inputs = subject.inputs
    return np.stack(
        [
            subject.outputs["logit"][number]
            - _hidden(subject.detector, {name: x[number] for name, x in inputs.items()}, canvas)
            for number in range(len(subject.examples))
        ]
    )[:, None]


def _hidden(detector: Detector, example: Example, canvas: Canvas) -> NDArray[np.float32]:
    """Return the logits of an Example with each place hidden in turn, float32 [h, w]."""
    grid = grid_of(canvas)
    profiles = [profiles_of(extent, cells) for extent, cells in zip(canvas.size, grid, strict=True)]
    cells = list(itertools.product(*profiles))
    count = max(1, BATCH // max(1, canvas.frames))
    logits: list[NDArray[np.float32]] = []
    for first in range(0, len(cells), count):
        masks_KHW = np.stack([np.outer(rows, columns) for rows, columns in cells[first : first + count]])
        logits.append(detector.runner(_without(example, canvas, masks_KHW))["logit"])
    return np.concatenate(logits).reshape(grid)


def grid_of(canvas: Canvas) -> tuple[int, int]:
    """Return at how many places along each side something is hidden."""
    most = MOST_OF_CLIP if canvas.frames > 1 else MOST
    rows, columns = (min(extent, max(FEWEST, min(most, extent // CELL_PX))) for extent in canvas.size)
    return rows, columns


def profiles_of(extent: int, cells: int) -> NDArray[np.float32]:
    """Return how much of each pixel along a side is hidden, in [0, 1], for each of its places.

    A place is two cells wide and fades over half a cell on either edge; where all are one pixel wide,
    there is nothing to fade.

    Returns:
        float32 [cells, extent].
    """
    step = extent / cells
    centre_C1 = (np.arange(cells)[:, None] + 0.5) * step
    away_CN = np.abs(np.arange(extent) + 0.5 - centre_C1) / step
    return np.clip(1.5 - away_CN if extent > 1 else 1 - away_CN, 0, 1).astype(np.float32)


def _without(example: Example, canvas: Canvas, masks_KHW: NDArray[np.float32]) -> Example:
    """Return a batch of the Example with as much hidden as each mask says."""
    count = len(masks_KHW)
    inputs = {name: np.broadcast_to(x, (count, *x.shape)) for name, x in example.items()}
    shown = inputs[canvas.column]
    shape = [count] + [1] * (shown.ndim - 1)
    for axis, extent in zip(canvas.places[::-1], canvas.size[::-1], strict=False):
        shape[axis] = extent
    mask = masks_KHW.reshape(shape)
    mixed = shown * (1 - mask) + blank(example[canvas.column][None], canvas) * mask
    whole = np.issubdtype(shown.dtype, np.integer)
    inputs[canvas.column] = (np.rint(mixed) if whole else mixed).astype(shown.dtype)
    return {name: np.ascontiguousarray(x) for name, x in inputs.items()}


def _draw(subject: Subject) -> Drawing:
    return draw(subject, occlusion_maps(subject), "Occlusion")


def _check(detector: Detector) -> None:
    canvas_of(detector)


METHODS.register(
    "occlusion",
    Method(
        name="occlusion",
        summary="By how much the logit falls where something is hidden",
        limits=LIMITS,
        measures=MEASURES,
        check=_check,
        draw=_draw,
    ),
)
