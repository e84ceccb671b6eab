"""Verdicts of real detectors on the page: their JSON is what the page reads."""

import numpy as np
import pytest
from fastapi import FastAPI, UploadFile
from reading import Reader
from standin import running

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.media.source import Media
from deepscan.serving.backend import ModelFacts
from deepscan.serving.page import add_page
from deepscan.verdict import to_dict
from tests.material import encoded

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def detectors(make_bundle):
    bundles = [make_bundle("whole"), make_bundle("faces", seed=1, region="face")]
    return [Detector.load(bundle.path, "cpu") for bundle in bundles]


@pytest.fixture(scope="module")
def address(detectors):
    api = FastAPI()
    api.get("/api/models")(lambda: [ModelFacts.of(detector.bundle.card) for detector in detectors])

    def predict(file: UploadFile) -> dict:
        return to_dict(pipeline.analyze(Media.from_bytes(file.file.read(), file.filename), detectors))

    api.post("/api/predict")(predict)
    add_page(api)
    with running(api) as address:
        yield address


@pytest.fixture
def page(chromium, files, address):
    page = Reader(chromium, address, files)
    page.open()
    yield page
    assert page.complaints() == []


def test_a_face_is_marked_where_the_detector_found_it(page, detectors, files):
    page.judged("photo.png")
    verdict = pipeline.analyze(Media.from_bytes((files / "photo.png").read_bytes(), "photo.png"), detectors)
    assert page.text("#service") == "Detectors: whole (image), faces (image)"
    assert f"{verdict.probability * 100:.0f} % probability of a fake" in page.text(".answer")
    spots = page.all(".spot")
    assert len(spots) == 2, "one for the whole picture, one for its face"
    boxes = [part.region.box for score in verdict.scores for part in score.parts]
    left = next(box for box in boxes if box and box != (0, 0, 1, 1))[0]
    placed = [spot.value_of_css_property("left") for spot in spots]
    width_px = page.one(".layer").size["width"]
    assert any(float(place[:-2]) == pytest.approx(left * width_px, abs=1) for place in placed)
    assert verdict.media.sha256 in page.browser.execute_script(
        "return document.querySelector('dl').textContent"
    )


def test_a_picture_without_a_face_says_which_detector_could_not_judge_it(page, files):
    (files / "ground.png").write_bytes(encoded(np.full((120, 160, 3), 90, np.uint8)))
    page.judged("ground.png")
    assert "whole looks at: image" in page.text(".scores")
    assert "What could not be judged, and why faces looks at: image No face was found." in page.text(
        ".result"
    )
