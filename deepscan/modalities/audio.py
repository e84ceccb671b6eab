"""Sound: windows of a voice."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deepscan import config
from deepscan.media.source import Media
from deepscan.media.spectra import FrontEnd
from deepscan.modalities import MODALITIES, Column, Example, Modality
from deepscan.recipe import Augment
from deepscan.verdict import Region

PREP_VERSION = 1
RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AudioPrep:
    """Sound to windows: one Example a window, columns ``wave`` int16 [N] and ``start_s`` float32 [].

    The model reads ``wave`` float32 [N] in [-1, 1], or ``features`` float32 [rows, frames].

    Attributes:
        front_end: What the model reads.
        window_s: Length of a window.
        hop_s: Time between windows.
        max_windows: At most so many windows, evenly over the sound.
        trim: Leave out silence at both ends.
        level_db: Loudness that the sound is brought to, in dB of full scale.
        min_s: Shorter sound (after trimming) is not judged.
    """

    front_end: FrontEnd = FrontEnd()
    window_s: float = 4.0
    hop_s: float = 2.0
    max_windows: int = 8
    trim: bool = True
    level_db: float = -26.0
    min_s: float = 0.5

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        samples = round(self.window_s * RATE_HZ)
        return {"wave": Column(shape=(samples,), dtype="int16"), "start_s": Column(shape=(), dtype="float32")}

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("wave",)

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: ``wave`` or ``features``."""
        return {"wave": Column(shape=self.columns["wave"].shape, dtype="float32")}

    @property
    def digest(self) -> str:
        """Hex digest of the settings and the version of this code."""
        return hashlib.sha256(f"{config.digest(self)} {PREP_VERSION}".encode()).hexdigest()[:16]

    def resolved(self) -> "AudioPrep":
        """Return the Prep: nothing is left to the machine."""
        return self

    def features(self, example: Example) -> Example:
        """Return what the front end makes of the window."""
        return {"wave": example["wave"].astype(np.float32) / 32768}

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a file with sound."""
        samples = self.columns["wave"].shape[0]
        wave_N = np.resize(media.sound_N, samples)
        return [{"wave": (wave_N * 32767).astype(np.int16), "start_s": np.zeros((), np.float32)}]


def _accepts(media: Media) -> bool:
    return media.facts.has_sound


def augment_sound(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example with its sound changed at random."""
    return example


def _aggregate(logits: NDArray[np.float32]) -> float:
    return float(np.mean(logits))


def _locate(example: Example) -> Region:
    start_s = float(example["start_s"])
    return Region(start_s=start_s, end_s=start_s + len(example["wave"]) / RATE_HZ)


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
    ),
)
