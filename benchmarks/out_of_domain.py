"""What bundles say of files that they know nothing of: noise, drawings, pages, tones, music, silence.

    python -m benchmarks.out_of_domain --bundle runs/first/bundle --media MEDIA

Such files are made with a seed (``strange_files.py``). Beside them stand the files of a folder of media with
a ``manifest.tsv`` that the bundle has not seen: held-out reals, reals of another set (``real-pool``), fakes
of generators that it has seen, and fakes of generators that it has not. For each group: how many files the
gate refused, how many were not judged for other reasons, what became of the rest, what would have become of
those that the gate refused, and the AUROC of the gate's distance against the held-out reals. A bundle without
a gate is given one by ``deepscan gate``.
"""

import argparse
import collections
import csv
import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa
from sklearn.metrics import roc_auc_score

from benchmarks.strange_files import clip_files, picture_files, sound_files
from deepscan.bundle import Bundle
from deepscan.datasets.seen import overlap
from deepscan.detector import Detector
from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.pipeline import prepare

MAKERS = {
    "image": picture_files,
    "forensic": picture_files,
    "video": clip_files,
    "av": clip_files,
    "audio": sound_files,
}
REALS, OTHERS, KNOWN, UNKNOWN = (
    "held-out reals",
    "reals of another set",
    "fakes of a kind seen",
    "fakes of a kind never seen",
)
MOST = 200


@dataclasses.dataclass
class Group:
    """What became of the files of one kind.

    Attributes:
        files: Their number.
        gated: Those that the gate refused.
        abstained: Those not judged for other reasons, by reason.
        labels: Labels of the others.
        without: Labels that the refused ones would have been given without a gate.
        distances: The gate's distance of each file that was prepared.
    """

    files: int = 0
    gated: int = 0
    abstained: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    labels: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    without: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    distances: list[float] = dataclasses.field(default_factory=list)


def judge(detector: Detector, media: Media, group: Group) -> float | None:
    """Judge a file with and without the gate; return the milliseconds that the gate took, if it was asked."""
    group.files += 1
    prepared = prepare(detector.prep, media) if detector.modality.accepts(media) else None
    if prepared is None:
        group.abstained["not-applicable"] += 1
        return None
    if isinstance(prepared, AbstainError):
        group.abstained[prepared.reason] += 1
        return None
    gate = detector.bundle.card.gate
    start_s = time.perf_counter()
    value_S = gate.values(prepared, detector.prep.needs)
    refusal = gate.refusal(value_S)
    spent_ms = (time.perf_counter() - start_s) * 1000
    group.distances.append(gate.place(value_S).distance)
    vote = detector.judge(prepared, detector.run(prepared))
    if refusal:
        group.gated += 1
        group.without[vote.score.label] += 1
    else:
        group.labels[vote.score.label] += 1
    return spent_ms


def genuine_rows(media: pathlib.Path, bundle: Bundle, most: int) -> Iterator[tuple[str, pathlib.Path]]:
    """Yield group and path of the files of a folder that a bundle has not seen."""
    kind = {"forensic": "image", "av": "video"}.get(bundle.card.modality, bundle.card.modality)
    with (media / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["modality"] == kind]
    if not bundle.card.seen:
        raise SystemExit(f"{bundle.path} does not tell what it has seen; train it again with this version.")
    columns = {
        "path": [str(media / row["file"]) for row in rows],
        "source": [row["source"] for row in rows],
    }
    seen = overlap(bundle.card.seen, pa.table(columns), same_data=False).files
    learnt = {row["generator"] for row, path in zip(rows, columns["path"], strict=True) if path in seen}
    taken = collections.Counter()
    for row, path in zip(rows, columns["path"], strict=True):
        fresh = path not in seen
        if row["label"] == "real":
            group = REALS if row["file"].split("/")[1] == "real" else OTHERS
        else:
            group = KNOWN if row["generator"] in learnt else UNKNOWN
        names = (group, f"{UNKNOWN}: {row['generator']}") if group == UNKNOWN else (group,)
        if fresh and taken[names[-1]] < most:
            taken[names[-1]] += 1
            for name in names:
                yield name, pathlib.Path(path)


def measure(bundle: Bundle, media: pathlib.Path, given: argparse.Namespace) -> dict:
    """Return what a bundle says of strange files and of the unseen ones of a folder."""
    detector = Detector.load(bundle.path, "cpu")
    groups: dict[str, Group] = collections.defaultdict(Group)
    spent_ms: list[float | None] = []
    for name, path in genuine_rows(media, bundle, given.most):
        spent_ms.append(judge(detector, Media.from_path(path), groups[name]))
    strange = MAKERS[bundle.card.modality](given.count, given.seed)
    for kind, name, data in strange:
        spent_ms.append(judge(detector, Media.from_bytes(data, name), groups[kind]))
    usual, told = groups[REALS].distances, [each for each in spent_ms if each is not None]
    kinds = [group for name, group in groups.items() if not name.startswith((REALS, OTHERS, KNOWN, UNKNOWN))]
    gate = bundle.card.gate
    return {
        "bundle": bundle.card.id,
        "model": bundle.card.model,
        "gate": {
            "rate": gate.rate,
            "files": gate.files,
            "threshold": gate.threshold,
            "held_out": gate.held_out,
        },
        "gate_ms": round(statistics.median(told), 2) if told else None,
        "auroc_strange": auroc(usual, [value for group in kinds for value in group.distances]),
        "groups": {name: told_of(group, usual) for name, group in groups.items()},
    }


def told_of(group: Group, usual: list[float]) -> dict:
    """Return what became of a group as plain values."""
    return {
        "files": group.files,
        "gated": group.gated,
        "abstained": dict(group.abstained),
        "labels": dict(group.labels),
        "labels_without_gate": dict(group.labels + group.without),
        "auroc": auroc(usual, group.distances),
    }


def auroc(inside: list[float], outside: list[float]) -> float | None:
    """Return the share of pairs in which the file outside is farther; None where there is none."""
    if not inside or not outside:
        return None
    return round(float(roc_auc_score([0] * len(inside) + [1] * len(outside), inside + outside)), 4)


def table(found: dict) -> Iterable[str]:
    """Yield the lines of a bundle's table."""
    gate = found["gate"]
    yield f"{found['bundle']}: gate at {gate['rate']:.1%} of {gate['files']} files, {found['gate_ms']} ms"
    yield f"{'':44} files gated  none  real  fake  open  AUROC  without gate: real fake open"
    for name, row in found["groups"].items():
        labels, bare = row["labels"], row["labels_without_gate"]
        counts = [labels.get(label, 0) for label in ("real", "fake", "inconclusive")]
        bare_counts = [bare.get(label, 0) for label in ("real", "fake", "inconclusive")]
        auc = "" if row["auroc"] is None else f"{row['auroc']:.3f}"
        yield (
            f"{name:44} {row['files']:5} {row['gated']:5} {sum(row['abstained'].values()):5} "
            + " ".join(f"{count:5}" for count in counts)
            + f" {auc:>6}               "
            + " ".join(f"{count:4}" for count in bare_counts)
        )


def main() -> None:
    """Measure bundles, print their tables and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=pathlib.Path, action="append", required=True)
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=20, help="strange files of each kind")
    parser.add_argument("--most", type=int, default=MOST, help="most files of each group of the folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    results = []
    for path in given.bundle:
        bundle = Bundle.read(path)
        if bundle.card.gate is None:
            raise SystemExit(f"{path} has no gate; give it one with 'deepscan gate'.")
        results.append(measure(bundle, given.media, given))
        print("\n".join(table(results[-1])), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"count": given.count, "seed": given.seed, "bundles": results}, indent=1)
    (given.out / "out_of_domain.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
