"""A made talker for tests: a clip with sound whose blinks, mouth and shift are known."""

import functools

import numpy as np

from deepscan.datasets.synthetic.clips import Footage, Sounds, film, talk
from deepscan.datasets.synthetic.talker import RATE_HZ
from deepscan.datasets.synthetic.voice import draw_room, draw_speaker
from deepscan.media.encode import encode_clip

FRAMES, SIZE_PX, SEED = 75, 128, 77


@functools.cache
def footage() -> tuple[Footage, Sounds]:
    """Return a talker of 3 s, filmed once for all tests, and what may be heard."""
    rng = np.random.default_rng(SEED)
    opening_T, sounds = talk(draw_speaker(rng), draw_room(rng), FRAMES, rng)
    return film(opening_T, SIZE_PX, rng), sounds


@functools.cache
def talker(late_frames: int | None = 0) -> bytes:
    """Return the clip at 25 Hz with its sound late by so many frames; None = other words."""
    filmed, sounds = footage()
    wave_N = sounds.other_N if late_frames is None else sounds.at(late_frames)
    return encode_clip(filmed.frames, RATE_HZ, wave_N, 16)
