"""Detectors over the measurements of analyzers: evidence that was trained and calibrated to vote.

A logistic regression, a small network and gradient-boosted trees. Before the first step each takes from the
training data what it needs: every measurement's median and spread, and the trees (by scikit-learn).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.modalities.forensic import SLOTS, ForensicPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Head, HeadConfig
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, SearchSpace

NORMAL_IQR = 1.349
"""Distance between the quartiles of a normal distribution, in deviations."""

LEAST_SPREAD = 1e-6
"""Measurements that differ by less, as a share of their median, are as good as constant."""

FARTHEST = 5.0
"""Where a measurement far from all others is cut, after its logarithm was taken."""


class Standardize(nn.Module):
    """Brings measurements to median 0 and a spread of 1, and takes the logarithm of what is far off.

    Attributes:
        median: float32 [512].
        spread: float32 [512], > 0.
    """

    median: Tensor
    spread: Tensor

    def __init__(self) -> None:
        """Begin with medians of 0 and spreads of 1."""
        super().__init__()
        self.register_buffer("median", torch.zeros(SLOTS))
        self.register_buffer("spread", torch.ones(SLOTS))

    def learn(self, measures_BM: NDArray[np.float32], known_BM: NDArray[np.bool_]) -> None:
        """Take medians and spreads from measurements; slots without any stay as they are."""
        values_BM = np.where(known_BM, measures_BM, np.nan).astype(np.float64)
        for slot in np.flatnonzero(known_BM.any(0)):
            low, median, high = np.nanquantile(values_BM[:, slot], (0.25, 0.5, 0.75))
            spread = (high - low) / NORMAL_IQR or float(np.nanstd(values_BM[:, slot]))
            self.median[slot] = median
            self.spread[slot] = spread if spread > LEAST_SPREAD * abs(median) else max(1.0, abs(median))

    def forward(self, measures_BM: Tensor, known_BM: Tensor) -> Tensor:
        """Return float32 [B, 512]; 0 where nothing is known, which is the median."""
        x_BM = torch.asinh((measures_BM.float() - self.median) / self.spread)
        return x_BM.clamp(-FARTHEST, FARTHEST) * known_BM


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TabularConfig(HeadConfig):
    """Settings of the network: those of any head; no dense layers make a logistic regression."""


class Tabular(nn.Module):
    """A head over the measurements and over which of them there are."""

    def __init__(self, config: HeadConfig) -> None:
        """Create the network with fresh weights."""
        super().__init__()
        self.standardize = Standardize()
        self.head = Head(2 * SLOTS, config.widths, config.dropout)

    def learn(self, batch: Mapping[str, NDArray[np.generic]], seed: int) -> None:
        """Take medians and spreads from the training data; see ``ModelSpec.begin``."""
        self.standardize.learn(batch["measures"].astype(np.float32), batch["known"].astype(bool))

    def forward(self, measures: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Return the logit of each file.

        Args:
            measures: float32 [B, 512].
            known: uint8 [B, 512], 1 where there is a measurement.
        """
        known_BM = (known > 0).float()
        x_BM = self.standardize(measures, known_BM)
        return {"logit": self._logit(x_BM, torch.cat([x_BM, known_BM], 1))}

    def _logit(self, x_BM: Tensor, features_BF: Tensor) -> Tensor:
        logit_B: Tensor = self.head(features_BF)
        return logit_B


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BoostingConfig(HeadConfig):
    """Settings of the trees, and of the head beside them.

    Attributes:
        trees: How many.
        depth: Questions from the root of a tree to a leaf, at most.
        rate: How much of what is left each tree corrects, in (0, 1].
    """

    dropout: float = 0.5
    trees: int = 60
    depth: int = 2
    rate: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        super(BoostingConfig, self).__post_init__()
        if self.trees < 1 or not 1 <= self.depth <= 8 or not 0 < self.rate <= 1:
            msg = f"Setting 'trees' is at least 1, 'depth' in [1, 8] and 'rate' in (0, 1], not {self}."
            raise ConfigError(msg)


class Trees(nn.Module):
    """Boosted regression trees as tables (Friedman 2001): each row a tree, each column a node.

    Attributes:
        slot: int64 [trees, nodes], the measurement that a node asks for.
        threshold: float32 [trees, nodes]; what is at most that goes on to the left.
        child: int64 [2, trees, nodes], the nodes to the left and to the right; a leaf's are itself.
        value: float32 [trees, nodes], what a leaf adds to the logit.
    """

    slot: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor

    def __init__(self, config: BoostingConfig) -> None:
        """Begin with trees that add nothing."""
        super().__init__()
        self.config = config
        shape = config.trees, 2 ** (config.depth + 1) - 1
        itself = torch.arange(shape[1]).expand(shape)
        self.register_buffer("slot", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(shape))
        self.register_buffer("child", torch.stack([itself, itself]))
        self.register_buffer("value", torch.zeros(shape))

    def learn(self, x_BM: NDArray[np.float32], label_B: NDArray[np.int64], seed: int) -> None:
        """Fit the trees; measurements of one class only leave them as they are."""
        from sklearn.ensemble import GradientBoostingClassifier

        if len(np.unique(label_B)) < 2:
            return
        fitted = GradientBoostingClassifier(
            n_estimators=self.config.trees,
            learning_rate=self.config.rate,
            max_depth=self.config.depth,
            subsample=0.7,
            max_features="sqrt",
            random_state=seed,
        ).fit(x_BM, label_B)
        for number, (regressor,) in enumerate(fitted.estimators_):
            tree = regressor.tree_
            nodes = slice(tree.node_count)
            leaf_N = tree.children_left == -1
            itself_N = np.arange(tree.node_count)
            for side, children_N in enumerate((tree.children_left, tree.children_right)):
                children = np.where(leaf_N, itself_N, children_N)
                self.child[side, number, nodes] = torch.from_numpy(children.astype(np.int64))
            self.slot[number, nodes] = torch.from_numpy(np.where(leaf_N, 0, tree.feature).astype(np.int64))
            self.threshold[number, nodes] = torch.from_numpy(tree.threshold.astype(np.float32))
            leaves_N = np.where(leaf_N, tree.value[:, 0, 0], 0) * self.config.rate
            self.value[number, nodes] = torch.from_numpy(leaves_N.astype(np.float32))

    def forward(self, x_BM: Tensor) -> Tensor:
        """Return the sum of all trees for float32 [B, 512], float32 [B]."""
        trees = torch.arange(len(self.slot), device=x_BM.device)
        node_BT = torch.zeros(x_BM.shape[0], len(self.slot), dtype=torch.int64, device=x_BM.device)
        for _ in range(self.config.depth):
            asked_BT = x_BM.gather(1, self.slot[trees, node_BT])
            side_BT = (asked_BT > self.threshold[trees, node_BT]).long()
            node_BT = self.child[side_BT, trees, node_BT]
        return self.value[trees, node_BT].sum(1)


class Boosting(Tabular):
    """Trees, and a head that the training adds to what they say."""

    def __init__(self, config: BoostingConfig) -> None:
        """Create trees that add nothing, and a head with fresh weights."""
        super().__init__(config)
        self.trees = Trees(config)

    def learn(self, batch: Mapping[str, NDArray[np.generic]], seed: int) -> None:
        """Take medians, spreads and trees from the training data; see ``ModelSpec.begin``."""
        super().learn(batch, seed)
        with torch.no_grad():
            measures, known = (torch.from_numpy(batch[name].copy()) for name in ("measures", "known"))
            x_BM = self.standardize(measures, known).numpy()
        self.trees.learn(x_BM, batch["label"].astype(np.int64), seed)

    def _logit(self, x_BM: Tensor, features_BF: Tensor) -> Tensor:
        logit_B: Tensor = self.trees(x_BM) + self.head(features_BF)
        return logit_B


RECIPE = Recipe(epochs=40, batch_size=32, optimizer=Optimizer(lr=3e-3), augment=Augment(level="basic"))
SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=3e-4, high=2e-2, log=True),
    "recipe.optimizer.weight_decay": Range(low=1e-4, high=1.0, log=True),
    "model.dropout": Range(low=0.0, high=0.6),
}

register(
    ModelSpec(
        name="forensic-logistic",
        modality="forensic",
        summary="Logistic regression over what analyzers measured",
        config=TabularConfig,
        build=Tabular,
        begin=Tabular.learn,
        prep=ForensicPrep(),
        recipe=RECIPE,
        search=SEARCH,
    )
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MlpConfig(TabularConfig):
    """Settings of the small network."""

    widths: tuple[int, ...] = (64,)
    dropout: float = 0.4


register(
    ModelSpec(
        name="forensic-mlp",
        modality="forensic",
        summary="A small network over what analyzers measured",
        config=MlpConfig,
        build=Tabular,
        begin=Tabular.learn,
        prep=ForensicPrep(),
        recipe=RECIPE,
        search=SEARCH,
    )
)

register(
    ModelSpec(
        name="forensic-boosting",
        modality="forensic",
        summary="Gradient-boosted trees over what analyzers measured",
        config=BoostingConfig,
        build=Boosting,
        begin=Boosting.learn,
        prep=ForensicPrep(),
        recipe=dataclasses.replace(RECIPE, epochs=4, optimizer=Optimizer(lr=3e-4)),
        search={
            "model.trees": Choice(values=(30, 60, 120)),
            "model.depth": Choice(values=(1, 2, 3)),
            "model.rate": Range(low=0.03, high=0.3, log=True),
        },
    )
)
