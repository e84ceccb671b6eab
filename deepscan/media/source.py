"""Media: one file, whatever it holds, decoded lazily."""

import dataclasses
import functools
import hashlib
import pathlib
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import MediaError, NoPictureError, NoSoundError
from deepscan.media.frames import Frame, Sampling, sample
from deepscan.media.pixels import decode_picture
from deepscan.media.probe import Limits, check_bytes, probe
from deepscan.media.sound import SOUND_RATE_HZ, Recording, decode_recording, decode_sound, decode_whole
from deepscan.verdict import MediaFacts

__all__ = ["SOUND_RATE_HZ", "Frame", "Limits", "Media", "Sampling"]

Probing = Callable[[bytes, str, Limits | None], MediaFacts]
"""Reads what a file is, as ``probe`` does."""


class Media:
    """One file. Use ``from_bytes`` or ``from_path``; both check limits before anything is decoded.

    Attributes:
        data: The file's content.
        facts: What the file is, as read from its header.
    """

    def __init__(self, data: bytes, facts: MediaFacts, sound: "Media | None" = None) -> None:
        """Wrap bytes that were probed already; ``sound`` has the sound where another file holds it."""
        self.data = data
        self.facts = facts
        self._sound = sound

    def __reduce__(self) -> tuple[type[Self], tuple[bytes, MediaFacts, "Media | None"]]:
        """Travel to other processes as what was read: what was decoded of it is many times larger."""
        return type(self), (self.data, self.facts, self._sound)

    @classmethod
    def from_bytes(
        cls, data: bytes, name: str, limits: Limits | None = None, probing: Probing = probe
    ) -> Self:
        """Probe bytes and wrap them.

        Args:
            data: The whole file.
            name: File name, for messages and facts; folders are dropped.
            limits: What to refuse; None = the defaults of ``Limits``.
            probing: What reads the facts; it may remember those of files that came before.

        Raises:
            MediaError: The file is empty, unsupported, too large or has a broken header.
        """
        return cls(data, probing(data, name, limits))

    @classmethod
    def from_path(cls, path: pathlib.Path, limits: Limits | None = None, probing: Probing = probe) -> Self:
        """Read and probe a file; its size is checked before it is read.

        Raises:
            MediaError: There is no such file, it is not a regular file, it cannot be read, or what
                ``from_bytes`` raises.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                msg = f"{str(path)!r} is a folder or a device; name a file."
                raise MediaError(msg)
            check_bytes(status.st_size, path.name, limits or Limits())
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            msg = f"{str(path)!r} cannot be read ({error}); check the path and its permissions."
            raise MediaError(msg) from error
        return cls.from_bytes(data, path.name, limits, probing)

    @classmethod
    def joined(cls, pictures: "Media", sound: "Media") -> Self:
        """Return the pictures of one file with the sound of another, which begin at the same time.

        Raises:
            NoPictureError: The first holds no moving pictures.
            NoSoundError: The second holds no sound.
        """
        pictures._require_pictures()
        sound._require_sound()
        return cls(pictures.data, facts_together([pictures.facts, sound.facts]), sound)

    @functools.cached_property
    def picture_HWC(self) -> NDArray[np.uint8]:
        """The upright picture, RGB uint8 [H, W, 3], C-contiguous; read-only, because all users share it.

        Raises:
            CorruptMediaError: The pixels are truncated or do not decode.
        """
        return decode_picture(self.data, self.facts.name)

    def frames(self, sampling: Sampling) -> Iterator[Frame]:
        """Yield frames of moving pictures in the order of their times, decoded as they are asked for.

        Raises:
            NoPictureError: The media has no moving pictures.
            CorruptMediaError: Nothing of them decodes.
        """
        self._require_pictures()
        return sample(self.data, self.facts.name, sampling)

    @functools.cached_property
    def sound_N(self) -> NDArray[np.float32]:
        """The sound, float32 [N] in [-1, 1], mono at 16 kHz; read-only, because all users share it.

        Raises:
            NoSoundError: The media has no sound track.
            CorruptMediaError: Nothing of it decodes.
        """
        self._require_sound()
        if self._sound:
            return self._sound.sound_N
        return decode_sound(self.data, self.facts.name, self.facts.duration_s or 0.0)

    @functools.cached_property
    def recording(self) -> Recording:
        """The first minute of the sound at the file's own rate, mono; read-only, because all users share it.

        Raises:
            NoSoundError: The media has no sound track.
            CorruptMediaError: Nothing of it decodes.
        """
        self._require_sound()
        if self._sound:
            return self._sound.recording
        return decode_recording(self.data, self.facts.name, self.facts.duration_s or 0.0)

    def whole_recording(self) -> Recording:
        """Decode all of the sound at the file's own rate, mono; it is not kept.

        Raises:
            NoSoundError: The media has no sound track.
            CorruptMediaError: Nothing of it decodes.
        """
        self._require_sound()
        if self._sound:
            return self._sound.whole_recording()
        return decode_whole(self.data, self.facts.name, self.facts.duration_s or 0.0)

    def _require_pictures(self) -> None:
        if self.facts.duration_s is None or self.facts.width_px is None:
            msg = f"{self.facts.name!r} holds no moving pictures; give a video."
            raise NoPictureError(msg)

    def _require_sound(self) -> None:
        if not self.facts.has_sound:
            msg = f"{self.facts.name!r} has no sound track; give a file with sound."
            raise NoSoundError(msg)


def facts_together(files: Sequence[MediaFacts]) -> MediaFacts:
    """Return the facts of several files that are one case: of one file its own, else those of all.

    Kind, container, size and length are those of the first; the digest is that of their digests.
    """
    if len(files) == 1:
        return files[0]
    return dataclasses.replace(
        files[0],
        name=" + ".join(each.name for each in files),
        bytes=sum(each.bytes for each in files),
        sha256=hashlib.sha256("".join(each.sha256 for each in files).encode()).hexdigest(),
        has_sound=any(each.has_sound for each in files),
        notes=tuple(f"{each.name}: {note}" for each in files for note in each.notes),
    )
