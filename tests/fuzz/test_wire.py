"""Broken and absurd messages: refused and counted; the service goes on and its results are right."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import socket as socketlib
import tempfile
import threading
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, get_args

import msgspec
import numpy as np
import pytest

from streamfer import wire
from streamfer.inference.answering import answering
from streamfer.inference.described import find
from streamfer.picture import i420_size, view_i420
from streamfer.plugins import Registry
from streamfer.shm import Ring, RingReader
from streamfer.transport import Sockets, try_send
from streamfer.types import Face, WindowState
from tests.fuzz.messages import ABSURD_INTEGERS, ABSURD_NUMBERS, KINDS, broken, message
from tests.fuzz.mutations import cases
from tests.service import SAMPLE, Run, assert_complete, lines, repeated, streamfer, wait_until
from tests.temporal import write_plugin

DECODERS: list[tuple[Callable[[bytes], Any], Any]] = [
    (wire.decode_data, wire.Data),
    (wire.decode_from_worker, wire.FromWorker),
    (wire.decode_to_worker, wire.ToWorker),
]

TIMES = [one for one in ABSURD_NUMBERS if math.isfinite(one)]
"""In seconds, as far as a message may hold them."""


def valid(rng: random.Random, of_each: int = 20) -> list[bytes]:
    return [wire.encode(message(rng, kind)) for kind in KINDS for _ in range(of_each)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_examples_are_valid(kind: type[msgspec.Struct]) -> None:
    rng = random.Random(1)
    for _ in range(20):
        one = message(rng, kind)
        payload = wire.encode(one)
        decode = next(decode for decode, union in DECODERS if kind in get_args(union))
        assert decode(payload) == one


def test_mutated_messages_are_refused_or_valid() -> None:
    rng = random.Random(2)
    payloads = valid(rng)
    refused = taken = 0
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(cases(5_000, 100_000)):
            payload = broken(rng, payloads)
            assert len(payload) < 1_000_000
            tracemalloc.reset_peak()
            for decode, union in DECODERS:
                try:
                    got = decode(payload)
                except wire.WireError as error:
                    assert str(error), number
                    refused += 1
                else:
                    assert isinstance(got, get_args(union)), number
                    wire.encode(got)
                    taken += 1
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 64e6, f"case {number}: {len(payload)} bytes took {peak - before} bytes"
    finally:
        tracemalloc.stop()
    print(f"{refused} refused, {taken} taken")
    assert taken > cases(5_000, 100_000) / 100  # the mutations are not all hopeless


# ---- a running service -------------------------------------------------------------------------------------


class Drained:
    """Reads what a process prints while it runs: a full pipe would hold it up."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._thread = threading.Thread(target=lambda: self._lines.extend(stream), daemon=True)
        self._thread.start()

    def text(self) -> str:
        """All of it; waits for the end of the process."""
        self._thread.join(240)
        return "".join(self._lines)


class Attacker:
    """Somebody of the same user who reaches the service's sockets and says what comes to mind."""

    def __init__(self, runtime: Path, seed: int, over: Callable[[], bool]) -> None:
        self.rng = random.Random(seed)
        self.over = over
        self._sockets = Sockets()
        self._paths = sorted(path for path in runtime.iterdir() if path.is_socket())
        names = [path.name for path in self._paths if path.name != "control"]
        self._push = {name: self._sockets.push(f"ipc://{runtime}/{name}") for name in names}
        dealers = ("nobody#1", "detect-0#99", "#", "\N{SNOWMAN}")
        self._control = [self._sockets.dealer(f"ipc://{runtime}/control", one) for one in dealers]
        self.sent = 0

    def data(self, payload: bytes, to: str = "") -> None:
        """To every stage, or those whose name begins with `to`; alone or as a part of a batch."""
        blob = self.rng.randbytes(self.rng.choice((0, 1, 48 * 48, 5000)))
        parts = self.rng.choice(([payload], [payload, blob], [b"", blob, payload], [payload, blob] * 5))
        for name, socket in self._push.items():
            if name.startswith(to):
                self._send(socket, parts)

    def control(self, payload: bytes) -> None:
        for socket in self._control:
            self._send(socket, self.rng.choice(([payload], [payload, payload], [b"", payload])))

    def _send(self, socket: Any, parts: list[bytes]) -> None:
        wait_until(lambda: self.over() or try_send(socket, parts), "room for another message", 30)
        self.sent += 1

    def raw(self) -> None:
        """Bytes that are no ZeroMQ at all, or only the beginning of it."""
        greeting = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL".ljust(64, b"\0")
        for path in self._paths:
            if not self.over():
                with socketlib.socket(socketlib.AF_UNIX) as raw, contextlib.suppress(OSError):
                    raw.settimeout(5)
                    raw.connect(str(path))
                    head = greeting[: self.rng.randrange(65)] if self.rng.random() < 0.5 else b""
                    raw.sendall(head + self.rng.randbytes(self.rng.randrange(1, 3000)))

    def close(self) -> None:
        self._sockets.close(100)


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sf-") as path:
        yield Path(path)


@contextlib.contextmanager
def attacked(
    base: Path, seed: int, times: int = 3
) -> Iterator[tuple[Run, Drained, Attacker, Callable[[], float]]]:
    """A service on a recording of `times` 250 frames, an attacker, and the count of bad messages."""
    clip = repeated(SAMPLE, times, base / "clip.mp4")
    write_plugin(base)
    with socketlib.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = base / "config.yaml"
    config.write_text(
        f"version: 1\nstreams: {{lobby: {{path: {clip}}}}}\nplugins: [temporal.py]\n"
        "classifiers: [cnn, {name: memory, smoothing: hmm}]\n"
        "sinks: [{name: jsonl, path: results.jsonl}, {name: sqlite, path: results.db}]\n"
        f"metrics: {{listen: '127.0.0.1:{port}'}}\n"
    )

    def bad() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("streamfer_bad_messages_total{")
        )

    with Run("run", config, env={"XDG_RUNTIME_DIR": str(base)}) as run:
        assert run.process.stderr is not None
        printed = Drained(run.process.stderr)
        (runtime,) = wait_until(lambda: list(base.glob("streamfer-*")), "the runtime directory")
        wait_until(lambda: len([one for one in runtime.iterdir() if one.is_socket()]) == 6, "all sockets")
        wait_until(lambda: (base / "results.jsonl").exists() and lines(base / "results.jsonl"), "a result")
        attacker = Attacker(runtime, seed, lambda: run.process.poll() is not None)
        try:
            yield run, printed, attacker, bad
        finally:
            attacker.close()


def test_a_service_goes_on_under_broken_messages(base: Path) -> None:
    times = cases(2, 24)
    with attacked(base, 3, times) as (run, printed, attacker, bad):
        rng = attacker.rng
        payloads = valid(rng, 5)
        workers = run.workers()
        count = cases(400, 3000)
        for number in range(count):
            payload = broken(rng, payloads)
            attacker.data(payload)
            attacker.control(payload)
            if number % 50 == 0:
                attacker.raw()
            if number % 100 == 99:  # absurd, but valid: of streams, sinks and workers that nobody knows
                for kind in KINDS:
                    absurd = wire.encode(message(rng, kind, absurd=0.3, stream="nobody", classifier="nobody"))
                    attacker.data(absurd)
                    attacker.control(absurd)
            if number == count // 4:
                wait_until(lambda: bad() > count // 4, "bad messages are counted")
                assert run.workers() == workers  # nobody was replaced
            if attacker.over():
                break
        print(f"{attacker.sent} messages sent")
        assert attacker.sent > 2 * count
        error = printed.text()
        assert run.process.wait(60) == 0, error
    assert "Traceback" not in error, error
    assert "starting it again" not in error
    assert max(map(len, error.splitlines())) < 500  # messages are not quoted in full
    assert_complete(base, 250 * times)
    (base / "undisturbed").mkdir()
    done = streamfer(
        "run",
        base / "config.yaml",
        "--set",
        "sinks.0.path=undisturbed/results.jsonl",
        "--set",
        "sinks.1.path=undisturbed/results.db",
        "--set",
        "metrics=false",
    )
    assert done.returncode == 0, done.stderr
    for classifier in ("cnn", "memory"):
        disturbed, undisturbed = (
            [line for line in lines(folder / "results.jsonl") if line["classifier"] == classifier]
            for folder in (base, base / "undisturbed")
        )
        assert disturbed == undisturbed


def test_absurd_values_of_known_streams_kill_nobody(base: Path) -> None:
    """Whoever forges valid messages can forge results (docs/security.md): but nobody falls over them."""
    with attacked(base, 4, cases(1, 12)) as (run, printed, attacker, _):
        rng = attacker.rng
        before = run.workers()
        ring = Ring(64, 48, 2)
        slot = ring.write(0, view_i420(bytes(i420_size(64, 48)), 64, 48, full_range=False))
        known = {"stream": "lobby", "slot": slot, "ring": slot.ring, "nonce": slot.nonce}
        for number in range(cases(30, 300)):
            known["classifier"] = ("cnn", "memory")[number % 2]
            for kind in (*get_args(wire.Data), wire.Log, wire.Lease, wire.Condition):
                absurd = message(rng, kind, absurd=0.3, **known)
                attacker.data(wire.encode(absurd))
                attacker.control(wire.encode(absurd))
        ring.close()
        assert attacker.over() or run.workers() == before, printed.text()
        run.process.send_signal(signal.SIGINT)
        run.process.send_signal(signal.SIGINT)
        error = printed.text()
    assert "Traceback" not in error, error
    assert "starting it again" not in error


# ---- what the pieces refuse --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"seq": -1},
        {"seq": 2**63},
        {"epoch": -1},
        {"attempt": 2**64 - 1},
        {"credit": -8},
        {"captured": float("nan")},
        {"pts": float("inf")},
        {"seconds": float("nan")},
        {"skipped": {"overload": -3}},
    ],
    ids=str,
)
def test_numbers_that_no_sink_could_write_are_refused(values: dict[str, Any]) -> None:
    frame = message(random.Random(7), wire.Frame, stream="lobby")
    assert wire.decode_data(wire.encode(frame)) == frame
    with pytest.raises(wire.WireError, match=r"Expected `(int|float)`"):
        wire.decode_data(wire.encode(msgspec.structs.replace(frame, **values)))


def test_boxes_are_numbers() -> None:
    frame = message(random.Random(7), wire.Frame, stream="lobby")
    for number in (float("nan"), float("inf")):
        face = wire.FoundFace(1, (1.0, 2.0, number, 4.0), 0.9, "small")
        with pytest.raises(wire.WireError, match="Expected `float`"):
            wire.decode_data(wire.encode(wire.Found(frame, [face])))


def face(**changes: Any) -> dict[str, Any]:
    """A face in the results of a temporal classifier whose answers are smoothed, as it is sent."""
    answer = {"label": "happy", "confidence": 0.5, "probabilities": {"happy": 0.5, "sad": 0.5}}
    window = {"frames": 6, "filled": 2, "span_ms": 80.0}
    whole = {"track": 1, "box": [1.0, 2.0, 3.0, 4.0], "score": 0.9, "status": "warming", **answer}
    return {**whole, "window": window, "raw": answer, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "cold"},
        {"window": None},
        {"window": []},
        {"window": {"frames": 6, "filled": 2}},
        {"window": {"frames": -1, "filled": 2, "span_ms": 80.0}},
        {"window": {"frames": 6, "filled": 2**54, "span_ms": 80.0}},
        {"window": {"frames": 6, "filled": 1.5, "span_ms": 80.0}},
        {"window": {"frames": 6, "filled": 2, "span_ms": float("inf")}},
        {"raw": None},
        {"raw": {}},
        {"raw": {"label": None, "confidence": 0.5, "probabilities": {}}},
        {"raw": {"label": "happy", "confidence": float("nan"), "probabilities": {}}},
        {"raw": {"label": "happy", "confidence": 0.5, "probabilities": None}},
        {"raw": {"label": "happy", "confidence": 0.5, "probabilities": {"happy": float("inf")}}},
        {"probabilities": {"happy": float("nan")}},
    ],
    ids=str,
)
def test_windows_and_raw_answers_are_what_they_should_be(changes: dict[str, Any]) -> None:
    frame = message(random.Random(7), wire.Frame, stream="lobby")

    def sent(one: dict[str, Any]) -> bytes:
        scored = msgspec.msgpack.decode(wire.encode(wire.Scored(frame, "memory", [])))
        scored[3] = [one]
        return msgspec.msgpack.encode(scored)

    whole = wire.decode_data(sent(face()))
    assert isinstance(whole, wire.Scored)
    assert whole.faces == [msgspec.convert(face(), Face)]
    with pytest.raises(wire.WireError, match=r"Expected|missing required|Invalid enum"):
        wire.decode_data(sent(face(**changes)))


def test_a_face_is_not_found_warming() -> None:
    """That is the classifier's to say."""
    frame = message(random.Random(7), wire.Frame, stream="lobby")
    found = wire.Found(frame, [wire.FoundFace(1, (1.0, 2.0, 3.0, 4.0), 0.9, "warming")])  # type: ignore[arg-type]
    with pytest.raises(wire.WireError, match="Invalid enum value 'warming'"):
        wire.decode_data(wire.encode(found))


def test_whatever_faces_and_times_come_a_temporal_classifier_answers(base: Path) -> None:
    """Repeated and absurd tracks, and times that no clock has."""
    memory = answering(find(Registry.discover([write_plugin(base)]), "memory").spec)
    rng = random.Random(9)
    for _ in range(cases(1_000, 20_000)):
        seconds = rng.choice((*TIMES, rng.uniform(0, 9)))
        tracks = [rng.choice((0, 1, 7, 2**53)) for _ in range(rng.randint(1, 4))]
        crops = np.frombuffer(rng.randbytes(len(tracks) * 48 * 48), np.uint8).reshape(-1, 48, 48, 1)
        rows, states = memory.follow("lobby", seconds, tracks, [crops])
        assert rows.shape == (len(tracks), 2)
        assert np.abs(rows.sum(axis=1) - 1).max() < 1e-3
        assert states is not None
        for state in states:
            msgspec.convert(msgspec.to_builtins(state), WindowState)


def test_an_error_does_not_quote_the_message() -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.decode_data(msgspec.msgpack.encode(["\x1b[2J\n" + "x" * 100_000]))
    assert len(str(refused.value)) <= 200
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["slot", "width", "height", "generation"])
@pytest.mark.parametrize("value", [*ABSURD_INTEGERS, -2, 0, 4096])
def test_a_slot_that_cannot_be_is_gone(name: str, value: int) -> None:
    ring, reader = Ring(64, 48, 4), RingReader()
    slot = ring.write(3, view_i420(bytes(i420_size(64, 48)), 64, 48, full_range=False))
    assert reader.view(slot) is not None
    assert reader.view(msgspec.structs.replace(slot, **{name: value})) is None
    ring.close()


def test_a_ring_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    path = f"/proc/{os.getpid()}/fd/{reading}"
    slot = wire.SlotRef(path, 1, 0, 2, 64, 48, False)
    signal.alarm(20)  # opened in the usual way, it would wait for a writer for ever
    try:
        assert RingReader().view(slot) is None
    finally:
        signal.alarm(0)
        os.close(reading)
