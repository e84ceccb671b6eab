"""How often each training Example is seen: weights of sources, and balance between the classes."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deepscan.datasets.columns import matches
from deepscan.datasets.plan import Chunk
from deepscan.errors import ConfigError
from deepscan.recipe import Sampling


def weights(chunks: Sequence[Chunk], manifest: pa.Table, sampling: Sampling) -> NDArray[np.float64] | None:
    """Return the weight of each Example in the order of the chunks, float64 [E]; None = all are alike.

    Args:
        chunks: The training Examples; their ``files`` are rows of the manifest.
        manifest: Its columns are what conditions speak of; paths count as they are there, absolute.
        sampling: What the recipe asks for.

    Raises:
        ConfigError: A condition or its weight is malformed, or nothing is left to be seen.
    """
    if sampling == Sampling():
        return None
    weight_F = np.ones(len(manifest))
    for text in sampling.mix:
        condition, factor = _read(text)
        weight_F[matches(manifest, condition)] *= factor
    weight_E = weight_F[[file for chunk in chunks for file in chunk.files]]
    label_E = np.array([label for chunk in chunks for label in chunk.labels])
    totals = [float(weight_E[label_E == label].sum()) for label in (0, 1)]
    if sampling.classes == "balanced":
        if not all(totals):
            msg = (
                "Balanced classes need real and fake training Examples of a weight above 0; their weights "
                f"sum to {totals[0]:g} and {totals[1]:g}. Set recipe.sampling.classes=as-is, or add files."
            )
            raise ConfigError(msg)
        weight_E /= np.array(totals)[label_E]
    if not weight_E.sum():
        msg = f"recipe.sampling.mix leaves no Example to be seen: {', '.join(sampling.mix)}."
        raise ConfigError(msg)
    return weight_E


def _read(text: str) -> tuple[str, float]:
    condition, _, factor = text.rpartition(":")
    try:
        weight = float(factor)
    except ValueError:
        weight = math.nan
    if not condition or not 0 <= weight < math.inf:
        msg = f"{text!r} is no weight of a source; write column=value:weight, such as generator=StyleGAN*:2."
        raise ConfigError(msg)
    return condition, weight
