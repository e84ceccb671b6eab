"""Trains on a cluster of two nodes, one of which is taken away after the first epoch; prints what came of it.

A process of its own: a process has one cluster. Arguments: data, store, folder of the run.
"""

import json
import pathlib
import sys

import ray
from ray.cluster_utils import Cluster

from deepscan.cluster import configure_data
from deepscan.datasets.dataset import Origin
from deepscan.training.run import Order, train

PLUGIN = pathlib.Path(__file__).parents[1] / "plugins" / "tiny.py"
STORE_BYTES = 200 * 2**20


class Axe:
    """A Watch that removes a node after an epoch."""

    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node

    def stage(self, title): ...

    def advance(self, done, total): ...

    def epoch(self, metrics):
        if self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def main() -> None:
    data, store, out = map(pathlib.Path, sys.argv[1:])
    node = {"num_cpus": 2, "object_store_memory": STORE_BYTES}
    # Without the dashboard's API a placement group outlives its run, see ``deepscan.cluster``.
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": True})
    doomed = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    configure_data()
    order = Order(
        model="tiny",
        plugin=PLUGIN,
        origin=Origin(path=data, store=store, fractions=(0.5, 0.25, 0.25)),
        out=out,
        overrides=("recipe.epochs=12",),
        workers=2,
        least=1,
    )
    outcome = train(order, Axe(cluster, doomed))
    facts = {
        "epochs": [epoch["epoch"] for epoch in outcome.history],
        "files": outcome.evaluation.counts.files,
        "nodes": sum(each["Alive"] for each in ray.nodes()),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
