"""Decoders that the tests of this folder share: what one test kills is replaced for the next."""

from collections.abc import Iterator

import pytest

from deepscan.isolation.decoders import Decoders
from deepscan.isolation.process import Allowance
from tests.isolation.pools import MEMORY_BYTES


@pytest.fixture(scope="session")
def decoders() -> Iterator[Decoders]:
    """Two, with a limit on memory."""
    with Decoders(processes=2, allowance=Allowance(memory_bytes=MEMORY_BYTES)) as pool:
        yield pool


@pytest.fixture(scope="session")
def single() -> Iterator[Decoders]:
    """One, without a limit on memory."""
    with Decoders(processes=1, spares=0, allowance=Allowance(memory_bytes=None)) as pool:
        yield pool
