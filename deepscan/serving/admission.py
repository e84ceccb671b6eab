"""Who would wait too long is told so at once: a queue that only grows helps nobody."""

import time
from collections.abc import AsyncIterator, Callable

from deepscan.errors import OverloadedError
from deepscan.serving.backend import Answer, Around, Backend, Progress, Question

SMOOTHING = 0.1
"""Share of the newest interval in the mean of those before it."""

LEAST_INTERVALS = 5
"""So many intervals are seen before anybody is refused: the first answers of a service are slow."""


class Admitting(Around):
    """A Backend that takes no question whose turn would come too late.

    While something is always being judged, answers come at the rate that the service is able to give. So
    the mean time between two of them, times the number of questions that are there already, is what a new
    one has to wait for its answer (Little, 1961). Who finds nobody before him is always let in.
    """

    def __init__(
        self, backend: Backend, max_wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Put a door before a backend.

        Args:
            backend: Judges.
            max_wait_s: Longest time that a question may be expected to wait for those before it.
            clock: Seconds that only go forward.
        """
        super().__init__(backend)
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._inside = 0
        self._interval_s = 0.0
        self._intervals = 0
        self._last_s = 0.0

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``.

        Raises:
            OverloadedError: Those who are there already would take longer than one may wait.
        """
        self._require_room()
        if self._inside == 0:
            # Nobody was there, so that the time since the last answer says nothing of how fast they come.
            self._last_s = self._clock()
        self._inside += 1
        try:
            async for step in self._backend.steps(question):
                yield step
        finally:
            self._note_end()
            self._inside -= 1

    def _require_room(self) -> None:
        wait_s = self._inside * self._interval_s
        if self._intervals >= LEAST_INTERVALS and wait_s > self._max_wait_s:
            msg = (
                f"{self._inside} files are being judged or wait, which takes about {wait_s:.1f} s, and "
                f"{self._max_wait_s:g} s is the most that one may wait; ask again later."
            )
            raise OverloadedError(msg)

    def _note_end(self) -> None:
        now_s = self._clock()
        passed_s, self._last_s = now_s - self._last_s, now_s
        if self._inside == 1:
            return  # alone: what one answer takes does not tell how fast many come
        self._intervals += 1
        weight = max(SMOOTHING, 1 / self._intervals)
        self._interval_s += weight * (passed_s - self._interval_s)
