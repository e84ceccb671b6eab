"""Batches of composed pictures: the same for the same seed, made in threads while the network trains."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from deepscan.finder.targets import target
from deepscan.media import backdrops
from deepscan.media.faces import Face, find_faces
from deepscan.media.pixels import Picture
from deepscan.media.scenes import Portrait, Scene, compose, settled, worsen
from deepscan.media.shipped_faces import STRIDES

Batch = dict[str, Tensor]

SIZES_PX = (192, 256, 320)
_SHARES = (0.5, 0.3, 0.2)
_TEACHER_SCORE = 0.5
_FINE = 2**31
_BLANK_PX = 256
_HELD_BACK = 2**40
"""Numbers of validation batches begin here, so that no training batch is drawn like one of them."""

Teacher = Callable[[Picture], Sequence[Face]]


def yunet(picture_HWC: Picture) -> list[Face]:
    """Return the faces that YuNet sees in a picture at its own size.

    Raises:
        AssetError: YuNet's weights are absent or altered.
    """
    look_px = max(picture_HWC.shape[:2])
    return find_faces(picture_HWC, finder="yunet", min_score=_TEACHER_SCORE, looks_px=(look_px,))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Composer:
    """Makes batches out of portraits.

    Attributes:
        groups: Portraits of each kind; a kind may be empty.
        shares: How often each kind is drawn from.
        size: Pictures of a batch.
        seed: Seed of everything.
        teacher: Finds the faces of a composed picture.
    """

    groups: tuple[tuple[Portrait, ...], ...]
    shares: tuple[float, ...]
    size: int
    seed: int
    teacher: Teacher = yunet

    def scene(self, rng: np.random.Generator, size_px: int) -> Scene:
        """Compose a picture, let the teacher look at it, and make it worse."""
        scene = compose(self._draw, size_px, rng)
        scene = settled(scene, self.teacher(scene.picture_HWC))
        return dataclasses.replace(scene, picture_HWC=worsen(scene.picture_HWC, rng))

    def _draw(self, rng: np.random.Generator) -> Portrait:
        there = [(group, share) for group, share in zip(self.groups, self.shares, strict=True) if group]
        edges = np.cumsum([share for _, share in there])
        place = int(np.searchsorted(edges / edges[-1], rng.integers(_FINE) / _FINE, side="right"))
        group = there[place][0]
        return group[int(rng.integers(len(group)))]

    def scenes(self, number: int) -> list[Scene]:
        """Return the scenes of a batch, all of one size."""
        rng = np.random.default_rng([self.seed, number])
        size_px = int(rng.choice(SIZES_PX, p=_SHARES))
        return [self.scene(rng, size_px) for _ in range(self.size)]

    def batch(self, number: int) -> Batch:
        """Return a batch: ``pixels`` uint8 [B, 3, H, W], ``target``, ``label`` (1 = a face) and ``file``."""
        return collate(self.scenes(number), self.size * number)


def collate(scenes: Sequence[Scene], first: int) -> Batch:
    """Put scenes of one size into a batch; ``first`` is the number of the first of them."""
    pictures = np.stack([scene.picture_HWC for scene in scenes])
    assert not pictures.shape[1] % STRIDES[-1]
    return {
        # Channels stay last in memory, where convolutions on a CPU are faster.
        "pixels": torch.from_numpy(pictures).permute(0, 3, 1, 2),
        "target": torch.from_numpy(np.stack([target(scene) for scene in scenes])),
        "label": torch.tensor([float(bool(scene.faces or scene.unsure)) for scene in scenes]),
        "file": torch.arange(first, first + len(scenes)),
    }


def endless(composer: Composer, first: int, threads: int) -> Iterator[Batch]:
    """Yield the batches from number ``first`` on, made ahead of time in so many threads."""
    with ThreadPoolExecutor(threads, thread_name_prefix="compose") as pool:
        waiting: collections.deque[Future[Batch]] = collections.deque()
        try:
            while True:
                while len(waiting) < 3 * threads:
                    waiting.append(pool.submit(composer.batch, first))
                    first += 1
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def held_back(composer: Composer, count: int) -> list[list[Scene]]:
    """Return the scenes of so many batches for validation, always the same."""
    return [composer.scenes(_HELD_BACK + number) for number in range(count)]


def blanks(seed: int, count: int) -> list[Scene]:
    """Return pictures of text, drawings, noise and colours, which show no face."""
    rng = np.random.default_rng([seed, _HELD_BACK - 1])
    grounds = (backdrops.plain, backdrops.shaded, backdrops.noisy)
    made = []
    for number in range(count):
        picture_HWC = grounds[number % len(grounds)](_BLANK_PX, rng)
        over = backdrops.written if number % 4 else backdrops.drawing
        made.append(Scene(picture_HWC=over(picture_HWC, rng), faces=()))
    return made
