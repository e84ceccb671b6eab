"""Runs of scoring in processes of their own, to be killed from outside.

Loaded once by a fork server, so that each run starts in the time that Ray takes.
"""

import multiprocessing
import pathlib
import tempfile

import pytest
import ray

from deepscan.cluster import ENVIRONMENT, connected
from deepscan.ensemble import select
from deepscan.scoring.plan import Work
from deepscan.scoring.run import open_task, score
from tests.conftest import RAY_ENVIRONMENT
from tests.tiny_bundles import PLUGIN

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


class Telling:
    """A Watch that says when scoring began, when its first rows came, and how far it is."""

    def __init__(self, begun, moving, done):
        self.begun, self.moving, self.done = begun, moving, done

    def stage(self, title):
        if title.startswith("Scoring"):
            self.begun.set()

    def advance(self, done, total):
        if self.done.value:
            self.moving.set()
        self.done.value = done + 1

    def epoch(self, metrics): ...


def drive(address, given, rate_hz, telling):
    """Score on a cluster that is there already; ``given`` are inbox, folder of scores and bundle."""
    data, out, bundle = given
    work = Work(device="cpu", actors=1, rate_hz=rate_hz, plugin=PLUGIN)
    with connected(address):
        score(open_task(data, out, select([pathlib.Path(bundle)]), work, telling), telling)


class Losing(Telling):
    """A Watch that takes a machine away once a quarter of the files is done."""

    def __init__(self, lose):
        self.lose, self.lost = lose, None

    def stage(self, title): ...

    def advance(self, done, total):
        if self.lost is None and 4 * done >= total:
            self.lost = self.lose()


def lose_a_node(given, answer):
    """Score on two nodes, one of which is lost; answer how many actors were alive on it."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        folder = tempfile.mkdtemp(prefix="r")
        for name, value in (ENVIRONMENT | RAY_ENVIRONMENT | {"RAY_TMPDIR": folder}).items():
            environment.setenv(name, value)
        memory = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**memory, "include_dashboard": False})
        node = cluster.add_node(**memory)

        def lose():
            actors = ray._private.state.actors().values()
            there = [a for a in actors if a["Address"]["NodeID"] == node.node_id and a["State"] == "ALIVE"]
            cluster.remove_node(node, allow_graceful=False)
            return len(there)

        data, out, bundle = given
        losing = Losing(lose)
        try:
            with connected(cluster.address):
                work = Work(device="cpu", actors=3, rate_hz=100, plugin=PLUGIN)
                task = open_task(data, out, select([pathlib.Path(bundle)]), work, losing)
                answer.put((score(task, losing), losing.lost))
        finally:
            cluster.shutdown()
