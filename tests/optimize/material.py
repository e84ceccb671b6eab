"""A data set of a few pictures, prepared in this process."""

import pathlib

import numpy as np
import pyarrow as pa

from deepscan.datasets.dataset import DataSet
from deepscan.datasets.reader import Reader, ledger
from deepscan.datasets.store import Store, prepare_file
from deepscan.media.source import Limits
from tests.material import encoded
from tests.tiny_bundles import WHOLE


def small_data(folder: pathlib.Path, files: int = 12, prep=WHOLE, split="val") -> DataSet:
    """Real pictures are darker than fake ones, every one in noise; files of odd numbers are fake."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "store", prep)
    for number in range(files):
        path = folder / f"{number:03}.png"
        light = 40 + 80 * (number % 2)
        path.write_bytes(encoded(light + rng.integers(0, 100, (32, 32, 3)).astype(np.uint8)))
        rows += prepare_file(str(path), prep, Limits())
    store.write(rows, "examples")
    manifest = pa.table(
        {
            "path": [row.path for row in rows],
            "label": [number % 2 for number in range(files)],
            "split": [split] * files,
            "source": [str(number) for number in range(files)],
        }
    )
    index = store.index("examples")
    return DataSet(
        ledger=ledger(manifest, index),
        index=index,
        reader=Reader(store, prep, Limits(), prep.needs),
        digest="small",
    )
