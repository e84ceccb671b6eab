import pytest
from survey import Module, survey


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    """Every module of the package and every job, by dotted name."""
    return survey()
