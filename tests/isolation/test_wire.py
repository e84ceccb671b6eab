import dataclasses
import json
import socket
import time

import numpy as np
import pytest

from deepscan.errors import CorruptMediaError, NoFaceError
from deepscan.isolation import wire
from deepscan.isolation.wire import Message, Raised
from deepscan.media.source import Limits, Media
from deepscan.modalities.audio import AudioPrep
from deepscan.pipeline import prepare
from deepscan.verdict import MediaFacts
from tests.tiny_bundles import noise

FACTS = MediaFacts(
    name="ä.mp4", kind="video", container="mp4", bytes=3, sha256="ab", duration_s=1 / 3, notes=("cut",)
)
MOST = 2**20


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def sent(ends, message):
    ours, theirs = ends
    wire.send(theirs, message)
    return wire.receive(ours, MOST, time.monotonic() + 5)


def examples(count=2):
    rng = np.random.default_rng(0)
    return [
        {
            "pixels": rng.integers(0, 256, (5, 7, 3), np.uint8),
            "box": rng.random(4, np.float32),
            "start_s": np.array(number, np.float32),
            "empty": np.zeros((0, 3), np.int16),
        }
        for number in range(count)
    ]


def test_examples_arrive_as_they_were_sent_and_may_be_written_to(ends):
    found = wire.unpack_answer(sent(ends, wire.pack_answer(examples())))
    for got, expected in zip(found, examples(), strict=True):
        assert list(got) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array)
            assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
            assert got[name].flags.writeable
            assert got[name].flags.aligned


def test_an_array_that_lies_across_memory_arrives_whole(ends):
    turned = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]
    ((found,),) = (
        each.values() for each in wire.unpack_answer(sent(ends, wire.pack_answer([{"x": turned}])))
    )
    np.testing.assert_array_equal(found, turned)


def test_facts_arrive_as_they_were_sent(ends):
    assert wire.unpack_answer(sent(ends, wire.pack_answer(FACTS))) == FACTS


def test_a_returned_error_and_a_raised_one_are_told_apart(ends):
    returned = wire.unpack_answer(sent(ends, wire.pack_answer(NoFaceError("None there."))))
    assert (type(returned), str(returned)) == (NoFaceError, "None there.")
    raised = wire.unpack_answer(sent(ends, wire.pack_answer(Raised(CorruptMediaError("Cut.")))))
    assert isinstance(raised, Raised)
    assert (type(raised.error), str(raised.error)) == (CorruptMediaError, "Cut.")


def test_a_call_arrives_with_media_settings_and_plain_values(ends):
    media = Media.from_bytes(noise(), "a.png")
    joined = Media(media.data, media.facts, Media(b"sound", FACTS))
    prep, limits = AudioPrep(window_s=2.5, max_windows=3), Limits(max_bytes=7)
    message = wire.pack_call(prepare, (prep, joined, limits, b"raw", "text", 1.5, None))
    function, (got_prep, got, *rest) = wire.unpack_call(sent(ends, message))
    assert (function, got_prep, rest) == (prepare, prep, [limits, b"raw", "text", 1.5, None])
    assert (got.data, got.facts) == (media.data, media.facts)
    assert (got._sound.data, got._sound.facts) == (b"sound", FACTS)


HOSTILE = {
    "no kind": {},
    "unknown kind": {"kind": "pickle", "error": "MediaError", "message": ""},
    "kind of a wrong type": {"kind": ["facts"], "error": "MediaError", "message": ""},
    "foreign error": {"kind": "raised", "error": "DeepscanErrors", "message": ""},
    "no error": {"kind": "raised", "error": "__doc__", "message": ""},
    "facts of a wrong type": {"kind": "facts", "facts": dataclasses.asdict(FACTS) | {"bytes": "many"}},
    "unknown fact": {"kind": "facts", "facts": dataclasses.asdict(FACTS) | {"__class__": "x"}},
    "facts that are a list": {"kind": "facts", "facts": [1]},
    "objects": {"kind": "examples", "rows": [[["x", "object", [1]]]]},
    "structure": {"kind": "examples", "rows": [[["x", "f4,O", [1]]]]},
    "too few bytes": {"kind": "examples", "rows": [[["x", "uint8", [9]]]]},
    "negative side": {"kind": "examples", "rows": [[["x", "uint8", [-2, -4]]]]},
    "side that is no number": {"kind": "examples", "rows": [[["x", "uint8", [True, 8]]]]},
    "many axes": {"kind": "examples", "rows": [[["x", "uint8", [8] + [1] * 40]]]},
    "absent buffer": {"kind": "examples", "rows": [[["x", "uint8", [8]], ["y", "uint8", [8]]]]},
    "rows of another form": {"kind": "examples", "rows": [[["x"]]]},
    "rows that are a number": {"kind": "examples", "rows": 3},
    "dtype that is a list": {"kind": "examples", "rows": [[["x", ["uint8"], [8]]]]},
}


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_answer_is_a_value_error(head):
    with pytest.raises(ValueError, match=r"\w"):
        wire.unpack_answer(Message(head, [memoryview(bytearray(8))]))


def framed(head, body=b"", magic=b"dsc1", body_bytes=None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return wire._PREFIX.pack(magic, len(text), len(body) if body_bytes is None else body_bytes) + text + body


@pytest.mark.parametrize(
    "payload",
    [
        framed({}, magic=b"\x80\x05\x95."),
        framed({"sizes": []}, body_bytes=2**62),
        wire._PREFIX.pack(b"dsc1", 2**31, 0),
        framed(b"not json"),
        framed(b"\xff\xfe"),
        framed([1, 2]),
        framed({}),
        framed({"sizes": [65]}, bytes(64)),
        framed({"sizes": [1, 1]}, bytes(64)),
        framed({"sizes": [-1]}, bytes(64)),
        framed({"sizes": [1.0]}, bytes(64)),
        framed(b'{"sizes": [], "x": NaN}'),
        framed(b"[" * 100_000),
    ],
)
def test_what_is_no_message_is_refused_before_anything_is_allocated(ends, payload):
    ours, theirs = ends
    theirs.sendall(payload)
    with pytest.raises((ValueError, RecursionError)):
        wire.receive(ours, MOST, time.monotonic() + 5)


def test_a_message_that_breaks_off_is_the_end(ends):
    ours, theirs = ends
    theirs.sendall(framed({"sizes": [64]}, bytes(64))[:-1])
    theirs.close()
    with pytest.raises(EOFError, match="63 of 64"):
        wire.receive(ours, MOST, time.monotonic() + 5)


@pytest.mark.parametrize("left_s", [0.001, -1])
def test_a_message_that_does_not_come_in_time_is_a_timeout(ends, left_s):
    ours, theirs = ends
    theirs.sendall(b"dsc1")
    with pytest.raises(TimeoutError):
        wire.receive(ours, MOST, time.monotonic() + left_s)
