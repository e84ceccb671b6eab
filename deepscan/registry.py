"""A named collection that refuses duplicates and suggests the nearest name.

Models, modalities and weights formats are each a ``Registry``; the command line, the jobs,
the tables in the documentation and the contract tests iterate over them.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from deepscan.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to ``name``, or ``""``."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


class Registry(Generic[T]):
    """Items by name, in the order of registration; ``a_b`` finds ``a-b`` where there is no ``a_b``."""

    def __init__(self, kind: str) -> None:
        """Create an empty registry whose messages call an item ``kind``."""
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str, item: T) -> T:
        """Add ``item`` under ``name`` and return it.

        Raises:
            ConfigError: The name is taken.
        """
        if name in self._items:
            msg = f"A {self.kind} named {name!r} is registered already; choose another name."
            raise ConfigError(msg)
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """Return the item called ``name``.

        Raises:
            UnknownNameError: There is none; the message lists and suggests.
        """
        if name in self._items:
            return self._items[name]
        hyphened = name.replace("_", "-")
        if hyphened in self._items:
            return self._items[hyphened]
        known = ", ".join(self._items) or "none"
        msg = f"No {self.kind} is named {name!r}.{nearest(name, self._items)} Known: {known}."
        raise UnknownNameError(msg)

    def names(self) -> tuple[str, ...]:
        """Return all names in the order of registration."""
        return tuple(self._items)

    def by_name(self) -> "Registry[T]":
        """Return a registry of the same items in the order of their names.

        Which file was imported first must not show in what is made of them, such as evidence, or the digest
        of a Prep that asks all analyzers.
        """
        ordered: Registry[T] = Registry(self.kind)
        ordered._items = dict(sorted(self._items.items()))
        return ordered

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items in the order of registration."""
        return iter(self._items.values())

    def __contains__(self, name: object) -> bool:
        """Tell whether ``name`` is registered."""
        return name in self._items

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)
