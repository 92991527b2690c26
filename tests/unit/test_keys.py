"""Key files: made once, for their owner's eyes; anything else is refused in one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from streamfer import keys
from streamfer.errors import StartError, UsageError
from tests.service import streamfer


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_pairs_fit_and_lie_where_they_should(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "keys"
    before = os.umask(0)  # the modes are ours, not the umask's
    try:
        server = keys.make_server(directory)
        client = keys.make_client(directory, "anna")
    finally:
        os.umask(before)
    assert server == [directory / "server.secret", directory / "server.public"]
    assert client == [directory / "anna.secret", directory / "clients" / "anna.public"]
    for secret, public in (server, client):
        assert (mode(secret), mode(public)) == (0o600, 0o644)
        assert keys.public_of(keys.load_secret(secret)) == keys.load_public(public)
    assert (mode(directory), mode(directory / "clients")) == (0o700, 0o700)
    assert keys.load_secret(server[0]) != keys.load_secret(client[0])
    keys.check_clients(directory)


def test_a_key_is_told_from_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.public"
    for text in ("2" * 40, "# a comment\n1#" + "1" * 38, "# no\n#key yet\n\n" + "3" * 40 + "\n"):
        path.write_text(text)
        assert keys.load_public(path) == text.strip().splitlines()[-1]


def test_nothing_is_replaced(tmp_path: Path) -> None:
    keys.make_server(tmp_path)
    keys.make_client(tmp_path, "anna")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for make in (lambda: keys.make_server(tmp_path), lambda: keys.make_client(tmp_path, "anna")):
        with pytest.raises(UsageError, match="there is a key already"):
            make()
    (tmp_path / "anna.secret").unlink()  # handed over: her public key stays taken
    with pytest.raises(UsageError, match=r"clients/anna\.public: there is a key already"):
        keys.make_client(tmp_path, "anna")
    for path, content in before.items():
        assert path.name == "anna.secret" or path.read_bytes() == content


@pytest.mark.parametrize("name", ["", "server", "../x", "a/b", ".hidden", "a b", "a" * 65, "x\n"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a client's name"):
        keys.make_client(tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o644, 0o602])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, bits: int) -> None:
    secret, _ = keys.make_server(tmp_path)
    secret.chmod(bits)
    with pytest.raises(StartError) as refused:
        keys.load_secret(secret)
    assert str(refused.value) == (
        f"{secret}: others than its owner can read or change this secret key (mode {bits:04o}): "
        f"chmod 600 {secret}"
    )
    secret.chmod(0o400)
    keys.load_secret(secret)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# nothing\n",
        b"0" * 39,
        b"0" * 41,
        b"0" * 40 + b"\n" + b"1" * 40,
        b"#" * 40,
        b"\xff" * 40,
        b"0" * 9000,
    ],
)
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.secret"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(StartError, match=r"x\.secret: not a secret key") as refused:
        keys.load_secret(path)
    assert "\n" not in str(refused.value)
    assert "0" * 30 not in str(refused.value)  # it might have been one


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="gone: no such key; make keys with `streamfer keys`"):
        keys.load_secret(tmp_path / "gone")
    with pytest.raises(StartError, match="cannot be read: Is a directory"):
        keys.load_secret(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StartError, match="pipe: not a file with a secret key"):  # and does not wait for it
        keys.load_secret(tmp_path / "pipe")


def test_clients_come_and_go(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no clients' keys there"):
        keys.check_clients(tmp_path)
    assert not keys.is_client(tmp_path, "0" * 40)
    keys.make_server(tmp_path)
    _, public = keys.make_client(tmp_path, "anna")
    (tmp_path / "clients" / "broken.public").write_text("no key")
    (tmp_path / "clients" / "notes.txt").write_text("1" * 40)
    assert keys.is_client(tmp_path, keys.load_public(public))
    assert not keys.is_client(tmp_path, keys.load_public(tmp_path / "server.public"))
    assert not keys.is_client(tmp_path, "1" * 40)
    key = keys.load_public(public)
    public.unlink()
    assert not keys.is_client(tmp_path, key)
    (tmp_path / "clients").chmod(0o777)
    with pytest.raises(StartError, match="chmod go-w"):
        keys.check_clients(tmp_path)


def test_the_command(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    done = streamfer("keys", directory, "--client", "anna", "--client", "bob")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert {str(path.relative_to(directory)) for path in directory.rglob("*.*")} == {
        "server.secret",
        "server.public",
        "anna.secret",
        "bob.secret",
        "clients/anna.public",
        "clients/bob.public",
    }
    for secret in directory.glob("*.secret"):
        assert keys.load_secret(secret) not in done.stdout
    server = (directory / "server.secret").read_bytes()
    again = streamfer("keys", directory, "--client", "carl")
    assert again.returncode == 0 and len(again.stdout.splitlines()) == 2
    for arguments, said in (
        ([], "server.secret: there is a key already"),
        (["--client", "anna"], "anna.secret: there is a key already"),
        (["--client", "dora", "--client", "../x"], "'../x' cannot be a client's name"),
    ):
        done = streamfer("keys", directory, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert (directory / "server.secret").read_bytes() == server
    assert not (directory / "dora.secret").exists()
    done = streamfer("keys", "/proc/nowhere")
    assert done.returncode == 2 and done.stderr.startswith("cannot write /proc/nowhere")
