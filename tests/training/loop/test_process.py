import os
import signal

import pytest

from inverseflow.training.loop.process import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops_at_once(number, capsys):
    former = signal.signal(number, signal.default_int_handler)  # a process in the background ignores Ctrl-C
    with StopRequest() as stop:
        stop.listen()
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)

    signal.signal(number, former)
    assert "once more stops at once" in capsys.readouterr().err


def test_signals_have_their_former_meaning_afterwards():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        stop.listen()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_stops_at_once_before_training_has_begun():
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
    try:
        with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)

    assert not stop.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_ignored_before_stays_ignored(number):
    former = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            stop.listen()
            os.kill(os.getpid(), number)
            assert not stop.requested
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, former)
