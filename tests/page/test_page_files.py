"""What is served at ``/``, without a browser."""

import asyncio
import itertools
import re
import subprocess
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from deepscan.serving.page import FOLDER, TYPES, add_page

NAMES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in TYPES)
THEMES = ("light", "dark")
TEXT_PAIRS = [
    *itertools.product(("ink", "faint", "main", "real", "fake", "unsure"), ("sheet", "ground")),
    *itertools.product(("on-label",), ("real", "fake", "unsure")),
    ("on-main", "main"),
]
Ask = Callable[..., httpx.Response]


def asking(api: FastAPI) -> Ask:
    """Returns ``ask(path, method, **of_httpx) -> response``."""

    def ask(path: str, method: str = "GET", **options: object) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    return ask


@pytest.fixture(scope="module")
def ask() -> Ask:
    api = FastAPI()
    add_page(api)
    return asking(api)


def colours(theme: str) -> dict[str, tuple[int, ...]]:
    """The custom properties of a theme; what the dark one does not set is that of the light one."""
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "style.css").read_text(), flags=re.DOTALL)
    text = blocks[0] if theme == "light" else "".join(blocks)
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})", text)
    return {name: tuple(bytes.fromhex(value)) for name, value in found}


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour: tuple[int, ...]) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)
        ]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
def test_text_has_the_contrast_of_wcag_aa(theme, text, ground):
    known = colours(theme)
    assert contrast(known[text], known[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("step", range(5))
def test_colours_of_probabilities_stand_out_from_what_is_behind_them(theme, step):
    known = colours(theme)
    assert min(contrast(known[f"heat-{step}"], known[ground]) for ground in ("sheet", "ground")) >= 3


def test_both_themes_set_the_same_colours_and_differ():
    light, dark = (colours(theme) for theme in THEMES)
    assert set(light) == set(dark)
    assert light["sheet"] != dark["sheet"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_served_as_what_it_is(ask, name):
    answer = ask(f"/static/{name}")
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[f".{name.rpartition('.')[2]}"]


def test_the_root_is_the_page(ask):
    answer = ask("/")
    assert answer.content == (FOLDER / "index.html").read_bytes()
    assert ask("/", "HEAD").status_code == 200


@pytest.mark.parametrize("path", ["/static/absent.js", "/static/__init__.py", "/static/..%2f__init__.py"])
def test_nothing_else_is_served(ask, path):
    assert ask(path).status_code == 404


def test_headers_forbid_what_the_page_does_not_need(ask):
    headers = ask("/").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert "unsafe" not in headers["content-security-policy"]
    assert (policy["frame-ancestors"], policy["object-src"]) == ("'none'", "'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_file_that_did_not_change_is_not_sent_again(ask):
    first = ask("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = ask("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    stale = ask("/static/main.js", headers={"If-None-Match": '"another"'})
    assert stale.status_code == 200


def test_the_page_is_left_out_of_the_documented_routes():
    api = FastAPI()
    add_page(api)
    assert api.openapi()["paths"] == {}


def test_no_file_names_another_host_or_holds_code_in_markup():
    texts = {name: (FOLDER / name).read_text() for name in NAMES}
    hosts = {(name, url) for name, text in texts.items() for url in re.findall(r"https?://[^\s\"')]+", text)}
    assert {url for _, url in hosts} == {"http://www.w3.org/2000/svg"}
    markup = texts["index.html"]
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", markup) == []
    assert [name for name, text in texts.items() if "innerHTML" in text or "eval(" in text] == []


def test_modules_import_files_that_exist():
    imported = {
        target for name in NAMES if name.endswith(".js")
        for target in re.findall(r'from "\./([\w.]+)"', (FOLDER / name).read_text())
    }  # fmt: skip
    assert imported <= set(NAMES)
    assert {"main.js"} | imported == {name for name in NAMES if name.endswith(".js")}


def test_lines_and_files_keep_to_the_size_of_the_house():
    for name in NAMES:
        lines = (FOLDER / name).read_text().splitlines()
        assert len(lines) <= 400, name
        if name.endswith(".js"):
            assert max(map(len, lines)) <= 110, name


def test_the_files_are_part_of_the_package():
    """Packaging takes what git tracks below the package; a file that is ignored would be missing."""
    ignored = subprocess.run(
        ["git", "check-ignore", *NAMES], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""
