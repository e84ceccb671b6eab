"""How often a shift between pictures and sound is found within one frame, on real clips.

    python benchmarks/av_sync.py --pictures FOLDER --sounds FOLDER --talks MANIFEST

``clip.mp4`` and ``clip.mp3`` of the same name belong together. Every window of 5 s is given its sound late or
early by a known number of frames. Four ways of finding it are compared in the same run: the towers, trained
on the clips of other people (one of ``--pairs`` is left out at a time); the towers, trained on made talks; a
linear map from the mouth to the sound, learnt from the other seconds of the same clip, which tells how much
can be seen at all; and the baseline, the correlation of what moves in the crop with the loudness, which has
nothing to learn. A guess would be right 3 times in 31. Swapped sound is that of the clip of another person.

The sound of such clips need not be in time to begin with: at which shift the linear map fits each whole clip
best is printed, too. It finds shifts relative to that, the towers and the baseline absolutely.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from deepscan.datasets import layout
from deepscan.errors import AbstainError
from deepscan.media.source import Media
from deepscan.metrics import auc
from deepscan.modalities.av import RATE_HZ, SAMPLES, AvPrep
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Loss

WINDOW, HOP, MARGIN = 125, 25, 15
INJECTED = (-10, -5, 0, 5, 10)
WHOLE_S = 24.0
COMPONENTS, CONTEXT, RIDGE = 12, 7, 2000.0
BANDS_HZ = (100, 400, 700, 1100, 1600, 2200, 3000, 4500, 7500)
FOLDS = 4
LINEAR = "linear map, learnt from the same clip's other seconds"


@dataclasses.dataclass(frozen=True)
class Clip:
    """A face's mouth and its sound, as long as both are there."""

    name: str
    pair: str
    mouth_THW: NDArray[np.uint8]
    wave_N: NDArray[np.int16]

    def windows(self, late: int = 0, hop: int = HOP) -> list[dict[str, NDArray]]:
        """Return windows whose sound is late by so many frames."""
        begins = range(MARGIN, len(self.mouth_THW) - WINDOW - MARGIN + 1, hop)
        return [self.window(begin, begin - late) for begin in begins]

    def window(self, begin: int, heard: int, sound: "Clip | None" = None) -> dict[str, NDArray]:
        """Return the mouth from frame ``begin`` on with the sound from frame ``heard`` on."""
        wave_N = (sound or self).wave_N[heard * SAMPLES : (heard + WINDOW) * SAMPLES]
        mouth = self.mouth_THW[begin : begin + WINDOW]
        return {"mouth": mouth, "wave": wave_N, "mask": np.ones(WINDOW, np.uint8)}


def clip_of(media: Media, pair: str) -> Clip | None:
    """Follow the mouth through all of a clip; None where there is too little of it."""
    seconds = min(WHOLE_S, np.floor(media.facts.duration_s or 0))
    try:
        example = AvPrep(window_s=seconds, max_windows=1).resolved()(media)[0]
    except AbstainError as error:
        print(f"{media.facts.name}: {error}")
        return None
    frames = int(example["mask"].sum())
    return Clip(media.facts.name, pair, example["mouth"][:frames], example["wave"][: frames * SAMPLES])


def batch(windows: Sequence[dict[str, NDArray]]) -> dict[str, torch.Tensor]:
    """Return the model's inputs for windows."""
    featured = [AvPrep().features(window) for window in windows]
    return {name: torch.from_numpy(np.stack([each[name] for each in featured])) for name in featured[0]}


def train(windows: Sequence[dict[str, NDArray]], steps: int) -> torch.nn.Module:
    """Return towers that were trained on aligned windows."""
    spec = load_builtin().get("avsync")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = spec.build(spec.config()).train()
    objective = spec.objective(tuple(spec.prep.inputs), Loss(), (1, 1))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.05)
    everything = batch(windows)
    for _ in range(steps):
        rows = rng.choice(len(windows), min(16, len(windows)), replace=False)
        chosen = {name: column[rows] for name, column in everything.items()}
        loss = objective(module, {**chosen, "label": torch.zeros(len(rows))})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


Finder = Callable[[Sequence[dict[str, NDArray]]], tuple[NDArray, NDArray]]
"""Windows to the shift that is found, in frames, and how little the sound seems to belong to the mouth."""


def by_towers(module: torch.nn.Module) -> Finder:
    """Find the shift by a trained model."""

    def find(windows: Sequence[dict[str, NDArray]]) -> tuple[NDArray, NDArray]:
        with torch.no_grad():
            said = [module(**batch(windows[i : i + 16])) for i in range(0, len(windows), 16)]
        return tuple(
            torch.cat([each[name] for each in said]).numpy() for name in ("measured_offset_frames", "logit")
        )

    return find


def by_energy(windows: Sequence[dict[str, NDArray]]) -> tuple[NDArray, NDArray]:
    """Find the shift at which movement and loudness are most alike."""
    offsets, foreign = [], []
    for window in windows:
        moved = np.abs(np.diff(window["mouth"].astype(np.float32), axis=0)).mean((1, 2))
        power = (window["wave"].astype(np.float64).reshape(WINDOW, -1) ** 2).mean(1)
        loud = np.log(power + 10)[1:]
        alike = {late: correlation(moved, loud, late) for late in range(-MARGIN, MARGIN + 1)}
        offsets.append(max(alike, key=alike.get))
        near = max(alike[late] for late in range(-2, 3))
        foreign.append(np.median(list(alike.values())) - near)
    return np.asarray(offsets), np.asarray(foreign)


def correlation(moved_T: NDArray, loud_T: NDArray, late: int) -> float:
    """Return the correlation of movement with the loudness ``late`` frames later, over all columns."""
    a = moved_T[max(0, -late) : len(moved_T) - max(0, late)]
    b = loud_T[max(0, late) : len(loud_T) - max(0, -late)]
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def seen(mouth_THW: NDArray, learnt_T: NDArray, context: int) -> NDArray:
    """Return principal components of a mouth and their rates, with those of the frames around, [T, F]."""
    flat = mouth_THW.reshape(len(mouth_THW), -1).astype(np.float32)
    flat -= flat[learnt_T].mean(0)
    *_, axes = np.linalg.svd(flat[learnt_T], full_matrices=False)
    shape = flat @ axes[:COMPONENTS].T
    shape /= shape[learnt_T].std(0)
    moments = np.concatenate([shape, np.abs(np.gradient(shape, axis=0))], 1)
    padded = np.pad(moments, [(context, context), (0, 0)], mode="edge")
    around = np.concatenate([padded[i : i + len(moments)] for i in range(2 * context + 1)], 1)
    return (around - around[learnt_T].mean(0)) / around[learnt_T].std(0)


def heard(wave_N: NDArray) -> NDArray:
    """Return the logarithm of the power in each band in each frame, normalised, [T, bands]."""
    frames = wave_N[: len(wave_N) // SAMPLES * SAMPLES].reshape(-1, SAMPLES) * np.hanning(SAMPLES)
    power = np.abs(np.fft.rfft(frames)) ** 2
    hz = np.fft.rfftfreq(SAMPLES, 1 / (SAMPLES * RATE_HZ))
    bands = [power[:, (hz >= low) & (hz < high)].sum(1) for low, high in itertools.pairwise(BANDS_HZ)]
    loud = np.log(np.stack(bands, 1) + 1)
    return (loud - loud.mean(0)) / loud.std(0)


def expected(clip: Clip, sound: NDArray, learnt_T: NDArray, context: int = CONTEXT) -> NDArray:
    """Return the sound that a mouth lets expect, by ridge regression on the frames to learn from."""
    known = seen(clip.mouth_THW, learnt_T, context)
    kernel = known @ known[learnt_T].T
    kernel_LL = kernel[learnt_T] + RIDGE * np.eye(int(learnt_T.sum()))
    return np.asarray(kernel @ np.linalg.solve(kernel_LL, sound[learnt_T]))


def likeness(expected_TB: NDArray, heard_TB: NDArray) -> dict[int, float]:
    """Return the correlation of expected with heard sound for every shift."""
    return {late: correlation(expected_TB, heard_TB, late) for late in range(-MARGIN, MARGIN + 1)}


def own_offset(clip: Clip) -> int:
    """Return the shift at which a clip's held-out quarters are predicted best, in frames.

    Each frame is looked at by itself here: with those around it, the map would make up for a shift.
    """
    frames, sound = len(clip.mouth_THW), heard(clip.wave_N)
    lates = range(-MARGIN, MARGIN + 1)
    shifted = np.concatenate([np.roll(sound, -late, axis=0) for late in lates], 1)
    number = np.arange(frames)
    inside = (number >= MARGIN) & (number < frames - MARGIN)
    fits = np.zeros(len(lates))
    for quarter in range(FOLDS):
        held = inside & (number * FOLDS // frames == quarter)
        guess = np.split(expected(clip, shifted, inside & ~held, 0)[held], len(lates), axis=1)
        true = np.split(shifted[held], len(lates), axis=1)
        fits += [correlation(one, other, 0) for one, other in zip(guess, true, strict=True)]
    return lates[int(fits.argmax())]


def judge_by_own_seconds(clip: Clip, other: Clip) -> dict[str, list[float]]:
    """As ``judge``, by what the rest of the clip tells of a window."""
    result: dict[str, list[float]] = {"error": [], "own": [], "swapped": []}
    frames, sound, foreign = len(clip.mouth_THW), heard(clip.wave_N), heard(other.wave_N)
    for begin in range(MARGIN, frames - WINDOW - MARGIN + 1, HOP):
        learnt_T = np.ones(frames, bool)
        learnt_T[begin - MARGIN : begin + WINDOW + MARGIN] = False
        guess = expected(clip, sound, learnt_T)[begin : begin + WINDOW]
        for late in INJECTED:
            alike = likeness(guess, sound[begin - late :][:WINDOW])
            result["error"].append(abs(max(alike, key=alike.get) - late))
        for name, wrong in (("own", sound[begin:]), ("swapped", foreign[MARGIN:])):
            alike = likeness(guess, wrong[:WINDOW])
            result[name].append(np.median(list(alike.values())) - max(alike[late] for late in range(-2, 3)))
    return result


def judge(find: Finder, clips: Sequence[Clip], others: Sequence[Clip]) -> dict[str, list[float]]:
    """Return errors in frames for every injected shift, and how foreign own and swapped sounds seem."""
    windows = [(w, late) for clip in clips for late in INJECTED for w in clip.windows(late)]
    found, _ = find([window for window, _ in windows])
    own = [window for clip in clips for window in clip.windows()]
    swapped = [
        clip.window(begin, MARGIN, sound)
        for clip, sound in zip(clips, others, strict=False)
        for begin in range(MARGIN, len(clip.mouth_THW) - WINDOW - MARGIN + 1, HOP)
    ]
    return {
        "error": [float(abs(f - late)) for f, (_, late) in zip(found, windows, strict=True)],
        "own": find(own)[1].tolist(),
        "swapped": find(swapped)[1].tolist(),
    }


def told(parts: Sequence[dict[str, list[float]]]) -> dict[str, float | int | None]:
    """Return the figures of one way."""
    error, own, swapped = (
        np.concatenate([part[name] for part in parts]) for name in ("error", "own", "swapped")
    )
    label = np.concatenate([np.zeros(len(own), int), np.ones(len(swapped), int)])
    return {
        "windows": len(own),
        "within_one_frame": float((error <= 1).mean()),
        "auc_own_against_swapped": auc(label, np.concatenate([own, swapped])),
    }


def main() -> None:
    """Compare the three ways and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=pathlib.Path, required=True)
    parser.add_argument("--sounds", type=pathlib.Path, required=True)
    parser.add_argument("--talks", type=pathlib.Path, help="Manifest of `deepscan synthesize --kind av`.")
    parser.add_argument("--pairs", nargs="+", default=["183 253", "469 481", "672 720"])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    clips = []
    for number, pair in enumerate(given.pairs):
        for name in pair.split():
            pictures, sound = (
                Media.from_path(next(folder.glob(f"{re.escape(name)}.*")))
                for folder in (given.pictures, given.sounds)
            )
            clips.append(clip_of(Media.joined(pictures, sound), str(number)))
    real = [clip for clip in clips if clip]
    ways: dict[str, list[dict[str, list[float]]]] = {
        "movement and loudness": [judge(by_energy, real, real[::-1])]
    }
    ways[LINEAR] = [judge_by_own_seconds(clip, other) for clip, other in zip(real, real[::-1], strict=True)]
    ways["towers, trained on other people"] = []
    for pair in sorted({clip.pair for clip in real}):
        rest = [clip for clip in real if clip.pair != pair]
        module = train([w for clip in rest for w in clip.windows(hop=12)], given.steps)
        held = [clip for clip in real if clip.pair == pair]
        ways["towers, trained on other people"].append(judge(by_towers(module), held, rest))
        ways.setdefault("the same, on what they learnt from", []).append(
            judge(by_towers(module), rest, held * 2)
        )
    if given.talks:
        rows = layout.scan(given.talks, where=("label=real",)).to_pylist()
        made = [clip_of(Media.from_path(pathlib.Path(row["path"])), "") for row in rows]
        windows = [w for clip in made if clip for w in short(clip)]
        module = train(windows, given.steps)
        ways["towers, trained on made talks"] = [judge(by_towers(module), real, real[::-1])]
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "rate_hz": RATE_HZ,
        "injected_frames": INJECTED,
        "chance": 3 / (2 * MARGIN + 1),
        "own_offset_frames": {clip.name: own_offset(clip) for clip in real},
        "of_each_clip": {
            clip.name: told([part])["within_one_frame"] for clip, part in zip(real, ways[LINEAR], strict=True)
        },
        "ways": {name: told(parts) for name, parts in ways.items()},
    }
    text = json.dumps(result, indent=1)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "av_sync.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def short(clip: Clip) -> list[dict[str, NDArray]]:
    """Return the one window of a clip that is not much longer than a window."""
    if len(clip.mouth_THW) >= WINDOW:
        return [clip.window(0, 0)]
    frames = len(clip.mouth_THW)
    pad = [(0, WINDOW - frames)]
    mask = np.pad(np.ones(frames, np.uint8), pad)
    return [
        {
            "mouth": np.pad(clip.mouth_THW, [*pad, (0, 0), (0, 0)]),
            "wave": np.pad(clip.wave_N, [(0, WINDOW * SAMPLES - len(clip.wave_N))]),
            "mask": mask,
        }
    ]


if __name__ == "__main__":
    main()
