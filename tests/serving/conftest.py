"""A client without a network, bundles with random weights, and one small Ray cluster."""

import asyncio
import io
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image

from deepscan import bundle, config
from deepscan.bundle import Bundle, Card
from deepscan.modalities.image import ImagePrep
from deepscan.models.catalog import load_builtin

with warnings.catch_warnings():
    # Ray's own modules use deprecated parts of pydantic while they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray.serve
    import ray.serve.schema

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


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Returns ``make_bundle(name, seed, region)``: the small network on 64 px, with random weights."""

    def make(name: str, seed: int = 0, region: str = "whole") -> Bundle:
        spec = load_builtin().get("cnn")
        prep = ImagePrep(region=region, finder="haar", size_px=64)
        settings = spec.config()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = spec.build(settings)
        card = Card(
            name=name,
            model=spec.name,
            model_config=config.to_dict(settings),
            modality=spec.modality,
            prep=config.to_dict(prep),
            prep_digest=prep.digest,
            files={},
            metrics={"val": {"files": 40, "auc": 0.5}},
        )
        return bundle.write(tmp_path_factory.mktemp(name), card, module)

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local cluster of two CPUs for all tests that need Ray."""
    with pytest.MonkeyPatch.context() as environment:
        from deepscan.cluster import ENVIRONMENT

        for name, value in (ENVIRONMENT | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}).items():
            environment.setenv(name, value)
        folder = tempfile.mkdtemp(prefix="r")
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=200 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
