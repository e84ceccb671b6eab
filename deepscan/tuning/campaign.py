"""A campaign: data prepared once, trials on Ray Tune, then the winner trained like any other run.

Its folder holds ``trials.jsonl`` (what became of every trial), ``ray/`` (Ray Tune's own state), ``best.json``
(a recipe for ``deepscan train``), ``best/`` (the run of the winner) and ``campaign.html``.
"""

import contextlib
import dataclasses
import json
import logging
import pathlib
import shutil
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ray import tune

from deepscan import config
from deepscan.cluster import (
    DRIVER_CPUS,
    Share,
    TrialPlan,
    available,
    connected,
    plan_trials,
    states_answer,
)
from deepscan.datasets.dataset import DataSet, open_dataset
from deepscan.errors import ConfigError, TrainingError
from deepscan.evaluation import Outcome
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.recipe import Choice
from deepscan.report.campaign import render_campaign
from deepscan.training.fit import begun, check_init
from deepscan.training.run import LEDGER, SETTINGS, Order, as_overrides, recall, settle, train
from deepscan.tuning import journal
from deepscan.tuning.journal import JOURNAL, Trial
from deepscan.tuning.report import page_of
from deepscan.tuning.search import (
    Recorder,
    Scheduler,
    Search,
    domains,
    importances,
    population,
    scheduler,
    searcher,
)
from deepscan.tuning.space import EPOCHS, Chosen, Space, space_of
from deepscan.tuning.trial import Work, run_trial
from deepscan.watch import Watch

logger = logging.getLogger(__name__)
RAY_RUN = "ray"
BEST, RECIPE, REPORT = "best", "best.json", "campaign.html"
RETRIES = 1
"""How often a trial goes on after its process was lost; one that diverged diverges again, and has failed."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """What is to be searched.

    Attributes:
        order: What every trial trains; ``out`` is the folder of the campaign, ``workers`` are those of a
            trial, ``resume`` goes on with the campaign, and what ``overrides`` fix is not searched.
        trials: Trials in all.
        epochs: Most epochs of a trial; None = as the recipe or the space says.
        time_budget_s: Seconds after which the trials are stopped, preparation and winner not counted;
            None = no limit.
        search: Who proposes settings; None = ``tpe``, or draws for a population.
        scheduler: Who stops or changes trials between epochs.
        space: JSON file that changes the model's search space; None = as the model states it.
        warm_start: Folder of an earlier campaign to learn from; None = begin without knowledge.
        share: CPUs and GPUs of a trial; None = see ``cluster.Share``.
        seed: Seed of the proposals.
    """

    order: Order
    trials: int = 20
    epochs: int | None = None
    time_budget_s: float | None = None
    search: Search | None = None
    scheduler: Scheduler = "asha"
    space: pathlib.Path | None = None
    warm_start: pathlib.Path | None = None
    share: tuple[float | None, float | None] = (None, None)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields against each other.

        Raises:
            ConfigError: They contradict each other.
        """
        pbt = self.scheduler == "pbt"
        _refuse(pbt and self.search is not None, "A population draws its settings; leave --search out.")
        _refuse(
            pbt and self.order.workers > 1,
            "Trials of a population take over each other's state, which trials of several workers cannot; "
            "leave --workers out, or give --scheduler none.",
        )
        _refuse(pbt and self.trials < 2, "A population needs at least 2 --trials.")
        _refuse(
            self.warm_start is not None and (pbt or self.search == "random"),
            "--warm-start is for --search tpe: draws at random learn nothing from earlier trials.",
        )

    @property
    def fixed(self) -> tuple[str, ...]:
        """The overrides of all trials."""
        epochs = () if self.epochs is None else (f"{EPOCHS}={self.epochs}",)
        return (*self.order.overrides, *epochs)


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
    check_init(spec, order.init)
    _check_folder(order)
    space = space_of(spec, campaign.fixed, campaign.space)
    known = _known(campaign, space)
    several = order.workers > 1
    with connected(order.address, dashboard=several):
        _check_stopping(campaign)
        asked = Share(
            trials=campaign.trials, workers=order.workers, cpus=campaign.share[0], gpus=campaign.share[1]
        )
        plan = plan_trials(asked, *available())
        settings = settle(spec, campaign.fixed)
        data = open_dataset(order.origin, settings.prep, order.out / LEDGER, 1.0, watch)
        _keep_or_compare(campaign, space, data)
        watch.stage(f"Searching: {plan}")
        work = Work(order=dataclasses.replace(order, overrides=campaign.fixed), data=data, plan=plan)
        with _followed(order.out / JOURNAL, campaign.trials, watch), _signals_kept():
            _search(campaign, space, known, work)
        trials = tuple(journal.read(order.out / JOURNAL))
        winner = _winner(trials)
        _draw(campaign, space, plan, trials, len(known))
        return Found(
            campaign=campaign,
            space=space,
            trials=trials,
            outcome=_train_best(campaign, spec, winner, watch),
        )


def _search(campaign: Campaign, space: Space, known: list[tuple[Chosen, float]], work: Work) -> None:
    plan = work.plan
    taken = {"CPU": DRIVER_CPUS} if plan.resources else {"CPU": plan.cpus, "GPU": plan.gpus}
    trainable = tune.with_resources(tune.with_parameters(run_trial, work=work), taken)
    folder = campaign.order.out.resolve() / RAY_RUN
    if campaign.order.resume and any(folder.glob("experiment_state-*")):
        tuner = tune.Tuner.restore(str(folder), trainable=trainable)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        tuner = _tuner(campaign, space, known, plan, trainable)
    grid = tuner.fit()
    if grid.num_terminated + grid.num_errors < len(grid):
        # Ray Tune turns Ctrl-C into an early end; to everyone else it is what it always is.
        raise KeyboardInterrupt


def _tuner(
    campaign: Campaign, space: Space, known: list[tuple[Chosen, float]], plan: TrialPlan, trainable: Any
) -> tune.Tuner:
    out, pbt = campaign.order.out.resolve(), campaign.scheduler == "pbt"
    proposing = (
        population(campaign.seed)
        if pbt
        else searcher(campaign.search or "tpe", campaign.trials, campaign.seed, known)
    )
    return tune.Tuner(
        trainable,
        param_space=domains(space),
        tune_config=tune.TuneConfig(
            metric="val_auc" if pbt else "best_auc",
            mode="max",
            search_alg=proposing,
            scheduler=scheduler(campaign.scheduler, space, _most_epochs(campaign, space)),
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
            storage_path=str(out),
            verbose=0,
            callbacks=[Recorder(out / JOURNAL)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            # Others of a population may still be about to take over an older checkpoint.
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4 if pbt else 1),
        ),
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _most_epochs(campaign: Campaign, space: Space) -> int:
    searched = space.ranges.get(EPOCHS)
    if searched is None:
        return settle(load_builtin().get(campaign.order.model), campaign.fixed).recipe.epochs
    return int(max(searched.values) if isinstance(searched, Choice) else searched.high)


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
    path, run = out / RECIPE, out / BEST
    if begun(run) and path.read_text(encoding="utf-8") != text:
        run.rename(out / f"{BEST}-{len(list(out.glob(f'{BEST}-*'))) + 1}")
    path.write_text(text, encoding="utf-8")
    order = dataclasses.replace(campaign.order, out=run, overrides=as_overrides(recipe), resume=begun(run))
    return recall(run) or train(order, watch)


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


def _known(campaign: Campaign, space: Space) -> list[tuple[Chosen, float]]:
    """Return what an earlier campaign learnt within this space."""
    if campaign.warm_start is None:
        return []
    earlier = journal.best_first(journal.read(campaign.warm_start / JOURNAL))
    within = [(t.best.settings, t.best.metrics["val_auc"]) for t in earlier if space.holds(t.best.settings)]
    if not within:
        msg = (
            f"{campaign.warm_start} holds {len(earlier)} trials with a result, none of them within this "
            f"search space ({', '.join(space.ranges)}). Give a campaign over the same settings."
        )
        raise ConfigError(msg)
    logger.info("Learning from %d of %d earlier trials", len(within), len(earlier))
    return within


def _check_folder(order: Order) -> None:
    if begun(order.out) and not order.resume:
        msg = f"{order.out} holds a campaign or run already. Add --resume to go on, or choose another --out."
        raise ConfigError(msg)
    if order.resume and not (begun(order.out) and (order.out / JOURNAL).exists()):
        msg = f"{order.out} holds no campaign to resume. Leave --resume out to begin one."
        raise ConfigError(msg)


def _check_stopping(campaign: Campaign) -> None:
    """Refuse what Ray cannot clean up after: it would wait without a word for places that stay taken."""
    stops = campaign.scheduler != "none" or campaign.time_budget_s is not None
    if campaign.order.workers > 1 and stops and not states_answer():
        msg = (
            f"Trials of {campaign.order.workers} workers can be stopped early only on a cluster whose "
            "dashboard answers; without it Ray keeps their places taken. Start Ray with its dashboard, or "
            "give --scheduler none and no --time-budget."
        )
        raise ConfigError(msg)


def _keep_or_compare(campaign: Campaign, space: Space, data: DataSet) -> None:
    """Write down what the campaign depends on; a resumed one must depend on the same."""
    order = campaign.order
    facts = {
        "model": order.model,
        "overrides": list(campaign.fixed),
        "space": {name: config.to_dict(each) for name, each in space.ranges.items()},
        "trials": campaign.trials,
        "search": campaign.search,
        "scheduler": campaign.scheduler,
        "seed": campaign.seed,
        "workers": order.workers,
        "init": order.init,
        "data": data.digest,
        "prep": data.reader.prep.digest,
        "out": str(order.out.resolve()),
    }
    path = order.out / SETTINGS
    if order.resume:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in facts if facts[name] != before.get(name))
        if changed:
            msg = (
                f"The campaign in {order.out} was begun with other settings ({', '.join(changed)} differ). "
                "Resume it with those in settings.json, or begin one with --warm-start in another --out."
            )
            raise ConfigError(msg)
        return
    (order.out / JOURNAL).unlink(missing_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise ConfigError(why)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers that Ray Tune leaves in place of those before it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, taken in before.items():
            signal.signal(number, taken)


@contextlib.contextmanager
def _followed(path: pathlib.Path, trials: int, watch: Watch) -> Iterator[None]:
    """Tell, while the block runs, how many trials have ended, and log each with what it came to."""
    done = threading.Event()
    told = {trial.id for trial in journal.read(path) if trial.ended}

    def follow() -> None:
        over = False
        while not over:
            over = done.wait(0.5)
            ended = [trial for trial in journal.read(path) if trial.ended]
            watch.advance(len(ended), trials)
            for trial in ended:
                if trial.id not in told:
                    told.add(trial.id)
                    logger.info("%s", trial)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()
