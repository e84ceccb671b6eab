"""How well measurements of analyzers tell fakes: as detectors of their own, and beside another one.

    python -m benchmarks.evidence_votes --data MANIFEST --kinds image audio video

Trees are trained on the measurements of pictures, sounds or clips: of the analyzers that look at traces
(forensic), of those that look at people (biometric), and of both. Beside them stands a small detector of the
same kind of files, and what the mean of its log odds and theirs says. Every file is judged by detectors that
have seen nothing of its source, in the same folds for all of them, and calibrated on files that neither
trained nor are judged. Figures have 95 % intervals over sources, for each generator apart. The loop is that
of training; there is no cluster.
"""

import argparse
import copy
import dataclasses
import itertools
import json
import pathlib
import typing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from deepscan import calibration, crossvalidation
from deepscan.datasets import layout
from deepscan.errors import AbstainError, DeepscanError
from deepscan.evidence.catalog import load_builtin as load_analyzers
from deepscan.fusion import LIMIT
from deepscan.media.source import Media
from deepscan.metrics import Predictions, evaluate
from deepscan.modalities import Example, Prep, batch
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin
from deepscan.training.loop import Report, Task, Trainer

FORENSIC = ("compression", "noise", "spectrum", "sound")
BIOMETRIC = ("face", "voice", "sync")
TREES = "forensic-boosting"
OTHERS = {"image": "statistics", "audio": "gru-light", "video": "clip-statistics"}
"""The detector beside which measurements are judged, by kind of file."""

EPOCHS, REPLICATES, SHARE = 20, 1000, 5
"""Of training; of the bootstrap; one in so many files that are not judged calibrates and picks the epoch."""

Seen = dict[int, list[Example]]
"""The Examples of each file, by its row."""


def look(given: tuple[str, Prep]) -> list[Example]:
    """Return the Examples of a file; none where there is nothing to be seen in it."""
    path, prep = given
    try:
        return prep(Media.from_path(pathlib.Path(path)))
    except (AbstainError, DeepscanError):
        return []


def seen_by(prep: Prep, paths: Sequence[str], processes: int) -> Seen:
    """Prepare files beside each other."""
    with ProcessPoolExecutor(processes) as pool:
        found = pool.map(look, ((path, prep) for path in paths), chunksize=4)
        return {row: examples for row, examples in enumerate(found) if examples}


def only(seen: Seen, names: Sequence[str], groups: Sequence[str]) -> Seen:
    """Return measurements as if only the analyzers of some groups had been asked."""
    group_of = {each.name: each.group for each in load_analyzers()}
    kept_N = np.array([group_of[name.partition(".")[0]] in groups for name in names])
    left: Seen = {}
    for row, (example,) in seen.items():
        known_N = example["known"].copy()
        known_N[: len(kept_N)] *= kept_N
        if known_N.any():
            left[row] = [{**example, "known": known_N, "measures": example["measures"] * known_N}]
    return left


def stream(seen: Seen, rows: Sequence[int], label_N: NDArray[Any], spec: ModelSpec) -> Iterator[Any]:
    """Yield batches of Examples without end, in an order of each epoch's own."""
    examples = [(row, example) for row in rows for example in seen[row]]
    rng, size = np.random.default_rng(0), spec.recipe.batch_size
    while True:
        order = rng.permutation(len(examples))
        for first in range(0, len(order), size):
            yield as_batch([examples[number] for number in order[first : first + size]], label_N, spec)


def as_batch(pairs: Sequence[tuple[int, Example]], label_N: NDArray[Any], spec: ModelSpec) -> Any:
    """Return Examples as the loop takes them."""
    inputs = batch([example for _, example in pairs], spec.prep)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    rows = np.array([row for row, _ in pairs])
    label = torch.from_numpy(label_N[rows].astype(np.float32))
    return {**tensors, "label": label, "file": torch.from_numpy(rows)}


def trained(spec: ModelSpec, seen: Seen, train: Sequence[int], val: Sequence[int], label_N: Any) -> Any:
    """Return the network of the epoch that did best on the validation files."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(spec.recipe, epochs=EPOCHS)
    counts = np.bincount(label_N[np.asarray(train)], minlength=2)
    steps = -(-sum(len(seen[row]) for row in train) // recipe.batch_size)
    task = Task(
        module=spec.build(spec.config()),
        trunk=None,
        objective=spec.objective(tuple(spec.prep.inputs), recipe.loss, (int(counts[0]), int(counts[1]))),
        inputs=tuple(spec.prep.inputs),
        aggregate=aggregate_of(spec),
        recipe=recipe,
        steps_per_epoch=steps,
        device=torch.device("cpu"),
        begin=spec.begin,
    )
    best: list[torch.nn.Module] = []

    def report(trainer: Trainer, told: Report) -> None:
        if told.is_best:
            best[:] = [copy.deepcopy(trainer.kept)]

    checked = [as_batch([(row, e) for e in seen[row]], label_N, spec) for row in val]
    Trainer(task).run(stream(seen, train, label_N, spec), lambda: checked, report)
    return best[0].eval()


def judged(network: Any, spec: ModelSpec, seen: Seen, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return the logits of files."""
    logits = []
    with torch.no_grad():
        for row in rows:
            inputs = batch(seen[row], spec.prep)
            said = network(**{name: torch.from_numpy(array) for name, array in inputs.items()})["logit"]
            logits.append(aggregate_of(spec)(said.float().numpy()))
    return np.asarray(logits, np.float64)


def out_of_fold(spec: ModelSpec, seen: Seen, table: pa.Table, fold_N: NDArray[Any]) -> dict[int, float]:
    """Return calibrated log odds of every file that can be judged, by a network that knows nothing of it."""
    label_N = table.column("label").to_numpy()
    odds: dict[int, float] = {}
    for fold in range(int(fold_N.max()) + 1):
        split = crossvalidation.splits(table, fold_N, fold, folds_of(table, fold_N))
        train, val, test = ([row for row in seen if split[row] == name] for name in ("train", "val", "test"))
        network = trained(spec, seen, train, val, label_N)
        fitted = calibration.fit("temperature", judged(network, spec, seen, val), label_N[np.asarray(val)])
        share_N = np.clip(fitted.apply(judged(network, spec, seen, test)), LIMIT, 1 - LIMIT)
        odds |= dict(zip(test, np.log(share_N / (1 - share_N)).tolist(), strict=True))
    return odds


def folds_of(table: pa.Table, fold_N: NDArray[Any]) -> crossvalidation.Folds:
    """Return how files are set aside within a fold: whole sources, or files where sources are too few."""
    count, nobody = int(fold_N.max()) + 1, typing.cast(Any, None)
    few = len(set(table.column("source").to_pylist())) < 2 * SHARE
    kind: crossvalidation.Validation = "files" if few else "sources"
    return crossvalidation.Folds(order=nobody, count=count, validation=kind, share=1 / SHARE)


def figures(odds: dict[int, float], table: pa.Table) -> dict[str, Any]:
    """Return the AUC with its interval, of all files and by generator, and how many there are."""
    rows, logit = list(odds), np.asarray(list(odds.values()))
    part = table.take(rows)
    files = Predictions(
        label=part.column("label").to_numpy(),
        logit=logit,
        probability=1 / (1 + np.exp(-logit)),
        source=np.asarray(part.column("source").to_pylist()),
        generator=np.asarray([str(each) for each in part.column("generator").to_pylist()]),
    )
    found = evaluate(files, 0.5, np.random.default_rng(0), REPLICATES)
    kinds = {name: dataclasses.astuple(each.figures["auc"]) for name, each in found.by_generator.items()}
    return {"files": len(rows), "auc": dataclasses.astuple(found.overall["auc"]), "by_generator": kinds}


def chosen(data: pathlib.Path, kind: str, files: int) -> pa.Table:
    """Return at most so many files of each generator."""
    table = layout.scan(data, where=(f"modality={kind}",))
    generators = np.asarray([str(each) for each in table.column("generator").to_pylist()])
    rng = np.random.default_rng(0)
    kept = [rng.permutation(np.flatnonzero(generators == name))[:files] for name in np.unique(generators)]
    return table.take(np.sort(np.concatenate(kept)))


def measure(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """Judge the files of one kind by all detectors, alone and together."""
    table = chosen(given.data, kind, given.files)
    fold_N = crossvalidation.groups(table, given.folds, 0)
    paths = table.column("path").to_pylist()
    trees, other = (settled(load_builtin().get(name)) for name in (TREES, OTHERS[kind]))
    measured = seen_by(trees.prep, paths, given.processes)
    names = trees.prep.names
    parts = {
        "forensic": only(measured, names, FORENSIC),
        "biometric": only(measured, names, BIOMETRIC),
        "forensic and biometric": measured,
    }
    odds = {
        name: out_of_fold(trees, seen, table, fold_N)
        for name, seen in parts.items()
        if len(seen) > len(paths) // 2
    }
    odds[other.name] = out_of_fold(other, seen_by(other.prep, paths, given.processes), table, fold_N)
    for name in [name for name in odds if name != other.name]:
        both = odds[name].keys() & odds[other.name].keys()
        odds[f"{other.name} alone on the same files"] = {row: odds[other.name][row] for row in sorted(both)}
        odds[f"{other.name} and {name}"] = {
            row: (odds[name][row] + odds[other.name][row]) / 2 for row in sorted(both)
        }
    return {name: figures(each, table) for name, each in odds.items()}


def aggregate_of(spec: ModelSpec) -> Any:
    """Return how logits of Examples become that of a file."""
    return load_modalities().get(spec.modality).aggregate


def settled(spec: ModelSpec) -> Any:
    """Return a model whose Prep names all that it does."""
    return dataclasses.replace(spec, prep=spec.prep.resolved())


def shown(figure: Sequence[float | None]) -> str:
    """Return a figure with its interval."""
    value, low, high = itertools.islice(itertools.chain(figure, itertools.repeat(None)), 3)
    return "-" if value is None else f"{value:.3f} [{low or 0:.3f}, {high or 0:.3f}]"


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=[*OTHERS], default=[*OTHERS])
    parser.add_argument("--files", type=int, default=400, help="of each generator, at most")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="that prepare files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "evidence-votes.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for kind in given.kinds:
        results[kind] = measure(kind, given)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        for name, found in results[kind].items():
            print(f"{kind:6} {name:46} {found['files']:5} files  AUC {shown(found['auc'])}", flush=True)


if __name__ == "__main__":
    main()
