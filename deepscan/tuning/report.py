"""What a campaign came to, as the report draws it."""

from collections.abc import Mapping, Sequence

from deepscan.recipe import Choice, Range
from deepscan.report.campaign import CampaignPage, Scale, Tried
from deepscan.tuning import journal
from deepscan.tuning.journal import Trial
from deepscan.tuning.space import Space


def page_of(
    title: str,
    facts: Mapping[str, str | int | float],
    space: Space,
    trials: Sequence[Trial],
    importances: Mapping[str, float],
) -> CampaignPage:
    """Return the page of a campaign; at least one of its trials has a result."""
    return CampaignPage(
        title=title,
        facts=facts,
        scales=[_scale(name, each) for name, each in space.ranges.items()],
        ranked=[_tried(trial) for trial in journal.best_first(trials)],
        begun=[_tried(trial) for trial in trials],
        importances=importances,
    )


def _scale(name: str, each: Range | Choice) -> Scale:
    if isinstance(each, Choice):
        return Scale(name=name, values=each.values)
    return Scale(name=name, low=each.low, high=each.high, log=each.log)


def _tried(trial: Trial) -> Tried:
    return Tried(
        name=trial.id,
        state=trial.state,
        settings=trial.best.settings if trial.epochs else {},
        curve={number: epoch.metrics["val_auc"] for number, epoch in trial.epochs.items()},
        why=trial.why,
    )
