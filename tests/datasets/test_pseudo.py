"""Pseudo-fakes in units of the training stream and in judged splits; needs no cluster."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from deepscan.datasets.dataset import DataSet
from deepscan.datasets.plan import Chunk, Plan, Shape
from deepscan.datasets.pseudo import PseudoFakes
from deepscan.datasets.reader import Reader
from deepscan.datasets.store import file_id
from deepscan.datasets.stream import TrainingStream
from deepscan.errors import UnknownNameError
from deepscan.media.source import Limits
from deepscan.modalities.audio import AudioPrep
from deepscan.modalities.catalog import load_builtin
from deepscan.modalities.image import ImagePrep
from deepscan.recipe import Augment, Pseudo

SIZE, BATCH = 32, 8
PREP = ImagePrep(size_px=SIZE, region="whole")
PICTURES = load_builtin().get("image")
SELF_BLENDED = Pseudo(kind="self-blended")


def picture_of(file):
    return np.random.default_rng(file).integers(60, 200, (SIZE, SIZE, 3), dtype=np.uint8)


class Pictures:
    """Stands for a reader: the picture of a file is noise that its number seeds."""

    prep, example_bytes = PREP, 1

    def read(self, chunk, positions):
        return [{"pixels": picture_of(chunk.files[position])} for position in positions]


def chunks_of(labels, size=4):
    return [
        Chunk("file", i, tuple(range(size)), tuple(range(i * size, (i + 1) * size)), tuple(part))
        for i, part in enumerate(np.reshape(labels, (-1, size)).tolist())
    ]


def stream_of(labels, settings=SELF_BLENDED, augment="none", world=1, seed=0):
    shape = Shape(world=world, batch_size=BATCH, example_bytes=1)
    return TrainingStream(
        plan=Plan(chunks_of(labels), shape, seed),
        reader=Pictures(),
        modality=PICTURES,
        augment=Augment(level=augment),
        pseudo=PseudoFakes.of(PICTURES, PREP, settings, seed),
    )


REALS, MIXED = [0] * 64, [0, 1, 0, 0] * 16


def test_of_real_files_alone_every_batch_is_half_pseudo_fakes():
    unit = stream_of(REALS).unit(0)
    assert unit["label"].dtype == np.float32
    assert unit["label"].reshape(-1, BATCH).sum(1).tolist() == [BATCH / 2] * 8
    assert unit["pixels"].shape == (64, SIZE, SIZE, 3)
    assert unit["alpha"].shape == (64, SIZE, SIZE)
    assert unit["alpha"].dtype == np.uint8
    assert unit["alpha_known"].tolist() == [1.0] * 64


def pairs_of(unit):
    """For every fake, of which real ones of its batch it may be: they agree where nothing was altered."""
    for start in range(0, len(unit["label"]), BATCH):
        rows = np.arange(start, start + BATCH)
        for fake in rows[unit["label"][rows] == 1]:
            # Rotation blurs the edge of the mask by a pixel, and so does rounding it to 8 bits.
            same = ndimage.maximum_filter(unit["alpha"][fake], 5) == 0
            shown, reals = unit["pixels"][fake][same], rows[unit["label"][rows] == 0]
            yield [real for real in reals if np.array_equal(unit["pixels"][real][same], shown)]


@pytest.mark.parametrize("augment", ["none", "basic"])
def test_a_fake_lies_in_one_batch_with_its_real_one_and_is_augmented_like_it(augment):
    stream = stream_of(REALS, augment=augment)
    found = [reals for unit in (0, 1) for reals in pairs_of(stream.unit(unit))]
    assert [len(reals) for reals in found] == [1] * 64


def test_real_ones_were_altered_nowhere_and_fakes_somewhere():
    unit = stream_of(REALS, augment="basic").unit(0)
    altered = unit["alpha"].reshape(64, -1).any(1)
    assert (altered == (unit["label"] == 1)).all()


def test_a_data_set_s_own_fakes_stay_and_are_not_known():
    stream = stream_of(MIXED)
    unit, before = stream.unit(0), dataclasses.replace(stream, pseudo=None).unit(0)
    own = before["label"] == 1
    assert own.sum() == 16
    assert (unit["pixels"][own] == before["pixels"][own]).all()
    assert (unit["alpha_known"] == ~own).all()
    assert not unit["alpha"][own].any()
    # Half of the real ones, whose number in a batch may be odd.
    assert 18 <= unit["label"].sum() - own.sum() <= 24


def test_the_share_is_that_of_pairs():
    made = [stream_of(REALS, Pseudo(kind="self-blended", share=0.5)).unit(i)["label"].sum() for i in range(8)]
    assert np.mean(made) == pytest.approx(16, abs=3)
    assert len(set(made)) > 1


def test_without_pseudo_fakes_nothing_changes():
    plain = stream_of(MIXED, Pseudo()).unit(0)
    assert stream_of(MIXED, Pseudo(kind="self-blended", share=0)).pseudo is None
    assert set(plain) == {"pixels", "label"}
    assert plain["label"].sum() == 16


def test_a_unit_is_a_pure_function_of_the_seed_and_its_number():
    first, again = stream_of(REALS, augment="advanced").unit(1), stream_of(REALS, augment="advanced").unit(1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    other_epoch, other_seed = stream_of(REALS).unit(2), stream_of(REALS, seed=1).unit(1)
    assert not np.array_equal(first["pixels"], other_epoch["pixels"])
    assert not np.array_equal(first["pixels"], other_seed["pixels"])


def test_over_epochs_every_real_file_is_seen():
    stream = stream_of(REALS)
    known = {picture_of(file).tobytes(): file for file in range(64)}
    seen = [known.get(pixels.tobytes()) for unit in range(14) for pixels in stream.unit(unit)["pixels"]]
    assert set(range(64)) <= set(seen)


def test_workers_keep_equal_steps():
    stream = stream_of(REALS, world=2)
    sizes = [len(stream.unit(unit)["label"]) for unit in range(stream.plan.cut.units)]
    assert sizes == [32, 32]


def test_those_that_give_way_lend_parts_to_the_fakes():
    lent, plain = [], stream_of(REALS)

    def make(example, prep, rng, others):
        lent.append(({other["pixels"].tobytes() for other in others}, example["pixels"].tobytes()))
        return PICTURES.forgery("self-blended").make(example, prep, rng)

    forgery = dataclasses.replace(plain.pseudo.forgery, make=make)
    stream = dataclasses.replace(plain, pseudo=dataclasses.replace(plain.pseudo, forgery=forgery))
    stream.unit(0)
    all_64 = {picture_of(file).tobytes() for file in range(64)}
    kept = {example for _, example in lent}
    assert len(lent) == len(kept) == 32
    assert all(others == all_64 - kept for others, _ in lent), "real ones, as they are, and none that stays"


def test_judged_files_lend_parts_to_the_fakes_of_each_other():
    lent = []

    def make(example, prep, rng, others):
        lent.append([other["pixels"].tobytes() for other in others])
        return example, example

    data = dataset_of([0, 0, 0], ["test"] * 3)
    forgery = dataclasses.replace(data.reader.pseudo.forgery, make=make)
    pseudo = dataclasses.replace(data.reader.pseudo, forgery=forgery)
    reader = dataclasses.replace(data.reader, pseudo=pseudo)
    _, forged = data.held_out("test")
    reader.read(forged, [0, 1, 2])
    pictures = [picture_of(row).tobytes() for row in range(3)]
    assert lent == [[p for p in pictures if p != own] for own in pictures]


def test_pseudo_fakes_without_masks_bring_no_columns():
    sound = load_builtin().get("audio")
    pseudo = PseudoFakes.of(sound, AudioPrep(), Pseudo(kind="copy-synthesis"), 0)
    assert pseudo.columns([{}], [1], {}) == {}
    assert pseudo.with_alpha([{"wave": 1}]) == [{"wave": 1}]


@pytest.mark.parametrize(
    ("modality", "kind", "says"),
    [
        ("image", "self-blend", r"Did you mean 'self-blended'\? Known: none, self-blended"),
        ("audio", "self-blended", "Known: none, copy-synthesis"),
        ("av", "self-blended", "Known: none[.]"),
    ],
)
def test_a_kind_that_the_modality_lacks_is_refused_with_those_it_has(modality, kind, says):
    with pytest.raises(UnknownNameError, match=says):
        PseudoFakes.of(load_builtin().get(modality), None, Pseudo(kind=kind), 0)


def test_a_forged_chunk_holds_the_real_ones_under_other_numbers():
    chunk = Chunk("file", 3, (0, 1, 2), (0, 7, 8), (0, 1, 0))
    forged = chunk.forged()
    assert forged == Chunk("file", 3, (0, 2), (-1, -9), (1, 1), pseudo=True)
    assert forged.without({-1}) == Chunk("file", 3, (2,), (-9,), (1,), pseudo=True)


class Kept:
    """Stands for a store."""

    def __init__(self):
        self.columns = dict(PREP.columns)

    def read(self, place, group, rows, names):
        return [{"pixels": picture_of(row)} for row in rows]


def dataset_of(labels, splits, pseudo=SELF_BLENDED):
    paths = [f"/d/{i}.png" for i in range(len(labels))]
    ledger = pa.table(
        {
            "path": paths,
            "label": pa.array(labels, pa.int8()),
            "split": splits,
            "source": [f"s{i}" for i in range(len(labels))],
            "generator": ["gan" if label else "" for label in labels],
        }
    )
    index = pa.table(
        {
            "id": [file_id(path) for path in paths],
            "path": paths,
            "part": [0] * len(labels),
            "status": ["used"] * len(labels),
            "file": ["examples-1"] * len(labels),
            "group": [0] * len(labels),
            "row": list(range(len(labels))),
        }
    )
    reader = Reader(Kept(), PREP, Limits(), ("pixels",))
    data = DataSet(ledger=ledger, index=index, reader=reader, digest="")
    return data.with_pseudo_fakes(PseudoFakes.of(PICTURES, PREP, pseudo, 0))


def test_only_a_split_without_fakes_is_judged_on_pseudo_fakes():
    data = dataset_of([0, 1, 0, 0], ["val", "val", "test", "test"])
    assert (data.forges("val"), data.forges("test")) == (False, True)
    assert data.held_out("val") == data.chunks("val")
    own, forged = data.held_out("test")
    assert [own] == data.chunks("test")
    assert (forged.files, forged.labels) == ((-3, -4), (1, 1))


def test_nothing_is_forged_unless_the_recipe_makes_pseudo_fakes():
    data = dataset_of([0, 0], ["test", "test"])
    plain = dataclasses.replace(data, reader=dataclasses.replace(data.reader, pseudo=None))
    assert plain.held_out("test") == plain.chunks("test")


def test_a_judged_pseudo_fake_is_the_same_every_time_and_differs_from_its_file():
    data = dataset_of([0, 0], ["test", "test"])
    own, forged = data.held_out("test")
    real = data.reader.read(own, [1])[0]["pixels"]
    (first,), (again,) = data.reader.read(forged, [1]), data.reader.read(forged, [1])
    assert np.array_equal(first["pixels"], again["pixels"])
    assert 0.01 < (first["pixels"] != real).mean() < 1


def test_pseudo_fakes_have_rows_of_their_own_in_the_ledger():
    data = dataset_of([0, 1, 0], ["test"] * 3)
    (row,) = data.pseudo_ledger([-3]).to_pylist()
    assert row == {
        "path": "/d/2.png#self-blended",
        "label": 1,
        "split": "test",
        "source": "s2",
        "generator": "self-blended",
    }
    assert data.pseudo_ledger([-3]).schema == data.ledger.schema
    assert data.pseudo_ledger([]).num_rows == 0
