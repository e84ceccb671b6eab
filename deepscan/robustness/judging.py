"""Judging a file after a delivery, by the very calls that judge any file."""

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from deepscan.detector import Detector, admit
from deepscan.errors import AbstainError, DeepscanError
from deepscan.media.deliveries import Delivery, deliver
from deepscan.media.source import Media
from deepscan.pipeline import prepare

JUDGED, ABSTAINED, FAILED = "judged", "abstained", "failed"


def judge(
    detector: Detector, path: str, delivery: Delivery | None, mild: Sequence[Delivery]
) -> dict[str, Any]:
    """Return what a detector says of a delivered file, the columns of ``plan.SAID`` but the number.

    Whatever is wrong with the file, or with what became of it, is an answer.

    Args:
        detector: The detector.
        path: The file.
        delivery: How it is delivered; None = it is judged as it is.
        mild: Deliveries after that, through which the ensemble looks; empty = there is no ensemble.
    """
    try:
        media = Media.from_path(pathlib.Path(path))
        if delivery is not None:
            media = deliver(delivery, media)
        said = _logit(detector, media)
    except AbstainError as error:
        return _none(ABSTAINED, error.reason)
    except DeepscanError as error:
        return _none(FAILED, f"{type(error).__name__}: {error}")
    seen = through(detector, media, said, mild) if mild else None
    return {"status": JUDGED, "logit": said, "ensemble": seen, "reason": ""}


def through(detector: Detector, media: Media, logit: float, mild: Sequence[Delivery]) -> float:
    """Return the mean logit of a file as it is and after mild deliveries that take it.

    What cannot be delivered or judged any more has no part in the mean.

    Args:
        detector: The detector.
        media: The file.
        logit: What the detector says of it as it is.
        mild: The deliveries.
    """
    said = [logit]
    for each in mild:
        if media.facts.kind not in each.kinds:
            continue
        try:
            said.append(_logit(detector, deliver(each, media)))
        except DeepscanError:
            continue
    return statistics.fmean(said)


def _logit(detector: Detector, media: Media) -> float:
    if not detector.modality.accepts(media):
        msg = f"{media.facts.name!r} is no media for {detector.bundle.card.name}."
        raise AbstainError(msg)
    (admitted,) = admit((detector,), prepare(detector.prep, media))
    if isinstance(admitted, AbstainError):
        raise admitted
    return detector.judge(admitted, detector.run(admitted)).score.logit


def _none(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "logit": None, "ensemble": None, "reason": reason}
