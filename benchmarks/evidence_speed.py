"""How long each analyzer takes on a picture, a clip and a recording, and all of them together.

    python -m benchmarks.evidence_speed --media FOLDER

The picture has 1920 x 1080 pixels and comes from a clip, the clip is the first ten seconds of a real one
with its sound. Decoding counts: analyzers share what was decoded, so the first that needs it pays. Times are
medians over rounds; the goals are 1.0 s for the picture and 5 s for the clip, on two cores.
"""

import argparse
import contextlib
import io
import json
import pathlib
import statistics
import time

import av
import cv2
import numpy as np
from PIL import Image

from deepscan.evidence.catalog import load_builtin
from deepscan.media.source import Media, Sampling
from deepscan.pipeline import testify

GOALS_S = {"picture": 1.0, "clip": 5.0}
CLIP_S = 10.0


def picture(media: pathlib.Path) -> bytes:
    """Return a frame of a real clip as a JPEG of 1920 x 1080 px, with noise as a camera has it."""
    clip = Media.from_path(sorted((media / "video/real").rglob("*.mp4"))[0])
    frame_HWC = next(iter(clip.frames(Sampling(count=1)))).picture_HWC
    large_HWC = cv2.resize(frame_HWC, (1920, 1080), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large_HWC += np.random.default_rng(0).normal(0, 2, large_HWC.shape)
    stream = io.BytesIO()
    Image.fromarray(np.clip(large_HWC, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def clip(media: pathlib.Path) -> bytes:
    """Return the first ten seconds of a real clip with its own sound, as stored."""
    pictures = sorted((media / "video/real").rglob("*.mp4"))[0]
    sounds = sorted((media / "audio/real/ff-original-sound-track").glob(f"*{pictures.stem}*"))
    stream = io.BytesIO()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(av.open(str(path))) for path in (pictures, sounds[0])]
        out = stack.enter_context(av.open(stream, "w", "matroska"))
        tracks = [files[0].streams.video[0], files[1].streams.audio[0]]
        copies = [out.add_stream_from_template(track) for track in tracks]
        for file, track, copy in zip(files, tracks, copies, strict=True):
            for packet in file.demux(track):
                if packet.dts is not None and float(packet.pts * packet.time_base) < CLIP_S:
                    packet.stream = copy
                    out.mux(packet)
    return stream.getvalue()


def measure(data: bytes, name: str, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of every analyzer that looks at a file, and of all of them."""
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        start_s = time.perf_counter()
        found = testify(Media.from_bytes(data, name), load_builtin())
        seen.setdefault("all", []).append(1000 * (time.perf_counter() - start_s))
        for each in found:
            seen.setdefault(each.analyzer + (f" ({each.reason})" if each.reason else ""), []).append(
                each.elapsed_ms
            )
    return {name: round(statistics.median(times), 1) for name, times in seen.items()}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    sound = sorted((given.media / "audio/real/ff-original-sound-track").iterdir())[0]
    files = {
        "picture": (picture(given.media), "picture.jpg"),
        "clip": (clip(given.media), "clip.mkv"),
        "recording": (sound.read_bytes(), sound.name),
    }
    result = {}
    for kind, (data, name) in files.items():
        result[kind] = dict(sorted(measure(data, name, given.rounds).items(), key=lambda pair: -pair[1]))
        goal = f"goal {1000 * GOALS_S[kind]:.0f}" if kind in GOALS_S else ""
        print(f"{kind}: {result[kind]['all']:.0f} ms {goal}")
        for analyzer, elapsed_ms in result[kind].items():
            print(f"  {analyzer:32} {elapsed_ms:8.1f} ms")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "evidence-speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
