"""What makes a data set dishonest: content on both sides of a split, and classes that metadata tell apart.

A detector that is trained on such data gets figures that it does not keep. Every finding says what to do.
"""

import collections
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from deepscan.datasets import layout, shortcuts
from deepscan.datasets.examine import Seen
from deepscan.datasets.repeats import Pair, pairs
from deepscan.datasets.shortcuts import ALL, Probe

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the worst on."""

TELLING, DECIDING = 0.6, 0.75
"""A measure is a warning, and an error, from this lower end of its AUC's interval on."""

UNEVEN = 5.0
"""Files of one class for each of the other from which a note is made of it."""

EXAMPLES = 3

_REMEDIES = (
    (
        r"container|encoder|.*codec|pixel_format|color_\w+|exif|jpeg_\w+|bits_per_pixel|size_bytes|bit_rate_hz",
        "write both classes anew with the same program and settings, as the last step, and without tags",
    ),
    (r"pixels|aspect_ratio", "crop and scale both classes alike, before they are written"),
    (r"duration_s", "cut both classes to the same lengths"),
    (r"frame_rate_hz", "bring both classes to one frame rate"),
    (
        r"sample_rate_hz|channels",
        "bring both classes to the lowest rate among them, mono; what a lower rate has cut off stays missing",
    ),
    (r"loudness_db|peak_db", "level both classes (the preparation of sound here does)"),
    (r"\w+_silence_s", "trim both classes (the preparation of sound here does)"),
)
"""What to do about a measure that tells the classes apart, by pattern of its name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is wrong with a data set.

    Attributes:
        severity: ``error`` = figures would be too good; ``warning`` = they may be; ``note`` = worth knowing.
        kind: A short word, the same for every finding of its kind.
        what: A sentence.
        advice: What to do about it.
        files: Some of the files in question.
    """

    severity: Severity
    kind: str
    what: str
    advice: str
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many files and sources there are of a generator, in a split, of a class."""

    split: str
    label: str
    generator: str
    files: int
    sources: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Everything that was found in a data set.

    Attributes:
        digest: Digest of the manifest.
        files: How many there are.
        unreadable: How many of them are no sound media.
        counts: By split, class and generator.
        probes: How well metadata tell the classes apart, for each kind of media.
        findings: The worst first.
    """

    digest: str
    files: int
    unreadable: int
    counts: tuple[Count, ...]
    probes: tuple[Probe, ...]
    findings: tuple[Finding, ...]

    def errors(self) -> int:
        """Return how many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def audit(manifest: pa.Table, seen: Sequence[Seen], rng: np.random.Generator) -> Audit:
    """Judge a data set by its manifest and what was seen of its files.

    Args:
        manifest: As of ``layout.scan``; splits may be absent.
        seen: What ``examine.examine`` saw, in the order of the manifest.
        rng: Divides the sources for the probes, and draws those of each replicate.
    """
    rows = manifest.to_pylist()
    probes = [each for files in _kinds(rows, seen) for each in shortcuts.probe(files, rng)]
    findings = [
        *_leaks(rows),
        *_repeats(rows, pairs(seen)),
        *_shortcuts(probes),
        *_names(rows),
        *_unreadable(rows, seen),
        *_balance(rows),
    ]
    return Audit(
        digest=layout.digest(manifest),
        files=len(rows),
        unreadable=sum(bool(each.problem) for each in seen),
        counts=tuple(_counts(rows)),
        probes=tuple(probes),
        findings=tuple(sorted(findings, key=lambda each: SEVERITIES.index(each.severity))),
    )


def _kinds(rows: Sequence[dict[str, Any]], seen: Sequence[Seen]) -> Iterable[shortcuts.Files]:
    for kind in sorted({each.kind for each in seen} - {""}):
        kept = [at for at, each in enumerate(seen) if each.kind == kind]
        yield shortcuts.Files(
            kind=kind,
            measures=[seen[at].measures for at in kept],
            label=np.array([rows[at]["label"] for at in kept], np.int64),
            source=np.array([rows[at]["source"] for at in kept]),
            generator=np.array([rows[at]["generator"] for at in kept]),
        )


def _leaks(rows: Sequence[dict[str, Any]]) -> Iterable[Finding]:
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows:
        homes[row["source"]].add(row["split"])
    leaks = sorted(source for source, splits in homes.items() if len(splits) > 1)
    if leaks:
        yield Finding(
            severity="error",
            kind="source in two splits",
            what=f"{len(leaks)} of {len(homes)} sources are in more than one split.",
            advice="Move each to one split, or leave the splits out to have them made by source.",
            files=tuple(leaks[:EXAMPLES]),
        )


def _repeats(rows: Sequence[dict[str, Any]], found: Sequence[Pair]) -> Iterable[Finding]:
    def differ(column: str) -> Callable[[Pair], bool]:
        return lambda pair: rows[pair.first][column] != rows[pair.second][column]

    split, label, source = (differ(column) for column in ("split", "label", "source"))
    exact = [pair for pair in found if pair.exact]
    near = [pair for pair in found if not pair.exact]
    cases: tuple[tuple[Severity, str, list[Pair], str, str], ...] = (
        (
            "error",
            "same file, both labels",
            [pair for pair in exact if label(pair)],
            "have the same bytes and contradicting labels",
            "One label of each is wrong: correct or remove it.",
        ),
        (
            "error",
            "same file, two splits",
            [pair for pair in exact if split(pair)],
            "have the same bytes in two splits",
            "Remove the copies, or give both one source and let the splits be made.",
        ),
        (
            "error",
            "near-copy, two splits",
            [pair for pair in near if split(pair)],
            "look or sound alike in two splits",
            "Give both one source, and both the same split or none.",
        ),
        (
            "warning",
            "near-copy, both labels",
            [pair for pair in near if label(pair) and source(pair)],
            "look or sound alike under contradicting labels and different sources",
            "If one was made from the other, give both one source; otherwise look whether a label is wrong.",
        ),
        (
            "warning",
            "copy, two sources",
            [pair for pair in found if source(pair) and not (label(pair) or split(pair))],
            "have the same content under different sources",
            "Remove the copies, or give both one source, so that no division can part them.",
        ),
        (
            "note",
            "same file twice",
            [pair for pair in exact if not (label(pair) or split(pair) or source(pair))],
            "have the same bytes",
            "Remove the copies: they count twice.",
        ),
    )
    for severity, kind, chosen, what, advice in cases:
        if chosen:
            named = [
                f"{rows[pair.first]['path']} = {rows[pair.second]['path']}" for pair in chosen[:EXAMPLES]
            ]
            pairs_are = "1 pair of files" if len(chosen) == 1 else f"{len(chosen)} pairs of files"
            yield Finding(
                severity=severity, kind=kind, what=f"{pairs_are} {what}.", advice=advice, files=tuple(named)
            )


def _shortcuts(probes: Sequence[Probe]) -> Iterable[Finding]:
    for each in probes:
        low = each.auc.low
        if low is None or low < TELLING:
            continue
        what = f"{each.measure} tells real from fake of kind {each.kind}: AUC {each.auc.value:.3f}"
        typical = f"; real {each.real}, fake {each.fake}" if each.measure != ALL else ""
        yield Finding(
            severity="error" if low >= DECIDING else "warning",
            kind="shortcut",
            what=f"{what} ({low:.3f} to {each.auc.high:.3f}){typical}.",
            advice=_remedy(each.measure),
        )


def _remedy(measure: str) -> str:
    if measure == ALL:
        return "See the single measures; what remains when each is dealt with is their combination."
    advice = next(text for pattern, text in _REMEDIES if re.fullmatch(pattern, measure))
    return f"{advice[0].upper()}{advice[1:]}."


def _names(rows: Sequence[dict[str, Any]]) -> Iterable[Finding]:
    root = os.path.commonpath([os.path.dirname(row["path"]) for row in rows])
    wrong = [row["path"] for row in rows if _said(row["path"][len(root) :]) == {1 - row["label"]}]
    if wrong:
        yield Finding(
            severity="warning",
            kind="name against label",
            what=f"{len(wrong)} files have a name or folder that says the opposite of their label.",
            advice="Look at some: either the labels are swapped, or the name means something else.",
            files=tuple(wrong[:EXAMPLES]),
        )


def _said(path: str) -> set[int]:
    words = re.split(r"[^a-z]+", path.casefold())
    return {layout.LABEL_WORDS[word] for word in words if word in layout.LABEL_WORDS}


def _unreadable(rows: Sequence[dict[str, Any]], seen: Sequence[Seen]) -> Iterable[Finding]:
    broken = [f"{row['path']}: {each.problem}" for row, each in zip(rows, seen, strict=True) if each.problem]
    if broken:
        yield Finding(
            severity="warning",
            kind="unreadable",
            what=f"{len(broken)} of {len(rows)} files cannot be read.",
            advice="Get sound copies; training leaves them out and counts them.",
            files=tuple(broken[:EXAMPLES]),
        )


def _balance(rows: Sequence[dict[str, Any]]) -> Iterable[Finding]:
    tally = collections.Counter((row["split"], row["label"]) for row in rows)
    for split in sorted({split for split, _ in tally}):
        real, fake = tally[split, 0], tally[split, 1]
        where = f"The split {split}" if split else "The data"
        if not real or not fake:
            advice = "Add files of the other class; nothing can be compared without."
            what = f"{where} has {real} real and {fake} fake files."
            yield Finding(severity="error", kind="one class only", what=what, advice=advice)
        elif max(real, fake) > UNEVEN * min(real, fake):
            advice = "Judge by AUC and per class, not by accuracy; training weighs the classes evenly."
            what = f"{where} has {real} real and {fake} fake files."
            yield Finding(severity="note", kind="uneven classes", what=what, advice=advice)


def _counts(rows: Iterable[dict[str, Any]]) -> Iterable[Count]:
    groups: dict[tuple[str, int, str], list[str]] = collections.defaultdict(list)
    for row in rows:
        groups[row["split"], row["label"], row["generator"]].append(row["source"])
    for (split, label, generator), sources in sorted(groups.items()):
        yield Count(
            split=split,
            label=("real", "fake")[label],
            generator=generator,
            files=len(sources),
            sources=len(set(sources)),
        )
