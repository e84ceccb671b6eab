"""The modalities that come with the package."""

from deepscan.modalities import MODALITIES, Modality
from deepscan.registry import Registry


def load_builtin() -> Registry[Modality]:
    """Import the modalities of this package and return the registry."""
    from deepscan.modalities import (  # noqa: F401  (imported for its registration)
        audio,
        av,
        forensic,
        image,
        video,
    )

    return MODALITIES
