"""Fixtures that several folders of tests share."""

import os
import shutil
import tempfile

import pytest

RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # the cluster listens on 127.0.0.1 only and lives as long as the tests
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
}


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray cluster of two CPUs on 127.0.0.1 for all tests that need one."""
    import ray

    from deepscan.cluster import ENVIRONMENT

    os.environ.update(ENVIRONMENT | RAY_ENVIRONMENT)
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
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
