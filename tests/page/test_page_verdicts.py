"""Verdicts of real detectors on the page: their JSON is what the page reads."""

import numpy as np
import pytest
from reading import Reader
from standin import running

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.serving import local
from deepscan.serving.config import ServeArgs
from tests.material import encoded

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("whole"), make_bundle("faces", seed=1, region="face")]


@pytest.fixture(scope="module")
def address(bundles):
    api = local.build(ServeArgs(bundles=[str(bundle.path) for bundle in bundles], device="cpu"))
    with running(api) as address:
        yield address


@pytest.fixture
def page(chromium, files, address):
    page = Reader(chromium, address, files)
    page.open()
    yield page
    assert page.complaints() == []


def test_a_face_is_marked_where_the_detector_found_it(page, bundles, files):
    page.judged("photo.png")
    detectors = [Detector.load(bundle.path, "cpu") for bundle in bundles]
    verdict = pipeline.analyze(Media.from_bytes((files / "photo.png").read_bytes(), "photo.png"), detectors)
    assert page.text("#service") == "Detectors: faces (image), whole (image)"
    assert f"{verdict.probability * 100:.0f} % probability of a fake" in page.text(".answer")
    spots = page.all(".spot")
    assert len(spots) == 2, "one for the whole picture, one for its face"
    boxes = [part.region.box for score in verdict.scores for part in score.parts]
    left = next(box for box in boxes if box and box != (0, 0, 1, 1))[0]
    placed = [spot.value_of_css_property("left") for spot in spots]
    width_px = page.one(".layer").size["width"]
    assert any(float(place[:-2]) == pytest.approx(left * width_px, abs=1) for place in placed)
    assert verdict.media.sha256 in page.browser.execute_script(
        "return [...document.querySelectorAll('dl')].map((list) => list.textContent).join(' ')"
    )


def test_a_picture_without_a_face_says_which_detector_could_not_judge_it(page, files):
    (files / "ground.png").write_bytes(encoded(np.full((120, 160, 3), 90, np.uint8)))
    page.judged("ground.png")
    assert "whole looks at: image" in page.text(".scores")
    assert "What could not be judged, and why faces looks at: image No face was found." in page.text(
        ".result"
    )


def test_a_file_that_is_no_media_is_refused_in_the_words_of_the_service(page):
    page.judged("text.png")
    assert "The content of 'text.png' looks like plain text" in page.text(".notice")


def test_a_clip_becomes_a_job(page):
    page.judged("clip.mkv")
    asked = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)"
    )
    assert "/api/jobs" in asked
    assert any(path.startswith("/api/jobs/") for path in asked)
