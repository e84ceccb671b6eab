"""Ways of looking at media, and the contract of preprocessing.

A modality is a record of functions; adding one is adding a file here that registers it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import AbstainError, UnknownNameError
from deepscan.media.source import Media
from deepscan.recipe import Augment
from deepscan.registry import Registry, nearest
from deepscan.verdict import Box, MediaFacts, Region

Example = dict[str, NDArray[Any]]
"""Fixed-shape arrays by column name, as declared by ``Prep.columns``; no batch axis."""

Outputs = dict[str, NDArray[np.float32]]
"""What a model says of Examples, each float32 with the batch axis first; see ``ModelSpec``."""

Prepared = list[Example] | AbstainError
"""What a Prep made of a file: its Examples, or why there are none."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """Shape and dtype of one array of an Example."""

    shape: tuple[int, ...]
    dtype: str


class Prep(Protocol):
    """The deterministic function ``Media -> list[Example]``; a frozen dataclass.

    Its fields are the settings of preprocessing; the one class serves training, batch scoring,
    the command line and Serve.
    """

    @property
    def columns(self) -> Mapping[str, Column]:
        """Every column of an Example."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that ``features`` reads."""

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What the model reads, in the order of its arguments; what ``features`` returns."""

    @property
    def digest(self) -> str:
        """Hex digest of everything that the output depends on besides the media."""

    def resolved(self) -> Self:
        """Return the Prep with every choice that was left to the machine made; whoever runs it begins so.

        Raises:
            AssetError: Something that it needs is not on this machine.
        """

    def __call__(self, media: Media) -> list[Example]:
        """Prepare a file: one Example a part (a face, a window of time), never an empty list.

        Raises:
            AbstainError: The media is sound but there is nothing to judge.
            MediaError: The media does not decode.
        """

    def features(self, example: Example) -> Example:
        """Turn an Example into what the model reads; deterministic, cheap and never kept.

        It is the second half of preprocessing: what is stored and augmented comes before it, so that
        sound is augmented as sound and then becomes a spectrum.
        """


ALPHA = "alpha"
"""Column of training Examples that know where they were altered: uint8 [H, W], 255 = another picture
altogether, 0 = as it was. No Prep makes it; a ``Forgery`` does, and ``Modality.augment`` moves it along."""

ALPHA_KNOWN = "alpha_known"
"""Column of training batches beside ``ALPHA``: 0 where nobody knows what was altered (a data set's own fakes)
and ``ALPHA`` means nothing, else 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Forgery:
    """A way of making pseudo-fakes of real Examples, for training.

    Attributes:
        summary: One line for tables.
        make: ``(example, prep, rng, others) -> (real, fake)``: a pair that differs in the traces of forgery
            and, as far as possible, in nothing else. ``others`` are further real Examples, none or many, of
            which the fake may take parts. Draws only from the generator given.
        untouched: The column ``ALPHA`` of an Example that nobody altered, where this way makes it; None =
            its fakes are altered as a whole.
    """

    summary: str
    make: Callable[[Example, Any, np.random.Generator, Sequence[Example]], tuple[Example, Example]]
    untouched: Callable[[Example], NDArray[np.uint8]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Modality:
    """A way of looking at media.

    Attributes:
        name: Name in the registry, the routes and the commands.
        summary: One line for tables.
        accepts: Tells whether a file can be looked at this way.
        prep: Class of its Prep.
        augment: Random training-time change of one Example; draws only from the generator given.
        aggregate: Logits of a file's parts, float32 [P] -> the file's logit.
        locate: Where in the media an Example comes from.
        limits: Sentences on what detectors of this kind should not be relied on for; cards tell them.
        example: What a file of this kind is, made up, for pages that document the service.
        moments: Where in the media the moments of an Example are that a model tells apart: ``(example,
            count) -> regions``, at most ``count``, those of the first moments. None = there are none.
        forgeries: Ways of making pseudo-fakes, by the name that a recipe gives.
        shown: Which squares of the upright picture the pixels of an Example show, margins included:
            ``(example, prep, (width, height) in px) -> boxes``, one a picture of it that is no padding.
            They may reach beyond the picture. None = its pixels cannot be laid over the media.
    """

    name: str
    summary: str
    accepts: Callable[[Media], bool]
    prep: type[Any]
    augment: Callable[[Example, Augment, np.random.Generator], Example]
    aggregate: Callable[[NDArray[np.float32]], float]
    locate: Callable[[Example], Region]
    example: MediaFacts
    limits: tuple[str, ...] = ()
    moments: Callable[[Example, int], list[Region]] | None = None
    forgeries: Mapping[str, Forgery] = dataclasses.field(default_factory=dict)
    shown: Callable[[Example, Any, tuple[int, int]], list[Box]] | None = None

    def forgery(self, kind: str) -> Forgery:
        """Return a way of making pseudo-fakes.

        Raises:
            UnknownNameError: There is none of that name for this modality.
        """
        if kind not in self.forgeries:
            known = ", ".join(["none", *self.forgeries])
            hint = nearest(kind, self.forgeries)
            msg = f"There are no pseudo-fakes {kind!r} for modality {self.name!r}.{hint} Known: {known}."
            raise UnknownNameError(msg)
        return self.forgeries[kind]


MODALITIES: Registry[Modality] = Registry("modality")


def batch(examples: list[Example], prep: Prep) -> Example:
    """Return the model's inputs for several Examples, stacked along a new first axis."""
    features = [prep.features(example) for example in examples]
    return {name: np.stack([each[name] for each in features]) for name in prep.inputs}
