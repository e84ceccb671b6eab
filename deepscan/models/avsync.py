"""Do these lips speak this voice? Two small towers that agree where mouth and sound belong together.

Each tower turns 0.2 s of its own signal into a unit vector. Of a real clip the vectors of the same
moment are close and all others are far, which is all that training asks for, so it needs no fakes. What is
reported is what Chung and Zisserman ("Out of time", ACCV workshops 2016) report: the distance between mouth
and sound, averaged over time, for every shift of the sound; its lowest point; and how far that lies below
the median. The logit says that the sound, as it lies, is no nearer to the mouth than sound of other moments.
"""

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan.errors import ConfigError
from deepscan.modalities.av import RATE_HZ, SOUND_FRAMES, AvPrep
from deepscan.models import ModelSpec, register
from deepscan.nn.heads import Logit
from deepscan.nn.initialize import he_normal
from deepscan.objectives import synchrony
from deepscan.recipe import Augment, Optimizer, Range, Recipe, Schedule

WINDOW = 5
"""Frames of the mouth, and as many times ``SOUND_FRAMES`` of the sound, that an embedding sees."""

PARTED = (-9, -4, 4, 9)
"""Shifts in frames at which a clip's own sound counts as that of another mouth while the logit is fitted."""

Match = tuple[Tensor, Tensor]
"""How alike mouth and sound are, cosines float32 [B, T', C], and which of these pairs there are, bool."""

CONTRAST = 10.0
"""Distances reach from 0 to 2 and differ by tenths; this brings their differences to about 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AvSyncConfig:
    """Settings of both towers and of the search for the shift.

    Attributes:
        embedding: Numbers of an embedding.
        channels: Channels of the mouth tower at half, quarter and so on of the crop.
        hidden: Channels over time in both towers.
        dropout: Share of features dropped before the embedding, in [0, 1).
        shifts: The sound is tried up to so many frames earlier and later.
        tolerance: Frames by which sound may be early or late and still belong to the mouth; ITU-R BT.1359
            says that viewers notice about as many.
        temperature: Divisor of the cosines in the contrastive loss, above 0.
    """

    embedding: int = 64
    channels: tuple[int, ...] = (16, 32, 48)
    hidden: int = 128
    dropout: float = 0.1
    shifts: int = 15
    tolerance: int = 2
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of range.
        """
        if min(self.embedding, self.hidden, len(self.channels), *self.channels) < 1:
            msg = f"Settings 'embedding', 'hidden' and each of 'channels' are at least 1, not {self}."
            raise ConfigError(msg)
        if not 0 <= self.tolerance < self.shifts <= 2 * RATE_HZ:
            msg = f"A sync model needs 0 <= tolerance < shifts <= {2 * RATE_HZ} frames, not {self}."
            raise ConfigError(msg)
        if not 0 <= self.dropout < 1 or self.temperature <= 0:
            msg = f"Setting 'dropout' is in [0, 1) and 'temperature' above 0, not {self}."
            raise ConfigError(msg)


class MouthTower(nn.Module):
    """What moves in the crops: uint8 [B, T, S, S] to unit vectors float32 [B, T - WINDOW + 1, D]."""

    def __init__(self, config: AvSyncConfig, grid: int = 3) -> None:
        """Create the tower; the last map is averaged to ``grid`` x ``grid`` cells, whatever S is."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after in config.channels:
            kernel = 5 if before == 1 else 3
            layers += [nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        self.frames = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten())
        he_normal(self.frames)
        self.time = _over_time(before * grid**2, config)

    def forward(self, mouth: Tensor, present_BT: Tensor) -> Tensor:
        """Return the embeddings; of a clip's picture only its change over time is looked at."""
        x_BTHW = _standardised(mouth, present_BT)
        x_NF = self.frames(x_BTHW.flatten(0, 1)[:, None])
        x_BFT = x_NF.unflatten(0, x_BTHW.shape[:2]).transpose(1, 2)
        return _unit(self.time(x_BFT))


class SoundTower(nn.Module):
    """The spectrum: float32 [B, rows, SOUND_FRAMES T] to unit vectors float32 [B, T - WINDOW + 1, D]."""

    def __init__(self, config: AvSyncConfig, rows: int) -> None:
        """Create the tower over ``rows`` rows."""
        super().__init__()
        layers: list[nn.Module] = []
        before = rows
        for _ in range(int(math.log2(SOUND_FRAMES))):
            layers += [nn.Conv1d(before, config.hidden, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm1d(config.hidden), nn.ReLU(inplace=True)]
            before = config.hidden
        self.frames = nn.Sequential(*layers)
        self.time = _over_time(before, config)

    def forward(self, sound: Tensor, present_BT: Tensor) -> Tensor:
        """Return the embeddings."""
        real = present_BT.repeat_interleave(SOUND_FRAMES, 1)[:, None]
        return _unit(self.time(self.frames(sound * real)))


def _over_time(features: int, config: AvSyncConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(features, config.hidden, WINDOW, bias=False),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Conv1d(config.hidden, config.embedding, 1),
    )


def _standardised(mouth: Tensor, present_BT: Tensor) -> Tensor:
    """Subtract each pixel's mean over the real frames, divide by the deviation of all; 0 for padding."""
    real = present_BT[:, :, None, None].to(torch.float32)
    x_BTHW = mouth.to(torch.float32) / 255
    frames = real.sum(1, keepdim=True).clamp(min=1)
    x_BTHW = (x_BTHW - (x_BTHW * real).sum(1, keepdim=True) / frames) * real
    variance = x_BTHW.square().mean((2, 3), keepdim=True).sum(1, keepdim=True) / frames
    # The floor is about the noise of a camera: a mouth at rest must not become a lively one.
    return x_BTHW / (variance.sqrt() + 0.02)


def _unit(x_BDT: Tensor) -> Tensor:
    return functional.normalize(x_BDT.float().transpose(1, 2), dim=-1)


class AvSync(nn.Module):
    """Both towers, the distance for every shift, and the logit of a voice that is not the mouth's."""

    def __init__(self, config: AvSyncConfig, rows: int) -> None:
        """Create the network with fresh weights for sound of ``rows`` rows."""
        super().__init__()
        self.config = config
        self.mouth = MouthTower(config)
        self.sound = SoundTower(config, rows)
        self.logit = Logit(2)
        nn.init.ones_(self.logit.weight)

    def forward(
        self, mouth: Tensor, sound: Tensor, mask: Tensor, contrast: bool = False
    ) -> dict[str, Tensor]:
        """Return ``logit`` [B] and what it is made of, all float32.

        Those are ``moment_logit`` and ``attention`` [B, M] for M equal slices of the window of about a
        second; ``measured_offset_frames`` [B], positive where the sound is late; ``measured_distance`` [B]
        in [0, 2] at that shift; and ``measured_confidence`` [B], the median over shifts minus that.

        Args:
            mouth: uint8 [B, T, S, S].
            sound: float32 [B, rows, SOUND_FRAMES T].
            mask: uint8 [B, T], 0 for frames that are padding, which come last.
            contrast: Return what ``objectives.synchrony`` compares instead: ``logit``; ``parted_logit``
                [B, P] of the same mouths with sound that is not theirs; ``match`` [B, T', C] of each moment
                with C sounds, its own in column ``own``; and ``share`` [B, T'] of each moment in its clip.
        """
        present_BT = mask > 0
        mouth_BTD, sound_BTD = self.mouth(mouth, present_BT), self.sound(sound, present_BT)
        # Only windows without any padding are moments.
        moment_T = torch.arange(mouth_BTD.shape[1], device=mask.device)
        held_BT = moment_T < (present_BT.sum(1) - WINDOW + 1).clamp(min=1)[:, None]
        match = _compare((mouth_BTD, held_BT), (sound_BTD, held_BT), self.config.shifts)
        if not contrast:
            return self._judge(match)
        return self._contrast((mouth_BTD, sound_BTD, held_BT), match)

    def _judge(self, match: Match) -> dict[str, Tensor]:
        cosine_BTK, held_BTK = match
        distance_BTK = (2 - 2 * cosine_BTK).clamp(min=1e-6).sqrt()
        curve_BK = _curve(distance_BTK, held_BTK)
        # The lower median, by sorting: graphs of other runtimes know no median.
        middle_B = curve_BK.sort(1).values[:, (curve_BK.shape[1] - 1) // 2]
        least_B, best_B = curve_BK.min(1)
        first = self.config.shifts - self.config.tolerance
        near_B = curve_BK[:, first : first + 2 * self.config.tolerance + 1].argmin(1) + first
        near_BT1 = near_B[:, None, None].expand(-1, cosine_BTK.shape[1], 1)
        slice_BTM = _slices(held_BTK.gather(2, near_BT1)[..., 0])
        own_BM = _mean(distance_BTK.gather(2, near_BT1), slice_BTM)
        share_BM = slice_BTM.sum(1) / slice_BTM.sum((1, 2)).clamp(min=1)[:, None]
        evidence_BMF = torch.stack([own_BM - middle_B[:, None], own_BM - least_B[:, None]], 2) * CONTRAST
        logit_BM = self.logit(evidence_BMF.flatten(0, 1)).unflatten(0, own_BM.shape) * (share_BM > 0)
        return {
            "logit": (share_BM * logit_BM).sum(1),
            "moment_logit": logit_BM,
            "attention": share_BM,
            "measured_offset_frames": (best_B - self.config.shifts).float(),
            "measured_distance": least_B,
            "measured_confidence": middle_B - least_B,
        }

    def _contrast(self, seen: tuple[Tensor, Tensor, Tensor], match: Match) -> dict[str, Tensor]:
        mouth_BTD, sound_BTD, held_BT = seen
        (cosine_BTK, held_BTK), (other_BTB, other_held_BTB) = match, _compare_others(*seen)
        held_BTC = torch.cat([held_BTK, other_held_BTB], 2)
        match_BTC = torch.cat([cosine_BTK, other_BTB], 2) / self.config.temperature
        # The towers are shaped by the matches alone: the logit only learns to read what they say.
        parted = self._parted((mouth_BTD.detach(), sound_BTD.detach(), held_BT))
        return {
            "logit": self._judge((cosine_BTK.detach(), held_BTK))["logit"],
            "parted_logit": torch.stack(parted, 1),
            "match": match_BTC.masked_fill(~held_BTC, torch.finfo(torch.float32).min),
            "own": torch.tensor(self.config.shifts, device=mouth_BTD.device),
            "share": held_BT / held_BT.sum(1, keepdim=True),
        }

    def _parted(self, seen: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Judge the mouths with their own sound shifted, and with that of their neighbour in the batch."""
        mouth_BTD, sound_BTD, held_BT = seen
        # What leaves at one end comes in at the other: also sound that is not of that moment.
        turns = [(frames, 1) for frames in PARTED] + ([(1, 0)] if len(held_BT) > 1 else [])
        sounds = [(sound_BTD.roll(*turn), held_BT.roll(*turn)) for turn in turns]
        matches = (_compare((mouth_BTD, held_BT), sound, self.config.shifts) for sound in sounds)
        return [self._judge(match)["logit"] for match in matches]


def _compare(mouth: tuple[Tensor, Tensor], sound: tuple[Tensor, Tensor], shifts: int) -> Match:
    """Compare every moment with the sound from ``shifts`` frames before to as many after it.

    Both are embeddings [B, T', D] and which of them there are [B, T'].
    """
    (mouth_BTD, seen_BT), (sound_BTD, heard_BT) = mouth, sound
    sound_BTD = functional.pad(sound_BTD, (0, 0, shifts, shifts))
    heard_BT = functional.pad(heard_BT, (shifts, shifts))
    spans = [slice(k, k + mouth_BTD.shape[1]) for k in range(2 * shifts + 1)]
    cosine_BTK = torch.stack([(mouth_BTD * sound_BTD[:, span]).sum(2) for span in spans], 2)
    return cosine_BTK, torch.stack([heard_BT[:, span] & seen_BT for span in spans], 2)


def _compare_others(mouth_BTD: Tensor, sound_BTD: Tensor, held_BT: Tensor) -> Match:
    """Compare every moment with the same moment of every other clip of the batch."""
    cosine_BTB = torch.einsum("btd,ctd->btc", mouth_BTD, sound_BTD).float()
    other_BB = ~torch.eye(len(held_BT), dtype=torch.bool, device=held_BT.device)
    return cosine_BTB, held_BT.T[None] & held_BT[..., None] & other_BB[:, None]


def _curve(distance_BTK: Tensor, held_BTK: Tensor) -> Tensor:
    """Average the distances of every shift, [B, K]; one too large for the clip gets the mean of the rest."""
    curve_BK, tried_BK = _mean(distance_BTK, held_BTK), held_BTK.any(1)
    return torch.where(tried_BK, curve_BK, _mean(curve_BK[..., None], tried_BK[..., None]))


def _mean(value_BTK: Tensor, held_BTK: Tensor) -> Tensor:
    """Average over those moments that there are; 0 where there are none, [B, K]."""
    return (value_BTK * held_BTK).sum(1) / held_BTK.sum(1).clamp(min=1)


def _slices(held_BT: Tensor) -> Tensor:
    """Assign moments to equal slices of the window, bool [B, T', M]; a slice is about a second."""
    moments = held_BT.shape[1]
    frames = moments + WINDOW - 1
    slices = max(1, round(frames / RATE_HZ))
    slice_T = (torch.arange(moments, device=held_BT.device) + WINDOW // 2) * slices // frames
    return functional.one_hot(slice_T, slices).bool() & held_BT[..., None]


def _build(config: AvSyncConfig) -> AvSync:
    return AvSync(config, PREP.inputs["sound"].shape[0])


PREP = AvPrep()

register(
    ModelSpec(
        name="avsync",
        modality="av",
        summary="Two towers: how far the sound is from the mouth, for every shift; learns from real clips",
        config=AvSyncConfig,
        build=_build,
        prep=PREP,
        recipe=Recipe(
            epochs=60,
            batch_size=16,
            optimizer=Optimizer(lr=2e-3, weight_decay=0.02),
            schedule=Schedule(warmup=0.05),
            augment=Augment(level="basic"),
            learns_from="real",
        ),
        search={
            "recipe.optimizer.lr": Range(low=3e-4, high=5e-3, log=True),
            "recipe.optimizer.weight_decay": Range(low=1e-3, high=1e-1, log=True),
            "model.temperature": Range(low=0.05, high=0.3, log=True),
            "model.dropout": Range(low=0.0, high=0.4),
        },
        objective=synchrony,
        calibration="logistic",
    )
)
