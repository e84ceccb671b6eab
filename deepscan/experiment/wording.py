"""What a comparison says, in plain sentences."""

from deepscan.experiment.compare import Comparison
from deepscan.experiment.sequential import Sequential
from deepscan.metrics import Figure


def sentences(found: Comparison) -> list[str]:
    """Return what a comparison says: of the answers, of the time, and of who is right."""
    if not found.contents:
        return [
            f"{found.other} and {found.baseline} never answered at the same time, so nothing is compared."
        ]
    return [_answers(found), *_time(found), *_accuracy(found)]


def _answers(found: Comparison) -> str:
    shift = _amount(found.figures["score_shift"], "P(fake)")
    if not found.paired:
        return (
            f"{found.other} and {found.baseline} answered different requests, {found.contents} contents "
            f"together; {shift}."
        )
    agreement = found.figures["agreement"]
    missing = f" {found.unanswered} requests have no answer of it." if found.unanswered else ""
    return (
        f"{found.other} answered {found.contents} contents beside {found.baseline} and gave the same label "
        f"to {_percent(agreement.value)} of them ({_span(agreement)}); {shift}.{missing}"
    )


def _time(found: Comparison) -> list[str]:
    ratio = found.figures["p50_ratio"]
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return []
    unlike = "which is no clear difference" if ratio.low <= 1 <= ratio.high else "which is a clear difference"
    return [
        f"Its median time to an answer is {ratio.value:.2f} times that of {found.baseline} "
        f"({ratio.low:.2f} to {ratio.high:.2f}), {unlike}."
    ]


def _accuracy(found: Comparison) -> list[str]:
    if not found.labelled:
        return ["No truth is known of these contents, so nothing says who is right; send feedback."]
    told = f"Of {found.labelled} labelled contents: {_amount(found.figures['accuracy'], 'the accuracy')}."
    if found.mcnemar_p is not None:
        told += (
            f" Only {found.other} was right {found.only_other_right} times, only {found.baseline} "
            f"{found.only_baseline_right} times (McNemar, for one look: p = {found.mcnemar_p:.3g})."
        )
    return [told, _test(found, found.test) if found.test else _too_few(found)]


def _test(found: Comparison, test: Sequential) -> str:
    if test.low is None or test.high is None:
        return (
            "At any number of looks: no single difference in accuracy fits all of the time, so it changed; "
            "look at parts of the time by --since."
        )
    span = f"between {100 * test.low:+.1f} and {100 * test.high:+.1f} points"
    told = f"At any number of looks ({_percent(test.alpha)} false alarms): the difference lies {span}"
    if test.decided_at is None:
        return f"{told}. Nothing is decided; go on and look again whenever you like."
    better = found.other if test.low >= 0 else found.baseline
    return f"{told}. It is decided: {better} is more accurate."


def _too_few(found: Comparison) -> str:
    return f"Labels are too few to test yet: {found.other} and {found.baseline} both need some."


def _amount(figure: Figure, what: str) -> str:
    if figure.value is None:
        return f"{what} cannot be compared"
    known = figure.low is not None and figure.high is not None
    told = f" ({figure.low:+.3f} to {figure.high:+.3f})" if known else ""
    return f"{what} differs by {figure.value:+.3f}{told}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _span(figure: Figure) -> str:
    return f"{_percent(figure.low)} to {_percent(figure.high)}"
