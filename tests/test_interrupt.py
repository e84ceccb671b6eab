import itertools
import signal
import threading
import time

import pytest

from deepscan.errors import StalledError
from deepscan.interrupt import ended_when_stalled, interruptible

PATIENCE_S = 0.4


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


def test_an_exit_of_ray_train_is_the_interrupt_that_caused_it():
    def run():
        with interruptible():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise SystemExit

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is before
