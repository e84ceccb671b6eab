"""How far silence and loudness alone tell real from synthetic recordings, before and after preparation.

    python benchmarks/audio_probes.py --data MANIFEST --where modality=audio

A detector of voices is worth what it adds to these. The baseline is the recording as it is; beside it
stands the same probe on what the audio preparation hands to a model. Each probe is a logistic regression
on a handful of numbers, judged out of fold, folds grouped by source; figures with 95 % intervals over
sources. After preparation both should be near 0.5.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepscan.datasets import layout
from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.metrics import Figure, Predictions, evaluate
from deepscan.modalities.audio import AudioPrep

RATE_HZ = 16_000
FRAME = 160
QUIET_DB = -35.0


def silence(wave_N: NDArray[np.float32]) -> list[float]:
    """Seconds of quiet at the begin and at the end, and the share of quiet between."""
    frames = wave_N[: len(wave_N) // FRAME * FRAME].reshape(-1, FRAME)
    level_db = 10 * np.log10((frames**2).mean(1) + 1e-10)
    loud = np.flatnonzero(level_db > np.percentile(level_db, 95) + QUIET_DB)
    inner = level_db[loud[0] : loud[-1] + 1]
    quiet = (inner < np.percentile(level_db, 95) + QUIET_DB).mean()
    return [loud[0] * FRAME / RATE_HZ, (len(level_db) - 1 - loud[-1]) * FRAME / RATE_HZ, float(quiet)]


def loudness(wave_N: NDArray[np.float32]) -> list[float]:
    """Level and peak in dB of full scale."""
    return [
        float(10 * np.log10((wave_N**2).mean() + 1e-10)),
        float(20 * np.log10(np.abs(wave_N).max() + 1e-10)),
    ]


def prepared(media: Media) -> NDArray[np.float32]:
    """The first window that a model gets."""
    wave: NDArray[np.float32] = AudioPrep()(media)[0]["wave"] / np.float32(32768)
    return wave


def probe(features: list[list[float]], rows: list[dict[str, object]]) -> Predictions:
    """Judge every file by a regression that was fitted on other sources."""
    label = np.asarray([row["label"] for row in rows])
    source = np.asarray([str(row["source"]) for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    folds = GroupKFold(5, shuffle=True, random_state=0)
    x = np.asarray(features)
    logit = cross_val_predict(model, x, label, groups=source, cv=folds, method="decision_function")
    generator = np.asarray([str(row["generator"]) for row in rows])
    return Predictions(
        label=label, logit=logit, probability=1 / (1 + np.exp(-logit)), source=source, generator=generator
    )


def figures(found: dict[str, Figure]) -> dict[str, tuple[float | None, ...]]:
    """Return AUC and EER, each with its interval."""
    return {name: dataclasses.astuple(found[name]) for name in ("auc", "eer")}


def main() -> None:
    """Probe a data set and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    rows, waves = [], []
    for row in layout.scan(given.data, where=tuple(given.where)).to_pylist():
        media = Media.from_path(pathlib.Path(row["path"]))
        try:
            waves.append((media.sound_N, prepared(media)))
        except AbstainError:
            continue
        rows.append(row)
    result = {}
    for name, measure in (("silence", silence), ("loudness", loudness)):
        for stage in (0, 1):
            files = probe([measure(pair[stage]) for pair in waves], rows)
            found = evaluate(files, 0.5, np.random.default_rng(0), 500)
            key = f"{name}, {'prepared' if stage else 'as recorded'}"
            result[key] = {"all": figures(found.overall)} | {
                generator: figures(part.figures) for generator, part in found.by_generator.items()
            }
    text = json.dumps(result, indent=1)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "audio_probes.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
