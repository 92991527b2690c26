"""Runs an image as a container engine would: namespaces of its own, and next to no rights."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import psutil

from tests.deploy.image import Builder, Image, within
from tests.service import wait_until

_DEVICES = ("null", "zero", "full", "random", "urandom")


class Container:
    """A container as deploy/compose.yaml confines it: the root file system cannot be written, the user is a
    number and has no capabilities, the environment is the image's. Use it as a context manager; nothing
    survives it.

    `volume` becomes the image's one volume, and `config` lies over /etc/streamfer. Of its network, loopback
    is all there is, so that the image's own port can be used and nobody else is met.
    """

    def __init__(
        self, builder: Builder, image: Image, volume: Path, *command: str, config: Path | None = None
    ) -> None:
        self._config = image.config
        self._user, _, self._group = image.config.user.partition(":")
        volume.mkdir(exist_ok=True)
        os.chown(volume, int(self._user), int(self._group))
        words = [*self._confined(), *image.config.entrypoint, *(command or image.config.command)]
        script = f"{self._mounts(image, volume, config)}\nexec chroot {image.root} {shlex.join(words)}"
        namespaces = ["--mount", "--propagation", "private", "--net", "--ipc", "--uts", "--pid"]
        self.process = subprocess.Popen(
            [*builder.enter, "unshare", *namespaces, "--fork", "sh", "-euc", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            # With process 1 the kernel ends all the others; the end of `unshare` alone would not end them.
            for process in psutil.Process(self.process.pid).children() or [self.process]:
                process.kill()
            self.process.communicate(timeout=30)

    def first(self) -> psutil.Process:
        """The container's process 1."""

        def there() -> list[psutil.Process]:
            assert self.process.poll() is None, self.finish()
            return psutil.Process(self.process.pid).children()

        found: psutil.Process = wait_until(there, "process 1 of the container")[0]
        return found

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one more process in the container, as `docker exec` and health checks do."""
        inside = ["--mount", "--net", "--ipc", "--uts", "--pid", "--root"]
        return subprocess.run(
            ["nsenter", f"--target={self.first().pid}", *inside, *self._confined(), *command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def health(self) -> tuple[int, str]:
        """Exit status of the image's HEALTHCHECK, and what it says."""
        done = self.execute(*self._config.health)
        return done.returncode, done.stdout + done.stderr

    def finish(self, timeout: float = 60) -> tuple[int, str, str]:
        """Wait for the end; exit status, standard output, standard error."""
        output, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, output, error

    def _mounts(self, image: Image, volume: Path, config: Path | None) -> str:
        root = image.root
        (place,) = image.config.volumes
        devices = [f"touch {root}/dev/{one}; mount --bind /dev/{one} {root}/dev/{one}" for one in _DEVICES]
        return "\n".join(
            [
                "ip link set lo up",
                f"mount --bind {volume} {root}{place}",
                f"mount --bind {config} {root}/etc/streamfer" if config else "",
                f"mount -t tmpfs -o mode=0755 tmpfs {root}/dev",
                *devices,
                f"mkdir {root}/dev/shm",
                f"mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/dev/shm",
                f"mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/tmp",
                f"mount -t tmpfs -o mode=0700,uid={self._user},gid={self._group} tmpfs {root}/run/streamfer",
                f"mount -t proc proc {root}/proc",
                f"mount -t sysfs -o ro sysfs {root}/sys",
                f"mount -o remount,bind,ro {root}/dev",
                f"mount -o remount,bind,ro {root}",
            ]
        )

    def _confined(self) -> list[str]:
        user = [f"--reuid={self._user}", f"--regid={self._group}", "--clear-groups"]
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["setpriv", *user, *rights, *within(self._config.environment, self._config.directory)]
