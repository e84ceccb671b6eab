import itertools
import signal
import threading
import time

import pytest

from deepscan.errors import StalledError, StorageError
from deepscan.interrupt import beside, ended_when_stalled, interruptible

PATIENCE_S = 0.4


@pytest.fixture(autouse=True)
def _ctrl_c():
    """However these tests were started: a shell makes what it leaves in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stalled(position, waiting=lambda: "A waits for B."):
    return ended_when_stalled(position, waiting, PATIENCE_S)


def test_work_that_stands_still_is_ended_and_the_error_says_what_waits():
    start_s = time.monotonic()
    with pytest.raises(StalledError, match=r"Nothing has moved for 0\.4 s\. A waits for B\."), stalled(int):
        time.sleep(30)
    assert PATIENCE_S <= time.monotonic() - start_s < 10


def test_work_that_moves_is_left_alone():
    steps = itertools.count()
    with stalled(lambda: next(steps)):
        time.sleep(3 * PATIENCE_S)


def test_patience_begins_anew_with_every_move():
    begin_s = time.monotonic()

    def position():
        return time.monotonic() - begin_s > PATIENCE_S / 2

    with pytest.raises(StalledError), stalled(position):
        time.sleep(30)
    assert time.monotonic() - begin_s >= 1.5 * PATIENCE_S


def test_a_real_ctrl_c_stays_one():
    with pytest.raises(KeyboardInterrupt), stalled(int):
        signal.raise_signal(signal.SIGINT)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), stalled(int):
        raise ZeroDivisionError


def test_outside_the_main_thread_the_block_just_runs():
    done = []

    def work():
        with stalled(int):
            time.sleep(2 * PATIENCE_S)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_work_beside_a_block_ends_with_it():
    steps = []

    def work(ended):
        ended.wait(30)
        steps.append("work")

    with beside(work):
        steps.append("block")
    assert steps == ["block", "work"]


def failing(ended):
    raise StorageError("full")


def test_a_block_is_interrupted_when_the_work_beside_it_fails():
    start_s = time.monotonic()
    with pytest.raises(StorageError, match="full"), beside(failing):
        time.sleep(30)
    assert time.monotonic() - start_s < 10


def test_a_failure_interrupts_also_where_ctrl_c_is_ignored_and_nothing_else_does():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with beside(lambda ended: None):
        signal.raise_signal(signal.SIGINT)
    start_s = time.monotonic()
    with pytest.raises(StorageError, match="full"), beside(failing):
        time.sleep(30)
    assert time.monotonic() - start_s < 10
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_the_failure_is_told_when_the_block_has_ended():
    done = []

    def run():
        try:
            with beside(failing):
                time.sleep(PATIENCE_S)
                done.append("block")
        except StorageError:
            done.append("failure")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == ["block", "failure"]


def test_an_exit_of_ray_train_is_the_interrupt_that_caused_it():
    def run():
        with interruptible():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise SystemExit

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is before
