"""Where the time of one verdict goes, for each kind of media: decoding, finding and cutting, features, model.

    python benchmarks/stages.py --data MANIFEST --files 8

The manifest has a column ``modality``. Models have fresh weights, for time does not depend on them. The
baseline of every row is its whole; shares of it are printed beside the milliseconds (medians over files).
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from deepscan.datasets import layout
from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.modalities import batch
from deepscan.models import ModelSpec
from deepscan.models.catalog import load_builtin
from deepscan.series import STANDARD

MODELS = (*STANDARD, "efficientnet-b0-bilstm", "mobilenet-v2-lstm", "cnn-gru", "sinc-resnet")
STAGES = ("decode", "find and cut", "features", "model")


def clock(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work gives and how many milliseconds it took."""
    start_s = time.perf_counter()
    return work(), 1000 * (time.perf_counter() - start_s)


def decode(media: Media, spec: ModelSpec) -> None:
    """Do what a Prep has to decode, and no more."""
    sampling = getattr(spec.prep, "sampling", None)
    if sampling is not None:
        count = sampling.count * getattr(spec.prep, "segments", 1)
        for _ in media.frames(dataclasses.replace(sampling, count=count)):
            pass
    elif "wave" in spec.prep.columns:
        _ = media.sound_N
    else:
        _ = media.picture_HWC


def measure(path: pathlib.Path, spec: ModelSpec, module: torch.nn.Module) -> dict[str, float] | None:
    """Return milliseconds by stage for a file; None where the Prep abstains."""
    prep = spec.prep.resolved()
    _, decoded_ms = clock(lambda: decode(Media.from_path(path), spec))
    try:
        examples, prepared_ms = clock(lambda: prep(Media.from_path(path)))
    except AbstainError:
        return None
    featured, features_ms = clock(lambda: batch(examples, prep))
    inputs = {name: torch.from_numpy(column) for name, column in featured.items()}
    with torch.no_grad():
        _, model_ms = clock(lambda: module(**inputs))
    return dict(
        zip(STAGES, (decoded_ms, max(0.0, prepared_ms - decoded_ms), features_ms, model_ms), strict=True)
    )


def main() -> None:
    """Measure every model and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, nargs="+")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    result: dict[str, Any] = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "files": given.files,
        "models": {},
    }
    for name in given.model or MODELS:
        spec = load_builtin().get(name)
        module = spec.build(spec.config()).eval()
        tables = [layout.scan(path, where=(f"modality={spec.modality}",)) for path in given.data]
        paths = [pathlib.Path(row["path"]) for table in tables for row in table.to_pylist()]
        step = max(1, len(paths) // given.files)
        rows = [measure(path, spec, module) for path in [paths[0], *paths[::step][: given.files]]][1:]
        times = {stage: statistics.median(row[stage] for row in rows if row) for stage in STAGES}
        whole = sum(times.values())
        result["models"][name] = {"whole_ms": whole, **times}
        shares = "  ".join(f"{stage} {ms:.0f} ms ({ms / whole:.0%})" for stage, ms in times.items())
        print(f"{name:24s} {spec.modality:6s} {whole:6.0f} ms a file: {shares}", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "stages.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
