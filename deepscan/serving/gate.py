"""The gate before the routes: pure ASGI, so it stands before whatever application is behind it.

Nothing of a request's body is read before the gate has let it through.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepscan.errors import RateLimitedError, UnauthorizedError
from deepscan.serving.access import Access, GateArgs
from deepscan.serving.answers import ErrorAnswer, Problem, status_of

OPEN_PATHS = frozenset({"/", "/favicon.ico", "/api/health"})
"""What needs no key and is not counted: the page, and whether the service is there."""

OPEN_FOLDER = "/static/"
"""The files of the page."""

SUBPROTOCOL = "deepscan"
"""What a page asks of a WebSocket beside ``deepscan-key.TOKEN``, because browsers set no headers there."""

KEY_SUBPROTOCOL = "deepscan-key."

CLOSE_CODES = {UnauthorizedError: 4401, RateLimitedError: 4429}
"""How a WebSocket ends that was not let in; 4000 to 4999 are for applications."""

FOREIGN_ORIGIN = 4403
"""How a WebSocket ends that a page of another site opened."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
"""Sent with every answer that does not set them itself."""

UNCACHED = {"Cache-Control": "no-store"}
"""Sent too, but with the files of the page: verdicts belong into no cache."""

_LARGEST_REASON_BYTES = 123


def wrap(app: ASGIApp, args: GateArgs, clock: Callable[[], float] = time.monotonic) -> ASGIApp:
    """Put the gate before an application.

    Args:
        app: Any ASGI application.
        args: Who may ask, and how often.
        clock: Seconds that only go forward.

    Raises:
        ConfigError: The key file cannot be used.
    """
    gated: ASGIApp = Gate(app, args, clock)
    if args.cors_origins:
        # Outside of the gate: pages may read why they were refused, and a browser's preflight has no key.
        gated = CORSMiddleware(
            gated,
            allow_origins=args.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key"),
            expose_headers=("Retry-After",),
        )
    return gated


class Gate:
    """Asks for a key, counts requests, and adds headers to answers."""

    def __init__(self, app: ASGIApp, args: GateArgs, clock: Callable[[], float]) -> None:
        """Read the keys; see ``wrap``."""
        self._app = app
        self._access = Access(args)
        self._origins = frozenset(args.cors_origins)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI wants it."""
        if scope["type"] == "http":
            await self._request(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_open(scope):
            try:
                self._access.admit(_token(Headers(scope=scope)), _address(scope), self._clock())
            except (UnauthorizedError, RateLimitedError) as error:
                await _refuse(send, error)
                return
        await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not self._is_from_here(headers):
            await _close(receive, send, FOREIGN_ORIGIN, "Pages of other sites may not ask here.")
            return
        offered = scope.get("subprotocols", [])
        secret = next((each for each in offered if each.startswith(KEY_SUBPROTOCOL)), None)
        token = secret.removeprefix(KEY_SUBPROTOCOL) if secret else _token(headers)
        try:
            self._access.admit(token, _address(scope), self._clock())
        except (UnauthorizedError, RateLimitedError) as error:
            # Once accepted it can be told why: browsers show pages no status of a refused WebSocket.
            chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
            await _close(receive, send, CLOSE_CODES[type(error)], str(error), chosen, _body(error))
            return
        inner = {**scope, "subprotocols": [each for each in offered if each != secret]}
        await self._app(inner, receive, _choosing(send) if SUBPROTOCOL in offered else send)

    def _is_from_here(self, headers: Headers) -> bool:
        """Tell whether a WebSocket was opened by no page, a page of this service, or one that may.

        Browsers keep no page from opening a WebSocket to any address and reading what comes.
        """
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        return urlsplit(origin).netloc == headers.get("host")


def _is_open(scope: Scope) -> bool:
    path = _path(scope)
    return scope["method"] in {"GET", "HEAD"} and (path in OPEN_PATHS or path.startswith(OPEN_FOLDER))


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/")) or "/"


def _token(headers: Headers) -> str | None:
    """Return the API key of a request: that of ``X-API-Key``, else a Bearer token."""
    if (token := headers.get("x-api-key")) is not None:
        return token
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def _body(error: UnauthorizedError | RateLimitedError) -> str:
    answer = ErrorAnswer(error=Problem(type=type(error).__name__, message=str(error)))
    return json.dumps(dataclasses.asdict(answer))


async def _refuse(send: Send, error: UnauthorizedError | RateLimitedError) -> None:
    body = _body(error).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | _advice(error)
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status_of(type(error)), "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _advice(error: UnauthorizedError | RateLimitedError) -> dict[str, str]:
    if isinstance(error, RateLimitedError):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": 'Bearer realm="deepscan"'}


async def _close(
    receive: Receive, send: Send, code: int, reason: str, chosen: str | None = None, body: str | None = None
) -> None:
    """Accept a WebSocket, say in words why it cannot be used, and close it."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": chosen})
    if body is not None:
        await send({"type": "websocket.send", "text": body})
    short = reason.encode()[:_LARGEST_REASON_BYTES].decode(errors="ignore")
    await send({"type": "websocket.close", "code": code, "reason": short})


def _with_headers(scope: Scope, send: Send) -> Send:
    added = HEADERS if _path(scope).startswith(OPEN_FOLDER) else HEADERS | UNCACHED

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in added.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _choosing(send: Send) -> Send:
    """Answer a browser that offered subprotocols with one of them, which it insists on."""

    async def sending(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return sending
