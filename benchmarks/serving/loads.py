"""What a client is told to send, and the requests that it sends, made beforehand."""

import dataclasses
import json
import pathlib
from typing import Self

HOST = "127.0.0.1"
"""The one address that load is ever sent to."""

PREDICT = "/api/predict/image"
HEALTH = "/api/health"

_BOUNDARY = "deepscan-load"
_COMMENT_BYTES = 16
_COMMENT_HEAD = b"\xff\xfe" + (_COMMENT_BYTES + 2).to_bytes(2, "big")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One load, bounded in number and time.

    Attributes:
        port: Port on 127.0.0.1.
        pictures: JPEG files that are sent in turn.
        connections: Connections kept alive, at most; in a closed loop each sends when it has its answer.
        count: Requests, at most.
        time_s: No request starts later than this, in seconds.
        rate_hz: Mean rate of an open loop, whose requests come when they come (Poisson), whatever the
            service does; their latency counts from the time they were due. None = a closed loop.
        fresh: Give every request a picture of its own bytes, with the same pixels, so that nothing that the
            service remembers can answer it.
        host: Must be 127.0.0.1.
        timeout_s: After this without an answer a request has failed.
        seed: Of the arrivals.
    """

    port: int
    pictures: tuple[str, ...]
    connections: int
    count: int = 100_000
    time_s: float = 10.0
    rate_hz: float | None = None
    fresh: bool = True
    host: str = HOST
    timeout_s: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse other machines, and loads without a bound."""
        if self.host != HOST:
            raise SystemExit(f"Load is sent to {HOST} only, not to {self.host!r}.")
        if not (0 < self.time_s <= 3600 and 0 < self.count <= 10**6 and 0 < self.connections <= 4096):
            raise SystemExit("A load has at most an hour, a million requests and 4096 connections.")

    def to_json(self) -> str:
        """Return the load as the client process reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        return cls(**values | {"pictures": tuple(values["pictures"])})


@dataclasses.dataclass(frozen=True, slots=True)
class Post:
    """A request in two halves, between which the number of a fresh one is written."""

    before: bytes
    after: bytes

    def numbered(self, number: int) -> bytes:
        """Return the request with a JPEG comment that no other has: other bytes, the same pixels."""
        return b"".join((self.before, f"{number:0{_COMMENT_BYTES}d}".encode(), self.after))


def posts(load: Load) -> list[Post]:
    """Read the pictures and make a request of each."""
    return [post(pathlib.Path(path).read_bytes(), load.port) for path in load.pictures]


def post(jpeg: bytes, port: int) -> Post:
    """Make the request that uploads a JPEG."""
    if jpeg[:2] != b"\xff\xd8":
        raise SystemExit("Load is made of JPEG files: their comments make fresh pictures of equal pixels.")
    form = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="face.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()
    body_bytes = len(form) + len(jpeg) + len(_COMMENT_HEAD) + _COMMENT_BYTES + len(end)
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {body_bytes}\r\n\r\n"
    ).encode()
    return Post(head + form + jpeg[:2] + _COMMENT_HEAD, jpeg[2:] + end)
