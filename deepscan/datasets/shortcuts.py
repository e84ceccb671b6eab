"""Probes: can the class be told from what a file says of itself, without a look at its content?

Every probe is fitted and judged on different sources, so that chance stays at an AUC of .5: a direction
that is chosen on the files it is judged on would make any measure look telling.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from deepscan.media.headers import Measures
from deepscan.metrics import Figure, Predictions, evaluate

ALL = "all together"
"""Name of the probe on all measures."""

FOLDS = 5
REPLICATES = 200
_MOST_WORDS = 20
_LEAST_LEAF = 3
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Files of one kind of media; aligned, one entry a file.

    Attributes:
        kind: The kind.
        measures: What each says of itself.
        label: int64 [N], 1 = fake, 0 = real.
        source: str [N].
        generator: str [N]; empty for real files.
    """

    kind: str
    measures: Sequence[Measures]
    label: NDArray[np.int64]
    source: NDArray[Any]
    generator: NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How well one measure tells the classes apart.

    Attributes:
        kind: The kind of media.
        measure: Its name; ``ALL`` for all of them.
        auc: Area under the ROC curve on sources that the probe was not fitted to, with its 95 % interval.
        by_generator: The same for each generator's fakes against all real files; of ``ALL`` only.
        real: What the real files have: the median, or the most frequent word and its share.
        fake: What the fake files have.
    """

    kind: str
    measure: str
    auc: Figure
    by_generator: Mapping[str, Figure]
    real: str
    fake: str


def probe(files: Files, rng: np.random.Generator) -> list[Probe]:
    """Probe every measure by itself and all together, the most telling first; ``ALL`` leads.

    One measure is judged by a tree of depth 3, all by a random forest (Breiman, 2001); files that lack a
    measure are told so. Measures that do not vary are left out.

    Returns:
        Nothing where a class has fewer than two sources, for nothing can be judged there.
    """
    folds = min(FOLDS, *(len(np.unique(files.source[files.label == label])) for label in (0, 1)))
    names = sorted({name for each in files.measures for name in each})
    columns = {name: [each.get(name) for each in files.measures] for name in names}
    columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
    if folds < 2 or not columns:
        return []
    features = {name: _features(values) for name, values in columns.items()}
    judge = _Judge(files=files, folds=folds, seed=int(rng.integers(2**31)), rng=rng)
    found = [judge.one(name, features[name], columns[name]) for name in columns]
    found.sort(key=lambda each: -(each.auc.value or 0))
    return [judge.all(np.hstack(list(features.values()))), *found]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    files: Files
    folds: int
    seed: int
    rng: np.random.Generator

    def one(self, name: str, x_NF: Floats, values: Sequence[float | str | None]) -> Probe:
        leaf = max(_LEAST_LEAF, len(x_NF) // 50)
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=leaf, class_weight="balanced", random_state=self.seed
        )
        judged = self._judged(tree, x_NF, np.full(len(x_NF), ""))
        real, fake = (self._typical(values, label) for label in (0, 1))
        return Probe(
            kind=self.files.kind,
            measure=name,
            auc=evaluate(judged, 0.5, self.rng, REPLICATES).overall["auc"],
            by_generator={},
            real=real,
            fake=fake,
        )

    def all(self, x_NF: Floats) -> Probe:
        forest = RandomForestClassifier(
            40, min_samples_leaf=_LEAST_LEAF, class_weight="balanced", random_state=self.seed
        )
        found = evaluate(self._judged(forest, x_NF, self.files.generator), 0.5, self.rng, REPLICATES)
        return Probe(
            kind=self.files.kind,
            measure=ALL,
            auc=found.overall["auc"],
            by_generator={name: part.figures["auc"] for name, part in found.by_generator.items() if name},
            real="",
            fake="",
        )

    def _judged(self, model: Any, x_NF: Floats, generator: NDArray[Any]) -> Predictions:
        label, source = self.files.label, self.files.source
        probability = np.full(len(label), 0.5)
        folds = StratifiedGroupKFold(self.folds, shuffle=True, random_state=self.seed)
        for others, part in folds.split(x_NF, label, source):
            if len(np.unique(label[others])) == 2:
                probability[part] = model.fit(x_NF[others], label[others]).predict_proba(x_NF[part])[:, 1]
        return Predictions(
            label=label, logit=probability - 0.5, probability=probability, source=source, generator=generator
        )

    def _typical(self, values: Sequence[float | str | None], label: int) -> str:
        given = [v for v, own in zip(values, self.files.label.tolist(), strict=True) if own == label]
        numbers = [v for v in given if isinstance(v, float)]
        if numbers and len(numbers) > len(given) / 2:
            return f"{np.median(numbers):.4g}"
        word, count = collections.Counter("none" if v is None else str(v) for v in given).most_common(1)[0]
        return f"{word or 'not said'} ({count / len(given):.0%})"


def _features(values: Sequence[float | str | None]) -> Floats:
    """Return numbers as one column, NaN where absent, and words as a column for each frequent one."""
    if all(isinstance(value, float) for value in values if value is not None):
        return np.array([[np.nan if value is None else value] for value in values], np.float64)
    words = [word for word, _ in collections.Counter(values).most_common(_MOST_WORDS)]
    return np.array([[value == word for word in words] for value in values], np.float64)
