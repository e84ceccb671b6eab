"""Where the time of one file goes, from its bytes to the verdict."""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepscan.detector import Detector, admit
from deepscan.errors import AbstainError, MediaError
from deepscan.fusion import FusionPolicy, Vote
from deepscan.media.faces import LOOKS_PX, find_faces
from deepscan.media.pixels import Picture
from deepscan.media.source import Frame, Media, Sampling
from deepscan.modalities import Example, Outputs, batch
from deepscan.pipeline import conclude
from deepscan.verdict import Abstention, MediaFacts

T = TypeVar("T")

STAGES = ("probe", "prepare", "decode", "faces", "features", "model", "fuse", "whole")
"""``probe`` reads what the file is. ``decode`` is the part of ``prepare`` that waits for pictures or sound.
``faces`` is how long it takes to look for faces in these pictures and nothing else: of a clip they are looked
for while the next frames are decoded, so that ``prepare`` may be shorter than both together. ``whole`` is the
sum of ``probe``, ``prepare``, ``features``, ``model`` and ``fuse``."""

MOST_PICTURES = 32
"""Pictures of a file that are kept to look for faces in them again; those of long clips fill the memory."""


class ClockedMedia(Media):
    """A file that knows how long its user waited for what it decoded."""

    def __init__(self, data: bytes, facts: MediaFacts, sound: Media | None = None) -> None:
        """Wrap bytes that were probed already."""
        super().__init__(data, facts, sound)
        self.waited_ms = 0.0
        self.pictures: list[Picture] = []
        self.seen = 0

    @functools.cached_property
    def picture_HWC(self) -> NDArray[np.uint8]:
        """See ``Media``."""
        return self._shown(self._waited(lambda: super(ClockedMedia, self).picture_HWC))

    @functools.cached_property
    def sound_N(self) -> NDArray[np.float32]:
        """See ``Media``."""
        return self._waited(lambda: super(ClockedMedia, self).sound_N)

    def frames(self, sampling: Sampling) -> Iterator[Frame]:
        """See ``Media``."""
        frames = super().frames(sampling)
        while (frame := self._waited(lambda: next(frames, None))) is not None:
            self._shown(frame.picture_HWC)
            yield frame

    def _waited(self, work: Callable[[], T]) -> T:
        result, spent_ms = timed(work)
        self.waited_ms += spent_ms
        return result

    def _shown(self, picture_HWC: Picture) -> Picture:
        self.seen += 1
        if len(self.pictures) < MOST_PICTURES:
            self.pictures.append(picture_HWC)
        return picture_HWC


def profile(
    paths: Sequence[Path], detector: Detector, rounds: int = 3, most: int = 3
) -> dict[str, float] | None:
    """Return the median milliseconds of each stage over some files, each judged once before to warm up.

    Args:
        paths: Files; those that the detector cannot judge are left out.
        detector: Who judges them.
        rounds: How often each file is judged.
        most: So many files are enough; the first ones that it can judge.

    Returns:
        Milliseconds by ``STAGES``; None where it can judge none of the files.
    """
    judged = (path for path in paths if stages_of(path, detector))
    able = list(itertools.islice(judged, most))
    rows = [row for _ in range(rounds) for path in able if (row := stages_of(path, detector))]
    return {stage: statistics.median(row[stage] for row in rows) for stage in STAGES} if rows else None


def stages_of(path: Path, detector: Detector) -> dict[str, float] | None:
    """Return milliseconds by ``STAGES`` of one file; None where the detector cannot judge it."""
    prep = detector.prep
    start_s = time.perf_counter()
    try:
        media, probe_ms = timed(lambda: ClockedMedia.from_path(path))
        if not detector.modality.accepts(media):
            return None
        examples, prepare_ms = timed(lambda: prep(media))
    except (AbstainError, MediaError):
        return None
    inputs, features_ms = timed(lambda: batch(examples, prep))
    outputs, model_ms = timed(lambda: detector.runner(inputs))
    votes, judge_ms = timed(lambda: [_said(detector, examples, outputs)])
    _, fuse_ms = timed(lambda: conclude(media.facts, votes, FusionPolicy(), start_s))
    _, faces_ms = timed(lambda: _look(media.pictures, prep))
    whole_ms = probe_ms + prepare_ms + features_ms + model_ms + judge_ms + fuse_ms
    return {
        "probe": probe_ms,
        "prepare": prepare_ms,
        "decode": media.waited_ms,
        "faces": faces_ms * media.seen / max(1, len(media.pictures)),
        "features": features_ms,
        "model": model_ms,
        "fuse": judge_ms + fuse_ms,
        "whole": whole_ms,
    }


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work gives, and how many milliseconds it took."""
    begin_s = time.perf_counter()
    result = work()
    return result, 1000 * (time.perf_counter() - begin_s)


def _said(detector: Detector, examples: list[Example], outputs: Outputs) -> Vote | Abstention:
    """Judge a prepared file that the model has run on; the gate takes its time before."""
    (admitted,) = admit((detector,), examples)
    if isinstance(admitted, AbstainError):
        return detector.abstain(admitted)
    return detector.judge(examples, outputs)


def _look(pictures: Sequence[Picture], prep: Any) -> None:
    """Look for faces as a Prep does, where it does."""
    if not hasattr(prep, "finder") or getattr(prep, "region", "face") != "face":
        return
    looks_px = LOOKS_PX if len(pictures) == 1 else LOOKS_PX[:1]
    for picture_HWC in pictures:
        find_faces(picture_HWC, finder=prep.finder, min_score=prep.min_score, looks_px=looks_px)
