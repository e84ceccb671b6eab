import collections

import numpy as np
import pytest

from deepscan.datasets.plan import Chunk, Cut, Plan, Shape
from deepscan.errors import DataError


def chunks_of(sizes):
    starts = np.cumsum([0, *sizes])
    return [
        Chunk("file", i, tuple(range(n)), tuple(range(starts[i], starts[i] + n)), (0,) * n)
        for i, n in enumerate(sizes)
    ]


def plan_of(sizes, world=2, batch_size=4, example_bytes=1, seed=0):
    shape = Shape(world=world, batch_size=batch_size, example_bytes=example_bytes)
    return Plan(chunks_of(sizes), shape, seed)


def read(plan, epoch):
    """What each rank reads in an epoch: units go to ranks in turn."""
    units = [plan.unit(epoch * plan.cut.units + i) for i in range(plan.cut.units)]
    assert {e for e, _ in units} == {epoch}
    world = plan.shape.world
    return [np.concatenate([members for _, members in units[rank::world]]) for rank in range(world)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("example_bytes", [1, 2**20, 2**23, 2**30])
def test_every_rank_gets_whole_steps_of_different_examples(world, example_bytes):
    plan = plan_of([5, 3, 8, 8, 8, 4, 6, 6], world, 4, example_bytes)
    ranks = read(plan, 0)
    assert [len(rank) for rank in ranks] == [plan.cut.steps * 4] * world
    counts = collections.Counter(np.concatenate(ranks).tolist())
    assert max(counts.values()) == 1


def test_an_epoch_that_divides_evenly_reads_every_example_once():
    plan = plan_of([8] * 6)
    assert sorted(np.concatenate(read(plan, 3)).tolist()) == list(range(48))


def test_a_set_smaller_than_a_step_is_repeated_to_fill_it():
    plan = plan_of([3], world=2, batch_size=4)
    assert plan.cut.steps == 1
    assert set(np.concatenate(read(plan, 0)).tolist()) == {0, 1, 2}


def test_epochs_differ_and_seeds_differ_and_the_same_is_the_same():
    plan, again, other = plan_of([8] * 6), plan_of([8] * 6), plan_of([8] * 6, seed=1)
    first = np.concatenate(read(plan, 0))
    assert (first == np.concatenate(read(again, 0))).all()
    assert (first != np.concatenate(read(plan, 1))).any()
    assert (first != np.concatenate(read(other, 0))).any()


def test_units_of_a_round_are_alike_in_size_so_that_shards_stay_in_step():
    plan = plan_of([8] * 10, world=2, batch_size=4, example_bytes=2**20)
    sizes = [len(plan.unit(i)[1]) for i in range(plan.cut.units)]
    assert sizes[0::2] == sizes[1::2]
    assert max(sizes) * 2**20 <= 16 * 2**20


def test_a_unit_reads_few_chunks():
    plan = plan_of([8] * 100, world=1, batch_size=8, example_bytes=2**18)
    _, members = plan.unit(0)
    assert len(members) == 64
    assert len(np.unique(plan.chunk_of[members])) <= 9


def test_locating_an_example_finds_its_row():
    plan = plan_of([5, 3, 8])
    for example in range(16):
        chunk, position = plan.locate(example)
        assert chunk.files[position] == example


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(DataError, match="no usable Examples"):
        plan_of([])


def test_units_behind_counts_whole_rounds_of_every_epoch():
    cut = Cut(world=2, steps=5, unit_steps=2)
    assert cut.units == 6
    assert [cut.units_behind(batches) for batches in range(11)] == [0, 0, 2, 2, 4, 6, 6, 8, 8, 10, 12]


def test_a_chunk_can_leave_files_out():
    chunk = Chunk("file", 3, (0, 1, 2, 5), (7, 7, 8, 9), (0, 0, 1, 1))
    assert chunk.without({7, 9}) == Chunk("file", 3, (2,), (8,), (1,))
    assert chunk.without({}) == chunk


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_any_number_of_workers_can_share_units_of_one_size(world):
    shape = Shape(world=4, batch_size=2, example_bytes=2**22, even=True)
    plan = Plan(chunks_of([8] * 11), shape, 0)
    sizes = {len(plan.unit(number)[1]) for number in range(plan.cut.units)}
    assert sizes == {plan.cut.unit_steps * 2}
    cut = plan.cut.shared_by(world)
    assert cut.steps * world <= plan.cut.steps * 4 < (cut.steps + cut.unit_steps) * world
    assert cut.units_behind(cut.steps) <= plan.cut.units
    assert plan.cut.shared_by(4) == plan.cut
