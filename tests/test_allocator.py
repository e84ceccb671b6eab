"""Memory that is kept from call to call, each in a process of its own: the setting is for a whole process."""

import json
import subprocess
import sys

import pytest

from deepscan.allocator import KEPT_BYTES

FILL = """
import json, resource, sys, threading
import numpy as np
from deepscan.allocator import keep_memory
taken = keep_memory(int(sys.argv[1])) if sys.argv[1] != "0" else None

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(2**20, np.uint8) for _ in range(100)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = []
thread = threading.Thread(target=lambda: found.extend([faults() for _ in range(3)]))
thread.start()
thread.join()
print(json.dumps([taken, found[-1]]))
"""
PAGES = 100 * 2**20 // 4096


def told(most_bytes: int) -> list[object]:
    said = subprocess.run(
        [sys.executable, "-c", FILL, str(most_bytes)], capture_output=True, text=True, check=True
    )
    return list(json.loads(said.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of GNU has the setting")
def test_a_process_that_keeps_its_memory_needs_no_new_pages_for_the_same_call():
    taken, faults = told(KEPT_BYTES)
    assert taken is True
    assert isinstance(faults, int)
    assert faults < PAGES // 100


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of GNU has the setting")
def test_what_is_beyond_the_limit_is_given_back():
    taken, faults = told(2**20)
    assert taken is True
    assert isinstance(faults, int)
    assert faults > PAGES // 2
