"""What a verdict means, in words: figures in, sentences out. The page of a service says the same."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepscan.calibration import OperatingPoint
from deepscan.verdict import FAILED, Finding, Label, Score, Uncertainty, Verdict

LABELS: dict[Label, str] = {"fake": "Looks fake", "real": "Looks genuine", "inconclusive": "Inconclusive"}
SAYS: dict[Label, str] = {"fake": "looks fake", "real": "looks genuine", "inconclusive": "does not decide"}

FINDINGS: dict[Finding, tuple[str, str]] = {
    "telling": ("Telling", "says by itself how the file was made"),
    "unusual": ("Unusual", "few genuine files have this"),
    "ordinary": ("Ordinary", "genuine files have this too"),
    "none": ("Not measured", "it could not measure"),
}
"""Name and meaning of every finding, the weightiest first."""

GROUPS = {
    "provenance": "Provenance",
    "model": "Where the detectors looked",
    "metadata": "Metadata",
    "compression": "Compression",
    "noise": "Noise",
    "spectrum": "Spectrum",
    "face": "Faces",
    "voice": "Voice",
    "sound": "Sound",
    "sync": "Lips and voice",
}
"""Title of every group of evidence."""

REASONS = {
    "no-face": "No face was found",
    "no-hum": "No hum of the mains is heard",
    "no-map": "Its model has nothing that such a map could show",
    "no-picture": "There is no picture of the kind that it looks at",
    "no-sound": "There is no sound",
    "not-installed": "What it needs is not installed",
    "nothing-measured": "There is nothing that it measures",
    "out-of-domain": "The file is unlike those that it knows",
    "too-short": "The file is too short",
    "unclear": "What it measures is lost in noise",
    FAILED: "It failed",
}

UNITS = {
    "ms": "ms",
    "s": "s",
    "px": "px",
    "hz": "Hz",
    "khz": "kHz",
    "db": "dB",
    "bytes": "bytes",
    "percent": "%",
    "semitones": "semitones",
    "bits": "bits",
    "frames": "frames",
    "deg": "°",
    "bpm": "beats/min",
}
"""How a unit at the end of a name is written."""

FEW_FILES = 30
"""Fewer validation files than this make an interval that deserves a warning."""

LARGE_DISAGREEMENT = 0.15
GAP = "\u00a0"
"""Keeps a figure and its unit on one line."""


class Quantity(NamedTuple):
    """A measurement as it is read: name, value and unit."""

    name: str
    value: str
    unit: str


def percent(share: float) -> str:
    """Return a probability as text, never 0 or 100 %: nothing here is certain."""
    if share > 0.99:
        return f"over 99{GAP}%"
    if share < 0.01:
        return f"under 1{GAP}%"
    return f"{_half_up(share * 100)}{GAP}%"


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds with tenths, such as ``0:07.5``."""
    tenths = _half_up(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def span(start_s: float | None, end_s: float | None) -> str:
    """Return when something is, for people; empty where it has no time."""
    if start_s is None:
        return ""
    if end_s is None or end_s <= start_s:
        return f"at {clock(start_s)}"
    return f"{clock(start_s)} to {clock(end_s)}"


def size(count: int) -> str:
    """Return a number of bytes as text."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def figure(value: float) -> str:
    """Return a figure with three or four digits; the same as the page of a service."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{float(f'{value:.3g}'):.12g}"


def quantity(name: str, value: float) -> Quantity:
    """Return a measurement with its name in words and its unit apart, ``pitch_median_hz`` as median in Hz."""
    words = name.split("_")
    # The spread of a figure has the unit of the figure.
    tail = words.pop() if words[-1] == "spread" and len(words) > 1 else ""
    unit = UNITS[words.pop()] if len(words) > 1 and words[-1] in UNITS else ""
    return Quantity(" ".join(words) + (f", {tail}" if tail else ""), figure(value), unit)


def scale(value: float | None, unit: str) -> str:
    """Return an end of a scale with its unit."""
    return "" if value is None else f"{figure(value)}{GAP}{UNITS.get(unit, unit)}".rstrip(GAP)


def reason(word: str) -> str:
    """Return why something was not judged or measured, from its short word."""
    return REASONS.get(word, "It could not judge")


def meaning(verdict: Verdict) -> str:
    """Return what the label means, a sentence or two."""
    if verdict.label == "fake":
        return (
            "The detectors find traces like those of the fakes that they learnt from. This is a "
            "measurement, not a proof."
        )
    if verdict.label == "real":
        return (
            "The detectors find no traces like those of the fakes that they learnt from. A fake made in a "
            "way that they do not know may look like this too."
        )
    if verdict.probability is not None:
        return (
            "The probability lies where the detectors would be wrong too often in either direction, so they "
            "do not decide. A better copy of the file, the original if there is one, may tell more."
        )
    asked = "None of the detectors could judge this file; why is told below."
    said = asked if verdict.abstentions else "No detector looks at such files."
    return f"{said} That says nothing about whether it is genuine."


def rate(point: OperatingPoint | None) -> str:
    """Return what a decision at an operating point means: how often it is wrong, and for which files."""
    if point is None:
        return (
            "Several detectors decide here by their own thresholds, pooled; how often they are wrong "
            "together was not measured. An ensemble that was fitted states a rate."
        )
    where = f"{_called(point)} {_between(point)}".strip()
    if not point.real or not point.fake:
        return f"{where} These thresholds were not fitted, so no rate of errors is known for them."
    share = f"{100 * point.max_error_rate:g}{GAP}%"
    return (
        f"{where} At that point at most {share} of genuine files are called fake, and at most {share} of "
        f"fakes genuine, for files like those of the validation ({point.real} genuine, {point.fake} fake). "
        f"{_in_groups(point)}{point.shortfall}".strip()
    )


def _in_groups(point: OperatingPoint) -> str:
    if point.groups < 2:
        return ""
    return f"The genuine files keep to it in each of their {point.groups} groups. "


def _called(point: OperatingPoint) -> str:
    fake = (
        "No probability suffices to call a file fake"
        if point.high > 1
        else f"A file is called fake from {percent(point.high)}"
    )
    real = "and none genuine." if point.low <= 0 else f"and genuine below {percent(point.low)}."
    return f"{fake} {real}"


def _between(point: OperatingPoint) -> str:
    return "In between the answer is inconclusive." if point.low < point.high else ""


def trust(verdict: Verdict) -> list[str]:
    """Return what the probability is worth, from validation files that scored alike, as sentences."""
    if verdict.probability is None:
        return []
    known = verdict.uncertainty
    if known is None or not known.files:
        return [
            "How many files that score like this one are fakes was not measured for this combination of "
            "detectors."
        ]
    files = f"{known.files} {'file' if known.files == 1 else 'files'}"
    said = f"Of files that scored like this one in validation, {_range(known)} were fakes"
    return [f"{said} (95{GAP}% interval, {files}).", *_doubts(known, verdict.scores)]


def _range(known: Uncertainty) -> str:
    low, high = (_half_up(end * 100) for end in (known.low, known.high))
    return f"about {high}{GAP}%" if low == high else f"{low} to {high}{GAP}%"


def _doubts(known: Uncertainty, scores: tuple[Score, ...]) -> list[str]:
    found = []
    if known.files < FEW_FILES:
        found.append("These are few files, so the figure is rough.")
    if (known.disagreement or 0) >= LARGE_DISAGREEMENT and len(scores) > 1:
        found.append(
            f"The detectors disagree (standard deviation {known.disagreement:.2f}); look at what each of "
            "them says."
        )
    return found


def _half_up(value: float) -> int:
    """Round as the page does: Python's ``round`` takes 50.5 to the even 50."""
    return int(value + 0.5)


def tested(metrics: Mapping[str, Any]) -> str:
    """Return how well a detector tells fakes from genuine files of its test split; "" where nobody measured.

    Args:
        metrics: Those of its card.
    """
    measured = metrics.get("test") or {}
    auc = measured.get("figures", {}).get("auc", {})
    if auc.get("value") is None:
        return ""
    known = auc.get("low") is not None and auc.get("high") is not None
    interval = f", 95{GAP}% interval {auc['low']:.2f} to {auc['high']:.2f}" if known else ""
    files = measured.get("counts", {}).get("files")
    counted = f", {files} files" if files else ""
    value = f"{auc['value']:.2f}"
    return f"On its own test files its AUC was {value} (0.5 is chance, 1 is best{interval}{counted})."
