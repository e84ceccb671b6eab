"""The commands that serve verdicts, make API keys and check configurations."""

import ipaddress
import pathlib
from typing import Annotated, Any

import typer

from deepscan.cli.options import Fusion, Plugin
from deepscan.cli.program import complain, say
from deepscan.errors import ConfigError

app = typer.Typer()


@app.command()
def serve(
    bundle: Annotated[
        list[pathlib.Path] | None,
        typer.Option("--bundle", help="Bundle directory, may be repeated; or one ensemble file."),
    ] = None,
    fusion: Fusion = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    plugin: Plugin = None,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
    keys_file: Annotated[
        pathlib.Path | None, typer.Option(help="File of API keys; without it nobody needs one.")
    ] = None,
    env_file: Annotated[
        pathlib.Path | None, typer.Option(help="File of DEEPSCAN_SERVE_* variables, such as .env.")
    ] = None,
) -> None:
    """Serve verdicts over HTTP until interrupted; what no option says, DEEPSCAN_SERVE_* variables may."""
    from deepscan.serving.environment import from_environment, process_environment

    options: dict[str, Any] = {
        "bundles": [str(path) for path in bundle or ()],
        "fusion": fusion,
        "device": device,
        "plugins": [str(plugin)] if plugin else None,
        "gate": {"keys_file": str(keys_file)} if keys_file else None,
    }
    given = {name: value for name, value in options.items() if value}
    args = from_environment(process_environment(), env_file, given)
    say(f"Starting at http://{host}:{port} (Ctrl-C stops)")
    if not args.gate.keys_file and not _is_loopback(host):
        complain("Open", f"whoever reaches {host} may ask, for there is no key file; see --keys-file.")
    if local:
        from deepscan.serving.local import serve as run_local

        run_local(args, host, port)
        return
    from deepscan.cluster import connected
    from deepscan.serving.app import serve as run

    with connected():
        run(args, host, port)


@app.command()
def api_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: Annotated[
        pathlib.Path | None, typer.Option(help="Key file to add it to; without it, its line is printed.")
    ] = None,
    requests_per_minute: Annotated[
        float | None, typer.Option(min=0, help="Rate of this key; without it, that of the service.")
    ] = None,
) -> None:
    """Make an API key: the token is printed this once, and the key file keeps only its SHA-256."""
    from deepscan.serving.access import add_key, new_key

    token, key = new_key(name, requests_per_minute)
    if file:
        add_key(file, key)
    say(token if file else f"{token}\n{key.line()}")


@app.command()
def validate_config(
    files: Annotated[list[pathlib.Path], typer.Argument(help="Serve configurations, or RayServices.")],
    cpus: Annotated[float | None, typer.Option(min=0, help="CPUs of the cluster; without it any.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of the cluster; without it any.")] = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Look at no bundle, plugin or key file that they name.")
    ] = False,
) -> None:
    """Check Serve configurations to the last key, where Ray would drop what it does not know."""
    from deepscan.serving.validation import Place, check

    wrong = 0
    for path in files:
        findings = check(path, Place(cpus=cpus, gpus=gpus, files=not schema_only))
        for finding in findings:
            complain(f"{path}: {finding.where}", finding.what)
        wrong += len(findings)
        if not findings:
            say(f"{path}: in order")
    if wrong:
        msg = f"{wrong} {'key is' if wrong == 1 else 'keys are'} wrong, as told above; nothing was deployed."
        raise ConfigError(msg)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
