"""How well the measures of up-sampling tell pictures of doubled size from pictures that were never enlarged.

    python -m benchmarks.upsampling_traces --media ../shared/media

Each picture is halved by averaging and doubled again by nearest neighbours, bilinearly or by a transposed
convolution whose smooth kernel is drawn at random; the baseline is the same picture untouched, or blurred at
random, which takes away as much detail without doubling anything. A logistic regression learns from the first
half of the sources and is judged on the other one; beside it stand the spectrum alone and the echo alone, of
which nothing is learned. AUC with 95 % intervals over sources; the goal is 0.92, clean and after JPEG 75.
"""

import argparse
import json
import pathlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.genuine import Pixels, genuine, rounded, saved
from deepscan.evidence import upsampling
from deepscan.media.source import Media
from deepscan.metrics import Predictions, evaluate
from deepscan.verdict import Evidence

GOAL = 0.92
KINDS = ("nearest", "bilinear", "transposed")
SAVED = {"clean": None, "jpeg-75": 75}
GENUINE = ("untouched", "blurred")
COLUMNS = {"all": "", "spectrum": "band_", "echo": "echo_"}


def doubled(picture_HWC: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a picture of twice the size."""
    height, width = picture_HWC.shape[:2]
    if kind == "nearest":
        return picture_HWC.repeat(2, 0).repeat(2, 1)
    if kind == "bilinear":
        return np.asarray(cv2.resize(picture_HWC, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR))
    sparse_HWC = np.zeros((2 * height, 2 * width, 3))
    sparse_HWC[::2, ::2] = picture_HWC
    sides = [np.exp(-0.5 * ((np.arange(4) - 1.5) / rng.uniform(0.6, 1.2)) ** 2) for _ in range(2)]
    kernel = np.outer(*sides) * (1 + rng.normal(0, 0.1, (4, 4)))
    return rounded(cv2.filter2D(sparse_HWC, -1, 4 * kernel / kernel.sum()))


def made(picture_HWC: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a picture as one of ``GENUINE`` or ``KINDS``."""
    if kind == "untouched":
        return picture_HWC
    if kind == "blurred":
        return np.asarray(cv2.GaussianBlur(picture_HWC, (0, 0), rng.uniform(0.6, 1.5)))
    height, width = picture_HWC.shape[:2]
    half_HWC = cv2.resize(picture_HWC, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return doubled(np.asarray(half_HWC), kind, rng)


def measured(media: pathlib.Path, pictures: int, quality: int | None) -> dict[str, list[Evidence]]:
    """Return what the analyzer says of every picture as each kind, evenly many of the sources."""
    found = genuine(media)
    found = found[:: max(1, len(found) // pictures)][:pictures]
    evidence: dict[str, list[Evidence]] = {}
    for number, kind in enumerate((*GENUINE, *KINDS)):
        for index, each in enumerate(found):
            pixels_HWC = made(each.picture_HWC, kind, np.random.default_rng([number, index]))
            file = Media.from_bytes(saved(pixels_HWC, quality), each.file)
            evidence.setdefault(kind, []).append(upsampling.testify(file))
    return evidence


def judged(
    evidence: dict[str, list[Evidence]], kinds: tuple[str, ...], real: str, column: str
) -> Predictions:
    """Return predictions for the second half of the sources, learned on the first one."""
    names = [name for name in upsampling.MEASURES if name.startswith(COLUMNS[column])]
    groups = (real, *kinds)
    x, label, at = [], [], []
    for kind in groups:
        for index, each in enumerate(evidence[kind]):
            x.append([each.measurements[name] for name in names])
            label.append(int(kind != real))
            at.append(index)
    features, labels, indices = np.asarray(x), np.asarray(label), np.asarray(at)
    train = indices < len(evidence[real]) // 2
    logit = features.mean(1)
    if column != "echo":
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        logit = model.fit(features[train], labels[train]).decision_function(features)
    return predictions(labels[~train], logit[~train], indices[~train])


def predictions(label: NDArray[Any], logit: NDArray[Any], source: NDArray[Any]) -> Predictions:
    """Return predictions of one kind of fakes."""
    return Predictions(
        label=label,
        logit=logit,
        probability=1 / (1 + np.exp(-np.clip(logit, -50, 50))),
        source=source.astype(str),
        generator=np.where(label == 1, "doubled", ""),
    )


def main() -> None:
    """Make the pictures, judge them and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    result: dict[str, Any] = {"pictures": given.pictures, "goal_auc": GOAL, "auc": {}, "unusual_share": {}}
    for name, quality in SAVED.items():
        evidence = measured(given.media, given.pictures, quality)
        for kind, said in evidence.items():
            share = float(np.mean([each.finding == "unusual" for each in said]))
            result["unusual_share"][f"{name}, {kind}"] = share
            print(f"{name:8s} {kind:11s} called unusual: {share:6.1%}")
        for real in GENUINE:
            for kinds in (*((kind,) for kind in KINDS), KINDS):
                for column in COLUMNS:
                    files = judged(evidence, kinds, real, column)
                    auc = evaluate(files, 0.5, np.random.default_rng(0), 300).overall["auc"]
                    key = f"{name}, {'+'.join(kinds)} against {real}, {column}"
                    result["auc"][key] = (auc.value, auc.low, auc.high)
                    print(f"{key:75s} {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]  goal {GOAL}")
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (given.out / "upsampling_traces.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
