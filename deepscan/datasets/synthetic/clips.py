"""Sets of clips with a drawn face that speaks: faces forged for some seconds, or a voice that is not theirs.

Real and fake of a pair are the same footage, encoded alike: nothing but the forgery tells them apart.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from deepscan.datasets.camera import Camera, Picture, draw_camera, draw_scene, quantize, shoot
from deepscan.datasets.synthesize import regenerate
from deepscan.datasets.synthetic.sets import File, Order, Progress, Source, write_set
from deepscan.datasets.synthetic.talker import (
    RATE_HZ,
    Act,
    Curve,
    Talker,
    act,
    draw_talker,
    face_mask,
    paint,
)
from deepscan.datasets.synthetic.voice import (
    CURVE_HZ,
    Room,
    Speaker,
    Wave,
    draw_room,
    draw_speaker,
    record,
    speak,
)
from deepscan.datasets.synthetic.voice import RATE_HZ as SOUND_HZ
from deepscan.errors import ConfigError
from deepscan.media.encode import encode_clip
from deepscan.media.pixels import resize

VERSION = 1
"""Counted up when the same seed gives other clips."""

FRAMES = (75, 100)
"""Fewest and most frames of a clip."""

OFFSETS = (3, 15)
"""By how many frames a shifted sound is early or late, at least and at most."""

QUALITIES = (12, 22)
"""Lowest and highest rate factor of the encoder; both clips of a pair get the same."""

SWAPPED, SHIFTED = "voice-swapped", "shifted"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Footage:
    """A clip, and what a forger has at hand.

    Attributes:
        frames: As the camera developed them, RGB uint8 [H, W, 3].
        acting: What the face does.
        ground_HWC: The scene behind, linear light.
        other: Another face.
        camera: Another camera.
    """

    frames: list[Picture]
    acting: Act
    ground_HWC: Picture
    other: Talker
    camera: Camera


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Forgery:
    """Where a clip is forged: seconds from its begin, and left, top, right, bottom of all masks together."""

    start_s: float
    end_s: float
    box_px: tuple[int, int, int, int]


def make_clips(order: Order, progress: Progress | None = None) -> pathlib.Path:
    """Write silent clips of 3 to 4 s, each beside one whose face is forged in a known interval.

    Args:
        order: ``count`` is 40 and ``size_px`` 192 by default; ``recordings`` has no use.
        progress: Called with the pairs done and their number.

    Returns:
        The manifest; the truth has start_s, end_s and box_px of the fakes, blinks_s and opening of both.

    Raises:
        ConfigError: A setting is out of range or has no use.
        DataError: The folder holds other things.
    """
    size_px = _size(order)
    names = list(FORGERS)

    def make(index: int) -> list[File]:
        rng = np.random.default_rng((order.seed, index))
        speech = speak(draw_speaker(rng), _draw_frames(rng) / RATE_HZ, rng)
        footage = film(at_frames(speech.opening_K, 0, speech.wave_N.size * RATE_HZ // SOUND_HZ), size_px, rng)
        name = names[index % len(names)]
        forged, forgery = forge(footage, name, rng)
        quality, known = _draw_quality(rng), _known(footage.acting)
        real, fake = (encode_clip(frames, RATE_HZ, None, quality) for frames in (footage.frames, forged))
        return [_file(real, "", known), _file(fake, name, known | dataclasses.asdict(forgery))]

    return _write(order, "clips", size_px, make, progress)


def make_talks(order: Order, progress: Progress | None = None) -> pathlib.Path:
    """Write clips whose mouth moves with the sound, each beside one in which it does not.

    In turn, the sound of the fake is early or late by ``OFFSETS``, or is other words of the same voice.

    Args:
        order: ``count`` is 40 and ``size_px`` 192 by default; ``recordings`` has no use.
        progress: Called with the pairs done and their number.

    Returns:
        The manifest; the truth has offset_frames (positive: the sound is late; null: other words),
        blinks_s and opening (of the mouth, one number a frame).

    Raises:
        ConfigError: A setting is out of range or has no use.
        DataError: The folder holds other things.
    """
    size_px = _size(order)

    def make(index: int) -> list[File]:
        rng = np.random.default_rng((order.seed, index))
        frames, quality = _draw_frames(rng), _draw_quality(rng)
        voice, room = draw_speaker(rng), draw_room(rng)
        opening_T, sounds = talk(voice, room, frames, rng)
        name = (SHIFTED, SWAPPED)[index % 2]
        offset = int(rng.integers(OFFSETS[0], OFFSETS[1] + 1) * rng.choice((-1, 1)))
        footage = film(opening_T, size_px, rng)
        wrong_N, late = (sounds.at(offset), offset) if name == SHIFTED else (sounds.other_N, None)
        real, fake = (encode_clip(footage.frames, RATE_HZ, x_N, quality) for x_N in (sounds.at(0), wrong_N))
        known = _known(footage.acting)
        return [
            _file(real, "", known | {"offset_frames": 0}),
            _file(fake, name, known | {"offset_frames": late}),
        ]

    return _write(order, "talks", size_px, make, progress)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sounds:
    """What may be laid under a clip.

    Attributes:
        long_N: What is said, with the longest offset more on either end.
        other_N: Other words, as long as the clip.
        frames: Length of the clip.
    """

    long_N: Wave
    other_N: Wave
    frames: int

    def at(self, offset_frames: int) -> Wave:
        """Return what is said, late by so many frames; negative: early."""
        step = SOUND_HZ // RATE_HZ
        first = (OFFSETS[1] - offset_frames) * step
        return self.long_N[first : first + self.frames * step]


def talk(voice: Speaker, room: Room, frames: int, rng: np.random.Generator) -> tuple[Curve, Sounds]:
    """Say something, and something else; returns how far the mouth is open in each frame, and the sounds."""
    long_s = (frames + 2 * OFFSETS[1]) / RATE_HZ
    said, other = speak(voice, long_s, rng), speak(voice, long_s, rng)
    cut = slice(OFFSETS[1] * SOUND_HZ // RATE_HZ, (OFFSETS[1] + frames) * SOUND_HZ // RATE_HZ)
    sounds = Sounds(
        long_N=record(said.wave_N, room, rng), other_N=record(other.wave_N, room, rng)[cut], frames=frames
    )
    return at_frames(said.opening_K, OFFSETS[1], frames), sounds


def at_frames(opening_K: Curve, first: int, frames: int) -> Curve:
    """Return a curve of the voice at the middle of each frame of the picture."""
    middle_s = (first + np.arange(frames) + 0.5) / RATE_HZ
    return np.interp(middle_s, np.arange(opening_K.size) / CURVE_HZ, opening_K)


def film(opening_T: Curve, size_px: int, rng: np.random.Generator) -> Footage:
    """Film a new face in a new scene while its mouth opens as told."""
    talker, camera = draw_talker(rng), draw_camera(size_px, rng)
    ground_HWC, acting = draw_scene(size_px, rng, face=False), act(opening_T, rng)
    frames = [shoot(paint(ground_HWC, talker, acting, t), camera, rng) for t in range(opening_T.size)]
    return Footage(
        frames=frames,
        acting=acting,
        ground_HWC=ground_HWC,
        other=draw_talker(rng),
        camera=draw_camera(size_px, rng),
    )


def forge(footage: Footage, kind: str, rng: np.random.Generator) -> tuple[list[Picture], Forgery]:
    """Forge the face for a part of the clip, at least 1 s of it.

    Args:
        footage: The clip.
        kind: One of ``FORGERS``.
        rng: Source of everything random.

    Returns:
        All frames, and where they are forged.
    """
    count, size_px = len(footage.frames), footage.frames[0].shape[0]
    length = int(rng.integers(RATE_HZ, count + 1))
    first = int(rng.integers(0, count - length + 1))
    forger, frames = FORGERS[kind](footage, rng), list(footage.frames)
    touched = np.zeros((size_px, size_px), bool)
    for t in range(first, first + length):
        weight = face_mask(footage.acting, t, size_px)
        touched |= weight > 0
        frames[t] = quantize(frames[t] + weight[..., None] * (forger(t) - frames[t]))
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    box_px = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return frames, Forgery(start_s=first / RATE_HZ, end_s=(first + length) / RATE_HZ, box_px=box_px)


# --- forgeries -----------------------------------------------------------------------------------

Forger = Callable[[int], Picture]
"""Index of a frame -> the whole frame forged, float32 [H, W, 3] on the scale [0, 255]."""


def _resample(footage: Footage, rng: np.random.Generator) -> Forger:
    """Every frame shrunk, enlarged and lit anew by itself, so that sharpness and light flicker."""

    def forger(t: int) -> Picture:
        frame = footage.frames[t]
        small_px = round(frame.shape[0] / rng.uniform(1.4, 2.2))
        soft = resize(resize(frame, small_px, small_px), *frame.shape[1::-1])
        return soft * rng.normal(1, 0.03, 3).astype(np.float32)

    return forger


def _swap(footage: Footage, rng: np.random.Generator) -> Forger:
    """Another face that does the same, through another camera, in the mean colour of this one."""

    def forger(t: int) -> Picture:
        frame = footage.frames[t].astype(np.float32)
        scene = paint(footage.ground_HWC, footage.other, footage.acting, t)
        taken = shoot(scene, footage.camera, rng).astype(np.float32)
        inside = face_mask(footage.acting, t, frame.shape[0]) == 1
        matched: Picture = taken * (frame[inside].mean(0) / taken[inside].mean(0))
        return matched

    return forger


def _regenerate(footage: Footage, rng: np.random.Generator) -> Forger:
    """The face out of one up-sampling generator, whose texture stays in place while the face moves."""
    seed = int(rng.integers(2**32))
    return lambda t: regenerate(footage.frames[t].astype(np.float32), np.random.default_rng(seed))


FORGERS: dict[str, Callable[[Footage, np.random.Generator], Forger]] = {
    "flickering": _resample,
    "face-swapped": _swap,
    "generated": _regenerate,
}
"""Ways of forging a face."""


# --- files ---------------------------------------------------------------------------------------


def _write(
    order: Order, kind: str, size_px: int, make: Callable[[int], list[File]], progress: Progress | None
) -> pathlib.Path:
    count = order.count or 40
    settings = {"kind": kind, "version": VERSION, "count": count, "size_px": size_px, "seed": order.seed}
    sources = [Source(name=f"footage-{index:05}") for index in range(count // 2)]
    return write_set(order.out, settings, sources, make, progress)


def _size(order: Order) -> int:
    order.refuse(recordings="faces and voices are made up")
    size_px = 192 if order.size_px is None else order.size_px
    if size_px < 128 or size_px % 16:
        msg = f"Cannot make clips of {size_px} px: size_px must be a multiple of 16 and at least 128."
        raise ConfigError(msg)
    return size_px


def _draw_frames(rng: np.random.Generator) -> int:
    return int(rng.integers(FRAMES[0], FRAMES[1] + 1))


def _draw_quality(rng: np.random.Generator) -> int:
    return int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))


def _known(acting: Act) -> dict[str, Any]:
    return {"blinks_s": acting.blinks_s, "opening": acting.opening_T.round(3).tolist()}


def _file(data: bytes, generator: str, truth: dict[str, Any]) -> File:
    return File(data=data, suffix=".mp4", generator=generator, truth=truth)
