"""The analyzers that come with the package."""

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.registry import Registry


def load_builtin() -> Registry[Analyzer]:
    """Import the analyzers of this package and return the registry."""
    from deepscan.evidence import (  # noqa: F401  (imported for their registration)
        blinks,
        gaze,
        lips,
        mouth,
        pose,
        pulse,
        voice,
    )

    return ANALYZERS
