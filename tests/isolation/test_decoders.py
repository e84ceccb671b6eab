import asyncio
import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepscan.errors import (
    ConfigError,
    CorruptMediaError,
    DecoderCrashedError,
    DecodeTimeoutError,
    EmptyMediaError,
    MediaTooLargeError,
    NoFaceError,
    ServiceError,
)
from deepscan.isolation import process
from deepscan.isolation.decoders import Decoders
from deepscan.isolation.process import Child
from deepscan.media.source import Limits, Media
from deepscan.modalities.image import ImagePrep
from tests.isolation import harmful
from tests.isolation.pools import MEMORY_BYTES
from tests.tiny_bundles import FACES, WHOLE, media, noise


def pid_of(answer):
    return int(answer[0]["pid"])


def alive(pid):
    """Whether a process is there; one that ended and was not taken back (a zombie) counts as well."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition, limit_s=60):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_calls_run_in_another_process_that_is_used_again(decoders):
    found = {pid_of(decoders.call(harmful.pid)) for _ in range(8)}
    assert os.getpid() not in found
    assert found <= set(decoders.pids)


def test_the_process_that_was_used_last_is_used_next(decoders):
    pid_of(decoders.call(harmful.pid))
    assert len({pid_of(decoders.call(harmful.pid)) for _ in range(8)}) == 1


def test_a_process_keeps_its_memory_from_call_to_call(decoders):
    pages = [int(decoders.call(harmful.fill)[0]["pages"]) for _ in range(3)]
    assert pages[-1] < 100


def test_what_a_function_returns_and_what_it_raises_keeps_its_type(decoders):
    assert isinstance(decoders.prepare(FACES, media()), NoFaceError)
    broken = media()
    with pytest.raises(CorruptMediaError, match=r"noise-0\.png"):
        decoders.prepare(WHOLE, Media(broken.data[:200], broken.facts))
    with pytest.raises(EmptyMediaError, match=r"a\.png"):
        decoders.probe(b"", "a.png")
    with pytest.raises(MediaTooLargeError, match="40 pixels"):
        decoders.probe(noise(), "a.png", Limits(max_pixels=40))
    with pytest.raises(ConfigError, match="auto"):
        decoders.prepare(ImagePrep(size_px=32), media())


def test_too_many_bytes_are_refused_without_a_decoder(decoders, monkeypatch):
    monkeypatch.setattr(decoders, "call", lambda *given, **named: pytest.fail("asked a decoder"))
    with pytest.raises(MediaTooLargeError, match="max_bytes"):
        decoders.probe(noise(), "a.png", Limits(max_bytes=10))


FATES = {
    harmful.leave: "status 7",
    harmful.fail: "status 1",
    harmful.crash: "SIGSEGV",
    harmful.crash_in_c: "SIGSEGV",
    harmful.talk_nonsense: "no answer",
    harmful.claim_a_giant: "no answer",
}


@pytest.mark.parametrize("function", FATES, ids=lambda function: function.__name__)
def test_a_file_that_ends_its_decoder_costs_its_own_request(decoders, function, capfd):
    with pytest.raises(DecoderCrashedError, match=rf"'a\.png' crashed \(.*{FATES[function]}") as caught:
        decoders.call(function, name="a.png")
    assert "convert it" in str(caught.value)
    assert isinstance(decoders.prepare(FACES, media()), NoFaceError)


def test_a_file_that_takes_for_ever_is_given_up_and_its_decoder_killed(decoders):
    before = set(decoders.pids)
    with pytest.raises(DecodeTimeoutError, match=r"'a\.mp4' was given up after 0\.05 s"):
        decoders.call(harmful.hang, name="a.mp4", time_s=0.05)
    assert len(gone := before - set(decoders.pids)) == 1
    assert not alive(gone.pop())
    until(lambda: len(decoders.pids) == 3)


def test_a_file_that_takes_too_much_memory_is_refused_and_its_decoder_lives(decoders):
    before = set(decoders.pids)
    with pytest.raises(MediaTooLargeError, match="1073741824 bytes of memory"):
        decoders.call(harmful.devour)
    assert before <= set(decoders.pids)


def test_without_a_limit_on_memory_a_decoder_may_take_what_it_needs(decoders, single):
    assert decoders.call(harmful.memory_limit)[0]["bytes"] >= MEMORY_BYTES
    assert single.call(harmful.memory_limit)[0]["bytes"] == resource.RLIM_INFINITY


def test_facts_of_other_bytes_are_no_answer(decoders, monkeypatch):
    monkeypatch.setattr("deepscan.isolation.decoders.probe", harmful.claim_other_bytes)
    with pytest.raises(DecoderCrashedError, match="no answer"):
        decoders.probe(noise(), "a.png")


def test_arrays_that_no_model_of_the_prep_could_read_are_no_answer(decoders, monkeypatch):
    monkeypatch.setattr("deepscan.pipeline.prepare", harmful.claim_other_shape)
    with pytest.raises(DecoderCrashedError, match="no answer"):
        decoders.prepare(WHOLE, media())


def test_calls_run_side_by_side(decoders, tmp_path):
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with ThreadPoolExecutor(2) as threads:
        meetings = [(one, other), (other, one)]
        both = [threads.submit(decoders.call, harmful.pid_at_meeting, *each) for each in meetings]
        assert len({pid_of(each.result()) for each in both}) == 2


def test_others_go_on_while_one_hangs(decoders):
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(decoders.call, harmful.hang, time_s=1.0)
        prepared = [decoders.prepare(WHOLE, media(seed)) for seed in range(4)]
        assert not hanging.done()
        with pytest.raises(DecodeTimeoutError):
            hanging.result()
    assert all(len(examples) == 1 for examples in prepared)


def test_a_caller_that_hangs_up_leaves_its_decoder_sound(decoders, tmp_path):
    path = tmp_path / "go"

    async def hang_up():
        waiting = asyncio.create_task(decoders.run(decoders.call, harmful.pid_after, str(path)))
        await decoders.run(decoders.call, harmful.pid)  # by now the first has its turn, too
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        path.touch()
        return [pid_of(await decoders.run(decoders.call, harmful.pid)) for _ in range(6)]

    before = set(decoders.pids)
    assert set(asyncio.run(hang_up())) <= before
    assert before <= set(decoders.pids)


def test_a_caller_that_hangs_up_in_the_queue_leaves_it(single, tmp_path):
    path, never = tmp_path / "go", tmp_path / "never"

    async def hang_up_early():
        first = asyncio.create_task(single.run(single.call, harmful.pid_after, str(path)))
        await asyncio.sleep(0)
        queued = asyncio.create_task(single.run(single.call, harmful.pid_after, str(never)))
        await asyncio.sleep(0)
        queued.cancel()
        path.touch()
        return pid_of(await first), pid_of(await single.run(single.call, harmful.pid))

    assert set(asyncio.run(hang_up_early())) <= set(single.pids)


def test_a_decoder_that_died_while_nobody_used_it_costs_nobody_anything(decoders):
    until(lambda: len(decoders.pids) == 3)
    for pid in decoders.pids[:2]:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # whoever looks after it may have been first
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert all(len(decoders.prepare(WHOLE, media(seed))) == 1 for seed in range(6))


def test_a_decoder_that_is_not_usable_any_more_is_replaced(decoders, monkeypatch):
    before = set(decoders.pids)
    with monkeypatch.context() as worn:
        worn.setattr(Child, "usable", property(lambda child: child.pid not in before))
        assert pid_of(decoders.call(harmful.pid)) not in before


def test_closing_leaves_no_process_no_descriptor_and_no_thread(decoders):
    until(lambda: len(decoders.pids) == 3)
    before, threads = descriptors(), threading.active_count()
    pool = Decoders(processes=1, spares=1)
    pool.call(harmful.pid)
    with ThreadPoolExecutor(1) as caller:
        hanging = caller.submit(pool.call, harmful.hang)
        until(lambda: len(pool.pids) == 2)
        pids = pool.pids
        pool.close()
        with pytest.raises(ServiceError, match="ends"):
            hanging.result()
    assert not any(map(alive, pids))
    assert descriptors() <= before
    assert threading.active_count() <= threads
    with pytest.raises(ServiceError, match="No decoder"):
        pool.call(harmful.pid)


def test_crashes_leave_no_descriptor(decoders, capfd):
    until(lambda: len(decoders.pids) == 3)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(DecoderCrashedError):
            decoders.call(harmful.leave)
    until(lambda: len(decoders.pids) == 3)
    assert descriptors() <= before


SERVICE = """
import threading
from deepscan.isolation.decoders import Decoders
from tests.isolation import harmful
from tests.isolation.pools import MEMORY_BYTES
pool = Decoders(processes=1, spares=1)
print(int(pool.call(harmful.pid)[0]["pid"]), flush=True)
threading.Thread(target=pool.call, args=(harmful.hang,), daemon=True).start()
while len(pool.pids) < 2:
    pass
print(*pool.pids, flush=True)
input()
"""


def test_decoders_end_with_their_service_however_it_ends():
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVICE], **piped) as service:
        service.stdout.readline()
        pids = [int(pid) for pid in service.stdout.readline().split()]
        assert all(map(alive, pids))
        service.kill()
    assert len(pids) == 2
    until(lambda: not any(map(running, pids)))


def running(pid):
    """Whether a process is there and is no zombie, which waits for its parent to take it back."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_decoder_that_never_starts_is_a_service_error(monkeypatch, caplog, capfd):
    monkeypatch.setattr(process, "_START", "raise SystemExit(9)")
    monkeypatch.setattr("deepscan.isolation.decoders.START_TIMEOUT_S", 0.5)
    with Decoders(processes=1, spares=0) as pool, pytest.raises(ServiceError, match="No decoder is running"):
        pool.call(harmful.pid)
    assert "did not start (status 9)" in caplog.text
