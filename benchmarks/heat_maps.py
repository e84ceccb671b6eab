"""How well heat maps find what was altered, on faces blended into themselves whose masks are known.

    python -m benchmarks.heat_maps --media ../shared/media --cpu-minutes 8 --out benchmarks/results

A detector is trained from the real faces of one collection, or given by ``--bundle``, and its maps are laid
beside the masks of self-blended faces of another, in which a part at a random place was altered. The pixel
AUC says how far altered pixels have higher values than others, within a picture; the pointing game (Zhang et
al., ECCV 2016) how often the highest value lies on an altered one. Both are measured against the area that
was altered and against the edge of the blend, which is what mask supervision teaches. Beside each method
stand the same method with fresh random weights, and a bump in the middle of the picture, where faces are:
what does not beat both explains nothing.
"""

import argparse
import dataclasses
import datetime
import json
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from deepscan import bundle, config
from deepscan.bundle import Card
from deepscan.datasets import layout
from deepscan.detector import Detector
from deepscan.errors import AbstainError, NoMapError
from deepscan.heatmaps.gradcam import activation_maps
from deepscan.heatmaps.gradients import gradient_maps
from deepscan.heatmaps.masks import mask_maps
from deepscan.heatmaps.occlusion import occlusion_maps
from deepscan.heatmaps.subject import Subject
from deepscan.media import blend
from deepscan.media.faces import Face
from deepscan.media.source import Media
from deepscan.modalities import ALPHA, ALPHA_KNOWN, Example
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec
from deepscan.models.boundary import BoundaryConfig
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Augment

MODEL = "boundary"
CHANNELS = (8, 16, 32, 48)
PAIRS, RATE, WEIGHT_DECAY = 8, 3e-3, 0.05
AUGMENT = Augment(level="flip")

METHODS: dict[str, Callable[[Subject], NDArray[np.float32]]] = {
    "grad-cam": lambda subject: activation_maps(subject, pooled=True),
    "hires-cam": lambda subject: activation_maps(subject, pooled=False),
    "integrated-gradients": lambda subject: gradient_maps(subject)[0],
    "occlusion": occlusion_maps,
    "mask": mask_maps,
}
GOAL = "above both controls"


@dataclasses.dataclass(frozen=True)
class Fake:
    """A self-blended face and the real one of its pair."""

    fake: Example
    real: Example
    media: Media


def faces(
    table: pathlib.Path, where: tuple[str, ...], prep: ImagePrep, most: int
) -> Iterator[tuple[Media, Example]]:
    """Yield the largest face of each picture of a manifest, evenly over it, at most so many."""
    rows = layout.scan(table, where=where).to_pylist()
    found = 0
    for row in rows[:: max(1, len(rows) // (2 * most))]:
        media = Media.from_path(pathlib.Path(row["path"]))
        try:
            example = prep(media)[0]
        except AbstainError:
            continue
        yield media, example
        found += 1
        if found == most:
            return


def pair(example: Example, rng: np.random.Generator, part: bool) -> tuple[Example, Example]:
    """Return the real one and the fake of a pair, changed alike.

    Args:
        example: A real face that fills most of its square.
        rng: Draws everything.
        part: Alter a box of a third to a half of the side, anywhere; else the face.
    """
    side = example["pixels"].shape[0]
    width, height = side * (rng.uniform(0.33, 0.5, 2) if part else np.array([0.55, 0.7]))
    left, top = (
        rng.uniform(0, 1, 2) * (side - width, side - height)
        if part
        else ((side - width) / 2, (side - height) / 2)
    )
    made = blend.self_blend(
        example["pixels"], Face(box_px=(left, top, left + width, top + height), score=1.0), rng
    )
    alpha_HW = np.rint(255 * made.alpha_HW).astype(np.uint8)
    both = [(made.real, np.zeros_like(alpha_HW)), (made.fake, alpha_HW)]
    seed, modality = int(rng.integers(2**31)), load_modalities().get("image")
    real, fake = (
        modality.augment({**example, "pixels": pixels, ALPHA: mask}, AUGMENT, np.random.default_rng(seed))
        for pixels, mask in both
    )
    return real, fake


def train(
    pool: list[Example], spec: ModelSpec, prep: ImagePrep, cpu_s: float, most_s: float
) -> tuple[torch.nn.Module, int]:
    """Train until this process has computed for so long, or so much time has passed; return the steps too."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = spec.build(BoundaryConfig(channels=CHANNELS)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    objective = spec.objective(tuple(prep.inputs), spec.recipe.loss, (1, 1))
    start_s, start_cpu_s, steps = time.monotonic(), time.process_time(), 0
    while True:
        done = max((time.process_time() - start_cpu_s) / cpu_s, (time.monotonic() - start_s) / most_s)
        if done >= 1:
            return network.eval(), steps
        for group in optimizer.param_groups:
            group["lr"] = (
                RATE * min(1.0, (steps + 1) / 20) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
            )
        chosen = rng.choice(len(pool), PAIRS, replace=False)
        made = [each for number in chosen for each in pair(pool[number], rng, rng.random() < 0.5)]
        batch = {
            name: torch.from_numpy(np.stack([each[name] for each in made])) for name in ("pixels", ALPHA)
        }
        batch["label"] = torch.tensor([0.0, 1.0] * PAIRS)
        batch[ALPHA_KNOWN] = torch.ones(2 * PAIRS)
        result = objective(network, batch)
        optimizer.zero_grad(set_to_none=True)
        result["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if steps % 50 == 0:
            print(f"step {steps:5d}  {done:4.0%}  loss {result['loss'].item():.3f}", flush=True)


def save(folder: pathlib.Path, network: torch.nn.Module, prep: ImagePrep) -> Detector:
    """Write a bundle and load it."""
    card = Card(
        name=MODEL,
        model=MODEL,
        model_config=config.to_dict(BoundaryConfig(channels=CHANNELS)),
        modality="image",
        prep=config.to_dict(prep),
        prep_digest=prep.digest,
        files={},
    )
    return Detector.load(bundle.write(folder, card, network).path, "cpu")


def untrained(detector: Detector, pool: list[Example], seed: int, folder: pathlib.Path) -> Detector:
    """Return the detector with fresh random weights, its statistics settled on real faces."""
    torch.manual_seed(seed)
    network = detector.bundle.module()
    for norm in (
        part for part in network.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
    ):
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(pixels=torch.from_numpy(np.stack([example["pixels"] for example in pool[:32]])))
    bundle.write(folder, detector.bundle.card, network.eval())
    return Detector.load(folder, "cpu")


def full(map_hw: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return a map at the size of the picture."""
    fine = functional.interpolate(torch.from_numpy(map_hw)[None, None], (side, side), mode="bilinear")
    return fine[0, 0].numpy()


def judge(map_HW: NDArray[np.float32], alpha_HW: NDArray[np.uint8]) -> dict[str, float]:
    """Return the pixel AUC and whether the peak hits, for the altered area and for the edge of the blend."""
    share_HW = alpha_HW / max(1, alpha_HW.max())
    figures = {}
    for name, truth_HW in (("area", share_HW >= 0.5), ("edge", 4 * share_HW * (1 - share_HW) >= 0.5)):
        figures[f"{name}_auc"] = float(roc_auc_score(truth_HW.ravel(), map_HW.ravel()))
        figures[f"{name}_hit"] = float(truth_HW.ravel()[map_HW.argmax()])
    return figures


def measure(detector: Detector, fakes: list[Fake]) -> dict[str, dict[str, float]]:
    """Return the mean figures of every method over the fakes; methods that cannot are left out."""
    table = {}
    for name, method in METHODS.items():
        try:
            rows = []
            for each in fakes:
                subject = Subject.of(detector, each.media.facts, [each.fake])
                map_HW = full(np.ascontiguousarray(method(subject)[0, 0]), each.fake[ALPHA].shape[0])
                rows.append(judge(map_HW, each.fake[ALPHA]))
        except NoMapError as error:
            print(f"{name}: {error}")
            continue
        table[name] = summary(rows)
        print(f"measured {name}", flush=True)
    return table


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every figure, and half of the 95 % interval of the first AUC."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    spread = float(np.std([row["area_auc"] for row in rows], ddof=1))
    return means | {"area_auc_margin": 1.96 * spread / math.sqrt(len(rows))}


def bump(fakes: list[Fake]) -> dict[str, float]:
    """Return the figures of a map that is a bump in the middle, whatever the picture."""
    side = fakes[0].fake[ALPHA].shape[0]
    away = np.abs(np.arange(side) + 0.5 - side / 2) / side
    map_HW = np.exp(-4 * (away[:, None] ** 2 + away[None] ** 2)).astype(np.float32)
    return summary([judge(map_HW, each.fake[ALPHA]) for each in fakes])


def show(title: str, row: dict[str, float]) -> None:
    """Print a line of the table."""
    print(
        f"{title:40s} area AUC {row['area_auc']:.3f} ± {row['area_auc_margin']:.3f}"
        f"  hit {row['area_hit']:.2f}   edge AUC {row['edge_auc']:.3f}  hit {row['edge_hit']:.2f}"
    )


def picture_auc(detector: Detector, fakes: list[Fake]) -> float:
    """Return how well the detector tells the fakes from the real ones of their pairs."""
    examples = [example for each in fakes for example in (each.real, each.fake)]
    return float(roc_auc_score([0, 1] * len(fakes), detector.run(examples)["logit"]))


def options() -> argparse.Namespace:
    """Return what was given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--train-on", default="source=celeba-*", help="condition on columns, of real faces")
    parser.add_argument("--judge-on", default="source=ffhq-*", help="condition on columns, of others")
    parser.add_argument("--bundle", type=pathlib.Path, help="a detector of pictures; else one is trained")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the bundle that is trained")
    parser.add_argument("--cpu-minutes", type=float, default=8.0, help="of training, on one thread")
    parser.add_argument("--most-minutes", type=float, default=12.0, help="of training, by the clock")
    parser.add_argument("--faces", type=int, default=400, help="to train on")
    parser.add_argument("--fakes", type=int, default=60, help="to judge")
    parser.add_argument("--size-px", type=int, default=96)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    return parser.parse_args()


def main() -> None:
    """Train or load a detector, measure its maps and the controls, and write the figures."""
    given = options()
    torch.set_num_threads(1)
    table = given.media / "manifest.tsv"
    spec = load_builtin().get(MODEL)
    prep = dataclasses.replace(spec.prep, size_px=given.size_px).resolved()
    given_detector = Detector.load(given.bundle, "cpu") if given.bundle else None
    prep = given_detector.prep if given_detector else prep
    pool = [example for _, example in faces(table, (given.train_on,), prep, given.faces)]
    rng = np.random.default_rng(1)
    judged = list(faces(table, (given.judge_on,), prep, given.fakes))
    fakes = [
        Fake(fake, real, media) for media, example in judged for real, fake in [pair(example, rng, part=True)]
    ]
    with tempfile.TemporaryDirectory() as place:
        folder, steps = pathlib.Path(place), 0
        if given_detector is None:
            network, steps = train(pool, spec, prep, 60 * given.cpu_minutes, 60 * given.most_minutes)
            given_detector = save(given.keep or folder / "trained", network, prep)
        result = {
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "model": given_detector.bundle.card.model,
            "steps": steps,
            "pairs_a_step": PAIRS,
            "faces_trained_on": len(pool),
            "fakes_judged": len(fakes),
            "goal": GOAL,
            "picture_auc": picture_auc(given_detector, fakes),
            "trained": measure(given_detector, fakes),
            "random_weights": measure(untrained(given_detector, pool, 7, folder / "fresh"), fakes),
            "bump_in_the_middle": bump(fakes),
        }
    print(
        f"{len(fakes)} fakes of other people, which the detector tells from real with AUC "
        f"{result['picture_auc']:.3f}; goal: {GOAL}"
    )
    for name, row in result["trained"].items():
        show(name, row)
        show(f"  {name}, random weights", result["random_weights"][name])
    show("a bump in the middle", result["bump_in_the_middle"])
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "heat_maps.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
