"""The parts of the stream; tests/training/test_fit.py runs the whole."""

import asyncio

import pytest

from deepscan.datasets import stream
from deepscan.datasets.plan import Cut
from deepscan.datasets.stream import Pace, Supply


def waiting_units(pace, units):
    """The units that may not start yet."""

    async def ask():
        tasks = {unit: asyncio.create_task(pace.wait(unit)) for unit in units}
        await asyncio.sleep(0.01)
        blocked = [unit for unit, task in tasks.items() if not task.done()]
        for task in tasks.values():
            task.cancel()
        return blocked

    return ask()


def test_units_wait_until_the_training_is_near():
    async def scenario():
        pace = Pace(ahead=3)
        first = await waiting_units(pace, range(6))
        await pace.advance(2)
        second = await waiting_units(pace, range(6))
        return first, second

    assert asyncio.run(scenario()) == ([3, 4, 5], [5])


def test_a_unit_that_waits_is_let_go_by_the_training():
    async def scenario():
        pace = Pace(ahead=1)
        task = asyncio.create_task(pace.wait(4))
        await asyncio.sleep(0.01)
        before = task.done()
        await pace.advance(4)
        await asyncio.wait_for(task, 1)
        return before

    assert asyncio.run(scenario()) is False


def test_a_restarted_stream_begins_to_wait_anew():
    async def scenario():
        pace = Pace(ahead=1)
        await pace.advance(10)
        await pace.advance(0)
        return await waiting_units(pace, [0, 1])

    assert asyncio.run(scenario()) == [1]


@pytest.mark.parametrize("unit_steps", [1, 2, 3, 8])
def test_the_batches_that_a_rank_holds_back_are_due_with_the_one_it_works_on(unit_steps):
    """Else two ranks wait for ever for an epoch of a single step."""
    cut = Cut(world=2, steps=unit_steps, unit_steps=unit_steps)
    ahead = stream.units_ahead(cut, Supply(cpus=1.0, tasks=1))
    assert ahead // cut.world * unit_steps >= stream.PREFETCHED + 1


class FakePace:
    def __init__(self):
        self.told = []
        self.advance = self

    def remote(self, used):
        self.told.append(used)


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        (Cut(world=2, steps=4, unit_steps=2), [2, 4, 6]),
        (Cut(world=1, steps=3, unit_steps=3), [1, 2]),
        (Cut(world=2, steps=8, unit_steps=8), []),
    ],
)
def test_batches_pass_unchanged_and_each_used_round_is_told_once(cut, told):
    pace = FakePace()
    assert list(stream.paced(iter(range(8)), cut, pace)) == list(range(8))
    assert pace.told == told


@pytest.mark.ray
def test_reading_and_making_are_one_step(ray_cluster):
    """Ray Data would divide the CPUs between them: half of them made units, the others numbers."""

    def doubled(rows):
        return {"id": rows["id"] * 2}

    made = stream.each_of(5, doubled, cpus=0.5, tasks=2).materialize()
    assert "ReadNumbers->MapBatches(doubled)" in made.stats()
    assert [row["id"] for row in made.take_all()] == [0, 2, 4, 6, 8]
