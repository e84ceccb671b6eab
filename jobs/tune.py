r"""Search the settings of a model on a cluster, then train, calibrate and measure the winner.

    ray job submit --working-dir . -- python jobs/tune.py --model statistics --data /shared/faces \
        --trials 100 --store /shared/prepared --out /shared/runs/search

The options are those of ``deepscan tune``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("tune", sys.argv[1:])
