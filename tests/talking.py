"""A made talker for tests: a clip with sound whose blinks, mouth and shift are known."""

import dataclasses
import functools

import numpy as np

from deepscan.datasets.synthetic.clips import film, talk
from deepscan.datasets.synthetic.talker import RATE_HZ, Act
from deepscan.datasets.synthetic.voice import draw_room, draw_speaker
from deepscan.media.encode import encode_clip


@dataclasses.dataclass(frozen=True)
class Talk:
    """A clip and what is known of it."""

    data: bytes
    acting: Act


@functools.cache
def talker(seed: int = 0, late_frames: int = 0, frames: int = 100, size_px: int = 160) -> Talk:
    """Return a clip of a talker at 25 Hz whose sound is late by so many frames."""
    rng = np.random.default_rng((77, seed))
    opening_T, sounds = talk(draw_speaker(rng), draw_room(rng), frames, rng)
    footage = film(opening_T, size_px, rng)
    return Talk(encode_clip(footage.frames, RATE_HZ, sounds.at(late_frames), 16), footage.acting)
