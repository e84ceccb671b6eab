"""What the log of an experiment says: each variant by itself, and others beside a baseline.

One content counts once for each variant, with the first answer it got: a picture that a thousand
people send is one observation and not a thousand. Answering ``inconclusive`` is not right.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from deepscan.errors import DataError
from deepscan.experiment import intervals
from deepscan.experiment.answers import FAKE, INCONCLUSIVE, Answers, Judged, Truth, Truths, judge, truth_of
from deepscan.experiment.sequential import Sequential, blocks, follow
from deepscan.metrics import Figure


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One variant by itself.

    Attributes:
        variant: Its name.
        shadow: Whether it is a shadow.
        answers: How many answers the log has of it.
        contents: How many different contents these were.
        labelled: To how many of the contents the truth is known.
        cached: How many answers were remembered ones; ``p50_ms`` and ``p95_ms`` leave them out.
        figures: ``fake``, ``inconclusive``: shares of the contents; ``probability``: the mean; and of the
            labelled contents ``accuracy``, ``wrong``: the share answered right, answered wrong; ``auc``.
        p50_ms: Median time to an answer; None where all were remembered.
        p95_ms: The time within which 95 % of the answers were there.
    """

    variant: str
    shadow: bool
    answers: int
    contents: int
    labelled: int
    cached: int
    figures: dict[str, Figure]
    p50_ms: float | None
    p95_ms: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A variant beside the baseline; differences are its figure less that of the baseline.

    Attributes:
        baseline: Name of the baseline.
        other: Name of the variant.
        paired: Whether both answered the same requests; otherwise each answered callers of its own.
        contents: Pairs of answers to one content; where not paired, contents of both groups of callers
            together, 0 where the two never answered at the same time.
        unanswered: Requests that the baseline answered after the first pair and the other did not.
        labelled: As ``contents``, where the truth is known.
        figures: ``agreement`` and ``kappa`` of pairs; ``score_shift``, ``fake``, ``inconclusive`` and
            ``accuracy``: differences; ``p50_ratio``, ``p95_ratio``: of the times to an answer.
        only_baseline_right: Labelled pairs that only the baseline answered right; 0 where not paired.
        only_other_right: Labelled pairs that only the other answered right.
        mcnemar_p: Chance of so uneven a division if both were as good, for one look; None without such pairs.
        test: The difference in accuracy, for any number of looks; None without labels.
    """

    baseline: str
    other: str
    paired: bool
    contents: int
    unanswered: int
    labelled: int
    figures: dict[str, Figure]
    only_baseline_right: int
    only_other_right: int
    mcnemar_p: float | None
    test: Sequential | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All variants, and each beside the baseline.

    Attributes:
        summaries: In the order of names.
        comparisons: One for each variant but the baseline.
        unmatched: Feedbacks about requests that the log does not hold.
    """

    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    unmatched: int


def compare(
    answers: Answers, truths: Truths, baseline: str, alpha: float, rng: np.random.Generator
) -> Report:
    """Compare every variant with the baseline.

    Args:
        answers: The log.
        truths: What is known of the contents; of several labels the latest counts.
        baseline: Name of a variant in the log.
        alpha: Rate of false alarms of the sequential tests, over all looks together.
        rng: Draws bootstrap replicates.

    Raises:
        DataError: The log has fewer than two variants.
        ConfigError: ``alpha`` is not in (0, 1).
    """
    names = sorted(set(answers.variant.tolist()))
    if len(names) < 2:
        msg = f"The log has answers of {', '.join(names) or 'no variant'}; a comparison needs at least two."
        raise DataError(msg)
    known, unmatched = truth_of(answers, truths)
    by_name = {name: answers.of(name) for name in names}
    return Report(
        summaries=tuple(summarize(each, known) for each in by_name.values()),
        comparisons=tuple(
            beside(by_name[baseline], by_name[name], known, alpha, rng) for name in names if name != baseline
        ),
        unmatched=unmatched,
    )


def main_variant(answers: Answers) -> str:
    """Return the variant with the most answers that callers got, the first by name among equals.

    Raises:
        DataError: No answer is that of a variant which is no shadow.
    """
    names, counts = np.unique(answers.variant[~answers.shadow.astype(bool)].astype(str), return_counts=True)
    if not len(names):
        msg = "The log has no answer that a caller got, so there is no baseline; name one, or log more."
        raise DataError(msg)
    return str(names[counts.argmax()])


def summarize(answers: Answers, known: Mapping[str, Truth]) -> Summary:
    """Return the figures of one variant's answers, at least one."""
    first = answers.once(answers.sha256.tolist())
    judged = judge(first, known)
    decided = judged.answers.label != INCONCLUSIVE
    probability = judged.answers.probability
    scored = ~np.isnan(probability)
    timed = answers.elapsed_ms[~answers.cached.astype(bool)]
    p50_ms, p95_ms = np.quantile(timed, (0.5, 0.95), method="inverted_cdf") if len(timed) else (None, None)
    return Summary(
        variant=str(answers.variant[0]),
        shadow=bool(answers.shadow[-1]),
        answers=len(answers),
        contents=len(first),
        labelled=len(judged.label),
        cached=len(answers) - len(timed),
        figures={
            "fake": intervals.share(first.label == FAKE),
            "inconclusive": intervals.share(first.label == INCONCLUSIVE),
            "probability": intervals.mean(first.probability[~np.isnan(first.probability)]),
            "accuracy": intervals.share(judged.right),
            "wrong": intervals.share(decided & ~judged.right),
            "auc": intervals.auc(judged.label[scored], probability[scored]),
        },
        p50_ms=None if p50_ms is None else float(p50_ms),
        p95_ms=None if p95_ms is None else float(p95_ms),
    )


def beside(
    mine: Answers, other: Answers, known: Mapping[str, Truth], alpha: float, rng: np.random.Generator
) -> Comparison:
    """Compare a variant with the baseline: pair by pair where requests were answered by both.

    Otherwise only answers from the time on count at which both were there: what is sent changes over time.
    """
    shared = set(mine.request_id.tolist()) & set(other.request_id.tolist())
    both = _together(mine, other, shared)
    times = [each.elapsed_ms[~each.cached.astype(bool)] for each in both]
    ratios = {
        "p50_ratio": intervals.quantile_ratio(times[0], times[1], 0.5, rng),
        "p95_ratio": intervals.quantile_ratio(times[0], times[1], 0.95, rng),
    }
    names = (str(mine.variant[0]), str(other.variant[0]))
    found = _paired(mine, other, known, alpha, rng) if shared else _arms(both, names, known, alpha)
    return dataclasses.replace(found, figures=found.figures | ratios)


def _together(mine: Answers, other: Answers, shared: set[str]) -> tuple[Answers, Answers]:
    if shared:
        kept = [np.array([name in shared for name in each.request_id]) for each in (mine, other)]
    else:
        begin_s = max(mine.time_s[0], other.time_s[0])
        kept = [each.time_s >= begin_s for each in (mine, other)]
    return mine.take(kept[0]), other.take(kept[1])


def _paired(
    mine: Answers, other: Answers, known: Mapping[str, Truth], alpha: float, rng: np.random.Generator
) -> Comparison:
    asked = mine.once(mine.request_id.tolist())
    place = {name: at for at, name in reversed(list(enumerate(other.request_id.tolist())))}
    answered = np.array([name in place for name in asked.request_id], dtype=bool)
    mine = asked.take(answered)
    mine = mine.once(mine.sha256.tolist())
    during = (asked.time_s >= other.time_s[0]) & (asked.time_s <= other.time_s[-1])
    other = other.take(np.array([place[name] for name in mine.request_id], dtype=np.int64))
    shift = other.probability - mine.probability
    mine_known, other_known = judge(mine, known), judge(other, known)
    won = other_known.right & ~mine_known.right
    lost = mine_known.right & ~other_known.right
    order = np.argsort(np.maximum(mine_known.known_s, other_known.known_s), kind="stable")
    return Comparison(
        baseline=str(mine.variant[0]),
        other=str(other.variant[0]),
        paired=True,
        contents=len(mine),
        unanswered=int((during & ~answered).sum()),
        labelled=len(order),
        figures={
            "agreement": intervals.share(mine.label == other.label),
            "kappa": intervals.kappa(mine.label.tolist(), other.label.tolist(), rng),
            "score_shift": intervals.mean(shift[~np.isnan(shift)]),
            "fake": intervals.paired_difference(mine.label == FAKE, other.label == FAKE),
            "inconclusive": intervals.paired_difference(
                mine.label == INCONCLUSIVE, other.label == INCONCLUSIVE
            ),
            "accuracy": intervals.paired_difference(mine_known.right, other_known.right),
        },
        only_baseline_right=int(lost.sum()),
        only_other_right=int(won.sum()),
        mcnemar_p=_mcnemar(int(won.sum()), int(lost.sum())),
        test=follow((won.astype(float) - lost)[order], alpha) if len(order) else None,
    )


def _mcnemar(won: int, lost: int) -> float | None:
    """Return the p-value of the exact test of McNemar (1947); None where the two never differed."""
    return float(scipy.stats.binomtest(won, won + lost).pvalue) if won + lost else None


def _arms(
    both: tuple[Answers, Answers], names: tuple[str, str], known: Mapping[str, Truth], alpha: float
) -> Comparison:
    arms = [each.once(each.sha256.tolist()) for each in both]
    judged = [judge(each, known) for each in arms]
    labelled = [each.answers for each in judged]
    return Comparison(
        baseline=names[0],
        other=names[1],
        paired=False,
        contents=sum(map(len, arms)) if all(map(len, arms)) else 0,
        unanswered=0,
        labelled=sum(map(len, labelled)),
        figures={
            "score_shift": _difference(arms, [each.probability for each in arms]),
            "fake": _difference(arms, [each.label == FAKE for each in arms]),
            "inconclusive": _difference(arms, [each.label == INCONCLUSIVE for each in arms]),
            "accuracy": _difference(labelled, [each.right for each in judged]),
        },
        only_baseline_right=0,
        only_other_right=0,
        mcnemar_p=None,
        test=_arms_test(judged, alpha),
    )


def _difference(arms: Sequence[Answers], values: Sequence[NDArray[Any]]) -> Figure:
    kept = [~np.isnan(each.astype(np.float64)) for each in values]
    mine, other = (each[keep].astype(np.float64) for each, keep in zip(values, kept, strict=True))
    first, second = (_callers(arm)[keep] for arm, keep in zip(arms, kept, strict=True))
    return intervals.arms_difference(mine, other, (first, second))


def _callers(answers: Answers) -> NDArray[Any]:
    """Return a name of each answer's caller, str [N]; who gave no key is another caller each time."""
    named = zip(answers.caller.tolist(), answers.request_id.tolist(), strict=True)
    return np.array([caller or f"request {request}" for caller, request in named], dtype=str)


def _arms_test(judged: Sequence[Judged], alpha: float) -> Sequential | None:
    """Test the first labelled answer of each caller: only callers were divided by chance."""
    rows = [
        (known_s, arm, caller, float(right))
        for arm, each in enumerate(judged)
        for known_s, caller, right in zip(each.known_s, _callers(each.answers), each.right, strict=True)
    ]
    first: dict[str, tuple[int, float]] = {}
    for _, arm, caller, right in sorted(rows, key=lambda row: row[0]):
        first.setdefault(caller, (arm, right))
    differences = blocks([arm for arm, _ in first.values()], [right for _, right in first.values()])
    return follow(differences, alpha) if len(differences) else None
