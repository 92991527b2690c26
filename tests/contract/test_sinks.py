"""Every built-in sink keeps the contract of `api.Sink`, with real files, deaths and full disks."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from streamfer.api import Options, Position, Sink, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture, i420_size, view_i420
from streamfer.sinks import ConsoleOptions, JsonlOptions, SqliteOptions, VideoOptions
from streamfer.sinks.console import ConsoleSink
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sinks.sqlite import SqliteSink
from streamfer.sinks.video import VideoSink
from streamfer.testing import check_live_sink
from streamfer.types import LABELS, Face, Result

PLANS = [StreamPlan("lobby", ("cnn", "rows")), StreamPlan("door", ("cnn",))]
KEYS = [("lobby", "cnn"), ("lobby", "rows"), ("door", "cnn")]

FILES: dict[str, Callable[[Path], Sink]] = {
    "results.jsonl": lambda path: JsonlSink(JsonlOptions(path=str(path))),
    "results.db": lambda path: SqliteSink(SqliteOptions(path=str(path))),
    "annotated.mp4": lambda path: VideoSink(VideoOptions(path=str(path))),
}
DURABLE = ["results.jsonl", "results.db"]


def result(seq: int, stream: str = "lobby", classifier: str = "cnn") -> Result:
    """A frame's result: every 11th is dropped, every 7th has a face without label, every 5th has no face."""
    place = Result(stream=stream, epoch=0, seq=seq, pts=seq / 25, time=None, classifier=classifier, faces=[])
    if seq % 11 == 10:
        return msgspec.structs.replace(place, dropped="corrupt")
    faces = []
    if seq % 5:
        chances = {label: round((seq * 37 % 101 + n) / 1000, 4) for n, label in enumerate(LABELS)}
        label = LABELS[seq // 20 % 7]
        box = (100.5 + seq % 30, 40.0, 60.2, 80.9)
        faces.append(Face(1 + seq // 50, box, 0.97, "ok", label, chances[label], chances))
        if seq % 7 == 0:
            faces.insert(0, Face(100 + seq, (1.0, 2.0, 8.5, 9.5), 0.61, "small"))
    discontinuity = True if seq == 30 else msgspec.UNSET
    return msgspec.structs.replace(place, faces=faces, discontinuity=discontinuity)


def picture(seq: int) -> Picture:
    """A moving gradient, noisy enough to take some 10 KB once it is encoded."""
    width, height = 320, 180
    made = view_i420(bytearray(i420_size(width, height)), width, height, full_range=False)
    noise = np.random.default_rng(seq).integers(0, 16, (height, width))
    made.y[:] = (np.arange(width) + seq * 3) % 200 + 20 + noise
    made.u[:], made.v[:] = 128, 110
    return made


def write(sink: Sink, one: Result) -> None:
    sink.write(one, None if one.dropped is not msgspec.UNSET else picture(one.seq))


def read_jsonl(path: Path) -> list[Result]:
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    return [msgspec.json.decode(line, type=Result) for line in lines]


def read_sqlite(path: Path) -> list[Result]:
    """Every result in the database, in order by stream, classifier and frame."""
    results = []
    with sqlite3.connect(path) as db:
        faces: dict[tuple[object, ...], list[Face]] = {}
        for row in db.execute(
            "SELECT stream, classifier, epoch, seq, track, x, y, w, h, score, status, label, confidence, "
            "probabilities FROM faces ORDER BY stream, classifier, epoch, seq, face"
        ):
            chances = msgspec.json.decode(row[13], type=dict[str, float]) if row[13] else None
            face = Face(row[4], (row[5], row[6], row[7], row[8]), row[9], row[10], row[11], row[12], chances)
            faces.setdefault(row[:4], []).append(face)
        for stream, classifier, epoch, seq, pts, at, discontinuity, dropped in db.execute(
            "SELECT stream, classifier, epoch, seq, pts, time, discontinuity, dropped FROM frames "
            "ORDER BY stream, classifier, epoch, seq"
        ):
            results.append(
                Result(
                    stream=stream,
                    epoch=epoch,
                    seq=seq,
                    pts=pts,
                    time=at,
                    classifier=classifier,
                    faces=faces.get((stream, classifier, epoch, seq), []),
                    discontinuity=True if discontinuity else msgspec.UNSET,
                    dropped=dropped or msgspec.UNSET,
                )
            )
    db.close()
    return results


def read_back(path: Path) -> dict[tuple[str, str], list[Result]]:
    """What a durable sink has kept, by (stream, classifier), in the order of the file."""
    kept: dict[tuple[str, str], list[Result]] = {}
    for one in read_jsonl(path) if path.suffix == ".jsonl" else read_sqlite(path):
        kept.setdefault((one.stream, one.classifier), []).append(one)
    return kept


def frames_in(path: Path) -> int:
    """How many frames a player gets to see; the end of a file cut short is no error to a player."""
    count = 0
    with av.open(path) as container:
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.error.InvalidDataError:
            pass
    return count


def ends_with_a_whole_fragment(path: Path) -> bool:
    data, at, last = path.read_bytes(), 0, b""
    while at < len(data):
        last = data[at + 4 : at + 8]
        at += int.from_bytes(data[at : at + 4], "big")
    return at == len(data) and last == b"mdat"


# ---- round trips -------------------------------------------------------------------------------------------


def test_jsonl_and_sqlite_hold_the_same(tmp_path: Path) -> None:
    for name in DURABLE:
        sink = FILES[name](tmp_path / name)
        assert sink.open(PLANS, resume=False) == {}
        for seq in range(150):
            for stream, classifier in KEYS:
                sink.write(result(seq, stream, classifier), None)
            if seq % 16 == 15:
                sink.flush()
        for stream in ("lobby", "door"):
            sink.end(stream)
        sink.close()
        sink.close()
        assert list(sink.outputs()) == [str(tmp_path / name)]
    expected = {key: [result(seq, *key) for seq in range(150)] for key in KEYS}
    assert read_back(tmp_path / "results.jsonl") == expected
    assert read_back(tmp_path / "results.db") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.db", "results.jsonl"]


@pytest.mark.parametrize("name", DURABLE)
def test_positions_are_read_back(tmp_path: Path, name: str) -> None:
    sink = FILES[name](tmp_path / name)
    assert sink.open(PLANS, resume=True) == {}  # nothing there yet: that is no error
    for seq in range(40):
        for key in KEYS[:2]:
            sink.write(result(seq, *key), None)
    sink.write(result(0, *KEYS[2]), None)
    sink.close()

    sink = FILES[name](tmp_path / name)
    positions = sink.open(PLANS, resume=True)
    sink.close()
    long = Position(seq=39, delivered=37, dropped={"corrupt": 3}, last_track=128)
    assert positions == {KEYS[0]: long, KEYS[1]: long, KEYS[2]: Position(seq=0, delivered=1)}

    sink = FILES[name](tmp_path / name)
    assert sink.open(PLANS, resume=False) == {}
    sink.close()
    assert read_back(tmp_path / name) == {}


@pytest.mark.parametrize("name", DURABLE)
def test_live_results_may_leave_gaps(tmp_path: Path, name: str) -> None:
    """A live source keeps only the newest frames, and begins again at each reconnect."""
    sink = FILES[name](tmp_path / name)
    sink.open(PLANS, resume=False)
    for epoch, seq in ((0, 3), (0, 9), (1, 2)):
        sink.write(msgspec.structs.replace(result(seq), epoch=epoch, time=1.8e9 + seq), None)
    sink.close()
    sink = FILES[name](tmp_path / name)
    assert sink.open(PLANS, resume=True) == {KEYS[0]: Position(2, 3, last_track=1, epoch=1)}
    sink.close()


@pytest.mark.parametrize(
    ("sink", "options", "model"),
    [
        (JsonlSink, {"rotate": {"size": 2000}, "compress": True, "keep": {"files": 2}}, JsonlOptions),
        (JsonlSink, {"rotate": {"every": 1}, "keep": {"total": 5000, "age": "1d"}}, JsonlOptions),
        (SqliteSink, {"keep": {"age": "1d", "size": "1MB"}}, SqliteOptions),
    ],
)
def test_sinks_that_keep_house_go_on_where_they_were(
    tmp_path: Path, sink: Callable[[Any], Sink], options: dict[str, Any], model: type[Options]
) -> None:
    options = {"path": str(tmp_path / "results"), **options}
    check_live_sink(lambda: sink(model.model_validate(options)))


def test_readers_read_while_sqlite_writes(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    sink = FILES[path.name](path)
    sink.open(PLANS, resume=False)
    reader, slow = sqlite3.connect(path, timeout=0), sqlite3.connect(path, timeout=0)
    for seq in range(64):
        sink.write(result(seq), None)
        if seq % 16 == 15:
            sink.flush()
            assert reader.execute("SELECT count(*) FROM frames").fetchone() == (seq + 1,)
        if seq == 20:  # a reader that stays in the middle of reading holds nobody up, and sees one moment
            slow.execute("BEGIN")
            assert slow.execute("SELECT count(*) FROM frames").fetchone() == (16,)
    assert slow.execute("SELECT count(*) FROM frames").fetchone() == (16,)
    reader.close()
    slow.close()
    sink.close()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# ---- death -------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_sinks import FILES, PLANS, KEYS, result, write
sink = FILES[Path({path!r}).name](Path({path!r}))
positions = sink.open(PLANS, resume=True)
first = {first}
if first is None:
    first = {{key: positions[key].seq + 1 if key in positions else 0 for key in KEYS}}
else:
    first = dict.fromkeys(KEYS, first)
for seq in range(10**6):
    for key in KEYS:
        if seq >= first[key]:
            write(sink, result(seq, *key))
    if seq % 16 == 15:
        sink.flush()
        print(seq, flush=True)
"""


def die_writing(path: Path, at_least: int, first: int | None = None) -> int:
    """Run a sink in a process of its own and kill it some time after it has flushed frame `at_least`; the
    last frame that it told was safe."""
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(path), first=first)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        safe = -1
        for line in process.stdout:
            safe = int(line)
            if safe >= at_least:
                break
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                safe = int(line)
    assert process.returncode == -signal.SIGKILL
    return safe


@pytest.mark.parametrize("name", DURABLE)
def test_killed_again_and_again(tmp_path: Path, name: str) -> None:
    """What was flushed is there after a kill, nothing is there twice, and the next sink goes on behind it."""
    path, safe = tmp_path / name, -1
    for _ in range(5):
        safe = die_writing(path, safe + 100)
        sink = FILES[name](path)
        positions = sink.open(PLANS, resume=True)
        sink.close()
        kept = read_back(path)
        for key in KEYS:
            assert positions[key].seq >= safe
            assert kept[key] == [result(seq, *key) for seq in range(positions[key].seq + 1)]


def test_killed_video_plays(tmp_path: Path) -> None:
    """A video whose sink was killed plays to about where it was; the next sink leaves it alone."""
    path = tmp_path / "annotated.mp4"
    safe = die_writing(path, 200)
    lobby = tmp_path / "annotated-lobby.mp4"
    before = lobby.read_bytes()
    # every 11th is dropped; at most a fragment of a second and what the encoder looks ahead is lost
    assert safe * 10 // 11 - 60 <= frames_in(lobby)
    sink = FILES[path.name](path)
    sink.open(PLANS, resume=True)
    for seq in range(safe, safe + 30):
        for key in KEYS:
            write(sink, result(seq, *key))
    sink.close()
    assert lobby.read_bytes() == before
    names = ["annotated-lobby.mp4", "annotated-lobby-2.mp4", "annotated-door.mp4", "annotated-door-2.mp4"]
    assert [Path(one).name for one in sink.outputs()] == names
    assert frames_in(tmp_path / names[1]) in (27, 28)  # every 11th is dropped


# ---- a full disk, no permission ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FILES))
def test_full_disk(full_disk: Path, name: str) -> None:
    path = full_disk / name
    sink = FILES[name](path)
    sink.open(PLANS[1:], resume=False)
    filler = full_disk / "filler"
    filler.write_bytes(bytes(1 << 20))
    seq = safe = 0
    with pytest.raises(OSError, match=r"No space left on device: '.*" + name) as failure:
        for seq in range(100_000):
            write(sink, result(seq, "door"))
            if seq % 16 == 15:
                sink.flush()
                safe = seq
    assert failure.value.errno == 28
    size = path.stat().st_size
    sink.close()
    sink.close()
    assert path.stat().st_size <= size or name == "results.db"  # its log may have moved into it
    if name == "annotated.mp4":
        # the disk was full after about a megabyte: what had been written plays
        assert 25 <= frames_in(path) <= seq
        assert ends_with_a_whole_fragment(path)
        return
    if name == "results.jsonl":
        assert read_jsonl(path)[safe] == result(safe, "door")  # complete lines to the end, without repair
    filler.unlink()
    sink = FILES[name](path)
    position = sink.open(PLANS[1:], resume=True)[KEYS[2]]
    assert safe <= position.seq <= seq
    for number in range(position.seq + 1, position.seq + 50):
        sink.write(result(number, "door"), None)
    sink.close()
    assert read_back(path) == {KEYS[2]: [result(number, "door") for number in range(position.seq + 50)]}


def test_disk_full_at_the_end_of_a_video(full_disk: Path) -> None:
    """The index does not fit any more: the fragments stay, and play."""
    path = full_disk / "annotated.mp4"
    sink = FILES[path.name](path)
    sink.open(PLANS[1:], resume=False)
    for seq in range(100):
        write(sink, result(seq, "door"))
    with pytest.raises(OSError), (full_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        sink.end("door")
    sink.close()
    assert 50 <= frames_in(path) < 91
    assert ends_with_a_whole_fragment(path)


@pytest.mark.parametrize("name", DURABLE)
def test_nothing_is_written_behind_a_failure(full_disk: Path, name: str) -> None:
    """Space that comes back in the middle of a run must not leave a gap in the record."""
    path = full_disk / name
    sink = FILES[name](path)
    sink.open(PLANS[1:], resume=False)
    filler = full_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    seq = 0
    with pytest.raises(OSError, match="No space left"):
        for seq in range(100_000):
            sink.write(result(seq, "door"), None)
            sink.flush()
    filler.unlink()
    with pytest.raises(OSError, match="earlier failure"):
        sink.write(result(seq + 1, "door"), None)
        sink.flush()
    sink.close()
    sink = FILES[name](path)
    sink.open(PLANS[1:], resume=True)  # would refuse a gap
    sink.close()


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("resume", [False, True])
def test_unwritable_place(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / name, Path("/proc/streamfer") / name):
        sink = FILES[name](place)
        with pytest.raises(StartError, match=f"cannot write {place}: ") as refusal:
            sink.open(PLANS, resume=resume)
        assert "\n" not in str(refusal.value)
        sink.close()


@pytest.mark.parametrize("name", list(FILES))
def test_directory_in_place_of_the_file(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    sink = FILES[name](place)
    with pytest.raises(StartError, match=f"cannot write {place}: "):
        sink.open(PLANS[1:], resume=False)
    sink.close()


@pytest.mark.parametrize("name", list(FILES))
def test_missing_directories_are_made(tmp_path: Path, name: str) -> None:
    sink = FILES[name](tmp_path / "a" / "b" / name)
    sink.open(PLANS[1:], resume=False)
    write(sink, result(1, "door"))
    sink.close()
    assert [Path(one).is_file() for one in sink.outputs()] == [True]


def test_console_is_a_sink() -> None:
    sink: Sink = ConsoleSink(ConsoleOptions())
    assert sink.open(PLANS, resume=True) == {}
    for seq in range(40):
        sink.write(result(seq), None)
        sink.flush()
    sink.end("lobby")
    assert list(sink.outputs()) == []
    sink.close()
    sink.close()
