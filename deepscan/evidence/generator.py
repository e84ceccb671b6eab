"""Parameters and names that generators leave in the files they make: prompts, samplers, workflows, labels."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.wording import clean, facts_of
from deepscan.media.embedded import Embedded, embedded
from deepscan.media.source import Media
from deepscan.verdict import Evidence

MEASURES = ("texts", "longest_text_characters", "traces", "generators")
LIMITS = (
    "Most services remove such texts, so their absence says nothing; anyone can write them into any file, "
    "and an editor keeps them in a picture that was changed or composed afterwards."
)
MOST_TRACES = 10


class Sign(NamedTuple):
    """How a generator is known by a text in a file.

    Attributes:
        name: The generator, or what is known of it.
        key: Matches the whole name of the field, in lower case; it keeps captions that merely mention a
            generator from counting.
        text: Is found in its text.
    """

    name: str
    key: re.Pattern[str]
    text: re.Pattern[str]


def _sign(name: str, key: str, text: str) -> Sign:
    return Sign(name, re.compile(key), re.compile(text, re.DOTALL))


_FREE = (
    r"parameters|usercomment|comment|description|imagedescription|exif:usercomment|dc:description|xpcomment"
)
_PROGRAM = r"(.*[.:])?(software|creatortool|softwareagent|encoder|encoded_by|originatingprogram|generator)"
_CREDIT = (
    r"credit|photoshop:credit|byline|copyright|dc:rights|author|artist|imagedescription|comment|description"
)

SIGNS = (
    _sign("Fooocus", r"fooocus_scheme", r"\S"),
    _sign("Fooocus", _FREE, r"Version: Fooocus|\"Fooocus v"),
    _sign("SwarmUI", rf"{_FREE}|sui_image_params", r"\"sui_image_params\""),
    _sign("InvokeAI", r"invokeai_metadata|invokeai_graph|sd-metadata|dream", r"\S"),
    _sign("NovelAI", r"software|source|title", r"^NovelAI|^AI generated image$"),
    _sign("Easy Diffusion", r"use_stable_diffusion_model", r"\S"),
    _sign("Draw Things", _PROGRAM, r"^Draw Things"),
    _sign(
        "ComfyUI", rf"(.*\.)?(prompt|workflow|{_FREE}|make|model)", r"\"(?:class_type|last_node_id)[\\\"]*:"
    ),
    _sign("Stable Diffusion web UI", _FREE, r"\bSteps: \d+, (?:Sampler|Schedule type|CFG scale): "),
    _sign("Midjourney", rf"{_FREE}|{_PROGRAM}", r"\bJob ID: [0-9a-f]{8}-|^Midjourney\b"),
    _sign("Adobe Firefly", _PROGRAM, r"\bAdobe Firefly\b"),
    _sign("Google AI", _CREDIT, r"^(?:Made|Created|Edited) with Google AI"),
    _sign("Meta AI", _CREDIT, r"^Imagined with (?:Meta )?AI"),
    _sign(
        "Suno", r"(.*\.)?(comment|description|encoded_by|source)", r"(?i)^made with suno|\bsuno\.(?:com|ai)/"
    ),
    _sign(
        "a generator named by its own program tag",
        _PROGRAM,
        r"(?i)\b(?:dall[-·]e|stable[- ]diffusion|diffusers|stylegan\d?|comfyui|invokeai|midjourney|openai|"
        r"leonardo\.ai|ideogram|heygen|synthesia|d-id|elevenlabs|runwayml|deepfacelab|facefusion)\b",
    ),
    _sign(
        "a label of generated content (AIGC)", r"(.*[.:])?(aigc|usercomment)", r"\"?Label\"?\s*:\s*\"?[123]\b"
    ),
)
"""What known generators write, the particular before the general. The AIGC label is that of GB 45438-2025."""

PARAMETERS = re.compile(
    r"(?:positive_|negative_)?prompt|parameters|generation_data|sampler_name|cfg_scale|workflow"
)
"""Fields that are called so hold settings of some generator, even of one that is not known here."""

_SETTING = re.compile(
    r"\"?\b(Steps|Sampler|sampler_name|CFG scale|cfg|Seed|seed|Model|ckpt_name|Size)\"?: ?\"?([^\",\n]{1,60})"
)


def testify(media: Media) -> Evidence:
    """Look through every text of the file for what generators write.

    Measurements: how many texts there are and how long the longest is; ``traces``, texts that a generator
    wrote; ``generators``, how many different ones those name.

    Raises:
        MediaError: The file does not open.
    """
    said = list(_texts(embedded(media)))
    found = [(sign.name, key, text) for key, text in said for sign in [_known(key, text)] if sign]
    names = list(dict.fromkeys(name for name, _, _ in found))
    unknown = [(key, text) for key, text in said if PARAMETERS.fullmatch(key) and not _known(key, text)]
    measured = (len(said), max((len(text) for _, text in said), default=0), len(found), len(names))
    return Evidence(
        analyzer="generator",
        summary=_in_words(names, found, unknown),
        measurements=dict(zip(MEASURES, map(float, measured), strict=True)),
        limits=LIMITS,
        finding="telling" if names else "unusual" if unknown else "ordinary",
        facts=facts_of(_facts(found, unknown)),
    )


def _texts(said: Embedded) -> Iterator[tuple[str, str]]:
    """Yield every text with the name of its field in lower case."""
    yield from ((key.lower(), text) for key, text in said.texts)
    yield from ((name.lower(), text) for name, text in said.exif.texts.items())
    yield from ((name.lower(), text) for name, values in said.xmp.items() for text in values)
    yield from ((name.lower(), text) for name, text in said.iptc.items())


def _known(key: str, text: str) -> Sign | None:
    return next((sign for sign in SIGNS if sign.key.fullmatch(key) and sign.text.search(text)), None)


def _facts(found: list[tuple[str, str, str]], unknown: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield "generator", ", ".join(dict.fromkeys(name for name, _, _ in found))
    for _, key, text in found[:MOST_TRACES]:
        yield f"text of {key}", text
        yield from ((f"setting {setting.lower()}", value) for setting, value in _SETTING.findall(text)[:8])
    yield from ((f"text of {key}", text) for key, text in unknown[:MOST_TRACES])


def _in_words(names: list[str], found: list[tuple[str, str, str]], unknown: list[tuple[str, str]]) -> str:
    if names:
        key = clean(found[0][1], 40)
        tools = " and by ".join(names)
        return f"The field {key!r} was written by {tools}: a generator made or changed the file."
    if unknown:
        key = clean(unknown[0][0], 40)
        return f"The field {key!r} is called like settings of a generator, but none that is known wrote it."
    return "No field of the file holds what known generators write."


ANALYZERS.register(
    "generator",
    Analyzer(
        name="generator",
        group="metadata",
        summary="Prompts, settings and names that generators of pictures, clips and sound leave in files",
        measures=MEASURES,
        accepts=lambda media: True,
        testify=testify,
    ),
)
