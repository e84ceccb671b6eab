"""Detection costs and log-likelihood-ratio costs, as the ASVspoof challenges and NIST define them.

These costs speak of a system that lets real files through: a *miss* is a real file that is turned away
(called fake), a *false alarm* a fake that is let through (called real). All are 0 for a perfect detector;
normalised ones are 1 for a detector that decides without looking. In shapes, R counts weightings of the
files, N files and K distinct logits plus one, as in ``figures``.
"""

import dataclasses
import math

import numpy as np
import scipy.optimize

from deepscan.errors import ConfigError
from deepscan.metrics.bootstrap import Floats, ratio
from deepscan.metrics.records import Predictions

NAMES = ("cllr", "min_cllr", "act_dcf", "min_dcf", "min_tdcf_2019", "min_tdcf_2021")
TINY = 2.0**-52


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DetectionCosts:
    """What errors cost where the detector stands alone; the defaults are those of ASVspoof 5 (2024).

    Attributes:
        miss: Cost of a real file called fake, above 0.
        false_alarm: Cost of a fake called real, above 0.
        p_fake: Share of fakes among the files to come, in (0, 1).
    """

    miss: float = 1.0
    false_alarm: float = 10.0
    p_fake: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A cost is not above 0 or the share not in (0, 1).
        """
        if not (min(self.miss, self.false_alarm) > 0 and 0 < self.p_fake < 1):
            msg = f"Costs must be above 0 and the share of fakes between 0 and 1, not {self}."
            raise ConfigError(msg)

    @property
    def weights(self) -> tuple[float, float]:
        """Cost of the miss rate and of the false alarm rate: each error's cost times its class's share."""
        return self.miss * (1 - self.p_fake), self.false_alarm * self.p_fake


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TandemCosts:
    """What errors cost where the detector stands before a speaker verifier, and how often who comes.

    The defaults are those of ASVspoof 2019 and 2021, logical access.

    Attributes:
        miss: Cost of a target speaker that the verifier rejects.
        false_alarm: Cost of another speaker that the verifier accepts.
        detector_miss: Cost of a target speaker that the detector turns away.
        detector_false_alarm: Cost of a fake that both let through.
        p_target: Share of target speakers.
        p_nontarget: Share of other speakers.
        p_fake: Share of fakes; the three shares sum to 1.
    """

    miss: float = 1.0
    false_alarm: float = 10.0
    detector_miss: float = 1.0
    detector_false_alarm: float = 10.0
    p_target: float = 0.95 * 0.99
    p_nontarget: float = 0.95 * 0.01
    p_fake: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A cost is not above 0, or the shares are none.
        """
        shares = (self.p_target, self.p_nontarget, self.p_fake)
        costs = (self.miss, self.false_alarm, self.detector_miss, self.detector_false_alarm)
        if not (min(costs) > 0 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):
            msg = f"Costs must be above 0, and the shares of those who come sum to 1, not {self}."
            raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A speaker verifier at its threshold, as measured without a detector before it; see ``tandem_costs``.

    Attributes:
        miss: Share of target speakers that it rejects, in [0, 1].
        false_alarm: Share of other speakers that it accepts.
        fake_false_alarm: Share of fakes that it accepts.
        costs: What errors cost.
    """

    miss: float
    false_alarm: float
    fake_false_alarm: float
    costs: TandemCosts = TandemCosts()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A rate is not in [0, 1], or the verifier is so bad that no detector could matter.
        """
        rates = (self.miss, self.false_alarm, self.fake_false_alarm)
        if not all(0 <= rate <= 1 for rate in rates):
            msg = f"Error rates of a verifier lie in [0, 1], not {rates}."
            raise ConfigError(msg)
        if min(self.weights) <= 0:
            msg = (
                f"With error rates {rates} the t-DCF is not defined: turning everyone away, or nobody, costs "
                "nothing. Give the rates of a verifier that accepts some fakes and rejects few speakers."
            )
            raise ConfigError(msg)

    @property
    def own(self) -> float:
        """Cost of the errors that the verifier makes without fakes: C0 of ASVspoof 2021."""
        costs = self.costs
        return costs.p_target * costs.miss * self.miss + (
            costs.p_nontarget * costs.false_alarm * self.false_alarm
        )

    @property
    def weights(self) -> tuple[float, float]:
        """Cost of the detector's miss rate and of its false alarm rate: C1 and C2."""
        costs = self.costs
        miss = costs.p_target * costs.detector_miss - self.own
        return miss, costs.p_fake * costs.detector_false_alarm * self.fake_false_alarm


def detection_figures(
    files: Predictions, above: tuple[Floats, Floats], weight: Floats, verifier: Verifier | None
) -> dict[str, Floats]:
    """Return the costs by name, float [R], NaN where a class is missing.

    ``cllr`` and ``min_cllr`` (see ``cllr`` and ``min_cllr``), ``act_dcf`` and ``min_dcf`` (see
    ``detection_costs``), and where a verifier is given ``min_tdcf_2019`` and ``min_tdcf_2021`` (see
    ``tandem_costs``).

    Args:
        files: What the detector said.
        above: Weight of fakes and reals at or above each distinct logit, from ``figures.cumulative``.
        weight: Of the files, float [R, N].
        verifier: What stands behind the detector; None = nothing.
    """
    fake_above, real_above = above
    found = {"cllr": cllr(files, weight), "min_cllr": min_cllr(fake_above, real_above)}
    found |= detection_costs(files, above, weight, DetectionCosts())
    if verifier:
        found |= tandem_costs(fake_above, real_above, verifier)
    return found


def cllr(files: Predictions, weight: Floats) -> Floats:
    """Return the log-likelihood-ratio cost in bits, float [R] (Brümmer & du Preez, 2006, equation 25).

    ``(mean over fakes of log2(1 + 1/r) + mean over reals of log2(1 + r)) / 2`` with the stated odds
    ``r = P(fake) / (1 - P(fake))`` as the likelihood ratio: what a detector says when fakes are as frequent
    as real files. 1 is what one who always says 1/2 gets. Probabilities are kept 2^-52 away from 0 and 1.
    """
    log_odds = _log_odds(files)
    is_fake = files.label == 1
    bits = np.logaddexp(0, np.where(is_fake, -log_odds, log_odds)) / math.log(2)
    of_fakes, of_reals = (ratio(weight @ (bits * held), weight @ held) for held in (is_fake, ~is_fake))
    return (of_fakes + of_reals) / 2


def min_cllr(fake_above: Floats, real_above: Floats) -> Floats:
    """Return the cost ``cllr`` after the best rising map of the logits, float [R].

    That map is found by pool-adjacent-violators (Brümmer & du Preez, 2006, section 6.2; Ahuja & Orlin,
    2001). With both classes of weight 1/2 it states q for a block, and the cost is the mean of -log2 of
    what was stated of the truth. ``cllr - min_cllr`` is what bad calibration costs.

    Args:
        fake_above: Weight of fakes at or above each distinct logit, float [R, K].
        real_above: The same of real files.
    """
    fake, real = (np.diff(ratio(above, above[:, -1:]), axis=1)[:, ::-1] for above in (fake_above, real_above))
    return np.array([_entropy(*row) for row in zip(fake, real, strict=True)])


def _entropy(fake: Floats, real: Floats) -> float:
    """Return the bits that the best rising map leaves, for shares of both classes by rising logit."""
    total = fake + real
    if np.isnan(total).any():
        return math.nan
    held = total > 0
    fake, real, total = fake[held], real[held], total[held]
    stated = scipy.optimize.isotonic_regression(fake / total, weights=total).x.clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(fake > 0, -fake * np.log2(stated), 0) + (
            np.where(real > 0, -real * np.log2(1 - stated), 0)
        )
    return float(lost.sum() / 2)


def detection_costs(
    files: Predictions, above: tuple[Floats, Floats], weight: Floats, costs: DetectionCosts
) -> dict[str, Floats]:
    """Return ``act_dcf`` and ``min_dcf``, float [R], as in ASVspoof 5 (Wang et al., 2024, section 3).

    ``(miss (1 - p) P_miss + false_alarm p P_false_alarm) / min(miss (1 - p), false_alarm p)``: the expected
    cost relative to that of deciding without looking. ``min`` is at the threshold that is best for these very
    files; ``act`` at the one that the stated probabilities make best, so it is above where they mislead.
    """
    of_miss, of_alarm = costs.weights
    least = min(of_miss, of_alarm)
    fake_above, real_above = above
    miss, alarm = ratio(real_above, real_above[:, -1:]), 1 - ratio(fake_above, fake_above[:, -1:])
    # Called fake where the odds of a fake, times the odds of one coming, are worth more than a miss.
    is_fake, called = files.label == 1, _log_odds(files) >= math.log(of_miss / of_alarm)
    missed = ratio(weight @ (~is_fake & called), weight @ ~is_fake)
    passed = ratio(weight @ (is_fake & ~called), weight @ is_fake)
    return {
        "act_dcf": (of_miss * missed + of_alarm * passed) / least,
        "min_dcf": (of_miss * miss + of_alarm * alarm).min(axis=1) / least,
    }


def tandem_costs(fake_above: Floats, real_above: Floats, verifier: Verifier) -> dict[str, Floats]:
    """Return the least normalised tandem detection cost in its two forms, float [R].

    - ``min_tdcf_2019``: ``min (C1 P_miss + C2 P_false_alarm) / min(C1, C2)`` (Kinnunen et al., Odyssey 2018;
      evaluation plan of ASVspoof 2019, equation 1).
    - ``min_tdcf_2021``: ``min (C0 + C1 P_miss + C2 P_false_alarm) / (C0 + min(C1, C2))`` (Kinnunen et al.,
      IEEE/ACM TASLP 2020; evaluation plan of ASVspoof 2021), in which the verifier's own errors count too.

    Args:
        fake_above: Weight of fakes at or above each distinct logit, float [R, K].
        real_above: The same of real files.
        verifier: Gives C0, C1 and C2.
    """
    miss = ratio(real_above, real_above[:, -1:])
    alarm = 1 - ratio(fake_above, fake_above[:, -1:])
    of_miss, of_alarm = verifier.weights
    least, blind = (of_miss * miss + of_alarm * alarm).min(axis=1), min(of_miss, of_alarm)
    return {
        "min_tdcf_2019": least / blind,
        "min_tdcf_2021": (verifier.own + least) / (verifier.own + blind),
    }


def _log_odds(files: Predictions) -> Floats:
    return np.asarray(scipy.special.logit(files.probability.astype(np.float64).clip(TINY, 1 - TINY)))
