"""How well measurements of analyzers tell fakes: as detectors of their own, and beside another one.

    python -m benchmarks.evidence_votes --data MANIFEST --kinds image audio video

Trees are trained on the measurements of pictures, sounds or clips: of the analyzers that look at traces
(forensic), of those that look at people (biometric), and of both. Beside them stands a small detector of the
same kind of files, and what the mean of its log odds and theirs says. Every file is judged by detectors that
have seen nothing of its source, in the same folds for all of them. Figures have 95 % intervals over sources,
for each generator apart.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepscan.crossvalidation import JUDGED, Folds, cross_validate
from deepscan.datasets import layout
from deepscan.datasets.dataset import Origin
from deepscan.errors import DeepscanError
from deepscan.evaluation import as_predictions
from deepscan.evidence.catalog import load_builtin
from deepscan.metrics import evaluate
from deepscan.training.run import Order
from deepscan.watch import LogWatch

FORENSIC = ("compression", "noise", "spectrum", "sound")
BIOMETRIC = ("face", "voice", "sync")
TREES = "forensic-boosting"
OTHERS = {"image": "statistics", "audio": "gru-light", "video": "clip-statistics"}
"""The detector beside which measurements are judged, by kind of file."""

EPOCHS = {"statistics": 12, "gru-light": 8, "clip-statistics": 8}
REPLICATES = 1000


def analyzers(groups: Sequence[str]) -> list[str]:
    """Return the names of the analyzers of some groups."""
    return [each.name for each in load_builtin() if each.group in groups]


def orders(kind: str, manifest: pathlib.Path, out: pathlib.Path) -> dict[str, Order]:
    """Return what is to be trained, by what it is called in the table."""
    origin = Origin(path=manifest, store=out / "examples", keep=True, max_bad=0.5)
    other = OTHERS[kind]
    settings = {
        "forensic": (TREES, (f"prep.analyzers={json.dumps(analyzers(FORENSIC))}",)),
        "biometric": (TREES, (f"prep.analyzers={json.dumps(analyzers(BIOMETRIC))}",)),
        "forensic and biometric": (TREES, (f"prep.analyzers={json.dumps(analyzers(FORENSIC + BIOMETRIC))}",)),
        other: (other, (f"recipe.epochs={EPOCHS[other]}", "recipe.augment.level=none")),
    }
    return {
        name: Order(model=model, origin=origin, out=out / name, overrides=overrides)
        for name, (model, overrides) in settings.items()
        if name != "biometric" or kind != "image"  # nothing of a face can be measured in a still picture
    }


def chosen(data: pathlib.Path, kind: str, files: int, folder: pathlib.Path) -> pathlib.Path:
    """Write a manifest of at most so many files of each generator, spread over the sources."""
    table = layout.scan(data, where=(f"modality={kind}",))
    rows = table.to_pylist()
    kept: list[dict[str, Any]] = []
    for generator in sorted({str(row["generator"]) for row in rows}):
        mine = [row for row in rows if str(row["generator"]) == generator]
        order = np.random.default_rng(0).permutation(len(mine))[:files]
        kept += [mine[number] for number in sorted(order)]
    path = folder / f"{kind}.parquet"
    pq.write_table(pa.Table.from_pylist(kept, schema=table.schema), path)
    return path


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the files that all have judged, with the mean of their log odds."""
    logits = [dict(zip(each["path"].to_pylist(), each["logit"].to_pylist(), strict=True)) for each in tables]
    common = [path for path in logits[0] if all(path in each for each in logits[1:])]
    first = tables[0].to_pylist()
    rows = {row["path"]: row for row in first}
    joined = []
    for path in common:
        mean = float(np.mean([each[path] for each in logits]))
        joined.append(rows[path] | {"logit": mean, "probability": 1 / (1 + np.exp(-mean))})
    return pa.Table.from_pylist(joined, schema=tables[0].schema)


def figures(judged: pa.Table) -> dict[str, Any]:
    """Return the AUC with its interval, of all files and by generator, and how many there are."""
    found = evaluate(as_predictions(judged), 0.5, np.random.default_rng(0), REPLICATES)
    parts = {name: part.figures["auc"] for name, part in found.by_generator.items()}
    return {
        "files": found.counts.files,
        "auc": dataclasses.astuple(found.overall["auc"]),
        "by_generator": {name: dataclasses.astuple(figure) for name, figure in parts.items()},
    }


def measure(kind: str, given: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Cross-validate all detectors of one kind of file, and measure them alone and together."""
    manifest = chosen(given.data, kind, given.files, folder)
    judged, result = {}, {}
    for name, order in orders(kind, manifest, folder / kind).items():
        folds = Folds(order=order, count=given.folds, validation="files" if kind == "video" else "sources")
        try:
            cross_validate(folds, LogWatch())
        except DeepscanError as error:
            result[name] = {"failed": f"{type(error).__name__}: {error}"}
            continue
        judged[name] = pq.read_table(order.out / JUDGED)
        result[name] = figures(judged[name])
    other = OTHERS[kind]
    for name in [name for name in judged if name != other and other in judged]:
        result[f"{other} and {name}"] = figures(together([judged[other], judged[name]]))
    return result


def shown(figure: Sequence[float | None]) -> str:
    """Return a figure with its interval."""
    return " ".join("-" if value is None else f"{value:.3f}" for value in figure[:3])


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=[*OTHERS], default=[*OTHERS])
    parser.add_argument("--files", type=int, default=400, help="of each generator, at most")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "evidence-votes.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            results[kind] = measure(kind, given, pathlib.Path(folder))
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        for name, found in results[kind].items():
            print(f"{kind:6} {name:42} {found.get('failed') or shown(found['auc'])}", flush=True)


if __name__ == "__main__":
    main()
