"""A client without a network, bundles with random weights, and one small Ray cluster."""

import asyncio
import io
import pathlib
import warnings
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from deepscan.bundle import Bundle

with warnings.catch_warnings():
    # Ray's own modules use deprecated parts of pydantic while they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)

ROOT = pathlib.Path(__file__).parents[2]

Call = Callable[..., httpx.Response]
Picture = Callable[[int], bytes]
MakeBundle = Callable[..., Bundle]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Returns ``picture(seed) -> bytes`` of a PNG without a face."""

    def make(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 96, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return make


@pytest.fixture(scope="session")
def call() -> Call:
    """Returns ``call(api, method, path, **of_httpx) -> response``."""

    def run(api: FastAPI, method: str, path: str, **options: object) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    return run
