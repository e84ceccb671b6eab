"""What a report on one file draws: the probability, bars over time, curves, and maps over the picture.

A still is in the page once, as is the colour scale of maps (``sheet``); drawings refer to them. None tells
anything by colour alone: bars have heights, maps stand beside themselves in grey, regions have names.
"""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from deepscan.calibration import OperatingPoint
from deepscan.report import svg
from deepscan.report.moments import SUSPICIOUS, Moment
from deepscan.report.stills import Still
from deepscan.report.wording import UNITS, clock, percent
from deepscan.verdict import Box, Curve, Picture, Uncertainty

GAUGE_PX = (520, 32)
WIDE_PX, BAND_PX = 900, 190
CURVE_PX = (560, 260)
SURROUNDINGS = 1.6
"""How much more than a place a drawing shows of the picture around it."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
RAMP = {"R": "0.10 0.45 0.84 0.98 1", "G": "0.05 0.06 0.22 0.62 1", "B": "0.35 0.43 0.30 0.10 0.55"}
"""From dark and cold to bright and hot, so that it also rises where colours are not told apart."""


def sheet(stills: Iterable[Still]) -> Markup:
    """Return what the drawings refer to, drawn nowhere itself."""
    pictures = (
        Markup('<image id="{}" href="{}" width="{}" height="{}"/>').format(
            each.key, each.uri, each.width_px, each.height_px
        )
        for each in stills
    )
    bands = Markup().join(
        svg.element(f"feFunc{band}", type="table", tableValues=values) for band, values in RAMP.items()
    )
    opaque = svg.element(
        "feColorMatrix", type="matrix", values="1 0 0 0 0  0 1 0 0 0  0 0 1 0 0  0.9 0 0 0 0"
    )
    heat = opaque + svg.element("feComponentTransfer", bands)
    scale = {"x": "0", "y": "0", "width": "1", "height": "1", "color-interpolation-filters": "sRGB"}
    ranged = Markup('<filter id="heat" {}>{}</filter>').format(
        Markup(" ").join(Markup('{}="{}"').format(*pair) for pair in scale.items()), heat
    )
    return Markup(
        '<svg class="sheet" width="0" height="0" aria-hidden="true"><defs>{}{}</defs></svg>'
    ).format(Markup().join(pictures), ranged)


def gauge(key: str, probability: float, band: OperatingPoint | Uncertainty | None, says: str) -> Markup:
    """Draw a probability as a mark on a line from genuine to fake, with a band between two ends.

    Args:
        key: Unique on the page.
        probability: P(fake) in [0, 1].
        band: What is framed, from its ``low`` to its ``high``; None = nothing.
        says: What the frame means.
    """
    width_px, y_px = GAUGE_PX[0], 16

    def x_px(share: float) -> float:
        return 8 + min(1.0, max(0.0, share)) * (width_px - 16)

    marks = [svg.element("line", x1=x_px(0), x2=x_px(1), y1=y_px, y2=y_px, class_="rail")]
    text = f"{percent(probability)} on a line from 0, genuine, to 100 %, fake."
    if band:
        left_px = x_px(band.low)
        long_px = max(3.0, x_px(band.high) - left_px)
        marks.append(svg.element("rect", x=left_px, y=5, width=long_px, height=22, rx=5, class_="frame"))
        text += f" Framed: {says}, from {percent(band.low)} to {percent(band.high)}."
    marks.append(svg.element("circle", cx=x_px(probability), cy=y_px, r=7, class_="mark"))
    return svg.picture(f"gauge-{key}", "Probability of a fake", text, GAUGE_PX, marks)


def timeline(key: str, found: Sequence[Moment], duration_s: float, threshold: float | None) -> Markup:
    """Draw what one detector says over time: the higher a bar, the more probable a fake in that moment."""
    frame = svg.Frame(
        x=svg.axis("seconds", 0, max(duration_s, found[-1].end_s)),
        y=svg.Axis(title="P(fake)", low=0, high=1, ticks=((0, "0"), (0.5, "50 %"), (1, "100 %"))),
        width_px=WIDE_PX,
        height_px=BAND_PX,
    )
    least_s = frame.x.high / 400
    marks = [
        svg.area(
            frame,
            (each.start_s, 0),
            (max(each.end_s, each.start_s + least_s), max(0.01, each.probability)),
            "suspicious" if each.probability >= SUSPICIOUS else "calm",
        )
        for each in found
    ]
    if threshold is not None and threshold <= 1:
        marks.append(svg.line(frame, [(0, threshold), (frame.x.high, threshold)], "threshold"))
        marks.append(
            svg.note(frame, (frame.x.high, threshold + 0.03), "called fake", "threshold-note", "end")
        )
    worst = max(found, key=lambda each: each.probability)
    high = sum(each.probability >= SUSPICIOUS for each in found)
    text = (
        f"{len(found)} moments, {high} of them at 50 % or more; the highest is {percent(worst.probability)} "
        f"at {clock(worst.middle_s)}."
    )
    return svg.chart(f"chart-{key}", f"{worst.detector} over time", text, frame, marks)


def curve(key: str, measured: Curve) -> Markup:
    """Draw a curve with its gaps, and what stands out of it shaded."""
    values = [value for value in measured.y if value is not None]
    if not values:
        return Markup()
    low, high = min(values), max(values)
    frame = svg.Frame(
        x=svg.axis(_unit(measured.x_unit), measured.x[0], measured.x[-1]),
        y=svg.axis(_unit(measured.unit), low, high + (high - low) * 0.05),
        width_px=CURVE_PX[0],
        height_px=CURVE_PX[1],
    )
    ends = frame.x.low, frame.x.high
    inside = [(max(ends[0], begin), min(ends[1], end)) for begin, end in measured.spans]
    marks = [svg.area(frame, (begin, frame.y.low), (end, frame.y.high), "span") for begin, end in inside]
    marks += [
        svg.line(frame, run, "main") if len(run) > 1 else svg.dot(frame, run[0], "main", 2)
        for run in _runs(measured)
    ]
    unit = _unit(measured.unit)
    text = f"From {low:.4g} to {high:.4g} {unit}; {len(inside)} stretches stand out."
    return svg.chart(f"chart-{key}", measured.caption, text.replace(" ;", ";"), frame, marks)


def overlay(key: str, picture: Picture, still: Still) -> Markup:
    """Draw a map over the part of the still that it belongs to, in colours."""
    box = _box(picture)
    left, top, width, height = _window(box, still, around=1.0 if box == WHOLE else SURROUNDINGS)
    place = _place(box, still)
    laid = Markup('<image class="map" preserveAspectRatio="none" filter="url(#heat)" {} href="{}"/>').format(
        place, f"data:image/png;base64,{picture.png}"
    )
    return _framed(key, (f"{picture.name} over the picture", picture.caption), (left, top, width, height), [
        Markup('<use href="#{}"/>').format(still.key), laid
    ])  # fmt: skip


def scene(key: str, still: Still, moment: Moment) -> Markup:
    """Draw a frame of a clip, with the place that a detector looked at framed."""
    box = moment.box or WHOLE
    marks = [Markup('<use href="#{}"/>').format(still.key)]
    if moment.box:
        marks.append(Markup('<rect class="place" {}/>').format(_place(box, still)))
    title = f"Frame at {clock(moment.middle_s)}"
    window = _window(box, still, around=1.0 if moment.box is None else SURROUNDINGS * 1.4)
    return _framed(key, (title, "The place that the detector looked at is framed."), window, marks)


def marked(key: str, still: Still, places: Sequence[tuple[str, Box]]) -> Markup:
    """Draw a still with named places in it."""
    marks = [Markup('<use href="#{}"/>').format(still.key)]
    for name, box in places:
        marks.append(Markup('<rect class="place" {}/>').format(_place(box, still)))
        high_px = still.width_px / 22
        x_px, y_px = box[0] * still.width_px + high_px / 3, box[1] * still.height_px + high_px * 1.2
        size = f"font-size: {high_px:.1f}px"
        marks.append(svg.element("text", name, x=x_px, y=y_px, style=size, class_="place-name"))
    text = "Places that the detectors looked at: " + ", ".join(name for name, _ in places) if places else ""
    window = (0.0, 0.0, float(still.width_px), float(still.height_px))
    return _framed(key, ("The file", text or "The picture as it is."), window, marks)


def _framed(
    key: str, words: tuple[str, str], window: tuple[float, float, float, float], marks: Iterable[Markup]
) -> Markup:
    """Return an accessible SVG of a part of a picture; ``words`` are its title and description."""
    view = " ".join(f"{value:.1f}" for value in window)
    return Markup(
        '<svg viewBox="{view}" role="img" class="still" aria-labelledby="{key}-title {key}-desc">'
        '<title id="{key}-title">{title}</title><desc id="{key}-desc">{text}</desc>{marks}</svg>'
    ).format(view=view, key=key, title=words[0], text=words[1], marks=Markup().join(marks))


def _window(box: Box, still: Still, around: float) -> tuple[float, float, float, float]:
    """Return left, top, width and height in px of a box and what is around it, inside the still."""
    left, top, right, bottom = box
    width = min(1.0, max(0.05, (right - left) * around))
    height = min(1.0, max(0.05, (bottom - top) * around))
    x = min(max(0.0, (left + right - width) / 2), 1 - width)
    y = min(max(0.0, (top + bottom - height) / 2), 1 - height)
    return x * still.width_px, y * still.height_px, width * still.width_px, height * still.height_px


def _place(box: Box, still: Still) -> Markup:
    """Return the attributes of a rectangle in px."""
    x, y = box[0] * still.width_px, box[1] * still.height_px
    width, height = (box[2] - box[0]) * still.width_px, (box[3] - box[1]) * still.height_px
    return Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(x, y, width, height)


def _box(picture: Picture) -> Box:
    return (picture.region.box if picture.region else None) or WHOLE


def _runs(measured: Curve) -> list[list[svg.Point]]:
    """Return the stretches of a curve between its gaps."""
    runs: list[list[svg.Point]] = [[]]
    for x, y in zip(measured.x, measured.y, strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _unit(name: str) -> str:
    return UNITS.get(name, name.replace("_", " "))
