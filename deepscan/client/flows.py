"""What is said to a service and how its answers are read, whoever sends it.

A flow is a generator that yields requests to send, each of which it is given the response to, and seconds to
wait. It returns what the service said.
"""

import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypedDict, TypeVar
from urllib.parse import quote

import httpx

from deepscan import errors
from deepscan.errors import ConfigError, DeepscanError, MediaError, ServiceError
from deepscan.verdict import Verdict, from_dict

T = TypeVar("T")
Json = dict[str, Any]
File = str | os.PathLike[str] | bytes
"""A path, or the content of a file."""

Flow = Generator[httpx.Request | float, httpx.Response | None, T]

BASE_URL = "http://127.0.0.1:8000"
_BUSY = frozenset({429, 503})
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What reading an answer raises that is made otherwise."""

_LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_POLLS_S = (0.1, 2.0)
"""How long to wait between two looks at a job, at first and at most."""


class Options(TypedDict, total=False):
    """What can be asked beside the file; None is as good as absent.

    ``confidence_threshold``: P(fake) from which on the verdict is ``fake``. ``num_frames``: how many frames
    of a clip are looked at. ``explain``: whether the analyzers give evidence. ``ensemble``: whether all
    detectors of the modality are asked.
    """

    confidence_threshold: float | None
    num_frames: int | None
    explain: bool | None
    ensemble: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why there is no verdict on a file: class and message of an error, and the id of the request."""

    type: str
    message: str
    request_id: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read the ``error`` of an answer."""
        request_id = values.get("request_id")
        return cls(type=str(values["type"]), message=str(values["message"]), request_id=request_id)

    def error(self) -> DeepscanError:
        """Return the problem as the exception that it was; ServiceError where its class is not known."""
        kind = getattr(errors, self.type, None)
        known = isinstance(kind, type) and issubclass(kind, DeepscanError)
        found: type[DeepscanError] = kind if known else ServiceError  # type: ignore[assignment]
        return found(f"{self.message} (request {self.request_id})" if self.request_id else self.message)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A file that is judged while nobody waits.

    Attributes:
        id: Its name at the service.
        status: How far it is.
        done: Steps that are done.
        total: Steps that there are.
        verdict: The answer, once it is ``done``.
        error: What went wrong, once it has ``failed``.
    """

    id: str
    status: Literal["queued", "running", "done", "failed"]
    done: int
    total: int
    verdict: Verdict | None = None
    error: Problem | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The requests that can be made, and how their answers are read."""

    base_url: str
    headers: Mapping[str, str]
    retries: int

    def ask(self, method: str, path: str, **content: Any) -> Flow[Any]:
        """Send a request, again where the service is full; return the JSON of its answer."""
        response = yield from self.respond(method, path, self.retries, **content)
        return _json(response)

    def respond(self, method: str, path: str, retries: int, **content: Any) -> Flow[httpx.Response]:
        """Send a request, again where the service is full; return the last response, whatever it is."""
        tried = 0
        while True:
            response = yield httpx.Request(method, self.base_url + path, headers=self.headers, **content)
            assert response is not None, "a request is answered by a response"
            if response.status_code not in _BUSY or tried == retries:
                return response
            yield _wait_s(response, tried)
            tried += 1

    def health(self) -> Flow[Json]:
        """Ask whether everything is loaded."""
        # While something loads the status is 503, which is what was asked for and no failure.
        response = yield from self.respond("GET", "/api/health", 0)
        with contextlib.suppress(ValueError, TypeError):
            if "status" in (answer := response.json()):
                return _object(answer)
        return _object(_json(response))

    def predict(self, file: File, modality: str | None, options: Options) -> Flow[Verdict]:
        """Ask for the verdict on a file."""
        path = "/api/predict" if modality is None else f"/api/predict/{quote(modality, safe='')}"
        return _verdict((yield from self.ask("POST", path, **_form([("file", file)], options))))

    def predict_multimodal(self, file: File, sound: File | None, options: Options) -> Flow[Verdict]:
        """Ask for the verdict on pictures and sound together."""
        parts = [("file", file)] if sound is None else [("file", file), ("sound", sound)]
        return _verdict((yield from self.ask("POST", "/api/predict/multimodal", **_form(parts, options))))

    def predict_batch(self, files: Iterable[File], options: Options) -> Flow[list[Verdict | Problem]]:
        """Ask for the verdicts on several files at once."""
        form = _form([("file", file) for file in files], options)
        answer = _object((yield from self.ask("POST", "/api/batch-predict", **form)))
        with _readable():
            return [_result(each) for each in answer["results"]]

    def submit(self, file: File, options: Options) -> Flow[str]:
        """Hand a file over to be judged later."""
        answer = yield from self.ask("POST", "/api/jobs", **_form([("file", file)], options))
        return _job(answer).id

    def job(self, job_id: str) -> Flow[Job]:
        """Ask how far a job is."""
        return _job((yield from self.ask("GET", f"/api/jobs/{quote(job_id, safe='')}")))

    def wait(self, job_id: str, timeout_s: float) -> Flow[Verdict]:
        """Ask until a job has ended."""
        end_s = time.monotonic() + timeout_s
        pause_s, longest_s = _POLLS_S
        while True:
            job = yield from self.job(job_id)
            if job.verdict:
                return job.verdict
            if job.status in ("done", "failed"):
                msg = f"Job {job_id!r} is {job.status} but says nothing; hand the file over again."
                raise job.error.error() if job.error else ServiceError(msg)
            if time.monotonic() + pause_s > end_s:
                steps = f"{job.done} of {job.total} steps"
                msg = f"Job {job_id!r} is {job.status} ({steps}) after {timeout_s:g} s; wait for it again."
                raise ServiceError(msg)
            yield pause_s
            pause_s = min(2 * pause_s, longest_s)

    def feedback(self, of: Verdict | str, label: str) -> Flow[None]:
        """Tell what a file really is."""
        which = {"request_id": of} if isinstance(of, str) else {"sha256": of.media.sha256}
        content = {"json": {**which, "label": label}}
        response = yield from self.respond("POST", "/api/feedback", self.retries, **content)
        if not response.is_success:
            raise _error(response)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What both clients are made with, checked."""

    service: Service
    of_httpx: dict[str, Any]

    @classmethod
    def of(cls, base_url: str, api_key: str | None, timeout_s: float, retries: int) -> Self:
        """Check what a client is made with.

        Raises:
            ConfigError: A value cannot be used.
        """
        try:
            host = httpx.URL(base_url).host
        except httpx.InvalidURL as error:
            msg = f"{base_url!r} is no address ({error}); write it like {BASE_URL}."
            raise ConfigError(msg) from error
        if not host or retries < 0 or not timeout_s > 0:
            given = f"{base_url!r}, {timeout_s} and {retries}"
            msg = (
                f"A client takes an address like {BASE_URL}, timeout_s above 0, retries from 0; not {given}."
            )
            raise ConfigError(msg)
        headers = {} if api_key is None else {"X-API-Key": api_key}
        service = Service(base_url=base_url.rstrip("/"), headers=headers, retries=retries)
        # A proxy that the environment names does not lead back to this machine.
        return cls(service=service, of_httpx={"timeout": timeout_s, "trust_env": not _is_loopback(host)})


@contextlib.contextmanager
def reached(request: httpx.Request) -> Iterator[None]:
    """Turn what keeps a request from being answered into a ServiceError.

    Raises:
        ServiceError: There is no answer; the message names the address.
    """
    try:
        yield
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        msg = f"No answer from {request.url} ({why}); is the service running, and is this its address?"
        raise ServiceError(msg) from error


def _form(files: Sequence[tuple[str, File]], options: Options) -> Json:
    parts = [(field, _part(file)) for field, file in files]
    data = {name: _text(value) for name, value in options.items() if value is not None}
    return {"files": parts, "data": data}


def _part(file: File) -> tuple[str, bytes]:
    if isinstance(file, bytes):
        return "upload", file
    path = pathlib.Path(file)
    try:
        return path.name, path.read_bytes()
    except (OSError, ValueError) as error:
        msg = f"{str(path)!r} cannot be read ({error}); check the path and its permissions."
        raise MediaError(msg) from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wait_s(response: httpx.Response, tried: int) -> float:
    """Return how long to wait: what the service says in seconds, else longer each time."""
    said = response.headers.get("Retry-After", "").strip()
    wait_s = float(said) if said.isdecimal() else _FIRST_WAIT_S * 2**tried
    return min(wait_s, _LONGEST_WAIT_S)


def _json(response: httpx.Response) -> Any:
    if not response.is_success:
        raise _error(response)
    with _readable():
        return response.json()


def _object(answer: Any) -> Json:
    with _readable():
        return dict(answer)


def _error(response: httpx.Response) -> DeepscanError:
    try:
        return Problem.of(response.json()["error"]).error()
    except _UNREADABLE:
        # A gateway or proxy in between refuses in its own words.
        msg = f"{response.url} answered {response.status_code}: {response.text[:200].strip() or 'nothing'}"
        return ServiceError(msg)


def _verdict(answer: Any) -> Verdict:
    with _readable():
        return from_dict(answer)


def _result(answer: Json) -> Verdict | Problem:
    verdict = answer["verdict"]
    return Problem.of(answer["error"]) if verdict is None else from_dict(verdict)


def _job(answer: Any) -> Job:
    with _readable():
        verdict, error = answer.get("verdict"), answer.get("error")
        return Job(
            id=str(answer["id"]),
            status=answer["status"],
            done=int(answer["done"]),
            total=int(answer["total"]),
            verdict=None if verdict is None else from_dict(verdict),
            error=None if error is None else Problem.of(error),
        )


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        msg = f"The answer is not what this client understands ({error}); is it of the service's version?"
        raise ServiceError(msg) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
