"""Training several models on one data set, one after the other, and the ensemble over them.

The data are divided once, so no file that a model learnt from is judged by another. Where the manifest has
a column ``modality``, a model learns from the files of its own only: clips whose sound was swapped teach
nothing about pictures. A model that has too few files is left out, by name; the others go on.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepscan import assembly
from deepscan.assembly import Assembly
from deepscan.cluster import connected
from deepscan.datasets.dataset import Origin, divide
from deepscan.errors import ConfigError, DataError
from deepscan.evaluation import Judging, Outcome, summary
from deepscan.fusion import FusionPolicy
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin
from deepscan.report import Page, render
from deepscan.training.run import Order, recall, train
from deepscan.training.settings import settle
from deepscan.watch import Numbered, Watch

STANDARD = ("statistics", "clip-statistics", "cnn-gru", "avsync")
"""One for each kind of media, chosen to learn from little data on a CPU."""

ENSEMBLE, MANIFEST, REPORT = "ensemble.json", "manifest.parquet", "report.html"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """What is to be trained.

    Attributes:
        models: Names of models, each once.
        order: The order of every one of them, but for ``model``, ``out`` and ``name``. Its ``out`` is the
            folder of all runs: OUT/MODEL is that of a model; OUT/ensemble.json and OUT/report.html are of
            all together. An override
            that begins with ``MODEL:`` is for that model alone; ``resume`` goes on where a series stopped.
        policy: How the ensemble votes.
        max_error_rate: The stated rate of its band; see ``calibration.fit_operating_point``.
    """

    models: tuple[str, ...] = STANDARD
    order: Order
    policy: FusionPolicy = FusionPolicy()
    max_error_rate: float = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a series came to.

    Attributes:
        outcomes: Bundle and figures of each trained model, by its name.
        left_out: Why a model could not be trained, by its name.
        assembly: The ensemble; None where fewer than two models were trained.
    """

    outcomes: dict[str, Outcome]
    left_out: dict[str, str]
    assembly: Assembly | None

    @property
    def metrics(self) -> dict[str, Any]:
        """Counts and figures on the test split of each model by name, as an ensemble file keeps them."""
        return {name: summary(outcome.evaluation) for name, outcome in self.outcomes.items()}


def train_all(series: Series, watch: Watch) -> Result:
    """Train the models in turn, then let all of them judge and fit and measure the ensemble.

    Raises:
        ConfigError: A model or a setting does not exist, or the folder holds a series already.
        DataError: No model could be trained, or the ensemble has too little to learn from.
        ResourceError: The cluster is too small.
        TrainingError: A training failed; what was finished is kept for ``resume``.
    """
    specs = [load_builtin().get(model) for model in series.models]
    _check(series, specs)
    watch.stage("Scanning and splitting the data")
    manifest = divide(series.order.origin)
    path = _keep(manifest, series.order.out)
    # Without fractions the division stands: a model's own files are not divided once more.
    origin = dataclasses.replace(series.order.origin, path=path, where=(), fractions=None)
    outcomes: dict[str, Outcome] = {}
    left_out: dict[str, str] = {}
    with connected(series.order.address):
        for number, spec in enumerate(specs, 1):
            where = (f"modality={spec.modality}",) if "modality" in manifest.column_names else ()
            order = _order(series, spec.name, dataclasses.replace(origin, where=where))
            numbered = Numbered(watch, f"{number}/{len(specs)} {spec.name}:")
            try:
                outcomes[spec.name] = _outcome(order, numbered)
            except DataError as error:
                left_out[spec.name] = str(error)
        if not outcomes:
            msg = f"No model could be trained. {' '.join(f'{name}: {why}' for name, why in left_out.items())}"
            raise DataError(msg)
        together = _assemble(series, origin, outcomes, watch) if len(outcomes) > 1 else None
    result = Result(outcomes=outcomes, left_out=left_out, assembly=together)
    (series.order.out / REPORT).write_text(render(_page(result)), encoding="utf-8")
    return result


def _addressed(override: str) -> tuple[str, str]:
    """Return for which model an override is, "" for all of them, and what it says."""
    model, colon, rest = override.partition(":")
    return (model, rest) if colon and "=" not in model else ("", override)


def _own(series: Series, model: str) -> tuple[str, ...]:
    return tuple(text for one, text in map(_addressed, series.order.overrides) if one in ("", model))


def _check(series: Series, specs: Sequence[ModelSpec]) -> None:
    """Refuse what could not work before any work is done."""
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        msg = f"Each model of a series is trained once; given were {', '.join(names)}."
        raise ConfigError(msg)
    for model, _ in map(_addressed, series.order.overrides):
        if model and model not in names:
            msg = f"A setting is for {model!r}, which is not trained; those are {', '.join(names)}."
            raise ConfigError(msg)
    for spec in specs:
        settle(spec, _own(series, spec.name))
        place = series.order.below(spec.name).place
        if place.begun and not series.order.resume:
            msg = f"{place.shared} holds a training run. Add --resume to go on, or choose another --out."
            raise ConfigError(msg)


def _keep(manifest: pa.Table, out: pathlib.Path) -> pathlib.Path:
    """Write the divided manifest, from which all models are trained."""
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(manifest, out / MANIFEST)
    return out / MANIFEST


def _order(series: Series, model: str, origin: Origin) -> Order:
    below = series.order.below(model)
    return dataclasses.replace(
        below,
        model=model,
        origin=origin,
        overrides=_own(series, model),
        resume=below.resume and below.place.begun,
    )


def _outcome(order: Order, watch: Watch) -> Outcome:
    """Return what a model's run came to, now or earlier."""
    if order.resume:
        order.place.fetch()
    finished = recall(order.out) if order.resume else None
    return finished or train(order, watch)


def _assemble(series: Series, origin: Origin, outcomes: Mapping[str, Outcome], watch: Watch) -> Assembly:
    """Let every detector judge every file that nobody learnt from, and learn how they vote together."""
    order = assembly.Order(
        bundles=tuple(outcome.bundle.path for outcome in outcomes.values()),
        origin=dataclasses.replace(origin, where=("split!=train",)),
        out=series.order.out / ENSEMBLE,
        policy=series.policy,
        max_error_rate=series.max_error_rate,
        judging=Judging(plugin=series.order.plugin),
        # The detectors are trained already: what they took over may have seen such files, which is told.
        on_seen="count",
        known={outcome.bundle.card.id: outcome.said for outcome in outcomes.values()},
    )
    return assembly.assemble(order, watch)


def _page(result: Result) -> Page:
    """Return the report of the ensemble; each model's own is in its folder."""
    facts = {name: _in_words(outcome) for name, outcome in result.outcomes.items()} | result.left_out
    title = f"{len(result.outcomes)} models on the test split"
    if result.assembly is None:
        return Page(title=title, facts=facts)
    evaluation = result.assembly.evaluations[assembly.ENSEMBLE]
    judged = evaluation.counts.files
    return Page(
        title=f"{title}, and their ensemble",
        facts=facts,
        evaluation=evaluation,
        point=result.assembly.ensemble.policy.operating,
        ledger={"judged": judged, "nobody could judge": result.assembly.files - judged},
        warnings=result.assembly.seen.sentences if result.assembly.seen else (),
    )


def _in_words(outcome: Outcome) -> str:
    auc, counts = outcome.evaluation.overall["auc"], outcome.evaluation.counts
    value = "-" if auc.value is None else f"{auc.value:.3f}"
    interval = "" if auc.low is None or auc.high is None else f" ({auc.low:.3f} to {auc.high:.3f})"
    return (
        f"AUC {value}{interval} on {counts.files} files of {counts.sources} sources, {outcome.bundle.card.id}"
    )
