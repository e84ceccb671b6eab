r"""Take weights or channels out of a bundle on a cluster.

    ray job submit --working-dir . -- python jobs/prune.py /shared/runs/first/bundle \
        --data /shared/runs/first/ledger.parquet --store /shared/prepared \
        --amount 0.3 --epochs 2 --out /shared/runs/first-pruned

The options are those of ``deepscan prune``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("prune", sys.argv[1:])
