"""Deliveries: what happens to a file between its making and us.

A delivery makes the bytes of a new file from those of another, so that whatever judges files judges what was
delivered exactly as it would in use: the new file is probed, decoded and prepared like any other.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence

import av
import cv2
import numpy as np

from deepscan.errors import ConfigError, FormatError, MediaError, UnknownNameError
from deepscan.media.source import Media
from deepscan.registry import Registry, nearest

VERSION = 1
"""Part of the identity of what was judged; goes up with any change of code that changes a delivered file."""

ALL, QUICK = "all", "quick"
"""What may be asked for in place of names."""

Make = Callable[[Media, np.random.Generator], bytes]
"""Makes the content of the delivered file; draws only from the generator given."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One way in which files arrive.

    Attributes:
        name: Name in the registry, the tables and the options.
        family: What differs in strength only, and is drawn in one panel.
        severity: Place in the family, from 1, the mildest.
        setting: What makes it that strong, as a few characters at an axis.
        kinds: Kinds of media that it takes, as ``MediaFacts.kind``; what comes out is of the same kind.
        make: Makes the new file.
        coders: FFmpeg's names of the encoders that it needs.
        quick: Whether it is one of the few that give a first picture.
        mild: Whether nearly every file survives it unharmed, so that detectors may look through it too.
    """

    name: str
    family: str
    severity: int
    setting: str
    kinds: tuple[str, ...]
    make: Make
    coders: tuple[str, ...] = ()
    quick: bool = False
    mild: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """The encoders that it needs and the FFmpeg of this machine lacks."""
        return tuple(coder for coder in self.coders if not can_encode(coder))

    @property
    def complaint(self) -> str:
        """Why this machine cannot make it, and what helps; empty where it can."""
        if not self.missing:
            return ""
        return (
            f"Delivery {self.name!r} needs FFmpeg's encoder {' and '.join(self.missing)}, which the "
            "installed PyAV was built without; install PyAV's own wheel (`pip install av`) or leave it out."
        )


DELIVERIES: Registry[Delivery] = Registry("delivery")


def can_encode(coder: str) -> bool:
    """Tell whether the FFmpeg of this machine has an encoder of that name."""
    try:
        return bool(av.Codec(coder, "w").is_encoder)
    except av.codec.codec.UnknownCodecError:
        return False


def register(deliveries: Iterable[Delivery]) -> None:
    """Add deliveries to the registry, in their order."""
    for delivery in deliveries:
        DELIVERIES.register(delivery.name, delivery)


def deliver(delivery: Delivery, media: Media) -> Media:
    """Return a file as it arrives; the same content and delivery give the same bytes.

    Args:
        delivery: The way.
        media: The file, of one of its kinds.

    Raises:
        ConfigError: The delivery does not take such files.
        FormatError: The FFmpeg here lacks an encoder.
        AbstainError: The file lacks what is delivered.
        MediaError: It does not decode, does not go into the new format, or exceeds a limit there.
    """
    if media.facts.kind not in delivery.kinds:
        msg = (
            f"Delivery {delivery.name!r} takes {' or '.join(delivery.kinds)}, and {media.facts.name!r} is "
            f"{media.facts.kind}; choose another one."
        )
        raise ConfigError(msg)
    if delivery.missing:
        raise FormatError(delivery.complaint)
    try:
        data = delivery.make(media, _generator(delivery, media))
    except (av.FFmpegError, cv2.error) as error:
        msg = (
            f"{media.facts.name!r} does not go into the format of delivery {delivery.name!r} ({error}); "
            "leave out the file or the delivery."
        )
        raise MediaError(msg) from error
    return Media.from_bytes(data, f"{delivery.name} of {media.facts.name}")


def choose(given: Sequence[str], kinds: Iterable[str], known: Registry[Delivery]) -> list[Delivery]:
    """Return the deliveries that are asked for, in the order of the registry.

    Args:
        given: Names, or ``all`` or ``quick`` in the place of one: those that take some of the media.
        kinds: Kinds of the media that are there.
        known: The registry.

    Raises:
        UnknownNameError: There is no such delivery.
        ConfigError: One that is named takes no such media, or nothing is left.
    """
    present = set(kinds)
    able = [delivery for delivery in known if present & set(delivery.kinds)]
    wanted: set[str] = set()
    for name in given:
        if name in (ALL, QUICK):
            wanted |= {each.name for each in able if each.quick or name == ALL}
        else:
            wanted.add(_known(name, able, known).name)
    if not wanted:
        msg = f"No delivery is for media of kind {', '.join(sorted(present)) or 'none'}; give other files."
        raise ConfigError(msg)
    return [delivery for delivery in able if delivery.name in wanted]


def _known(name: str, able: Sequence[Delivery], known: Registry[Delivery]) -> Delivery:
    words = (ALL, QUICK, *known.names())
    if name not in known:
        msg = f"No delivery is named {name!r}.{nearest(name, words)} Known: {', '.join(words)}."
        raise UnknownNameError(msg)
    found = known.get(name)
    if found not in able:
        msg = (
            f"Delivery {name!r} takes {' or '.join(found.kinds)}, of which there is none here; leave it out."
        )
        raise ConfigError(msg)
    return found


def _generator(delivery: Delivery, media: Media) -> np.random.Generator:
    seed = hashlib.sha256(f"{delivery.name}\0{media.facts.sha256}".encode()).digest()
    return np.random.default_rng(np.frombuffer(seed, np.uint32))
