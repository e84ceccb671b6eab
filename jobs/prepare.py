r"""Prepare a data set on a cluster.

    ray job submit --working-dir . -- python jobs/prepare.py --data /shared/faces --model statistics \
        --store /shared/prepared --out /shared/runs/ledger

The options are those of ``deepscan prepare``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("prepare", sys.argv[1:])
