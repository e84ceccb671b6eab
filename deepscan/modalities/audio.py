"""Sound: windows of a voice."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepscan import config
from deepscan.errors import ConfigError, NoSoundError, TooShortError
from deepscan.media import degrade_sound, levels, spectra, vocode
from deepscan.media.degrade_sound import CODINGS, Notch, Order
from deepscan.media.sound import SOUND_RATE_HZ, Sound
from deepscan.media.source import Media
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES, Column, Example, Forgery, Modality
from deepscan.recipe import Augment
from deepscan.verdict import MediaFacts, Region

PREP_VERSION = 1
"""Part of every digest; goes up with any change of code that changes an Example."""

SILENCE_DB = -60.0
"""Sound whose loud parts are quieter than this, in dB of full scale, is no sound."""

FULL_SCALE = 32767
"""The int16 value of 1.0; that of -1.0 is its negative, so that inverting a wave is exact."""

Change = Callable[[Sound], Sound]
"""A change of sound whose parameters are drawn already."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AudioPrep:
    """Sound to windows of equal length, in the order of time: one Example a window.

    Columns: ``wave`` int16 [N], where 32767 is full scale; ``start_s`` and ``end_s`` float32 [], when in the
    file it begins and ends. The windows cover all of the sound where ``max_windows`` allows, overlap by at
    least ``window_s - hop_s`` and reach exactly to its ends. Sound shorter than a window is repeated until it
    fills one: padding of zeros would be a length that a network can read off. The model reads ``wave``
    float32 [N] in [-1, 1], or ``features`` float32 [rows, frames].

    Attributes:
        front_end: What the model reads.
        window_s: Length of a window, in [0.1, 60].
        hop_s: Longest time between the begins of neighbouring windows, from 0.01 to ``window_s``.
        max_windows: At most so many windows; of longer sound those that lie evenly over it are judged.
        trim: Leave out silence at both ends; see ``levels.active``.
        level_db: Loudness that the whole sound is brought to, in dB of full scale, in [-50, -10]; what
            exceeds full scale then is cut off. -26 dB, usual in telephony, cuts nothing off of speech.
        min_s: Shorter sound (after trimming) is not judged.
    """

    front_end: FrontEnd = FrontEnd()
    window_s: float = 4.0
    hop_s: float = 2.0
    max_windows: int = 8
    trim: bool = True
    level_db: float = -26.0
    min_s: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        limits = {
            "window_s": (0.1, 60),
            "hop_s": (0.01, self.window_s),
            "max_windows": (1, 10_000),
            "level_db": (-50, -10),
            "min_s": (0.01, 60),
        }
        for name, (low, high) in limits.items():
            if not low <= (given := getattr(self, name)) <= high:
                msg = f"Setting {name!r} of AudioPrep must be in [{low}, {high}], not {given}."
                raise ConfigError(msg)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        time_s = Column(shape=(), dtype="float32")
        return {"wave": Column(shape=(self._samples,), dtype="int16"), "start_s": time_s, "end_s": time_s}

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("wave",)

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: ``wave`` or ``features``."""
        if self.front_end.kind == "wave":
            return {"wave": Column(shape=(self._samples,), dtype="float32")}
        return {"features": Column(shape=spectra.shape(self.front_end, self._samples), dtype="float32")}

    @property
    def digest(self) -> str:
        """Hex digest of the settings and the version of this code."""
        return hashlib.sha256(f"{config.digest(self)} {PREP_VERSION}".encode()).hexdigest()[:16]

    @property
    def _samples(self) -> int:
        return round(self.window_s * SOUND_RATE_HZ)

    def resolved(self) -> "AudioPrep":
        """Return the Prep: nothing is left to the machine."""
        return self

    def features(self, example: Example) -> Example:
        """Return what the front end makes of the window."""
        wave_N = _from_int16(example["wave"])
        if self.front_end.kind == "wave":
            return {"wave": wave_N}
        return {"features": spectra.features(wave_N, self.front_end)}

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a file with sound: one Example a window.

        Raises:
            NoSoundError: There is no sound track, or nothing but silence on it.
            TooShortError: Without the silence at both ends it is shorter than ``min_s``.
            MediaError: The media does not decode.
        """
        wave_N = media.sound_N
        loudness_db = levels.loudness_db(wave_N)
        if loudness_db < SILENCE_DB:
            level = f"{loudness_db:.0f} dB of full scale"
            msg = f"{media.facts.name!r} is silent ({level}); give a file with sound."
            raise NoSoundError(msg)
        kept = levels.active(wave_N) if self.trim else slice(0, len(wave_N))
        length = kept.stop - kept.start
        if length < self.min_s * SOUND_RATE_HZ:
            heard = f"{length / SOUND_RATE_HZ:.2f} s of sound"
            msg = f"{media.facts.name!r} holds {heard}; at least {self.min_s} s are needed."
            raise TooShortError(msg)
        gain_db = self.level_db - loudness_db
        spans = [slice(kept.start + begin, kept.stop) for begin in self._begins(length)]
        return [self._example(wave_N[span][: self._samples], span.start, gain_db) for span in spans]

    def _begins(self, length: int) -> list[int]:
        """Return where in sound of so many samples the windows begin."""
        spare = max(0, length - self._samples)
        needed = 1 + math.ceil(spare / (self.hop_s * SOUND_RATE_HZ))
        if self.max_windows == 1:
            return [spare // 2]
        begins: list[int] = np.linspace(0, spare, min(needed, self.max_windows)).round().astype(int).tolist()
        return begins

    def _example(self, part_N: Sound, begin: int, gain_db: float) -> Example:
        times_s = np.array([begin, begin + len(part_N)]) / SOUND_RATE_HZ
        start_s, end_s = times_s.astype(np.float32)
        wave_N = _to_int16(levels.amplify(part_N, gain_db))
        return {
            "wave": np.resize(wave_N, self._samples),
            "start_s": np.array(start_s),
            "end_s": np.array(end_s),
        }


def _to_int16(wave_N: Sound) -> NDArray[np.int16]:
    return np.rint(np.clip(wave_N, -1, 1) * FULL_SCALE).astype(np.int16)


def _from_int16(wave_N: NDArray[np.int16]) -> Sound:
    return wave_N.astype(np.float32) / np.float32(FULL_SCALE)


def draw_changes(augment: Augment, samples: int, rng: np.random.Generator) -> list[Change]:
    """Draw the random changes of one training example of so many samples, in the order to apply them.

    They come in the order of the world: the sound as it was made, the room and the devices, the channel.
    """
    kept = max(1, round(augment.crop * samples))
    changes = [] if kept == samples else [_draw_crop(samples, kept, rng)]
    return changes + [draw(samples, rng) for chance, draw in _LEVELS[augment.level] if rng.random() < chance]


def augment_sound(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example with its ``wave`` changed at random, its length kept; the other columns stay.

    ``flip`` inverts the polarity; ``basic`` also shifts in time, changes the level and adds faint noise;
    ``advanced`` also adds the three kinds of noise of RawBoost (Tak et al., ICASSP 2022), a room, and codecs;
    ``delivery`` shifts, changes the level, narrows the band and encodes; ``rough`` does so in
    rooms and noise.
    With ``augment.crop`` below 1 only that share of the duration is kept, and repeated.
    """
    changes = draw_changes(augment, len(example["wave"]), rng)
    wave_N = _from_int16(example["wave"])
    for change in changes:
        wave_N = change(wave_N)
    return {**example, "wave": _to_int16(wave_N)}


def _draw_crop(samples: int, kept: int, rng: np.random.Generator) -> Change:
    begin = int(rng.integers(0, samples - kept + 1))
    return functools.partial(degrade_sound.crop, begin=begin, length=kept)


def _draw_inversion(samples: int, rng: np.random.Generator) -> Change:
    return degrade_sound.invert


def _draw_shift(samples: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade_sound.shift, samples=int(rng.integers(samples)))


def _draw_gain(samples: int, rng: np.random.Generator) -> Change:
    return functools.partial(levels.amplify, gain_db=rng.uniform(-6, 6))


def _draw_faint_noise(samples: int, rng: np.random.Generator) -> Change:
    return _draw_noise_of(25, 45, rng)


def _draw_noise(samples: int, rng: np.random.Generator) -> Change:
    return _draw_noise_of(10, 40, rng)


def _draw_noise_of(low_db: float, high_db: float, rng: np.random.Generator) -> Change:
    snr_db, falloff = rng.uniform(low_db, high_db), rng.uniform(0, 2)
    return functools.partial(degrade_sound.noise, snr_db=snr_db, falloff=falloff, rng=rng)


def _draw_distortion(samples: int, rng: np.random.Generator) -> Change:
    gains_db = (0.0, *rng.uniform(-20, -5, 4).tolist())
    orders = [Order(gain_db=gain_db, notches=_draw_notches(5, rng)) for gain_db in gains_db]
    return functools.partial(degrade_sound.distort, orders=orders)


def _draw_notches(count: int, rng: np.random.Generator) -> tuple[Notch, ...]:
    centers_hz, widths_hz = rng.uniform(20, 7900, count), rng.uniform(100, 1000, count)
    return tuple(Notch(center_hz=c, width_hz=w) for c, w in zip(centers_hz, widths_hz, strict=True))


def _draw_impulses(samples: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade_sound.impulses, share=rng.uniform(0, 0.1), strength=2.0, rng=rng)


def _draw_room(samples: int, rng: np.random.Generator) -> Change:
    decay_s, wet_db = rng.uniform(0.1, 0.6), rng.uniform(-20, -3)
    return functools.partial(degrade_sound.reverberate, decay_s=decay_s, wet_db=wet_db, rng=rng)


def _draw_codec(samples: int, rng: np.random.Generator) -> Change:
    name = str(rng.choice(list(CODINGS)))
    rate_bps = int(rng.choice(CODINGS[name].rates_bps))
    return functools.partial(degrade_sound.encode, coding=name, rate_bps=rate_bps)


def _draw_narrowing(samples: int, rng: np.random.Generator) -> Change:
    return functools.partial(degrade_sound.narrow, rate_hz=int(rng.choice([8000, 11_025, 12_000, 14_000])))


Draw = Callable[[int, np.random.Generator], Change]

_FLIP: tuple[tuple[float, Draw], ...] = ((0.5, _draw_inversion),)
_BASIC: tuple[tuple[float, Draw], ...] = (
    *_FLIP,
    (0.5, _draw_shift),
    (0.8, _draw_gain),
    (0.3, _draw_faint_noise),
)
_ADVANCED: tuple[tuple[float, Draw], ...] = (
    (0.2, _draw_room),
    (0.3, _draw_distortion),
    (0.2, _draw_impulses),
    (0.3, _draw_noise),
    (0.2, _draw_narrowing),
    (0.25, _draw_codec),
)
_DELIVERY: tuple[tuple[float, Draw], ...] = (
    *_FLIP,
    (0.5, _draw_shift),
    (0.8, _draw_gain),
    (0.2, _draw_narrowing),
    (0.5, _draw_codec),
)
_LEVELS = {
    "none": (),
    "flip": _FLIP,
    "basic": _BASIC,
    "advanced": _BASIC + _ADVANCED,
    "delivery": _DELIVERY,
    "rough": ((0.2, _draw_room), (0.3, _draw_noise), *_DELIVERY),
}


def copy_synthesis(
    example: Example, prep: AudioPrep, rng: np.random.Generator, others: Sequence[Example] = ()
) -> tuple[Example, Example]:
    """Return a real Example and what a vocoder, drawn at random, makes of the same sound, equally loud."""
    wave_N = _from_int16(example["wave"])
    made_N = vocode.VOCODERS[str(rng.choice(list(vocode.VOCODERS)))](wave_N, rng)
    copied_N = vocode.level(made_N, float(np.sqrt(np.mean(np.square(wave_N)))))
    return example, {**example, "wave": _to_int16(copied_N)}


def _accepts(media: Media) -> bool:
    return media.facts.has_sound


def _aggregate(logits: NDArray[np.float32]) -> float:
    """Return the log of the mean odds: between mean and maximum, so that a forged part is found.

    One window of eight with a logit of 6 among others of -4 gives 3.9, where the mean would say -2.75;
    a maximum would also rise with the mere number of windows.
    """
    return float(np.logaddexp.reduce(logits.astype(np.float64)) - math.log(len(logits)))


def _locate(example: Example) -> Region:
    return Region(start_s=float(example["start_s"]), end_s=float(example["end_s"]))


def _moments(example: Example, count: int) -> list[Region]:
    """Return ``count`` equal slices of the window; of sound that is repeated, only its first time."""
    start_s, end_s = float(example["start_s"]), float(example["end_s"])
    slice_s = len(example["wave"]) / SOUND_RATE_HZ / count
    begins_s = [start_s + number * slice_s for number in range(count)]
    spans_s = [(begin_s, min(begin_s + slice_s, end_s)) for begin_s in begins_s if begin_s < end_s]
    return [Region(start_s=begin_s, end_s=stop_s) for begin_s, stop_s in spans_s]


MODALITIES.register(
    "audio",
    Modality(
        name="audio",
        summary="A voice: windows of its sound.",
        accepts=_accepts,
        prep=AudioPrep,
        augment=augment_sound,
        aggregate=_aggregate,
        locate=_locate,
        limits=(
            "Telephone lines, noise, reverberation, music and low bit rates hide what it looks for.",
            "It does not know whose voice it is, so that an impersonator is a real voice to it.",
            "Languages and recording devices that are not in its training data may be judged worse.",
        ),
        example=MediaFacts(
            name="voice.wav",
            kind="audio",
            container="wav",
            bytes=384044,
            sha256="0" * 64,
            duration_s=12.0,
            has_sound=True,
        ),
        moments=_moments,
        forgeries={
            "copy-synthesis": Forgery(
                summary="The same words of the same voice through one of five vocoders, equally loud",
                make=copy_synthesis,
            )
        },
    ),
)
