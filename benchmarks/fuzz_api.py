"""Whether a service stays up when strangers send it broken files and files that are made to do harm.

    python benchmarks/fuzz_api.py --media FOLDER --bundle BUNDLE --files 2000
    python benchmarks/fuzz_api.py --media FOLDER --url http://127.0.0.1:8000 --pid PID_OF_THE_SERVICE

Files of the folder are truncated, altered and joined, and others are made from nothing: pictures that claim
to be huge, streams that unpack to gigabytes, boxes within boxes. All of it is drawn from one seed. Each file
goes to every route that the service has in turn. Wanted is an answer to each: a verdict, or a refusal (4xx)
in the form that errors have. A full service (503 with Retry-After) is asked again. Afterwards the service
must be alive, and hold as many files and processes and little more memory than before.
Prints answers by mutation, and ends with status 1 where something was not as wanted.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence

import httpx
import numpy as np

Rng = np.random.Generator

CONCURRENCY = 4
WARM_FILES = 100
"""Sent before memory is measured first: libraries take what they keep with their first files."""

ROUTES = ("image", "video", "audio", "av")
NAMES = ("a.jpg", "a.png", "a.mp4", "a.wav", "../../a.mp3", "a", "a\u202e.gif")
TRIES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A file to send: what was done to it, and its bytes."""

    mutation: str
    data: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """What came back for a sample; ``problem`` is empty where that was as wanted."""

    mutation: str
    route: str
    status: int
    kind: str
    seconds: float
    problem: str = ""


def truncate(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Cut the file anywhere, often near its begin."""
    return data[: int(len(data) * rng.random() ** 3)]


def flip_few(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Flip one bit to sixteen."""
    return _flipped(data, rng, int(rng.integers(1, 17)), len(data))


def flip_head(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Flip bits of the first 512 bytes, where sizes and tables stand."""
    return _flipped(data, rng, int(rng.integers(1, 9)), min(512, len(data)))


def flip_many(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Flip one bit of a thousand."""
    return _flipped(data, rng, max(1, len(data) // 125), len(data))


def overwrite(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Replace a stretch by zeros, ones or noise."""
    begin = int(rng.integers(0, len(data)))
    size = int(rng.integers(1, 4096))
    filling = [bytes(size), b"\xff" * size, rng.bytes(size)][int(rng.integers(3))]
    return data[:begin] + filling + data[begin + size :]


def swap_head(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Put the first bytes of one file before the rest of another."""
    size = int(rng.choice([16, 64, 512, 4096]))
    return other[:size] + data[size:]


def join(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Put one file behind the other."""
    return data + other


def shift(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Take some bytes out or put some in, so that all that follows is misplaced."""
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 64))
    return data[:at] + (data[at + size :] if rng.random() < 0.5 else rng.bytes(size) + data[at:])


def wreck_number(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Set four bytes near the begin to a number that programs trip over, or those of an MP4's boxes."""
    extremes = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF00)
    number = struct.pack(">I" if rng.random() < 0.5 else "<I", extremes[int(rng.integers(len(extremes)))])
    names = (
        b"moov",
        b"mvhd",
        b"tkhd",
        b"mdhd",
        b"stsz",
        b"stco",
        b"stts",
        b"stsc",
        b"avcC",
        b"fmt ",
        b"IHDR",
    )
    found = [at for name in names if (at := data.find(name)) >= 4]
    at = int(rng.choice(found)) + int(rng.integers(-4, 32)) if found else int(rng.integers(0, 256))
    return data[:at] + number + data[at + 4 :]


MUTATIONS: tuple[Callable[[bytes, bytes, Rng], bytes], ...] = (
    truncate,
    flip_few,
    flip_head,
    flip_many,
    overwrite,
    swap_head,
    join,
    shift,
    wreck_number,
)


def empty(rng: Rng) -> bytes:
    """No bytes, one, or only the first of a format."""
    heads = (
        b"",
        b"\0",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x14ftypisom",
    )
    return heads[int(rng.integers(len(heads)))]


def noise(rng: Rng) -> bytes:
    """Noise behind the signature of some format."""
    return empty(rng) + rng.bytes(int(rng.integers(0, 20_000)))


def huge_picture(rng: Rng) -> bytes:
    """A few bytes that claim to be a picture of 0 to 4 billion pixels a side."""
    sides = (0, 1, 19_999, 65_535, 0x7FFFFFFF, 0xFFFFFFFF)
    width, height = (sides[int(at)] for at in rng.integers(0, len(sides), 2))
    png = _png(width, height, zlib.compress(bytes(1000)))
    small = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    gif = b"GIF89a" + small + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + small + b"\0\x02\x02D\x01\0;"
    bmp = (
        b"BM"
        + struct.pack("<IIIIIIHHIIIIII", 154, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(99)
    )
    jpeg = b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    jpeg += b"\x03\x01\x11\0\x02\x11\0\x03\x11\0\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0" + bytes(50)
    return (png, gif, bmp, jpeg)[int(rng.integers(4))]


def unpacking_bomb(rng: Rng) -> bytes:
    """A PNG whose pixels, text or colour profile unpack to a hundred times its size or more."""
    packed = zlib.compress(bytes(int(rng.choice([10, 50, 200])) * 2**20), 9)
    if rng.random() < 0.4:
        return _png(10_000, 10_000, packed)
    chunk = (b"zTXt" + b"a\0\0", b"iCCP" + b"a\0\0", b"iTXt" + b"a\0\1\0\0\0")[int(rng.integers(3))]
    return _png(8, 8, zlib.compress(bytes(8 * 25)), chunk + packed)


def many_frames(rng: Rng) -> bytes:
    """An animation of thousands of frames, each of which claims to fill a large picture."""
    side, count = int(rng.choice([64, 2000, 10_000])), int(rng.choice([100, 3000, 30_000]))
    size = struct.pack("<HH", side, side)
    frame = b"!\xf9\x04\0" + struct.pack("<H", int(rng.choice([0, 1, 65_535]))) + b"\0\0"
    frame += b"," + bytes(4) + size + b"\0\x02\x02D\x01\0"
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + frame * count + b";"


def false_sound(rng: Rng) -> bytes:
    """A WAV whose rate, channels, sizes or coding cannot be."""
    rate, channels = (
        int(rng.choice([0, 1, 8000, 0x7FFFFFFF, 0xFFFFFFFF])),
        int(rng.choice([0, 1, 2, 255, 65_535])),
    )
    bits, coding = (
        int(rng.choice([0, 1, 8, 16, 24, 32, 64])),
        int(rng.choice([0, 1, 2, 3, 6, 17, 85, 255, 65_534])),
    )
    block = int(rng.choice([0, 1, 2, 4, 65_535]))
    claimed = int(rng.choice([0, 1, 4000, 0x7FFFFFFF, 0xFFFFFFFF]))
    form = struct.pack("<HHIIHH", coding, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    sound = rng.bytes(4000)
    return (
        b"RIFF\xff\xff\xff\xffWAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", claimed)
        + sound
    )


def nested_boxes(rng: Rng) -> bytes:
    """An MP4 of boxes in boxes in boxes, thousands deep."""
    depth, name = (
        int(rng.choice([10, 1000, 20_000])),
        (b"moov", b"trak", b"udta", b"meta")[int(rng.integers(4))],
    )
    boxes = b"".join(struct.pack(">I4s", 8 * (depth - level), name) for level in range(depth))
    return (
        struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom")
        + struct.pack(">I4s", 8 * depth + 8, b"moov")
        + boxes
    )


def false_index(rng: Rng) -> bytes:
    """An MP4 of half a kilobyte whose tables promise up to a hundred million frames."""
    count = int(rng.choice([1, 100_000, 2_000_000, 100_000_000]))
    looks = (
        struct.pack(">I4s", 86, b"mp4v")
        + bytes(7)
        + b"\1"
        + bytes(16)
        + struct.pack(">HH", 64, 64)
        + bytes(50)
    )
    tables = _box(b"stsd", struct.pack(">II", 0, 1), looks)
    tables += _box(b"stts", struct.pack(">IIII", 0, 1, count, 1))
    tables += _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1))
    tables += _box(b"stsz", struct.pack(">III", 0, 1, count)) + _box(b"stco", struct.pack(">III", 0, 1, 40))
    clock = _box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), bytes(4))
    pictures = _box(
        b"mdia", clock, _box(b"hdlr", bytes(8), b"vide", bytes(13)), _box(b"minf", _box(b"stbl", tables))
    )
    track = _box(b"trak", _box(b"tkhd", struct.pack(">IIIIII", 1, 0, 0, 1, 0, 1000), bytes(60)), pictures)
    times = _box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), bytes(80))
    return _box(b"ftyp", b"isom", bytes(4), b"isom") + _box(b"moov", times, track)


def nested_elements(rng: Rng) -> bytes:
    """A Matroska of segments in segments, each of a size that nobody knows."""
    return b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" * int(
        rng.choice([1, 5000])
    )


MADE: tuple[Callable[[Rng], bytes], ...] = (
    empty,
    noise,
    huge_picture,
    unpacking_bomb,
    many_frames,
    false_sound,
    nested_boxes,
    nested_elements,
    false_index,
)


def samples(originals: Sequence[bytes], count: int, seed: int) -> Iterator[Sample]:
    """Yield files, the same ones for the same seed; a third of them are made from nothing.

    Args:
        originals: Whole files, at least one.
        count: How many.
        seed: Of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        if number % 3 == 2:
            make = MADE[int(rng.integers(len(MADE)))]
            yield Sample(mutation=make.__name__, data=make(rng))
            continue
        data, other = (originals[int(at)] for at in rng.integers(0, len(originals), 2))
        mutate = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        yield Sample(mutation=mutate.__name__, data=mutate(data, other, rng))


def problem_of(status: int, body: bytes) -> tuple[str, str]:
    """Return what kind of answer this is, and what is wrong with it (empty = nothing)."""
    try:
        answer = json.loads(body)
    except ValueError:
        return "no JSON", f"{status} with a body that is no JSON: {body[:80]!r}"
    if status == 200:
        known = {"real", "fake", "inconclusive"}
        label = str(answer.get("label"))
        return label, "" if label in known else f"a verdict without a label: {body[:80]!r}"
    kind = str((answer.get("error") or {}).get("type"))
    sound = set(answer) == {"error"} and answer["error"].get("message")
    return kind, "" if 400 <= status < 500 and sound else f"{status} {body[:300]!r}"


async def send(client: httpx.AsyncClient, sample: Sample, route: str, name: str) -> Answered:
    """Send a sample, again and again while the service is full."""
    start_s = time.perf_counter()
    for _ in range(TRIES):
        try:
            answer = await client.post(f"/api/predict/{route}", files={"file": (name, sample.data)})
        except httpx.HTTPError as error:
            status, kind, problem = 0, type(error).__name__, f"no answer: {error!r}"
            break
        status = answer.status_code
        kind, problem = problem_of(status, answer.content)
        if not (status == 503 and "retry-after" in answer.headers):
            break
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - start_s
    return Answered(
        mutation=sample.mutation, route=route, status=status, kind=kind, seconds=seconds, problem=problem
    )


async def bombard(
    client: httpx.AsyncClient,
    files: Iterator[Sample],
    routes: Sequence[str],
    keep: pathlib.Path | None = None,
) -> list[Answered]:
    """Send all files, a few at a time, each to the next route; keep those whose answer is not as wanted."""
    answers: list[Answered] = []
    numbered = enumerate(files)

    async def work() -> None:
        for number, sample in numbered:
            route, name = routes[number % len(routes)], NAMES[number % len(NAMES)]
            answer = await send(client, sample, route, name)
            answers.append(answer)
            if answer.problem and keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}-{sample.mutation}-{route}").write_bytes(sample.data)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())
    return answers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a process and its children hold: memory of their own, open files, processes, temporary files."""

    memory_bytes: int
    descriptors: int
    processes: int
    temporaries: int

    def grown(self, before: "Footprint", slack_bytes: int) -> list[str]:
        """Return what is more than before, beyond what is usual."""
        usual = {"memory_bytes": slack_bytes, "descriptors": 8, "processes": 2, "temporaries": 0}
        return [
            f"{name} grew from {getattr(before, name)} to {getattr(self, name)}"
            for name, slack in usual.items()
            if getattr(self, name) > getattr(before, name) + slack
        ]


def footprint(pid: int, temporary: pathlib.Path) -> Footprint:
    """Measure a process and its children, as Linux tells, and count what lies in its temporary folder."""
    family, memory_bytes, descriptors = _family(pid), 0, 0
    for each in family:
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{each}/status").read_text().splitlines()
            memory_bytes += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
            descriptors += len(list(pathlib.Path(f"/proc/{each}/fd").iterdir()))
    temporaries = len(list(temporary.iterdir()))
    return Footprint(
        memory_bytes=memory_bytes, descriptors=descriptors, processes=len(family), temporaries=temporaries
    )


def table(answers: Sequence[Answered]) -> str:
    """Return how often each mutation met each status."""
    statuses = sorted({answer.status for answer in answers})
    counts = collections.Counter((answer.mutation, answer.status) for answer in answers)
    slowest_s = {name: max(a.seconds for a in answers if a.mutation == name) for name, _ in counts}
    lines = [f"{'mutation':16}" + "".join(f"{status:>7}" for status in statuses) + f"{'slowest':>11}"]
    lines += [
        f"{name:16}" + "".join(f"{counts[name, status]:>7}" for status in statuses) + f"{slowest:>9.1f} s"
        for name, slowest in sorted(slowest_s.items())
    ]
    kinds = collections.Counter(answer.kind for answer in answers)
    return "\n".join([*lines, "", *(f"{count:>6}  {kind}" for kind, count in kinds.most_common())])


def originals(folder: pathlib.Path, most_bytes: int, each: int, seed: int) -> list[bytes]:
    """Return some small files of each type of the folder."""
    rng = np.random.default_rng(seed)
    kinds = collections.defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= most_bytes:
            kinds[path.suffix].append(path)
    if not kinds:
        sys.exit(f"No file of at most {most_bytes} bytes is in {folder}; name another --media or --most-kb.")
    chosen = [
        rng.choice(np.array(paths, object), min(each, len(paths)), replace=False) for paths in kinds.values()
    ]
    return [path.read_bytes() for paths in chosen for path in paths]


@contextlib.contextmanager
def service(bundles: Sequence[str], temporary: str) -> Iterator[tuple[str, int]]:
    """Start ``deepscan serve --local`` on a free port; gives its URL and process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from deepscan.cli import main; main()",
        "serve",
        "--local",
        "--port",
        str(port),
    ]
    command += [f"--bundle={bundle}" for bundle in bundles]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": temporary}) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            yield url, process.pid
        finally:
            process.terminate()


async def fuzz(url: str, pid: int, temporary: pathlib.Path, given: argparse.Namespace) -> list[str]:
    """Send everything, print the table, and return what was not as wanted."""
    found = originals(given.media, given.most_kb * 1024, given.each, given.seed)
    async with httpx.AsyncClient(base_url=url, timeout=given.timeout_s, trust_env=False) as client:
        loaded = (await client.get("/api/models")).json()
        routes = [route for route in ROUTES if route in {facts["modality"] for facts in loaded}]
        await bombard(client, samples(found, WARM_FILES, given.seed + 1), routes)
        before = footprint(pid, temporary)
        answers = await bombard(client, samples(found, given.files, given.seed), routes, given.keep)
        alive = (await client.get("/api/health")).status_code
    after = footprint(pid, temporary)
    sys.stdout.write(f"{table(answers)}\n\nbefore {before}\nafter  {after}\n")
    wrong = [f"{answer.mutation} to {answer.route}: {answer.problem}" for answer in answers if answer.problem]
    wrong += [] if alive == 200 else [f"The service's health is {alive} at the end."]
    return wrong + after.grown(before, given.slack_mb * 2**20)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path, required=True, help="folder of whole files")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--bundle", action="append", help="serve these bundles in a process of its own")
    target.add_argument("--url", help="a service that runs already")
    parser.add_argument("--pid", type=int, help="process of the service at --url")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=12, help="whole files of each type")
    parser.add_argument("--most-kb", type=int, default=600, help="largest whole file")
    parser.add_argument("--slack-mb", type=int, default=400, help="by how much memory may grow")
    parser.add_argument("--timeout-s", type=float, default=300, help="longest wait for an answer")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files that were answered wrongly")
    given = parser.parse_args()
    if given.url and not given.pid:
        parser.error("--url needs --pid, to see what the service holds")
    with tempfile.TemporaryDirectory() as folder:
        # A service that runs already shares its temporary folder with others, so that one is not counted.
        known = contextlib.nullcontext((given.url, given.pid))
        with service(given.bundle, folder) if given.bundle else known as (url, pid):
            wrong = asyncio.run(fuzz(url, pid, pathlib.Path(folder), given))
    sys.stdout.write("\n".join(["", *wrong, f"{len(wrong)} things were not as wanted."]) + "\n")
    sys.exit(1 if wrong else 0)


def _flipped(data: bytes, rng: Rng, count: int, within: int) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, within, count)
    changed[at] ^= np.uint8(1) << rng.integers(0, 8, count, dtype=np.uint8)
    return changed.tobytes()


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _png(width: int, height: int, pixels: bytes, extra: bytes = b"") -> bytes:
    header = b"IHDR" + struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    chunks = [each for each in (header, extra, b"IDAT" + pixels, b"IEND") if each]
    body = b"".join(
        struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    family = [pid]
    for each in family:
        with contextlib.suppress(OSError):
            for children in pathlib.Path(f"/proc/{each}/task").glob("*/children"):
                family += map(int, children.read_text().split())
    return family


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    sys.exit("The service did not start; its own lines are above.")


if __name__ == "__main__":
    main()
