"""A headless browser, a service without models, and files to give to the page."""

import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from reading import Reader
from standin import StandIn, running

from tests.clips import faces_clip, spoken
from tests.material import DrawnFace, draw, encoded
from tests.sounds import speech, wav

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, downloads: pathlib.Path) -> Iterator[Any]:
    """A browser of this machine, which ends with the tests of its file; nothing is downloaded."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip(
            "chromium and chromium-driver are not installed (apt-get install chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
        "--window-size=1200,1000", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def service() -> Iterator[tuple[StandIn, str]]:
    stand_in = StandIn()
    with running(stand_in.api) as address:
        yield stand_in, address
        stand_in.gate.set()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a picture, a clip with a voice, a recording, and a text that calls itself a picture."""
    folder = tmp_path_factory.mktemp("given")
    face = DrawnFace(x_px=200, y_px=140, radius_px=70)
    picture = encoded(draw(face, size_px=(400, 300)))
    for name in ("photo", "noface", "undecided", "busy", "broken", "slow-1", "slow-2", "slow-3"):
        (folder / f"{name}.png").write_bytes(picture)
    (folder / "text.png").write_text("This is no picture.")
    moments = [[DrawnFace(x_px=200 + number, y_px=140, radius_px=70)] for number in range(40)]
    silent = faces_clip(*moments, rate_hz=10, size_px=(400, 300))
    (folder / "clip.mkv").write_bytes(spoken(silent, speech(4.0)))
    (folder / "clip-lost.mp4").write_bytes(silent)
    (folder / "clip-sound.wav").write_bytes(wav(np.concatenate([speech(2.0), 0.2 * speech(2.0)])))
    return folder


@pytest.fixture
def reader(chromium: Any, service: tuple[StandIn, str], files: pathlib.Path) -> Iterator[Reader]:
    """A reader before the fresh page, who leaves no open errors behind."""
    stand_in, address = service
    stand_in.key = None
    stand_in.gate.clear()
    stand_in.forms.clear()
    stand_in.refused.clear()
    stand_in.working = stand_in.most_working = 0
    reader = Reader(chromium, address, files)
    reader.open()
    yield reader
    assert reader.complaints() == []
    stand_in.gate.set()
    for command in ("Emulation.clearDeviceMetricsOverride", "Emulation.setEmulatedMedia"):
        chromium.execute_cdp_cmd(command, {})
