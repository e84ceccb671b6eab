"""Made-up judged files."""

import numpy as np
from scipy.special import expit

from deepscan.metrics import Predictions


def judged(label, logit, source=None, generator="g", **groups):
    """Return files with these labels and logits; each of a source of its own unless told."""
    label, logit = np.asarray(label), np.asarray(logit, dtype=float)
    return Predictions(
        label=label,
        logit=logit,
        probability=expit(logit),
        source=np.asarray(source if source is not None else [str(i) for i in range(len(label))]),
        generator=np.where(label == 1, generator, ""),
        groups={name: np.asarray(values) for name, values in groups.items()},
    )


def random(files=200, seed=0, decimals=6, shift=1.5):
    """Return files whose logits are normal, rounded so that some are tied."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, files)
    return judged(label, np.round(rng.normal(shift * (label - 0.5)), decimals))


def clustered(rng, sources=60, files=10, shared=0.7, shift=1.2, detectors=1):
    """Return what each detector says of files of which those of one source resemble each other.

    A source is real or fake as a whole. Logits have variance 1, of which ``shared`` is the source's, and the
    detectors see the same files: half of what is shared is common to them.
    """
    label = np.arange(sources) % 2
    common = rng.normal(0, np.sqrt(shared / 2), sources)
    told = []
    for _ in range(detectors):
        own = rng.normal(0, np.sqrt(shared / 2), sources)
        middle = shift * label + common + own
        logit = middle.repeat(files) + rng.normal(0, np.sqrt(1 - shared), sources * files)
        told.append(judged(label.repeat(files), logit, np.arange(sources).repeat(files).astype(str)))
    return told
