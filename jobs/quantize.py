r"""Write a bundle in int8 on a cluster.

    ray job submit --working-dir . -- python jobs/quantize.py /shared/runs/first/bundle \
        --data /shared/faces --store /shared/prepared --format openvino --out /shared/runs/first-int8

The options are those of ``deepscan quantize``. Paths are absolute, on storage that the machines share.
"""

import sys

from deepscan.cli import run_job

if __name__ == "__main__":
    run_job("quantize", sys.argv[1:])
