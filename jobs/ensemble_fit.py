r"""Learn on a cluster how bundles vote together, and measure them.

    ray job submit --working-dir . -- python jobs/ensemble_fit.py --bundle /shared/runs/first/bundle \
        --bundle /shared/runs/second/bundle --data /shared/faces --store /shared/prepared --method stack \
        --out /shared/runs/both.json

The options are those of ``deepscan ensemble fit``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("ensemble", ["fit", *sys.argv[1:]])
