"""Ways of looking at media, and the contract of preprocessing.

A modality is a record of functions; adding one is adding a file here that registers it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.recipe import Augment
from deepscan.registry import Registry
from deepscan.verdict import Region

Example = dict[str, NDArray[Any]]
"""Fixed-shape arrays by column name, as declared by ``Prep.columns``; no batch axis."""


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
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads, in the order of its arguments."""

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
    """

    name: str
    summary: str
    accepts: Callable[[Media], bool]
    prep: type[Any]
    augment: Callable[[Example, Augment, np.random.Generator], Example]
    aggregate: Callable[[NDArray[np.float32]], float]
    locate: Callable[[Example], Region]


MODALITIES: Registry[Modality] = Registry("modality")


def batch(examples: list[Example], columns: tuple[str, ...]) -> Example:
    """Stack the named columns of several Examples along a new first axis."""
    return {name: np.stack([example[name] for example in examples]) for name in columns}
