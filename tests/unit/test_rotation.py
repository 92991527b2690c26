"""JSON Lines files that are set aside, compressed and deleted: no line is lost, torn or there twice."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamfer.api import Position, StreamPlan
from streamfer.errors import FatalError, StartError
from streamfer.sinks import JsonlOptions, rotation
from streamfer.sinks.compression import Compressor, sweep
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sinks.stamps import Series, Stamp
from streamfer.types import Face, Result

PLANS = [StreamPlan("lobby", ("cnn",))]
KEY = ("lobby", "cnn")
NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC


def result(
    seq: int, *, at: float | None = NOON, epoch: int = 0, track: int = 1, stream: str = "lobby"
) -> Result:
    face = Face(track, (10.5, 20.0, 30.1, 40.2), 0.97, "ok", "happy", 0.91, {"happy": 0.91, "sad": 0.09})
    return Result(
        stream=stream,
        epoch=epoch,
        seq=seq,
        pts=None,
        time=None if at is None else at + seq / 25,
        classifier="cnn",
        faces=[face],
    )


def sink_on(path: Path, **options: Any) -> JsonlSink:
    return JsonlSink(JsonlOptions.model_validate({"path": str(path), **options}))


def resumed(path: Path, **options: Any) -> tuple[JsonlSink, dict[tuple[str, str], Position]]:
    sink = sink_on(path, **options)
    return sink, sink.open(PLANS, resume=True)


def set_aside(path: Path) -> list[Path]:
    return [one.path for one in Series(path, ("", ".gz")).files()]


def lines_of(path: Path) -> list[bytes]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert not content or content.endswith(b"\n")
    return content.splitlines()


def frames_on_record(path: Path) -> list[int]:
    """The frame of every line in every file, the oldest file first."""
    return [json.loads(line)["seq"] for one in [*set_aside(path), path] for line in lines_of(one)]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- by size, by time --------------------------------------------------------------------------------------


def test_by_size(tmp_path: Path) -> None:
    """A file that was set aside is larger than `size` by less than a line, flushed or not."""
    path = tmp_path / "results.jsonl"
    sink, _ = resumed(path, rotate={"size": "4kB"})
    for seq in range(100):
        sink.write(result(seq), None)
        if seq % 7 == 0:
            sink.flush()
    sink.close()
    files = set_aside(path)
    assert len(files) >= 5
    assert [one.name for one in files] == sorted(one.name for one in files)
    for one in files:
        assert 4000 <= one.stat().st_size < 4000 + len(lines_of(one)[-1]) + 1
    assert path.stat().st_size < 4000
    assert frames_on_record(path) == list(range(100))


def test_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first line after the clock has passed the hour; that line stands in the new file."""
    path = tmp_path / "results.jsonl"
    clock = [NOON - 60.0]
    monkeypatch.setattr(rotation.time, "time", lambda: clock[0])
    sink, _ = resumed(path, rotate={"every": "1h"})
    for seq, at in enumerate((-60.0, -1.0, 1.0, 3599.0, 3 * 3600.0)):
        clock[0] = NOON + at
        sink.write(result(seq, at=NOON + at), None)
        sink.flush()
    sink.close()
    assert [one.name for one in set_aside(path)] == [
        "results-20261121T120001Z.jsonl",
        "results-20261121T150000Z.jsonl",
    ]
    assert [len(lines_of(one)) for one in [*set_aside(path), path]] == [2, 2, 1]
    assert frames_on_record(path) == list(range(5))


def test_the_hour_is_over_also_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    clock = [NOON]
    monkeypatch.setattr(rotation.time, "time", lambda: clock[0])
    for seq, at in enumerate((0.0, 10.0, 3601.0)):
        clock[0] = NOON + at
        sink, _ = resumed(path, rotate={"every": 3600})
        sink.write(result(seq, at=clock[0]), None)
        sink.close()
    assert [len(lines_of(one)) for one in [*set_aside(path), path]] == [2, 1]


def test_positions_never_run_ahead_of_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is not yet in the file when the hour is over, and then never gets there."""
    path = tmp_path / "r.jsonl"
    clock = [NOON]
    monkeypatch.setattr(rotation.time, "time", lambda: clock[0])
    sink, _ = resumed(path, rotate={"every": "1h"})
    sink.write(result(0), None)
    sink.flush()
    sink.write(result(1), None)
    clock[0] += 3600
    sink.write(result(2), None)
    left = {one: one.read_bytes() for one in tmp_path.iterdir()}  # as a kill would leave it
    sink.close()
    for one in tmp_path.iterdir():
        one.unlink()
    for one, content in left.items():
        one.write_bytes(content)
    assert resumed(path, rotate={"every": "1h"})[1] == {KEY: Position(0, 1, last_track=1)}
    assert frames_on_record(path) == [0]


def test_names_rise_whatever_the_clock_does(tmp_path: Path) -> None:
    series = Series(tmp_path / "r.jsonl", ("", ".gz"))
    names = []
    for now in (NOON, NOON, NOON + 0.9, NOON - 86400, NOON + 1, NOON + 5):
        path = series.following(now)
        names.append(path.name)
        path.write_text("{}\n")
        path.rename(path.with_name(path.name + ".gz"))
    assert names == [
        "r-20261121T120000Z.jsonl",
        "r-20261121T120000Z_001.jsonl",
        "r-20261121T120000Z_002.jsonl",
        "r-20261121T120000Z_003.jsonl",
        "r-20261121T120001Z.jsonl",
        "r-20261121T120005Z.jsonl",
    ]
    assert names == sorted(names) == [one.path.name.removesuffix(".gz") for one in series.files()]
    assert Stamp(int(NOON), 999).next() == Stamp(int(NOON) + 1)


def test_files_of_others_are_not_of_the_series(tmp_path: Path) -> None:
    for name in (
        "r.jsonl",
        "r-20261121T120000Z.txt",
        "r-20261121T120000Z.jsonl.gz.part",
        "r-door-20261121T120000Z.jsonl",
        "r-20261321T120000Z.jsonl",
        "r-20261121T120000Z_1.jsonl",
        "ar-20261121T120000Z.jsonl",
    ):
        (tmp_path / name).touch()
    (tmp_path / "r-20261121T120000Z.jsonl").mkdir()
    assert Series(tmp_path / "r.jsonl", ("", ".gz")).files() == []


def test_a_successor_that_waits_gets_the_new_file(tmp_path: Path) -> None:
    """It opened the file before that was set aside, and its lock comes free with it."""
    path = tmp_path / "r.jsonl"
    path.touch()
    first, _ = resumed(path, rotate={"size": 1000})
    second = sink_on(path, rotate={"size": 1000})
    found: list[dict[tuple[str, str], Position]] = []
    waiting = threading.Thread(target=lambda: found.append(second.open(PLANS, resume=True)))
    waiting.start()
    until(lambda: [one.resolve() for one in Path("/proc/self/fd").iterdir()].count(path) == 2)
    for seq in range(5):
        first.write(result(seq), None)
    assert len(set_aside(path)) == 1
    first.close()
    waiting.join()
    assert found[0][KEY].seq == 4
    second.write(result(5), None)
    second.close()
    assert frames_on_record(path) == list(range(6))


def test_recordings_are_refused(tmp_path: Path) -> None:
    sink, _ = resumed(tmp_path / "r.jsonl", rotate={"size": "1MB"})
    with pytest.raises(FatalError, match=r"r\.jsonl: rotate is for live streams, and lobby is a recording"):
        sink.write(result(0, at=None), None)
    sink.close()


def test_starting_anew_forgets_all_files(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 1000})
    for seq in range(20):
        sink.write(result(seq), None)
    sink.close()
    foreign = tmp_path / "r-notes.jsonl"
    foreign.write_text("mine")
    sink = sink_on(path, rotate={"size": 1000})
    assert sink.open(PLANS, resume=False) == {}
    sink.close()
    assert sorted(tmp_path.iterdir()) == [foreign, path]
    assert resumed(path, rotate={"size": 1000})[1] == {}


# ---- going on ----------------------------------------------------------------------------------------------


def test_positions_go_on_over_files(tmp_path: Path) -> None:
    """A stream that has been silent for many files, long deleted, goes on where it was."""
    path = tmp_path / "r.jsonl"
    options = {"rotate": {"size": 1000}, "keep": {"files": 2}}
    sink, _ = resumed(path, **options)
    sink.write(result(7, stream="door", epoch=3, track=99), None)
    for seq in range(100):
        sink.write(result(seq, track=500 if seq == 1 else 2), None)
    sink.close()
    assert len(set_aside(path)) == 2
    for _ in range(2):
        sink, found = resumed(path, **options)
        sink.close()
        assert found == {
            KEY: Position(99, 100, last_track=500),
            ("door", "cnn"): Position(7, 1, last_track=99, epoch=3),
        }


def test_positions_without_their_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Deleted by somebody: the newest files are read back, compressed or not."""
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 1000}, compress=True)
    sink.write(result(7, stream="door"), None)
    for seq in range(100):
        sink.write(result(seq), None)
    until(lambda: all(one.suffix == ".gz" for one in set_aside(path)))
    sink.close()
    positions = tmp_path / "r.jsonl.positions"
    positions.unlink()
    sink, found = resumed(path, rotate={"size": 1000})
    sink.close()
    assert list(found) == [KEY] and found[KEY].seq == 99
    (warning,) = caplog.messages
    assert "r.jsonl.positions is missing" in warning and "only the newest 4 are read back" in warning
    positions.write_text("{")
    with pytest.raises(StartError, match=r"r\.jsonl\.positions: damaged .* delete it"):
        resumed(path, rotate={"size": 1000})


def test_line_out_of_order_over_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 1000})
    for seq in range(20):
        sink.write(result(seq), None)
    sink.close()
    path.write_bytes(lines_of(set_aside(path)[0])[0] + b"\n")
    with pytest.raises(StartError, match=r"r\.jsonl:1: frame 0 of lobby/cnn follows frame"):
        resumed(path, rotate={"size": 1000})


# ---- compressing -------------------------------------------------------------------------------------------


def test_compressed_in_the_background(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 20_000}, compress=True)
    for seq in range(1000):
        sink.write(result(seq), None)
    sink.flush()
    until(lambda: all(one.suffix == ".gz" for one in set_aside(path)))
    sink.close()
    assert len(set_aside(path)) >= 5
    assert frames_on_record(path) == list(range(1000))
    assert {one.suffix for one in tmp_path.iterdir()} == {".gz", ".jsonl", ".positions"}


def test_what_a_death_while_compressing_left_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 1000})
    for seq in range(50):
        sink.write(result(seq), None)
    sink.close()
    first, second, third, *_ = set_aside(path)
    (tmp_path / f"{first.name}.gz.part").write_bytes(gzip.compress(first.read_bytes())[:100])
    (tmp_path / f"{second.name}.gz").write_bytes(gzip.compress(second.read_bytes()))
    foreign = tmp_path / "other.gz.part"
    foreign.touch()
    sweep(path, Series(path, ("", ".gz")))
    assert frames_on_record(path) == list(range(50))
    assert foreign.exists() and third.exists()
    assert not second.exists() and not list(tmp_path.glob("r-*.part"))
    sink, _ = resumed(path, rotate={"size": 1000}, compress=True)
    until(lambda: all(one.suffix == ".gz" for one in set_aside(path)))
    sink.close()
    assert frames_on_record(path) == list(range(50))


def test_a_deleted_file_does_not_come_back_compressed(tmp_path: Path) -> None:
    path = tmp_path / "r-20261121T120000Z.jsonl"
    path.write_bytes(os.urandom(1 << 20) * 10)
    series = Series(tmp_path / "r.jsonl", ("", ".gz"))
    compressor = Compressor(series)
    compressor.start()
    until(lambda: (tmp_path / f"{path.name}.gz.part").exists())
    series.files()[0].delete()
    until(lambda: list(tmp_path.iterdir()) == [])
    compressor.stop()


def test_a_file_being_compressed_keeps_its_name(tmp_path: Path) -> None:
    """Even in the moment in which it gets its ending, no other file may get its stamp, and replace it."""
    series = Series(tmp_path / "r.jsonl", ("", ".gz"))
    compressor = Compressor(series)
    compressor.start()
    for _ in range(100):
        path = series.following(NOON)
        path.write_bytes(b"{}\n")
        compressor.wake()
        while path.exists():
            assert series.following(NOON).name > path.name
    compressor.stop()
    assert len(series.files()) == 100


def test_compressing_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r-20261121T120000Z.jsonl"
    path.write_bytes(os.urandom(1 << 20) * 400)
    series = Series(tmp_path / "r.jsonl", ("", ".gz"))
    compressor = Compressor(series)
    compressor.start()
    until(lambda: (tmp_path / f"{path.name}.gz.part").exists())
    compressor.stop()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# ---- keeping -----------------------------------------------------------------------------------------------


def test_keep_files(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 1000}, keep={"files": 3})
    for seq in range(100):
        sink.write(result(seq), None)
        assert len(set_aside(path)) <= 3
    sink.close()
    kept = frames_on_record(path)
    assert kept == list(range(kept[0], 100)) and len(kept) > 12


def test_keep_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfer.sinks.retention.INTERVAL", 0.0)
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 2000}, keep={"total": "10kB"})
    most = 0
    for seq in range(300):
        sink.write(result(seq), None)
        sink.flush()
        most = max(most, sum(one.stat().st_size for one in [*set_aside(path), path]))
    sink.close()
    assert 8000 < most <= 10_000
    kept = frames_on_record(path)
    assert kept == list(range(kept[0], 300))


def test_total_smaller_than_the_current_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": 2000}, keep={"total": 100})
    for seq in range(50):
        sink.write(result(seq), None)
    sink.close()
    assert set_aside(path) == [] and frames_on_record(path)[-1] == 49
    assert resumed(path, rotate={"size": 2000})[1][KEY] == Position(49, 50, last_track=1)


def test_keep_age(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    now = time.time()
    stamps = [Stamp(int(now - days * 86400)) for days in (40, 31, 29, 1)]
    for seq, stamp in enumerate(stamps):
        (tmp_path / f"r-{stamp}.jsonl").write_bytes(b"")
        assert set_aside(path)[seq].name == f"r-{stamp}.jsonl"
    sink, _ = resumed(path, rotate={"every": "1d"}, keep={"age": "30d"})
    sink.close()
    assert [one.name for one in set_aside(path)] == [f"r-{stamp}.jsonl" for stamp in stamps[2:]]


# ---- a full disk -------------------------------------------------------------------------------------------


def test_full_disk_costs_the_oldest_files(full_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`total` is larger than the disk: the oldest files go, nothing else is lost, and writing goes on."""
    path = full_disk / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": "200kB"}, keep={"total": "1GB"})
    for seq in range(20_000):
        sink.write(result(seq), None)
        if seq % 50 == 49:
            sink.flush()
    sink.close()
    kept = frames_on_record(path)
    assert kept == list(range(kept[0], 20_000)) and len(kept) > 1500
    assert any("no space left on device: deleted" in one for one in caplog.messages)
    assert resumed(path, rotate={"size": "200kB"})[1][KEY] == Position(19_999, 20_000, last_track=1)


def test_full_disk_without_total_ends_the_run(full_disk: Path) -> None:
    path = full_disk / "r.jsonl"
    sink, _ = resumed(path, rotate={"size": "200kB"}, keep={"files": 1000})
    with pytest.raises(OSError, match=r"No space left on device"):
        for seq in range(20_000):
            sink.write(result(seq), None)
            sink.flush()
    sink.close()
    kept = frames_on_record(path)
    assert kept == list(range(kept[-1] + 1))


# ---- death -------------------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {"rotate": {"size": 3000}, "compress": True}

WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.unit.test_rotation import KEY, OPTIONS, result, resumed
sink, found = resumed(Path({path!r}), **OPTIONS)
first = found[KEY].seq + 1 if KEY in found else 0
for seq in range(first, 10**7):
    sink.write(result(seq), None)
    if seq % 5 == 0:
        sink.flush()
        print(seq, flush=True)
"""


def test_killed_at_random(tmp_path: Path) -> None:
    path, safe = tmp_path / "r.jsonl", -1
    chance = random.Random(5)
    code = WRITER.format(root=str(Path(__file__).parents[2]), path=str(path))
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.15))
            process.send_signal(signal.SIGKILL)
            told = [line for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        safe = int(told[-1]) if told else safe
        sink, found = resumed(path, rotate=OPTIONS["rotate"])
        sink.close()
        assert found[KEY].seq >= safe
        assert frames_on_record(path) == list(range(found[KEY].seq + 1))
        assert found[KEY] == Position(found[KEY].seq, found[KEY].seq + 1, last_track=1)
    assert len(set_aside(path)) > 5


def die_at(path: Path, step: int) -> bool:
    """Write in a process that is killed right before it touches the file system for the `step`-th time; false
    if it came to its end before."""
    child = os.fork()
    if child == 0:
        count = [0]

        def touched(event: str, arguments: object) -> None:
            if event in ("open", "os.rename", "os.remove", "os.truncate", "os.scandir", "fcntl.flock"):
                count[0] += 1
                if count[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            logging.disable()
            sys.addaudithook(touched)
            sink, found = resumed(path, **OPTIONS)
            first = found[KEY].seq + 1 if KEY in found else 0
            for seq in range(first, first + 40):
                sink.write(result(seq), None)
                if seq % 5 == 0:
                    sink.flush()
            until(lambda: all(one.suffix == ".gz" for one in set_aside(path)))
            sink.close()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_every_step(tmp_path: Path) -> None:
    """Between any two touches of the file system, in the sink and in the thread that compresses."""
    step = 1
    while die_at(tmp_path / str(step) / "r.jsonl", step):
        path = tmp_path / str(step) / "r.jsonl"
        for _ in range(2):
            sink, found = resumed(path, **OPTIONS)
            sink.close()
            at = found.get(KEY, Position())
            assert frames_on_record(path) == list(range(at.seq + 1))
            assert at.delivered == at.seq + 1
        step += 1
    assert step > 50
    assert frames_on_record(tmp_path / str(step) / "r.jsonl") == list(range(40))
