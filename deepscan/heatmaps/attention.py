"""What a model weighs by itself: the moments of a clip or of sound, or the places of a picture."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscan.detector import Detector
from deepscan.errors import NoMapError
from deepscan.evidence.exhibits import curve, heat_map
from deepscan.formats import network_of
from deepscan.heatmaps import METHODS, Method
from deepscan.heatmaps.placing import STRONG, Drawing, Maps, find_spots, within
from deepscan.heatmaps.subject import Subject, canvas_of, copied, empty_inputs, tensors_of
from deepscan.nn.attention import SpatialAttention
from deepscan.verdict import Curve, Picture, Region

MEASURES = ("maps", "moments", "largest_share")
"""How many maps over places there are; how many moments the most suspicious part has, and the largest weight
of one of them; 0 where moments are not weighed."""

LIMITS = (
    "Attention is what a network let through, not which way it pushed the verdict; that is what the curve of "
    "contributions says. Networks that weigh all moments alike say nothing by it."
)


def place_maps(subject: Subject) -> Maps:
    """Return the factors of the last attention over places, float32 [B, T, h, w] in [0, 1].

    Raises:
        NoMapError: The network has no such layer, or cannot be looked into.
    """
    caught: list[Tensor] = []
    with copied(subject.detector) as network, torch.no_grad():
        for part in network.modules():
            if isinstance(part, SpatialAttention):
                part.register_forward_hook(lambda _, __, output: caught.append(output))
        network(**tensors_of(network, subject.inputs))
    if not caught:
        raise _refusal(subject.detector)
    factors_N1hw = caught[-1].float().cpu().numpy()
    return factors_N1hw.reshape(len(subject.examples), -1, *factors_N1hw.shape[2:])


def _draw(subject: Subject) -> Drawing:
    curves = _curves(subject) if "attention" in subject.outputs else []
    pictures = _pictures(subject) if _weighs_places(subject.detector) else []
    if not curves and not pictures:
        raise _refusal(subject.detector)
    share_T = subject.outputs["attention"][0] if curves else np.zeros(1, np.float32)
    return Drawing(
        summary=_summary(subject, share_T),
        measurements={
            "maps": float(len(pictures)),
            "moments": float(np.count_nonzero(share_T)),
            "largest_share": float(share_T.max()),
        },
        pictures=tuple(pictures),
        curves=tuple(curves),
    )


def _curves(subject: Subject) -> list[Curve]:
    """Return for each Example the weights of its moments, and what each of them adds to the logit."""
    curves = []
    for number in range(len(subject.examples)):
        spans = _spans_s(subject, number)
        time_T = spans.mean(1)
        share_T = subject.outputs["attention"][number][: len(spans)]
        added_T = share_T * subject.outputs["moment_logit"][number][: len(spans)]
        strong = [(float(a), float(b)) for a, b in spans[(added_T > 0) & (added_T >= STRONG * added_T.max())]]
        caption = f"Which share each moment of part {number + 1} has in the logit."
        curves.append(curve(f"attention-{number + 1}", caption, time_T, share_T, ("s", "")))
        caption = f"What each moment of part {number + 1} adds to the logit: above 0 it speaks for fake."
        curves.append(curve(f"contribution-{number + 1}", caption, time_T, added_T, ("s", ""), strong))
    return curves


def _spans_s(subject: Subject, number: int) -> NDArray[np.float64]:
    """Return when the moments of an Example begin and end, float [moments, 2]."""
    modality, example = subject.detector.modality, subject.examples[number]
    count = subject.outputs["attention"].shape[1]
    regions: list[Region] = modality.moments(example, count) if modality.moments else []
    return np.array([(each.start_s or 0.0, each.end_s or 0.0) for each in regions]).reshape(-1, 2)


def _pictures(subject: Subject) -> list[Picture]:
    maps_BThw = place_maps(subject)
    spots = find_spots(subject, maps_BThw, canvas_of(subject.detector))
    pictures = []
    for number, spot in enumerate(spots, 1):
        values_HW, region = within(spot.signed_hw, spot.region)
        caption = f"Which places of part {number} the network let through: white all, black nothing."
        pictures.append(heat_map(f"places-{number}", caption, values_HW, (0, 1), region))
    return pictures


def _summary(subject: Subject, share_T: NDArray[np.float32]) -> str:
    name = subject.detector.bundle.card.name
    if not share_T.any():
        return f"{name!r} weighs places of the picture; the maps show which it let through."
    spans = _spans_s(subject, 0)
    begin_s, end_s = spans[min(int(share_T.argmax()), len(spans) - 1)]
    return (
        f"{name!r} gives {share_T.max():.0%} of the weight to the moment from {begin_s:.1f} to {end_s:.1f} s."
    )


def _weighs_places(detector: Detector) -> bool:
    network = network_of(detector.runner)
    if network is None or not any(isinstance(part, SpatialAttention) for part in network.modules()):
        return False
    return canvas_of(detector).frames > 0


def _check(detector: Detector) -> None:
    inputs = empty_inputs(detector)
    if not _weighs_places(detector) and "attention" not in detector.runner(inputs):
        raise _refusal(detector)


def _refusal(detector: Detector) -> NoMapError:
    return NoMapError(f"{detector.bundle.card.name!r} weighs neither moments nor places by attention.")


METHODS.register(
    "attention",
    Method(
        name="attention",
        summary="Which moments, or which places, the network weighs most",
        limits=LIMITS,
        measures=MEASURES,
        check=_check,
        draw=_draw,
        quick=True,
    ),
)
