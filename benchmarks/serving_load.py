"""Load and failure of the service, measured on the loopback of one machine, bounded in number and time.

    python -m benchmarks.serving_load compare --pictures FOLDER
    python -m benchmarks.serving_load all --pictures FOLDER --model efficientnet-b0

Run it at the root of the repository. Steps:

    compare        requests a second and latencies at 1, 4, 16 and 64 connections of a bare FastAPI around
                   the detector, LitServe around it, ``serve --local``, Serve, and Serve as in production
    batching       what batches bring where the model gains from them, and where it does not
    cached         latency of files that were judged before
    overload       three times as many requests as the service can take, as an open loop
    kill           a replica is killed (SIGKILL) under load
    broken-deploy  a deployment whose bundle cannot be read, under load
    autoscale      replicas come and go with the load
    soak           memory under steady load

``--pictures`` holds JPEG files with a face, ``--sounds`` WAV files with a voice. Every request carries other
bytes, by a comment in the file, so that nothing is answered from memory, except in ``cached``. The client is
a process of its own on the same cores: the tables tell the share of a core that it took (``client_cpu``) and
how late its requests left (``late_p99_ms``), and of the system the CPU time for a request (``cpu_ms``) and
its cores (``cpu_share``). An open loop counts latency from when a request was due. Clusters of Ray are
started for a step and ended after it. Results are written to ``--out``, with the goals of the project beside
the figures.
"""

import argparse
import pathlib
import tempfile

from benchmarks.serving import faults, steady
from benchmarks.serving.figures import write
from benchmarks.serving.material import fresh_bundle, usable
from benchmarks.serving.plan import Plan

STEPS = {
    "compare": steady.compare,
    "batching": steady.batching,
    "cached": steady.cached,
    "overload": faults.overload,
    "kill": faults.kill,
    "broken-deploy": faults.broken_deploy,
    "autoscale": faults.autoscale,
    "soak": steady.soak,
}


def main() -> None:
    """Run the steps that were asked for and write what they measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--pictures", type=pathlib.Path, required=True)
    parser.add_argument("--sounds", type=pathlib.Path, help="batching measures a model of sounds too")
    parser.add_argument("--model", default="efficientnet-b0")
    parser.add_argument("--count", type=int, default=50, help="different files")
    parser.add_argument(
        "--time-s", type=float, default=10.0, help="of each measurement; the soak has its own"
    )
    parser.add_argument("--soak-s", type=float, default=600.0)
    parser.add_argument("--rounds", type=int, default=1, help="of compare and batching; medians are shown")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--systems", nargs="+", default=[*steady.SYSTEMS], choices=steady.SYSTEMS)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            folder=pathlib.Path(folder),
            bundle=fresh_bundle(pathlib.Path(folder) / given.model, given.model),
            model=given.model,
            pictures=usable(given.pictures, given.model, given.count),
            sounds=usable(given.sounds, steady.SOUND_MODEL, given.count, ".wav") if given.sounds else (),
            time_s=given.time_s,
            soak_s=given.soak_s,
            rounds=given.rounds,
            connections=tuple(given.connections),
            systems=tuple(given.systems),
        )
        for name in STEPS if given.step == "all" else [given.step]:
            print(f"--- {name}", flush=True)
            print(write(given.out, name, STEPS[name](plan)))


if __name__ == "__main__":
    main()
