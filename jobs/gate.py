r"""Fit the gate of a bundle anew on a cluster.

    ray job submit --working-dir . -- python jobs/gate.py /shared/runs/first/bundle \
        --data /shared/runs/first/ledger.parquet --store /shared/prepared \
        --rate 0.02 --out /shared/runs/first-gated

The options are those of ``deepscan gate``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("gate", sys.argv[1:])
