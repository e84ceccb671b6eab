"""A cache of bounded bytes that forgets what was not asked for the longest."""

import dataclasses
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from deepscan.errors import ConfigError

K = TypeVar("K")
V = TypeVar("V")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CacheFacts:
    """What a cache holds, and what it was asked for since it was made.

    Attributes:
        entries: Values that it holds.
        bytes: Their sizes together.
        max_bytes: What these may be.
        hits: Times that a value was there.
        misses: Times that it was not.
    """

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int


class Cache(Generic[K, V]):
    """Values by key, at most ``max_bytes`` of them: the least recently used one goes first.

    Threads may share it.
    """

    def __init__(self, max_bytes: int) -> None:
        """Begin empty; with 0 bytes nothing is ever kept.

        Raises:
            ConfigError: ``max_bytes`` is negative.
        """
        if max_bytes < 0:
            msg = f"A cache of {max_bytes} bytes cannot be; give 0 (keeps nothing) or more."
            raise ConfigError(msg)
        self._max_bytes = max_bytes
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None; it is the most recently used one then."""
        with self._lock:
            if key not in self._held:
                self._misses += 1
                return None
            self._hits += 1
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value unless it alone is larger than the cache; others go until there is room.

        Args:
            key: What it is found by; a value that was kept under it is replaced.
            value: What is kept, as it is and not as a copy.
            size_bytes: How much room it counts for.
        """
        with self._lock:
            self._drop(key)
            if size_bytes > self._max_bytes:
                return
            self._held[key] = (value, size_bytes)
            self._bytes += size_bytes
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._held)))

    def facts(self) -> CacheFacts:
        """Return what the cache holds and was asked for."""
        with self._lock:
            return CacheFacts(
                entries=len(self._held),
                bytes=self._bytes,
                max_bytes=self._max_bytes,
                hits=self._hits,
                misses=self._misses,
            )

    def _drop(self, key: K) -> None:
        if key in self._held:
            self._bytes -= self._held.pop(key)[1]
