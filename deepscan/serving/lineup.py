"""Who judges under which variant: what the arguments of a service name, read from disk."""

import dataclasses
import functools
import hashlib
import json
import pathlib

from deepscan import config
from deepscan.bundle import Bundle
from deepscan.ensemble import Selection, select
from deepscan.experiment import Variant, check
from deepscan.serving.backend import MAIN
from deepscan.serving.books import Bookkeeping
from deepscan.serving.config import ServeArgs
from deepscan.serving.ensemble import Panel
from deepscan.serving.journal import Journal, JournalLimits
from deepscan.serving.trials import Trial


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lineup:
    """What a service is made of.

    Attributes:
        bundles: All bundles, each once, sorted as ``pipeline.plan`` sorts detectors.
        panels: Who judges, by the name of the variant.
        trial: Which variant answers whom.
        keeping: How the books are kept.
    """

    bundles: tuple[Bundle, ...]
    panels: dict[str, Panel]
    trial: Trial
    keeping: Bookkeeping

    @property
    def digest(self) -> str:
        """Tells one set of bundles and policies from another, for verdicts that are remembered."""
        said = {
            name: [sorted(panel.bundles), config.to_dict(panel.policy)] for name, panel in self.panels.items()
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def lineup(args: ServeArgs) -> Lineup:
    """Read what the arguments name.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: A setting of a fusion, a variant or the log is wrong.
    """
    tried = args.experiment
    variants = [Variant(name=MAIN, weight=tried.main_weight)]
    chosen = {MAIN: _select(args.bundles, args.fusion)}
    for each in tried.variants:
        variants.append(Variant(name=each.name, weight=each.weight, shadow=each.shadow))
        chosen[each.name] = _select(each.bundles, each.fusion)
    if len(variants) > 1:
        check(variants, tried.salt)
    read = {path: Bundle.read(path) for selection in chosen.values() for path in selection.bundles}
    by_id = {bundle.card.id: bundle for bundle in read.values()}
    panels = {
        name: Panel(bundles=frozenset(read[path].card.id for path in each.bundles), policy=each.policy)
        for name, each in chosen.items()
    }
    return Lineup(
        bundles=tuple(sorted(by_id.values(), key=_order)),
        panels=panels,
        trial=Trial(variants=tuple(variants), salt=tried.salt, logged=bool(tried.log)),
        keeping=_keeping(args, by_id),
    )


def _select(bundles: tuple[str, ...], fusion: tuple[str, ...]) -> Selection:
    chosen = select([pathlib.Path(path).resolve() for path in bundles], fusion)
    return dataclasses.replace(chosen, bundles=tuple(path.resolve() for path in chosen.bundles))


def _order(bundle: Bundle) -> tuple[str, str]:
    return bundle.card.prep_digest, bundle.card.id


def _keeping(args: ServeArgs, bundles: dict[str, Bundle]) -> Bookkeeping:
    journal: functools.partial[Journal] | None = None
    if args.experiment.log:
        limits = JournalLimits(max_bytes=args.experiment.log_bytes)
        journal = functools.partial(Journal, args.experiment.log, limits)
    return Bookkeeping(
        references={name: bundle.card.reference for name, bundle in bundles.items()},
        rules=args.monitoring.rules(),
        webhook=args.monitoring.hook(),
        every_s=args.monitoring.every_s,
        journal=journal,
    )
