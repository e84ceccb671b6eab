"""What a bundle, or an ensemble, says of the files of a regression set; in this process, without Ray."""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from deepscan import config
from deepscan.datasets.seen import Overlap, overlap
from deepscan.detector import Detector
from deepscan.ensemble import Selection, select
from deepscan.errors import CorruptMediaError, DataError, DeepscanError
from deepscan.feedback.store import LABELS, Case, RegressionSet
from deepscan.media.source import Media
from deepscan.pipeline import analyze
from deepscan.verdict import Verdict
from deepscan.watch import Watch

Outcome = Literal["right", "wrong", "abstained", "failed"]
"""``abstained`` = no verdict but ``inconclusive``, ``failed`` = the file could not be judged at all."""

UNFINISHED = "unfinished-{}.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """Who judges.

    Attributes:
        id: Id of the bundle, or of the ensemble with all that its verdicts depend on.
        kinds: Names of the modalities that it looks at, sorted.
        detectors: Its detectors, not loaded before they are asked.
        chosen: Its bundles and how they vote together.
    """

    id: str
    kinds: tuple[str, ...]
    detectors: tuple[Detector, ...]
    chosen: Selection

    @classmethod
    def load(cls, path: pathlib.Path, device: str = "auto") -> "Judge":
        """Load a bundle's directory or an ensemble file.

        Raises:
            BundleError: A bundle cannot be used.
            ConfigError: The device does not exist.
        """
        chosen = select([path])
        detectors = tuple(Detector.load(each, device, lazily=True) for each in chosen.bundles)
        cards = [detector.bundle.card for detector in detectors]
        name = cards[0].id
        if path.is_file():
            body = json.dumps([[card.id for card in cards], config.to_dict(chosen.policy)], sort_keys=True)
            name = f"{path.stem}-{hashlib.sha256(body.encode()).hexdigest()[:12]}"
        return cls(name, tuple(sorted({card.modality for card in cards})), detectors, chosen)

    def ask(self, media: Media) -> Verdict:
        """Judge a file.

        Raises:
            DeepscanError: No detector could finish; a MediaError where the media does not decode.
        """
        return analyze(media, self.detectors, self.chosen.policy)

    def seen(self, folder: pathlib.Path, cases: Sequence[Case]) -> tuple[Overlap, ...]:
        """Return which of the files each bundle learnt from or was chosen on."""
        files = {
            "path": [str(folder / case.path) for case in cases],
            "source": [case.source or case.sha256 for case in cases],
        }
        table = pa.table({name: pa.array(values, pa.string()) for name, values in files.items()})
        return tuple(overlap(each.bundle.card.seen, table, same_data=False) for each in self.detectors)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What was said of a file.

    Attributes:
        outcome: What it comes to, beside the truth.
        label: The truth that it was held against, 1 = fake, 0 = real.
        said: ``real``, ``fake`` or ``inconclusive``; empty = it failed.
        probability: P(fake) in [0, 1]; None = none was stated.
        why: Why there is no verdict.
    """

    outcome: Outcome
    label: int
    said: str = ""
    probability: float | None = None
    why: str = ""


def judge_all(judge: Judge, kept: RegressionSet, cases: Iterable[Case], watch: Watch) -> dict[str, Judged]:
    """Return what is said of the files, by digest; what an interrupted run heard is not asked again.

    Args:
        judge: Who judges.
        kept: The set; what is said is written beside it until all of it is.
        cases: Its files.
        watch: Follows the work.

    Raises:
        DataError: There are no files.
        StorageError: The folder of the set cannot be written.
    """
    wanted = list(cases)
    if not wanted:
        msg = f"There are no files in {kept.folder}; put some in by `deepscan feedback add`."
        raise DataError(msg)
    watch.stage(f"Judging {len(wanted)} files by {judge.id}")
    path = kept.folder / UNFINISHED.format(re.sub(r"[^\w.+-]", "_", judge.id))
    heard, found = _heard(path), dict[str, Judged]()
    with path.open("a", encoding="utf-8") as file:
        for done, case in enumerate(wanted):
            watch.advance(done, len(wanted))
            before = heard.get(case.sha256)
            if before is None or before.label != case.label:
                before = judged(judge, kept.folder, case)
                file.write(json.dumps({"sha256": case.sha256, **dataclasses.asdict(before)}) + "\n")
                file.flush()
            found[case.sha256] = before
    watch.advance(len(wanted), len(wanted))
    path.unlink(missing_ok=True)
    return found


def judged(judge: Judge, folder: pathlib.Path, case: Case) -> Judged:
    """Return what is said of one file; that it cannot be judged is an answer."""
    try:
        media = Media.from_path(folder / case.path)
        if media.facts.sha256 != case.sha256:
            msg = f"{case.path} is not the file that was added; remove it from the set and add it again."
            raise CorruptMediaError(msg)
        verdict = judge.ask(media)
    except DeepscanError as error:
        return Judged(outcome="failed", label=case.label, why=f"{type(error).__name__}: {error}")
    if verdict.label == "inconclusive":
        outcome: Outcome = "abstained"
    else:
        outcome = "right" if verdict.label == LABELS[case.label] else "wrong"
    return Judged(
        outcome=outcome,
        label=case.label,
        said=verdict.label,
        probability=verdict.probability,
        why=_why(verdict) if outcome == "abstained" else "",
    )


def _why(verdict: Verdict) -> str:
    """Return why there is no answer."""
    if verdict.probability is not None:
        return "between its thresholds"
    told = dict.fromkeys(abstention.message for abstention in verdict.abstentions)
    return "; ".join(told) or "it does not look at such files"


def _heard(path: pathlib.Path) -> dict[str, Judged]:
    """Return what an interrupted run wrote down; a line that it did not finish is left out."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}\n")]
    return {row["sha256"]: from_plain({k: v for k, v in row.items() if k != "sha256"}) for row in rows}


def from_plain(row: Mapping[str, Any]) -> Judged:
    """Return what was said from plain values, as ``dataclasses.asdict`` gives them.

    Raises:
        ConfigError: They are none such.
    """
    return config.from_dict(Judged, row)
