"""The pictures that a face finder learns from, kept apart by source, with the faces that its teacher sees."""

import dataclasses
import hashlib
import logging
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepscan.datasets import layout
from deepscan.datasets.columns import text_column
from deepscan.datasets.synthetic.clips import film
from deepscan.errors import AssetError, DataError, MediaError
from deepscan.media import assets, pixels
from deepscan.media.faces import find_faces
from deepscan.media.pixels import Picture
from deepscan.media.scenes import Portrait
from deepscan.media.source import Media, Sampling

SPLITS = ("train", "val", "test")

_TEST, _VAL = 0.15, 0.1
_FRAMES = 16
_LONG_PX = 640
_DRAWN = {"train": 120, "val": 12, "test": 0}
_DRAWN_PX = 192
_MIN_SCORE = 0.6
_MOVING = (".mp4", ".mov", ".avi", ".mkv", ".webm")
_STILL = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """The portraits of a split.

    Attributes:
        stills: Of pictures.
        frames: Of clips, some frames of each.
        drawn: Of faces that the program draws.
        digest: 16 hex digits for the files of the whole folder.
    """

    stills: tuple[Portrait, ...]
    frames: tuple[Portrait, ...]
    drawn: tuple[Portrait, ...]
    digest: str

    @property
    def portraits(self) -> tuple[Portrait, ...]:
        """All of them."""
        return (*self.stills, *self.frames, *self.drawn)


def divided(sources: Sequence[str], seed: int) -> dict[str, str]:
    """Return the split of every source, a pure function of their names: 15 % test, 10 % val, the rest train.

    Of few sources one is for the test all the same, and none for validation.

    Args:
        sources: Names; those of clips and of pictures are given one after the other.
        seed: Seed of the draw.
    """
    ranked = sorted(set(sources), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    test, val = math.ceil(_TEST * len(ranked)), int(_VAL * len(ranked))
    return {
        name: "test" if number < test else "val" if number < test + val else "train"
        for number, name in enumerate(ranked)
    }


def gather(media: pathlib.Path, split: str, seed: int, most: int | None = None) -> Gathered:
    """Read the pictures and clips of a split, and let YuNet find the faces in them.

    What does not decode, and what YuNet finds no face in, is left out.

    Args:
        media: Folder or manifest as of ``layout.scan``; what is neither picture nor clip is not looked at.
        split: ``train``, ``val`` or ``test``.
        seed: Seed of the division and of the drawn faces.
        most: Largest number of pictures; None = all.

    Raises:
        DataError: No face is left, or the folder cannot be read.
        AssetError: YuNet's weights are absent.
    """
    if assets.locate("yunet") is None:
        msg = "The face finder learns from YuNet, which is not here. Run `deepscan assets fetch yunet`."
        raise AssetError(msg)
    table = layout.scan(media)
    rows = list(zip(text_column(table, "path"), text_column(table, "source"), strict=True))
    stills, clips = ([row for row in rows if row[0].lower().endswith(kind)] for kind in (_STILL, _MOVING))
    # Divided by themselves, so that few clips are not all in one split; a source of both goes with its clips.
    home = divided([source for _, source in stills], seed) | divided([source for _, source in clips], seed)
    found = Gathered(
        stills=tuple(_portraits(_shuffled(stills, home, split)[:most])),
        frames=tuple(_portraits(_shuffled(clips, home, split))),
        drawn=tuple(_drawn(_DRAWN[split], (seed, SPLITS.index(split)))),
        digest=layout.digest(table),
    )
    if not found.stills and not found.frames:
        msg = f"No picture of {str(media)!r} that belongs to {split!r} shows a face; give more pictures."
        raise DataError(msg)
    _log.info(
        "%s: %d pictures, %d frames, %d drawn faces.",
        split,
        len(found.stills),
        len(found.frames),
        len(found.drawn),
    )
    return found


def look(picture_HWC: Picture) -> Portrait:
    """Return a picture with the faces that the teacher sees in it, at its own size."""
    faces = find_faces(
        picture_HWC, finder="yunet", min_score=_MIN_SCORE, looks_px=(max(picture_HWC.shape[:2]),)
    )
    return Portrait(picture_HWC=picture_HWC, faces=tuple(faces))


def _shuffled(rows: Sequence[tuple[str, str]], home: Mapping[str, str], split: str) -> list[str]:
    """Return the paths of a split in an order that has nothing to do with their folders."""
    chosen = [path for path, source in rows if home[source] == split]
    return sorted(chosen, key=lambda path: hashlib.sha256(pathlib.Path(path).name.encode()).digest())


def _portraits(paths: Sequence[str]) -> Iterator[Portrait]:
    for path in paths:
        try:
            pictures = list(_pictures(pathlib.Path(path)))
        except MediaError as error:
            _log.warning("%s is left out: %s", path, error)
            continue
        for picture_HWC in pictures:
            portrait = look(picture_HWC)
            if portrait.faces:
                yield portrait


def _pictures(path: pathlib.Path) -> Iterator[Picture]:
    media = Media.from_path(path)
    if media.facts.duration_s is None:
        yield _bounded(media.picture_HWC)
        return
    for frame in media.frames(Sampling(count=_FRAMES)):
        yield _bounded(frame.picture_HWC)


def _bounded(picture_HWC: Picture) -> Picture:
    height, width = picture_HWC.shape[:2]
    factor = min(1.0, _LONG_PX / max(height, width))
    return pixels.resize(picture_HWC, max(1, round(width * factor)), max(1, round(height * factor)))


def _drawn(count: int, seeds: Sequence[int]) -> Iterator[Portrait]:
    for number in range(count):
        rng = np.random.default_rng([*seeds, number])
        (picture_HWC, *_) = film(rng.uniform(0, 1, 2), _DRAWN_PX, rng).frames
        portrait = look(picture_HWC)
        if portrait.faces:
            yield portrait
