"""What a service and its decoders say to each other: JSON and raw bytes, in which no code can travel.

A decoder that a hostile file has taken over may answer anything. So an answer is one of few kinds, all of
its sizes are bounded before anything is allocated, and whatever is not exactly right is a ValueError.
"""

import dataclasses
import importlib
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan import config, errors
from deepscan.errors import ConfigError, DeepscanError
from deepscan.media.source import Media
from deepscan.modalities import Example
from deepscan.verdict import Evidence, MediaFacts

MOST_HEAD_BYTES = 2**20
"""Longest JSON of a message."""

BROKEN = (OSError, EOFError, ValueError, RecursionError)
"""What a connection to a decoder may raise; a TimeoutError is an OSError."""

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"dsc1"
_ALIGN_BYTES = 64
_DTYPES = frozenset(
    {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"}
)
_MOST_AXES = 8

Buffer = bytes | memoryview | NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """JSON with the buffers that it speaks of, in their order."""

    head: dict[str, Any]
    buffers: Sequence[Buffer] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """An error that was raised, where one that was returned is an answer like others."""

    error: DeepscanError


Answer = list[Example] | MediaFacts | tuple[Evidence, ...] | DeepscanError
"""What a function that runs in a decoder may return."""


def send(connection: socket.socket, message: Message) -> None:
    """Write a message.

    Raises:
        OSError: The other end is gone; a TimeoutError where the connection has a timeout.
    """
    views = [_flat(buffer).data for buffer in message.buffers]
    head = json.dumps(message.head | {"sizes": [len(view) for view in views]}).encode()
    body_bytes = sum(_padded(len(view)) for view in views)
    connection.sendall(_PREFIX.pack(_MAGIC, len(head), body_bytes) + head)
    for view in views:
        connection.sendall(view)
        connection.sendall(bytes(_padded(len(view)) - len(view)))


def receive(connection: socket.socket, most_bytes: int, end_s: float | None = None) -> Message:
    """Read a message.

    Args:
        connection: Where from.
        most_bytes: Largest sum of its buffers that is taken.
        end_s: Until when to wait, a ``time.monotonic`` reading; None = for ever.

    Returns:
        The message; its buffers are writable views into one array.

    Raises:
        EOFError: The other end closed before the message, or within it.
        OSError: The connection broke; a TimeoutError where ``end_s`` has passed.
        ValueError: It is no message, or larger than allowed.
        RecursionError: Its JSON is nested too deeply.
    """
    magic, head_bytes, body_bytes = _PREFIX.unpack(_read(connection, _PREFIX.size, end_s))
    if magic != _MAGIC or head_bytes > MOST_HEAD_BYTES or body_bytes > most_bytes:
        msg = f"A message of {head_bytes} and {body_bytes} bytes; at most {most_bytes} are taken."
        raise ValueError(msg)
    head = json.loads(bytes(_read(connection, head_bytes, end_s)), parse_constant=_refuse_constant)
    if not isinstance(head, dict):
        msg = "A message without names."
        raise ValueError(msg)
    return Message(head, _cut(_read(connection, body_bytes, end_s), head.pop("sizes", None)))


def pack_call(function: Callable[..., Answer], arguments: Sequence[Any]) -> Message:
    """Describe a call of a function of some module; arguments are Media, settings, bytes or plain values."""
    buffers: list[Buffer] = []
    packed = [_pack(argument, buffers) for argument in arguments]
    return Message({"function": _name(function), "arguments": packed}, buffers)


def unpack_call(message: Message) -> tuple[Callable[..., Answer], list[Any]]:
    """Return function and arguments of a call; only for what comes from the service itself."""
    function: Callable[..., Answer] = _named(message.head["function"])
    return function, [_unpack(value, message.buffers) for value in message.head["arguments"]]


def pack_answer(answer: Answer | Raised) -> Message:
    """Describe an answer."""
    if isinstance(answer, MediaFacts):
        return Message({"kind": "facts", "facts": dataclasses.asdict(answer)})
    if isinstance(answer, tuple):
        # Pictures make it longer than a head may be.
        return Message(
            {"kind": "evidence"}, [json.dumps([dataclasses.asdict(each) for each in answer]).encode()]
        )
    if isinstance(answer, DeepscanError | Raised):
        error = answer.error if isinstance(answer, Raised) else answer
        said = {"error": type(error).__name__, "message": str(error)}
        return Message({"kind": "raised" if isinstance(answer, Raised) else "returned"} | said)
    rows = [[(name, array.dtype.name, array.shape) for name, array in each.items()] for each in answer]
    arrays = [array for each in answer for array in each.values()]
    return Message({"kind": "examples", "rows": rows}, arrays)


def unpack_answer(message: Message) -> Answer | Raised:
    """Rebuild an answer that nobody vouches for.

    Raises:
        ValueError: It is none.
    """
    head = message.head
    try:
        if head["kind"] == "facts":
            return config.from_dict(MediaFacts, head["facts"])
        if head["kind"] == "evidence":
            (text,) = message.buffers
            told = json.loads(bytes(text), parse_constant=_refuse_constant)
            return tuple(config.from_dict(Evidence, each) for each in told)
        if head["kind"] == "examples":
            buffers = iter(message.buffers)
            return [_example(row, buffers) for row in head["rows"]]
        error = _error(head["error"], head["message"])
        kinds: dict[str, Answer | Raised] = {"raised": Raised(error), "returned": error}
        return kinds[head["kind"]]
    except (LookupError, TypeError, AttributeError, StopIteration, OverflowError, ConfigError) as problem:
        msg = f"No answer: {problem!r}."
        raise ValueError(msg) from problem


def _example(row: list[Any], buffers: Iterator[Buffer]) -> Example:
    return {str(name): _array(next(buffers), dtype, shape) for name, dtype, shape in row}


def _array(buffer: Buffer, dtype: str, shape: list[int]) -> NDArray[Any]:
    sound = all(type(side) is int and 0 <= side < 2**31 for side in shape) and len(shape) <= _MOST_AXES
    size_bytes = _flat(buffer).nbytes
    if dtype not in _DTYPES or not sound or math.prod(shape) * np.dtype(dtype).itemsize != size_bytes:
        msg = f"{size_bytes} bytes are no array of {dtype!r} {shape}."
        raise ValueError(msg)
    return np.frombuffer(buffer, dtype).reshape(shape)


def _error(name: str, message: str) -> DeepscanError:
    kind: Any = getattr(errors, name)
    if not issubclass(kind, DeepscanError):
        msg = f"{name!r} is no error of deepscan."
        raise ValueError(msg)
    error: DeepscanError = kind(str(message))
    return error


def _pack(value: Any, buffers: list[Buffer]) -> Any:
    if isinstance(value, bytes):
        buffers.append(value)
        return {"bytes": len(buffers) - 1}
    if isinstance(value, Media):
        _, parts = value.__reduce__()
        return {"media": [_pack(part, buffers) for part in parts]}
    if dataclasses.is_dataclass(value):
        return {"settings": [_name(type(value)), config.to_dict(value)]}
    return value


def _unpack(value: Any, buffers: Sequence[Buffer]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "bytes":
        return bytes(buffers[content])
    if kind == "media":
        return Media(*(_unpack(part, buffers) for part in content))
    return config.from_dict(_named(content[0]), content[1])


def _name(thing: Callable[..., Any]) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _flat(buffer: Buffer) -> NDArray[np.uint8]:
    if isinstance(buffer, np.ndarray):
        return np.ascontiguousarray(buffer).reshape(-1).view(np.uint8)
    return np.frombuffer(buffer, np.uint8)


def _padded(size_bytes: int) -> int:
    """Where the next buffer begins: arrays of numbers are read fast only at round addresses."""
    return -(-size_bytes // _ALIGN_BYTES) * _ALIGN_BYTES


def _cut(body: memoryview, sizes: Any) -> list[memoryview]:
    if not isinstance(sizes, list) or not all(type(size) is int and 0 <= size <= len(body) for size in sizes):
        msg = "A message whose buffers have no sizes."
        raise ValueError(msg)
    if sum(map(_padded, sizes)) != len(body):
        msg = f"Buffers of {sizes} bytes do not fill {len(body)}."
        raise ValueError(msg)
    begins = np.cumsum([0, *map(_padded, sizes)]).tolist()
    return [body[begin : begin + size] for begin, size in zip(begins, sizes, strict=False)]


def _read(connection: socket.socket, count: int, end_s: float | None) -> memoryview:
    view: memoryview = np.empty(count, np.uint8).data
    done = 0
    while done < count:
        if end_s is not None:
            connection.settimeout(_left_s(end_s))
        got = connection.recv_into(view[done:])
        if not got:
            msg = f"The other end closed after {done} of {count} bytes."
            raise EOFError(msg)
        done += got
    return view


def _left_s(end_s: float) -> float:
    if (left_s := end_s - time.monotonic()) <= 0:
        raise TimeoutError
    return left_s


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no number of an answer."
    raise ValueError(msg)
