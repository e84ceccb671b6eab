"""The Serve application: ``build`` draws the graph, ``serve`` runs it on this machine.

``serve run deepscan.serving.app:build bundles=PATH`` and ``serve run CONFIG.yaml`` come here too.
"""

import contextlib
import itertools
import logging
import pathlib
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import httpx
import ray
from ray import serve as ray_serve
from ray.serve import Application, Deployment
from ray.serve.config import RequestRouterConfig

from deepscan import pipeline
from deepscan.cluster import available
from deepscan.errors import ResourceError, ServiceError
from deepscan.serving.backend import ModelFacts
from deepscan.serving.config import ServeArgs, Stage
from deepscan.serving.environment import from_environment, process_environment
from deepscan.serving.handles import RemoteAnalyzers, RemoteDesk, RemoteEnsemble, RemoteGroup, RemoteMemory
from deepscan.serving.ingress import Behind, Desk, Ingress
from deepscan.serving.replica import Analyze, Bookkeeper, Planner, Prepare, Remembered, Replica

if TYPE_CHECKING:
    from deepscan.bundle import Bundle
    from deepscan.serving.lineup import Lineup

log = logging.getLogger(__name__)

NAME = "deepscan"
"""Name of the Serve application."""

READY_TIMEOUT_S = 120.0
"""How long a service may take from healthy processes to its first ready answer."""

# Callers of a full stage look again after milliseconds: Serve's own back-off of up to half a second
# leaves most of a slow model's time unused.
ROUTER = RequestRouterConfig.model_validate({"initial_backoff_s": 0.002, "max_backoff_s": 0.01})


def build(given: dict[str, Any]) -> Application:
    """Draw the graph for the arguments of a configuration, and the variables of the environment.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: An argument or a variable is unknown or wrong.
    """
    return draw(from_environment(process_environment(), given=given))


def draw(args: ServeArgs) -> Application:
    """Draw the graph for a set of bundles.

    Ingress asks the Ensemble, which asks Prepare and Replica of each Prep, and Analyze; Memory, Books and
    Jobs are what all processes of Ingress share.

    Raises:
        BundleError: A bundle or ensemble cannot be used.
        ConfigError: A setting of a fusion or a variant is wrong.
    """
    args = _absolute(args)
    made = _read(args)
    groups = [_group(members, args) for members in _by_prep(made)]
    analyze = _deployment(Analyze, args.evidence).bind(args)
    planner = _deployment(Planner, args.ensemble, name="Ensemble").bind(
        groups, made.panels, RemoteAnalyzers(cast(Any, analyze))
    )
    modalities = tuple(dict.fromkeys(facts.modality for group in groups for facts in group.models))
    remembered = _deployment(Remembered, args.shared, name="Memory").bind(args.verdict_cache_bytes)
    books = _deployment(Bookkeeper, args.shared, name="Books").bind(made.keeping)
    behind = Behind(
        ensemble=RemoteEnsemble(cast(Any, planner), modalities),
        memory=RemoteMemory(cast(Any, remembered)),
        books=cast(Any, books),
        digest=made.digest,
        trial=made.trial,
        max_wait_s=args.max_wait_s,
    )
    desk = _deployment(Desk, args.shared, name="Jobs").bind(behind)
    full = {"status_code": 503, "retry_after_s": args.retry_after_s}
    ingress = _deployment(Ingress, args.ingress, backpressure_config=full)
    return ingress.bind(behind, RemoteDesk(cast(Any, desk)), args)


def serve(args: ServeArgs, host: str = "127.0.0.1", port: int = 8000, blocking: bool = True) -> str:
    """Run the service on a Ray cluster that was started before, until Ctrl-C if ``blocking``.

    Args:
        args: What to serve.
        host: Address to listen on; 0.0.0.0 lets other machines in.
        port: Port to listen on.
        blocking: Wait for Ctrl-C, then stop the service; else return once it is ready.

    Returns:
        The URL at which the service answers.

    Raises:
        BundleError: A bundle cannot be used.
        ConfigError: The port is taken.
        ResourceError: Ray is not running in this process.
        ServiceError: The service did not become ready in time.
    """
    if not ray.is_initialized():
        msg = "Serving needs a Ray cluster and none is connected; use deepscan.cluster.connected()."
        raise ResourceError(msg)
    cpus, _ = available()
    application = draw(args.fitted(len(_by_prep(_read(args))), cpus))
    ray_serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    url = f"http://{host}:{port}"
    with contextlib.ExitStack() as ending:
        ending.callback(stop)
        ray_serve.run(application, name=NAME)
        _wait_until_ready(url)
        log.info("Serving %s at %s", ", ".join(args.bundles), url)
        if blocking:
            _wait_for_interrupt()
        else:
            ending.pop_all()
    return url


def stop() -> None:
    """Stop the service that ``serve(blocking=False)`` left running."""
    ray_serve.shutdown()  # type: ignore[no-untyped-call]


def _absolute(args: ServeArgs) -> ServeArgs:
    """Return the arguments with the paths that processes elsewhere open."""
    keys = args.gate.keys_file
    gate = args.gate.model_copy(update={"keys_file": str(pathlib.Path(keys).resolve())} if keys else {})
    plugins = tuple(str(pathlib.Path(plugin).resolve()) for plugin in args.plugins)
    return args.model_copy(update={"gate": gate, "plugins": plugins})


def _read(args: ServeArgs) -> "Lineup":
    # Here and not above, because a process of Ingress has no use for torch.
    from deepscan.models.catalog import load_plugin
    from deepscan.serving.lineup import lineup

    for plugin in args.plugins:
        load_plugin(pathlib.Path(plugin))
    return lineup(args)


def _by_prep(made: "Lineup") -> "list[list[Bundle]]":
    """Return the bundles that share a Prep together."""
    return [list(members) for _, members in itertools.groupby(made.bundles, key=_digest)]


def _group(bundles: "list[Bundle]", args: ServeArgs) -> RemoteGroup:
    """Bind the two stages of the bundles that share a Prep; Serve puts handles in their places."""
    card, prep = bundles[0].card, bundles[0].prep()
    suffix = f"{card.modality}-{card.prep_digest[:8]}"
    paths = {bundle.card.id: str(bundle.path) for bundle in bundles}
    rest = {"min_replicas": 0} if (sleeps := card.modality in args.asleep) else {}
    batching = {"batch_size": args.batch_size, "batch_wait_s": args.batch_wait_s}
    prepare = _deployment(Prepare, args.prepare.model_copy(update=rest), name=f"Prepare-{suffix}")
    stage = args.replica.model_copy(update=rest)
    replica = _deployment(Replica, stage, name=f"Replica-{suffix}", user_config=batching)
    return RemoteGroup(
        models=tuple(ModelFacts.of(bundle.card) for bundle in bundles),
        samples_frames=pipeline.samples_frames(prep),
        sleeps=sleeps,
        multiplexed=bool(args.resident),
        prepare=cast(Any, prepare.bind(prep, args)),
        replica=cast(Any, replica.bind(paths, args)),
    )


def _deployment(stage_class: type[Any], stage: Stage, **options: Any) -> Deployment:
    deployment = cast(Deployment, ray_serve.deployment(stage_class))
    return deployment.options(request_router_config=ROUTER, **stage.options(), **options)


def _digest(bundle: "Bundle") -> str:
    return bundle.card.prep_digest


def _wait_until_ready(url: str) -> None:
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s:
        # The first answers after a start may be 404: the proxy learns its routes a moment later.
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/health", trust_env=False, timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    msg = f"The service at {url} was not ready after {READY_TIMEOUT_S:g} s; see the logs of Ray Serve."
    raise ServiceError(msg)


def _wait_for_interrupt() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
