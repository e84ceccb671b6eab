r"""Measure a bundle on a data set on a cluster.

    ray job submit --working-dir . -- python jobs/evaluate.py --bundle /shared/runs/first/bundle \
        --data /shared/faces --store /shared/prepared --out /shared/runs/first-eval

The options are those of ``deepscan evaluate``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("evaluate", sys.argv[1:])
