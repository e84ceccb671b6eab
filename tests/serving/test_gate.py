"""The gate before the routes, driven without a network and with a clock that stands until it is moved."""

import asyncio
import json
import os
import stat

import httpx
import pytest
from fastapi import FastAPI, Response, WebSocket

from deepscan.errors import ConfigError
from deepscan.serving import access, gate
from deepscan.serving.access import Buckets, GateArgs, Key, Keyring, add_key, new_key, read_keys
from deepscan.serving.config import parse

OPEN = ["/", "/api/health", "/static/page.js", "/favicon.ico"]
GATED = ["/api/models", "/api/predict/image", "/metrics", "/docs", "/openapi.json", "/static", "/api/health/"]


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(tmp_path):
    """Returns the key file with the tokens of ann, and of bob who has a rate of his own."""
    path, tokens = tmp_path / "keys", {}
    for name, rate in (("ann", None), ("bob", 30.0)):
        tokens[name], key = new_key(name, rate)
        add_key(path, key)
    return path, tokens


def echo():
    """An application that answers on every path, and echoes on a WebSocket."""
    api = FastAPI(docs_url=None, openapi_url=None)
    calls = []

    @api.websocket("/api/stream")
    async def stream(socket: WebSocket):
        await socket.accept()
        await socket.send_json({"offered": socket.scope["subprotocols"]})
        await socket.close()

    @api.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
    async def anything(path: str):
        calls.append(path)
        return {"path": path}

    api.state.calls = calls
    return api


def gated(clock, app=None, **settings):
    return gate.wrap(app or echo(), GateArgs(**settings), clock)


def ask(app, path="/api/models", method="GET", address="192.0.2.1", root_path="", **headers):
    async def run():
        transport = httpx.ASGITransport(app, client=(address, 5), root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(run())


def statuses(app, count, **options):
    return [ask(app, **options).status_code for _ in range(count)]


# --- keys ------------------------------------------------------------------------------------------


def test_without_settings_everybody_is_let_in(clock):
    assert statuses(gated(clock), 50) == [200] * 50


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": ""}, {"Authorization": "Basic YTpi"}, {"X-API-Key": "ds_no"}]
)
def test_who_has_no_key_or_a_wrong_one_is_401_and_does_not_get_through(clock, keys, headers):
    app = echo()
    answer = ask(gated(clock, app, keys_file=str(keys[0])), **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json")
    assert answer.headers["www-authenticate"] == 'Bearer realm="deepscan"'
    error = answer.json()["error"]
    assert (error["type"], error["request_id"]) == ("UnauthorizedError", None)
    assert "API key" in error["message"]
    assert app.state.calls == []


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "Authorization", "authorization"])
@pytest.mark.parametrize("name", ["ann", "bob"])
def test_a_key_opens_by_either_header(clock, keys, header, name):
    path, tokens = keys
    value = tokens[name] if header.lower() == "x-api-key" else f"bearer {tokens[name]}"
    assert ask(gated(clock, keys_file=str(path)), **{header: value}).status_code == 200


def test_a_digest_is_no_key(clock, keys):
    sha256 = read_keys(keys[0])[0].sha256
    assert ask(gated(clock, keys_file=str(keys[0])), **{"X-API-Key": sha256}).status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_health_and_the_page_need_no_key_and_are_not_counted(clock, keys, path):
    app = gated(clock, keys_file=str(keys[0]), requests_per_minute=1, burst=1)
    assert statuses(app, 3, path=path) == [200] * 3
    assert ask(app, path, method="POST").status_code == 401


@pytest.mark.parametrize("path", GATED)
def test_all_else_needs_a_key(clock, keys, path):
    assert ask(gated(clock, keys_file=str(keys[0])), path).status_code == 401


def test_the_paths_are_those_behind_the_prefix_of_the_route(clock, keys):
    app = gated(clock, keys_file=str(keys[0]))
    assert ask(app, "/judge/api/health", root_path="/judge").status_code == 200
    assert ask(app, "/judge/api/models", root_path="/judge").status_code == 401
    assert ask(app, "/api/health", root_path="/").status_code == 200


def test_anonymous_callers_can_be_let_in_beside_keys_but_not_with_a_wrong_one(clock, keys):
    app = gated(clock, keys_file=str(keys[0]), anonymous=True)
    assert ask(app).status_code == 200
    assert ask(app, **{"X-API-Key": "ds_no"}).status_code == 401


def test_a_service_without_keys_does_not_look_at_one(clock):
    assert ask(gated(clock), **{"X-API-Key": "anything"}).status_code == 200


def test_a_removed_line_closes_the_door_without_a_restart(clock, keys):
    path, tokens = keys
    app = gated(clock, keys_file=str(path))
    both = [{"X-API-Key": tokens[name]} for name in ("ann", "bob")]
    assert [ask(app, **each).status_code for each in both] == [200, 200]
    path.write_text(path.read_text().splitlines()[1] + "\n")
    clock.now_s += access.RECHECK_S
    assert [ask(app, **each).status_code for each in both] == [401, 200]


def test_a_file_that_was_broken_meanwhile_leaves_the_keys_as_they_were(keys, caplog):
    path, tokens = keys
    ring = Keyring(path)
    path.write_text("ann:broken\n")
    assert ring.find(tokens["ann"], 5.0).name == "ann"
    assert "line 1 is no key" in caplog.text
    path.unlink()
    assert ring.find(tokens["ann"], 5.0 + access.RECHECK_S).name == "ann"


def test_a_file_is_looked_at_once_a_second(keys, monkeypatch):
    ring, looks = Keyring(keys[0]), []
    monkeypatch.setattr(Keyring, "_stamp", lambda self: looks.append(1) or self._state)
    for now_s in (5.0, 5.1, 5.9, 6.0, 6.5):
        ring.find("x", now_s)
    assert len(looks) == 2


def test_every_entry_is_compared_whoever_asks(keys, monkeypatch):
    seen = []
    compare = access.hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: seen.append(a) or compare(a, b))
    Keyring(keys[0]).find(keys[1]["ann"], 0.0)
    assert seen == [key.sha256 for key in read_keys(keys[0])]


# --- the key file ----------------------------------------------------------------------------------


def test_a_token_is_256_random_bits_and_only_its_digest_is_kept(tmp_path):
    made = [new_key("ann") for _ in range(50)]
    assert len({token for token, _ in made}) == 50
    assert {len(token) for token, _ in made} == {len(access.PREFIX) + 43}
    token, key = made[0]
    add_key(tmp_path / "keys", key)
    text = (tmp_path / "keys").read_text()
    assert token not in text
    assert access.digest(token) in text


def test_a_key_file_is_for_its_owner_and_keeps_the_permissions_that_it_was_given(tmp_path):
    path = tmp_path / "keys"
    add_key(path, new_key("ann")[1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.chmod(path, 0o640)
    add_key(path, new_key("bob", 2.5)[1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [(key.name, key.requests_per_minute) for key in read_keys(path)] == [("ann", None), ("bob", 2.5)]
    assert sorted(tmp_path.iterdir()) == [path]


def test_comments_and_a_missing_last_line_break_are_kept(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# of the team\n\n  {Key(name='ann', sha256='a' * 64).line()}")
    add_key(path, Key(name="bob", sha256="b" * 64))
    assert [key.name for key in read_keys(path)] == ["ann", "bob"]
    assert path.read_text().startswith("# of the team\n")


def test_a_name_has_one_key(tmp_path):
    path = tmp_path / "keys"
    add_key(path, new_key("ann")[1])
    with pytest.raises(ConfigError, match="has a key of 'ann' already"):
        add_key(path, new_key("ann")[1])
    path.write_text(path.read_text() * 2)
    with pytest.raises(ConfigError, match="names ann more than once"):
        read_keys(path)


@pytest.mark.parametrize(
    "line",
    ["ann", "ann:", f"ann:{'a' * 63}", f"ann:{'A' * 64}", f"a n:{'a' * 64}", f":{'a' * 64}"]
    + [f"ann:{'a' * 64}:{rate}" for rate in ("0", "-1", "x", "inf", "nan", "1:2")],
)
def test_a_malformed_line_is_named_by_its_number_and_not_shown(tmp_path, line):
    path = tmp_path / "keys"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(ConfigError, match=r"keys, line 2 is no key\. Wanted is NAME:SHA256") as raised:
        read_keys(path)
    assert line not in str(raised.value) or line == "ann"


def test_a_file_that_is_not_there_says_how_to_make_one(clock, tmp_path):
    with pytest.raises(ConfigError, match="deepscan api-key NAME --file"):
        gated(clock, keys_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be written"):
        add_key(tmp_path / "no" / "keys", new_key("ann")[1])


@pytest.mark.parametrize(("name", "rate"), [("a:b", None), ("", None), ("ann", 0.0), ("a\nb", 1.0)])
def test_a_key_that_could_not_be_read_again_is_not_made(name, rate):
    with pytest.raises(ConfigError, match="is no key"):
        new_key(name, rate)


# --- rates -----------------------------------------------------------------------------------------


def test_who_asks_too_often_is_429_and_told_when_to_come_back(clock):
    app = gated(clock, requests_per_minute=8, burst=2)
    assert statuses(app, 2) == [200, 200]
    answer = ask(app)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "8"), "7.5 s, rounded up"
    assert answer.json()["error"]["type"] == "RateLimitedError"
    assert "ask again in 8 s" in answer.json()["error"]["message"]
    clock.now_s += 7.4
    assert (ask(app).status_code, ask(app).headers["retry-after"]) == (429, "1")
    clock.now_s += 0.1
    assert statuses(app, 2) == [200, 429]


def test_waiting_as_long_as_was_said_is_enough_whatever_the_rate():
    for rate in (0.7, 1, 7, 13.3, 59, 601):
        buckets, now_s = Buckets(burst=1), 1e9
        assert buckets.take("a", rate, now_s) == 0
        for _ in range(100):
            now_s += buckets.take("a", rate, now_s)
            assert buckets.take("a", rate, now_s) == 0


def test_the_rate_holds_over_a_long_time_and_a_pause_gives_no_more_than_the_burst():
    buckets = Buckets(burst=5)
    granted = sum(buckets.take("a", 60, second / 10) == 0 for second in range(6001))
    assert granted == 600 + 5
    assert [buckets.take("a", 60, 1e6) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_addresses_are_counted_apart_and_what_a_client_says_of_its_address_is_not_believed(clock):
    app = gated(clock, requests_per_minute=1, burst=1)
    assert statuses(app, 2, address="192.0.2.1") == [200, 429]
    assert statuses(app, 2, address="192.0.2.2") == [200, 429]
    assert ask(app, **{"X-Forwarded-For": "192.0.2.3", "Forwarded": "for=192.0.2.4"}).status_code == 429


def test_the_addresses_of_one_network_of_ipv6_are_one_caller(clock):
    app = gated(clock, requests_per_minute=1, burst=1)
    addresses = (
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "::ffff:192.0.2.1",
        "192.0.2.1",
        "::ffff:192.0.2.2",
    )
    assert [ask(app, address=each).status_code for each in addresses] == [200, 429, 200, 200, 429, 200]


def test_keys_are_counted_each_with_its_own_rate_and_apart_from_their_address(clock, keys):
    path, tokens = keys
    app = gated(clock, keys_file=str(path), anonymous=True, requests_per_minute=1, burst=1)
    for name, wait_s in (("ann", "60"), ("bob", "2")):
        key = {"X-API-Key": tokens[name]}
        assert ask(app, **key).status_code == 200
        assert ask(app, **key).headers["retry-after"] == wait_s
    assert statuses(app, 2) == [200, 429]


def test_a_key_with_a_rate_is_counted_where_there_is_no_other_limit(clock, keys):
    path, tokens = keys
    app = gated(clock, keys_file=str(path), burst=1)
    assert statuses(app, 3, **{"X-API-Key": tokens["ann"]}) == [200] * 3
    assert statuses(app, 2, **{"X-API-Key": tokens["bob"]}) == [200, 429]


def test_a_crowd_does_not_fill_the_memory_and_the_busy_are_not_forgotten():
    buckets = Buckets(burst=1, most=10)
    assert buckets.take("busy", 1, 0.0) == 0
    for number in range(1000):
        buckets.take(f"crowd {number}", 1, 0.0)
        assert buckets.take("busy", 1, 0.0) == 60
    assert len(buckets) == 10


# --- other sites, headers --------------------------------------------------------------------------

PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}


def test_pages_of_other_sites_are_not_let_in_unless_named(clock, keys):
    closed = ask(gated(clock), Origin="https://a.example")
    assert "access-control-allow-origin" not in closed.headers
    app = gated(clock, keys_file=str(keys[0]), cors_origins=("https://a.example",))
    wanted = {**PREFLIGHT, "Access-Control-Request-Headers": "x-api-key, authorization"}
    asked = ask(app, method="OPTIONS", **wanted)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://a.example")
    assert "access-control-allow-credentials" not in asked.headers
    refused = ask(app, Origin="https://a.example")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")
    assert refused.headers["access-control-expose-headers"] == "Retry-After"
    assert ask(app, method="OPTIONS", **PREFLIGHT | {"Origin": "https://b.example"}).status_code == 400


@pytest.mark.parametrize(
    "origin", ["example.org", "https://a.example/", "https://a.example/page", "null", "ftp://a"]
)
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(ConfigError, match="is no origin"):
        parse({"bundles": "a", "gate": {"cors_origins": [origin]}})


def test_one_origin_needs_no_list():
    assert GateArgs(cors_origins="*").cors_origins == ("*",)


def test_answers_say_how_browsers_are_to_take_them(clock, keys):
    for answer in (ask(gated(clock)), ask(gated(clock, keys_file=str(keys[0])))):
        assert {name: answer.headers[name] for name in gate.HEADERS} == gate.HEADERS
        assert answer.headers["cache-control"] == "no-store"
    assert "cache-control" not in ask(gated(clock), "/static/page.js").headers


def test_a_header_of_the_application_stands(clock):
    api = FastAPI()

    @api.get("/api/models", response_model=None)
    def models():
        return Response(headers={"Cache-Control": "max-age=5"})

    assert ask(gated(clock, api)).headers["cache-control"] == "max-age=5"


@pytest.mark.parametrize(
    "values",
    [
        {"bursts": 1},
        {"burst": 0},
        {"requests_per_minute": 0},
        {"requests_per_minute": -1},
        {"anonymous": "perhaps"},
    ],
)
def test_a_wrong_setting_is_named(values):
    (name,) = values
    with pytest.raises(ConfigError, match=rf"gate\.{name}"):
        parse({"bundles": "a", "gate": values})


def test_the_start_and_end_of_the_application_pass(clock):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(gated(clock, app, requests_per_minute=1)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


# --- WebSockets ------------------------------------------------------------------------------------


def converse(app, headers=None, subprotocols=()):
    """Opens a WebSocket as a server would, and returns every message that comes back."""
    raw = [(b"host", b"test")] + [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    offered = list(subprotocols)
    scope = {"type": "websocket", "path": "/api/stream", "headers": raw, "subprotocols": offered}
    scope |= {"client": ("192.0.2.1", 5), "query_string": b"", "root_path": "", "scheme": "ws"}
    said = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        said.append(message)

    asyncio.run(app(scope, receive, send))
    return said


def refusal(app, headers=None, subprotocols=()):
    """Returns the errors that a WebSocket is told, the code of its end and the subprotocol."""
    accepted, *told, closed = converse(app, headers, subprotocols)
    assert (accepted["type"], closed["type"]) == ("websocket.accept", "websocket.close")
    assert len(closed["reason"].encode()) <= 123, "no longer fits into the frame"
    return (
        [json.loads(each["text"])["error"]["type"] for each in told],
        closed["code"],
        accepted["subprotocol"],
    )


def greeting(app, headers=None, subprotocols=()):
    """Returns what the application saw of the subprotocols, and which was chosen."""
    accepted, told, _ = converse(app, headers, subprotocols)
    return json.loads(told["text"])["offered"], accepted.get("subprotocol")


def test_a_socket_needs_a_key_too_and_is_told_so(clock, keys):
    path, tokens = keys
    app = gated(clock, keys_file=str(path))
    assert refusal(app) == (["UnauthorizedError"], 4401, None)
    assert greeting(app, {"X-API-Key": tokens["ann"]}) == ([], None)
    assert greeting(app, {"Authorization": f"Bearer {tokens['ann']}"}) == ([], None)


def test_a_page_gives_its_key_as_a_subprotocol_that_the_application_never_sees(clock, keys):
    path, tokens = keys
    app = gated(clock, keys_file=str(path))
    good, bad = (["deepscan", f"deepscan-key.{token}"] for token in (tokens["ann"], "ds_no"))
    assert greeting(app, subprotocols=good) == (["deepscan"], "deepscan")
    refused = (["UnauthorizedError"], 4401, "deepscan")
    assert refusal(app, subprotocols=bad) == refused, "a browser insists on one of its offers"


def test_sockets_are_counted_with_requests(clock):
    app = gated(clock, requests_per_minute=1, burst=1)
    assert greeting(app) == ([], None)
    assert refusal(app) == (["RateLimitedError"], 4429, None)


@pytest.mark.parametrize(
    ("origin", "origins", "allowed"),
    [
        ("http://test", (), True),
        ("https://a.example", ("https://a.example",), True),
        ("https://a.example", ("*",), True),
        ("https://b.example", ("https://a.example",), False),
        ("https://test.b.example", (), False),
        ("null", (), False),
    ],
)
def test_pages_of_other_sites_open_no_socket_unless_named(clock, origin, origins, allowed):
    app = gated(clock, cors_origins=origins)
    if allowed:
        assert greeting(app, {"Origin": origin}) == ([], None)
    else:
        assert refusal(app, {"Origin": origin}) == ([], 4403, None)
