"""What the analyzer of content credentials says of signed files, made here by a throwaway signer."""

import sys

import pytest
from PIL import Image

from deepscan.errors import NotInstalledError
from deepscan.evidence import credentials
from deepscan.media.manifests import TRUST_LIST, holds_manifests
from deepscan.media.source import Media
from tests.material import Clip, sound_file, tone
from tests.provenance import (
    CAPTURED,
    GENERATED,
    MIME,
    claimed_otherwise,
    noise,
    saved,
    signed,
    signer,
    tampered,
    xmp,
)

pytest.importorskip("c2pa", reason="needs the extra 'provenance'")
pytest.importorskip("cryptography", reason="certificates are made by it")

CONTAINERS = list(MIME)


@pytest.fixture(autouse=True)
def _nobody_is_trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(tmp_path))
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))


@pytest.fixture
def _signer_is_trusted(tmp_path):
    (tmp_path / TRUST_LIST).write_bytes(signer()[2])


def said(data):
    return credentials.testify(Media.from_bytes(data, "file"))


def sign(container="JPEG", **options):
    return signed(saved(noise(), container), MIME[container], **options)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_without_credentials_is_ordinary(container):
    evidence = said(saved(noise(), container))
    assert (evidence.facts["state"], evidence.finding) == ("absent", "ordinary")
    assert evidence.declaration == ""


@pytest.mark.parametrize("container", CONTAINERS)
def test_credentials_that_hold_are_told_with_their_signer(container):
    evidence = said(sign(container, source="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"))
    assert (evidence.facts["state"], evidence.finding) == ("valid", "ordinary")
    assert evidence.facts["signer"] == "Test signer"
    assert evidence.facts["issuer"] == "Testing"
    assert evidence.facts["claim generator"] == "deepscan tests 1"
    assert evidence.facts["assertions"] == "c2pa.actions.v2"
    assert evidence.facts["action 1"] == "c2pa.created Painter digitalCreation"
    assert "in no trust list" in evidence.summary
    assert evidence.declaration == ""
    assert evidence.measurements["holds"] == 1
    assert evidence.measurements["trusted"] == 0


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_changed_bit_of_the_pixels_breaks_them(container):
    evidence = said(tampered(sign(container)))
    assert (evidence.facts["state"], evidence.finding) == ("invalid", "unusual")
    assert "was changed after" in evidence.summary
    assert evidence.declaration == ""
    assert evidence.measurements["failures"] >= 1


@pytest.mark.parametrize("container", CONTAINERS)
def test_saving_anew_strips_them(container):
    picture = Media.from_bytes(sign(container), "a").picture_HWC
    assert said(saved(Image.fromarray(picture), container)).facts["state"] == "absent"


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_changed_claim_breaks_them(container):
    evidence = said(claimed_otherwise(sign(container)))
    assert (evidence.facts["state"], evidence.finding) == ("invalid", "unusual")
    assert evidence.declaration == ""


@pytest.mark.parametrize(
    ("mime", "make", "content_at"),
    [
        ("video/mp4", lambda: Clip().encoded(), lambda data: data.rindex(b"mdat")),
        (
            "audio/wav",
            lambda: sound_file(tone(16_000)[None], "wav", "pcm_s16le", 16_000),
            lambda data: data.index(b"data"),
        ),
    ],
)
def test_clips_and_sound_are_signed_and_tampered_with_too(mime, make, content_at):
    data = signed(make(), mime)
    assert "made by a generative model" in said(data).declaration
    changed = bytearray(data)
    changed[content_at(data) + 200] ^= 1
    evidence = said(bytes(changed))
    assert (evidence.facts["state"], evidence.finding) == ("invalid", "unusual")
    assert "was changed after" in evidence.summary


def test_credentials_that_were_moved_to_another_picture_do_not_hold():
    data, other = sign(), saved(noise(seed=1))
    begin, end = data.index(b"\xff\xeb"), data.index(b"\xff\xdb")
    assert said(other[:20] + data[begin:end] + other[20:]).facts["state"] == "invalid"


@pytest.mark.usefixtures("_signer_is_trusted")
def test_a_signer_in_the_list_is_trusted():
    evidence = said(sign(source=CAPTURED))
    assert (evidence.facts["state"], evidence.finding) == ("trusted", "telling")
    assert "who is in the trust list" in evidence.declaration
    assert "taken by a digital camera" in evidence.declaration
    assert evidence.measurements["trusted"] == 1


def test_anyone_may_sign_that_a_camera_took_it_so_that_settles_nothing():
    evidence = said(sign(source=CAPTURED))
    assert evidence.finding == "ordinary"
    assert "in no trust list and may be anyone" in evidence.declaration


def test_a_signed_declaration_that_a_model_made_it_is_telling():
    evidence = said(sign(source=GENERATED))
    assert evidence.finding == "telling"
    assert "made by a generative model" in evidence.declaration
    assert evidence.facts["declared source"] == "trainedAlgorithmicMedia"


def test_what_an_ingredient_declares_is_told_as_such():
    part = sign(source=GENERATED)
    data = signed(saved(noise(seed=1)), "image/jpeg", source="", action="c2pa.opened", ingredient=part)
    evidence = said(data)
    assert "an ingredient of the file was made by a generative model" in evidence.declaration
    assert evidence.measurements["ingredients"] == 1
    assert evidence.measurements["manifests"] == 2


@pytest.mark.parametrize("cut", [0.3, 0.6])
def test_credentials_that_break_off_cannot_be_read(cut):
    data = sign("PNG")
    evidence = said(data[: int(len(data) * cut)])
    assert (evidence.facts["state"], evidence.finding) == ("unreadable", "unusual")


def test_credentials_of_something_inside_are_not_those_of_the_file():
    evidence = said(saved(noise(), "BMP") + sign())
    assert evidence.facts["state"] == "absent"


def test_a_place_elsewhere_is_named_and_not_visited():
    evidence = said(saved(noise(), xmp=xmp(dcterms_provenance="https://example.org/a.c2pa")))
    assert evidence.facts["state"] == "absent"
    assert "was not visited" in evidence.summary


def test_without_the_package_present_credentials_are_a_reason_to_abstain(monkeypatch):
    data = sign()
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(NotInstalledError, match="provenance"):
        said(data)
    assert said(saved(noise())).facts["state"] == "absent"


def test_a_trust_list_that_is_none_is_said(tmp_path):
    (tmp_path / TRUST_LIST).write_bytes(b"\xff\xfe")
    with pytest.raises(NotInstalledError, match="trust list"):
        said(sign())


def test_the_store_is_found_by_its_own_mark():
    assert holds_manifests(sign())
    assert not holds_manifests(saved(noise()) + b"c2pa jumb jumd")
