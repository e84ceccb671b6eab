"""The page at ``/``: plain files that are served as they lie here, and nothing from other hosts.

Paths in them are relative, so that the page also works below a prefix. It speaks with the routes of
``deepscan.serving.api`` and with nothing else.
"""

import hashlib
import pathlib

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response

from deepscan.serving.gate import OPEN_FOLDER

FOLDER = pathlib.Path(__file__).parent
INDEX = "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Which files of the folder are served, and as what."""

CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob:",  # blob: is the file on the reader's own machine
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cache-Control": "no-cache",  # kept, but asked for again each time: all files are of one version
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_page(api: FastAPI) -> None:
    """Serve the page at ``/`` and its files below ``/static/``.

    The files are read once, here, and answered from memory.
    """
    answers = {path.name: _answer(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}

    async def page(request: Request, name: str = INDEX) -> Response:
        if name not in answers:
            raise HTTPException(404, f"The page has no file {name!r}")
        body, headers = answers[name]
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    for path in ("/", f"{OPEN_FOLDER}{{name}}"):
        api.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)


def _answer(path: pathlib.Path) -> tuple[bytes, dict[str, str]]:
    body = path.read_bytes()
    named = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "Content-Type": TYPES[path.suffix]}
    return body, HEADERS | named
