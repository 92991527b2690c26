"""What systemd hears, through a real datagram socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfer.notify import Notifier


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has it, and its name as NOTIFY_SOCKET gives it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        if request.param == "path":
            name = str(tmp_path / "notify")
            listening.bind(name)
        else:
            name = f"@streamfer-test-{os.getpid()}"
            listening.bind(f"\0{name[1:]}")
        listening.settimeout(5)
        yield listening, name


def heard(listening: socket.socket) -> list[str]:
    """All that has come."""
    messages = []
    listening.setblocking(False)
    while True:
        try:
            messages.append(listening.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_the_life_of_a_service(systemd: tuple[socket.socket, str]) -> None:
    listening, name = systemd
    environ = {"NOTIFY_SOCKET": name, "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}  # no worker inherits it
    notifier.ready()
    notifier.status("2 of 3\nstreams READY=1 of rtsp://me:hunter2@camera")
    notifier.status("2 of 3 streams READY=1 of rtsp://me:hunter2@camera")
    notifier.status("all")
    notifier.beat()  # no watchdog asked for
    notifier.stopping()
    assert heard(listening) == [
        "READY=1",
        "STATUS=2 of 3 streams READY=1 of rtsp://…@camera",
        "STATUS=all",
        "STOPPING=1",
    ]
    notifier.close()


@pytest.mark.parametrize("named", [True, False])
def test_the_watchdog_is_fed_at_half_of_its_time(systemd: tuple[socket.socket, str], named: bool) -> None:
    listening, name = systemd
    clock = Clock()
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000000"}
    if named:
        environ["WATCHDOG_PID"] = str(os.getpid())
    notifier = Notifier(environ, clock)
    assert not environ
    for clock.now in range(31):
        notifier.beat()
    assert heard(listening) == ["WATCHDOG=1"] * 4  # at 0, 10, 20 and 30 seconds
    notifier.close()


def test_anothers_watchdog_is_not_fed(systemd: tuple[socket.socket, str]) -> None:
    listening, name = systemd
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getppid())}
    notifier = Notifier(environ)
    notifier.beat()
    assert heard(listening) == []
    notifier.close()


def test_a_full_queue_holds_nothing_up_and_ready_is_said_later(systemd: tuple[socket.socket, str]) -> None:
    listening, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"x", f"\0{name[1:]}" if name.startswith("@") else name)
    notifier.ready()
    assert "READY=1" not in heard(listening)
    notifier.beat()
    notifier.beat()
    assert heard(listening) == ["READY=1"]
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1"},
        {"WATCHDOG_USEC": "soon"},
    ],
)
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    notifier.ready()
    notifier.status("fine")
    notifier.beat()
    notifier.stopping()
    notifier.close()
    assert not environ


def test_children_do_not_inherit_the_socket(systemd: tuple[socket.socket, str]) -> None:
    _, name = systemd
    script = (
        "import os, subprocess, sys; from streamfer.notify import Notifier; n = Notifier();"
        "n.ready(); sys.exit(subprocess.run([sys.executable, '-c', "
        "'import os, sys; sys.exit(\"NOTIFY_SOCKET\" in os.environ)']).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "NOTIFY_SOCKET": name}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert heard(systemd[0]) == ["READY=1"]
