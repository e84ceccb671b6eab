"""What a run leaves behind, written from what its workers tell; needs no cluster."""

import dataclasses
import pathlib
import shutil
import threading
import types

import pytest

from deepscan.bundle import Bundle
from deepscan.errors import ConfigError, StorageError
from deepscan.training import record as subject
from deepscan.training.record import BEST, EPOCHS, HISTORY, RAY_RUN, Epoch, Place, Record, read_history
from deepscan.training.state import TRAINER


def metrics(number):
    return {"epoch": float(number), "val_auc": 0.5 + number / 100}


class Workers:
    """What workers told so far, asked as an actor is; ``tell`` leaves a checkpoint behind."""

    def __init__(self, place, bundle):
        self.place, self.bundle, self.epochs = place, bundle, []
        self.epochs_after = types.SimpleNamespace(remote=lambda after: self.epochs[after:])

    def tell(self, number, is_best):
        self.epochs.append(Epoch(metrics(number), is_best))
        folder = pathlib.Path(self.place.checkpoint(number))
        shutil.copytree(self.bundle.path, folder, dirs_exist_ok=True)
        Bundle.read(folder).amend(metrics={"validation": metrics(number)})
        for name in (TRAINER, EPOCHS):
            (folder / name).write_text("for resuming")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out").mkdir()
    return Place(tmp_path / "out", str(tmp_path / "storage"))


@pytest.fixture
def workers(place, make_bundle, monkeypatch):
    monkeypatch.setattr(subject.ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(Place, "epochs_done", lambda self: 0)
    return Workers(place, make_bundle("told"))


def followed(record):
    ended = threading.Event()
    ended.set()
    record.follow(ended)


def validated(path):
    return Bundle.read(path).card.metrics["validation"]["epoch"]


def test_epochs_are_written_once_and_the_best_bundle_is_kept_without_what_resuming_needs(place, workers):
    told = []
    record = Record(place, workers, told.append)
    for number, is_best in ((1, True), (2, True), (3, False)):
        workers.tell(number, is_best)
    followed(record)
    followed(record)
    assert told == read_history(place.out / HISTORY) == [metrics(1), metrics(2), metrics(3)]
    assert validated(place.out / BEST) == 2
    assert {path.name for path in (place.out / BEST).iterdir()} & {TRAINER, EPOCHS} == set()
    assert list((place.out / "tensorboard").glob("events*"))
    assert record.settle().path == place.out / BEST


def test_a_best_epoch_that_a_better_one_has_replaced_is_passed_over(place, workers):
    record = Record(place, workers, lambda told: None)
    workers.tell(1, is_best=True)
    shutil.rmtree(place.checkpoint(1))
    followed(record)
    assert not (place.out / BEST).exists()
    workers.tell(2, is_best=True)
    followed(record)
    assert validated(place.out / BEST) == 2


@pytest.mark.parametrize("left", [(), ("bundle.json",), ("weights.safetensors",)])
def test_a_best_epoch_that_is_being_replaced_is_passed_over(place, workers, left):
    """Ray removes the files of a checkpoint one by one."""
    record = Record(place, workers, lambda told: None)
    workers.tell(1, is_best=True)
    followed(record)
    workers.tell(2, is_best=True)
    files = {path.name: path for path in pathlib.Path(place.checkpoint(2)).iterdir()}
    for path in [path for name, path in files.items() if name not in left]:
        path.unlink()
    assert set(left) <= files.keys()
    followed(record)
    assert validated(place.out / BEST) == 1, "the one before stays"
    with pytest.raises(StorageError, match="epoch-00002, the best epoch's, is gone or not whole"):
        record.settle()


def test_a_best_epoch_that_goes_while_it_is_copied_is_passed_over(place, workers, monkeypatch):
    record = Record(place, workers, lambda told: None)
    workers.tell(1, is_best=True)
    files = subject.storage.files

    def listed(location):
        yield from (found := list(files(location)))[:1]
        shutil.rmtree(location)
        yield from found[1:]

    monkeypatch.setattr(subject.storage, "files", listed)
    followed(record)
    assert not (place.out / BEST).exists()


def test_a_bundle_that_cannot_be_fetched_is_an_error(place, workers, monkeypatch):
    record = Record(place, workers, lambda told: None)
    workers.tell(1, is_best=True)

    def fail(source, target, leave_out):
        raise StorageError("no room")

    monkeypatch.setattr(subject.storage, "copy_folder", fail)
    with pytest.raises(StorageError, match="no room"):
        followed(record)


@pytest.mark.parametrize("known", [3, 1])
def test_a_resumed_record_drops_what_will_be_run_again_and_learns_what_it_had_missed(
    place, workers, monkeypatch, known
):
    """The process that records may die at any moment, the workers go on from the latest checkpoint."""
    first = Record(place, workers, lambda told: None)
    for number in range(1, known + 1):
        workers.tell(number, is_best=number == 1)
    followed(first)
    shutil.rmtree(place.out / BEST)
    monkeypatch.setattr(Place, "epochs_done", lambda self: 2)
    told = []
    again = Record(place, workers, told.append)
    assert read_history(place.out / HISTORY) == [metrics(n) for n in range(1, min(known, 2) + 1)]
    workers.epochs = [Epoch(metrics(1), True), Epoch(metrics(2), False)]
    workers.tell(3, is_best=False)
    followed(again)
    assert [each["epoch"] for each in told] == ([3] if known == 3 else [2, 3])
    assert validated(again.settle().path) == 1, "the best of all, not of those since"


def test_a_run_is_neither_mixed_with_another_nor_resumed_from_nothing(place):
    place.check(resume=False)
    with pytest.raises(ConfigError, match="storage holds no training run to resume"):
        place.check(resume=True)
    (pathlib.Path(place.shared) / RAY_RUN).mkdir(parents=True)
    place.check(resume=True)
    with pytest.raises(ConfigError, match="storage holds a training run already"):
        place.check(resume=False)


def test_results_go_to_the_storage_and_come_back_where_the_folder_is_lost(place):
    (place.out / BEST).mkdir()
    (place.out / BEST / "card.json").write_text("{}")
    (place.out / HISTORY).write_text("")
    place.send()
    checkpoint = pathlib.Path(place.checkpoint(1))
    checkpoint.mkdir(parents=True)
    (checkpoint / TRAINER).write_text("large")
    place.fetch()
    assert not (place.out / RAY_RUN).exists(), "what is there is not fetched"
    shutil.rmtree(place.out)
    place.fetch()
    found = {str(path.relative_to(place.out)) for path in place.out.rglob("*") if path.is_file()}
    assert found == {HISTORY, f"{BEST}/card.json"}


def test_without_a_storage_nothing_is_copied(place):
    local = dataclasses.replace(place, storage="")
    assert local.shared == str(place.out.resolve())
    local.send()
    local.fetch()
    assert list(place.out.iterdir()) == []
    (place.out / HISTORY).write_text("")
    written = (place.out / HISTORY).stat().st_ino
    dataclasses.replace(place, storage=local.shared).send()
    assert (place.out / HISTORY).stat().st_ino == written, "a folder is not copied onto itself"
