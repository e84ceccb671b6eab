"""The two clients: one sends and waits in the calling thread, the other in an event loop."""

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

import httpx

from deepscan.client.flows import BASE_URL, File, Flow, Job, Json, Options, Problem, Settings, reached
from deepscan.verdict import Verdict

T = TypeVar("T")


class Client:
    """A service, asked by one thread after the other; use it in a ``with`` block, or ``close`` it.

    Whatever the service refuses is raised as the class of ``deepscan.errors`` that it was refused with.
    A service that is full (429 or 503) is asked again after the time that it names; that it cannot be
    reached or is still full then is a ServiceError.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            base_url: Where the service is.
            api_key: Sent with every request, where the service asks for one.
            timeout_s: How long the service may be silent.
            retries: How often a service that is full is asked again.
            transport: Of httpx, in place of the network.

        Raises:
            ConfigError: A value cannot be used.
        """
        settings = Settings.of(base_url, api_key, timeout_s, retries)
        self._service = settings.service
        self._http = httpx.Client(transport=transport, **settings.of_httpx)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Json:
        """Return ``status`` (``ready`` or ``loading``) and the ids of the ``bundles`` that are loaded."""
        return self._run(self._service.health())

    def models(self) -> list[Json]:
        """Return what is loaded, one dict a bundle."""
        return self._run(self._service.ask("GET", "/api/models"))

    def predict(self, file: File, *, modality: str | None = None, **options: Unpack[Options]) -> Verdict:
        """Return the verdict on a file: a path, or its content as bytes.

        Args:
            file: The file.
            modality: The way of looking at it; None = whoever can look at it.
            **options: See ``Options``.

        Raises:
            DeepscanError: The file is refused, or the service cannot answer.
        """
        return self._run(self._service.predict(file, modality, options))

    def predict_multimodal(
        self, file: File, sound: File | None = None, **options: Unpack[Options]
    ) -> Verdict:
        """Return the verdict on a clip by its pictures and its sound, which may be a file of its own."""
        return self._run(self._service.predict_multimodal(file, sound, options))

    def predict_batch(self, files: Iterable[File], **options: Unpack[Options]) -> list[Verdict | Problem]:
        """Return, for each file in turn, its verdict or why there is none."""
        return self._run(self._service.predict_batch(files, options))

    def submit(self, file: File, **options: Unpack[Options]) -> str:
        """Have a file judged while nobody waits; return the id of the job."""
        return self._run(self._service.submit(file, options))

    def job(self, job_id: str) -> Job:
        """Return how far a job is."""
        return self._run(self._service.job(job_id))

    def wait(self, job_id: str, timeout_s: float = 600.0) -> Verdict:
        """Return the verdict of a job once it is there.

        Raises:
            DeepscanError: The job has failed, with the class that it failed with.
            ServiceError: It is not done after ``timeout_s``; it goes on all the same.
        """
        return self._run(self._service.wait(job_id, timeout_s))

    def stats(self) -> Json:
        """Return what the service counts."""
        return self._run(self._service.ask("GET", "/api/stats"))

    def feedback(self, of: Verdict | str, label: Literal["real", "fake"]) -> None:
        """Tell what a file really is: that of a verdict, or of the request with this id."""
        self._run(self._service.feedback(of, label))

    def _run(self, flow: Flow[T]) -> T:
        response: httpx.Response | None = None
        while True:
            try:
                step = flow.send(response)
            except StopIteration as done:
                result: T = done.value
                return result
            response = None
            if isinstance(step, httpx.Request):
                with reached(step):
                    response = self._http.send(step)
            else:
                time.sleep(step)


class AsyncClient:
    """The same for asyncio: use it in an ``async with`` block, or ``close`` it; each method is awaited."""

    def __init__(
        self,
        base_url: str = BASE_URL,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet. The arguments are those of ``Client``.

        Raises:
            ConfigError: A value cannot be used.
        """
        settings = Settings.of(base_url, api_key, timeout_s, retries)
        self._service = settings.service
        self._http = httpx.AsyncClient(transport=transport, **settings.of_httpx)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self) -> Json:
        """See ``Client.health``."""
        return await self._run(self._service.health())

    async def models(self) -> list[Json]:
        """See ``Client.models``."""
        return await self._run(self._service.ask("GET", "/api/models"))

    async def predict(
        self, file: File, *, modality: str | None = None, **options: Unpack[Options]
    ) -> Verdict:
        """See ``Client.predict``."""
        return await self._run(self._service.predict(file, modality, options))

    async def predict_multimodal(
        self, file: File, sound: File | None = None, **options: Unpack[Options]
    ) -> Verdict:
        """See ``Client.predict_multimodal``."""
        return await self._run(self._service.predict_multimodal(file, sound, options))

    async def predict_batch(
        self, files: Iterable[File], **options: Unpack[Options]
    ) -> list[Verdict | Problem]:
        """See ``Client.predict_batch``."""
        return await self._run(self._service.predict_batch(files, options))

    async def submit(self, file: File, **options: Unpack[Options]) -> str:
        """See ``Client.submit``."""
        return await self._run(self._service.submit(file, options))

    async def job(self, job_id: str) -> Job:
        """See ``Client.job``."""
        return await self._run(self._service.job(job_id))

    async def wait(self, job_id: str, timeout_s: float = 600.0) -> Verdict:
        """See ``Client.wait``."""
        return await self._run(self._service.wait(job_id, timeout_s))

    async def stats(self) -> Json:
        """See ``Client.stats``."""
        return await self._run(self._service.ask("GET", "/api/stats"))

    async def feedback(self, of: Verdict | str, label: Literal["real", "fake"]) -> None:
        """See ``Client.feedback``."""
        await self._run(self._service.feedback(of, label))

    async def _run(self, flow: Flow[T]) -> T:
        response: httpx.Response | None = None
        while True:
            try:
                step = flow.send(response)
            except StopIteration as done:
                result: T = done.value
                return result
            response = None
            if isinstance(step, httpx.Request):
                with reached(step):
                    response = await self._http.send(step)
            else:
                await asyncio.sleep(step)
