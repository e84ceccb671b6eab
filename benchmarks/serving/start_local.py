"""``deepscan serve --local`` with every argument of a service, as JSON: what the command line leaves out.

python -m benchmarks.serving.start_local '{"bundles": "runs/demo/statistics/bundle"}' PORT
"""

import json
import sys

from deepscan.serving import config, local

if __name__ == "__main__":
    local.serve(config.parse(json.loads(sys.argv[1])), port=int(sys.argv[2]))
