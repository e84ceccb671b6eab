r"""Find the fastest sibling of a bundle on a machine of a cluster.

    ray job submit --working-dir . -- python jobs/optimize.py /shared/runs/first/bundle \
        --data /shared/faces --store /shared/prepared --out /shared/runs/first-fast

The options are those of ``deepscan optimize``. Paths are absolute, on storage that the machines share. Speeds
are those of the machine on which the job's driver runs: submit it to one like those that will serve.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("optimize", sys.argv[1:])
