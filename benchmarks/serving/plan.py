"""What a step of the benchmark is given, and the loads that steps make of it."""

import dataclasses
import pathlib
from typing import Any

from benchmarks.serving.figures import Outcome, ratio
from benchmarks.serving.loads import Load
from benchmarks.serving.processes import send
from benchmarks.serving.systems import System


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to measure: on which bundle and files, how long, how often, at how many connections."""

    folder: pathlib.Path
    bundle: pathlib.Path
    model: str
    pictures: tuple[str, ...]
    sounds: tuple[str, ...]
    time_s: float
    soak_s: float
    rounds: int
    connections: tuple[int, ...]
    systems: tuple[str, ...]

    def load(self, system: System, connections: int, **changes: Any) -> Load:
        """Return the load of a measurement."""
        given = {"time_s": self.time_s, "files": self.pictures} | changes
        return Load(port=system.port, connections=connections, **given)

    def warm(self, system: System, connections: int = 4, **changes: Any) -> None:
        """Send what is not measured, until a third of the time or four requests a connection have passed."""
        bounds = {"count": 4 * connections + 20, "time_s": max(2.0, self.time_s / 3)}
        send(self.load(system, connections, **bounds | changes))

    def measure(self, system: System, connections: int, **changes: Any) -> tuple[dict[str, Any], Outcome]:
        """Send a load and return the row of a table, with the CPU that the system took for a request."""
        before = system.members()
        outcome = send(self.load(system, connections, **changes))
        spent_s = system.cpu_s(before)
        answered = len(outcome.latencies_s())
        row = {"system": system.name, "connections": connections} | outcome.figures()
        return row | {
            "cpu_ms": ratio(1000 * spent_s, answered),
            "cpu_share": ratio(spent_s, outcome.wall_s),
        }, outcome
