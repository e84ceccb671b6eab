"""The service's side of a decoder, against a socket that a test speaks through."""

import os
import socket
import subprocess
import time

import numpy as np
import pytest

from deepscan.errors import ConfigError, NoFaceError
from deepscan.isolation import process, wire
from deepscan.isolation.process import Allowance, Child
from deepscan.isolation.wire import Message

CALL = Message({"function": "any", "arguments": []})


class FakePopen:
    pid = 1234

    def __init__(self, arguments, *, stdin, **options):
        self.end = socket.socket(fileno=os.dup(stdin))
        self.arguments, self.killed = arguments, False

    def poll(self):
        return -9 if self.killed else None

    def wait(self, timeout=None):
        return -9

    def kill(self):
        self.killed = True


@pytest.fixture
def child(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    made = Child(Allowance(answer_bytes=64, calls=2))
    yield made
    made.end()
    made._process.end.close()


def say(child, call, text="None there."):
    answer = wire.pack_answer(NoFaceError(text))
    wire.send(child._process.end, Message(answer.head | {"call": call}, answer.buffers))


def test_it_asks_and_takes_the_answer_to_that_call(child):
    say(child, 1)
    assert str(child.ask(CALL, 5)) == "None there."
    assert wire.receive(child._process.end, 0, time.monotonic() + 5).head == {**CALL.head, "call": 1}


def test_a_second_answer_to_one_call_is_never_taken_for_that_to_the_next(child):
    say(child, 1, "first")
    say(child, 1, "second")
    assert str(child.ask(CALL, 5)) == "first"
    with pytest.raises(ValueError, match="another call"):
        child.ask(CALL, 5)


def test_an_answer_that_is_larger_than_allowed_is_none(child):
    answer = wire.pack_answer([{"x": np.zeros(65, np.uint8)}])
    wire.send(child._process.end, Message(answer.head | {"call": 1}, answer.buffers))
    with pytest.raises(ValueError, match="at most 64"):
        child.ask(CALL, 5)


def test_a_process_that_does_not_take_its_call_is_given_up(child):
    with pytest.raises(TimeoutError):
        child.ask(Message(CALL.head, [bytes(2**24)]), 0.05)


def test_it_is_usable_until_its_calls_are_used_up_or_it_died(child):
    for number in (1, 2):
        assert child.usable
        say(child, number)
        child.ask(CALL, 5)
    assert not child.usable


def test_a_process_that_died_is_not_usable(child):
    child.kill()
    assert not child.usable
    assert child.fate() == "SIGKILL"


@pytest.mark.parametrize(("said", "started"), [(1234, True), (1, False), (None, False)])
def test_it_has_started_once_it_says_so(child, said, started):
    if said is None:
        child._process.end.shutdown(socket.SHUT_RDWR)
    else:
        wire.send(child._process.end, Message({"ready": said}))
    assert child.started() is started


def test_the_process_is_told_where_to_import_from_whom_to_serve_and_its_memory(child):
    *command, given = child._process.arguments
    assert command[-1] == process._START
    assert str(os.getpid()) in given
    assert str(Allowance().memory_bytes) in given


@pytest.mark.parametrize(
    "wrong", [{"time_s": 0}, {"memory_bytes": 0}, {"answer_bytes": 0}, {"calls": 0}], ids=str
)
def test_an_allowance_that_allows_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Allowance(**wrong)
