"""CURVE key pairs in files: made, read, and refused where others could read a secret.

A directory of keys holds `server.secret`, `server.public`, `clients/NAME.public` and, until they are handed
over, `NAME.secret`. A file is a line of comment and a line with the key, 32 bytes in Z85
(rfc.zeromq.org/spec/32): 40 characters, never beginning with '#', which would stand for more than 32 bits.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import zmq  # for its key arithmetic; sockets are made by streamfer.transport

from streamfer.errors import StartError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MAX_BYTES = 4096

SERVER = "server"
CLIENTS = "clients"


def make_server(directory: Path) -> list[Path]:
    """Make the server's pair; the files. UsageError if one of them is there already."""
    return _make(directory, SERVER, directory / f"{SERVER}.public")


def check_name(name: str) -> None:
    """UsageError unless a client can have this name."""
    if not _NAME.fullmatch(name) or name == SERVER:
        raise UsageError(
            f"'{name}' cannot be a client's name: expected letters, digits, '_', '.' and '-', 64 at most, "
            f"and not '{SERVER}'"
        )


def make_client(directory: Path, name: str) -> list[Path]:
    """Make a client's pair and let it in; the files. UsageError if the name cannot be used or is taken."""
    check_name(name)
    return _make(directory, name, directory / CLIENTS / f"{name}.public")


def load_secret(path: Path) -> str:
    """The secret key in a file, Z85. StartError if it is missing, no key, or others than its owner may read
    or write it."""
    return _load(path, secret=True)


def load_public(path: Path) -> str:
    """The public key in a file, Z85. StartError if it is missing or no key."""
    return _load(path, secret=False)


def public_of(secret: str) -> str:
    """The public key that belongs to a secret one, both Z85."""
    return zmq.curve_public(secret.encode()).decode()


def check_clients(directory: Path) -> None:
    """StartError unless there is a `clients/` in which only its owner can let somebody in."""
    clients = directory / CLIENTS
    try:
        status = clients.stat()
    except OSError as error:
        raise StartError(
            f"{clients}: no clients' keys there ({error.strerror}); make some with "
            f"`streamfer keys {directory} --client NAME`"
        ) from None
    if status.st_mode & 0o022:
        raise StartError(f"{clients}: others than its owner can let clients in: chmod go-w {clients}")


def is_client(directory: Path, public: str) -> bool:
    """Whether this public key (Z85) lies in `clients/`: what is put there or taken away counts at once.
    A file that cannot be read lets nobody in."""
    return public in _clients(directory)


def _clients(directory: Path) -> Iterator[str]:
    for path in (directory / CLIENTS).glob("*.public"):
        try:
            yield load_public(path)
        except StartError:
            continue


def _make(directory: Path, name: str, public_path: Path) -> list[Path]:
    secret_path = directory / f"{name}.secret"
    for path in (secret_path, public_path):
        if os.path.lexists(path):
            raise UsageError(
                f"{path}: there is a key already; it is not replaced: remove it, or name another"
            )
    public, secret = (key.decode() for key in zmq.curve_keypair())
    who = "the server" if name == SERVER else f"the client {name}"
    try:
        for path in (directory, public_path.parent):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(public_path, f"# CURVE public key of {who}", public, 0o644)
        _write(secret_path, f"# CURVE secret key of {who}: whoever has it can pass for it", secret, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return [secret_path, public_path]


def _write(path: Path, comment: str, key: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(f"{comment}\n{key}\n")
        file.flush()
        os.fsync(fd)


def _load(path: Path, *, secret: bool) -> str:
    what = "secret" if secret else "public"
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())  # of the very file that is read
            if not stat.S_ISREG(status.st_mode):
                raise StartError(f"{path}: not a file with a {what} key; make keys with `streamfer keys`")
            mode = stat.S_IMODE(status.st_mode)
            if secret and mode & 0o077:
                raise StartError(
                    f"{path}: others than its owner can read or change this secret key (mode {mode:04o}): "
                    f"chmod 600 {path}"
                )
            content = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise StartError(f"{path}: no such key; make keys with `streamfer keys`") from None
    except OSError as error:
        raise StartError(f"{path}: the {what} key cannot be read: {error.strerror}") from None
    lines = content.decode("ascii", "replace").split("\n")
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]) or not _fits(keys[0]):
        raise StartError(
            f"{path}: not a {what} key; expected one line of 40 characters: make keys with `streamfer keys`"
        )
    return keys[0]


def _without_waiting(path: str, flags: int) -> int:
    """Opens; a pipe without a writer would wait for one."""
    return os.open(path, flags | os.O_NONBLOCK)


def _fits(key: str) -> bool:
    """Whether Z85 text stands for 32 bytes: five characters can name more than four bytes hold."""
    try:
        zmq.curve_public(key.encode())
    except zmq.ZMQError:
        return False
    return True
