"""The analyzers that come with the package."""

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.registry import Registry


def load_builtin() -> Registry[Analyzer]:
    """Import the analyzers of this package and return all that are registered, by name."""
    from deepscan.evidence import (  # noqa: F401  (imported for their registration)
        bandwidth,
        bitrate,
        blinks,
        cfa,
        credentials,
        dct_bands,
        double_jpeg,
        ela,
        gaze,
        generator,
        ghosts,
        gop,
        lips,
        mains,
        metadata,
        mouth,
        noise,
        phase,
        pose,
        pulse,
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

    return ANALYZERS.by_name()
