"""A disk that is full, for tests: the kernel refuses files above a size, as it does where no room is left."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def small_disk(file_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond ``file_bytes`` for the time of the block.

    That holds for pytest's own output to a file, too: keep nothing but the write inside.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
