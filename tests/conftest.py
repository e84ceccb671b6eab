"""Fixtures that several folders of tests share."""

import pathlib
import shutil
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


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Returns ``make_bundle(name, seed, region)``: the small network on 64 px, with random weights."""

    def make(name: str, seed: int = 0, region: str = "whole") -> Bundle:
        prep = ImagePrep(region=region, finder="haar", size_px=64)
        metrics = {"val": {"files": 40, "auc": 0.5}}
        return fresh_bundle(tmp_path_factory.mktemp(name), "cnn", prep, seed, name=name, metrics=metrics)

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray cluster of two CPUs on 127.0.0.1 for all tests that need one."""
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
        yield
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
