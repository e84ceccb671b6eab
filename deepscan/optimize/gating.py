"""`deepscan gate`: a sibling of a bundle with another gate, or with none."""

import dataclasses
import pathlib
import shutil

from deepscan.bundle import Bundle
from deepscan.datasets.dataset import DataSet
from deepscan.domain.gate import FEWEST, Gate
from deepscan.errors import DataError
from deepscan.evaluation import Judging
from deepscan.onlooking import fit_gate
from deepscan.optimize.sibling import write_sibling


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gating:
    """How a gate is fitted.

    Attributes:
        rate: Share of files like those given that may be refused, in (0, 1).
        split: The files that it is fitted to.
        judging: CPUs of each task that prepares raw files.
    """

    rate: float = 0.01
    split: str = "val"
    judging: Judging = Judging()


def fitted(data: DataSet, gating: Gating) -> Gate:
    """Fit a gate to a split of data.

    Raises:
        ConfigError: The rate is out of range.
        DataError: The split holds too few files, or nothing varies in them.
    """
    gate = fit_gate(data, gating.judging, gating.rate, gating.split)
    if gate is None:
        files = sum(data.counts(gating.split))
        msg = (
            f"The split {gating.split} holds {files} files that can be prepared; a gate needs {FEWEST} that "
            "differ. Give more data, or another --split."
        )
        raise DataError(msg)
    return gate


def with_gate(path: pathlib.Path, gate: Gate | None, out: pathlib.Path) -> Bundle:
    """Write a bundle that is another one but for its gate; calibration and threshold stay.

    Args:
        path: The bundle.
        gate: Its gate from now on; None = none, every file is judged.
        out: Folder of the new bundle; it must not be there, or be empty.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: ``out`` holds something.
    """
    first = Bundle.read(path)

    def copy(folder: pathlib.Path) -> list[str]:
        for name in first.card.files:
            shutil.copyfile(path / name, folder / name)
        return list(first.card.files)

    change = {"step": "gate", "rate": gate.rate if gate else 0.0}
    return write_sibling(first, out, copy, change=change, gate=gate)
