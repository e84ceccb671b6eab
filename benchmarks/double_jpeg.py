"""How well pictures that were saved as JPEG twice are told from those saved once, held out by source.

    python -m benchmarks.double_jpeg --media ../shared/media --sources 160

Genuine pictures are shrunk to 192 px, which removes what compression they have had, and saved once or twice.
A logistic regression learns on the measures of half of the sources and judges the other half; the baseline
beside it is the single best measure, which learns nothing. Qualities are drawn anew for every picture.
Then come single pairs of qualities, parts of 72 by 80 px that alone were saved before, and what genuine
files of the folder, as they are, reach of the measures that findings rest on, beside the thresholds.
"""

import argparse
import csv
import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from deepscan.evidence import double_jpeg, ghosts
from deepscan.media.pixels import Picture, decode_picture, resize
from deepscan.media.source import Media
from deepscan.metrics import Predictions, evaluate

SIDE_PX, LARGER_PX = 192, 224
LAST = (70, 75, 80, 85, 90, 95)
COLUMNS = tuple(
    name for name in double_jpeg.MEASURES if name.startswith(("gain", "periodicity", "grid_score"))
)
Draw = Callable[[np.random.Generator, int], int]

ALIGNED: dict[str, tuple[Draw, float | None]] = {
    "first at least 10 below": (lambda rng, last: int(rng.integers(45, last - 9)), 0.99),
    "first 5 to 9 below": (lambda rng, last: last - int(rng.integers(5, 10)), 0.85),
    "first 1 to 4 below": (lambda rng, last: last - int(rng.integers(1, 5)), None),
    "first above": (lambda rng, last: int(rng.integers(last + 1, min(98, last + 15) + 1)), None),
}
"""How the first quality is drawn for a last one, and the AUC that is the goal."""

SHIFTED: dict[str, tuple[Draw, float | None]] = {
    f"{name}, other grid": (draw, None) for name, (draw, _) in ALIGNED.items()
}
PAIRS = ((50, 75), (65, 75), (70, 75), (80, 75), (90, 75), (95, 75), (60, 90), (80, 90), (85, 90), (90, 95))
PARTS = ((50, 75), (60, 75), (60, 90), (75, 90), (88, 95))
PART = (slice(56, 128), slice(56, 136))
MEASURED = {
    "gain_nats": double_jpeg.GAIN_NATS,
    "region_gain_nats": double_jpeg.REGION_NATS,
    "grid_score": double_jpeg.GRID_SCORE,
    "ghost_lead": ghosts.LEAD,
}


def saved(picture: Picture, quality: int) -> bytes:
    """Save as JPEG with halved chroma."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def row_of(data: bytes) -> list[float]:
    """Return the columns of one file."""
    measured = double_jpeg.testify(Media.from_bytes(data, "made.jpg")).measurements
    return [measured[name] for name in COLUMNS]


def once(large: Picture, last: int) -> bytes:
    """Cut out the middle and save it once."""
    return saved(large[16:208, 16:208], last)


def twice(large: Picture, first: int, last: int, shift: tuple[int, int]) -> bytes:
    """Save, cut out the middle off the grid by some pixels, and save that."""
    again = decode_picture(saved(large, first))
    down, across = 16 + shift[0], 16 + shift[1]
    return saved(np.ascontiguousarray(again[down : down + SIDE_PX, across : across + SIDE_PX]), last)


def shift_of(rng: np.random.Generator, *, aligned: bool) -> tuple[int, int]:
    """Draw a grid; 0, 0 where it is the same."""
    grid = 0 if aligned else int(rng.integers(1, 64))
    return grid // 8, grid % 8


def pair(
    large: Picture, draw: Draw, rng: np.random.Generator, *, aligned: bool
) -> tuple[list[float], list[float]]:
    """Return the columns of a picture saved once, and of the same saved twice."""
    last = int(rng.choice(LAST))
    shift = shift_of(rng, aligned=aligned)
    return row_of(once(large, last)), row_of(twice(large, draw(rng, last), last, shift))


def table(
    pictures: list[Picture], draws: list[Draw], rng: np.random.Generator, *, aligned: bool
) -> NDArray[np.float64]:
    """Return columns, float64 [draws, pictures, 2, columns]: saved once, saved twice."""
    made = [[pair(picture, draw, rng, aligned=aligned) for picture in pictures] for draw in draws]
    return np.array(made, np.float64)


def auc(logits_N2: NDArray[np.float64], sources: list[str]) -> tuple[float | None, ...]:
    """Return the AUC with its 95 % interval over sources."""
    logit = logits_N2.ravel()
    files = Predictions(
        label=np.tile([0, 1], len(logits_N2)),
        logit=logit,
        probability=1 / (1 + np.exp(-np.clip(logit, -30, 30))),
        source=np.repeat(sources, 2),
        generator=np.tile(["", "saved twice"], len(logits_N2)),
    )
    found = evaluate(files, 0.5, np.random.default_rng(0), 300).overall["auc"]
    return found.value, found.low, found.high


def learnt(x_GN2C: NDArray[np.float64]) -> Any:
    """Fit a logistic regression to whether a picture was saved twice; roots tame the tails."""
    x = x_GN2C.reshape(-1, x_GN2C.shape[-1])
    model = make_pipeline(FunctionTransformer(np.cbrt), StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(x, np.tile([0, 1], len(x) // 2))


def judged(
    kinds: dict[str, tuple[Draw, float | None]],
    halves: tuple[list[Picture], list[Picture]],
    sources: list[str],
    *,
    aligned: bool,
) -> tuple[Any, list[dict[str, Any]]]:
    """Learn on one half of the pictures and judge the other, kind by kind."""
    rng = np.random.default_rng(0)
    draws = [draw for draw, _ in kinds.values()]
    model = learnt(table(halves[0], draws, rng, aligned=aligned))
    x_GN2C = table(halves[1], draws, rng, aligned=aligned)
    plain = COLUMNS.index("gain_nats" if aligned else "grid_score")
    rows = []
    for (name, (_, goal)), x_N2C in zip(kinds.items(), x_GN2C, strict=True):
        found = auc(model.decision_function(x_N2C.reshape(-1, len(COLUMNS))).reshape(-1, 2), sources)
        alone = auc(x_N2C[..., plain], sources)
        rows.append({"pair": name, "auc": found, "one_measure": alone, "goal": goal})
    return model, rows


def single_pairs(model: Any, pictures: list[Picture], sources: list[str]) -> list[dict[str, Any]]:
    """Judge held-out pictures by one pair of qualities after the other, on the same grid."""
    rows = []
    for first, last in PAIRS:
        x = np.array(
            [[row_of(once(each, last)), row_of(twice(each, first, last, (0, 0)))] for each in pictures]
        )
        found = auc(model.decision_function(x.reshape(-1, len(COLUMNS))).reshape(-1, 2), sources)
        plain = auc(x[..., COLUMNS.index("gain_nats")], sources)
        rows.append({"pair": f"{first} then {last}", "auc": found, "one_measure": plain, "goal": None})
    return rows


def parts(pictures: list[Picture], sources: list[str]) -> list[dict[str, Any]]:
    """Tell pictures of which a part was saved before from those of which none was, by two measures alone."""
    rows = []
    for first, last in PARTS:
        measured = [[part_measures(each, quality, last) for quality in (None, first)] for each in pictures]
        x_N2C = np.array(measured, np.float64)
        region, ghost = auc(x_N2C[..., 0], sources), auc(x_N2C[..., 1], sources)
        rows.append(
            {"pair": f"a part {first}, all {last}", "auc": region, "one_measure": ghost, "goal": None}
        )
    return rows


def part_measures(large: Picture, first: int | None, last: int) -> tuple[float, float]:
    """Return the gain of the best part and the lead of a ghost; None = no part was saved before."""
    mixed = large.copy()
    if first is not None:
        mixed[PART] = decode_picture(saved(large, first))[PART]
    media = Media.from_bytes(saved(mixed, last), "made.jpg")
    region = double_jpeg.testify(media).measurements["region_gain_nats"]
    return region, ghosts.testify(media).measurements["ghost_lead"]


def genuine(folder: pathlib.Path, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return what genuine files reach of each measure that a finding rests on, by collection."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        media = Media.from_path(folder / row["file"])
        measured = double_jpeg.testify(media).measurements | ghosts.testify(media).measurements
        for name in MEASURED:
            found.setdefault((row["file"].split("/")[1], name), []).append(measured[name])
    return [
        {
            "files": part,
            "measure": name,
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
            "threshold": MEASURED[name],
            "unusual_share": float(np.mean(np.array(values) > MEASURED[name])),
        }
        for (part, name), values in found.items()
    ]


def spread(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Return about so many rows, evenly over the list."""
    return rows[:: max(1, len(rows) // count)][:count]


def tell(result: dict[str, list[dict[str, Any]]]) -> None:
    """Print the tables."""
    other = {"parts": "ghost lead"}
    for name in ("aligned", "shifted", "pairs", "parts"):
        for row in result[name]:
            alone = f"{other.get(name, 'one measure')} {row['one_measure'][0]:.3f}"
            goal = f"goal {row['goal']:.2f}" if row["goal"] else ""
            value, low, high = row["auc"]
            print(f"{row['pair']:38s} AUC {value:.3f} [{low:.3f}, {high:.3f}]  {alone}  {goal}")
    for row in result["genuine"]:
        print(
            f"{row['files']:9s} {row['measure']:16s} median {row['median']:.4f}  95 % below {row['p95']:.4f} "
            f" threshold {row['threshold']:g}: {row['unusual_share']:.1%} of genuine, goal at most 5 %"
        )


def main() -> None:
    """Make the pictures, learn, judge and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--sources", type=int, default=160)
    parser.add_argument("--genuine", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    with (given.media / "manifest.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith("image/real")]
    large = [row for row in rows if row["file"].startswith("image/real/")]
    chosen = spread(sorted(large, key=lambda row: row["source"]), given.sources)
    assert len({row["source"] for row in chosen}) == len(chosen)
    pictures = [
        resize(decode_picture((given.media / row["file"]).read_bytes()), LARGER_PX, LARGER_PX)
        for row in chosen
    ]
    halves, sources = (pictures[::2], pictures[1::2]), [row["source"] for row in chosen[1::2]]
    model, aligned = judged(ALIGNED, halves, sources, aligned=True)
    _, shifted = judged(SHIFTED, halves, sources, aligned=False)
    pool = [row for row in rows if row not in large]
    result = {
        "aligned": aligned,
        "shifted": shifted,
        "pairs": single_pairs(model, halves[1], sources),
        "parts": parts(halves[1], sources),
        "genuine": genuine(given.media, spread(large, given.genuine) + spread(pool, given.genuine)),
    }
    tell(result)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "double_jpeg.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
