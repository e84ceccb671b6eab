"""IPTC and Photoshop resources: captions, credits and traces that editing programs leave in JPEG and TIFF."""

import struct
from collections.abc import Iterator, Mapping

from deepscan.media.chunks import in_words

_MOST = 512
_SIGNATURE = b"Photoshop 3.0\0"
_IPTC = 0x0404
_NAMES: Mapping[int, str] = {
    5: "ObjectName",
    40: "SpecialInstructions",
    55: "DateCreated",
    62: "DigitizationDate",
    65: "OriginatingProgram",
    70: "ProgramVersion",
    80: "Byline",
    105: "Headline",
    110: "Credit",
    115: "Source",
    116: "Copyright",
    120: "Caption",
}
"""Datasets of record 2 (IPTC-NAA Information Interchange Model, version 4.2)."""


def resources(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the resources of a Photoshop segment by number; what reaches beyond the end is left out."""
    if not segment.startswith(_SIGNATURE):
        return
    at = len(_SIGNATURE)
    for _ in range(_MOST):
        if at + 12 > len(segment) or segment[at : at + 4] != b"8BIM":
            return
        (number,) = struct.unpack_from(">H", segment, at + 4)
        # A name of a length byte and its letters is padded to an even number of bytes, and so is the content.
        at += 6 + (segment[at + 6] + 2) // 2 * 2
        if at + 4 > len(segment):
            return
        (length,) = struct.unpack_from(">I", segment, at)
        if at + 4 + length > len(segment):
            return
        yield number, segment[at + 4 : at + 4 + length]
        at += 4 + (length + 1) // 2 * 2


def iptc_of(segment: bytes) -> bytes:
    """Return the IPTC record of a Photoshop segment; empty = there is none."""
    return next((raw for number, raw in resources(segment) if number == _IPTC), b"")


def read_iptc(record: bytes) -> dict[str, str]:
    """Read the texts of an IPTC record by the names of the standard; the first of each counts."""
    found: dict[str, str] = {}
    at = 0
    for _ in range(_MOST):
        if at + 5 > len(record) or record[at] != 0x1C:
            break
        kind, dataset, length = struct.unpack_from(">BBH", record, at + 1)
        # Longer ones set the highest bit and are no texts of interest.
        if length >= 0x8000 or at + 5 + length > len(record):
            break
        if kind == 2 and dataset in _NAMES:
            found.setdefault(_NAMES[dataset], in_words(record[at + 5 : at + 5 + length]).strip())
        at += 5 + length
    return found
