"""Pictures that move: GIF, animated WebP and animated PNG, whose frames last as long as they please.

The times stand in the blocks of the file, so that nothing is decoded to know them. Pillow decodes the
frames, because FFmpeg does not read animated WebP.
"""

import struct
from collections.abc import Iterator

USUAL_S = 0.1
"""How long viewers show a frame that asks for at most 10 ms, which was once a way to say nothing."""


def delays_s(data: bytes) -> tuple[float, ...]:
    """Return how long each frame of an animation is shown, in seconds; empty where nothing moves.

    Args:
        data: The whole file, of any format; only GIF, WebP and PNG may move.
    """
    if data.startswith(b"GIF8"):
        found = tuple(_gif_delays_s(data))
    elif data.startswith(b"\x89PNG"):
        found = tuple(_png_delays_s(data))
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        found = tuple(_webp_delays_s(data))
    else:
        return ()
    return tuple(each if each > 0.01 else USUAL_S for each in found) if len(found) > 1 else ()


def _gif_delays_s(data: bytes) -> Iterator[float]:
    """Walk the blocks of a GIF89a; the delay of a picture stands in the control block before it."""
    at, delay_s = 13 + _palette_bytes(data[10:11]), 0.0
    while at + 10 < len(data):
        if data[at] == 0x21:
            if data[at + 1] == 0xF9:
                delay_s = int.from_bytes(data[at + 4 : at + 6], "little") / 100
            at = _behind_blocks(data, at + 2)
        elif data[at] == 0x2C:
            yield delay_s
            at, delay_s = _behind_blocks(data, at + 11 + _palette_bytes(data[at + 9 : at + 10])), 0.0
        else:
            return


def _palette_bytes(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def _png_delays_s(data: bytes) -> Iterator[float]:
    at = 8
    while at + 8 <= len(data):
        length, chunk = struct.unpack_from(">I4s", data, at)
        if chunk == b"fcTL" and at + 34 <= len(data):
            count, per_s = struct.unpack_from(">HH", data, at + 28)
            yield count / (per_s or 100)
        at += 12 + length


def _webp_delays_s(data: bytes) -> Iterator[float]:
    at = 12
    while at + 8 <= len(data):
        chunk, length = struct.unpack_from("<4sI", data, at)
        if chunk == b"ANMF" and at + 24 <= len(data):
            yield int.from_bytes(data[at + 20 : at + 23], "little") / 1000
        at += 8 + length + length % 2
