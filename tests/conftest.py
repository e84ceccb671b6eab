"""Fixtures that several folders of tests share."""

import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from deepscan.bundle import Bundle
from deepscan.modalities.image import ImagePrep
from tests.tiny_bundles import fresh_bundle

ROOT = pathlib.Path(__file__).parents[1]
RAY_ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "RAY_AUTH_MODE": "disabled",  # the cluster listens on 127.0.0.1 only and lives as long as the tests
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
}

MakeBundle = Callable[..., Bundle]
CLUSTER = pytest.StashKey[str]()
SESSION = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the session, whose exit status is known at the end."""
    session.config.stash[SESSION] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End this process, and with it the Ray cluster, when the results are told.

    A Ray driver that goes away in order takes native threads down under each other, and died of it after
    the last of thousands of tests, before their summary. The cluster's processes end with the process that
    started them.
    """
    if (folder := config.stash.get(CLUSTER, None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(config.stash[SESSION].exitstatus))


@pytest.fixture(autouse=True)
def _ends_of_children_are_not_handled() -> Iterator[None]:
    """Take away the handler that a DataLoader leaves behind, which wants to know of every child that ends.

    It ran on a stack for signals that was sound no more after thousands of tests: the end of the browser,
    of all children, ended the whole run.
    """
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Returns ``make_bundle(name, seed, region)``: the small network on 64 px, with random weights."""

    def make(name: str, seed: int = 0, region: str = "whole") -> Bundle:
        prep = ImagePrep(region=region, finder="haar", size_px=64)
        metrics = {"val": {"files": 40, "auc": 0.5}}
        return fresh_bundle(tmp_path_factory.mktemp(name), "cnn", prep, seed, name=name, metrics=metrics)

    return make


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """One Ray cluster of two CPUs on 127.0.0.1 for all tests that need one.

    It lives until pytest has told its results: see :func:`pytest_unconfigure`.
    """
    import ray

    from deepscan.cluster import ENVIRONMENT, configure_data

    with pytest.MonkeyPatch.context() as environment:
        for name, value in (ENVIRONMENT | RAY_ENVIRONMENT).items():
            environment.setenv(name, value)
        folder = tempfile.mkdtemp(prefix="r")  # short: Ray makes sockets in it, whose paths are limited
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=400 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        configure_data()
        request.config.stash[CLUSTER] = folder
        yield
