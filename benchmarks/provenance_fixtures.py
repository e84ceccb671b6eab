"""How many files with a known history the analyzers of provenance tell rightly, and how long they take.

    python -m benchmarks.provenance_fixtures --media ../shared/media --pictures 20 --out benchmarks/results

Fixtures are made here from genuine pictures (drawn ones without ``--media``): with credentials signed by a
throwaway signer, EXIF, XMP, previews and what generators write, then left, stripped or tampered with. The
goal of every row is all of them.
"""

import argparse
import csv
import dataclasses
import datetime
import io
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from deepscan.errors import AbstainError
from deepscan.evidence import ANALYZERS
from deepscan.evidence.catalog import load_builtin
from deepscan.media.manifests import TRUST_LIST
from deepscan.media.source import Media
from deepscan.verdict import Evidence
from tests import provenance as made

GOAL_MS = 60.0
NAMES = ("credentials", "generator", "metadata", "thumbnail")
SIZE_PX = (640, 480)
PARAMETERS = "a face\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42"
FIELDS = {"EXIF Model": made.CAMERA[0x0110], "EXIF DateTimeOriginal": made.TAKEN[0x9003]}
CROP = 0.1
"""Share that the cropped pictures lost at two sides after their preview was made."""

Picture = Image.Image


@dataclasses.dataclass(frozen=True)
class Fixture:
    """Files of one history.

    Attributes:
        name: What was done.
        analyzer: Who is asked.
        expected: What is to be answered, see ``answer``.
        make: Makes one from a picture and the name of a format.
        containers: Formats.
        trusted: Whether the signer is in the trust list meanwhile.
    """

    name: str
    analyzer: str
    expected: str
    make: Callable[[Picture, str], bytes]
    containers: tuple[str, ...] = ("JPEG", "PNG", "WEBP")
    trusted: bool = False


def answer(media: Media, analyzer: str) -> str:
    """Return what an analyzer says of a file, in the words of the fixtures."""
    try:
        evidence = ANALYZERS.get(analyzer).testify(media)
    except AbstainError:
        return "absent"
    if analyzer == "credentials":
        declares = ", declares" if evidence.declaration else ""
        return f"{evidence.facts['state']}{declares}, {evidence.finding}"
    return f"{_read(evidence)}{evidence.finding}"


def _read(evidence: Evidence) -> str:
    if evidence.analyzer != "metadata":
        return ""
    if not (evidence.measurements["exif_fields"] or evidence.measurements["xmp_properties"]):
        return "absent, "
    return (
        "all read, " if all(evidence.facts.get(name) == text for name, text in FIELDS.items()) else "read, "
    )


def plain(picture: Picture, container: str) -> bytes:
    """Return the picture saved without anything beside it."""
    return made.saved(picture, container)


def sign(picture: Picture, container: str, source: str = "") -> bytes:
    """Return the picture with credentials that declare a source, or one that settles nothing."""
    neutral = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"
    return made.signed(plain(picture, container), made.MIME[container], source or neutral)


def again(data: bytes, container: str) -> bytes:
    """Return what is left of a file whose pixels were saved anew."""
    return plain(Image.open(io.BytesIO(data)).convert("RGB"), container)


def with_exif(picture: Picture, container: str, main: dict[int, str] | None = None) -> bytes:
    """Return the picture with the EXIF of a camera, some fields of it replaced."""
    size = {0xA002: picture.width, 0xA003: picture.height}
    exif = made.exif(made.CAMERA | (main or {}), made.TAKEN | size)
    return made.saved(picture, container, exif=exif)


def with_xmp(picture: Picture, container: str, packet: bytes) -> bytes:
    """Return the picture with an XMP packet."""
    return made.saved(picture, container, xmp=packet)


def cut(picture: Picture) -> Picture:
    """Return the picture without ``CROP`` of its left and its top."""
    return picture.crop((round(CROP * picture.width), round(CROP * picture.height), *picture.size))


def with_preview(picture: Picture, shown: Picture) -> bytes:
    """Return a JPEG of a picture with the preview of another."""
    return made.saved(picture, exif=made.exif_with_preview(made.preview(shown)), quality=90)


def commented(picture: Picture, container: str) -> bytes:
    """Return the picture with settings of a generator in the comment of its EXIF."""
    return made.saved(picture, container, exif=made.exif(camera={0x9286: made.user_comment(PARAMETERS)}))


BOMB = made.xmp(ext_DigitalSourceType=made.GENERATED).replace(
    b"<x:xmpmeta", b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x:xmpmeta', 1
)
_XMP_FORMATS, _JPEG = ("JPEG", "WEBP"), ("JPEG",)

FIXTURES = (
    Fixture("credentials absent", "credentials", "absent, ordinary", plain),
    Fixture("signer unknown", "credentials", "valid, ordinary", sign),
    Fixture("signer trusted", "credentials", "trusted, ordinary", sign, trusted=True),
    Fixture("stripped", "credentials", "absent, ordinary", lambda p, c: again(sign(p, c), c)),
    Fixture("pixel bit changed", "credentials", "invalid, unusual", lambda p, c: made.tampered(sign(p, c))),
    Fixture(
        "claim changed",
        "credentials",
        "invalid, unusual",
        lambda p, c: made.claimed_otherwise(sign(p, c, made.GENERATED)),
    ),
    Fixture(
        "declared generated",
        "credentials",
        "valid, declares, telling",
        lambda p, c: sign(p, c, made.GENERATED),
    ),
    Fixture(
        "declared captured",
        "credentials",
        "valid, declares, ordinary",
        lambda p, c: sign(p, c, made.CAPTURED),
    ),
    Fixture(
        "declared captured, trusted",
        "credentials",
        "trusted, declares, telling",
        lambda p, c: sign(p, c, made.CAPTURED),
        trusted=True,
    ),
    Fixture("EXIF valid", "metadata", "all read, ordinary", with_exif),
    Fixture("EXIF absent", "metadata", "absent, ordinary", plain),
    Fixture("EXIF stripped", "metadata", "absent, ordinary", lambda p, c: again(with_exif(p, c), c)),
    Fixture(
        "EXIF dates tampered",
        "metadata",
        "all read, unusual",
        lambda p, c: with_exif(p, c, {0x0132: "2021:01:01 00:00:00"}),
    ),
    Fixture(
        "XMP valid",
        "metadata",
        "read, ordinary",
        lambda p, c: with_xmp(p, c, made.xmp(xmp_CreatorTool="Tool")),
        _XMP_FORMATS,
    ),
    Fixture(
        "XMP declares generated",
        "metadata",
        "read, telling",
        lambda p, c: with_xmp(p, c, made.xmp(ext_DigitalSourceType=made.GENERATED)),
        _XMP_FORMATS,
    ),
    Fixture(
        "XMP stripped",
        "metadata",
        "absent, ordinary",
        lambda p, c: again(with_xmp(p, c, made.xmp(xmp_CreatorTool="Tool")), c),
        _XMP_FORMATS,
    ),
    Fixture("XMP bomb", "metadata", "absent, ordinary", lambda p, c: with_xmp(p, c, BOMB), _XMP_FORMATS),
    Fixture("preview absent", "thumbnail", "absent", plain),
    Fixture("preview fits", "thumbnail", "ordinary", lambda p, _: with_preview(p, p), _JPEG),
    Fixture("cropped since", "thumbnail", "unusual", lambda p, _: with_preview(cut(p), p), _JPEG),
    Fixture("no parameters", "generator", "ordinary", with_exif),
    Fixture("parameters", "generator", "telling", commented),
    Fixture("parameters stripped", "generator", "ordinary", lambda p, c: again(commented(p, c), c)),
)


def pictures(media: pathlib.Path | None, count: int) -> Iterator[Picture]:
    """Yield genuine pictures, evenly over the list, or drawn ones where no folder is given."""
    if media is None:
        yield from (made.noise(*SIZE_PX, seed=seed) for seed in range(count))
        return
    with (media / "manifest.tsv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["label"] == "real"]
    files = [row["file"] for row in rows if row["modality"] == "image" and "ffhq" in row["file"]]
    for name in files[:: max(1, len(files) // count)][:count]:
        with Image.open(media / name) as picture:
            yield picture.convert("RGB").resize(SIZE_PX, Image.Resampling.LANCZOS)


def together_ms() -> float:
    """Return how long the four take of a signed picture of 1920 by 1080 with a preview, decoding left out."""
    picture = made.noise(1920, 1080)
    options = {"exif": made.exif_with_preview(made.preview(picture)), "quality": 92}
    data = made.signed(made.saved(picture, **options), made.MIME["JPEG"])
    times = []
    for _ in range(7):
        media = Media.from_bytes(data, "picture.jpg")
        _ = media.picture_HWC
        start_s = time.process_time()
        for name in NAMES:
            ANALYZERS.get(name).testify(media)
        times.append(1000 * (time.process_time() - start_s))
    return statistics.median(times)


def measure(fixture: Fixture, shown: list[Picture], folder: pathlib.Path) -> dict[str, Any]:
    """Return how many files of one history were told rightly, and what was said of the others."""
    anchors = folder / TRUST_LIST
    anchors.write_bytes(made.signer()[2]) if fixture.trusted else anchors.unlink(missing_ok=True)
    answers = [
        answer(Media.from_bytes(fixture.make(picture, container), "file"), fixture.analyzer)
        for container in fixture.containers
        for picture in shown
    ]
    wrong = sorted({each for each in answers if each != fixture.expected})
    right = answers.count(fixture.expected)
    row = {"analyzer": fixture.analyzer, "fixture": fixture.name, "expected": fixture.expected}
    return row | {"formats": list(fixture.containers), "right": right, "of": len(answers), "said": wrong}


def main() -> None:
    """Make the fixtures, ask, print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    load_builtin()
    shown = list(pictures(given.media, given.pictures))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEEPSCAN_ASSETS"] = os.environ["DEEPSCAN_HOME"] = folder
        rows = []
        for fixture in FIXTURES:
            rows.append(row := measure(fixture, shown, pathlib.Path(folder)))
            wrong = f"; else {', '.join(row['said'])}" if row["said"] else ""
            print(
                f"{row['analyzer']:12s} {row['fixture']:26s} {'/'.join(row['formats']):14s} "
                f"{row['right']:3d} of {row['of']:3d} (goal: all) as {row['expected']!r}{wrong}",
                flush=True,
            )
        elapsed_ms = together_ms()
    right, of = sum(row["right"] for row in rows), sum(row["of"] for row in rows)
    print(f"all fixtures: {right} of {of} (goal: all)")
    print(f"the four analyzers of a signed 1080p JPEG: {elapsed_ms:.0f} ms of CPU (goal: {GOAL_MS:.0f} ms)")
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "pictures": "genuine" if given.media else "drawn",
        "count": len(shown),
        "right": right,
        "of": of,
        "cpu_ms_1080p": round(elapsed_ms, 1),
        "goal_ms": GOAL_MS,
        "rows": rows,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "provenance_fixtures.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
