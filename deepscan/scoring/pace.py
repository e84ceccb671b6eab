"""Two clocks of scoring: when the next file may be read, and when the next part is due."""

MIN_PART_S, MAX_PART_S = 1.0, 60.0
PART_SHARE = 0.05
MAX_PART_ROWS = 20_000


class Bucket:
    """Shares a rate among many: a token bucket that holds the tokens of one second.

    Whoever takes a token is told how long to wait for it; so one bucket serves all without waiting itself.
    """

    def __init__(self, rate_hz: float) -> None:
        """Give ``rate_hz`` tokens a second."""
        self._gap_s = 1 / rate_hz
        self._next_s = float("-inf")

    def take(self, now_s: float) -> float:
        """Take a token at a reading of one clock, in seconds; return how many seconds to wait for it."""
        self._next_s = max(self._next_s, now_s - 1)
        wait_s = max(0.0, self._next_s + self._gap_s - now_s)
        self._next_s += self._gap_s
        return wait_s


def part_due(rows: int, since_s: float, elapsed_s: float) -> bool:
    """Tell whether rows that wait are to be written.

    A run that is killed loses a twentieth of its work at most, and at most a minute's; a long run does not
    leave thousands of small parts behind.

    Args:
        rows: How many wait.
        since_s: How long ago the part before was written, or the run began, in seconds.
        elapsed_s: For how long the run has lasted, in seconds.
    """
    wait_s = min(max(MIN_PART_S, PART_SHARE * elapsed_s), MAX_PART_S)
    return rows > 0 and (rows >= MAX_PART_ROWS or since_s >= wait_s)
