"""The deliveries that come with the package."""

from deepscan.media.deliveries import DELIVERIES, Delivery
from deepscan.registry import Registry


def load_builtin() -> Registry[Delivery]:
    """Import the deliveries of this package and return the registry."""
    from deepscan.media.deliveries import (  # noqa: F401  (imported for its registration)
        clips,
        pictures,
        sounds,
    )

    return DELIVERIES
