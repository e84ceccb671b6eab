"""What the analyzer of generators finds, in files that carry what each of them writes, and in none else."""

import json

import pytest
from PIL.PngImagePlugin import PngInfo

from deepscan.evidence import generator
from deepscan.evidence.wording import LONGEST
from deepscan.media.source import Media
from tests.material import sound_file, tone
from tests.provenance import exif, noise, photoshop, saved, user_comment, with_segment, xmp

PARAMETERS = (
    "a face\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512"
)
GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20}}})
WRITTEN = [
    ("parameters", PARAMETERS, "Stable Diffusion web UI"),
    ("prompt", GRAPH, "ComfyUI"),
    ("workflow", '{"last_node_id": 9, "nodes": []}', "ComfyUI"),
    ("comment", json.dumps({"prompt": GRAPH}), "ComfyUI"),
    ("invokeai_metadata", '{"generation_mode": "txt2img"}', "InvokeAI"),
    ("sd-metadata", '{"image": {"prompt": "x"}}', "InvokeAI"),
    ("Software", "NovelAI", "NovelAI"),
    ("fooocus_scheme", "fooocus", "Fooocus"),
    ("parameters", '{"sui_image_params": {"prompt": "x"}}', "SwarmUI"),
    ("Description", "a cat --v 6.0 Job ID: 01234567-89ab-cdef-0123-456789abcdef", "Midjourney"),
    ("Software", "Stable Diffusion XL", "a generator named by its own program tag"),
    ("AIGC", '{"Label": "1", "ContentProducer": "x"}', "a label of generated content (AIGC)"),
]


def said(data):
    return generator.testify(Media.from_bytes(data, "file"))


def png(**written):
    info = PngInfo()
    for key, text in written.items():
        info.add_itxt(key, text)
    return saved(noise(), "PNG", pnginfo=info)


@pytest.mark.parametrize(("key", "text", "name"), WRITTEN)
def test_what_a_generator_writes_into_png_names_it(key, text, name):
    evidence = said(png(**{key: text}))
    assert evidence.finding == "telling"
    assert name in evidence.summary
    assert evidence.facts["generator"] == name
    assert evidence.measurements["generators"] == evidence.measurements["traces"] == 1


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP"])
def test_parameters_in_the_comment_of_exif_are_found(container):
    evidence = said(saved(noise(), container, exif=exif(camera={0x9286: user_comment(PARAMETERS)})))
    assert evidence.finding == "telling"
    assert evidence.facts["setting sampler"] == "Euler a"
    assert evidence.facts["setting seed"] == "42"


@pytest.mark.parametrize(
    "data",
    [
        saved(noise(), comment=PARAMETERS.encode()),
        saved(noise(), xmp=xmp(xmp_CreatorTool="Adobe Firefly 3")),
        saved(noise(), xmp=xmp(photoshop_Credit="Made with Google AI")),
        saved(noise(), xmp=xmp(TC260_AIGC='{"Label":"1","ContentProducer":"x"}')),
        saved(noise(), "WEBP", exif=exif({0x010F: "workflow:{}", 0x0110: "prompt:" + GRAPH})),
        with_segment(saved(noise()), 0xED, photoshop(d110="Made with Google AI")),
    ],
    ids=["comment", "creator", "credit", "label", "make", "iptc"],
)
def test_other_places_are_looked_at(data):
    assert said(data).finding == "telling"


def test_tags_of_sound_are_looked_at():
    # The encoder of the tests writes no tags of its own choice, so the header of a WAV gets one.
    wav = sound_file(tone(16_000)[None], "wav", "pcm_s16le", 16_000)
    note = b"LIST" + (4 + 8 + 16).to_bytes(4, "little") + b"INFOICMT" + (16).to_bytes(4, "little")
    evidence = said(wav + note + b"made with suno\0\0")
    assert evidence.facts.get("generator") == "Suno"


@pytest.mark.parametrize(
    "data",
    [
        saved(noise()),
        saved(noise(), exif=exif()),
        png(Description="I like Midjourney and the steps: 20, Sampler or not"),
        png(Author="Marco Dalle Molle", Software="Adobe Photoshop 25.0", Comment="Label: 1"),
        png(Title="NovelAI in the press"[8:]),
        saved(noise(), exif=exif({0x010E: "Stable Diffusion conference, Berlin"})),
    ],
)
def test_files_that_only_mention_generators_are_ordinary(data):
    evidence = said(data)
    assert evidence.finding == "ordinary"
    assert evidence.facts == {}


def test_fields_called_like_settings_are_unusual():
    evidence = said(png(prompt="a red house by the sea"))
    assert evidence.finding == "unusual"
    assert evidence.measurements["traces"] == 0
    assert evidence.facts["text of prompt"] == "a red house by the sea"


def test_prompts_are_cut():
    evidence = said(png(parameters="secret " * 1000 + PARAMETERS))
    assert all(len(text) <= LONGEST for text in evidence.facts.values())
    assert evidence.measurements["longest_text_characters"] > 7000
