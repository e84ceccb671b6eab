"""Moving pictures: a face followed through a clip, seen at several times."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError, NoFaceError, TooShortError
from deepscan.media import blend
from deepscan.media.faces import LOOKS_PX, face_in_crop
from deepscan.media.source import Media, Sampling
from deepscan.media.tracks import Glimpse, Track, follow, look, steadied
from deepscan.modalities import MODALITIES, Column, Example, Forgery, Modality, settings
from deepscan.modalities.image import draw_changes
from deepscan.modalities.settings import FinderChoice
from deepscan.recipe import Augment
from deepscan.verdict import Box, MediaFacts, Region

PREP_VERSION = 1
"""Part of every digest; goes up with any change of code that changes an Example."""

_KINDS = ("even", "every", "window")
_SHORTEN_CHANCE = 0.3
_SKIP_CHANCE = 0.3
_LEAST_KEPT = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VideoPrep:
    """Clips to face tracks: one Example a track, the face that is seen longest first, then the largest.

    A clip may be cut into ``segments`` of equal length, each of which is sampled and followed on its own:
    more Examples to learn from, and a closer look at a long clip.

    Columns, T being ``sampling.count``: ``frames`` uint8 [T, S, S, 3], crops turned so that the eyes are
    level; ``mask`` uint8 [T], 1 for the first frames, which are real, and 0 for the rest, which are padding
    (all columns 0); ``time_s`` float32 [T], seconds since the clip's begin; ``box`` float32 [T, 4], the
    face without the margin: left, top, right, bottom as fractions of the upright picture. Frames in which
    the face was not found are left out, never made up. ``auto`` must be replaced by ``resolved()`` before a
    Prep has a digest or runs.

    Attributes:
        sampling: Which frames are looked at in each segment; kinds that take a number of frames of their
            own are refused.
        segments: Into how many parts of equal length the sampled time is cut; a clip of few frames is cut
            into fewer.
        size_px: Side S of a crop.
        finder: Who looks for faces: ``yunet`` (an asset), ``tiny`` (ships with deepscan), ``haar`` (with
            OpenCV), or ``auto``.
        margin: Share of the face that is added on each side, in [0, 2].
        min_face_px: Faces whose shorter side is smaller, in the median over the clip, are not judged.
        min_score: Less certain faces are not judged, in [0, 1]; see ``faces.Face``.
        min_frames: A face must be seen in so many frames, at most ``sampling.count``.
        max_tracks: Only so many faces of each segment are judged.
    """

    sampling: Sampling = Sampling()
    segments: int = 1
    size_px: int = 112
    finder: FinderChoice = "auto"
    margin: float = 0.3
    min_face_px: int = 32
    min_score: float = 0.6
    min_frames: int = 3
    max_tracks: int = 2

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: A value is out of range, or the sampling takes a number of frames of its own.
        """
        limits = {
            "segments": (1, 16),
            "size_px": (8, 4096),
            "margin": (0, 2),
            "min_face_px": (1, 4096),
            "min_score": (0, 1),
            "min_frames": (1, self.sampling.count),
            "max_tracks": (1, 1000),
        }
        settings.check_ranges(self, limits)
        if self.sampling.kind not in _KINDS:
            msg = f"VideoPrep samples {', '.join(_KINDS)}, not {self.sampling.kind!r}; set sampling.kind."
            raise ConfigError(msg)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""
        frames, side_px = self.sampling.count, self.size_px
        return {
            "frames": Column(shape=(frames, side_px, side_px, 3), dtype="uint8"),
            "mask": Column(shape=(frames,), dtype="uint8"),
            "time_s": Column(shape=(frames,), dtype="float32"),
            "box": Column(shape=(frames, 4), dtype="float32"),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""
        return ("frames", "mask")

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads: the frames and which of them are real."""
        return {name: self.columns[name] for name in self.needs}

    @property
    def digest(self) -> str:
        """Hex digest of the settings, the version of this code and the finder's weights.

        Raises:
            ConfigError: The finder is still ``auto``.
        """
        return settings.digest(self, PREP_VERSION, self.finder)

    def resolved(self) -> "VideoPrep":
        """Return the Prep with ``auto`` replaced by the best finder on this machine; call it once a run.

        Raises:
            AssetError: The finder's weights are absent or altered.
        """
        finder = settings.available_finder(self.finder)
        return self if finder == self.finder else dataclasses.replace(self, finder=finder)

    def features(self, example: Example) -> Example:
        """Return frames and mask; networks normalise them themselves."""
        return {name: example[name] for name in self.needs}

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a clip: one Example a face that is seen long enough.

        Raises:
            NoPictureError: The media has no moving pictures.
            TooShortError: The clip has fewer frames than ``min_frames``.
            NoFaceError: No face is seen in so many frames.
            AssetError: The finder's weights are absent; another finder never takes its place.
            ConfigError: The finder is still ``auto``.
            MediaError: The media does not decode.
        """
        glimpses = self._look(media)
        if len(glimpses) < self.min_frames:
            msg = (
                f"{media.facts.name!r} gave {len(glimpses)} frames where {self.min_frames} are needed; "
                "give a longer clip or lower min_frames."
            )
            raise TooShortError(msg)
        examples = [example for part in self._cut(glimpses) for example in self._examples(part)]
        if not examples:
            shown = sum(bool(each.faces) for each in glimpses)
            msg = (
                f"No face of at least {self.min_face_px} px could be followed through {self.min_frames} "
                f"frames; {shown} of {len(glimpses)} show a face. Give a clip that shows it longer or larger."
            )
            raise NoFaceError(msg)
        return examples

    def _look(self, media: Media) -> list[Glimpse]:
        """Look for faces in small pictures; if those show few, look at the clip again in more detail."""
        sampling = dataclasses.replace(self.sampling, count=self.segments * self.sampling.count)
        search = functools.partial(
            look,
            finder=settings.settled_finder(self.finder),
            min_score=self.min_score,
            margin=self.margin,
        )
        glimpses = search(media.frames(sampling), looks_px=LOOKS_PX[:1])
        if 2 * sum(bool(each.faces) for each in glimpses) >= len(glimpses):
            return glimpses
        return search(media.frames(sampling), looks_px=LOOKS_PX)

    def _cut(self, glimpses: list[Glimpse]) -> list[list[Glimpse]]:
        count = min(self.segments, len(glimpses) // self.min_frames)
        edges = [len(glimpses) * number // count for number in range(count + 1)]
        return [glimpses[begin:end] for begin, end in itertools.pairwise(edges)]

    def _examples(self, glimpses: list[Glimpse]) -> list[Example]:
        tracks = follow([each.time_s for each in glimpses], [each.faces for each in glimpses])
        judged = [track for track in tracks if self._judges(track)][: self.max_tracks]
        return [self._example(steadied(track), glimpses) for track in judged]

    def _judges(self, track: Track) -> bool:
        return len(track.sights) >= self.min_frames and track.side_px >= self.min_face_px

    def _example(self, track: Track, glimpses: list[Glimpse]) -> Example:
        example = {name: np.zeros(column.shape, column.dtype) for name, column in self.columns.items()}
        for number, sight in enumerate(track.sights):
            glimpse = glimpses[sight.frame]
            example["frames"][number] = glimpse.crop(sight.face, self.size_px, self.margin)
            example["box"][number] = glimpse.fraction(sight.face)
            example["time_s"][number] = sight.time_s
            example["mask"][number] = 1
        return example


def augment_frames(example: Example, augment: Augment, rng: np.random.Generator) -> Example:
    """Return the Example changed at random, all frames alike; padding stays black and at the end.

    The changes are those of pictures (only the grain of noise differs from frame to frame, as a camera's
    does). Level ``advanced`` also shortens the clip to a stretch of it, or skips frames; at least half of
    them stay. Time is never turned round: speech and faces run one way, and a model may learn how.
    With ``augment.crop`` below 1 the frames are smaller squares, at the scale they had.
    """
    if augment.level == "advanced":
        example = _keep(example, _draw_kept(int(example["mask"].sum()), rng))
    seen, side_px = int(example["mask"].sum()), example["frames"].shape[1]
    frames = list(example["frames"][:seen])
    for change in draw_changes(augment, side_px, rng):
        frames = [change(frame_HWC) for frame_HWC in frames]
    padding = [np.zeros_like(frames[0])] * (len(example["mask"]) - seen)
    return {**example, "frames": np.stack(frames + padding)}


def _draw_kept(seen: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw which of the real frames stay, ascending."""
    kept = np.arange(seen)
    least = int(np.ceil(_LEAST_KEPT * seen))
    if rng.random() < _SHORTEN_CHANCE:
        count = int(rng.integers(least, len(kept) + 1))
        begin = int(rng.integers(0, len(kept) - count + 1))
        kept = kept[begin : begin + count]
    if rng.random() < _SKIP_CHANCE:
        count = int(rng.integers(least, len(kept) + 1))
        kept = np.sort(rng.choice(kept, count, replace=False))
    return kept


def _keep(example: Example, kept: NDArray[np.intp]) -> Example:
    shorter = {name: np.zeros_like(array) for name, array in example.items()}
    for name, array in example.items():
        shorter[name][: len(kept)] = array[kept]
    return shorter


def self_blended(
    example: Example, prep: VideoPrep, rng: np.random.Generator, others: Sequence[Example] = ()
) -> tuple[Example, Example]:
    """Return a real Example and the same face blended into itself, alike in every frame; see ``media.blend``.

    The face lies where the Prep put it.
    """
    face = face_in_crop(prep.size_px, prep.margin)
    seed = int(rng.integers(2**63))
    real, fake = example["frames"].copy(), example["frames"].copy()
    for number in range(int(example["mask"].sum())):
        # The same draws for every frame: who alters a clip does not begin anew with each.
        made = blend.self_blend(example["frames"][number], face, np.random.default_rng(seed))
        real[number], fake[number] = made.real, made.fake
    return {**example, "frames": real}, {**example, "frames": fake}


def _accepts(media: Media) -> bool:
    return media.facts.width_px is not None and media.facts.duration_s is not None


def _aggregate(logits: NDArray[np.float32]) -> float:
    """The most suspicious face decides."""
    return float(np.max(logits))


def _moments(example: Example, count: int) -> list[Region]:
    """The frames that are real: each from half way to the one before to half way to the one after.

    A moment reaches no further than half the usual distance of frames, so that seconds in which the face
    was not found belong to none.
    """
    seen = int(example["mask"].sum())
    times_s = example["time_s"][:seen].astype(float)
    gaps_s = np.diff(times_s)
    reach_s = float(np.median(gaps_s)) / 2 if seen > 1 else 0.0
    halves_s = np.concatenate([[reach_s], np.minimum(gaps_s / 2, reach_s), [reach_s]])
    starts_s, ends_s = np.maximum(times_s - halves_s[:-1], 0), times_s + halves_s[1:]
    return [
        Region(box=_box(box), start_s=start_s, end_s=end_s)
        for box, start_s, end_s in zip(
            example["box"][: min(seen, count)], starts_s.tolist(), ends_s.tolist(), strict=False
        )
    ]


def _locate(example: Example) -> Region:
    """Where the face mostly is, from its first moment to its last."""
    seen = int(example["mask"].sum())
    moments = _moments(example, seen)
    box = _box(np.median(example["box"][:seen], axis=0))
    return Region(box=box, start_s=moments[0].start_s, end_s=moments[-1].end_s)


def _shown(example: Example, prep: VideoPrep, size_px: tuple[int, int]) -> list[Box]:
    seen = int(example["mask"].sum())
    return [settings.square_around(_box(box), size_px, prep.margin) for box in example["box"][:seen]]


def _box(values: NDArray[np.float32]) -> Box:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom


MODALITIES.register(
    "video",
    Modality(
        name="video",
        summary="A clip: each face in it, followed through time.",
        accepts=_accepts,
        prep=VideoPrep,
        augment=augment_frames,
        aggregate=_aggregate,
        locate=_locate,
        shown=_shown,
        limits=(
            "It looks at some frames of a clip, not at all: a forgery of a few moments may lie between them.",
            "Faces that turn away, are small or are lost between cuts are judged worse, or not at all.",
            "Re-encoding by messengers and sites removes the traces that it looks for.",
        ),
        example=MediaFacts(
            name="clip.mp4",
            kind="video",
            container="mp4",
            bytes=1742038,
            sha256="0" * 64,
            width_px=1280,
            height_px=720,
            duration_s=14.2,
        ),
        moments=_moments,
        forgeries={
            "self-blended": Forgery(
                summary="The face of every frame blended into itself, alike in all of them",
                make=self_blended,
            )
        },
    ),
)
