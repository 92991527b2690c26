"""The systemd unit: checked by systemd's own tools, and run by a real systemd with its sandbox in force."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamfer import endpoints, supervisor
from tests.deploy.nested_systemd import UNIT, Machine
from tests.live import JSON, assert_exact, config, stop
from tests.service import SAMPLE, Run, wait_until

README = UNIT.with_name("README.md")
WEBCAM = UNIT.with_name("webcam.conf")
PROGRAM = "/opt/streamfer/bin/streamfer"


def settings(path: Path) -> dict[str, list[str]]:
    """What a unit file sets: the values of each key in their order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


# ---- what systemd's tools say ------------------------------------------------------------------------------


@pytest.fixture(params=["as it is", "with webcam.conf"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the unit whose command is there, /bin/true, so that only the command is not looked at."""
    text = UNIT.read_text()
    assert PROGRAM in text
    if request.param == "with webcam.conf":
        text += WEBCAM.read_text()
    path = tmp_path / UNIT.name
    path.write_text(text.replace(PROGRAM, "/bin/true"))
    return path


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        [program, "--no-pager", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_exposure_is_what_the_readme_says(unit: Path) -> None:
    text = README.read_text("utf-8")
    documented = re.findall(
        r"exposure (\d+\.\d) \(systemd (\d+).*?and (\d+\.\d) with `webcam.conf`", text, re.S
    )
    assert len(documented) == 1, documented
    plain, version, with_webcam = documented[0]
    if not analyze("--version").stdout.startswith(f"systemd {version} "):
        pytest.skip(f"another systemd than {version} rates in another way")
    limit = with_webcam if WEBCAM.read_text() in unit.read_text() else plain
    done = analyze("security", "--offline=true", f"--threshold={round(float(limit) * 10)}", unit)
    assert done.returncode == 0, done.stdout
    assert f"streamfer.service: {limit} " in done.stdout


def test_the_readme_gives_a_reason_for_all_that_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text())
    done = analyze("security", "--offline=true", "--json=short", path)
    rated: list[dict[str, Any]] = json.loads(done.stdout)
    exposed = {row["name"]: row["exposure"] for row in rated if row["exposure"] is not None}
    rows = re.findall(r"^\| `(.*?)` \| (\d\.\d) \| \S", README.read_text("utf-8"), re.MULTILINE)
    assert {name.replace("\\|", "|"): exposure for name, exposure in rows} == exposed


# ---- what must fit the service -----------------------------------------------------------------------------


def test_the_times_fit_those_of_the_service() -> None:
    unit = settings(UNIT)
    (start,), (stop_time,), (watchdog,) = (
        map(int, unit[key]) for key in ("TimeoutStartSec", "TimeoutStopSec", "WatchdogSec")
    )
    assert start > supervisor._SILENCE_STARTING
    # A worker that hangs is noticed, the others are told to stop, and told once more.
    noticed = supervisor._SILENCE_RUNNING + supervisor._STOP_DEADLINE + supervisor._TERM_DEADLINE
    assert stop_time > noticed
    assert watchdog > endpoints.HUNG_SECONDS  # whoever asks /healthz knows before the service is gone


# ---- what systemd hears ------------------------------------------------------------------------------------


def heard(listening: socket.socket) -> list[str]:
    """All that has come."""
    messages = []
    while True:
        try:
            messages.append(listening.recv(4096).decode())
        except BlockingIOError:
            return messages


def fill(pipe: str) -> None:
    """Leave no room in a pipe, with lines of a JSON log."""
    descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (4096, 32):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(descriptor, b'{"message": "-"}'.ljust(size - 1) + b"\n")
    finally:
        os.close(descriptor)


def test_the_watchdog_is_fed_while_the_supervisors_loop_turns_and_only_then(tmp_path: Path) -> None:
    """The whole service, with a socket in systemd's place."""
    path = config(tmp_path, {"clip": {"path": str(SAMPLE), "realtime": True, "loop": True}})
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.setblocking(False)
        got: list[str] = []
        last = 0.0

        def has(message: str) -> bool:
            got.extend(heard(listening))
            return message in got

        def is_silent() -> bool:
            """For four times as long as between two meals of the watchdog."""
            nonlocal last
            if heard(listening):
                last = time.monotonic()
            return time.monotonic() - last > 2

        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}
        listen = ("--set", "metrics.listen=127.0.0.1:0")
        with Run("run", path, *listen, *JSON, env=environment) as run:
            wait_until(lambda: has("READY=1"), "READY=1")
            wait_until(lambda: has("STATUS=1 of 1 streams live"), "the status")
            assert "STOPPING=1" not in got

            # Its log is taken by nobody: the loop waits, while the other threads of the process go on.
            fill(f"/proc/{run.process.pid}/fd/2")
            run.kill_worker("detect[0]")
            last = time.monotonic()
            wait_until(is_silent, "a watchdog that is not fed, of a loop that waits", timeout=20)
            assert run.process.stderr is not None
            os.read(run.process.stderr.fileno(), 1 << 20)
            got.clear()
            wait_until(lambda: has("WATCHDOG=1"), "the watchdog to be fed again")

            run.process.send_signal(signal.SIGSTOP)
            last = time.monotonic()
            wait_until(is_silent, "a watchdog that is not fed, of a process that is stopped", timeout=20)
            got.clear()
            run.process.send_signal(signal.SIGCONT)
            wait_until(lambda: has("WATCHDOG=1"), "the watchdog to be fed once more")

            error = stop(run)
            wait_until(lambda: has("STOPPING=1"), "STOPPING=1")
    assert_exact(error)


# ---- the unit under a real systemd -------------------------------------------------------------------------

CONFIG = """\
version: 1
streams:
  clip: {path: /opt/source/streamfer/data/sample.mp4, realtime: true, loop: true}
  door: {source: rtsp, url: "rtsp://127.0.0.1:9/1", username: viewer, password: "${secret:camera}"}
classifiers: [cnn]
sinks:
  - {name: jsonl, path: /var/lib/streamfer/results.jsonl}
  - {name: sqlite, path: /var/lib/streamfer/results.db}
  - {name: video, path: /var/lib/streamfer/annotated.mp4}
  - {name: publish, listen: "tcp://127.0.0.1:5556"}
"""
TIMES = """\
[Service]
WatchdogSec=6
RestartSec=0
Environment=STREAMFER_LOG_FORMAT=json
StandardError=append:/run/streamfer.log
LoadCredential=camera:/etc/streamfer/secrets/camera
"""
RESULTS = "/var/lib/private/streamfer/results.jsonl"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine") / "layers"
    folder.mkdir()
    with Machine(folder) as machine:
        machine.path("/etc/streamfer/config.yaml").write_text(CONFIG)
        secret = machine.path("/etc/streamfer/secrets/camera")
        secret.write_text("hunter2\n")
        secret.chmod(0o600)
        units = machine.path("/etc/systemd/system")
        (units / UNIT.name).write_text(UNIT.read_text())
        (units / f"{UNIT.name}.d").mkdir()
        (units / f"{UNIT.name}.d" / "times.conf").write_text(TIMES)
        machine.run("systemctl", "daemon-reload")
        start = machine.run("systemctl", "start", "streamfer", check=False)
        assert start.returncode == 0, machine.path("/run/streamfer.log").read_text()
        yield machine


def frames(machine: Machine) -> int:
    """Lines of results so far."""
    path = machine.path(RESULTS)
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_more(machine: Machine) -> None:
    before = frames(machine)
    wait_until(lambda: frames(machine) > before, "more results")


def test_the_sandbox_lets_the_service_work(machine: Machine) -> None:
    wait_for_more(machine)
    wait_until(lambda: machine.shown("StatusText") == "1 of 2 streams live", "the status")
    status = json.loads(machine.run("/opt/streamfer/bin/streamfer", "status", "--json").stdout)
    assert status["ready"]
    assert {stage["state"] for stage in status["stages"]} == {"up"}
    assert {stage["restarts"] for stage in status["stages"]} == {0}
    assert next(s for s in status["streams"] if s["name"] == "door")["reason"] == "refused"
    log = machine.path("/run/streamfer.log").read_text()
    assert "rtsp://127.0.0.1:9/1" in log
    assert "hunter2" not in log


def test_the_sandbox_is_there_for_every_process(machine: Machine) -> None:
    processes = machine.processes()
    assert {"supervisor", "capture clip", "capture door", "detect[0]", "classify cnn[0]"} < processes.keys()
    for title, process in processes.items():
        text = Path(f"/proc/{process.pid}/status").read_text()
        status = dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))
        assert "0" not in status["Uid"].split(), title
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), title
        assert {int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}, title
        mounts = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        modes = {fields[4]: fields[5].split(",")[0] for fields in map(str.split, mounts)}
        assert (modes["/"], modes["/var/lib/private/streamfer"]) == ("ro", "rw"), title
        assert any("subset=pid" in line for line in mounts), title
    results = machine.path(RESULTS)
    assert (results.stat().st_mode & 0o777, results.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_frozen_worker_is_the_supervisors_business(machine: Machine) -> None:
    before = machine.processes()
    before["detect[0]"].send_signal(signal.SIGSTOP)

    def replaced() -> bool:
        now = machine.processes().get("detect[0]")
        return now is not None and now.pid != before["detect[0]"].pid

    wait_until(replaced, "another detect[0]")
    wait_for_more(machine)
    assert machine.shown("MainPID") != "0"
    assert machine.processes()["supervisor"].pid == before["supervisor"].pid
    assert machine.shown("NRestarts") == "0"


def test_a_frozen_supervisor_is_systemds_business(machine: Machine) -> None:
    restarts = int(machine.shown("NRestarts"))
    before = machine.processes()
    before["supervisor"].send_signal(signal.SIGSTOP)
    wait_until(lambda: int(machine.shown("NRestarts")) == restarts + 1, "the watchdog")
    wait_until(lambda: machine.shown("ActiveState") == "active", "the service to be up again")
    wait_for_more(machine)
    old = {process.pid for process in before.values()}
    assert not old & {process.pid for process in machine.processes().values()}


def test_systemctl_stop_ends_it_in_order(machine: Machine) -> None:
    machine.run("systemctl", "stop", "streamfer")
    assert machine.shown("ActiveState") == "inactive"  # and not "failed"
    assert_exact(machine.path("/run/streamfer.log").read_text())
    text = machine.path(RESULTS).read_text()
    assert text.endswith("\n")
    seqs = [line["seq"] for line in map(json.loads, text.splitlines()) if line["stream"] == "clip"]
    assert seqs == sorted(set(seqs))  # in order and none twice, through all the restarts
    assert not list(machine.path("/run").glob("streamfer/*"))


def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    machine.run("systemctl", "reset-failed", "streamfer", check=False)
    machine.path("/etc/streamfer/config.yaml").write_text(CONFIG.replace("cnn", "cnnn"))
    assert machine.run("systemctl", "start", "streamfer", check=False).returncode != 0
    assert machine.shown("ActiveState") == "failed"
    assert (machine.shown("ExecMainStatus"), machine.shown("NRestarts")) == ("2", "0")
