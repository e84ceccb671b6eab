r"""Cross-validate a model on a cluster, grouped by source.

    ray job submit --working-dir . -- python jobs/crossvalidate.py --model statistics --data /shared/faces \
        --workers 8 --store /shared/prepared --folds 5 --out /shared/runs/folds

The options are those of ``deepscan crossvalidate``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("crossvalidate", sys.argv[1:])
