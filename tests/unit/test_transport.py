"""Sockets and their directory: private, swept when their owner is gone, bounded."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamfer.errors import StartError
from streamfer.transport import RuntimeDirectory, Sockets, Waiter, clear, readable, receive, sweep, try_send
from streamfer.wire import MAX_MESSAGE


def test_the_directory_is_private_and_goes_away(tmp_path: Path) -> None:
    runtime = RuntimeDirectory(tmp_path)
    assert stat.S_IMODE(runtime.path.stat().st_mode) == 0o700
    runtime.remove()
    assert not list(tmp_path.iterdir())


def test_what_dead_supervisors_left_is_swept_and_the_living_are_not(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from streamfer.transport import RuntimeDirectory\n"
        "print(RuntimeDirectory(Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60)
    left = Path(dead.stdout.strip())
    assert left.is_dir()
    living = RuntimeDirectory(tmp_path)  # sweeps first
    assert not left.exists()
    (tmp_path / "streamfer-other").mkdir()  # not one of ours: it has no lock
    assert sweep(tmp_path) == []
    assert living.path.is_dir() and (tmp_path / "streamfer-other").is_dir()
    living.remove()


def test_what_cannot_be_removed_keeps_its_lock(full_disk: Path) -> None:
    """Or no sweep would ever dare to remove it."""
    runtime = full_disk.parent  # a mounted file system lies in it
    for name in ("lock", "control", "zebra"):
        (runtime / name).touch()
    clear(runtime)
    assert sorted(path.name for path in runtime.iterdir()) == ["lock", full_disk.name]


def test_several_may_remove_it_at_once(tmp_path: Path) -> None:
    """As all workers do when their supervisor is gone."""
    runtime = tmp_path / "streamfer-1"
    with ThreadPoolExecutor(5) as workers:
        for _ in range(300):
            (runtime / "metrics").mkdir(parents=True)
            for name in ("lock", "control", "sink", "metrics/1.db", "metrics/2.db"):
                (runtime / name).touch()
            assert list(workers.map(clear, [runtime] * 5)) == [None] * 5
            assert not runtime.exists()


def test_a_base_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="no runtime directory"):
        RuntimeDirectory(tmp_path / "file")


def test_messages_wait_for_a_receiver_and_survive_its_successor(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/s" if len(str(tmp_path)) < 80 else f"ipc:///tmp/{tmp_path.name}"
    sender = Sockets()
    push = sender.push(address)
    assert try_send(push, [b"before anybody listens"])
    got = []
    for turn in range(3):
        receiver, waiter = Sockets(), Waiter()
        pull = receiver.pull(address)
        waiter.add(pull)
        assert waiter.wait(10) and readable(pull)
        got.append(receive(pull))
        receiver.close(0)
        assert try_send(push, [b"again", bytes([turn])])
    sender.close(0)
    assert got == [[b"before anybody listens"], [b"again", b"\0"], [b"again", b"\1"]]


def test_a_message_over_the_limit_never_arrives(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/s" if len(str(tmp_path)) < 80 else f"ipc:///tmp/{tmp_path.name}"
    sockets, waiter = Sockets(), Waiter()
    pull, push = sockets.pull(address), sockets.push(address)
    waiter.add(pull)
    assert try_send(push, [bytes(MAX_MESSAGE + 1)])
    assert not waiter.wait(0.5)
    sockets.close(0)
