"""What Ray Tune is given: domains, a searcher, a scheduler, and the callback that keeps the journal."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import optuna
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from deepscan.errors import ConfigError
from deepscan.recipe import Choice, Range
from deepscan.tuning import journal
from deepscan.tuning.journal import Trial
from deepscan.tuning.space import EPOCHS, Chosen, Setting, Space
from deepscan.tuning.trial import FAILED

Search = Literal["tpe", "random"]
Scheduler = Literal["asha", "median", "pbt", "none"]
SCHEDULERS: tuple[Scheduler, ...] = get_args(Scheduler)
REDUCTION = 3
"""ASHA lets the best third go on at every rung, as in its paper (Li et al., MLSys 2020) for small budgets."""

LASTING = {EPOCHS, "recipe.seed", "recipe.optimizer.name", "recipe.freeze_epochs"}
"""Recipe settings that stay as they are in a trial that takes over another: its state belongs to them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Clipped:
    """Keeps what population-based training changed within the space."""

    space: Space

    def __call__(self, chosen: Chosen) -> dict[str, Setting]:
        """Return the settings, numbers moved into their ranges."""
        return self.space.clipped(chosen)


def domains(space: Space) -> dict[str, Any]:
    """Return the space in Ray Tune's words."""
    return {name: _domain(each, name in space.whole) for name, each in space.ranges.items()}


def _domain(each: Range | Choice, whole: bool) -> Any:
    if isinstance(each, Choice):
        return tune.choice(list(each.values))
    if whole:
        return (tune.lograndint if each.log else tune.randint)(round(each.low), round(each.high) + 1)
    return (tune.loguniform if each.log else tune.uniform)(each.low, each.high)


class EndedTrials(OptunaSearch):
    """Optuna, told of trials that have ended and not of their epochs.

    Whether a trial goes on is the scheduler's to say, and one that is resumed comes by an epoch twice, which
    Optuna warns of.
    """

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Leave the epoch to the scheduler."""


def searcher(kind: Search, trials: int, seed: int, known: Sequence[tuple[Chosen, float]]) -> OptunaSearch:
    """Return what proposes settings: Optuna's tree of Parzen estimators or draws at random.

    Args:
        kind: Which.
        trials: Trials to come; a quarter of them, at least 4, are drawn at random before the estimators
            have enough to go by, less what is known already.
        seed: Seed of the proposals.
        known: Settings with the validation AUC that they came to in an earlier campaign.
    """
    at_random = max(4, trials // 4)
    sampler = (
        optuna.samplers.TPESampler(seed=seed, n_startup_trials=at_random)
        if kind == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return EndedTrials(
        sampler=sampler,
        points_to_evaluate=[dict(chosen) for chosen, _ in known] or None,
        evaluated_rewards=[auc for _, auc in known] or None,
    )


def population(seed: int) -> BasicVariantGenerator:
    """Return what draws the first settings of a population, which takes no searcher."""
    return BasicVariantGenerator(random_state=seed)


def scheduler(kind: Scheduler, space: Space, epochs: int) -> TrialScheduler | None:
    """Return what decides between epochs whether a trial goes on; None = nothing does.

    ``asha`` and ``median`` stop trials, ``pbt`` replaces the worst quarter of them by changed copies of the
    best (Jaderberg et al., arXiv:1711.09846).

    Args:
        kind: Which.
        space: What is searched.
        epochs: Most epochs of a trial.

    Raises:
        ConfigError: The space holds nothing that a population could change while it trains.
    """
    grace = max(1, epochs // 8)
    if kind == "asha":
        return ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=grace, reduction_factor=REDUCTION)
    if kind == "median":
        # A trial never yields to others: that would cost a checkpoint and a start for nothing.
        never: Any = math.inf
        return MedianStoppingRule(time_attr="epoch", grace_period=grace, min_time_slice=never)
    if kind == "pbt":
        return PopulationBasedTraining(
            time_attr="epoch",
            perturbation_interval=grace,
            # Without waiting for each other a trial may take over an earlier state again and again.
            synch=True,
            hyperparam_mutations=_mutations(space),
            custom_explore_fn=Clipped(space=space),
        )
    return None


def _mutations(space: Space) -> dict[str, Any]:
    changing = [name for name in space.ranges if name.startswith("recipe.") and name not in LASTING]
    if not changing:
        msg = (
            f"A population changes settings of the recipe while it trains, and {', '.join(space.ranges)} can "
            "not be changed so. Give ranges of others with --space, or another --scheduler."
        )
        raise ConfigError(msg)
    known = domains(space)
    return {
        name: list(each.values) if isinstance(each := space.ranges[name], Choice) else known[name]
        for name in changing
    }


class Recorder(tune.Callback):
    """Writes down what becomes of the trials, in the process that drives the campaign."""

    def __init__(self, path: pathlib.Path) -> None:
        """Write to the journal at ``path``."""
        self.path = path

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Note that a trial begins, or goes on."""
        journal.append(self.path, trial.trial_id, state="begun")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Note an epoch, with the settings that were in force in it."""
        if FAILED in result:
            return
        journal.append(self.path, trial.trial_id, settings=result["settings"], metrics=result["metrics"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Note that a trial came to its end, was stopped, or diverged."""
        last = trial.last_result
        if FAILED in last:
            journal.append(self.path, trial.trial_id, state="failed", why=last[FAILED])
            return
        state = "finished" if last.get("finished") else "stopped"
        journal.append(self.path, trial.trial_id, state=state)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Note that the process of a trial failed for good, and why."""
        error = trial.get_pickled_error() or trial.get_error()
        journal.append(self.path, trial.trial_id, state="failed", why=_reason(error))


def _reason(error: object) -> str:
    """Return the last line of an error: what was raised where it happened."""
    lines = [line for line in str(error or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a word"


def importances(trials: Sequence[Trial], space: Space) -> dict[str, float]:
    """Return the share of each setting in how the trials differ, by functional ANOVA; they add up to 1.

    Hutter, Hoos & Leyton-Brown (ICML 2014). Empty where there are fewer than four trials, or all came to the
    same.
    """
    scored = [(t.best.settings, t.best.metrics["val_auc"]) for t in trials if space.holds(t.best.settings)]
    if len(scored) < 4 or len({auc for _, auc in scored}) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = OptunaSearch.convert_search_space(domains(space))
    for settings, auc in scored:
        study.add_trial(
            optuna.trial.create_trial(params=dict(settings), distributions=distributions, value=auc)
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}
