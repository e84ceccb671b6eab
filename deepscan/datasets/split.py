"""Who trains, who chooses, who judges: splits by source, stratified by label, generator and kind of media.

A source (a person, a recording, the clip that fakes were made from) is in one split only;
otherwise a detector is graded on faces and backgrounds that it has learnt by heart.
"""

import collections
import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepscan.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")

_Tally = collections.Counter[Hashable]
"""Files by stratum: label, (label, generator), and (label, generator, modality) where there are several."""

_log = logging.getLogger(__name__)


def assign(
    table: pa.Table,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    *,
    allow_leaks: bool = False,
    needs_fakes: bool = True,
) -> pa.Table:
    """Fill the ``split`` column of a manifest where the user did not.

    Without any split, all sources are divided; where ``train`` is given but ``val`` or ``test`` is
    not, what is missing is carved out of ``train``; complete splits are kept. The result depends on
    the sources and the seed, not on the order of the rows.

    Args:
        table: A manifest as of ``deepscan.datasets.layout.scan``.
        fractions: Shares of the files for train, val and test, in [0, 1], summing to 1. With a
            share of 0 a split is not made.
        seed: Seed of the draw among sources, at least 0.
        allow_leaks: Accept given splits that share sources, with a warning in the log.
        needs_fakes: Refuse to divide real files alone.

    Returns:
        The table with every ``split`` one of ``train``, ``val``, ``test``.

    Raises:
        DataError: Some rows have a split and others have none, ``train`` is empty, a split made
            here would lack a label, or given splits share sources.
        ConfigError: The fractions are out of range.
    """
    wanted = _read_fractions(fractions)
    given = collections.Counter(*_columns(table, "split"))
    if set(given) != {""}:
        _refuse_gaps(given)
        check_leaks(table, allow_leaks=allow_leaks)
        wanted = {name: share for name, share in wanted.items() if name == "train" or name not in given}
    pool = np.isin(table["split"].to_numpy(), ["", "train"])
    if len(wanted) == 1 and "" not in given:
        return table
    tallies = _tally(table.filter(pa.array(pool)))
    home = _place(tallies, wanted, seed, needs_fakes or any(tally[1] for tally in tallies.values()))
    return _moved(table, pool, home)


def check_leaks(table: pa.Table, *, allow_leaks: bool = False) -> None:
    """Check that no source is in more than one split.

    Args:
        table: A manifest with splits.
        allow_leaks: Log a warning instead of raising.

    Raises:
        DataError: Some are; the message counts them and shows three with their splits.
    """
    leaks = shared_sources(table)
    if not leaks:
        return
    examples = "; ".join(f"{source} in {', '.join(leaks[source])}" for source in sorted(leaks)[:3])
    sources = len(pc.unique(table["source"]))
    found = f"{len(leaks)} of {sources} sources are in more than one split ({examples})"
    if not allow_leaks:
        msg = (
            f"{found}: figures would be too good. Correct the splits or the sources, leave the splits "
            "out to have them made, or take them as they are with --allow-leaks."
        )
        raise DataError(msg)
    _log.warning("%s; figures will be too good.", found)


def shared_sources(table: pa.Table) -> dict[str, list[str]]:
    """Return the sources that are in more than one split of a manifest, with those splits in order."""
    splits: dict[str, set[str]] = collections.defaultdict(set)
    for source, split in zip(*_columns(table, "source", "split"), strict=True):
        splits[source].add(split)
    return {source: sorted(found) for source, found in splits.items() if len(found) > 1}


def _read_fractions(fractions: Sequence[float]) -> dict[str, float]:
    fits = len(fractions) == len(SPLITS) and min(fractions) >= 0 and fractions[0] > 0
    if not fits or abs(sum(fractions) - 1) > 1e-6:
        msg = (
            f"Fractions must be shares for {', '.join(SPLITS)} that sum to 1, train above 0, "
            f"not {tuple(fractions)}."
        )
        raise ConfigError(msg)
    return {name: share for name, share in zip(SPLITS, fractions, strict=True) if share}


def _refuse_gaps(given: Mapping[str, int]) -> None:
    counts = ", ".join(f"{name or 'none'}: {count}" for name, count in sorted(given.items()))
    if "" in given:
        msg = f"Some files have a split and others have none ({counts}); give all of them one, or none."
        raise DataError(msg)
    if "train" not in given:
        msg = f"No file is in the split train ({counts}); add some, or leave out all splits."
        raise DataError(msg)


def _moved(table: pa.Table, pool: NDArray[np.bool_], home: Mapping[str, str]) -> pa.Table:
    """Put the rows in ``pool`` into the splits of their sources."""
    splits = [
        home[source] if free else split
        for source, split, free in zip(*_columns(table, "source", "split"), pool, strict=True)
    ]
    return table.set_column(table.column_names.index("split"), "split", pa.array(splits, pa.string()))


def _tally(table: pa.Table) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = collections.defaultdict(collections.Counter)
    mixed = "modality" in table.column_names and len(pc.unique(table["modality"])) > 1
    names = ("label", "generator", "modality") if mixed else ("label", "generator")
    for source, *strata in zip(*_columns(table, "source", *names), strict=True):
        tallies[source][strata[0]] += 1
        for length in range(2, len(strata) + 1):
            tallies[source][tuple(strata[:length])] += 1
    return tallies


def _columns(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table[name].to_pylist() for name in names]


def _size(tally: _Tally) -> int:
    return tally[0] + tally[1]


def _place(
    tallies: Mapping[str, _Tally], wanted: Mapping[str, float], seed: int, fakes: bool
) -> dict[str, str]:
    """Return each source's split; without ``fakes`` all files are real.

    Steepest descent on the sum over splits and strata of (files wanted - files had)^2, largest
    sources first, after each split was given one small source (or two) that brings both labels.
    """
    names = sorted(tallies)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda source: -_size(tallies[source]))
    total: _Tally = collections.Counter()
    for tally in tallies.values():
        total.update(tally)
    needs = {
        split: {stratum: share / sum(wanted.values()) * count for stratum, count in total.items()}
        for split, share in wanted.items()
    }
    home = _reserve(tallies, order, wanted, fakes)
    for source in [*home, *(source for source in order if source not in home)]:
        tally = tallies[source]
        if source not in home:
            home[source] = max(needs, key=lambda split: sum(n * needs[split][k] for k, n in tally.items()))
        for stratum, count in tally.items():
            needs[home[source]][stratum] -= count
    return home


def _reserve(
    tallies: Mapping[str, _Tally], order: Sequence[str], wanted: Mapping[str, float], fakes: bool
) -> dict[str, str]:
    """Give each split the smallest source with both labels, or the smallest two with one each.

    Without ``fakes`` it is the smallest source.
    """
    small = order[::-1]
    both = [(source,) for source in small if tallies[source][0] and tallies[source][1]]
    real = [source for source in small if not tallies[source][1]]
    fake = [source for source in small if not tallies[source][0]]
    units: list[tuple[str, ...]] = [*both, *zip(real, fake, strict=False)]
    if not fakes:
        units = [(source,) for source in real]
    if len(units) < len(wanted):
        found = f"{len(both) + len(real)} sources of real and {len(both) + len(fake)} of fake files"
        msg = (
            f"Each of {', '.join(wanted)} needs real and fake files of sources that no other split has, "
            f"but there are {found}. Add sources, give the splits, or ask for fewer by a fraction of 0."
        )
        raise DataError(msg)
    units.sort(key=lambda unit: sum(_size(tallies[source]) for source in unit))
    return {
        source: split
        for split, unit in zip(sorted(wanted, key=lambda s: wanted[s]), units, strict=False)
        for source in unit
    }
