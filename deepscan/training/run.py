"""A whole training run: data in, calibrated and measured bundle out."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Literal, Self

import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepscan import config, storage
from deepscan.bundle import Bundle, Card
from deepscan.calibration import Kind
from deepscan.cluster import Resources, available, connected, node_cpus, plan_resources, when_there_is_room
from deepscan.datasets.dataset import DataSet, Origin, account, open_dataset
from deepscan.datasets.held import held_if_they_fit
from deepscan.datasets.plan import Chunk, Plan, Shape
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.sampling import weights
from deepscan.datasets.seen import overlap, remember
from deepscan.datasets.split import shared_sources
from deepscan.datasets.stream import TrainingStream
from deepscan.errors import ConfigError, ResourceError
from deepscan.evaluation import (
    PREDICTIONS,
    Judging,
    Outcome,
    assess,
    calibrate,
    calibrated,
    measure,
    predictions,
    publish,
    summary,
)
from deepscan.modalities import Prep
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.objectives import classification
from deepscan.onlooking import fit_gate, prep_reference
from deepscan.recipe import Recipe
from deepscan.robustness.validation import after_deliveries, check_deliveries
from deepscan.training import tracking
from deepscan.training.fit import Job, Streams, fit
from deepscan.training.record import BEST, HISTORY, Place, read_history
from deepscan.training.settings import Settings, keep_or_compare, settle
from deepscan.training.start import check_init, donor
from deepscan.training.teach import common_prep
from deepscan.training.told import composition, course, pseudo_fakes_told, verdicts
from deepscan.training.trackers import Opening
from deepscan.watch import Watch

LEDGER = "ledger.parquet"
REAL = 0
SOFTWARE = ("deepscan", "torch", "torchvision", "ray", "numpy", "opencv-python-headless", "pillow")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be trained.

    Attributes:
        model: Name of the model.
        origin: The data.
        out: Folder of the run; without ``storage`` all machines of the cluster have to reach it.
        storage: Absolute location, a path or URI, of checkpoints and of a copy of the results; "" = ``out``.
        overrides: Dotted settings: ``recipe.lr=...``, ``model.dropout=...``, ``prep.size_px=...``.
        workers: Training processes.
        device: ``cpu``; ``cuda``, a GPU for every worker; or ``auto``, ``cuda`` where there are so many.
        least: Fewest of them with which training goes on when nodes are lost; None = all. With fewer, a
            step sees fewer Examples, and more steps make an epoch.
        init: ``""`` from scratch, ``"imagenet"``, or the path of a bundle.
        teachers: Bundles to learn from beside the labels; the student is prepared as they are.
        plugin: File that registers the model; None = built in.
        calibration: Kind of calibration; None = the model's.
        resume: Go on with the run in ``out``.
        name: Name of the detector; empty = the model's.
        address: Address of a Ray cluster; None = ``RAY_ADDRESS``, or a private one.
        patience_s: Seconds without any progress after which the run ends with an error.
        track: Names of the trackers that follow the run; see ``deepscan.training.tracking``.
    """

    model: str
    origin: Origin
    out: pathlib.Path
    storage: str = ""
    overrides: tuple[str, ...] = ()
    workers: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    least: int | None = None
    init: str = ""
    teachers: tuple[pathlib.Path, ...] = ()
    plugin: pathlib.Path | None = None
    calibration: Kind | None = None
    resume: bool = False
    name: str = ""
    address: str | None = None
    patience_s: float = 300.0
    track: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """Where the run is kept."""
        return Place(self.out, self.storage)

    def below(self, name: str) -> Self:
        """Return the order of a run that is kept in a folder of this one."""
        location = storage.join(self.storage, name) if self.storage else ""
        return dataclasses.replace(self, out=self.out / name, storage=location)


def train(order: Order, watch: Watch) -> Outcome:
    """Run an order to its end.

    Raises:
        ConfigError: The order contradicts itself, or the run that it resumes.
        DataError: The data cannot be used.
        ResourceError: The cluster is too small.
        StalledError: Nothing has moved for too long.
        StorageError: The folder cannot be written to, or its disk is full.
        TrainingError: Training failed.
    """
    start_s = time.perf_counter()
    if order.plugin:
        load_plugin(order.plugin)
    spec = load_builtin().get(order.model)
    settings = prepared_alike(settle(spec, order.overrides), order)
    pseudo_fakes(settings)
    check_deliveries(settings.recipe)
    order.place.check(order.resume)
    order.place.fetch()
    tracking.check(order.track)
    if taken := check_init(spec, settings.model, order.init):
        watch.stage(f"Taking over {taken}")
    with storage.writing(order.out):
        order.out.mkdir(parents=True, exist_ok=True)
    with storage.writing(order.out), connected(order.address):
        resources = when_there_is_room(
            lambda: resources_of(order), machines(order), order.address, order.patience_s, watch.stage
        )
        if settings.recipe.sync_norm and not resources.worker_gpus:
            msg = "recipe.sync_norm needs a GPU for every worker; leave it out, or use accumulate."
            raise ConfigError(msg)
        data = opened(order, settings, watch)
        _keep_or_compare(order, settings, data)
        order.place.send()
        job, streams = assemble(order, settings, data, resources)
        watch.stage(f"Training {order.model} on {order.workers} worker(s)")
        with _tracked(order, job.card) as tracked:

            def on_epoch(metrics: dict[str, float]) -> None:
                watch.epoch(metrics)
                tracked.epoch(metrics)

            bundle = fit(job, streams, order.resume, on_epoch)
            watch.stage(f"Its steps were computed in {bundle.card.training['way']}")
            outcome = _finish(order, bundle, data, watch, start_s)
            tracked.result(outcome.evaluation.overall, outcome.bundle.path)
        order.place.send()
        return outcome


def resources_of(order: Order) -> Resources:
    """Plan what a run takes of the cluster that is connected.

    Raises:
        ConfigError: The fewest workers are more than those wanted.
        ResourceError: It does not fit.
    """
    cpus, gpus = available()
    if order.device == "cuda" and gpus < order.workers:
        msg = f"{order.workers} workers with a GPU each do not fit into a cluster of {gpus:g} GPUs."
        raise ResourceError(msg)
    usable = 0 if order.device == "cpu" else gpus
    return plan_resources(order.workers, cpus, usable, order.least, node_cpus())


def machines(order: Order) -> list[dict[str, float]]:
    """Return what the processes of a run need at least, and one CPU for its data, in Ray's words."""
    worker = {"CPU": 1.0, "GPU": 1.0} if order.device == "cuda" else {"CPU": 1.0}
    return [worker] * order.workers + [{"CPU": 1.0}]


@contextlib.contextmanager
def _tracked(order: Order, card: Card) -> Iterator[tracking.Tracking]:
    """Let trackers follow the run; tell them first what it is, and the epochs that it has behind it."""
    kept = ("name", "model", "modality", "model_config", "prep", "prep_digest", "recipe", "data", "software")
    settings = {name: getattr(card, name) for name in kept} | {"init": order.init, "workers": order.workers}
    behind = order.place.epochs_done() if order.resume else 0
    with tracking.following(order.track, Opening(out=order.out, name=card.name)) as tracked:
        tracked.settings(settings)
        for metrics in read_history(order.out / HISTORY):
            if metrics["epoch"] <= behind:
                tracked.epoch(metrics)
        yield tracked


def prepared_alike(settings: Settings, order: Order) -> Settings:
    """Return the settings of a run; those of a student have the Prep of its teachers.

    Raises:
        BundleError: A teacher cannot be used.
        ConfigError: The model cannot be a student, or the teachers cannot share one.
    """
    if not order.teachers:
        return settings
    if settings.spec.objective is not classification:
        msg = f"Model {order.model!r} does not learn to classify, so it cannot follow teachers."
        raise ConfigError(msg)
    if any(text.startswith("prep.") for text in order.overrides):
        msg = "A student is prepared as its teachers are; leave out the settings of prep."
        raise ConfigError(msg)
    return dataclasses.replace(settings, prep=common_prep(settings.spec, order.teachers))


def opened(order: Order, settings: Settings, watch: Watch) -> DataSet:
    """Return the data that an order names, prepared, with the pseudo-fakes that the recipe asks for.

    Raises:
        ConfigError: The modality has no such pseudo-fakes, or the data no column of ``recipe.error_rate_by``.
        DataError: The data cannot be used.
        StalledError: Preparing them has stood still for too long.
    """
    pseudo = pseudo_fakes(settings)
    data = open_dataset(origin_of(order, settings), settings.prep, order.out / LEDGER, 1.0, watch)
    data = held_if_they_fit(data, data.chunks("train") + data.chunks("val"), watch)
    return data if pseudo is None else data.with_pseudo_fakes(pseudo)


def origin_of(order: Order, settings: Settings) -> Origin:
    """Return where the data of a run come from, and what its recipe needs of them."""
    needs_fakes = pseudo_fakes(settings) is None
    needed = tuple(name for name in [settings.recipe.error_rate_by] if name)
    kept = dataclasses.replace(order.origin, patience_s=order.patience_s)
    return dataclasses.replace(kept, needs_fakes=needs_fakes, columns=needed)


def assemble(order: Order, settings: Settings, data: DataSet, resources: Resources) -> tuple[Job, Streams]:
    """Return what the workers of a run are told, and what they read.

    Raises:
        BundleError: The bundle to start from cannot be used.
        DataError: There is nothing to train on.
    """
    streams = _streams(settings, data, order)
    job = Job(
        place=order.place,
        card=_card(order, settings, data),
        recipe=settings.recipe,
        counts=class_counts(settings.recipe, data),
        inputs=tuple(settings.prep.inputs),
        cut=streams.training.plan.cut,
        resources=resources,
        init=order.init,
        teachers=order.teachers,
        plugin=order.plugin,
        patience_s=order.patience_s,
    )
    return job, streams


def _finish(order: Order, bundle: Bundle, data: DataSet, watch: Watch, start_s: float) -> Outcome:
    judging = Judging(plugin=order.plugin, device="cpu" if order.device == "cpu" else "auto")
    bundle = bundle.amend(gate=fit_gate(data, judging, bundle.card.recipe.get("gate", 0.0)))
    watch.stage("Judging the validation and the test split")
    judged = predictions(bundle, data, ("val", "test"), judging)
    validation, test = (judged.filter(pc.field("split") == split) for split in ("val", "test"))
    kind = order.calibration or load_builtin().get(order.model).calibration
    delivered = after_deliveries(bundle, validation, judging, order.out, watch)
    bundle = calibrate(bundle, validation, kind, prep_reference(data, judging), delivered)
    parent = donor(order.init)
    bundle = bundle.amend(seen=remember(data.ledger, parent.card.seen if parent else None))
    outcome = assess(bundle, data, "test", calibrated(bundle, test), judging)
    history = tuple(read_history(order.out / HISTORY))
    tested = summary(outcome.evaluation) | {"verdicts": verdicts(outcome.judged, bundle.card.operating)}
    training = bundle.card.training | course(start_s, order.workers, len(history), order.resume)
    # Here and not on the card of the job: trackers log that one, and names of generators are no parameters.
    told = bundle.card.data | composition(data.ledger, order.origin.seed)
    bundle = bundle.amend(metrics=bundle.card.metrics | {"test": tested}, training=training, data=told)
    validation = calibrated(bundle, validation)
    copies = overlap(bundle.card.seen, data.ledger.filter(pc.field("split") == "test"), False)
    outcome = dataclasses.replace(outcome, bundle=bundle, validation=validation, history=history, seen=copies)
    publish(outcome, order.out)
    return outcome


def recall(out: pathlib.Path) -> Outcome | None:
    """Return what the run in a folder came to; None where none has come to its end.

    Raises:
        BundleError: Its bundle cannot be used.
    """
    if not (out / PREDICTIONS).is_file():
        return None
    bundle, said = Bundle.read(out / BEST), pq.read_table(out / PREDICTIONS)
    validation, judged = (said.filter(pc.field("split") == split) for split in ("val", "test"))
    return Outcome(
        bundle=bundle,
        split="test",
        evaluation=measure(bundle, judged, Judging()),
        judged=judged,
        account=account(pq.read_table(out / LEDGER)),
        validation=validation,
        history=tuple(read_history(out / HISTORY)),
    )


def _streams(settings: Settings, data: DataSet, order: Order) -> Streams:
    shape = Shape(
        world=order.workers,
        batch_size=settings.recipe.batch_size,
        example_bytes=data.reader.example_bytes,
        even=order.least is not None,
    )
    training = training_stream(settings, data, data.chunks("train"), shape)
    return Streams(training=training, validation=data.held_out("val"), reader=data.reader)


def training_stream(settings: Settings, data: DataSet, chunks: list[Chunk], shape: Shape) -> TrainingStream:
    """Return the stream of what the recipe lets a model see of some Examples, in its order.

    Raises:
        ConfigError: Weights of sources name nothing, or leave nothing to be seen.
        DataError: There are no Examples.
    """
    recipe = settings.recipe
    seen = _seen(chunks, recipe)
    return TrainingStream(
        plan=Plan(seen, shape, recipe.seed, weights(seen, data.ledger, recipe.sampling)),
        reader=data.reader,
        modality=load_modalities().get(settings.spec.modality),
        augment=recipe.augment,
        pseudo=data.reader.pseudo,
    )


def class_counts(recipe: Recipe, data: DataSet) -> tuple[int, int]:
    """Return how many real and fake files training sees, pseudo-fakes among them."""
    real, fake = data.counts("train")
    alone = recipe.pseudo.is_on and recipe.learns_from == "real"
    return recipe.pseudo.counts(real, 0 if alone else fake)


def pseudo_fakes(settings: Settings) -> PseudoFakes | None:
    """Return the maker of the pseudo-fakes that the recipe asks for; None = it asks for none.

    Raises:
        ConfigError: The modality has no such pseudo-fakes.
    """
    modality, recipe = load_modalities().get(settings.spec.modality), settings.recipe
    return PseudoFakes.of(modality, settings.prep, recipe.pseudo, recipe.seed)


def _seen(chunks: list[Chunk], recipe: Recipe) -> list[Chunk]:
    """Leave out the Examples that the recipe does not learn from."""
    return chunks if recipe.learns_from == "both" else [kept for c in chunks if (kept := c.only(REAL)).rows]


def _card(order: Order, settings: Settings, data: DataSet) -> Card:
    prep: Prep = settings.prep
    splits = data.ledger.column("split").to_pylist()
    return Card(
        name=order.name or order.model,
        model=order.model,
        model_config=config.to_dict(settings.model),
        modality=settings.spec.modality,
        prep=config.to_dict(prep),
        prep_digest=prep.digest,
        files={},
        recipe=config.to_dict(settings.recipe),
        data={
            "digest": data.digest,
            "files": {name: splits.count(name) for name in ("train", "val", "test")},
            "status": account(data.ledger),
            **({"shared_sources": len(shared)} if (shared := shared_sources(data.ledger)) else {}),
            **pseudo_fakes_told(settings.recipe, data),
        },
        parent=parent.card.id if (parent := donor(order.init)) else "",
        teachers=tuple(Bundle.read(path).card.id for path in order.teachers),
        software={name: metadata.version(name) for name in SOFTWARE},
        plugin=order.plugin.name if order.plugin else "",
    )


def _keep_or_compare(order: Order, settings: Settings, data: DataSet) -> None:
    """Write down what the run depends on; a resumed run must depend on the same."""
    facts = {
        "model": order.model,
        "model_config": config.to_dict(settings.model),
        "recipe": config.to_dict(settings.recipe),
        "prep": settings.prep.digest,
        "data": data.digest,
        "init": order.init,
        "teachers": [Bundle.read(path).card.id for path in order.teachers],
        "workers": order.workers,
    }
    keep_or_compare(order.out, facts, order.resume, "begin a new run in another --out")
