"""The analyzers that come with the package."""

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.registry import Registry


def load_builtin() -> Registry[Analyzer]:
    """Import the analyzers of this package and return the registry."""
    from deepscan.evidence import (  # noqa: F401  (imported for their registration)
        bandwidth,
        bitrate,
        cfa,
        credentials,
        dct_bands,
        double_jpeg,
        ela,
        generator,
        ghosts,
        gop,
        mains,
        metadata,
        noise,
        phase,
        quantisation,
        reencoding,
        repeated_frames,
        resampled_sound,
        splices,
        thumbnail,
        upsampling,
        vocoder,
        voice,
    )

    return ANALYZERS
