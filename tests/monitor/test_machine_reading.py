"""The machine as it is, a container that is made up, and a driver that is made up."""

import os
import types

import psutil
import pytest

from deepscan.serving import machine
from deepscan.serving.machine import Gpu, Machine


class NVMLError(Exception):
    pass


def driver(gpus=0, sick=(), absent=False):
    """A stand-in for the module that speaks to NVIDIA's driver."""

    def start():
        if absent:
            raise NVMLError

    def memory(handle):
        if handle in sick:
            raise NVMLError
        return types.SimpleNamespace(used=(handle + 1) * 10, total=100)

    return types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=start,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: f"card {handle}",
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetUtilizationRates=lambda handle: types.SimpleNamespace(gpu=25),
    )


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def container(tmp_path):
    """Half a CPU and 1000 bytes."""
    files = {
        "cpu.max": "50000 100000\n",
        "cpu.stat": "usage_usec 1000000\nuser_usec 5\n",
        "memory.max": "1000\n",
        "memory.current": "700\n",
        "memory.stat": "anon 300\ninactive_file 200\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_this_machine_can_be_read(tmp_path):
    reading = Machine(tmp_path).read()
    assert 0 <= reading.cpu_share <= 1
    assert 0 < reading.memory_share < 1
    assert reading.memory_bytes >= 0.5 * psutil.Process(os.getpid()).memory_info().rss


def test_shares_of_a_container_are_of_what_it_may_use(container, clock):
    measured = Machine(container, driver(), clock)
    clock.now_s = 10.0
    (container / "cpu.stat").write_text("usage_usec 3000000\n")
    reading = measured.read()
    assert reading.cpu_share == pytest.approx(2 / (10 * 0.5))
    assert reading.memory_share == pytest.approx(0.5)
    clock.now_s = 20.0
    assert measured.read().cpu_share == 0


@pytest.mark.parametrize("limit", ["max 100000", "", "50000"])
def test_a_container_without_a_limit_has_the_cpus_of_the_machine(container, clock, monkeypatch, limit):
    (container / "cpu.max").write_text(limit)
    (container / "memory.max").write_text("max")
    times = types.SimpleNamespace(idle=100.0, iowait=3.0, _asdict=lambda: dict(TIMES))
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda: times)
    monkeypatch.setattr(machine.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: types.SimpleNamespace(percent=30.0))
    measured = Machine(container, driver(), clock)
    clock.now_s, TIMES["user"] = 5.0, TIMES["user"] + 10.0
    reading = measured.read()
    assert (reading.cpu_share, reading.memory_share) == (pytest.approx(0.5), 0.3)


TIMES = {"user": 20.0, "system": 7.0, "idle": 100.0, "iowait": 3.0, "guest": 5.0}


def test_a_reading_is_used_again_for_a_second(container, clock):
    measured = Machine(container, driver(), clock)
    clock.now_s = 10.0
    first = measured.read()
    clock.now_s = 10.5
    assert measured.read() is first
    clock.now_s = 11.0
    assert measured.read() is not first


def test_a_process_that_ends_while_it_is_looked_at_is_left_out(tmp_path, monkeypatch):
    def gone():
        raise psutil.NoSuchProcess(1)

    child = types.SimpleNamespace(memory_info=lambda: types.SimpleNamespace(rss=5))
    root = types.SimpleNamespace(
        memory_info=lambda: types.SimpleNamespace(rss=7),
        children=lambda recursive: [types.SimpleNamespace(memory_info=gone), child],
    )
    monkeypatch.setattr(machine.psutil, "Process", lambda: root)
    assert Machine(tmp_path, driver()).read().memory_bytes == 12


def test_gpus_are_those_that_the_driver_can_tell_of(tmp_path):
    reading = Machine(tmp_path, driver(gpus=3, sick={1})).read()
    assert reading.gpus == (
        Gpu(index=0, name="card 0", share=0.25, memory_bytes=10, memory_share=0.1),
        Gpu(index=2, name="card 2", share=0.25, memory_bytes=30, memory_share=0.3),
    )
    assert reading.shares["gpu_memory_share"] == 0.3


def test_without_a_driver_there_are_no_gpus(tmp_path):
    reading = Machine(tmp_path, driver(gpus=3, absent=True)).read()
    assert reading.gpus == ()
    assert set(reading.shares) == {"cpu_share", "memory_share"}


def test_the_driver_that_is_spoken_to_has_what_is_asked_of_it():
    assert [name for name in vars(driver()) if not hasattr(machine.pynvml, name)] == []
