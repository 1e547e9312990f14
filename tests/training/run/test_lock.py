import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from inverseflow.errors import RunError
from inverseflow.training.run.lock import RunLock


def lock_and_wait(folder: Path, ready) -> None:
    lock = RunLock(folder)
    lock.acquire()
    ready.set()
    signal.pause()


@pytest.fixture
def owner(tmp_path):
    """Another process that holds the lock of the folder."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=lock_and_wait, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_the_lock_of_another_process_is_refused_by_name_until_it_dies(tmp_path, owner):
    with RunLock(tmp_path) as lock:
        with pytest.raises(RunError, match=rf"is in use: process {owner.pid} on {os.uname().nodename} trains in it"):
            lock.acquire()
        owner.kill()
        owner.join()
        lock.acquire()


def test_a_lock_is_exclusive_within_a_process_too(tmp_path):
    with RunLock(tmp_path) as lock:
        lock.acquire()
        lock.acquire()
        with pytest.raises(RunError, match=f"process {os.getpid()}"):
            RunLock(tmp_path).acquire()
    RunLock(tmp_path).acquire()


def test_a_released_lock_leaves_no_file(tmp_path):
    with RunLock(tmp_path / "run") as lock:
        lock.acquire()

    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_was_removed_or_replaced_is_noticed(tmp_path):
    with RunLock(tmp_path / "run") as lock:
        lock.acquire()
        lock.check()
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(RunError, match="run was removed or replaced during training"):
            lock.check()
        with RunLock(tmp_path / "run") as other:
            other.acquire()
            with pytest.raises(RunError, match="removed or replaced"):
                lock.check()
            lock.release()
            other.check()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="cannot write to"):
        RunLock(tmp_path).acquire()

    assert (tmp_path / "precious").read_text() == "keep me"
