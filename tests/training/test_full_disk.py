import errno
import pathlib
import shutil
import types

import pytest

from deepscan import bundle, storage
from deepscan.bundle import Bundle
from deepscan.datasets.dataset import Origin
from deepscan.errors import BundleError, StorageError
from deepscan.training import fit
from deepscan.training.record import Place, Record
from deepscan.training.run import Order, train
from deepscan.watch import LogWatch
from tests.full_disk import small_disk


@pytest.fixture
def whole(make_bundle):
    """A bundle from a time when there was room."""
    return make_bundle("whole")


def test_a_bundle_that_does_not_fit_is_none(whole, tmp_path):
    with pytest.raises(StorageError, match="free space"), small_disk(10_000):
        bundle.write(tmp_path / "half", whole.card, whole.module())
    with pytest.raises(BundleError):
        Bundle.read(tmp_path / "half")


def test_the_best_bundle_stays_whole_when_its_successor_does_not_fit(whole, tmp_path):
    place = Place(tmp_path)
    shutil.copytree(whole.path, tmp_path / "bundle")
    shutil.copytree(whole.path, place.checkpoint(4))
    with pytest.raises(StorageError, match="free space"), small_disk(10_000):
        Record(place, None, None)._keep_best(4)
    assert Bundle.read(tmp_path / "bundle").card.id == whole.card.id


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_worker_whose_disk_fails_says_so_and_is_not_tried_again(monkeypatch, tmp_path, number):
    def fail(job, pace, held_out):
        raise OSError(number, "no way")

    monkeypatch.setattr(fit, "_train", fail)
    monkeypatch.setattr(fit.ray, "get", lambda reference: reference)
    job = types.SimpleNamespace(place=Place(tmp_path))
    outcome = fit._worker({"job": job, "pace": None, "held_out": None})
    assert isinstance(outcome, StorageError)
    assert str(tmp_path) in str(outcome)


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(ConnectionResetError), storage.writing(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "gone")


def test_what_a_task_of_ray_met_counts_too(tmp_path):
    error = OSError("task failed")
    error.cause = OSError(errno.ENOSPC, "full")
    with pytest.raises(StorageError, match="free space"), storage.writing(tmp_path):
        raise error


def test_a_place_that_cannot_be_is_told_before_anything_starts(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    origin = Origin(path=tmp_path / "data", store=tmp_path / "store")
    out = pathlib.Path(tmp_path / "file" / "run")
    order = Order(model="cnn", origin=origin, out=out, overrides=("prep.finder=haar",))
    with pytest.raises(StorageError, match="file/run cannot be written"):
        train(order, LogWatch())
