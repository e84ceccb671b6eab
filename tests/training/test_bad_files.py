"""A data set of which one file in twenty is broken, each in another way."""

import io
import pathlib
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order, train
from deepscan.watch import LogWatch
from tests.sounds import speech, wav

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]
PLUGIN = pathlib.Path(__file__).parents[1] / "plugins" / "tiny.py"
GOOD = 209


def picture(rng, kind="PNG", side=32):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def giant():
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + picture(np.random.default_rng(0))[33:]
    )


def broken(rng):
    """Eleven files that nobody can judge as a picture, by what is wrong with them."""
    png, jpeg = picture(rng), picture(rng, "JPEG")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "empty": b"",
        "one byte": b"\x89",
        "noise": rng.bytes(5000),
        "text": b"This is no picture." * 50,
        "page": b"<!doctype html><title>404 Not Found</title>",
        "header only": png[:8],
        "cut png": png[: len(png) // 2],
        "cut jpeg": jpeg[: len(jpeg) // 3],
        "altered": bytes(flipped),
        "giant": giant(),
        "zeros": bytes(4096),
    }


def test_training_ends_and_the_ledger_names_every_broken_file(ray_cluster, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(GOOD):
        folder = tmp_path / "data" / ("real", "fake")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03}.png").write_bytes(picture(rng))
    wrong = broken(rng)
    for i, (name, content) in enumerate(wrong.items()):
        (tmp_path / "data" / ("real", "fake")[i % 2] / f"{name}.png").write_bytes(content)
    # A sound is no broken file, but no picture either.
    (tmp_path / "data" / "real" / "voice.wav").write_bytes(wav(speech(1)))
    order = Order(
        model="tiny",
        plugin=PLUGIN,
        origin=Origin(path=tmp_path / "data", store=tmp_path / "store"),
        out=tmp_path / "run",
        overrides=("recipe.epochs=1",),
    )
    outcome = train(order, LogWatch())
    ledger = pq.read_table(tmp_path / "run" / "ledger.parquet").to_pylist()
    named = {pathlib.Path(r["path"]).stem: r["reason"] for r in ledger if r["status"] == "corrupt"}
    assert set(named) == set(wrong)
    assert all(named.values())
    assert outcome.account == {"used": GOOD, "corrupt": len(wrong), "no-picture": 1}
    assert len(ledger) == GOOD + len(wrong) + 1
