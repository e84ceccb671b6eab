"""Trains on a cluster that gets its two nodes when they are wanted and loses one after the first epoch.

Prints what came of it.

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
NODE = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


class Autoscaler:
    """A Watch that starts the nodes when the run waits for them, and removes one after an epoch."""

    def __init__(self, cluster):
        self.cluster, self.node, self.waited = cluster, None, False

    def stage(self, title):
        if title.startswith("Waiting up to"):
            self.waited = True
            self.cluster.add_node(**NODE)
            self.node = self.cluster.add_node(**NODE)

    def advance(self, done, total): ...

    def epoch(self, metrics):
        if self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def main() -> None:
    data, store, out = map(pathlib.Path, sys.argv[1:])
    # Without the dashboard's API a placement group outlives its run, see ``deepscan.cluster``.
    head = NODE | {"num_cpus": 0, "include_dashboard": True}
    cluster = Cluster(initialize_head=True, head_node_args=head)
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
        address=cluster.address,
    )
    scaler = Autoscaler(cluster)
    outcome = train(order, scaler)
    facts = {
        "waited": scaler.waited,
        "epochs": [epoch["epoch"] for epoch in outcome.history],
        "files": outcome.evaluation.counts.files,
        "nodes": sum(each["Alive"] for each in ray.nodes()),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
