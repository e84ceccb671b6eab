"""Tells a webhook which alerts began to fire and which have resolved.

The body of the POST is JSON: ``{"source": "deepscan", "alerts": [...]}``, with the fields of
``deepscan.monitor.alerts.Alert`` for each. That nobody listens there never troubles the service: it
is tried once more and then logged.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

from deepscan.errors import ConfigError
from deepscan.monitor.alerts import Alert

log = logging.getLogger(__name__)

SOURCE = "deepscan"

Sleep = Callable[[float], Awaitable[Any]]
Send = Callable[[Sequence[Alert]], Awaitable[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Where changes of alerts are sent.

    Attributes:
        url: An address that takes a POST.
        timeout_s: How long an answer may take.
        retry_after_s: Pause before the second and last try.
    """

    url: str
    timeout_s: float = 5.0
    retry_after_s: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: It is no web address, or a time is out of range.
        """
        if not self.host:
            msg = "The address of a webhook is to begin with http:// or https:// and to name a host."
            raise ConfigError(msg)
        if self.timeout_s <= 0 or self.retry_after_s < 0:
            msg = (
                f"A webhook needs timeout_s above 0 (not {self.timeout_s:g}) and retry_after_s of 0 or "
                f"above (not {self.retry_after_s:g})."
            )
            raise ConfigError(msg)

    @property
    def host(self) -> str:
        """The host, for messages: the rest of such an address is often a secret. Empty = there is none."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            return ""
        return url.host if url.scheme in {"http", "https"} else ""


def body(changes: Sequence[Alert]) -> dict[str, Any]:
    """Return what is sent of some changes."""
    return {"source": SOURCE, "alerts": [dataclasses.asdict(alert) for alert in changes]}


async def send(
    webhook: Webhook,
    changes: Sequence[Alert],
    client: httpx.AsyncClient | None = None,
    sleep: Sleep = asyncio.sleep,
) -> bool:
    """Send changes, once more after a pause if that fails; return whether they have arrived.

    An answer from 400 to 499 is not tried again: the same body would be refused again.

    Args:
        webhook: Where to.
        changes: What became of alerts; nothing is sent where there are none.
        client: Sends it; None = one of its own.
        sleep: Waits for so many seconds.
    """
    if not changes:
        return True
    async with contextlib.nullcontext(client) if client else httpx.AsyncClient() as post:
        problem, again = await _post(post, webhook, changes)
        if again:
            await sleep(webhook.retry_after_s)
            problem, _ = await _post(post, webhook, changes)
    if problem:
        names = ", ".join(f"{alert.rule} {alert.state}" for alert in changes)
        log.warning("The webhook at %s was not told of %s: %s", webhook.host, names, problem)
    return not problem


async def _post(client: httpx.AsyncClient, webhook: Webhook, changes: Sequence[Alert]) -> tuple[str, bool]:
    """Return what went wrong, empty if nothing did, and whether it may go better another time."""
    try:
        answer = await client.post(webhook.url, json=body(changes), timeout=webhook.timeout_s)
    except httpx.HTTPError as error:
        return type(error).__name__, True
    return ("", False) if answer.is_success else (f"status {answer.status_code}", answer.status_code >= 500)


async def patrol(
    tick: Callable[[float], list[Alert]], tell: Send, every_s: float, sleep: Sleep = asyncio.sleep
) -> None:
    """Evaluate rules again and again, until cancelled, and tell what changed.

    Args:
        tick: ``Telemetry.tick``; runs in a thread, so that requests go on.
        tell: Takes the changes, where there are some.
        every_s: Pause between two looks, in seconds.
        sleep: Waits for so many seconds.
    """
    while True:
        changes = await asyncio.to_thread(tick, time.time())
        for alert in changes:
            log.warning("Alert %s %s: %s is %s", alert.rule, alert.state, alert.figure, alert.value)
        if changes:
            await tell(changes)
        await sleep(every_s)
