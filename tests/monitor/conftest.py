"""Records and machines that tests make up."""

import pytest

from deepscan.monitor.records import Record
from deepscan.serving.machine import Gpu, Reading

START_S = 1_000_000.0


@pytest.fixture
def record():
    """Returns ``record(time_s, **fields)``: an answer of 100 ms, ``time_s`` after the start."""

    def make(time_s: float = 0.0, **fields: object) -> Record:
        given = {"route": "/api/predict/x", "status": 200, "elapsed_ms": 100.0} | fields
        return Record(time_s=START_S + time_s, **given)

    return make


@pytest.fixture
def reading() -> Reading:
    gpus = (
        Gpu(index=0, name="one", share=0.9, memory_bytes=10, memory_share=0.1),
        Gpu(index=1, name="two", share=0.2, memory_bytes=80, memory_share=0.8),
    )
    return Reading(cpu_share=0.5, memory_bytes=2**20, memory_share=0.25, gpus=gpus)
