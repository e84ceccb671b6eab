"""From maps over a model's inputs to pictures and curves that lie over the media."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from deepscan.evidence.exhibits import curve, heat_map, thumbnail
from deepscan.heatmaps.subject import MOST_PARTS, Canvas, Subject, canvas_of
from deepscan.media.sound import SOUND_RATE_HZ
from deepscan.verdict import Box, Curve, Picture, Region

Maps = NDArray[np.float32]
"""Above 0 where something speaks for fake, below 0 where it speaks for real: float32 [B, T, h, w] over an
even grid of B Examples, row by row. T is 1, or the pictures of an Example. Of sound, columns are time."""

FINE_PX = 96
"""Longest side that maps are smoothed to; a map of 7 x 7 cells cannot be cut at the edge of a picture."""

STRONG = 0.5
"""Spans of a curve are where it exceeds this share of its maximum."""

TENTH = 0.1
MEASURES = ("maps", "focus_share")
"""How many maps there are, and which share of the influence lies in the strongest tenth of the first one:
0.1 is an even map."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What a method shows.

    Attributes:
        summary: One sentence.
        measurements: Figures by name.
        pictures: Maps, and what they lie over where that is no picture of the media.
        curves: Influence over time.
    """

    summary: str
    measurements: dict[str, float]
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """A map of a part of the file.

    Attributes:
        number: Of the Example.
        signed_hw: float32 [h, w]; see ``Maps``.
        region: Where its part lies; it may reach beyond the picture.
        share: Which share of the Example it covers, from its begin; short sound is repeated until it fills
            a window.
    """

    number: int
    signed_hw: Maps
    region: Region
    share: float = 1.0


def draw(subject: Subject, maps_BThw: Maps, title: str) -> Drawing:
    """Show maps over the parts of a file, in one scale, those for real too where the verdict is real."""
    canvas = canvas_of(subject.detector)
    spots = find_spots(subject, maps_BThw, canvas)
    signs = {"fake": 1.0, "real": -1.0} if subject.label == "real" else {"fake": 1.0}
    high = max(float((sign * spot.signed_hw).max()) for spot in spots for sign in signs.values())
    scale = (0.0, high if high > 0 else 1.0)
    pictures = [
        picture
        for number, spot in enumerate(spots, 1)
        for word, sign in signs.items()
        if canvas.size[0] > 1
        for picture in [_picture(f"{word}-{number}", f"{title}: speaks for {word}", sign, spot, scale)]
    ]
    curves = [] if canvas.frames else [_curve(number, spot) for number, spot in enumerate(spots, 1)]
    behind = [] if canvas.frames or canvas.size[0] == 1 else _spectra(subject, canvas, spots)
    word = "real" if subject.label == "real" else "fake"
    shown_hw = np.maximum(signs[word] * spots[0].signed_hw, 0)
    measured = {"maps": float(len(pictures) or len(curves)), "focus_share": _focus(shown_hw)}
    return Drawing(
        summary=_summary(subject, title, word, shown_hw, spots[0].region),
        measurements=measured,
        pictures=(*pictures, *behind),
        curves=tuple(curves),
    )


def find_spots(subject: Subject, maps_BThw: Maps, canvas: Canvas) -> list[Spot]:
    """Return the parts that are shown, the most suspicious first."""
    if maps_BThw.shape[1] > 1:
        return [_moment(subject, maps_BThw, *pair) for pair in _suspicious(subject, maps_BThw.shape[1])]
    spots = []
    for number, example in enumerate(subject.examples):
        region = subject.detector.modality.locate(example)
        share = 1.0
        if canvas.frames:
            region = dataclasses.replace(region, box=_box(np.median(_boxes(subject, number), axis=0)))
        elif "wave" in example and region.start_s is not None and region.end_s is not None:
            share = min(1.0, (region.end_s - region.start_s) * SOUND_RATE_HZ / len(example["wave"]))
        columns = max(1, round(share * maps_BThw.shape[3]))
        signed_hw = maps_BThw[number, 0, :, :columns]
        spots.append(Spot(number=number, signed_hw=signed_hw, region=region, share=share))
    return spots


def _suspicious(subject: Subject, moments: int) -> list[tuple[int, int]]:
    """Return the real moments of all Examples that look most like fake, as Example and moment."""
    logits_BT = subject.outputs.get("moment_logit", np.zeros((len(subject.examples), moments), np.float32))
    real = [(b, t) for b in range(len(logits_BT)) for t in range(min(moments, len(_boxes(subject, b))))]
    return sorted(real, key=lambda pair: -float(logits_BT[pair]))[:MOST_PARTS]


def _moment(subject: Subject, maps_BThw: Maps, number: int, moment: int) -> Spot:
    example, modality = subject.examples[number], subject.detector.modality
    places = modality.moments(example, maps_BThw.shape[1]) if modality.moments else []
    region = places[moment] if moment < len(places) else modality.locate(example)
    region = dataclasses.replace(region, box=_boxes(subject, number)[moment])
    return Spot(number=number, signed_hw=maps_BThw[number, moment], region=region)


def _boxes(subject: Subject, number: int) -> list[Box]:
    detector, facts = subject.detector, subject.facts
    assert detector.modality.shown is not None, "else it would be no canvas of pictures"
    size_px = (facts.width_px or 1, facts.height_px or 1)
    return detector.modality.shown(subject.examples[number], detector.prep, size_px)


def _picture(name: str, caption: str, sign: float, spot: Spot, scale: tuple[float, float]) -> Picture:
    values_hw, region = np.maximum(sign * spot.signed_hw, 0), spot.region
    if region.box is None:
        caption = f"{caption}{_when(region)}; the first rows are below."
        return heat_map(name, caption, values_hw[::-1], scale, region)
    values_HW, region = within(values_hw, region)
    return heat_map(name, f"{caption}{_when(region)}.", values_HW, scale, region)


def within(values_hw: Maps, region: Region) -> tuple[Maps, Region]:
    """Smooth a map, and cut off what lies beyond the picture.

    Returns:
        float32 [H, W] with its longer side at least ``FINE_PX``, and the region that it covers now.
    """
    height, width = values_hw.shape
    factor = max(1, -(-FINE_PX // max(height, width)))
    fine_11hw = torch.from_numpy(np.ascontiguousarray(values_hw))[None, None]
    fine_HW = functional.interpolate(fine_11hw, scale_factor=factor, mode="bilinear")[0, 0].numpy()
    left, top, right, bottom = region.box or (0.0, 0.0, 1.0, 1.0)
    columns, left, right = _inside(left, right, fine_HW.shape[1])
    rows, top, bottom = _inside(top, bottom, fine_HW.shape[0])
    return fine_HW[rows, columns], dataclasses.replace(region, box=(left, top, right, bottom))


def _inside(begin: float, end: float, cells: int) -> tuple[slice, float, float]:
    """Return which cells between two edges lie in [0, 1], at least one, and where their edges are."""
    step = (end - begin) / cells
    first = min(max(0, round(-begin / step)), cells - 1)
    last = max(first + 1, min(cells, round((1 - begin) / step)))
    return slice(first, last), max(0.0, begin + first * step), min(1.0, begin + last * step)


def _curve(number: int, spot: Spot) -> Curve:
    influence_T = spot.signed_hw.sum(0)
    start_s, end_s = spot.region.start_s or 0.0, spot.region.end_s or 0.0
    edges_s = np.linspace(start_s, end_s, len(influence_T) + 1)
    caption = f"What speaks for fake, above 0, and for real, below it,{_when(spot.region)}."
    spans = spans_of(influence_T, edges_s)
    return curve(
        f"influence-{number}", caption, (edges_s[1:] + edges_s[:-1]) / 2, influence_T, ("s", ""), spans
    )


def spans_of(values_T: NDArray[np.floating], edges_s: NDArray[np.floating]) -> list[tuple[float, float]]:
    """Return from when to when values exceed ``STRONG`` of their maximum; none where nothing is above 0."""
    if values_T.max() <= 0:
        return []
    strong_T = np.concatenate([[False], values_T >= STRONG * values_T.max(), [False]]).astype(int)
    begins, ends = np.flatnonzero(np.diff(strong_T) == 1), np.flatnonzero(np.diff(strong_T) == -1)
    return [(float(edges_s[b]), float(edges_s[e])) for b, e in zip(begins, ends, strict=True)]


def _spectra(subject: Subject, canvas: Canvas, spots: list[Spot]) -> list[Picture]:
    """Draw what the maps of sound lie over."""
    pictures = []
    for number, spot in enumerate(spots, 1):
        rows_FT = subject.inputs[canvas.column][spot.number]
        rows_FT = rows_FT[::-1, : max(1, round(spot.share * rows_FT.shape[1]))]
        low, high = np.percentile(rows_FT, (1, 99))
        grey_FT = np.rint(255 * np.clip((rows_FT - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
        caption = f"What the model heard{_when(spot.region)}; the first rows are below."
        pictures.append(thumbnail(f"heard-{number}", caption, grey_FT, spot.region))
    return pictures


def _summary(subject: Subject, title: str, word: str, shown_hw: Maps, region: Region) -> str:
    name = subject.detector.bundle.card.name
    if not shown_hw.any():
        return f"{title}: nothing that {name!r} saw in its most suspicious part speaks for {word}."
    where = _side(shown_hw, region) + _when(region)
    return f"{title}: what speaks for {word} to {name!r} lies mostly{where}."


def _side(shown_hw: Maps, region: Region) -> str:
    """Say in words where the middle of a map's weight lies."""
    if region.box is None:
        return ""
    rows, columns = np.indices(shown_hw.shape)
    height, width = shown_hw.shape
    down = float((rows * shown_hw).sum() / shown_hw.sum() + 0.5) / height
    right = float((columns * shown_hw).sum() / shown_hw.sum() + 0.5) / width
    words = (_third(down, ("top", "", "bottom")), _third(right, ("left", "", "right")))
    return f" in the {' '.join(word for word in words if word) or 'middle'} of the part"


def _third(share: float, words: tuple[str, str, str]) -> str:
    return words[min(2, int(share * 3))]


def _when(region: Region) -> str:
    if region.start_s is None or region.end_s is None:
        return ""
    return f" from {region.start_s:.1f} to {region.end_s:.1f} s"


def _focus(shown_hw: Maps) -> float:
    """Return the share of the influence that lies in the strongest tenth of the cells."""
    if not shown_hw.any():
        return 0.0
    ranked = np.sort(shown_hw, axis=None)[::-1]
    return float(ranked[: max(1, round(TENTH * len(ranked)))].sum() / ranked.sum())


def _box(values: NDArray[np.floating]) -> Box:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom
