"""Where in the media a detector found what it says: maps and curves of the model that voted.

They testify and do not vote. A method is a file here that registers itself; each says of a detector whether
it suits it.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

from deepscan.detector import Detector
from deepscan.errors import AbstainError, NoMapError
from deepscan.heatmaps.placing import Drawing
from deepscan.heatmaps.subject import Subject
from deepscan.modalities import Prepared
from deepscan.registry import Registry
from deepscan.verdict import Evidence, MediaFacts

GROUP = "model"
"""The group of analyzers beside which maps of models are shown."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A way of showing what a model looked at.

    Attributes:
        name: Name in the registry.
        summary: One line for tables.
        limits: What its maps cannot tell.
        measures: Names of the measurements, all of which it always gives.
        check: Raises NoMapError where it cannot show anything of a detector; may run the model once.
        draw: Shows what a detector looked at; raises NoMapError as ``check`` does.
        quick: Whether it takes about as long as a verdict, so that it is shown without being named.
    """

    name: str
    summary: str
    limits: str
    measures: tuple[str, ...]
    check: Callable[[Detector], object]
    draw: Callable[[Subject], Drawing]
    quick: bool = False

    def suits(self, detector: Detector) -> bool:
        """Tell whether it can show anything of a detector."""
        try:
            self.check(detector)
        except NoMapError:
            return False
        return True


METHODS: Registry[Method] = Registry("heat map")


def load_builtin() -> Registry[Method]:
    """Import the methods of this package and return all that are registered, by name."""
    from deepscan.heatmaps import (  # noqa: F401  (imported for their registration)
        attention,
        gradcam,
        gradients,
        masks,
        occlusion,
    )

    return METHODS.by_name()


def explain(
    detector: Detector, facts: MediaFacts, prepared: Prepared, methods: Sequence[str]
) -> tuple[Evidence, ...]:
    """Show what a detector looked at in a file, by each of these methods, in their order.

    A method that cannot says why: its evidence has the finding ``none`` and a reason. The detector is as it
    was afterwards, and others may ask it meanwhile.

    Args:
        detector: The detector.
        facts: What the file is.
        prepared: What the detector's Prep made of it.
        methods: Names in ``METHODS``.

    Raises:
        UnknownNameError: No method has such a name.
        FormatError: The model does not run on the Examples.
    """
    chosen = [load_builtin().get(name) for name in methods]
    if isinstance(prepared, AbstainError):
        return tuple(_silence(method, detector, prepared) for method in chosen)
    subject = Subject.of(detector, facts, prepared)
    return tuple(_evidence(method, subject) for method in chosen)


def explain_quickly(detector: Detector, facts: MediaFacts, prepared: Prepared) -> tuple[Evidence, ...]:
    """Show what a detector looked at by every quick method that can; see ``explain``."""
    if isinstance(prepared, AbstainError):
        return ()
    quick = [method.name for method in load_builtin() if method.quick]
    return tuple(each for each in explain(detector, facts, prepared, quick) if not each.reason)


def _evidence(method: Method, subject: Subject) -> Evidence:
    start_s = time.perf_counter()
    try:
        drawing = method.draw(subject)
    except NoMapError as error:
        return _silence(method, subject.detector, error)
    return Evidence(
        analyzer=_name(method, subject.detector),
        summary=drawing.summary,
        measurements=drawing.measurements,
        limits=method.limits,
        group=GROUP,
        pictures=drawing.pictures,
        curves=drawing.curves,
        elapsed_ms=(time.perf_counter() - start_s) * 1000,
    )


def _silence(method: Method, detector: Detector, error: AbstainError) -> Evidence:
    return Evidence(
        analyzer=_name(method, detector),
        summary=str(error),
        measurements={},
        limits="",
        group=GROUP,
        finding="none",
        reason=error.reason,
    )


def _name(method: Method, detector: Detector) -> str:
    return f"{method.name}: {detector.bundle.card.name}"
