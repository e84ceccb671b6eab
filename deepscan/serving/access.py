"""Who may ask a service, and how often: API keys and rates, without a word of HTTP.

A key file has one key a line, ``NAME:SHA256`` or ``NAME:SHA256:REQUESTS_PER_MINUTE``, with the digest of
the token and never the token. A slow hash, as passwords need, would protect nothing here: a token is
256 random bits, which nobody guesses at any speed, and every request pays for the hash.
"""

import hashlib
import hmac
import ipaddress
import logging
import math
import os
import pathlib
import re
import secrets
import stat
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from deepscan.errors import ConfigError, RateLimitedError, UnauthorizedError

log = logging.getLogger(__name__)

PREFIX = "ds_"
"""Begin of every token, so that programs that look for leaked secrets can know one."""

MOST_CALLERS = 10_000
"""Callers whose rate is remembered; who has been away longest is forgotten first."""

RECHECK_S = 1.0
"""How long a key file is trusted to be what it was."""

IPV6_NETWORK_BITS = 64
"""One subscriber has a whole network of this size, so its addresses are one caller."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class GateArgs(BaseModel):
    """Who may ask a service, and how often.

    Attributes:
        keys_file: File of API keys, made by ``deepscan api-key``; None = nobody needs a key.
        anonymous: With a key file, take requests without a key too.
        requests_per_minute: Rate of each anonymous address, and of each key that has none of its own;
            None = no limit.
        burst: Requests that a caller may make at once after a pause.
        cors_origins: Web sites whose pages may ask, as ``https://example.org``, or ``*`` for all; none =
            only this service's own page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys_file: str | None = None
    anonymous: bool = False
    requests_per_minute: float | None = Field(default=None, gt=0)
    burst: int = Field(default=10, ge=1)
    cors_origins: tuple[str, ...] = ()

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            bare = f"{parts.scheme}://{parts.netloc}"
            if origin != "*" and not (parts.scheme in {"http", "https"} and parts.netloc and origin == bare):
                msg = f"{origin!r} is no origin; write it like https://example.org, without a path"
                raise ValueError(msg)
        return origins


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One line of a key file.

    Attributes:
        name: Whose key it is.
        sha256: Digest of the token, 64 hex digits.
        requests_per_minute: Its own rate; None = that of ``GateArgs``.
    """

    name: str
    sha256: str
    requests_per_minute: float | None = None

    def line(self) -> str:
        """Return the key as it stands in a key file."""
        rate = "" if self.requests_per_minute is None else f":{self.requests_per_minute:g}"
        return f"{self.name}:{self.sha256}{rate}"


def new_key(name: str, requests_per_minute: float | None = None) -> tuple[str, Key]:
    """Make a token of 256 random bits and the key that knows its digest.

    Raises:
        ConfigError: The name or the rate cannot stand in a key file.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    key = Key(name=name, sha256=digest(token), requests_per_minute=requests_per_minute)
    return token, _parsed(key.line(), "The new key")


def digest(token: str) -> str:
    """Return the SHA-256 of a token, 64 hex digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: pathlib.Path) -> tuple[Key, ...]:
    """Read a key file; empty lines and those that begin with ``#`` are skipped.

    Raises:
        ConfigError: The file cannot be read, a line is malformed, or a name stands twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        msg = (
            f"The key file {path} cannot be read ({error}); `deepscan api-key NAME --file {path}` makes one."
        )
        raise ConfigError(msg) from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    keys = tuple(
        _parsed(line, f"{path}, line {number}")
        for number, line in numbered
        if line and not line.startswith("#")
    )
    names = [key.name for key in keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{path} names {', '.join(twice)} more than once; a name has one key."
        raise ConfigError(msg)
    return keys


def add_key(path: pathlib.Path, key: Key) -> None:
    """Append a key to a key file; where there is none it is made, for its owner to read only.

    Raises:
        ConfigError: The name has a key already, or the file cannot be read or written.
    """
    if path.exists() and key.name in {known.name for known in read_keys(path)}:
        msg = f"{path} has a key of {key.name!r} already; remove its line first, or choose another name."
        raise ConfigError(msg)
    draft = path.with_name(path.name + ".tmp")
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        # Who could read the file still can: the service may run as another user.
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(before + ("\n" if before and not before.endswith("\n") else "") + key.line() + "\n")
        # In one step: a service that reads the file meanwhile must not see half of it.
        draft.replace(path)
    except OSError as error:
        msg = f"The key file {path} cannot be written ({error}); choose another place."
        raise ConfigError(msg) from error


def _parsed(line: str, where: str) -> Key:
    name, _, rest = line.partition(":")
    sha256, _, rate = rest.partition(":")
    if not NAME.fullmatch(name) or not DIGEST.fullmatch(sha256) or not _is_rate(rate):
        # The line itself is not shown: who put the token there by mistake must not find it in a log.
        msg = (
            f"{where} is no key. Wanted is NAME:SHA256 or NAME:SHA256:REQUESTS_PER_MINUTE, the name of "
            "letters, digits and . _ @ -, the digest of 64 lower-case hex digits, the rate above 0; "
            "`deepscan api-key` makes such a line."
        )
        raise ConfigError(msg)
    return Key(name=name, sha256=sha256, requests_per_minute=float(rate) if rate else None)


def _is_rate(text: str) -> bool:
    try:
        return not text or 0 < float(text) < math.inf
    except ValueError:
        return False


class Keyring:
    """The keys of a file, read again when the file changes: a removed line closes the door within seconds."""

    def __init__(self, path: pathlib.Path) -> None:
        """Read the file.

        Raises:
            ConfigError: It cannot be read or is malformed.
        """
        self._path = path
        self._keys = read_keys(path)
        self._state = self._stamp()
        self._checked_s = -math.inf

    def find(self, token: str, now_s: float) -> Key | None:
        """Return the key of a token, or None where there is none.

        Args:
            token: As it was sent.
            now_s: A clock that only goes forward.
        """
        self._reread(now_s)
        given, found = digest(token), None
        # All are compared, so that the time tells nothing of who is in the file.
        for key in self._keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _reread(self, now_s: float) -> None:
        if now_s - self._checked_s < RECHECK_S:
            return
        self._checked_s = now_s
        if (state := self._stamp()) == self._state:
            return
        self._state = state
        try:
            self._keys = read_keys(self._path)
        except ConfigError as error:
            log.error("The keys that were read before stay in force: %s", error)

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class Buckets:
    """Token buckets by caller; the table is bounded, so a crowd of addresses does not fill the memory."""

    def __init__(self, burst: int, most: int = MOST_CALLERS) -> None:
        """Let every caller make ``burst`` requests at once, and remember ``most`` callers."""
        self._burst = burst
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, per_minute: float, now_s: float) -> int:
        """Let a caller make one request.

        Args:
            caller: Who asks.
            per_minute: Requests that come back in a minute.
            now_s: A clock that only goes forward.

        Returns:
            0 where the request may go on, else the whole seconds until the next one may.
        """
        left, since_s = self._left.pop(caller, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - since_s) * per_minute / 60)
        # Sums of seconds are not exact: who waited as long as was said must not be a hair too early.
        wait_s = 0 if left > 1 - 1e-6 else math.ceil((1 - left) * 60 / per_minute)
        self._left[caller] = (left if wait_s else max(0.0, left - 1), now_s)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        """Return how many callers are remembered."""
        return len(self._left)


class Access:
    """Decides on each request; one for each process that speaks HTTP, and each counts for itself."""

    def __init__(self, args: GateArgs) -> None:
        """Read the keys.

        Raises:
            ConfigError: The key file cannot be used.
        """
        self._args = args
        self._ring = Keyring(pathlib.Path(args.keys_file)) if args.keys_file else None
        self._buckets = Buckets(args.burst)

    def admit(self, token: str | None, address: str, now_s: float) -> None:
        """Let one request through, or say why not.

        Args:
            token: The API key that came with it; None = there was none.
            address: Address of the client, of which nothing is believed but what the connection says.
            now_s: A clock that only goes forward.

        Raises:
            UnauthorizedError: A key is needed and there is none, or it is not in the file.
            RateLimitedError: The caller has asked too often.
        """
        key = self._key(token, now_s)
        rate = self._args.requests_per_minute
        if key and key.requests_per_minute is not None:
            rate = key.requests_per_minute
        if rate is None:
            return
        caller = f"key {key.name}" if key else f"address {_network(address)}"
        if wait_s := self._buckets.take(caller, rate, now_s):
            msg = f"More than the {rate:g} requests a minute that are allowed; ask again in {wait_s} s."
            raise RateLimitedError(msg, retry_after_s=wait_s)

    def _key(self, token: str | None, now_s: float) -> Key | None:
        # A key that is not asked for is not looked at, so that a client may send one everywhere.
        if self._ring is None or (token is None and self._args.anonymous):
            return None
        if token is None:
            msg = "This service needs an API key; send it in the header X-API-Key or as a Bearer token."
            raise UnauthorizedError(msg)
        key = self._ring.find(token, now_s)
        if key is None:
            msg = "The API key is unknown or was revoked; ask whoever runs this service for another."
            raise UnauthorizedError(msg)
        return key


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
