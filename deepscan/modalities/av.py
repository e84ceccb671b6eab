"""Lips and voice: what a mouth does in a stretch of a clip, and what is heard meanwhile."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import NoFaceError, NoSoundError, TooShortError
from deepscan.media import degrade_sound, levels, spectra
from deepscan.media.mouths import follow_mouth
from deepscan.media.source import SOUND_RATE_HZ, Media, Sampling
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES, Column, Example, Modality, settings
from deepscan.modalities.audio import FULL_SCALE, SILENCE_DB
from deepscan.modalities.image import draw_changes
from deepscan.modalities.settings import FinderChoice
from deepscan.recipe import Augment
from deepscan.verdict import Box, MediaFacts, Region

Sound = NDArray[np.float32]

PREP_VERSION = 1
"""Part of every digest; goes up with any change of code that changes an Example."""

RATE_HZ = 25
"""Frames a second, whatever the clip has."""

SOUND_FRAMES = 4
"""Frames of the spectrum that a frame of the mouth has."""

SAMPLES = SOUND_RATE_HZ // RATE_HZ
"""Samples of the sound that a frame of the mouth has."""


# A little less than five frames, for the sake of rounding.
_SHORTEST_S = 4.9 / RATE_HZ


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AvPrep:
    """Clips to windows of a mouth and its sound: one Example a window, evenly over the clip.

    Columns, T being ``window_s`` at 25 frames a second: ``mouth`` uint8 [T, S, S], grey, of the face seen
    longest in the window, then the largest, turned and scaled with the head; ``wave`` int16 [640 T], where
    32767 is full scale, beginning with the first of these frames; ``mask`` uint8 [T], 1 for the first
    frames, which have both, and 0 for the rest, which are padding (mouth and wave 0); ``start_s`` float32
    []; ``box`` float32 [4], the face as fractions of the upright picture. The model reads ``mouth`` and
    ``mask`` as they are, and ``sound`` float32 [filters, 4 T], the log-mel spectrum, each row of which has
    mean 0 and deviation 1 over the real part and is 0 behind it. Windows in which there is nothing to hear
    or too little to see are left out. ``auto`` must be replaced by ``resolved()`` before a Prep has a
    digest or runs.

    Attributes:
        window_s: Length of a window, in [2, 60].
        max_windows: At most so many windows; together they cover no more than the clip.
        min_s: Mouth and sound must be there together for so long, in [2, window_s].
        size_px: Side S of a crop.
        filters: Filters of the spectrum.
        finder: Who looks for faces: ``yunet`` (an asset), ``tiny`` (ships with deepscan), ``haar`` (with
            OpenCV), or ``auto``.
        min_face_px: Faces whose shorter side is smaller are not judged.
        min_score: Less certain faces are not judged, in [0, 1]; see ``faces.Face``.
    """

    window_s: float = 5.0
    max_windows: int = 3
    min_s: float = 2.0
    size_px: int = 48
    filters: int = 40
    finder: FinderChoice = "auto"
    min_face_px: int = 64
    min_score: float = 0.6

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range.
        """
        limits = {
            "window_s": (2, 60),
            "max_windows": (1, 1000),
            "min_s": (2, self.window_s),
            "size_px": (16, 512),
            "filters": (4, 80),
            "min_face_px": (1, 4096),
            "min_score": (0, 1),
        }
        settings.check_ranges(self, limits)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        frames, side_px = self._frames, self.size_px
        return {
            "mouth": Column(shape=(frames, side_px, side_px), dtype="uint8"),
            "wave": Column(shape=(frames * SAMPLES,), dtype="int16"),
            "mask": Column(shape=(frames,), dtype="uint8"),
            "start_s": Column(shape=(), dtype="float32"),
            "box": Column(shape=(4,), dtype="float32"),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("mouth", "wave", "mask")

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: the mouth, the spectrum of its sound, and which frames are real."""
        columns = self.columns
        sound = Column(shape=(self.filters, self._frames * SOUND_FRAMES), dtype="float32")
        return {"mouth": columns["mouth"], "sound": sound, "mask": columns["mask"]}

    @property
    def digest(self) -> str:
        """Hex digest of the settings, the version of this code and the finder's weights.

        Raises:
            ConfigError: The finder is still ``auto``.
        """
        return settings.digest(self, PREP_VERSION, self.finder)

    @property
    def _frames(self) -> int:
        return round(self.window_s * RATE_HZ)

    def resolved(self) -> "AvPrep":
        """Return the Prep with ``auto`` replaced by the best finder on this machine; call it once a run.

        Raises:
            AssetError: The finder's weights are absent or altered.
        """
        finder = settings.available_finder(self.finder)
        return self if finder == self.finder else dataclasses.replace(self, finder=finder)

    def features(self, example: Example) -> Example:
        """Return the mouth, the spectrum of the sound and the mask."""
        seen = int(example["mask"].sum())
        wave_N = _from_int16(example["wave"][: seen * SAMPLES])
        front_end = FrontEnd(kind="logmel", filters=self.filters, deltas=False, hop_ms=10, normalize=True)
        sound_FT = np.zeros(self.inputs["sound"].shape, np.float32)
        real = slice(seen * SOUND_FRAMES)
        sound_FT[:, real] = spectra.features(wave_N, front_end)[:, real]
        return {"mouth": example["mouth"], "sound": sound_FT, "mask": example["mask"]}

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a clip with sound: one Example a window.

        Raises:
            NoPictureError: The media has no moving pictures.
            NoSoundError: There is no sound track, or nothing but silence on it.
            TooShortError: Pictures and sound do not last ``min_s``.
            NoFaceError: No face is seen for ``min_s`` while something is heard.
            AssetError: The finder's weights are absent; another finder never takes its place.
            ConfigError: The finder is still ``auto``.
            MediaError: The media does not decode.
        """
        duration_s = min(media.facts.duration_s or 0.0, len(media.sound_N) / SOUND_RATE_HZ)
        if duration_s < self.min_s:
            msg = (
                f"{media.facts.name!r} has {duration_s:.2f} s of pictures with sound; at least "
                f"{self.min_s} s are needed."
            )
            raise TooShortError(msg)
        heard = [start_s for start_s in self._starts_s(duration_s) if self._is_heard(media, start_s)]
        if not heard:
            msg = f"{media.facts.name!r} is silent where it was looked at; give a clip with a voice."
            raise NoSoundError(msg)
        examples = [made for start_s in heard if (made := self._example(media, start_s))]
        if not examples:
            msg = (
                f"No face of at least {self.min_face_px} px was followed for {self.min_s} s with sound. Give "
                "a clip that shows the speaker longer or larger."
            )
            raise NoFaceError(msg)
        return examples

    def _starts_s(self, duration_s: float) -> list[float]:
        """Return when the windows begin, on ticks of the frames."""
        count = min(self.max_windows, math.ceil(duration_s / self.window_s))
        spare = max(0.0, duration_s - self.window_s) * RATE_HZ
        ends = (0.0, spare) if count > 1 else (spare / 2, spare / 2)
        starts_s: list[float] = (np.linspace(*ends, count).round() / RATE_HZ).tolist()
        return starts_s

    def _is_heard(self, media: Media, start_s: float) -> bool:
        begin = round(start_s * SOUND_RATE_HZ)
        return levels.loudness_db(media.sound_N[begin:][: self._frames * SAMPLES]) >= SILENCE_DB

    def _example(self, media: Media, start_s: float) -> Example | None:
        sampling = Sampling(kind="rate", rate_hz=RATE_HZ, start_s=start_s, span_s=self.window_s)
        mouth = follow_mouth(
            media.frames(sampling),
            finder=settings.settled_finder(self.finder),
            min_score=self.min_score,
            size_px=self.size_px,
        )
        if mouth is None or mouth.face_px < self.min_face_px:
            return None
        begin = round(start_s * SOUND_RATE_HZ) + mouth.first * SAMPLES
        frames = min(len(mouth.crops_TSS), (len(media.sound_N) - begin) // SAMPLES)
        if frames < self.min_s * RATE_HZ:
            return None
        example = {name: np.zeros(column.shape, column.dtype) for name, column in self.columns.items()}
        example["mouth"][:frames] = mouth.crops_TSS[:frames]
        example["wave"][: frames * SAMPLES] = _to_int16(media.sound_N[begin:][: frames * SAMPLES])
        example["mask"][:frames] = 1
        example["start_s"][...] = begin / SOUND_RATE_HZ
        example["box"][:] = mouth.box
        return example


def _to_int16(wave_N: Sound) -> NDArray[np.int16]:
    return np.rint(np.clip(wave_N, -1, 1) * FULL_SCALE).astype(np.int16)


def _from_int16(wave_N: NDArray[np.int16]) -> Sound:
    return wave_N.astype(np.float32) / np.float32(FULL_SCALE)


def augment_av(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example changed at random; nothing is moved in time, which is what is judged.

    The mouth changes as pictures do, all frames alike, and padding stays black. From ``basic`` on the sound
    gets noise, and at ``advanced`` it may also come through a room or a narrow line.
    """
    seen, side_px = int(example["mask"].sum()), example["mouth"].shape[1]
    frames = [np.repeat(crop_SS[..., None], 3, axis=2) for crop_SS in example["mouth"][:seen]]
    for change in draw_changes(augment, side_px, rng):
        frames = [change(frame_SSC) for frame_SSC in frames]
    mouth_TSS = np.zeros((len(example["mask"]), *frames[0].shape[:2]), np.uint8)
    mouth_TSS[:seen] = [frame_SSC[..., 0] for frame_SSC in frames]
    return {**example, "mouth": mouth_TSS, "wave": _changed_wave(example["wave"], seen, augment, rng)}


def _changed_wave(
    wave_N: NDArray[np.int16], seen: int, augment: Augment, rng: np.random.Generator
) -> NDArray[np.int16]:
    real_N = _from_int16(wave_N[: seen * SAMPLES])
    for chance, draw in _LEVELS[augment.level]:
        if rng.random() < chance:
            real_N = draw(rng)(real_N)
    changed_N = np.zeros_like(wave_N)
    changed_N[: len(real_N)] = _to_int16(real_N)
    return changed_N


def _draw_noise(rng: np.random.Generator) -> Callable[[Sound], Sound]:
    snr_db, falloff = rng.uniform(5, 40), rng.uniform(0, 2)
    return functools.partial(degrade_sound.noise, snr_db=snr_db, falloff=falloff, rng=rng)


def _draw_room(rng: np.random.Generator) -> Callable[[Sound], Sound]:
    decay_s, wet_db = rng.uniform(0.1, 0.6), rng.uniform(-20, -3)
    return functools.partial(degrade_sound.reverberate, decay_s=decay_s, wet_db=wet_db, rng=rng)


def _draw_narrowing(rng: np.random.Generator) -> Callable[[Sound], Sound]:
    return functools.partial(degrade_sound.narrow, rate_hz=int(rng.choice([8000, 11_025, 12_000])))


_Draws = tuple[tuple[float, Callable[[np.random.Generator], Callable[[Sound], Sound]]], ...]
_BASIC: _Draws = ((0.5, _draw_noise),)
_ADVANCED: _Draws = ((0.3, _draw_room), *_BASIC, (0.3, _draw_narrowing))
_DELIVERY: _Draws = ((0.3, _draw_narrowing),)
_LEVELS: dict[str, _Draws] = {
    "none": (),
    "flip": (),
    "basic": _BASIC,
    "advanced": _ADVANCED,
    "delivery": _DELIVERY,
    "rough": (*_BASIC, *_DELIVERY),
}


def _accepts(media: Media) -> bool:
    facts = media.facts
    return facts.has_sound and facts.width_px is not None and facts.duration_s is not None


def _aggregate(logits: NDArray[np.float32]) -> float:
    """Return the mean: a pause, or a mouth turned away, says nothing, and must not decide."""
    return float(np.mean(logits))


def _moments(example: Example, count: int) -> list[Region]:
    """Return ``count`` equal slices of the window as far as they are real.

    One of less than 0.2 s is left out: that is what a model needs to see at once.
    """
    whole, frames = _locate(example), len(example["mask"])
    edges_s = float(example["start_s"]) + np.arange(count + 1) * frames / count / RATE_HZ
    ends_s = np.minimum(edges_s[1:], whole.end_s or 0.0)
    return [
        dataclasses.replace(whole, start_s=start_s, end_s=end_s)
        for start_s, end_s in zip(edges_s[:-1].tolist(), ends_s.tolist(), strict=True)
        if end_s - start_s > _SHORTEST_S
    ]


def _locate(example: Example) -> Region:
    start_s = float(example["start_s"])
    left, top, right, bottom = example["box"].tolist()
    box: Box = (left, top, right, bottom)
    return Region(box=box, start_s=start_s, end_s=start_s + int(example["mask"].sum()) / RATE_HZ)


MODALITIES.register(
    "av",
    Modality(
        name="av",
        summary="Lips and voice of a clip with sound: whether they belong together.",
        accepts=_accepts,
        prep=AvPrep,
        augment=augment_av,
        aggregate=_aggregate,
        locate=_locate,
        limits=(
            "It looks at whether lips and voice go together: a clip that was made as a whole may pass.",
            "Dubbing, and sound that a file or a player moved against the picture, look like forgery to it.",
            "It needs one speaker whose mouth is seen; singing, masks and turned heads are judged worse.",
        ),
        example=MediaFacts(
            name="talk.mp4",
            kind="video",
            container="mp4",
            bytes=2260017,
            sha256="0" * 64,
            width_px=1280,
            height_px=720,
            duration_s=14.2,
            has_sound=True,
        ),
        moments=_moments,
    ),
)
