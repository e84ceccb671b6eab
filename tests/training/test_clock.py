import collections
import time

import pytest
import torch

from deepscan.training import clock
from deepscan.training.clock import DeviceClock


def test_on_a_cpu_the_time_of_the_blocks_counts_and_no_other():
    watch = DeviceClock(torch.device("cpu"))
    with watch.running():
        time.sleep(0.02)
    between = watch.seconds()
    time.sleep(0.05)
    assert watch.seconds() == between >= 0.02


class Events:
    """A GPU that takes 5 ms from each event to the next, and counts how often it is waited for."""

    def __init__(self):
        self.made, self.recorded, self.waits = 0, 0, collections.Counter()

    def __call__(self, enable_timing):
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, gpu):
        self.gpu = gpu

    def record(self):
        self.at = self.gpu.recorded
        self.gpu.recorded += 1

    def synchronize(self):
        self.gpu.waits[self.at] += 1

    def elapsed_time(self, end):
        assert self.gpu.waits[end.at], "an event has no time before it was waited for"
        return 5.0 * (end.at - self.at)


@pytest.mark.parametrize("steps", [3, 200])
def test_on_a_gpu_its_own_events_count_and_only_those_long_past_are_waited_for(monkeypatch, steps):
    gpu = Events()
    monkeypatch.setattr(clock.torch.cuda, "Event", gpu)
    watch = DeviceClock(torch.device("cuda"))
    for number in range(1, steps + 1):
        with watch.running():
            assert gpu.recorded == 2 * number - 1
        assert len(gpu.waits) == max(0, number - clock.KEPT)
    assert watch.seconds() == pytest.approx(0.005 * steps)
