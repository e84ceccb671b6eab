"""Trackers: who can follow a training run. JSON lines, MLflow, Weights & Biases.

To add one, write a class with the methods of ``Tracker`` and register its ``Kind`` at the end of this file.
"""

import dataclasses
import json
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from deepscan.registry import Registry

JSON_LINES = "run.jsonl"
PROJECT = "deepscan"
SERVER_RETRIES = 0
SERVER_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Which run a tracker is to follow.

    Attributes:
        out: Folder of the training run; trackers that write files do so in it.
        name: What the run is called.
        run: The tracker's own name of a run to go on with; empty = a new one.
    """

    out: pathlib.Path
    name: str
    run: str = ""


class Tracker(Protocol):
    """Follows one training run."""

    run: str
    """The tracker's own name of the run, with which it can be gone on with."""

    place: str
    """Where a person can look at it: an address or a path."""

    def settings(self, values: Mapping[str, Any]) -> None:
        """Keep what the run was asked for and what it learns from, as nested plain values."""

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an epoch; ``epoch`` is its number, from 1."""

    def result(self, figures: Mapping[str, float], bundle: pathlib.Path) -> None:
        """Keep the final figures, and the bundle or where it is."""

    def close(self, finished: bool) -> None:
        """End the run; ``finished`` tells whether training came to its end."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of tracker.

    Attributes:
        open: Begins a run, or goes on with one.
        failures: Names the exceptions that its methods raise when its server or disk fails.
        packages: Modules that it needs beyond those of deepscan; the extra ``track`` installs them.
    """

    open: Callable[[Opening], Tracker]
    failures: Callable[[], tuple[type[Exception], ...]]
    packages: tuple[str, ...] = ()


TRACKERS: Registry[Kind] = Registry("tracker")


def flat(values: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, the names joined by ``separator``."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, separator, f"{prefix}{name}{separator}")
        else:
            result[f"{prefix}{name}"] = value
    return result


class JsonLines:
    """Appends a JSON object for everything that it is told to ``OUT/run.jsonl``."""

    def __init__(self, opening: Opening) -> None:
        """Write into the folder of the run."""
        self._path = opening.out.resolve() / JSON_LINES
        self.run = self.place = str(self._path)

    def settings(self, values: Mapping[str, Any]) -> None:
        """Write ``{"settings": ...}``."""
        self._write({"settings": values})

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Write ``{"epoch": ...}``."""
        self._write({"epoch": metrics})

    def result(self, figures: Mapping[str, float], bundle: pathlib.Path) -> None:
        """Write ``{"figures": ..., "bundle": ...}``."""
        self._write({"figures": figures, "bundle": str(bundle)})

    def close(self, finished: bool) -> None:
        """Write ``{"finished": ...}``."""
        self._write({"finished": finished})

    def _write(self, value: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")


class Mlflow:
    """A run of the experiment ``deepscan`` in MLflow, or of ``MLFLOW_EXPERIMENT_NAME``.

    It is kept where ``MLFLOW_TRACKING_URI`` says, without one in ``OUT/mlflow.db`` with the artifacts in
    ``OUT/mlflow-artifacts``.
    """

    def __init__(self, opening: Opening) -> None:
        """Create the run, or go on with it."""
        import mlflow
        from mlflow import environment_variables as variables

        # MLflow reports to its makers, waits for minutes for a server that is gone, and tells of every table.
        variables.MLFLOW_DISABLE_TELEMETRY.set(True)
        mlflow.telemetry.set_telemetry_client()
        if not variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(SERVER_RETRIES)
        if not variables.MLFLOW_HTTP_REQUEST_TIMEOUT.is_set():
            variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(SERVER_TIMEOUT_S)
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        out, is_elsewhere = opening.out.resolve(), mlflow.is_tracking_uri_set()
        uri = mlflow.get_tracking_uri() if is_elsewhere else f"sqlite:///{out / 'mlflow.db'}"
        artifacts = None if is_elsewhere else (out / "mlflow-artifacts").as_uri()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = self._experiment(variables.MLFLOW_EXPERIMENT_NAME.get() or PROJECT, artifacts)
        self.run = opening.run or self._client.create_run(experiment, run_name=opening.name).info.run_id
        self._client.update_run(self.run, status="RUNNING")
        is_http = uri.startswith("http")
        self.place = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.run}" if is_http else uri

    def _experiment(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def settings(self, values: Mapping[str, Any]) -> None:
        """Log every value as a parameter with a dotted name."""
        from mlflow.entities import Param

        parameters = [Param(name, str(value)) for name, value in flat(values).items()]
        self._client.log_batch(self.run, params=parameters)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Log the metrics; the step is the epoch."""
        self._log(metrics, int(metrics["epoch"]))

    def result(self, figures: Mapping[str, float], bundle: pathlib.Path) -> None:
        """Log the figures, and the bundle as artifacts."""
        self._log(figures, 0)
        self._client.log_artifacts(self.run, str(bundle), "bundle")

    def close(self, finished: bool) -> None:
        """Set the status of the run."""
        self._client.set_terminated(self.run, "FINISHED" if finished else "FAILED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(1000 * time.time())
        metrics = [Metric(name, value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self.run, metrics=metrics)


def _mlflow_failures() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


class Wandb:
    """A run of the project ``deepscan`` in Weights & Biases, or of ``WANDB_PROJECT``.

    It is kept in ``OUT/wandb`` and sent nowhere, unless ``WANDB_MODE`` asks for that.
    """

    def __init__(self, opening: Opening) -> None:
        """Create the run, or go on with it."""
        import wandb

        given = wandb.setup(wandb.Settings(silent=True)).settings
        mode = given.mode if "mode" in given.model_fields_set else "offline"
        self._run = wandb.init(
            project=given.project or PROJECT,
            dir=str(opening.out.resolve()),
            id=opening.run or None,
            name=opening.name,
            mode=mode,
            resume="allow" if opening.run else None,
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
        )
        self.run = self._run.id
        url = self._run.url if mode == "online" else None
        self.place = url or str(pathlib.Path(self._run.dir).parent)

    def settings(self, values: Mapping[str, Any]) -> None:
        """Set the configuration of the run."""
        self._run.config.update(dict(values), allow_val_change=True)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Log the metrics; the step is the epoch."""
        self._run.log(dict(metrics), step=int(metrics["epoch"]))

    def result(self, figures: Mapping[str, float], bundle: pathlib.Path) -> None:
        """Set the figures as the summary of the run, and log the bundle as an artifact of type ``model``."""
        import wandb

        self._run.summary.update(dict(figures))
        artifact = wandb.Artifact(f"bundle-{self.run}", type="model", metadata={"path": str(bundle)})
        artifact.add_dir(str(bundle), policy="immutable")
        self._run.log_artifact(artifact)

    def close(self, finished: bool) -> None:
        """Finish the run; one that did not come to its end counts as crashed."""
        self._run.finish(exit_code=0 if finished else 1)


def _wandb_failures() -> tuple[type[Exception], ...]:
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return wandb.Error, HandleAbandonedError, MailboxClosedError, OSError


TRACKERS.register("jsonl", Kind(open=JsonLines, failures=lambda: (OSError,)))
TRACKERS.register(
    "mlflow", Kind(open=Mlflow, failures=_mlflow_failures, packages=("mlflow", "sqlalchemy", "alembic"))
)
TRACKERS.register("wandb", Kind(open=Wandb, failures=_wandb_failures, packages=("wandb",)))
