"""The mask that a model was taught to draw: where it sees the edge of a blend."""

import numpy as np

from deepscan.detector import Detector
from deepscan.errors import NoMapError
from deepscan.evidence.exhibits import heat_map
from deepscan.heatmaps import METHODS, Method
from deepscan.heatmaps.placing import Drawing, Maps, find_spots, within
from deepscan.heatmaps.subject import Subject, canvas_of, empty_inputs
from deepscan.modalities import Outputs

OUTPUT = "mask_logit"
EDGE = 0.5
"""Cells above this count as edge."""

MEASURES = ("maps", "strongest_share", "edge_area_share")
"""How many maps there are; of the first one the largest value, and the share of its cells above ``EDGE``."""

LIMITS = (
    "The mask is as good as the pseudo-fakes that taught it: it knows edges of blended faces, and is dark on "
    "pictures that were made as a whole, whoever made them."
)


def mask_maps(subject: Subject) -> Maps:
    """Return the masks as shares, float32 [B, 1, h, w] in [0, 1].

    Raises:
        NoMapError: The model draws none.
    """
    _require(subject.detector, subject.outputs)
    logits_B1hw = subject.outputs[OUTPUT][:, None].astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-np.clip(logits_B1hw, -60, 60))), np.float32)


def _draw(subject: Subject) -> Drawing:
    masks_B1hw = mask_maps(subject)
    spots = find_spots(subject, masks_B1hw, canvas_of(subject.detector))
    pictures = []
    for number, spot in enumerate(spots, 1):
        values_HW, region = within(spot.signed_hw, spot.region)
        caption = f"Where the model sees the edge of a blend in part {number}."
        pictures.append(heat_map(f"mask-{number}", caption, values_HW, (0, 1), region))
    first_hw = masks_B1hw[0, 0]
    strongest, area = float(first_hw.max()), float((first_hw > EDGE).mean())
    return Drawing(
        summary=_summary(subject.detector.bundle.card.name, strongest, area),
        measurements={
            "maps": float(len(pictures)), "strongest_share": strongest, "edge_area_share": area,
        },
        pictures=tuple(pictures),
    )  # fmt: skip


def _summary(name: str, strongest: float, area: float) -> str:
    if strongest <= EDGE:
        return f"{name!r} sees no edge of a blend; its strongest trace of one is {strongest:.0%}."
    return f"{name!r} sees the edge of a blend on {area:.0%} of the most suspicious part."


def _check(detector: Detector) -> None:
    _require(detector, detector.runner(empty_inputs(detector)))


def _require(detector: Detector, outputs: Outputs) -> None:
    if canvas_of(detector).frames != 1 or OUTPUT not in outputs:
        msg = f"{detector.bundle.card.name!r} was not taught to draw a mask."
        raise NoMapError(msg)


METHODS.register(
    "mask",
    Method(
        name="mask",
        summary="The edge of a blend, of models that were taught to draw it",
        limits=LIMITS,
        measures=MEASURES,
        check=_check,
        draw=_draw,
        quick=True,
    ),
)
