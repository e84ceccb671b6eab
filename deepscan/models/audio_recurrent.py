"""Recurrent networks on cepstra: a GRU reads the voice, attention says which moments gave it away."""

import dataclasses
from itertools import pairwise

from torch import Tensor, nn

from deepscan.errors import ConfigError
from deepscan.media.spectra import FrontEnd
from deepscan.modalities.audio import AudioPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import HeadConfig
from deepscan.nn.moments import Moments
from deepscan.nn.specaugment import MaskConfig, SpecAugment
from deepscan.nn.timeline import Rows, Slices, Stack
from deepscan.recipe import Augment, Choice, Optimizer, Range, Recipe, SearchSpace


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentConfig(HeadConfig):
    """Settings that all of these networks share.

    Attributes:
        rows: Rows of the features; has to agree with ``prep.front_end``.
        masks: What SpecAugment hides in training.
        hidden: Units of the GRU in each direction.
        layers: Layers of the GRU.
        bidirectional: Read the window from both ends.
        moments: Slices of a window that are judged by themselves.
    """

    dropout: float = 0.3
    rows: int = 60
    masks: MaskConfig = MaskConfig()
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = True
    moments: int = 8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        HeadConfig.__post_init__(self)
        for name in ("rows", "hidden", "layers", "moments"):
            if getattr(self, name) < 1:
                msg = f"Setting {name!r} must be at least 1, it cannot be {getattr(self, name)}."
                raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GruConfig(RecurrentConfig):
    """Settings of a GRU that reads the features themselves.

    Attributes:
        stack: Frames that the GRU reads at once.
    """

    stack: int = 2
    layers: int = 2

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        RecurrentConfig.__post_init__(self)
        if self.stack < 1:
            msg = f"Setting 'stack' must be at least 1, it cannot be {self.stack}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LightGruConfig(GruConfig):
    """The same, smaller: one layer that reads forward, four frames at once."""

    stack: int = 4
    layers: int = 1
    hidden: int = 32
    bidirectional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CnnGruConfig(RecurrentConfig):
    """Settings of a GRU that reads what convolutions over time found.

    Attributes:
        channels: Channels of the convolutions, each of which halves the frames.
    """

    channels: tuple[int, ...] = (64, 96, 128)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        RecurrentConfig.__post_init__(self)
        if not self.channels or min(self.channels) < 1:
            msg = f"Setting 'channels' holds one or more numbers, each at least 1, not {self.channels}."
            raise ConfigError(msg)


class RecurrentNet(nn.Module):
    """Scaling and masking, a front that shortens time, a GRU, slices of time, their logits and weights.

    Attributes:
        front: float [B, rows, T] -> float [B, T', F].
    """

    def __init__(self, config: RecurrentConfig, front: nn.Module, features: int) -> None:
        """Create the network around a ``front`` that gives ``features`` features a step."""
        super().__init__()
        self.rows = Rows(config.rows)
        self.mask = SpecAugment(config.masks)
        self.front = front
        self.gru = nn.GRU(
            features, config.hidden, config.layers, batch_first=True, bidirectional=config.bidirectional
        )
        self.slices = Slices(config.moments)
        read = config.hidden * (2 if config.bidirectional else 1)
        # What tells windows apart is small beside what the states of a GRU have in common.
        self.norm = nn.BatchNorm1d(2 * read)
        self.moments = Moments(2 * read, config.widths, config.dropout)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return logit, moment_logit and attention for float [B, rows, T]."""
        read_BTF, _ = self.gru(self.front(self.mask(self.rows(features))))
        pooled_BMF = self.slices(read_BTF.transpose(1, 2))
        normal_BFM = self.norm(pooled_BMF.transpose(1, 2))
        output: dict[str, Tensor] = self.moments(normal_BFM.transpose(1, 2))
        return output


class Convolutions(nn.Module):
    """Convolutions over time that halve it: float [B, rows, T] -> float [B, T', channels]."""

    def __init__(self, rows: int, channels: tuple[int, ...]) -> None:
        """Create one convolution for each number of ``channels``."""
        super().__init__()
        self.layers = nn.Sequential(*(_convolution(*pair) for pair in pairwise((rows, *channels))))

    def forward(self, x_BRT: Tensor) -> Tensor:
        """Return one vector of features a step."""
        found_BCT: Tensor = self.layers(x_BRT)
        return found_BCT.transpose(1, 2)


def _convolution(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv1d(before, after, kernel_size=5, padding=2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(2))


def build_gru(config: GruConfig) -> nn.Module:
    """Return a GRU over stacked frames."""
    return RecurrentNet(config, Stack(config.stack), config.rows * config.stack)


def build_cnn_gru(config: CnnGruConfig) -> nn.Module:
    """Return a GRU over convolutions."""
    return RecurrentNet(config, Convolutions(config.rows, config.channels), config.channels[-1])


PREP = AudioPrep(front_end=FrontEnd(kind="mfcc"))
RECIPE = Recipe(
    epochs=30,
    batch_size=16,
    optimizer=Optimizer(lr=1e-3, weight_decay=0.05),
    augment=Augment(level="advanced"),
)
SEARCH: SearchSpace = {
    "recipe.optimizer.lr": Range(low=2e-4, high=4e-3, log=True),
    "recipe.optimizer.weight_decay": Range(low=1e-3, high=2e-1, log=True),
    "recipe.augment.level": Choice(values=("basic", "advanced")),
    "model.hidden": Choice(values=(32, 64, 96)),
    "model.dropout": Range(low=0.1, high=0.6),
    "model.masks.rows": Range(low=0.0, high=0.3),
}

register(
    ModelSpec(
        name="gru-attention",
        modality="audio",
        summary="MFCC with deltas, two-layer bidirectional GRU, attention over moments",
        config=GruConfig,
        build=build_gru,
        prep=PREP,
        recipe=RECIPE,
        search=SEARCH,
    )
)
register(
    ModelSpec(
        name="gru-light",
        modality="audio",
        summary="MFCC with deltas and one small GRU: the lightest model of sound",
        config=LightGruConfig,
        build=build_gru,
        prep=PREP,
        recipe=RECIPE,
        search=SEARCH | {"model.stack": Choice(values=(2, 4, 8))},
    )
)
register(
    ModelSpec(
        name="cnn-gru",
        modality="audio",
        summary="MFCC with deltas, convolutions over time, then a bidirectional GRU and attention",
        config=CnnGruConfig,
        build=build_cnn_gru,
        prep=PREP,
        recipe=RECIPE,
        search=SEARCH,
    )
)
