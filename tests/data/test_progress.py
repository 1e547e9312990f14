import io
import sys

from inverseflow.data import progress
from inverseflow.data.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def advance(stream: io.StringIO, monkeypatch, *, show: bool, delay: float) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_DELAY", delay)
    with Progress("reading images", 20, show=show) as shown:
        for _ in range(10):
            shown.advance(2)
    return stream.getvalue()


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    assert "reading images" in advance(Terminal(), monkeypatch, show=True, delay=0.0)


def test_elsewhere_there_is_a_line_now_and_then(monkeypatch):
    assert advance(io.StringIO(), monkeypatch, show=True, delay=0.0) == "reading images: 2 of 20\n"


def test_what_is_done_quickly_is_done_in_silence(monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        assert advance(stream, monkeypatch, show=True, delay=60.0).strip() == ""


def test_nothing_is_shown_unasked(monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        assert advance(stream, monkeypatch, show=False, delay=0.0) == ""
