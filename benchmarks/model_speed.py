"""What formats bring, what a file costs that comes again, and what four seconds of sound cost.

    python -m benchmarks.model_speed --media FOLDER --rounds 10

Three tables, each of one run in which all ways take turns. Weights are fresh: time does not depend on them.
1. EfficientNet-B0 and B4 by PyTorch in float32, batches of 8, beside each format that runs here. The
   baseline is PyTorch as most people run it, pictures by channels ([N, C, H, W]); ``eager``, which has the
   channels last, is a row of its own. Goals: 5 times for B0 and 3 for B4; int8 files of at most 0.30.
2. One picture, clip and recording judged for the first time, and again with what was kept; reading the file
   and its digest are part of both. Goal: less than 5 ms.
3. Four seconds of sound from bytes to verdict by a light model. Goal: at most 20 ms.

Medians are printed, of the ratios those of the same rounds' medians.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import tempfile
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from deepscan.detector import Detector
from deepscan.errors import AbstainError
from deepscan.formats import network_of
from deepscan.formats.batches import hardware
from deepscan.formats.eager import EagerRunner
from deepscan.media.encode import encode_wav
from deepscan.media.source import SOUND_RATE_HZ, Media
from deepscan.models.catalog import load_builtin
from deepscan.optimize.benchmark import fresh_bundle
from deepscan.optimize.export import export
from deepscan.optimize.held_out import Sample
from deepscan.optimize.measure import noise_of, speeds
from deepscan.optimize.profile import timed
from deepscan.optimize.quantize import Quantized, quantize_static
from deepscan.pipeline import Kept, analyze

LARGE = ("efficientnet-b0", "efficientnet-b4")
LIGHT = ("mobilenet-v2", "residual-gru", "gru-light")
EXPORTS = (("onnx", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))
EAGER = "eager float32"
PLAIN = "plain PyTorch"
INT8_FORMATS = ("onnx", "openvino")
SEEN = 16
"""Examples of noise by which int8 finds its ranges: time does not depend on them."""
BATCH = 8
KEPT_BYTES = 64 * 2**20
GOALS = {"efficientnet-b0": 5.0, "efficientnet-b4": 3.0, "int8_bytes": 0.3, "again_ms": 5.0, "sound_ms": 20.0}


def ways_of(name: str, folder: pathlib.Path) -> dict[str, Detector]:
    """Return a model with fresh weights in every format."""
    spec = load_builtin().get(name)
    eager = fresh_bundle(folder / "eager", spec, spec.prep.resolved())
    ways = {EAGER: Detector.load(eager, "cpu")}
    for form, precision in EXPORTS:
        out = export(eager, form, folder / f"{form}-{precision}", precision).bundle.path
        ways[f"{form} {precision}"] = Detector.load(out, "cpu")
    return ways


def plain(path: pathlib.Path) -> EagerRunner:
    """Return a bundle's model as PyTorch runs it by default: channels first."""
    module = network_of(Detector.load(path, "cpu").runner).to(memory_format=torch.contiguous_format)
    first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: tuple(each.contiguous() for each in given))
    return EagerRunner(module.eval(), torch.device("cpu"))


def in_int8(path: pathlib.Path, folder: pathlib.Path) -> dict[str, Quantized]:
    """Return a bundle in int8, by format."""
    inputs = noise_of(Detector.load(path, "cpu").prep.inputs, SEEN)
    file_N = np.arange(SEEN)
    sample = Sample(inputs=inputs, label=(file_N % 2).astype(np.float32), file=file_N)
    return {
        f"{form} int8": quantize_static(path, sample, folder / f"{form}-int8", form, None, 1.0)
        for form in INT8_FORMATS
    }


def formats(rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """Return milliseconds of a batch and times as fast as plain PyTorch, by model and format."""
    found: dict[str, Any] = {}
    for name in LARGE:
        ways = ways_of(name, folder / name)
        path = ways[EAGER].bundle.path
        small = in_int8(path, folder / name)
        ways |= {way: Detector.load(each.bundle.path, "cpu") for way, each in small.items()}
        inputs = noise_of(ways[EAGER].prep.inputs, BATCH)
        runners = {PLAIN: plain(path)} | {way: each.runner for way, each in ways.items()}
        told = speeds(runners, inputs, (BATCH,), rounds, 600.0)
        spent_ms = {way: each[BATCH].p50_ms for way, each in told.items()}
        found[name] = {way: {"ms": ms, "times": spent_ms[PLAIN] / ms} for way, ms in spent_ms.items()}
        for way, each in small.items():
            found[name][way]["bytes"] = each.bytes[0] / each.bytes[1]
        for way, row in found[name].items():
            size = f"  {row['bytes']:.3f} of the size" if "bytes" in row else ""
            print(f"{name:16s} {way:18s} {row['ms']:8.1f} ms  {row['times']:5.2f} times{size}", flush=True)
    return found


def again(paths: list[pathlib.Path], rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """Return milliseconds of the first time and of the next, for a file that each light model can judge."""
    found: dict[str, Any] = {}
    for name in LIGHT:
        spec = load_builtin().get(name)
        detector = Detector.load(fresh_bundle(folder / name, spec, spec.prep.resolved()), "cpu")
        path = next(each for each in paths if able(each, detector))
        pairs = [twice(path, detector) for _ in range(rounds)]
        first_ms, again_ms = (statistics.median(each) for each in zip(*pairs, strict=True))
        found[name] = {"file": path.suffix, "first_ms": first_ms, "again_ms": again_ms}
        print(f"{name:16s} {path.suffix} first {first_ms:.1f} ms  again {again_ms:.2f} ms", flush=True)
    return found


def twice(path: pathlib.Path, detector: Detector) -> tuple[float, float]:
    """Judge a file and judge it again; return the milliseconds of both."""
    kept = Kept(KEPT_BYTES)

    def judge_it() -> None:
        assert analyze(Media.from_path(path, probing=kept.probe), [detector], kept=kept).scores, (
            "the detector voted"
        )

    return timed(judge_it)[1], timed(judge_it)[1]


def able(path: pathlib.Path, detector: Detector) -> bool:
    """Tell whether a detector can judge a file."""
    media = Media.from_path(path)
    if not detector.modality.accepts(media):
        return False
    try:
        detector.prep(media)
    except AbstainError:
        return False
    return True


def judge(data: bytes, detector: Detector) -> None:
    """Judge the bytes of a recording."""
    assert analyze(Media.from_bytes(data, "4s.wav"), [detector]).scores, "the detector voted"


def sound(rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """Return milliseconds from the bytes of four seconds of sound to a verdict, by format."""
    ways = ways_of("gru-light", folder / "sound")
    rng = np.random.default_rng(0)
    wave_N = 0.1 * rng.standard_normal(4 * SOUND_RATE_HZ).astype(np.float32)
    data = encode_wav(wave_N)
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, detector in ways.items():
            spent[way].append(timed(partial(judge, data, detector))[1])
    found = {way: {"ms": statistics.median(each[1:])} for way, each in spent.items()}
    for way, row in found.items():
        print(f"4 s of sound     {way:18s} {row['ms']:8.1f} ms", flush=True)
    return found


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True, help="pictures, clips and sound")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    paths = sorted(path for path in given.media.rglob("*.*") if path.suffix not in (".md", ".tsv"))
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        result = {
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "processor": hardware("cpu"),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "rounds": given.rounds,
            "goals": GOALS,
            "sound": sound(given.rounds, root),
            "again": again(paths, given.rounds, root),
            "formats": formats(given.rounds, root),
        }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "model_speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
