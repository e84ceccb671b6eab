"""The command that serves verdicts."""

from typing import Annotated

import typer

from deepscan.cli.options import Device, Fusion, Judges, Plugin
from deepscan.cli.program import say

app = typer.Typer()


@app.command()
def serve(
    bundle: Judges,
    fusion: Fusion = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    device: Device = "auto",
    plugin: Plugin = None,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
) -> None:
    """Serve verdicts over HTTP until interrupted."""
    from deepscan.serving.config import ServeArgs

    args = ServeArgs(
        bundles=tuple(map(str, bundle)),
        fusion=tuple(fusion or ()),
        device=device,
        plugins=(str(plugin),) if plugin else (),
    )
    say(f"Starting at http://{host}:{port} (Ctrl-C stops)")
    if local:
        from deepscan.serving.local import serve as run_local

        run_local(args, host, port)
        return
    from deepscan.cluster import connected
    from deepscan.serving.app import serve as run

    with connected():
        run(args, host, port)
