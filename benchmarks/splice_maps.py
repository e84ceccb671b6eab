"""How well maps of noise find what was pasted into genuine pictures.

    python -m benchmarks.splice_maps --media ../shared/media

An ellipse of another picture, shifted against its own grid, is pasted into a genuine one; both keep known
histories, one kind of difference at a time. The maps learn nothing and are judged cell by cell against the
mask: mean AUC with 95 % intervals over pictures. The baseline is the pasted picture with the same history
(``same camera``) and chance, 0.5; the goal is 0.85. Pictures come from the last quarter of the sources, on
which no threshold was chosen. ``cfa`` is measured where demosaicking is the difference, ``noise`` elsewhere.
"""

import argparse
import json
import math
import pathlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.genuine import Pixels, genuine, rounded, saved
from deepscan.evidence import cfa, noise
from deepscan.evidence.exhibits import values_of
from deepscan.media.source import Media
from deepscan.metrics import auc
from deepscan.verdict import Evidence

GOAL = 0.85
KINDS = ("grainier", "smoother", "other sensor", "resampled", "other jpeg", "same camera", "demosaicked")
NOISE_KINDS = KINDS[:3]
SAVED = {"png": None, "jpeg-95": 95, "jpeg-90": 90}
Masks = NDArray[np.bool_]


def mask(height: int, width: int, rng: np.random.Generator) -> Masks:
    """Return an ellipse at random, 5 to 15 % of the picture."""
    half = rng.uniform(0.12, 0.22, 2) * (height, width)
    centre = rng.uniform(0.28, 0.72, 2) * (height, width)
    turn = rng.uniform(0, math.pi)
    y_HW, x_HW = np.mgrid[:height, :width] - centre[:, None, None]
    along_HW = (y_HW * math.cos(turn) + x_HW * math.sin(turn)) / half[0]
    across_HW = (x_HW * math.cos(turn) - y_HW * math.sin(turn)) / half[1]
    inside_HW: Masks = along_HW**2 + across_HW**2 < 1
    return inside_HW


def spliced(kind: str, host_HWC: Pixels, guest_HWC: Pixels, rng: np.random.Generator) -> tuple[Pixels, Masks]:
    """Return a picture with a part of another one, and where it is."""
    host, guest = (
        host_HWC.astype(np.float64),
        np.roll(guest_HWC, rng.integers(1, 8, 2), (0, 1)).astype(np.float64),
    )
    grain = rng.uniform(2, 6)
    if kind == "grainier":
        guest = guest + rng.normal(0, grain, guest.shape)
    elif kind == "smoother":
        host = host + rng.normal(0, grain, host.shape)
    elif kind == "other sensor":
        gains = rng.permutation([rng.uniform(0.02, 0.08), rng.uniform(0.2, 0.6)])
        host, guest = (
            x + rng.normal(size=x.shape) * np.sqrt(gain * x)
            for x, gain in zip((host, guest), gains, strict=True)
        )
    elif kind == "resampled":
        height, width = guest.shape[:2]
        share = 1 / rng.uniform(1.3, 2)
        part = guest[: round(height * share), : round(width * share)]
        guest = cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == "other jpeg":
        guest = recompressed(rounded(guest), int(rng.integers(30, 60))).astype(np.float64)
    elif kind == "demosaicked":
        host, guest = (x + rng.normal(0, 2, x.shape) for x in (host, guest))
        host = demosaicked(host)
    inside_HW = mask(*host.shape[:2], rng)
    return rounded(np.where(inside_HW[..., None], guest, host)), inside_HW


def recompressed(picture_HWC: Pixels, quality: int) -> Pixels:
    """Return a picture after JPEG."""
    return Media.from_bytes(saved(picture_HWC, quality), "guest").picture_HWC


def demosaicked(picture_HWC: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what a Bayer sensor and bilinear interpolation make of a picture."""
    height, width = picture_HWC.shape[:2]
    row_HW, column_HW = np.mgrid[:height, :width] % 2
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    measured = (row_HW + column_HW == 0, row_HW != column_HW, row_HW + column_HW == 2)
    planes = [
        cv2.filter2D(picture_HWC[..., c] * where_HW, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        for c, (where_HW, kernel) in enumerate(zip(measured, (square, cross, square), strict=True))
    ]
    return np.stack(planes, axis=-1)


def odd(kind: str, evidence: Evidence) -> NDArray[np.float32]:
    """Return how odd each place of the map is."""
    values_HW = values_of(evidence.pictures[0])
    return -values_HW if kind == "demosaicked" else values_HW


def judged(kind: str, file: Media, inside_HW: Masks) -> tuple[float, bool]:
    """Return the AUC of a map over its cells, and whether the analyzer found the picture unusual."""
    evidence = (cfa if kind == "demosaicked" else noise).testify(file)
    odd_HW = odd(kind, evidence)
    size = (odd_HW.shape[1], odd_HW.shape[0])
    cells_HW = cv2.resize(inside_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    found = auc(cells_HW.ravel().astype(np.int64), odd_HW.ravel().astype(np.float64))
    assert found is not None
    return found, evidence.finding == "unusual"


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval, by drawing pictures again."""
    drawn = np.random.default_rng(0).choice(values, (1000, len(values))).mean(1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def main() -> None:
    """Make the splices, judge the maps and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    found = genuine(given.media)
    held = found[len(found) * 3 // 4 :][: 2 * given.pictures]
    pairs = list(zip(held[::2], held[1::2], strict=False))
    result: dict[str, Any] = {"pictures": len(pairs), "goal_auc": GOAL, "kinds": {}}
    for name, quality in SAVED.items():
        for number, kind in enumerate(KINDS):
            judgements = []
            for index, (host, guest) in enumerate(pairs):
                rng = np.random.default_rng([number, index])
                pixels_HWC, inside_HW = spliced(kind, host.picture_HWC, guest.picture_HWC, rng)
                file = Media.from_bytes(saved(pixels_HWC, quality), host.file)
                judgements.append(judged(kind, file, inside_HW))
            mean, low, high = interval([area for area, _ in judgements])
            share = float(np.mean([unusual for _, unusual in judgements]))
            result["kinds"][f"{kind}, {name}"] = {"auc": (mean, low, high), "unusual_share": share}
            print(
                f"{kind:13s} {name:8s} AUC {mean:.3f} [{low:.3f}, {high:.3f}]  goal {GOAL}  "
                f"called unusual {share:.0%}"
            )
        at = [result["kinds"][f"{kind}, {name}"]["auc"][0] for kind in NOISE_KINDS]
        print(f"{'noise kinds':13s} {name:8s} AUC {np.mean(at):.3f}  goal {GOAL}")
    for analyzer in (noise, cfa):
        said = [
            analyzer.testify(Media.from_bytes((given.media / each.file).read_bytes(), each.file))
            for each in held
        ]
        share = float(np.mean([each.finding == "unusual" for each in said]))
        result[f"{said[0].analyzer}_unusual_share_of_genuine"] = share
        print(f"{said[0].analyzer}: {share:.1%} of {len(held)} untouched pictures called unusual, goal 5 %")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "splice_maps.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
