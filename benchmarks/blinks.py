"""How well blinks are counted, and the rest of what faces testify, on made talkers and on real clips.

    python -m benchmarks.blinks --media ../shared/media --clips 60

Talkers are made whose blinks are known, from 160 to 320 px, each compressed between hardly and strongly, some
of them with the noise of a dark room and turned by up to 20 degrees; half of them are shown at 12.5 frames a
second. A count is exact if it is that of the blinks within what was watched. Shifts of the sound by -240, 0
and 240 ms are looked for in the same clips. Real clips have no known truth: only their rates are printed,
beside the range of 2 to 50 a minute that people keep to, mostly. Noise is fed to the pulse, to see how often
it is taken for one; and beats of known rates and strengths, to see how often they are found. Nothing here is
learnt or tuned on these clips.
"""

import argparse
import collections
import datetime
import fractions
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepscan import pipeline
from deepscan.datasets.synthetic.clips import film, talk
from deepscan.datasets.synthetic.talker import RATE_HZ
from deepscan.datasets.synthetic.voice import draw_room, draw_speaker
from deepscan.evidence.catalog import load_builtin
from deepscan.evidence.pulse import LEAST_SNR_DB, pulse_wave, strongest
from deepscan.media.encode import encode_clip
from deepscan.media.faces import default_finder
from deepscan.media.source import Media
from deepscan.verdict import Evidence

NAMES = ("blinks", "gaze", "lips", "mouth", "pose", "pulse")
SIZES_PX = (160, 192, 224, 256, 320)
QUALITIES = (12, 34)
TILT_DEG, NOISE = 20.0, 8.0
PLAUSIBLE = (2.0, 50.0)
GOALS = {"exact": 0.95, "plausible": 1.0, "noise": 0.05}
SHIFTS = (-6, 0, 6)
SEED = 20_240


def talkers(count: int) -> Iterator[tuple[dict[str, Any], Media]]:
    """Yield made talkers with what is known of them."""
    for index in range(count):
        rng = np.random.default_rng((SEED, index))
        size_px, quality = int(rng.choice(SIZES_PX)), int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
        count_frames, late = int(rng.integers(75, 126)), int(rng.choice(SHIFTS))
        opening_T, sounds = talk(draw_speaker(rng), draw_room(rng), count_frames, rng)
        footage = film(opening_T, size_px, rng)
        tilt_deg = float(rng.uniform(-TILT_DEG, TILT_DEG)) if index % 3 == 1 else 0.0
        noise = float(rng.uniform(0, NOISE)) if index % 3 == 2 else 0.0
        frames = [worse(frame, tilt_deg, noise, rng) for frame in footage.frames]
        step = 1 + index % 2
        data = encode_clip(frames[::step], fractions.Fraction(RATE_HZ, step), sounds.at(late), quality)
        known = {
            "size_px": size_px,
            "quality": quality,
            "tilt_deg": round(tilt_deg, 1),
            "noise": round(noise, 1),
            "rate_hz": RATE_HZ / step,
            "late_ms": 1000 * late / RATE_HZ,
            "blinks_s": footage.acting.blinks_s,
        }
        yield known, Media.from_bytes(data, f"talker-{index}.mp4")


def worse(frame_HWC: NDArray, tilt_deg: float, noise: float, rng: np.random.Generator) -> NDArray:
    """Return a frame turned and with noise."""
    turned = frame_HWC
    if tilt_deg:
        turned = ndimage.rotate(frame_HWC, tilt_deg, reshape=False, order=1, mode="nearest")
    return np.clip(np.rint(turned + rng.normal(0, noise, turned.shape)), 0, 255).astype(np.uint8)


def told(media: Media, names: tuple[str, ...] = NAMES) -> dict[str, Evidence]:
    """Return what each analyzer says of a file."""
    chosen = [load_builtin().get(name) for name in names]
    return {each.analyzer: each for each in pipeline.testify(media, chosen)}


def on_talkers(count: int) -> dict[str, Any]:
    """Count blinks and find shifts where the truth is known."""
    rows = []
    for known, media in talkers(count):
        said = told(media, ("blinks", "lips"))
        blinks, lips = said["blinks"], said["lips"]
        row = known | {"reason": blinks.reason}
        if not blinks.reason:
            duration_s = media.facts.duration_s or 0.0
            row["expected"] = sum(0.1 < at_s < duration_s - 0.1 for at_s in known["blinks_s"])
            row["counted"] = round(blinks.measurements["blink_count"])
            row["offset_ms"] = lips.measurements.get("offset_ms")
        rows.append(row)
        print(
            f"{media.facts.name:14s} {known['size_px']} px, quality {known['quality']}, "
            f"{known['tilt_deg']:5.1f} deg, noise {known['noise']:3.1f}, {known['rate_hz']:4.1f} Hz: "
            f"{row.get('counted')} of {row.get('expected')} "
            f"{row['reason']} sound {row.get('offset_ms')} of {known['late_ms']:.0f} ms",
            flush=True,
        )
    measured = [row for row in rows if not row["reason"]]
    exact = [row["counted"] == row["expected"] for row in measured]
    heard = [row for row in measured if row["offset_ms"] is not None]
    timed = [abs(row["offset_ms"] - row["late_ms"]) <= 1000 / RATE_HZ for row in heard]
    return {
        "clips": len(rows),
        "measured": len(measured),
        "exact_share": share(exact),
        "shift_within_one_frame_share": share(timed),
        "rows": rows,
    }


def on_clips(media_folder: pathlib.Path) -> list[dict[str, Any]]:
    """Tell what is measured on real and fake clips; where there is the sound of a real one, it is joined."""
    rows = []
    for path in sorted((media_folder / "video").rglob("*.mp4")):
        media = Media.from_path(path)
        sound = media_folder / "audio/real/ff-original-sound-track" / f"{path.stem}.mp3"
        if "real" in path.parts and sound.is_file():
            media = Media.joined(media, Media.from_path(sound))
        begin_s = time.process_time()
        said = told(media)
        row = {"clip": f"{path.parent.name}/{path.name}", "cpu_s": round(time.process_time() - begin_s, 2)}
        row |= {name: each.measurements or each.reason for name, each in said.items()}
        row["findings"] = {name: each.finding for name, each in said.items()}
        rows.append(row)
        blinks = said["blinks"].measurements
        rate = blinks.get("blinks_per_minute", float("nan"))
        unusual = [name for name, finding in row["findings"].items() if finding == "unusual"]
        figures = f"{rate:5.1f} blinks a minute, {row['cpu_s']:.1f} s of CPU"
        print(f"{row['clip']:32s} {figures}, unusual: {unusual}", flush=True)
    return rows


def on_waves(count: int) -> dict[str, Any]:
    """Tell how often noise is taken for a pulse, and a pulse is found in noise."""
    rng = np.random.default_rng(SEED)
    shares: dict[str, Any] = {}
    for seconds in (6, 10, 20):
        taken, found = [], collections.defaultdict(list)
        for _ in range(count):
            frames = seconds * RATE_HZ
            moved_K1 = 0.15 * np.cumsum(rng.normal(0, 1, (frames, 1)), axis=0)
            noise_K3 = rng.normal(0, 0.5, (frames, 3)) + moved_K1
            taken.append(strongest(pulse_wave(150 + noise_K3))[1] >= LEAST_SNR_DB)
            for strength in (0.2, 0.5, 1.0):
                rate_hz = rng.uniform(0.8, 2.5)
                beat_K = strength * np.sin(2 * np.pi * rate_hz * np.arange(frames) / RATE_HZ)
                beating_K3 = 150 + noise_K3 + beat_K[:, None] * (0.33, 0.77, 0.53)
                said_hz, snr_db = strongest(pulse_wave(beating_K3))
                found[strength].append(snr_db >= LEAST_SNR_DB and abs(said_hz - rate_hz) < 0.1)
        shares[f"{seconds} s"] = {
            "noise_taken_share": share(taken),
            "found_share_by_levels": {str(strength): share(each) for strength, each in found.items()},
        }
    return shares


def share(values: list[bool]) -> float:
    """Return the share of what is true; 0 of nothing."""
    return float(np.mean(values)) if values else 0.0


def line(what: str, figure: float, goal: float, better: Callable[[float, float], bool]) -> None:
    """Print a figure beside its goal."""
    print(f"{what:48s} {figure:6.1%}  goal {goal:.0%}  {'met' if better(figure, goal) else 'NOT met'}")


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=pathlib.Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--waves", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    result: dict[str, Any] = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "finder": default_finder(),
        "talkers": on_talkers(given.clips),
        "waves": on_waves(given.waves),
        "real_and_fake": on_clips(given.media) if given.media else [],
    }
    rates = [
        row["blinks"]["blinks_per_minute"]
        for row in result["real_and_fake"]
        if "-real/" in row["clip"] and isinstance(row["blinks"], dict)
    ]
    plausible = [PLAUSIBLE[0] <= rate <= PLAUSIBLE[1] for rate in rates]
    exact = result["talkers"]["exact_share"]
    line("talkers whose blinks are counted exactly", exact, GOALS["exact"], float.__ge__)
    if rates:
        line(
            f"plausible rates of {len(rates)} real clips", share(plausible), GOALS["plausible"], float.__ge__
        )
    noisy = max(each["noise_taken_share"] for each in result["waves"].values())
    line("noise taken for a pulse, worst length", noisy, GOALS["noise"], float.__le__)
    print(f"shifts of sound found within a frame: {result['talkers']['shift_within_one_frame_share']:.1%}")
    print(f"pulses found, by length and strength in levels: {result['waves']}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "blinks.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
