"""What a process notes of the file that it is busy with, for the process that takes its place if it ends."""

import pathlib
from collections import Counter

MOST_ENDINGS = 2
"""A process may end for another's hunger for memory; when it ends twice with one file, it is the file."""


class Notes:
    """The notes of one actor, which Ray starts again under the same name and gives the same piece.

    Without them a file that takes all memory, or breaks a decoder, would end one process after the other.
    """

    def __init__(self, actor: str, folder: pathlib.Path) -> None:
        """Take up the notes of the process before, where there was one."""
        self._busy, self._ended = folder / f"{actor}.busy", folder / f"{actor}.ended"
        folder.mkdir(parents=True, exist_ok=True)
        ended = self._ended.read_text(encoding="utf-8").split() if self._ended.exists() else []
        if self._busy.exists():
            ended.append(self._busy.read_text(encoding="utf-8"))
            self._ended.write_text(" ".join(ended), encoding="utf-8")
            self._busy.unlink()
        self._endings = Counter(ended)

    def may_begin(self, number: int) -> bool:
        """Note that a file is begun, unless it has ended processes before; tell which of both."""
        if self._endings[str(number)] >= MOST_ENDINGS:
            return False
        self._busy.write_text(str(number), encoding="utf-8")
        return True

    def rest(self) -> None:
        """Note that nothing is being done."""
        self._busy.unlink(missing_ok=True)
