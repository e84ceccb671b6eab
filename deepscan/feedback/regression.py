"""Is a new bundle wrong where the accepted one was right?

What a person accepted last is written beside the set, in a file for each combination of modalities, so that
a detector of pictures is never held against one of voices.
"""

import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from deepscan import config, storage
from deepscan.errors import ConfigError, RegressionError, StorageError
from deepscan.feedback.judging import Judge, Judged, judge_all
from deepscan.feedback.store import LABELS, Case, RegressionSet
from deepscan.watch import Watch

ACCEPTED = "accepted-{}.json"
SCHEMA = 1
SHOWN = 5
Change = Literal["", "new", "same", "better", "worse", "regression"]
"""From before to now: ``better`` = right now, ``worse`` = right before and abstained from now, ``regression``
= right before and wrong or failed now, ``new`` = nothing is known from before; empty = nobody to compare
with."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a bundle said of a set when it was accepted, or just now.

    Attributes:
        bundle: Its id.
        date: When, as in 2026-05-01.
        said: What it said, by digest of the file.
        schema: Version of this layout.
    """

    bundle: str
    date: str
    said: dict[str, dict[str, Any]]
    schema: int = SCHEMA


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One file of a set, now and before.

    Attributes:
        case: The file.
        now: What is said of it now.
        before: What was said of it before; None = nothing, or it was held against another truth.
        change: What that comes to.
        seen: The split of its own data that the bundle had it in, ``train`` or ``val``; empty = in none.
    """

    case: Case
    now: Judged
    before: Judged | None
    change: Change
    seen: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What checking a bundle on a set came to.

    Attributes:
        bundle: Its id.
        against: Id of the bundle that it is compared with; empty = none.
        since: When that one was accepted; empty = it was judged just now.
        files: The files.
        doubts: Sentences on what it saw before.
    """

    bundle: str
    against: str
    since: str
    files: tuple[Checked, ...]
    doubts: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of files by outcome."""
        outcomes = [each.now.outcome for each in self.files]
        return {name: outcomes.count(name) for name in ("right", "wrong", "abstained", "failed")}

    @property
    def regressions(self) -> tuple[Checked, ...]:
        """Files that were right before and are wrong, or cannot be judged, now."""
        return tuple(each for each in self.files if each.change == "regression")

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return {
            "bundle": self.bundle,
            "against": self.against,
            "since": self.since,
            "counts": self.counts,
            "regressions": [each.case.sha256 for each in self.regressions],
            "doubts": list(self.doubts),
            "files": [_plain(each) for each in self.files],
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What is to be checked.

    Attributes:
        kept: The regression set.
        bundle: Directory of a bundle, or an ensemble file.
        against: Another one to compare with; None = the one that was accepted last.
        device: Device of the models.
    """

    kept: RegressionSet
    bundle: pathlib.Path
    against: pathlib.Path | None = None
    device: str = "auto"


def check(order: Check, watch: Watch) -> tuple[Report, Judge]:
    """Judge a set, and compare what is said with what was said before.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The device does not exist, or a bundle is compared with itself.
        DataError: The set is empty or cannot be read.
        StorageError: Its folder cannot be written.
    """
    kept, judge = order.kept, Judge.load(order.bundle, order.device)
    cases = kept.cases()
    with storage.writing(kept.folder):
        before = _against(order, judge, cases, watch)
        now = judge_all(judge, kept, cases, watch)
    seen = judge.seen(kept.folder, cases)
    whose = {path: split for each in reversed(seen) for path, split in each.files.items()}
    files = tuple(
        _checked(case, now[case.sha256], before, whose.get(str(kept.folder / case.path), ""))
        for case in cases
    )
    report = Report(
        bundle=judge.id,
        against=before.bundle if before else "",
        since=before.date if before and not order.against else "",
        files=files,
        doubts=tuple(dict.fromkeys(sentence for each in seen for sentence in each.sentences)),
    )
    return report, judge


def accept(report: Report, judge: Judge, kept: RegressionSet) -> pathlib.Path:
    """Write down that this is what bundles of this kind are compared with from now on; return the file.

    Raises:
        StorageError: It cannot be written.
    """
    path = _path(kept, judge)
    said = {each.case.sha256: dataclasses.asdict(each.now) for each in report.files}
    record = Record(bundle=report.bundle, date=today(), said=said)
    draft = path.with_name(f".{path.name}.tmp")
    with storage.writing(kept.folder):
        draft.write_text(json.dumps(config.to_dict(record), indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)
    return path


def refuse(report: Report) -> None:
    """Refuse a bundle that is wrong where the one before was right.

    Raises:
        RegressionError: It is.
    """
    if not report.regressions:
        return
    named = ", ".join(each.case.sha256[:12] for each in report.regressions[:SHOWN])
    more = ", ..." if len(report.regressions) > SHOWN else ""
    msg = (
        f"{report.bundle} is wrong about {len(report.regressions)} of {len(report.files)} files that "
        f"{report.against} was right about ({named}{more}). Look at them, or take it with --accept."
    )
    raise RegressionError(msg)


def today() -> str:
    """Return the date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _against(order: Check, judge: Judge, cases: Sequence[Case], watch: Watch) -> Record | None:
    """Return what the one to compare with said; None = there is none."""
    if order.against is None:
        return _accepted(_path(order.kept, judge))
    other = Judge.load(order.against, order.device)
    if other.id == judge.id:
        msg = f"{order.bundle} and {order.against} are the same; name another one to compare with."
        raise ConfigError(msg)
    said = judge_all(other, order.kept, cases, watch)
    return Record(
        bundle=other.id, date="", said={key: dataclasses.asdict(each) for key, each in said.items()}
    )


def _checked(case: Case, now: Judged, record: Record | None, seen: str) -> Checked:
    plain = record.said.get(case.sha256) if record else None
    before = config.from_dict(Judged, plain) if plain and plain.get("label") == case.label else None
    change = _change(before, now) if record else ""
    return Checked(case=case, now=now, before=before, change=change, seen=seen)


def _change(before: Judged | None, now: Judged) -> Change:
    if before is None:
        return "new"
    if before.outcome == now.outcome:
        return "same"
    if before.outcome == "right":
        return "worse" if now.outcome == "abstained" else "regression"
    return "better" if now.outcome == "right" else "same"


def _accepted(path: pathlib.Path) -> Record | None:
    """Return what was accepted last.

    Raises:
        StorageError: There is a record, but it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        values: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record = config.from_dict(Record, values)
        for each in record.said.values():
            config.from_dict(Judged, each)
    except (OSError, ValueError, ConfigError, AttributeError) as error:
        msg = f"{path} cannot be read ({error}); delete it, and accept a bundle anew with --accept."
        raise StorageError(msg) from error
    return record


def _path(kept: RegressionSet, judge: Judge) -> pathlib.Path:
    return kept.folder / ACCEPTED.format("+".join(judge.kinds))


def _plain(each: Checked) -> dict[str, Any]:
    case, now = each.case, each.now
    return {
        "sha256": case.sha256,
        "name": case.name,
        "label": LABELS[case.label],
        "source": case.source,
        "generator": case.generator,
        "note": case.note,
        "outcome": now.outcome,
        "said": now.said,
        "probability": now.probability,
        "why": now.why,
        "before": each.before.outcome if each.before else None,
        "change": each.change,
        "seen": each.seen,
    }
