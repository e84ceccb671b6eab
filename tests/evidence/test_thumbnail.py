"""What the analyzer of previews says of pictures whose preview is known to fit, or not to."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from deepscan.errors import NoPictureError
from deepscan.evidence import thumbnail
from deepscan.evidence.exhibits import values_of
from deepscan.media.source import Media
from tests.provenance import exif, exif_with_preview, noise, preview, saved

SCENE = noise(640, 480)


def said(picture, small, orientation=1):
    return thumbnail.testify(
        Media.from_bytes(saved(picture, exif=exif_with_preview(small, orientation), quality=90), "a.jpg")
    )


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_a_preview_of_the_picture_fits(quality):
    evidence = said(SCENE, preview(SCENE, quality=quality))
    assert evidence.finding == "ordinary"
    assert evidence.measurements["correlation"] > 0.99
    assert evidence.measurements["thumbnail_width_px"] == 160
    assert [each.name for each in evidence.pictures] == ["preview", "picture", "difference"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_turned_as_its_picture_is(orientation):
    # What a camera stores lies; the note says how to hold it.
    assert said(SCENE, preview(SCENE), orientation).finding == "ordinary"
    other = noise(640, 480, seed=5)
    assert said(SCENE, preview(other), orientation).finding == "unusual"


@pytest.mark.parametrize("size", [(640, 360), (640, 427), (480, 640)])
def test_bars_and_the_middle_cut_out_are_how_cameras_make_previews(size):
    scene = noise(*size)
    barred = saved(ImageOps.pad(scene, (160, 120), color="black"), quality=80)
    middle = saved(ImageOps.fit(scene, (160, 120)), quality=80)
    assert said(scene, barred).finding == "ordinary"
    assert said(scene, middle).finding == "ordinary"


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_another_crop_does_not_fit(share):
    left, top = round(640 * share), round(480 * share)
    evidence = said(SCENE.crop((left, top, 640, 480)), preview(SCENE))
    assert evidence.finding == "unusual"
    assert "another part" in evidence.summary


def test_another_picture_does_not_fit():
    evidence = said(SCENE, preview(noise(640, 480, seed=1)))
    assert evidence.finding == "unusual"
    assert evidence.measurements["correlation"] < 0.6


def test_one_changed_place_is_found_and_shown():
    mask = Image.new("L", SCENE.size, 0)
    ImageDraw.Draw(mask).ellipse((400, 100, 480, 200), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(4))
    changed = Image.composite(ImageOps.invert(SCENE), SCENE, mask)
    evidence = said(changed, preview(SCENE))
    assert evidence.finding == "unusual"
    values_HW = values_of(evidence.pictures[2])
    y, x = np.unravel_index(values_HW.argmax(), values_HW.shape)
    assert x / values_HW.shape[1] == pytest.approx(440 / 640, abs=0.1)
    assert y / values_HW.shape[0] == pytest.approx(150 / 480, abs=0.15)


def test_a_plain_picture_fits_its_plain_preview():
    plain = Image.new("RGB", (320, 240), (90, 90, 90))
    assert said(plain, preview(plain)).finding == "ordinary"
    assert said(plain, preview(SCENE)).finding == "unusual"


def test_both_are_shown_small():
    evidence = said(SCENE, preview(SCENE))
    shown = Image.open(io.BytesIO(base64.b64decode(evidence.pictures[0].png)))
    assert shown.size == (160, 120)


@pytest.mark.parametrize(
    "options", [{}, {"exif": exif()}, {"exif": exif_with_preview(b"\xff\xd8\xff no picture")}]
)
def test_without_a_preview_there_is_nothing_to_compare(options):
    with pytest.raises(NoPictureError):
        thumbnail.testify(Media.from_bytes(saved(SCENE, **options), "a.jpg"))


def test_a_preview_that_is_a_bomb_is_not_decoded():
    small = bytearray(preview(SCENE))
    at = small.index(b"\xff\xc0") + 5
    small[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(NoPictureError):
        said(SCENE, bytes(small))
