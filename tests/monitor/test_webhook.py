"""The webhook against a server on this machine, and against one that is not there."""

import asyncio
import http.server
import json
import logging
import threading

import httpx
import pytest

from deepscan.errors import ConfigError
from deepscan.monitor.alerts import Alert
from deepscan.serving.alerting import Webhook, body, patrol, send

FIRING = Alert(rule="slow", figure="latency_p95_ms", state="firing", since_s=9.0, value=7.5, threshold=5)


class Slept:
    def __init__(self):
        self.pauses_s = []

    async def __call__(self, pause_s):
        self.pauses_s.append(pause_s)


@pytest.fixture
def server(monkeypatch):
    """Answers with the statuses of ``server.statuses``, the last one for ever; keeps what it was sent."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told = self.rfile.read(int(self.headers["content-length"]))
            listening.told.append((self.headers["content-type"], json.loads(told)))
            left = listening.statuses
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    listening.told, listening.statuses = [], [204]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def hook(server):
    return Webhook(url=f"http://127.0.0.1:{server.server_port}/token-123")


def told(webhook, changes, sleep, client=None):
    return asyncio.run(send(webhook, changes, client, sleep))


def test_a_change_is_sent_as_json(server):
    sleep = Slept()
    assert told(hook(server), [FIRING], sleep)
    fields = {"rule": "slow", "figure": "latency_p95_ms", "state": "firing", "since_s": 9.0}
    alert = fields | {"value": 7.5, "threshold": 5}
    assert server.told == [("application/json", {"source": "deepscan", "alerts": [alert]})]
    assert sleep.pauses_s == []


def test_a_server_that_fails_is_asked_once_more(server):
    sleep, server.statuses = Slept(), [503, 200]
    assert told(hook(server), [FIRING], sleep)
    assert len(server.told) == 2
    assert sleep.pauses_s == [2.0]


def test_a_server_that_keeps_failing_is_left_alone_and_the_log_says_so(server, caplog):
    sleep, server.statuses = Slept(), [500]
    with caplog.at_level(logging.WARNING, "deepscan"):
        assert not told(hook(server), [FIRING], sleep)
    assert len(server.told) == 2
    assert "was not told of slow firing: status 500" in caplog.text
    assert "token" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("deepscan"))


def test_a_refusal_is_not_tried_again(server):
    sleep, server.statuses = Slept(), [404]
    assert not told(hook(server), [FIRING], sleep)
    assert len(server.told) == 1
    assert sleep.pauses_s == []


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout])
def test_a_server_that_is_not_there_raises_nothing(error, caplog):
    def absent(request):
        raise error("nobody", request=request)

    async def try_it(sleep):
        async with httpx.AsyncClient(transport=httpx.MockTransport(absent)) as client:
            return await send(Webhook(url="https://example.org/x"), [FIRING], client, sleep)

    sleep = Slept()
    assert not asyncio.run(try_it(sleep))
    assert sleep.pauses_s == [2.0]
    assert error.__name__ in caplog.text


def test_without_changes_nobody_is_asked(server):
    assert told(hook(server), [], Slept())
    assert server.told == []


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "", "http://", "http://host:door", "https:///x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="begin with http"):
        Webhook(url=url)


@pytest.mark.parametrize("times", [{"timeout_s": 0}, {"retry_after_s": -1}])
def test_times_out_of_range_are_refused(times):
    with pytest.raises(ConfigError, match="timeout_s above 0"):
        Webhook(url="https://example.org", **times)


def test_rules_are_looked_at_again_and_again_and_only_changes_are_told(caplog):
    ticks, sent, sleep = [[], [FIRING], []], [], Slept()

    async def tell(changes):
        sent.append(body(changes))

    def tick(now_s):
        if not ticks:
            raise KeyError("the end")
        return ticks.pop(0)

    with pytest.raises(KeyError):
        asyncio.run(patrol(tick, tell, 15.0, sleep))
    assert sent == [body([FIRING])]
    assert sleep.pauses_s == [15.0] * 3
    assert "Alert slow firing: latency_p95_ms is 7.5" in caplog.text
