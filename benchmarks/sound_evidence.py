"""How well the analyzers of sound find what was done to a recording, and what they see in synthetic voices.

    python -m benchmarks.sound_evidence --media ../shared/media --out benchmarks/results/sound_evidence.json

First, genuine recordings of as many speakers are manipulated with known truth, and one measure of one
analyzer tells untouched from manipulated: its AUC stands beside the goal. Then the measures of each
analyzer, by a logistic regression whose folds are grouped by source, tell the genuine recordings of the
folder from the synthetic ones of the same sentences and rate (out of fold; only there do rate, codec and
speaker give nothing away). Last, how often an analyzer calls genuine and synthetic recordings unusual.
Intervals are 95 %, over sources.
"""

import argparse
import csv
import io
import json
import pathlib
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepscan import pipeline
from deepscan.evidence import mains
from deepscan.evidence.catalog import load_builtin
from deepscan.media import vocode
from deepscan.media.source import Media
from deepscan.metrics import Figure, Predictions, evaluate

RATE_HZ = 16_000
LONGEST_S, SHORTEST_S = 12, 8
GOAL = 0.9
"""AUC on manipulations."""

UNUSUAL_GOAL = 0.05
"""Share of genuine recordings that may be called unusual."""

NAMES = ("bandwidth", "phase", "resampled_sound", "splices", "vocoder")
Wave = NDArray[np.floating]
Row = dict[str, str]


def file_of(wave_N: Wave, rate_hz: int = RATE_HZ) -> Media:
    """Return sound as a WAV file of 16 bits, as most manipulated sound is kept."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(np.clip(wave_N, -1, 1) * 32767).astype("<i2").tobytes())
    return Media.from_bytes(stream.getvalue(), "a.wav")


def measured(media: Media, name: str) -> dict[str, float]:
    """Return the measurements of an analyzer; none where it abstains."""
    return pipeline.testify(media, [load_builtin().get(name)])[0].measurements


def speed(wave_N: Wave, factor: float) -> Wave:
    """Interpolate linearly to ``factor`` times as many samples."""
    return np.interp(np.arange(0, len(wave_N) - 1, 1 / factor), np.arange(len(wave_N)), wave_N)


def halved(wave_N: Wave) -> Wave:
    """Bring to half the rate and back."""
    return scipy.signal.resample_poly(scipy.signal.resample_poly(wave_N, 1, 2), 2, 1)


def joined(wave_N: Wave, other_N: Wave, rng: np.random.Generator) -> tuple[Wave, float]:
    """Cut anywhere to another speaker of the same loudness; also the time of the cut."""
    first, second = (int(rng.uniform(3, len(each) / RATE_HZ - 3) * RATE_HZ) for each in (wave_N, other_N))
    gain = np.sqrt(np.mean(wave_N**2) / np.mean(other_N**2))
    return np.concatenate([wave_N[:first], gain * other_N[second:]]), first / RATE_HZ


def hum(wave_N: Wave, level_db: float, jump_deg: float, rng: np.random.Generator) -> Wave:
    """Add hum of 50 Hz so far below the voice, the phase of whose second harmonic jumps in the middle."""
    turns = 50.02 * np.arange(len(wave_N)) / RATE_HZ + rng.uniform()
    turns[len(turns) // 2 :] += jump_deg / 720
    line = sum(size * np.cos(2 * np.pi * k * turns) for k, size in ((1, 0.5), (2, 1.0), (3, 0.4), (4, 0.5)))
    return wave_N + np.sqrt(np.mean(wave_N**2)) * 10 ** (level_db / 20) * line


def hum_db(wave_N: Wave) -> float:
    """Level of the hum, 0 where a hum of 60 Hz is stronger; many of the recordings are American."""
    found = mains.find(np.asarray(wave_N, np.float32))
    return found.level_db if found.mains_hz == 50 else 0.0


def muted(wave_N: Wave, rng: np.random.Generator) -> Wave:
    """Silence 50 ms."""
    begin = int(rng.uniform(1, len(wave_N) / RATE_HZ - 1) * RATE_HZ)
    out = wave_N.copy()
    out[begin : begin + RATE_HZ // 20] = 0
    return out


def shortened(wave_N: Wave, rng: np.random.Generator) -> Wave:
    """Take half a second out without fading."""
    begin = int(rng.uniform(2, len(wave_N) / RATE_HZ - 3) * RATE_HZ)
    return np.concatenate([wave_N[:begin], wave_N[begin + RATE_HZ // 2 :]])


def by(name: str, measure: str, sign: int = 1) -> Callable[[Wave], float]:
    """Return what scores sound by one measure of an analyzer."""
    return lambda wave_N: sign * measured(file_of(wave_N), name).get(measure, 0.0)


def cases(rng: np.random.Generator) -> dict[str, tuple[Callable[[Wave], float], Callable[[Wave], Wave]]]:
    """Return by name how a manipulation is scored and made."""
    line, levels = by("resampled_sound", "line_db"), by("vocoder", "levels_sigmas")
    run_on, sharp = by("phase", "coherence", -1), by("phase", "pulse_kurtosis", -1)
    delays = by("phase", "coherence_high")
    jump = by("mains", "phase_jump_deg")
    copies = vocode.VOCODERS
    return {
        "half the rate and back | cut_db": (by("bandwidth", "cut_db"), halved),
        "speed 1.05, linear | line_db": (line, lambda x: speed(x, 1.05)),
        "speed 0.95, linear | line_db": (line, lambda x: speed(x, 0.95)),
        "22.05 from 16 kHz, linear | line_db": (line, lambda x: speed(x, 22050 / RATE_HZ)),
        "22.05 from 16 kHz, polyphase | line_db": (
            line,
            lambda x: scipy.signal.resample_poly(x, 441, 320),
        ),
        "speed 0.95, polyphase | line_db": (line, lambda x: scipy.signal.resample_poly(x, 19, 20)),
        "Griffin-Lim | coherence": (run_on, lambda x: copies["griffin-lim-80"](x, rng)),
        "random phases | pulse_kurtosis": (sharp, lambda x: copies["random-phase"](x, rng)),
        "cepstral vocoder | coherence_high": (delays, lambda x: copies["cepstral"](x, rng)),
        "LPC vocoder | levels_sigmas": (levels, lambda x: copies["lpc"](x, rng)),
        "hum of 50 Hz at -30 dB | hum_db": (hum_db, lambda x: hum(x, -30, 0, rng)),
        "hum of 50 Hz at -40 dB | hum_db": (hum_db, lambda x: hum(x, -40, 0, rng)),
        "50 ms of silence | inner_silence_ms": (
            by("splices", "inner_silence_ms"),
            lambda x: muted(x, rng),
        ),
        "0.5 s cut out | click_db": (by("splices", "click_db"), lambda x: shortened(x, rng)),
        "hum jumps 90 to 180 degrees | phase_jump_deg": (
            lambda x: jump(x),
            lambda x: hum(x, -15, float(rng.uniform(90, 180)), rng),
        ),
    }


def judged(score: list[float], label: list[int], source: list[str]) -> Figure:
    """Return the AUC of scores with its interval over sources."""
    logit = np.asarray(score)
    files = Predictions(
        label=np.asarray(label),
        logit=logit,
        probability=1 / (1 + np.exp(-np.clip(logit, -30, 30))),
        source=np.asarray(source),
        generator=np.where(np.asarray(label) == 1, "made", ""),
    )
    return evaluate(files, 0.5, np.random.default_rng(0), 500).overall["auc"]


def manipulated(waves: dict[str, Wave]) -> dict[str, dict[str, Any]]:
    """Score every recording before and after each manipulation."""
    rng = np.random.default_rng(0)
    people, table = list(waves), {}
    for name, (score, make) in cases(rng).items():
        # Where the jump is judged both sides have hum: else its presence would be what is told.
        before = [hum(x, -15, 0, rng) if "jumps" in name else x for x in waves.values()]
        scores = [*map(score, before), *(score(make(x)) for x in waves.values())]
        table[name] = row(judged(scores, [0] * len(people) + [1] * len(people), people * 2))
    scores, near = [], []
    others = [*people[1:], people[0]]
    for person, other in zip(people, others, strict=True):
        sound, at_s = joined(waves[person], waves[other], rng)
        before, after = (measured(file_of(x), "splices") for x in (waves[person], sound))
        scores.append((before["background_change_deviations"], after["background_change_deviations"]))
        near.append(abs(after["background_change_s"] - at_s) < 1)
    flat = [score for column in zip(*scores, strict=True) for score in column]
    found = judged(flat, [0] * len(people) + [1] * len(people), people * 2)
    name = "two speakers joined | background_change_deviations"
    table[name] = row(found) | {"within_1_s": float(np.mean(near))}
    return table


def row(figure: Figure) -> dict[str, Any]:
    """Return a figure beside its goal."""
    return {"auc": figure.value, "low": figure.low, "high": figure.high, "goal": GOAL}


def told(rows: list[Row], evidence: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tell real from fake by the measures of each analyzer, and of all."""
    label = [int(each["label"] == "fake") for each in rows]
    source = [each["source"] for each in rows]
    table = {}
    for name in (*NAMES, "all"):
        used = NAMES if name == "all" else (name,)
        x = np.array([[v for each in used for v in said[each].measurements.values()] for said in evidence])
        regression = LogisticRegression(class_weight="balanced", C=0.1, max_iter=500)
        model = make_pipeline(StandardScaler(), regression)
        folds = GroupKFold(5, shuffle=True, random_state=0)
        logit = cross_val_predict(model, x, label, groups=source, cv=folds, method="decision_function")
        parts = {"all": row(judged(list(logit), label, source))}
        for generator in sorted({each["generator"] for each in rows if each["generator"]}):
            keep = [i for i, each in enumerate(rows) if each["generator"] in ("", generator)]
            score, true, of = ([values[i] for i in keep] for values in (logit, label, source))
            parts[generator] = row(judged(score, true, of))
        table[name] = parts
    return table


def read(media: pathlib.Path, count: int) -> tuple[dict[str, Wave], list[Row], list[Row]]:
    """Return recordings of ``count`` speakers, rows of matched recordings, rows of other genuine ones."""
    with (media / "manifest.tsv").open(encoding="utf-8") as file:
        rows = [each for each in csv.DictReader(file, delimiter="\t") if each["file"].startswith("audio/")]
    speech = [each for each in rows if "librispeech" in each["file"]]
    waves: dict[str, Wave] = {}
    others: dict[str, dict[str, str]] = {}
    for each in speech:
        if len(waves) < count and each["source"] not in waves:
            sound_N = Media.from_path(media / each["file"]).sound_N[: LONGEST_S * RATE_HZ]
            if len(sound_N) >= SHORTEST_S * RATE_HZ:
                waves[each["source"]] = sound_N.astype(np.float64)
        elif each["source"] not in waves:
            others.setdefault(each["source"], each)
    matched = [each for each in rows if each["label"] == "fake" or "/gt-" in each["file"]]
    return waves, matched, list(others.values())[: 2 * count]


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    for title in ("manipulated", "real against fake"):
        print(f"\n{title}: AUC [95 %], goal {GOAL}")
        for name, found in result[title].items():
            parts = found if "all" in found else {"": found}
            for part, each in parts.items():
                near = f"  within 1 s: {each['within_1_s']:.2f}" if "within_1_s" in each else ""
                interval = f"[{each['low']:.3f}, {each['high']:.3f}]"
                print(f"  {name:50} {part:24} {each['auc']:.3f} {interval}{near}")
    print(f"\nshare called unusual (goal for genuine: at most {UNUSUAL_GOAL})")
    for name, shares in result["unusual"].items():
        print(f"  {name:18}" + "".join(f" {part}: {share:.3f}" for part, share in shares.items()))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--files", type=int, default=40, help="speakers whose recordings are manipulated")
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    waves, matched, others = read(given.media, given.files)
    analyzers = [load_builtin().get(name) for name in (*NAMES, "mains")]

    def said(each: Row) -> dict[str, Any]:
        media = Media.from_path(given.media / each["file"])
        return {found.analyzer: found for found in pipeline.testify(media, analyzers)}

    pairs = [(each, said(each)) for each in matched]
    kept = [(each, found) for each, found in pairs if not any(found[name].reason for name in NAMES)]
    rows, evidence = [each for each, _ in kept], [found for _, found in kept]
    genuine = [said(each) for each in others]
    groups = {
        "genuine": genuine,
        "genuine, matched": [f for r, f in kept if r["label"] == "real"],
        "synthetic": [f for r, f in kept if r["label"] == "fake"],
    }
    result = {
        "speakers": len(waves),
        "files": {name: len(found) for name, found in groups.items()},
        "manipulated": manipulated(waves),
        "real against fake": told(rows, evidence),
        "unusual": {
            name: {
                part: float(np.mean([each[name].finding == "unusual" for each in found]))
                for part, found in groups.items()
            }
            for name in (*NAMES, "mains")
        },
    }
    show(result)
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
