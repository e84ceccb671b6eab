"""What a client is told to send, and the requests that it sends, made beforehand."""

import dataclasses
import json
import pathlib
from typing import Self

HOST = "127.0.0.1"
"""The one address that load is ever sent to."""

HEALTH = "/api/health"

_BOUNDARY = "deepscan-load"
_DIGITS = 16
_COMMENT_HEAD = b"\xff\xfe" + (_DIGITS + 2).to_bytes(2, "big")
_CHUNK_HEAD = b"JUNK" + _DIGITS.to_bytes(4, "little")
_RIFF_HEAD_BYTES = 8


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One load, bounded in number and time.

    Attributes:
        port: Port on 127.0.0.1.
        files: JPEG pictures or WAV sounds that are sent in turn.
        connections: Connections kept alive, at most; in a closed loop each sends when it has its answer.
        count: Requests, at most.
        time_s: No request starts later than this, in seconds.
        rate_hz: Mean rate of an open loop, whose requests come when they come (Poisson), whatever the
            service does; their latency counts from the time they were due. None = a closed loop.
        fresh: Give every request a file of its own bytes, with the same pixels or samples, so that nothing
            that the service remembers can answer it.
        host: Must be 127.0.0.1.
        timeout_s: After this without an answer a request has failed.
        seed: Of the arrivals.
    """

    port: int
    files: tuple[str, ...]
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
        return cls(**values | {"files": tuple(values["files"])})


@dataclasses.dataclass(frozen=True, slots=True)
class Post:
    """A request in two halves, between which the number of a fresh one is written."""

    before: bytes
    after: bytes

    def numbered(self, number: int) -> bytes:
        """Return the request with a comment in its file that no other has: other bytes, the same content."""
        return b"".join((self.before, f"{number:0{_DIGITS}d}".encode(), self.after))


def posts(load: Load) -> list[Post]:
    """Read the files and make a request of each."""
    return [post(pathlib.Path(path).read_bytes(), load.port) for path in load.files]


def post(data: bytes, port: int) -> Post:
    """Make the request that uploads a JPEG picture or a WAV sound."""
    if data[:2] == b"\xff\xd8":
        modality, name, kind = "image", "face.jpg", "image/jpeg"
        before, after = data[:2] + _COMMENT_HEAD, data[2:]
    elif data[:4] == b"RIFF":
        modality, name, kind = "audio", "voice.wav", "audio/wav"
        before, after = _riff(data[_RIFF_HEAD_BYTES:]) + _CHUNK_HEAD, b""
    else:
        raise SystemExit("Load is made of JPEG and WAV files: what stands in their comments is not judged.")
    form = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    ).encode()
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()
    body_bytes = len(form) + len(before) + _DIGITS + len(after) + len(end)
    head = (
        f"POST /api/predict/{modality} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {body_bytes}\r\n\r\n"
    ).encode()
    return Post(head + form + before, after + end)


def _riff(chunks: bytes) -> bytes:
    """Return a RIFF file whose size counts the chunk that is to follow."""
    chunks += b"\0" * (len(chunks) % 2)
    return b"RIFF" + (len(chunks) + len(_CHUNK_HEAD) + _DIGITS).to_bytes(4, "little") + chunks
