"""A whole card, of a bundle or of an ensemble, and the files that it is written to."""

import pathlib
from typing import Any

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.cards import facts, failures, figures
from deepscan.cards.given import Given
from deepscan.ensemble import Ensemble
from deepscan.errors import StorageError
from deepscan.report.card import (
    UNKNOWN,
    Block,
    CardPage,
    Heading,
    Section,
    Table,
    Text,
    card_markdown,
    render_card,
)
from deepscan.report.wording import size

MARKDOWN, HTML = "card.md", "card.html"


def card_of(path: pathlib.Path, given: Given) -> CardPage:
    """Return the card of a bundle's directory or of an ensemble file.

    Args:
        path: See above.
        given: What was measured with it.

    Raises:
        BundleError: It cannot be used, or a member of the ensemble cannot.
        ConfigError: Something was measured with another bundle.
    """
    return _of_ensemble(path, given) if path.is_file() else _of_bundle(Bundle.read(path), given)


def write(page: CardPage, out: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write a card as ``card.md`` and ``card.html``; return their paths.

    Raises:
        StorageError: They cannot be written.
    """
    paths = out / MARKDOWN, out / HTML
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(card_markdown(page), encoding="utf-8")
        paths[1].write_text(render_card(page), encoding="utf-8")
    except OSError as error:
        msg = f"{out} cannot be written ({error}); name another folder with --out."
        raise StorageError(msg) from error
    return paths


def _of_bundle(bundle: Bundle, given: Given) -> CardPage:
    card = bundle.card
    given.check([card.id])
    size_bytes = sum((bundle.path / name).stat().st_size for name in card.files)
    told = {
        "bundle": card.id,
        "modality": card.modality,
        "model": card.model,
        "size": size(size_bytes),
        "data": str(card.data.get("digest", UNKNOWN)),
        "deepscan": card.software.get("deepscan", UNKNOWN),
    }
    return CardPage(title=f"Model card: {card.name}", facts=told, sections=_sections(bundle, given))


def _sections(bundle: Bundle, given: Given) -> tuple[Section, ...]:
    card = bundle.card
    return (
        facts.purpose(card),
        facts.limits(card),
        facts.judge(bundle),
        facts.data(card, given.data_note),
        facts.protocol(card),
        facts.training(card),
        figures.own(card.metrics),
        *figures.evaluations(given),
        figures.robustness(given),
        failures.abstentions(given, card.operating),
        failures.mistakes(given, card.operating),
    )


def _of_ensemble(path: pathlib.Path, given: Given) -> CardPage:
    ensemble = Ensemble.load(path)
    bundles = [Bundle.read(folder) for folder in ensemble.bundles(path)]
    given.check([bundle.card.id for bundle in bundles])
    size_bytes = sum((b.path / name).stat().st_size for b in bundles for name in b.card.files)
    modalities = dict.fromkeys(bundle.card.modality for bundle in bundles)
    told = {
        "ensemble": path.stem,
        "members": str(len(bundles)),
        "modalities": ", ".join(modalities),
        "size": size(size_bytes),
        "data": str(ensemble.data.get("digest", UNKNOWN)),
    }
    together = _together(ensemble, bundles)
    members = tuple(_member(bundle, given.of(bundle.card.id)) for bundle in bundles)
    return CardPage(title=f"Model card: the ensemble {path.stem}", facts=told, sections=(*together, *members))


def _together(ensemble: Ensemble, bundles: list[Bundle]) -> tuple[Section, ...]:
    """Return what is to be said of an ensemble as a whole."""
    rows = tuple((b.card.name, b.card.id, b.card.modality, b.card.model) for b in bundles)
    policy: dict[str, Any] = config.to_dict(ensemble.policy)
    settings = tuple(facts.flat(policy).items())
    measured = [
        Section(title=f"Figures of {name}", blocks=figures.own({"test": values}).blocks)
        for name, values in ensemble.metrics.items()
    ]
    nothing = Section(title="Figures", blocks=(Text(text="Nobody measured the ensemble: none are known."),))
    shortfall = ensemble.policy.operating.shortfall if ensemble.policy.operating else ""
    return (
        Section(
            title="What it is for",
            blocks=(
                Text(
                    text="Several detectors that answer together; those that cannot judge a file have no "
                    "vote and are named. What each is for, and for what not, stands in its own section."
                ),
                *((Text(text=shortfall, is_warning=True),) if shortfall else ()),
            ),
        ),
        Section(
            title="Who judges together",
            blocks=(
                Table(columns=("member", "bundle", "modality", "model"), rows=rows),
                Table(columns=("setting", "value"), rows=settings, caption="How votes become one answer"),
                Table(
                    columns=("", ""),
                    rows=tuple(facts.flat(ensemble.data).items()) or (("data", UNKNOWN),),
                    caption="The data that it was fitted and measured on",
                ),
            ),
        ),
        *(measured or [nothing]),
    )


def _member(bundle: Bundle, given: Given) -> Section:
    """Return all that is known of a member as one section."""
    blocks: list[Block] = [Text(text=f"Bundle {bundle.card.id}.")]
    for section in _sections(bundle, given):
        blocks += [Heading(text=section.title), *section.blocks]
    return Section(title=f"Member: {bundle.card.name}", blocks=tuple(blocks))
