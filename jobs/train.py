r"""Train, calibrate and measure a detector on a cluster.

    ray job submit --working-dir . -- python jobs/train.py --model statistics --data /shared/faces \
        --workers 8 --store /shared/prepared --out /shared/runs/first

The options are those of ``deepscan train``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("train", sys.argv[1:])
