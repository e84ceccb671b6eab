"""The charts of a report, each from plain figures."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from deepscan.calibration import OperatingPoint, wilson_interval
from deepscan.metrics import Confusion, Curves, Figure, ReliabilityBin
from deepscan.report import svg

WHISKER_PX = (150, 20)


def roc(curves: Curves, confusion: Confusion) -> Markup:
    """Draw the ROC curve with the point at which the threshold works."""
    frame = svg.Frame(
        x=svg.axis("real files called fake (false positive rate)", 0, 1),
        y=svg.axis("fakes found (true positive rate)", 0, 1),
    )
    fake = confusion.fake_called_fake + confusion.fake_called_real
    real = confusion.real_called_fake + confusion.real_called_real
    here = (confusion.real_called_fake / real, confusion.fake_called_fake / fake)
    marks = [
        svg.line(frame, [(0, 0), (1, 1)], "chance"),
        svg.line(frame, curves.roc, "main"),
        svg.dot(frame, here, "here", radius_px=5.5),
        svg.note(frame, (here[0] + 0.03, here[1] - 0.06), "threshold"),
        svg.note(frame, (0.72, 0.66), "chance", "faint"),
    ]
    text = f"At the threshold {here[1]:.1%} of fakes are found and {here[0]:.1%} of real files called fake."
    return svg.chart("chart-roc", "Receiver operating characteristic", text, frame, marks)


def precision_recall(curves: Curves) -> Markup:
    """Draw precision over recall with the share of fakes, which is the precision of chance."""
    frame = svg.Frame(
        x=svg.axis("fakes found (recall)", 0, 1), y=svg.axis("fakes among the found (precision)", 0, 1)
    )
    share = curves.precision_recall[-1][1]
    marks = [
        svg.line(frame, [(0, share), (1, share)], "chance"),
        svg.line(frame, curves.precision_recall, "main"),
        svg.note(frame, (0.02, share - 0.055), "share of fakes in the set", "faint"),
    ]
    text = f"Precision falls to {share:.1%}, the share of fakes, once every file is called fake."
    return svg.chart("chart-pr", "Precision and recall", text, frame, marks)


def reliability(bins: Sequence[ReliabilityBin]) -> Markup:
    """Draw the share of fakes over the mean probability in each bin, with Wilson intervals."""
    frame = svg.Frame(x=svg.axis("stated P(fake)", 0, 1), y=svg.axis("share that is fake", 0, 1))
    most = max(held.files for held in bins)
    marks = [svg.line(frame, [(0, 0), (1, 1)], "chance")]
    for held in bins:
        low, high = wilson_interval(held.fakes, held.files)
        stated = held.mean_probability
        marks.append(svg.line(frame, [(stated, low), (stated, high)], "interval"))
        radius_px = 2.5 + 5.5 * math.sqrt(held.files / most)
        marks.append(svg.dot(frame, (stated, held.fakes / held.files), "main", radius_px))
    text = "On the diagonal a stated probability is true. Larger dots: more files. Bars: 95 % intervals."
    return svg.chart("chart-reliability", "Does the probability mean what it says?", text, frame, marks)


def histogram(curves: Curves, threshold: float, point: OperatingPoint | None) -> Markup:
    """Draw how both classes score: real files upwards, fakes downwards, with the decision band."""
    shares = [_shares(counts) for counts in (curves.histogram_real, curves.histogram_fake)]
    top = math.sqrt(max(0.01, *shares[0], *shares[1])) * 1.12
    ticks = [(sign * math.sqrt(share), f"{share:.0%}") for share in (0.05, 0.2, 0.5) for sign in (1, -1)]
    shown = tuple(tick for tick in [(0.0, "0"), *ticks] if abs(tick[0]) < top)
    frame = svg.Frame(
        x=svg.axis("P(fake)", 0, 1),
        y=svg.Axis(title="share of class (root scale)", low=-top, high=top, ticks=shown),
    )
    low, high = (point.low, min(1.0, point.high)) if point else (threshold, threshold)
    marks = [svg.area(frame, (low, -top), (high, top), "band")]
    for share, sign, kind in ((shares[0], 1, "real"), (shares[1], -1, "fake")):
        bins = len(share)
        marks += [
            svg.area(frame, ((index + 0.08) / bins, 0), ((index + 0.92) / bins, sign * math.sqrt(part)), kind)
            for index, part in enumerate(share)
            if part
        ]
    marks += [
        svg.line(frame, [(threshold, -top), (threshold, top)], "threshold"),
        svg.note(frame, (0.98, top * 0.86), "real files ↑", "real", "end"),
        svg.note(frame, (0.02, -top * 0.93), "fakes ↓", "fake"),
    ]
    text = f"Threshold {threshold:.3f}."
    if low < high:
        text += f" Verdicts from {low:.3f} to {high:.3f} are inconclusive."
    return svg.chart("chart-scores", "How real files and fakes score", text, frame, marks)


def history(key: str, name: str, epochs: Mapping[float, float]) -> Markup:
    """Draw one recorded value over the epochs."""
    values = list(epochs.values())
    frame = svg.Frame(
        x=svg.axis("epoch", min(epochs), max(epochs)),
        y=svg.axis(name, min(values), max(values)),
        width_px=340,
        height_px=220,
    )
    points = sorted(epochs.items())
    marks = [svg.line(frame, points, "main"), *(svg.dot(frame, point, "main", 2.5) for point in points)]
    (first, begin), (last, end) = points[0], points[-1]
    text = f"From {begin:.4g} in epoch {first:g} to {end:.4g} in epoch {last:g}."
    return svg.chart(f"chart-{key}", f"{name} over the epochs", text, frame, marks)


def whisker(key: str, figure: Figure, low: float = 0.0) -> Markup:
    """Draw a figure as a dot with its interval on a scale from ``low`` to 1."""
    width_px, height_px = WHISKER_PX
    middle_px = height_px / 2

    def x_px(value: float) -> float:
        return 6 + (value - low) / (1 - low) * (width_px - 12)

    marks = [svg.element("line", x1=x_px(low), x2=x_px(1), y1=middle_px, y2=middle_px, class_="grid")]
    if figure.low is not None and figure.high is not None:
        begin_px, end_px = x_px(figure.low), x_px(figure.high)
        ends = f"{begin_px:.1f},{middle_px} {end_px:.1f},{middle_px}"
        marks.append(svg.element("polyline", points=ends, class_="line interval"))
    if figure.value is not None:
        marks.append(svg.element("circle", cx=x_px(figure.value), cy=middle_px, r=4.5, class_="dot main"))
    text = f"on a scale from {low:g} to 1"
    return svg.picture(f"whisker-{key}", "Value and 95 % interval", text, WHISKER_PX, marks)


def stacked(key: str, title: str, counts: Mapping[str, int]) -> Markup:
    """Draw counts as parts of one bar; the style sheet colours part 0, 1, 2 ..."""
    total = max(1, sum(counts.values()))
    marks, begin_px = [], 0.0
    for index, count in enumerate(counts.values()):
        width_px, kind = 900 * count / total, f"part-{index % 6}"
        marks.append(svg.element("rect", x=begin_px, y=0, width=width_px, height=26, class_=kind))
        begin_px += width_px
    text = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return svg.picture(f"stack-{key}", title, text, (900, 26), marks)


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(1, sum(counts))
    return [count / total for count in counts]
