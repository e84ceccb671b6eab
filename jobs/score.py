r"""Judge files by the million on a cluster.

    ray job submit --working-dir . -- python jobs/score.py s3://lake/inbox \
        --bundle /shared/runs/first/bundle --out s3://lake/scores.parquet

The options are those of ``deepscan score``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("score", sys.argv[1:])
