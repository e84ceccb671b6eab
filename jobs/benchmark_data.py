r"""Measure on a cluster how fast training Examples arrive, and whether keeping them pays.

    ray job submit --working-dir . -- python jobs/benchmark_data.py --model statistics --data /shared/faces \
        --workers 8 --store /shared/prepared --out /shared/runs/rates

The options are those of ``deepscan benchmark data``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("benchmark", ["data", *sys.argv[1:]])
