"""The cluster of cluster.yaml, as far as it can be here: its head is started with its own words.

The cloud is Ray's stand-in for one, whose machines are processes: a head without CPUs takes a job, the
autoscaler finds that a machine of the pool ``cpu`` is needed and starts it, and the job ends on it.
"""

import copy
import json
import pathlib
import shlex

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)
from ray.autoscaler._private.util import prepare_config

from tests.jobs.heads import ROOT, free_ports, started_head, submit
from tests.tiny_bundles import PLUGIN

CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
FILES = 6


def start_options(autoscaling):
    """The options of ``ray start`` on the head; the port and the place of the settings are ours."""
    [line] = [command for command in CLUSTER["head_start_ray_commands"] if "ray start" in command]
    ray, start, *options = shlex.split(line)
    assert (ray, start) == ("ray", "start")
    assert [o for o in options if o.startswith("--port=")] == ["--port=6379"]
    replaced = [o for o in options if not o.startswith(("--port=", "--autoscaling-config="))]
    assert len(replaced) == len(options) - 2
    # What `ray up` says by a variable, which the machines of the stand-in would inherit.
    cpus = CLUSTER["available_node_types"]["head"]["resources"]["CPU"]
    return [*replaced, f"--autoscaling-config={autoscaling}", f"--num-cpus={cpus}"]


def stand_in(gcs_address):
    """What `ray up` makes of cluster.yaml for the head, with machines that are processes of two CPUs."""
    prepared = prepare_config(copy.deepcopy(CLUSTER))
    pools = prepared["available_node_types"]
    small = {name: {**pool, "node_config": {}} for name, pool in pools.items() if name != "head"}
    small["cpu"] |= {"resources": {"CPU": 2, "object_store_memory": 200_000_000}, "max_workers": 1}
    small[FAKE_HEAD_NODE_TYPE] = {"resources": pools["head"]["resources"], "node_config": {}}
    provider = {
        "type": "external",  # by its name, `fake_multinode`, Ray looks for a file that its wheel lacks
        "module": f"{FakeMultiNodeProvider.__module__}.FakeMultiNodeProvider",
        "gcs_address": gcs_address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    rest = {"auth": {}, "docker": {}, "file_mounts": {}, "head_node_type": FAKE_HEAD_NODE_TYPE}
    return {**prepared, **rest, "provider": provider, "available_node_types": small}


@pytest.fixture
def cluster(tmp_path):
    ports = free_ports()
    path = tmp_path / "autoscaling.json"
    path.write_text(json.dumps(stand_in(f"127.0.0.1:{ports['port']}")))
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",  # what `ray up` starts
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with started_head(start_options(path), ports, **variables) as environment:
        yield environment


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_with_the_token_gets_a_machine_and_one_without_gets_nothing(cluster, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(FILES):
        folder = tmp_path / "data" / ("real", "fake")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    words = ["jobs/prepare.py", "--model", "tiny", "--plugin", PLUGIN, "--data", tmp_path / "data"]
    words += ["--store", tmp_path / "store", "--out", tmp_path / "ledger"]

    stranger = {name: value for name, value in cluster.items() if not name.startswith("RAY_AUTH")}
    refused = submit({**stranger, "HOME": str(tmp_path)}, *words)
    assert refused.returncode != 0
    assert "uthentication" in refused.stdout + refused.stderr
    assert not (tmp_path / "ledger").exists()

    done = submit(cluster, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = pq.read_table(next(pathlib.Path(tmp_path / "ledger").rglob("*.parquet")))
    assert ledger["status"].to_pylist() == ["used"] * FILES
