"""The sink `publish`: results reach those who may have them, encrypted where asked; nobody holds it up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfer import keys
from streamfer.api import StreamPlan
from streamfer.errors import StartError
from streamfer.sinks import PublishOptions
from streamfer.sinks.publish import PublishSink
from streamfer.testing import check_sink
from streamfer.types import Face, Result
from tests.service import ROOT, SAMPLE, Run, repeated, streamfer, wait_until

SUBSCRIBER = ROOT / "examples" / "subscriber.py"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def subscriber(address: str, out: Path, *options: object) -> Iterator[subprocess.Popen[bytes]]:
    """examples/subscriber.py in a process of its own; what it prints goes to a file."""
    arguments = [sys.executable, str(SUBSCRIBER), address, *map(str, options)]
    with out.open("wb") as file, subprocess.Popen(arguments, stdout=file, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            ended = process.poll()
            process.kill()
        assert ended is None, process.stderr and process.stderr.read().decode()


class Relay:
    """Passes TCP connections on to a port and keeps what the server sends."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.seen = bytearray()
        self.asked = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), 5)
                except OSError:
                    client.close()  # it will come again
                    continue
                self._open += [client, server]
                for source, to in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, to, to is client), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers:
                    self.seen += data
                else:
                    self.asked += len(data)
                to.sendall(data)
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._server, *self._open):
            one.close()


def result(seq: int, stream: str = "lobby") -> Result:
    face = Face(1, (1.0, 2.0, 3.0, 4.0), 0.9, "ok", "happy", 0.8, {"happy": 0.8, "sad": 0.2})
    return Result(stream=stream, epoch=0, seq=seq, pts=seq / 25, time=None, classifier="cnn", faces=[face])


@contextlib.contextmanager
def publishing(**options: object) -> Iterator[tuple[PublishSink, str]]:
    """An open sink on a free port, and its address."""
    address = str(options.pop("listen", f"tcp://127.0.0.1:{free_port()}"))
    sink = PublishSink(PublishOptions.model_validate({"listen": address, **options}))
    assert sink.open([StreamPlan("lobby", ("cnn",))], resume=False) == {}
    try:
        yield sink, address
    finally:
        sink.close()


def until_it_arrives(sink: PublishSink, out: Path, first: int = 0) -> int:
    """Write results until a subscriber has one; the next frame number."""
    seq = first

    def arrived() -> bool:
        nonlocal seq
        sink.write(result(seq), None)
        seq += 1
        return out.stat().st_size > 0

    wait_until(arrived, f"a result in {out}", 20)
    return seq


# ---- the whole service -------------------------------------------------------------------------------------


def test_only_clients_with_keys_get_results_and_the_wire_shows_none(tmp_path: Path) -> None:
    clip = repeated(SAMPLE, 3, tmp_path / "clip.mp4")
    for directory, client in (("keys", "anna"), ("other", "mallory")):
        keys.make_server(tmp_path / directory)
        keys.make_client(tmp_path / directory, client)
    plain, secure = free_port(), free_port()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"version: 1\nstreams: {{lobby: {{path: {clip}}}}}\nclassifiers: [cnn]\nmetrics: false\nsinks:\n"
        f"  - {{name: jsonl, path: results.jsonl}}\n"
        f"  - {{name: publish, listen: 'tcp://127.0.0.1:{plain}'}}\n"
        f"  - {{name: publish, as: secure, listen: 'tcp://127.0.0.1:{secure}', keys: keys}}\n"
    )

    def using(secret: str, server: str) -> list[object]:
        return ["--secret", tmp_path / secret, "--server", tmp_path / server]

    anna = using("keys/anna.secret", "keys/server.public")
    who: dict[str, tuple[int, list[object]]] = {
        "plain": (plain, []),
        "door": (plain, ["--stream", "lob"]),
        "anna": (secure, anna),
        "a stranger": (secure, using("other/mallory.secret", "keys/server.public")),
        "the wrong server's key": (secure, using("keys/anna.secret", "other/server.public")),
        "no key": (secure, []),
        "a key for a plain server": (plain, anna),
    }
    with contextlib.ExitStack() as stack:
        relays = {name: stack.enter_context(Relay(port)) for name, (port, _) in who.items()}
        for name, (_, options) in who.items():
            stack.enter_context(subscriber(relays[name].address, tmp_path / name, *options))
        run = stack.enter_context(Run("run", config))
        status, error = run.finish()
        assert status == 0, error
        expected = (tmp_path / "results.jsonl").read_text().splitlines()
        for name in ("plain", "anna"):
            wait_until(
                lambda name=name: expected[-1] in (tmp_path / name).read_text(), f"the end: {name}", 10
            )
    for name, (_, _) in who.items():
        got = (tmp_path / name).read_text().splitlines()
        assert relays[name].asked > 0, f"{name} never came"
        if name in ("plain", "anna"):
            # What was published before the subscription arrived is not there; all that follows is.
            assert len(got) > 10 and got == expected[-len(got) :], name
        else:
            assert got == [], name
    labels = (b"happy", b"neutral", b"lobby", b"probabilities")
    assert all(label in relays["plain"].seen for label in labels)
    assert len(relays["anna"].seen) > 10_000
    for name in who.keys() - {"plain", "door"}:
        assert not any(label in relays[name].seen for label in labels), name


def test_a_taken_port_and_a_readable_secret_stop_the_start(tmp_path: Path) -> None:
    keys.make_server(tmp_path / "keys")
    keys.make_client(tmp_path / "keys", "anna")
    config = tmp_path / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        config.write_text(
            f"version: 1\nstreams: {{lobby: {{path: {SAMPLE}}}}}\nclassifiers: [cnn]\nmetrics: false\n"
            f"sinks: [{{name: publish, listen: '{address}'}}]\n"
        )
        done = streamfer("run", config)
        assert done.returncode == 3
        said = f"{address}: cannot listen there: Address already in use; choose another address"
        assert done.stderr.splitlines()[-1].endswith(said)
        assert "Traceback" not in done.stderr
    (tmp_path / "keys" / "server.secret").chmod(0o644)
    done = streamfer("run", config, "--set", "sinks.0.keys=keys")
    assert done.returncode == 3
    assert "keys/server.secret: others than its owner can read or change this secret key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("tcp://0.0.0.0:5556", "0.0.0.0:5556 can be reached from other hosts, which takes CURVE keys"),
        ("tcp://*:5556", "takes CURVE keys: make them with `streamfer keys DIR`"),
        ("tcp://192.0.2.7:5556", "takes CURVE keys"),
        ("tcp://[::]:5556", "takes CURVE keys"),
        ("tcp://127.0.0.1", "expected tcp://ADDRESS:PORT"),
        ("tcp://127.0.0.1:0", "expected tcp://ADDRESS:PORT"),
        ("tcp://127.0.0.1:65536", "expected tcp://ADDRESS:PORT"),
        ("tcp://some.host:5556", "expected tcp://ADDRESS:PORT"),
        ("pgm://eth0;239.0.0.1:5556", "expected tcp://ADDRESS:PORT"),
        ("ipc://relative", "absolute path"),
        (f"ipc:///{'x' * 107}", "absolute path"),
    ],
)
def test_where_it_must_not_listen(tmp_path: Path, listen: str, said: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"version: 1\nstreams: {{lobby: {{path: {SAMPLE}}}}}\nclassifiers: [cnn]\n"
        f"sinks: [{{name: publish, listen: '{listen}'}}]\n"
    )
    done = streamfer("check", config)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{config}:4: sinks.0") and said in line


@pytest.mark.parametrize("listen", ["tcp://127.0.0.2:5556", "tcp://[::1]:5556", "ipc:///run/results"])
def test_where_it_may_listen_without_keys(listen: str) -> None:
    assert PublishOptions(listen=listen).listen == listen
    assert PublishOptions(listen="tcp://*:5556", keys=Path("keys")).keys == Path("keys")


def test_the_configurations_in_the_docs_are_right(tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path / "clip.mp4")
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "config.yaml").write_text(block)
        done = streamfer("check", "config.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


# ---- the sink alone ----------------------------------------------------------------------------------------


def test_it_keeps_the_contract_of_sinks() -> None:
    options = PublishOptions(listen=f"tcp://127.0.0.1:{free_port()}")
    check_sink(lambda: PublishSink(options), durable=False)


def test_a_client_that_is_added_later_gets_in(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    keys.make_server(directory)
    keys.make_client(directory, "anna")
    with publishing(keys=directory) as (sink, address):
        keys.make_client(directory, "carl")
        options = ["--secret", directory / "carl.secret", "--server", directory / "server.public"]
        with subscriber(address, tmp_path / "carl", *options):
            until_it_arrives(sink, tmp_path / "carl")
        (directory / "clients" / "carl.public").unlink()
        with (
            subscriber(address, tmp_path / "again", *options),
            subscriber(
                address,
                tmp_path / "anna",
                "--secret",
                directory / "anna.secret",
                "--server",
                directory / "server.public",
            ),
        ):
            seq = until_it_arrives(sink, tmp_path / "anna")
            size = (tmp_path / "anna").stat().st_size
            wait_until(
                lambda: sink.write(result(seq), None) or (tmp_path / "anna").stat().st_size > 20 * size,
                "more",
            )
            assert not (tmp_path / "again").stat().st_size


def test_a_subscriber_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    import psutil

    with (
        publishing(high_water=100) as (sink, address),
        subscriber(address, tmp_path / "slow") as slow,
        subscriber(address, tmp_path / "quick"),
    ):
        seq = until_it_arrives(sink, tmp_path / "quick")
        seq = until_it_arrives(sink, tmp_path / "slow", seq)
        slow.send_signal(signal.SIGSTOP)
        memory = psutil.Process().memory_info().rss
        begun = seq
        while seq < begun + 100_000:  # 25 MB
            sink.write(result(seq), None)
            seq += 1
        assert psutil.Process().memory_info().rss - memory < 15e6
        quick = tmp_path / "quick"
        until = f'"seq":{seq},'

        def keeps_up() -> bool:
            sink.write(result(seq), None)
            return until in quick.read_text()[-20_000:]

        wait_until(keeps_up, "the quick one has the newest", 30)
        slow.send_signal(signal.SIGCONT)


def test_sockets_in_the_file_system(tmp_path: Path) -> None:
    path = Path("/tmp") / f"sf-{os.getpid()}"  # short enough for a socket
    listen = f"ipc://{path}"
    path.write_text("precious")
    try:
        with (
            pytest.raises(StartError, match="something else than a socket is there"),
            publishing(listen=listen),
        ):
            pass
        assert path.read_text() == "precious"
        path.unlink()
        with publishing(listen=listen) as (sink, _), subscriber(listen, tmp_path / "out"):
            until_it_arrives(sink, tmp_path / "out")
            with pytest.raises(StartError, match="another process does"), publishing(listen=listen):
                pass
            until_it_arrives(sink, tmp_path / "out")
        with socket.socket(socket.AF_UNIX) as left:  # by a process that was killed
            path.unlink(missing_ok=True)
            left.bind(str(path))
        with publishing(listen=listen) as (sink, _), subscriber(listen, tmp_path / "out"):
            until_it_arrives(sink, tmp_path / "out")
    finally:
        path.unlink(missing_ok=True)
