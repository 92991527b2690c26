"""A systemd of its own, in namespaces of its own, that runs the unit of deploy/systemd as it is shipped."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.deploy.sandbox import SCRIPT, arguments, in_namespaces
from tests.service import ROOT, wait_until

UNIT = ROOT / "deploy" / "systemd" / "streamfer.service"
SYSTEMD = Path("/lib/systemd/systemd")

_BOOT = r"""
mount -t sysfs -o ro sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t tmpfs -o mode=1777,size=256m tmpfs "$ROOT/dev/shm"
rm -rf "$ROOT/etc/systemd/system" "$ROOT/etc/streamfer"
mkdir -p "$ROOT/etc/systemd/system" "$ROOT/etc/streamfer/secrets"
printf '[Unit]\nDefaultDependencies=no\n' >"$ROOT/etc/systemd/system/nothing.target"
cd "$ROOT"
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=streamfer-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=nothing.target --show-status=no
"""


class Machine:
    """Boots on entering; nothing survives leaving. Skips the test where that cannot be done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cgroup = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.init = 0

    def __enter__(self) -> Machine:
        if os.geteuid() != 0 or not SYSTEMD.exists():
            pytest.skip("needs root and systemd to boot a systemd in namespaces")
        self._cgroup = _unified_hierarchy() / f"streamfer-test-{os.getpid()}"
        try:
            self._cgroup.mkdir()
        except OSError as error:
            pytest.skip(f"no control group can be made: {error.strerror}")
        join = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._cgroup / "cgroup.procs")]
        boot = [*in_namespaces("cgroup", "uts", "ipc", "net"), SCRIPT + _BOOT, *arguments(self._folder)]
        self._log = (self._folder.parent / "boot.log").open("wb")
        try:
            self._process = subprocess.Popen(
                [*join, *boot],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            wait_until(self._booted, "a systemd of its own", timeout=30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        self._log.close()
        for folder, _names, _files in os.walk(self._cgroup, topdown=False):
            wait_until(lambda there=folder: _removed(Path(there)), f"the end of {folder}", timeout=30)

    def _booted(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            told = Path(self._log.name).read_text(errors="replace").strip()
            pytest.skip(f"no systemd can be booted in namespaces here: {told}")
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.name() == "systemd":
                    self.init = child.pid
                    return self.run("systemctl", "show", "--property=Version", check=False).returncode == 0
        return False

    def run(
        self, *command: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.init), "--all", *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, (command, done.stdout, done.stderr)
        return done

    def path(self, inside: str) -> Path:
        """A file inside, as seen from here."""
        return Path(f"/proc/{self.init}/root{inside}")

    def shown(self, name: str) -> str:
        """A property of the service, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", "streamfer").stdout.strip()

    def processes(self) -> dict[str, psutil.Process]:
        """The processes of the service by title, without 'streamfer: '."""
        there = (self._cgroup / "system.slice" / "streamfer.service" / "cgroup.procs").read_text().split()
        found = {}
        for pid in there:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                found[" ".join(process.cmdline()).strip().removeprefix("streamfer: ")] = process
        return found


def _unified_hierarchy() -> Path:
    """Where the second version of control groups is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    pytest.skip("control groups of version 2 are not mounted")


def _removed(cgroup: Path) -> bool:
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()
