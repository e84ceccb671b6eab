"""What is to be searched, and what a campaign's folder remembers of it."""

import dataclasses
import logging
import pathlib

from deepscan import config
from deepscan.datasets.dataset import DataSet
from deepscan.errors import ConfigError
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Choice
from deepscan.training.run import Order
from deepscan.training.settings import keep_or_compare, settle
from deepscan.tuning import journal
from deepscan.tuning.journal import JOURNAL
from deepscan.tuning.search import Scheduler, Search
from deepscan.tuning.space import EPOCHS, Chosen, Space

logger = logging.getLogger(__name__)


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
        share: CPUs and GPUs of a trial; None = see ``plan.Share``.
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
        stops = self.scheduler != "none" or self.time_budget_s is not None
        _refuse(
            self.order.workers > 1 and stops,
            "A trial of several workers cannot be stopped: Ray Train would keep its places taken, and the "
            "next would wait for them. Give --scheduler none and no --time-budget, or leave --workers out.",
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


def most_epochs(campaign: Campaign, space: Space) -> int:
    """Return the largest number of epochs that a trial may have."""
    searched = space.ranges.get(EPOCHS)
    if searched is None:
        return settle(load_builtin().get(campaign.order.model), campaign.fixed).recipe.epochs
    return int(max(searched.values) if isinstance(searched, Choice) else searched.high)


def known_points(campaign: Campaign, space: Space) -> list[tuple[Chosen, float]]:
    """Return what an earlier campaign learnt within this space: settings and their validation AUC.

    Raises:
        ConfigError: An earlier campaign is named, and it knows nothing of this space.
    """
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


def check_folder(order: Order) -> None:
    """Refuse to mix two campaigns in one folder, and to resume what is not there.

    Raises:
        ConfigError: See above.
    """
    if order.place.begun and not order.resume:
        msg = f"{order.place.shared} holds a campaign or run already. Add --resume, or choose another place."
        raise ConfigError(msg)
    order.place.fetch()
    if order.resume and not (order.place.begun and (order.out / JOURNAL).exists()):
        msg = f"{order.place.shared} holds no campaign to resume. Leave --resume out to begin one."
        raise ConfigError(msg)


def check_settings(campaign: Campaign, space: Space, data: DataSet) -> None:
    """Write down what the campaign depends on; a resumed one must depend on the same.

    Raises:
        ConfigError: It does not.
    """
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
    if not order.resume:
        (order.out / JOURNAL).unlink(missing_ok=True)
    keep_or_compare(order.out, facts, order.resume, "begin one with --warm-start in another --out")


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise ConfigError(why)
