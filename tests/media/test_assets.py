"""Assets: found in a mirror or the cache, fetched whole or not at all."""

import contextlib
import hashlib
import http.server
import os
import pathlib
import threading

import pytest

from deepscan.errors import AssetError, UnknownNameError
from deepscan.media import assets
from deepscan.media.assets import Asset, fetch, locate, places, require
from deepscan.registry import Registry

CONTENT = b"weights " * 5000
SHARED = pathlib.Path(os.environ.get("DEEPSCAN_SHARED", pathlib.Path(__file__).parents[3] / "shared"))
MIRROR = SHARED / "assets"


class Answers(http.server.BaseHTTPRequestHandler):
    """Serves good and bad answers by path and counts the requests."""

    hits: list[str]

    def do_GET(self):
        self.hits.append(self.path)
        body = {"/altered": b"x" * len(CONTENT), "/endless": CONTENT * 200}.get(self.path, CONTENT)
        if self.path == "/flaky" and self.hits.count("/flaky") < 3:
            body = CONTENT[:100]
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT if self.path in ("/flaky", "/cut") else body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:100] if self.path == "/cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    Answers.hits = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(assets, "ASSETS", Registry("asset"))
    monkeypatch.setattr(assets, "_PAUSE_S", 0.0)
    return tmp_path / "home" / "assets"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(folder))
    return folder


def register(url="http://127.0.0.1:9/none"):
    digest = hashlib.sha256(CONTENT).hexdigest()
    assets.ASSETS.register(
        "net",
        Asset(
            name="net",
            file="net.onnx",
            url=url,
            licence="Apache-2.0",
            sha256=digest,
            bytes=len(CONTENT),
            summary="A net.",
        ),
    )


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_fetch_puts_the_file_into_the_cache_and_reports_progress(cache, server):
    register(f"{server}/good")
    steps = []
    assert locate("net") is None
    assert fetch("net", lambda done, total: steps.append((done, total))) == cache / "net.onnx"
    assert (cache / "net.onnx").read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert require("net") == locate("net") == cache / "net.onnx"
    assert files_in(cache) == ["net.onnx"]


def test_sound_file_in_the_cache_is_not_fetched_again(cache, server):
    register(f"{server}/good")
    assert fetch("net") == fetch("net")
    assert Answers.hits == ["/good"]


def test_fetch_replaces_an_altered_file_in_the_cache(cache, server):
    register(f"{server}/good")
    cache.mkdir(parents=True)
    (cache / "net.onnx").write_bytes(b"altered")
    assert fetch("net").read_bytes() == CONTENT


def test_fetch_follows_a_redirect(cache, server):
    register(f"{server}/moved")
    assert fetch("net").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason", "requests"),
    [
        ("altered", "sha256", 1),
        ("missing", "404", 1),
        ("cut", "peer closed connection", 3),
        ("endless", "bytes", 1),
    ],
)
def test_failed_fetch_leaves_nothing_and_says_what_to_do(cache, server, path, reason, requests):
    register(f"{server}/{path}")
    with pytest.raises(AssetError, match=reason) as caught:
        fetch("net")
    assert f"{server}/{path}" in str(caught.value)
    assert "set DEEPSCAN_ASSETS to that folder" in str(caught.value)
    assert files_in(cache) == []
    assert len(Answers.hits) == requests


def test_broken_connection_is_tried_again(cache, server):
    register(f"{server}/flaky")
    assert fetch("net").read_bytes() == CONTENT
    assert len(Answers.hits) == 3


def test_endless_answer_is_cut_off(cache, server):
    register(f"{server}/endless")
    steps = []
    with pytest.raises(AssetError):
        fetch("net", lambda done, total: steps.append(done))
    assert steps[-1] < 2 * len(CONTENT) + assets._CHUNK_BYTES


def test_unreachable_server(cache):
    register("http://127.0.0.1:9/none")
    with pytest.raises(AssetError, match=r"cannot be fetched from http://127\.0\.0\.1:9/none: .+Without"):
        fetch("net")


def test_fetch_copies_from_the_mirror_without_a_server(cache, mirror):
    register()
    (mirror / "net.onnx").write_bytes(CONTENT)
    assert fetch("net") == cache / "net.onnx"
    assert (cache / "net.onnx").read_bytes() == CONTENT


def test_fetch_refuses_an_altered_mirror(cache, mirror):
    register()
    (mirror / "net.onnx").write_bytes(CONTENT[:-1])
    with pytest.raises(AssetError, match=r"mirror/net\.onnx is not the asset 'net'"):
        fetch("net")
    assert files_in(cache) == []


def test_mirror_comes_before_the_cache(cache, mirror, server):
    register(f"{server}/good")
    fetch("net")
    (mirror / "net.onnx").write_bytes(CONTENT)
    assert locate("net") == mirror / "net.onnx"


def test_mirror_without_the_file_falls_back_to_the_address(cache, mirror, server):
    register(f"{server}/good")
    assert fetch("net") == locate("net") == cache / "net.onnx"


def test_altered_file_is_noticed_even_after_it_was_found_sound(cache, mirror):
    register()
    path = mirror / "net.onnx"
    path.write_bytes(CONTENT)
    assert locate("net") == path
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssetError, match=r"Remove it, then run `deepscan assets fetch net`"):
        locate("net")


def test_unchanged_file_is_hashed_once(cache, mirror):
    register()
    (mirror / "net.onnx").write_bytes(CONTENT)
    before = assets._digest.cache_info()
    assert locate("net") == locate("net") == locate("net")
    after = assets._digest.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)


def test_required_asset_that_is_absent_says_how_to_fetch_it(cache):
    register()
    with pytest.raises(AssetError, match=r"Run `deepscan assets fetch net`\. Without internet, put"):
        require("net")


def test_cache_that_cannot_be_written_says_so(cache, mirror):
    register()
    (mirror / "net.onnx").write_bytes(CONTENT)
    cache.parent.write_bytes(b"in the way")
    with pytest.raises(AssetError, match=r"cannot be written to .* set DEEPSCAN_HOME"):
        fetch("net")


@pytest.mark.parametrize("call", [locate, require, fetch])
def test_unknown_name_suggests_the_nearest(cache, call):
    register()
    with pytest.raises(UnknownNameError, match="Did you mean 'net'"):
        call("nett")


def test_cache_of_the_user_is_the_default(monkeypatch):
    monkeypatch.delenv("DEEPSCAN_HOME", raising=False)
    monkeypatch.delenv("DEEPSCAN_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    found = places()
    assert found.mirror is None
    assert found.cache.parts[-2:] == ("deepscan", "assets")


@pytest.mark.media
def test_mirrored_yunet_is_the_one_that_is_registered(monkeypatch):
    if not MIRROR.is_dir():
        pytest.skip(f"no mirror of the assets at {MIRROR}")
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(MIRROR))
    assert require("yunet") == MIRROR / "yunet_n_640_640.onnx"
