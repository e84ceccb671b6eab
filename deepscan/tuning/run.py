"""A campaign: data prepared once, trials on Ray Tune, then the winner trained like any other run.

Its folder holds ``trials.jsonl`` (what became of every trial), ``ray/`` (Ray Tune's own state), ``best.json``
(a recipe for ``deepscan train``), ``best/`` (the run of the winner) and ``campaign.html``.
"""

import contextlib
import dataclasses
import json
import logging
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from deepscan import config, storage
from deepscan.cluster import (
    available,
    connected,
    node_cpus,
    when_there_is_room,
)
from deepscan.errors import TrainingError
from deepscan.evaluation import Outcome
from deepscan.interrupt import beside
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.report.campaign import render_campaign
from deepscan.training.run import Order, opened, recall, train
from deepscan.training.settings import as_overrides, settle
from deepscan.training.start import check_init
from deepscan.tuning import journal
from deepscan.tuning.campaign import Campaign, check_folder, check_settings, known_points, most_epochs
from deepscan.tuning.journal import JOURNAL, Trial
from deepscan.tuning.plan import DRIVER_CPUS, Share, TrialPlan, plan_trials
from deepscan.tuning.report import page_of
from deepscan.tuning.search import (
    Recorder,
    domains,
    importances,
    population,
    scheduler,
    searcher,
)
from deepscan.tuning.space import Chosen, Space, space_of
from deepscan.tuning.trial import Work, run_trial
from deepscan.watch import Watch

logger = logging.getLogger(__name__)
RAY_RUN = "ray"
BEST, RECIPE, REPORT = "best", "best.json", "campaign.html"
RETRIES = 2
"""How often a trial goes on from its last epoch after its process was lost."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a campaign came to.

    Attributes:
        campaign: What was searched.
        space: Its settings.
        trials: All trials in the order in which they began.
        outcome: What the winner came to.
    """

    campaign: Campaign
    space: Space
    trials: tuple[Trial, ...]
    outcome: Outcome

    @property
    def ranked(self) -> list[Trial]:
        """The trials that can be compared, the best one first."""
        return journal.best_first(self.trials)


def run_campaign(campaign: Campaign, watch: Watch) -> Found:
    """Search, then train, calibrate and measure the winner.

    Raises:
        ConfigError: The campaign contradicts itself, the one that it resumes, or the model.
        DataError: The data cannot be used.
        ResourceError: Not one trial fits into the cluster.
        TrainingError: No trial finished an epoch.
    """
    order = campaign.order
    if order.plugin:
        load_plugin(order.plugin)
    spec = load_builtin().get(order.model)
    check_init(spec, settle(spec, campaign.fixed).model, order.init)
    check_folder(order)
    space = space_of(spec, campaign.fixed, campaign.space)
    known = known_points(campaign, space)
    deciding = scheduler(campaign.scheduler, space, most_epochs(campaign, space))
    with connected(order.address):
        asked = Share(
            trials=campaign.trials, workers=order.workers, cpus=campaign.share[0], gpus=campaign.share[1]
        )
        plan = when_there_is_room(
            lambda: plan_trials(asked, *available(), node_cpus()),
            asked.machines,
            order.address,
            order.patience_s,
            watch.stage,
        )
        settings = settle(spec, campaign.fixed)
        data = opened(order, settings, watch)
        check_settings(campaign, space, data)
        watch.stage(f"Searching: {plan}")
        everywhere = dataclasses.replace(order, overrides=campaign.fixed, out=order.out.resolve())
        work = Work(order=everywhere, data=data, plan=plan)
        order.place.send()
        with beside(_follower(order, campaign.trials, watch)):
            _search(campaign, _Given(space=space, known=known, deciding=deciding), work)
        _close(order.out / JOURNAL)
        trials = tuple(journal.read(order.out / JOURNAL))
        winner = _winner(trials)
        _draw(campaign, space, plan, trials, len(known))
        return Found(
            campaign=campaign,
            space=space,
            trials=trials,
            outcome=_train_best(campaign, spec, winner, watch),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    """What Ray Tune is given: the space, what is known of it, and who decides between epochs."""

    space: Space
    known: list[tuple[Chosen, float]]
    deciding: TrialScheduler | None


def _search(campaign: Campaign, given: _Given, work: Work) -> None:
    plan = work.plan
    taken = {"CPU": DRIVER_CPUS} if plan.resources else {"CPU": plan.cpus, "GPU": plan.gpus}
    trainable = tune.with_resources(tune.with_parameters(run_trial, work=work), taken)
    folder = storage.join(campaign.order.place.shared, RAY_RUN)
    filesystem, path = storage.locate(folder)
    if campaign.order.resume and tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        tuner = tune.Tuner.restore(path, trainable=trainable, storage_filesystem=filesystem)
    else:
        storage.remove_folder(folder)
        tuner = _tuner(campaign, given, plan, trainable)
    with _interruptible():
        tuner.fit()


def _close(path: pathlib.Path) -> None:
    """Note that the trials which the time budget ended will not go on."""
    for trial in journal.read(path):
        if not trial.ended:
            journal.append(path, trial.id, state="stopped")


def _tuner(campaign: Campaign, given: _Given, plan: TrialPlan, trainable: Any) -> tune.Tuner:
    out, pbt = campaign.order.out.resolve(), campaign.scheduler == "pbt"
    filesystem, path = storage.locate(campaign.order.place.shared)
    proposing = (
        population(campaign.seed)
        if pbt
        else searcher(campaign.search or "tpe", campaign.trials, campaign.seed, given.known)
    )
    return tune.Tuner(
        trainable,
        param_space=domains(given.space),
        tune_config=tune.TuneConfig(
            metric="val_auc" if pbt else "best_auc",
            mode="max",
            search_alg=proposing,
            scheduler=given.deciding,
            num_samples=campaign.trials,
            # All of a population has to be there before any of it goes on.
            max_concurrent_trials=None if pbt else plan.concurrent,
            time_budget_s=campaign.time_budget_s,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=RAY_RUN,
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[Recorder(out / JOURNAL)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            # Others of a population may still be about to take over an older checkpoint.
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4 if pbt else 1),
        ),
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _draw(campaign: Campaign, space: Space, plan: TrialPlan, trials: tuple[Trial, ...], known: int) -> None:
    """Write the report of the campaign."""
    facts: dict[str, str | int | float] = {
        "model": campaign.order.model,
        "trials": len(trials),
        "proposed by": "a population" if campaign.scheduler == "pbt" else campaign.search or "tpe",
        "scheduler": campaign.scheduler,
        "resources": str(plan),
    }
    if known:
        facts["earlier trials"] = known
    shares = importances(journal.best_first(trials), space)
    page = page_of(f"Search: {campaign.order.model}", facts, space, trials, shares)
    (campaign.order.out / REPORT).write_text(render_campaign(page), encoding="utf-8")


def _winner(trials: tuple[Trial, ...]) -> Trial:
    ranked = journal.best_first(trials)
    if not ranked:
        why = next((trial.why for trial in trials if trial.why), "the time budget ended before")
        msg = f"None of {len(trials)} trials finished an epoch, so there is no winner. Cause: {why}"
        raise TrainingError(msg)
    return ranked[0]


def _train_best(campaign: Campaign, spec: ModelSpec, winner: Trial, watch: Watch) -> Outcome:
    """Train with the winner's settings, unless that was done; a run of an earlier winner is put aside."""
    out = campaign.order.out
    recipe = _changed(spec, (*campaign.fixed, *as_overrides(winner.best.settings)))
    text = json.dumps(recipe, indent=1) + "\n"
    path, order = out / RECIPE, campaign.order.below(BEST)
    if order.place.begun and path.read_text(encoding="utf-8") != text:
        order.out.rename(out / f"{BEST}-{len(list(out.glob(f'{BEST}-*'))) + 1}")
        storage.remove_folder(order.place.shared)
    path.write_text(text, encoding="utf-8")
    order = dataclasses.replace(order, overrides=as_overrides(recipe), resume=order.place.begun)
    outcome = recall(order.out) or train(order, watch)
    campaign.order.place.send()
    return outcome


def _changed(spec: ModelSpec, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that differ from the model's own, by dotted name."""
    own, changed = (
        {
            text
            for part, settled in (("recipe", s.recipe), ("model", s.model), ("prep", s.prep))
            for text in as_overrides(config.to_dict(settled), f"{part}.")
        }
        for s in (settle(spec, ()), settle(spec, overrides))
    )
    pairs = (text.partition("=") for text in sorted(changed - own))
    return {name: json.loads(value) for name, _, value in pairs}


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C in a search the KeyboardInterrupt that it is everywhere else.

    Ray Tune puts handlers of its own in place, and leaves them there. The first Ctrl-C ends the search as if
    it were over and puts the handler before it back, by which it can be told.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
        if signal.getsignal(signal.SIGINT) is before[signal.SIGINT]:
            raise KeyboardInterrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follower(order: Order, trials: int, watch: Watch) -> Callable[[threading.Event], None]:
    """Tell how many trials have ended, log each, and send what there is to the storage."""
    path = order.out / JOURNAL
    told = {trial.id for trial in journal.read(path) if trial.ended}

    def look() -> None:
        ended = [trial for trial in journal.read(path) if trial.ended]
        watch.advance(len(ended), trials)
        fresh = [trial for trial in ended if trial.id not in told]
        for trial in fresh:
            logger.info("%s", trial)
        if fresh:
            told.update(trial.id for trial in fresh)
            order.place.send()

    def follow(ended: threading.Event) -> None:
        while not ended.wait(0.5):
            look()
        look()
        order.place.send()  # of trials that have not ended, too

    return follow
