"""The log of an experiment as columns, and what is true of the contents in it."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAKE, INCONCLUSIVE = "fake", "inconclusive"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the log holds of N answers that a comparison needs; aligned arrays in the order of time.

    Attributes:
        time_s: float [N], seconds since 1970.
        request_id: str [N].
        sha256: str [N], which content.
        variant: str [N].
        shadow: bool [N].
        label: str [N], ``real``, ``fake`` or ``inconclusive``.
        probability: float [N] in [0, 1]; NaN where there was none.
        elapsed_ms: float [N].
        cached: bool [N].
        caller: str [N], hash of the caller's key; ``""`` where there was none.
    """

    time_s: NDArray[Any]
    request_id: NDArray[Any]
    sha256: NDArray[Any]
    variant: NDArray[Any]
    shadow: NDArray[Any]
    label: NDArray[Any]
    probability: NDArray[Any]
    elapsed_ms: NDArray[Any]
    cached: NDArray[Any]
    caller: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> "Answers":
        """Return the rows of a mask bool [N], or of places int [M]."""
        return Answers(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def of(self, variant: str) -> "Answers":
        """Return the answers of one variant."""
        return self.take(self.variant == variant)

    def once(self, names: Sequence[Hashable]) -> "Answers":
        """Return the first answer under each name, one name an answer; those named None are all kept."""
        seen: set[Hashable] = set()
        kept = [place for place, name in enumerate(names) if name is None or _is_new(name, seen)]
        return self.take(np.array(kept, dtype=np.int64))

    def __len__(self) -> int:
        """Return N."""
        return len(self.time_s)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Truths:
    """What M feedbacks say; aligned arrays.

    Attributes:
        time_s: float [M], when each came in.
        request_id: str [M]; ``""`` where the content was named.
        sha256: str [M]; ``""`` where the request was named.
        label: int [M], 1 = fake, 0 = real.
    """

    time_s: NDArray[Any]
    request_id: NDArray[Any]
    sha256: NDArray[Any]
    label: NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """The truth about a content: its label (1 = fake, 0 = real), and when it became known."""

    label: int
    time_s: float


def truth_of(answers: Answers, truths: Truths) -> tuple[dict[str, Truth], int]:
    """Return the truth of each content, and how many feedbacks are about requests that are not there."""
    content = dict(zip(answers.request_id.tolist(), answers.sha256.tolist(), strict=True))
    known: dict[str, Truth] = {}
    unmatched = 0
    for place in np.argsort(truths.time_s, kind="stable").tolist():
        sha256 = truths.sha256[place] or content.get(truths.request_id[place])
        if sha256 is None:
            unmatched += 1
        else:
            known[sha256] = Truth(label=int(truths.label[place]), time_s=float(truths.time_s[place]))
    return known, unmatched


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Answers to contents whose truth is known; aligned arrays.

    Attributes:
        answers: The answers.
        label: int [N], the truth: 1 = fake, 0 = real.
        right: bool [N], whether the answer was the truth; never where it was ``inconclusive``.
        known_s: float [N], when both the answer and its truth were known, in seconds since 1970.
    """

    answers: Answers
    label: NDArray[Any]
    right: NDArray[Any]
    known_s: NDArray[Any]


def judge(answers: Answers, known: Mapping[str, Truth]) -> Judged:
    """Return those answers whose truth is known, in their order."""
    kept = answers.take(np.array([sha256 in known for sha256 in answers.sha256], dtype=bool))
    truths = [known[sha256] for sha256 in kept.sha256]
    label = np.array([truth.label for truth in truths], dtype=np.int64)
    told = np.array([truth.time_s for truth in truths], dtype=np.float64)
    return Judged(
        answers=kept,
        label=label,
        right=(kept.label != INCONCLUSIVE) & ((kept.label == FAKE) == (label == 1)),
        known_s=np.maximum(told, kept.time_s),
    )


def _is_new(name: Hashable, seen: set[Hashable]) -> bool:
    new = name not in seen
    seen.add(name)
    return new
