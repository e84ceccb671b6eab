"""What a form may hold: its files, and the fields that are settings of the question.

A form is read no further than its limits, and what it holds that nobody knows is an error that names
it. The same table of fields makes the checks, the OpenAPI page and, by a test, the documentation.
"""

import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deepscan.errors import ConfigError, MediaTooLargeError
from deepscan.modalities import Modality
from deepscan.registry import nearest
from deepscan.serving.backend import Settings

ENVELOPE_BYTES = 16 * 2**10
"""What boundaries, part headers and settings may add to the files in a multipart body."""

PART_HEADER_BYTES = 1024
"""What each further file may add to that."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A setting that a form may hold.

    Attributes:
        setting: The field of ``Settings`` that it sets.
        parse: Text to value; raises ValueError where it is none.
        allowed: What is allowed, in words.
        summary: What it does, for people.
        schema: What it is, in the words of JSON schema.
        of_clips: Whether it means something only where frames of a clip are sampled.
    """

    setting: str
    parse: Callable[[str], Any]
    allowed: str
    summary: str
    schema: Mapping[str, Any]
    of_clips: bool = False


def _share(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value < 1):
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_FRAMES:
        raise ValueError
    return value


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.strip().lower()]


MAX_FRAMES = 512
"""So many frames of a clip may be asked for; each is memory and time of the service."""

FIELDS: dict[str, Field] = {
    "confidence_threshold": Field(
        setting="threshold",
        parse=_share,
        allowed="a number above 0 and below 1",
        summary="P(fake) from which on the answer is fake; below it, real",
        schema={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    ),
    "num_frames": Field(
        setting="frames",
        parse=_count,
        allowed=f"a whole number from 1 to {MAX_FRAMES}",
        summary="Frames of a clip to look at",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_FRAMES},
        of_clips=True,
    ),
    "explain": Field(
        setting="explain",
        parse=_flag,
        allowed="true or false",
        summary="Whether analyzers measure the file too and models show what they looked at; no votes",
        schema={"type": "boolean", "default": False},
    ),
    "ensemble": Field(
        setting="ensemble",
        parse=_flag,
        allowed="true or false",
        summary="Whether all detectors vote; else the best one of each modality answers",
        schema={"type": "boolean", "default": True},
    ),
}
"""Every setting by the name of its form field."""


def fields_for(modality: Modality | None) -> tuple[str, ...]:
    """Return the settings that mean something to a modality; None = to any."""
    samples = modality is None or _samples_frames(modality)
    return tuple(name for name, field in FIELDS.items() if samples or not field.of_clips)


def _samples_frames(modality: Modality) -> bool:
    return any(field.name == "sampling" for field in dataclasses.fields(modality.prep))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a form may look like.

    Attributes:
        files: Names of the fields that hold a file; the first must be there.
        settings: Names of the settings that it may hold.
        max_bytes: Largest file.
        max_files: Files under one name.
    """

    files: tuple[str, ...] = ("file",)
    settings: tuple[str, ...] = ()
    max_bytes: int
    max_files: int = 1

    @property
    def known(self) -> tuple[str, ...]:
        """Names of all fields."""
        return (*self.files, *self.settings)

    @property
    def most_files(self) -> int:
        """Files that the form may hold together."""
        return len(self.files) * self.max_files

    @property
    def body_bytes(self) -> int:
        """The longest body that an allowed form can make."""
        return self.most_files * (self.max_bytes + PART_HEADER_BYTES) + ENVELOPE_BYTES

    def schema(self) -> dict[str, Any]:
        """Return the form in the words of OpenAPI."""
        one = {"type": "string", "format": "binary", "description": "The file to judge"}
        file = one if self.max_files == 1 else {"type": "array", "maxItems": self.max_files, "items": one}
        settings = {
            name: {**FIELDS[name].schema, "description": FIELDS[name].summary} for name in self.settings
        }
        form = {
            "type": "object",
            "required": [self.files[0]],
            "additionalProperties": False,
            "properties": dict.fromkeys(self.files, file) | settings,
        }
        return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file of a form, which may lie on disk until it is read."""

    field: str
    name: str
    content: UploadFile
    max_bytes: int

    async def read(self) -> bytes:
        """Return the content, but one byte over the limit at most: enough for the probe to refuse it."""
        await self.content.seek(0)
        return await self.content.read(self.max_bytes + 1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The files of a form in their order, and its settings."""

    uploads: tuple[Upload, ...]
    settings: Settings


@contextlib.asynccontextmanager
async def open_form(request: Request, shape: Shape) -> AsyncIterator[Form]:
    """Read a multipart body; what it held on disk is gone afterwards.

    Raises:
        ConfigError: It is no such form; the message names what is wrong.
        MediaTooLargeError: It is longer than any allowed form.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > shape.body_bytes:
        raise _too_large(shape)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        msg = "Send the file as multipart/form-data in the field 'file': curl -F file=@PATH URL."
        raise ConfigError(msg)
    body = _limited(request.stream(), shape)
    parser = MultiPartParser(
        request.headers,
        body,
        max_files=shape.most_files,
        max_fields=len(FIELDS),
        max_part_size=ENVELOPE_BYTES,
    )
    try:
        fields = await parser.parse()
    except MultiPartException as error:
        msg = f"The form cannot be read: {error.message} Send {_files_in_words(shape)}."
        raise ConfigError(msg) from error
    try:
        yield _form(fields, shape)
    finally:
        await fields.close()


def _form(fields: FormData, shape: Shape) -> Form:
    for name in fields:
        if name not in shape.known:
            elsewhere = " It means nothing to this route." if name in FIELDS else nearest(name, shape.known)
            msg = f"Unknown form field {name!r}.{elsewhere} Known: {', '.join(shape.known)}."
            raise ConfigError(msg)
    texts = {name: fields.getlist(name) for name in dict.fromkeys(fields) if name in shape.settings}
    settings = {FIELDS[name].setting: _value(name, given) for name, given in texts.items()}
    uploads = tuple(_upload(name, each, shape) for name, each in fields.multi_items() if name in shape.files)
    _check_files(uploads, shape)
    return Form(uploads=uploads, settings=Settings(**settings))


def _value(name: str, given: Sequence[UploadFile | str]) -> Any:
    if len(given) == 1 and isinstance(given[0], str):
        with contextlib.suppress(ValueError, KeyError):
            return FIELDS[name].parse(given[0])
    shown = ", ".join(repr(each) if isinstance(each, str) else "a file" for each in given)
    msg = f"Form field {name!r} is {shown}, which is not {FIELDS[name].allowed}."
    raise ConfigError(msg)


def _upload(name: str, content: UploadFile | str, shape: Shape) -> Upload:
    if isinstance(content, str):
        msg = f"The form holds no file in the field {name!r} but a text: curl -F {name}=@PATH URL."
        raise ConfigError(msg)
    return Upload(field=name, name=content.filename or "upload", content=content, max_bytes=shape.max_bytes)


def _check_files(uploads: Sequence[Upload], shape: Shape) -> None:
    counts = {name: sum(upload.field == name for upload in uploads) for name in shape.files}
    if not counts[shape.files[0]] or max(counts.values()) > shape.max_files:
        msg = (
            f"The form holds {'no file' if not uploads else 'other files'}; "
            f"send {_files_in_words(shape)}: curl -F file=@PATH URL."
        )
        raise ConfigError(msg)


def _files_in_words(shape: Shape) -> str:
    count = "one file" if shape.max_files == 1 else f"at most {shape.max_files} files"
    others = "".join(f", and if you like one in {name!r}" for name in shape.files[1:])
    return f"{count} in the field {shape.files[0]!r}{others}"


async def _limited(chunks: AsyncGenerator[bytes, None], shape: Shape) -> AsyncGenerator[bytes, None]:
    """Pass a body on until it is longer than any allowed form can make it."""
    left = shape.body_bytes
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise _too_large(shape)
        yield chunk


def _too_large(shape: Shape) -> MediaTooLargeError:
    return MediaTooLargeError(f"The file is larger than the {shape.max_bytes} bytes that this service takes.")
