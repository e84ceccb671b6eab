"""Small pictures for a report, as inline SVG that takes its colours from the page's style sheet.

Every function returns markup in which all text is escaped. Numbers on an axis are in the unit of the
data; positions on the canvas end in ``_px``.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

Point = tuple[float, float]

LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 56, 16, 14, 46


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis: what it shows, from where to where, and its labelled positions."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 at ``low`` and 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The canvas of a chart with two axes."""

    x: Axis
    y: Axis
    width_px: int = 440
    height_px: int = 330

    def x_px(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return LEFT_PX + self.x.share(value) * (self.width_px - LEFT_PX - RIGHT_PX)

    def y_px(self, value: float) -> float:
        """Return the vertical position of a value; SVG counts downwards."""
        return self.height_px - BOTTOM_PX - self.y.share(value) * (self.height_px - TOP_PX - BOTTOM_PX)


def axis(title: str, low: float, high: float) -> Axis:
    """Return an axis with three to six round ticks; a range without extent is widened."""
    if high <= low:
        low, high = low - (abs(low) / 2 or 0.5), low + (abs(low) / 2 or 0.5)
    power = 10 ** math.floor(math.log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 5)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((k * step, f"{k * step:.6g}") for k in range(first, last + 1))
    return Axis(title=title, low=low, high=high, ticks=ticks)


def element(name: str, text: str = "", **attributes: object) -> Markup:
    """Return an SVG element; in names of attributes ``_`` stands for ``-`` and a last ``_`` for nothing."""
    named = ((key.rstrip("_").replace("_", "-"), _short(value)) for key, value in attributes.items())
    pairs = Markup().join(Markup(' {}="{}"').format(key, value) for key, value in named)
    return Markup("<{0}{1}>{2}</{0}>").format(name, pairs, text)


def picture(
    key: str, title: str, description: str, size_px: tuple[int, int], marks: Iterable[Markup]
) -> Markup:
    """Return an accessible SVG.

    Args:
        key: Unique on the page, for the ids of title and description; the part before the first
            ``-`` is the class.
        title: Short name, read aloud first.
        description: What can be seen, for who cannot see it.
        size_px: Width and height.
        marks: What is drawn, from the back to the front.
    """
    return Markup(
        '<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" class="{kind}" '
        'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{title}</title>'
        '<desc id="{key}-desc">{description}</desc>{marks}</svg>'
    ).format(
        width=size_px[0],
        height=size_px[1],
        key=key,
        kind=key.split("-")[0],
        title=title,
        description=description,
        marks=Markup().join(marks),
    )


def chart(key: str, title: str, description: str, frame: Frame, marks: Iterable[Markup]) -> Markup:
    """Return a chart: the frame's grid and labels with the marks above them."""
    return picture(key, title, description, (frame.width_px, frame.height_px), [*_scaffold(frame), *marks])


def line(frame: Frame, points: Sequence[Point], kind: str) -> Markup:
    """Return a line through points, drawn as the style sheet draws class ``kind``."""
    places = " ".join(f"{frame.x_px(x):.1f},{frame.y_px(y):.1f}" for x, y in points)
    return element("polyline", points=places, class_=f"line {kind}")


def dot(frame: Frame, point: Point, kind: str, radius_px: float = 4) -> Markup:
    """Return a filled circle."""
    x_px, y_px = frame.x_px(point[0]), frame.y_px(point[1])
    return element("circle", cx=x_px, cy=y_px, r=radius_px, class_=f"dot {kind}")


def area(frame: Frame, begin: Point, end: Point, kind: str) -> Markup:
    """Return a rectangle with its sides along the axes between two opposite corners."""
    left, right = sorted((frame.x_px(begin[0]), frame.x_px(end[0])))
    top, bottom = sorted((frame.y_px(begin[1]), frame.y_px(end[1])))
    return element("rect", x=left, y=top, width=right - left, height=bottom - top, class_=f"area {kind}")


def note(frame: Frame, point: Point, text: str, kind: str = "", anchor: str = "start") -> Markup:
    """Return a label whose ``anchor`` (start, middle, end) is at a point."""
    x_px, y_px = frame.x_px(point[0]), frame.y_px(point[1])
    return element("text", text, x=x_px, y=y_px, text_anchor=anchor, class_=f"note {kind}")


def _scaffold(frame: Frame) -> Iterable[Markup]:
    left, right = frame.x_px(frame.x.low), frame.x_px(frame.x.high)
    bottom, top = frame.y_px(frame.y.low), frame.y_px(frame.y.high)
    for value, text in frame.x.ticks:
        x_px = frame.x_px(value)
        yield element("line", x1=x_px, x2=x_px, y1=top, y2=bottom, class_="grid")
        yield element("text", text, x=x_px, y=bottom + 16, text_anchor="middle", class_="tick")
    for value, text in frame.y.ticks:
        y_px = frame.y_px(value)
        yield element("line", x1=left, x2=right, y1=y_px, y2=y_px, class_="grid")
        yield element("text", text, x=left - 7, y=y_px + 4, text_anchor="end", class_="tick")
    x_px, y_px = (left + right) / 2, (top + bottom) / 2
    turned = f"rotate(-90 14 {y_px:.1f})"
    yield element("text", frame.x.title, x=x_px, y=bottom + 37, text_anchor="middle", class_="axis")
    yield element("text", frame.y.title, x=14, y=y_px, text_anchor="middle", transform=turned, class_="axis")


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
