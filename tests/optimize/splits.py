"""Data with three splits, for what is trained, validated and compared."""

import dataclasses

import pyarrow as pa

from tests.optimize.material import small_data

SPLITS = ("train", "train", "val", "val", "test", "test")


def split_data(folder, files=36):
    """The small pictures of ``material``, both classes in every split."""
    data = small_data(folder, files)
    splits = pa.array([SPLITS[number % len(SPLITS)] for number in range(files)])
    place = data.ledger.column_names.index("split")
    return dataclasses.replace(data, ledger=data.ledger.set_column(place, "split", splits))
