"""Kept Examples in the memory of a cluster."""

import numpy as np
import pyarrow as pa
import pytest
import ray
from PIL import Image

from deepscan.datasets.dataset import DataSet
from deepscan.datasets.held import Held, held_if_they_fit
from deepscan.datasets.plan import Chunk
from deepscan.datasets.reader import Reader
from deepscan.datasets.store import Row, Store, prepare_file
from deepscan.media.source import Limits
from deepscan.modalities.image import ImagePrep

PREP = ImagePrep(region="whole", size_px=16)
pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


class Stages:
    """Remembers what it is told."""

    def __init__(self):
        self.told, self.done = [], []

    def stage(self, title):
        self.told.append(title)

    def advance(self, done, total):
        self.done.append((done, total))


@pytest.fixture
def kept(tmp_path):
    """Twelve Examples in two files of a store, with one that failed, and the chunks they lie in."""
    rng = np.random.default_rng(0)
    store = Store(tmp_path / "store", PREP)
    for half in range(2):
        rows = [Row("broken.png", 0, "corrupt", "it is", None)]
        for i in range(6):
            path = tmp_path / f"{half}-{i}.png"
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
            rows += prepare_file(str(path), PREP, Limits())
        store.write(rows, "examples")
    files = sorted(path.name for path in store.path.glob("*.parquet"))
    chunks = [Chunk(file, 0, rows, rows, (0,) * 2) for file in files for rows in ((1, 4), (3, 2))]
    reader = Reader(store, PREP, Limits(), ("pixels",))
    return DataSet(ledger=pa.table({}), index=pa.table({}), reader=reader, digest=""), chunks


def same(left, right):
    assert [set(example) for example in left] == [set(example) for example in right]
    for one, other in zip(left, right, strict=True):
        for name, values in one.items():
            assert values.dtype == other[name].dtype
            np.testing.assert_array_equal(values, other[name])


def test_held_examples_are_those_of_the_store_in_every_process(ray_cluster, kept):
    data, chunks = kept
    watch = Stages()
    held = held_if_they_fit(data, chunks, watch)
    assert isinstance(held.reader.store, Held)
    assert watch.told == ["Unpacking 8 Examples into 0 MiB of memory"]
    assert watch.done[-1] == (2, 2)

    @ray.remote(num_cpus=0)
    def elsewhere(reader):
        return [reader.read(chunk, [1, 0]) for chunk in chunks]

    for path in data.reader.store.path.glob("*.parquet"):
        path.rename(path.with_suffix(".gone"))
    found = [held.reader.read(chunk, [1, 0]) for chunk in chunks]
    away = ray.get(elsewhere.remote(held.reader))
    for path in data.reader.store.path.glob("*.gone"):
        path.rename(path.with_suffix(".parquet"))
    for chunk, here, there in zip(chunks, found, away, strict=True):
        same(here, data.reader.read(chunk, [1, 0]))
        same(there, here)


def test_what_is_not_held_comes_from_the_store(ray_cluster, kept):
    data, chunks = kept
    held = held_if_they_fit(data, chunks, Stages())
    other = Chunk(chunks[0].place, 0, (1, 5), (1, 5), (0, 0))
    same(held.reader.read(other, [0, 1]), data.reader.read(other, [0, 1]))


def test_the_arrays_are_not_sent_along(ray_cluster, kept):
    data, chunks = kept
    held = held_if_they_fit(data, chunks, Stages()).reader.store
    before = held.__getstate__()
    held.read(chunks[0].place, 0, [1], ("pixels",))
    assert held._arrays
    assert held.__getstate__() == before


@pytest.mark.parametrize("room", [{"object_store_memory": 8 * 16 * 16 * 3 * 2 - 1}, {}])
def test_without_room_everything_comes_from_the_store(ray_cluster, kept, monkeypatch, room):
    data, chunks = kept
    monkeypatch.setattr(ray, "available_resources", lambda: room)
    assert held_if_they_fit(data, chunks, Stages()) is data


def test_raw_files_are_not_held(ray_cluster, kept):
    data, _ = kept
    raw = Chunk("some.png", -1, (0,), (0,), (0,))
    assert held_if_they_fit(data, [raw], Stages()) is data
