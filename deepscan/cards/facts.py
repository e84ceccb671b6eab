"""Sections of a card that come from the bundle alone: purpose, judge, data, protocol, training, limits."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from deepscan.bundle import Bundle, Card
from deepscan.cards.given import public
from deepscan.errors import BundleError
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin as load_models
from deepscan.report.card import UNKNOWN, Block, Items, Section, Table, Text
from deepscan.report.wording import rate, size

NOT_STATED = "not stated"
NOT_FOR = (
    "It proves nothing: a high probability is a reason to look closer, and no evidence of who made a file.",
    "It is not for decisions about people that nobody checks, nor for watching what they publish.",
    "It says nothing of files that were altered in ways unlike those of its training data.",
    "It does not recognise persons, and says nothing of whether what is shown or said is true.",
)
FEW_FILES = 100


def purpose(card: Card) -> Section:
    """Say what a bundle is for, and for what it is not."""
    modality = load_modalities().get(card.modality)
    return Section(
        title="What it is for",
        blocks=(
            Text(
                text=f"{card.name} states how likely a file is fake. It looks at: {modality.summary} The "
                "answer is a probability and, by its operating point, real, fake or inconclusive; a file "
                "that it cannot judge gets no number but the reason."
            ),
            Text(text="It is meant to help people who examine media. What it is not for:"),
            Items(items=NOT_FOR),
        ),
    )


def judge(bundle: Bundle) -> Section:
    """Say who judges: the model, what prepares files for it, its weights and where it decides."""
    card = bundle.card
    weights = {name: (bundle.path / name).stat().st_size for name in card.files}
    rows = {
        "model": f"{card.model}: {_summary(card)}",
        "parameters": _parameters(bundle),
        "weights": f"{card.weights_format}, {card.precision}",
        "size": f"{sum(weights.values()):,} bytes ({size(sum(weights.values()))})",
        "modality": card.modality,
        "preparation": f"digest {card.prep_digest}",
        "calibration": card.calibration.kind,
        "operating point": rate(card.operating),
        "derived from": card.parent or "nothing: trained from scratch or from public weights",
        "teachers": ", ".join(card.teachers) or "none",
        "plug-in": card.plugin or "none: a built-in model",
    }
    settings = {**flat({"model": card.model_config}), **flat({"prep": card.prep})}
    files = tuple((name, f"{weights[name]:,}", digest) for name, digest in card.files.items())
    return Section(
        title="Who judges",
        blocks=(
            Table(columns=("", ""), rows=tuple(rows.items())),
            Table(columns=("file", "bytes", "SHA-256"), rows=files, numbers=(1,), caption="Files"),
            Table(
                columns=("setting", "value"),
                rows=tuple(settings.items()),
                caption="Settings of the model and of the preparation",
                folded=True,
            ),
        ),
    )


def data(card: Card, note: str) -> Section:
    """Say what it learnt from: digest, counts, generators, licences."""
    told = card.data
    blocks: list[Block] = [Text(text=f"Digest of the data: {told.get('digest', UNKNOWN)}.")]
    if counts := told.get("counts"):
        blocks += [_splits(counts), _generators(counts)]
    else:
        files = told.get("files", {})
        rows = tuple((name, str(count)) for name, count in files.items()) or (("files", UNKNOWN),)
        blocks.append(Table(columns=("split", "files"), rows=rows, numbers=(1,)))
        blocks.append(
            Text(text=f"Counts by label, source and generator: {UNKNOWN}, as nobody wrote them down.")
        )
    if status := told.get("status"):
        account = ", ".join(f"{name} {count}" for name, count in status.items())
        blocks.append(Text(text=f"What became of the files: {account}."))
    if made := told.get("pseudo_fakes"):
        where = ", ".join(made["splits"])
        blocks.append(
            Text(text=f"Pseudo-fakes of the kind {made['kind']} were made of real files in: {where}.")
        )
    licences = told.get("licences")
    if licences:
        rows = tuple((public(name) or NOT_STATED, str(count)) for name, count in licences.items())
        blocks.append(Table(columns=("licence", "files"), rows=rows, numbers=(1,), caption="Licences"))
    if note:
        blocks.append(Text(text=f"Whoever made this card says of the data: {note}"))
    elif not licences:
        blocks.append(Text(text=f"Licences: {NOT_STATED}."))
    return Section(title="Data", blocks=tuple(blocks))


def protocol(card: Card) -> Section:
    """Say how the data were divided, and what chose, calibrated and measured the bundle."""
    seed = card.data.get("split_seed")
    epoch = card.metrics.get("validation", {}).get("epoch")
    drawn = f"with seed {seed}" if seed is not None else f"with a seed that is {UNKNOWN}"
    chosen = f"epoch {epoch:g}, by the best AUC on the validation split" if epoch else UNKNOWN
    items = [
        "A source, the person or recording that files derive from, is in one split only. Splits that the "
        f"data give are kept; what they leave open was divided by source, {drawn}.",
        f"What chose the weights: {chosen}.",
        f"What calibrated it and set its thresholds: the validation split ({card.operating.real} real files, "
        f"{card.operating.fake} fakes).",
        "Figures are of the test split, which chose nothing; their 95 % intervals are of a bootstrap over "
        "sources.",
    ]
    if card.change:
        step = card.change.get("step", UNKNOWN)
        items.append(
            f"It was made of {card.parent or UNKNOWN} by the step {step!r}. Figures of the validation and "
            "the test split, where there are any, are those of that one."
        )
    blocks: tuple[Block, ...] = (Items(items=tuple(items)),)
    if shared := card.data.get("shared_sources"):
        warning = f"{shared} sources are in more than one split: figures are too good."
        blocks = (Text(text=warning, is_warning=True), *blocks)
    return Section(title="Protocol", blocks=blocks)


def training(card: Card) -> Section:
    """Say with which settings it was trained, how long that took, and with what software."""
    run = card.training
    took = str(datetime.timedelta(seconds=round(run["time_s"]))) if "time_s" in run else UNKNOWN
    if run.get("resumed"):
        took += ", without what was done before it was resumed"
    rows = {
        "time from the start to the figures": took,
        "epochs": str(run.get("epochs", UNKNOWN)),
        "training processes": str(run.get("workers", UNKNOWN)),
        "steps computed in": str(run.get("way", UNKNOWN)),
        "seed": str(card.recipe.get("seed", UNKNOWN)),
        "software": ", ".join(f"{name} {version}" for name, version in card.software.items()) or UNKNOWN,
    }
    blocks: list[Block] = [Table(columns=("", ""), rows=tuple(rows.items()))]
    if card.recipe:
        settings = tuple(flat({"recipe": card.recipe}).items())
        blocks.append(Table(columns=("setting", "value"), rows=settings, caption="Settings", folded=True))
    if card.change:
        settings = tuple(flat({"change": card.change}).items())
        blocks.append(
            Table(columns=("setting", "value"), rows=settings, caption="What was done to its parent")
        )
    return Section(title="Training", blocks=tuple(blocks))


def limits(card: Card) -> Section:
    """Say for what it should not be relied on."""
    items = list(load_modalities().get(card.modality).limits)
    counts = card.metrics.get("test", {}).get("counts", {})
    files = counts.get("files")
    if files is None:
        items.append("How good it is on a test split is not known: rely on no answer of it.")
    elif files < FEW_FILES:
        items.append(
            f"Its test split has {files} files of {counts.get('sources', UNKNOWN)} sources: mind the "
            "intervals."
        )
    generators = card.data.get("counts", {}).get("train", {}).get("generators", {})
    known = ", ".join(public(name) or "(not named)" for name in generators)
    items.append(
        f"It was shown fakes of: {known or UNKNOWN}. How it does on others is known only where an "
        "evaluation on this card says so."
    )
    if card.operating.shortfall:
        items.append(card.operating.shortfall)
    if not card.recipe.get("calls_real", True):
        items.append(
            "It calls no file real: it was taught one kind of forgery, whose absence says nothing of "
            "other kinds."
        )
    items.append(
        "Its probabilities are for as large a share of fakes as validation had; where fakes are "
        "rarer, a file is less likely fake than it says."
    )
    return Section(title="Limits of use", blocks=(Items(items=tuple(items)),))


def _summary(card: Card) -> str:
    models = load_models()
    return models.get(card.model).summary if card.model in models.names() else "a model of a plug-in"


def _parameters(bundle: Bundle) -> str:
    """Return how many weights the network has that training may change."""
    try:
        module = bundle.module()
    except BundleError:
        return f"{UNKNOWN}: its model is not registered here"
    return f"{sum(each.numel() for each in module.parameters()):,}"


def _splits(counts: Mapping[str, Any]) -> Table:
    kinds = ("files", "sources", "real", "fake")
    rows = tuple((name, *(f"{each[kind]:,}" for kind in kinds)) for name, each in counts.items())
    return Table(
        columns=("split", *kinds), rows=rows, numbers=(1, 2, 3, 4), caption="Files by split and label"
    )


def _generators(counts: Mapping[str, Any]) -> Table:
    names = sorted({name for each in counts.values() for name in each["generators"]})
    rows = tuple(
        (
            public(name) or "(not named)",
            *(f"{each['generators'].get(name, 0):,}" for each in counts.values()),
        )
        for name in names
    )
    columns = ("generator", *counts)
    return Table(
        columns=columns, rows=rows, numbers=tuple(range(1, len(columns))), caption="Fakes by generator"
    )


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings by dotted name, as texts."""
    return {name: public(str(value)) for name, value in _leaves(values)}


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
