"""The database's view, and which databases are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.sinks import SqliteOptions
from streamfer.sinks.database import APPLICATION_ID, SCHEMA_VERSION
from streamfer.sinks.sqlite import SqliteSink
from streamfer.types import Face, Result

PLANS = [StreamPlan("lobby", ("cnn",))]
FPS = 10


def sink_on(path: Path, *, resume: bool = False) -> SqliteSink:
    sink = SqliteSink(SqliteOptions(path=str(path)))
    sink.open(PLANS, resume=resume)
    return sink


def result(
    seq: int, *faces: Face, classifier: str = "cnn", stream: str = "lobby", pts: float | None = -1.0
) -> Result:
    return Result(
        stream=stream,
        epoch=0,
        seq=seq,
        pts=seq / FPS if pts == -1.0 else pts,
        time=None,
        classifier=classifier,
        faces=list(faces),
    )


def face(track: int, label: str | None, confidence: float = 0.5) -> Face:
    box = (1.0, 2.0, 3.0, 4.0)
    if label is None:
        return Face(track, box, 0.9, "blurred")
    return Face(track, box, 0.9, "ok", label, confidence, {label: confidence})


# ---- the view ----------------------------------------------------------------------------------------------


def expected_runs(shown: list[dict[int, str | None]]) -> list[tuple[int, str, float, float, int]]:
    """Track, label, since, until, frames of each run, worked out frame by frame."""
    runs: list[tuple[int, str, float, float, int]] = []
    current: dict[int, tuple[str | None, int, int]] = {}  # track → label, last frame, index of its run
    for seq, labels in enumerate(shown):
        for track, label in labels.items():
            before, last, index = current.get(track, (None, 0, -1))
            if label is not None and label == before and (seq - last) / FPS <= 1.0:
                _, _, since, _, frames = runs[index]
                runs[index] = track, label, since, seq / FPS, frames + 1
            elif label is not None:
                index = len(runs)
                runs.append((track, label, seq / FPS, seq / FPS, 1))
            current[track] = label, seq, index
    return sorted(runs)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 14),  # frames that the next state lasts
            st.dictionaries(st.integers(1, 3), st.sampled_from(["happy", "sad", None]), max_size=3),
        ),
        max_size=12,
    )
)
@example([(35, {1: "happy"}), (9, {}), (1, {1: "happy"})])  # 4.4 - 3.4 is a little more than 1
def test_view_finds_the_runs(
    tmp_path_factory: pytest.TempPathFactory, states: list[tuple[int, dict[int, str | None]]]
) -> None:
    shown = [labels for frames, labels in states for _ in range(frames)]
    path = tmp_path_factory.mktemp("view") / "r.db"
    sink = sink_on(path)
    for seq, labels in enumerate(shown):
        sink.write(result(seq, *(face(track, label) for track, label in labels.items())), None)
    sink.close()
    db = sqlite3.connect(path)
    found = db.execute("SELECT track, label, since, until, frames FROM who_showed_what_when").fetchall()
    db.close()
    assert sorted(found) == expected_runs(shown)


def test_view_keeps_streams_classifiers_and_means_apart(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink = sink_on(path)
    for seq in range(6):
        sink.write(result(seq, face(1, "happy", 0.4 + seq / 10)), None)
        sink.write(result(seq, face(1, "sad" if seq < 3 else "happy"), classifier="rows"), None)
        sink.write(result(seq, face(1, "happy"), stream="door"), None)
    sink.close()
    db = sqlite3.connect(path)
    rows = db.execute(
        "SELECT stream, classifier, track, label, since, until, frames, round(confidence, 6), first_seq "
        "FROM who_showed_what_when ORDER BY stream, classifier, since"
    ).fetchall()
    db.close()
    assert rows == [
        ("door", "cnn", 1, "happy", 0.0, 0.5, 6, 0.5, 0),
        ("lobby", "cnn", 1, "happy", 0.0, 0.5, 6, 0.65, 0),
        ("lobby", "rows", 1, "sad", 0.0, 0.2, 3, 0.5, 0),
        ("lobby", "rows", 1, "happy", 0.3, 0.5, 3, 0.5, 3),
    ]


def test_view_is_answered_from_the_index(tmp_path: Path) -> None:
    """A question about one track reads that track's entries, not the table."""
    path = tmp_path / "r.db"
    sink_on(path).close()
    db = sqlite3.connect(path)
    plan = db.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM who_showed_what_when "
        "WHERE stream = 'lobby' AND classifier = 'cnn' AND epoch = 0 AND track = 3"
    ).fetchall()
    db.close()
    reads = [step[3] for step in plan if "faces" in step[3] or " f " in step[3]]
    assert len(reads) == 4
    for step in reads:
        assert "COVERING INDEX faces_by_track (stream=? AND classifier=? AND epoch=? AND track=?" in step


def test_frames_without_pts(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink = sink_on(path)
    for seq in range(4):
        sink.write(result(seq, face(1, "happy"), pts=None), None)
    sink.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT since, until, frames FROM who_showed_what_when").fetchall() == [(None, None, 4)]
    db.close()


# ---- opening -----------------------------------------------------------------------------------------------


def refused(path: Path, cause: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StartError, match=cause) as refusal:
        sink_on(path, resume=True)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_versions(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink_on(path).close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    newer = f"its version {SCHEMA_VERSION + 1} is newer than this streamfer's {SCHEMA_VERSION}"
    refused(path, rf"cannot write {path}: {newer}; upgrade")


def test_foreign_database(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE frames (mine TEXT)")
    db.commit()
    db.close()
    refused(path, f"cannot write {path}: a database of another program")


def test_no_database_at_all(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    path.write_text("Dear diary, " * 100)
    refused(path, f"cannot write {path}: file is not a database")


def test_database_that_died_before_its_tables(tmp_path: Path) -> None:
    """Killed between creating the file and the transaction that makes the tables: both leave an empty one."""
    empty, bare = tmp_path / "empty.db", tmp_path / "bare.db"
    empty.touch()
    db = sqlite3.connect(bare)
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    assert bare.stat().st_size > 0
    for path in (empty, bare):
        sink = sink_on(path, resume=True)
        sink.write(result(0), None)
        sink.close()
        sink = SqliteSink(SqliteOptions(path=str(path)))
        assert sink.open(PLANS, resume=True) == {("lobby", "cnn"): Position(0, 1)}
        sink.close()


def test_gap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink = sink_on(path)
    for seq in range(5):
        sink.write(result(seq), None)
    sink.close()
    db = sqlite3.connect(path)
    db.execute("DELETE FROM frames WHERE seq = 2")
    db.commit()
    db.close()
    refused(path, r"r\.db: 4 frames of lobby/cnn where the last is frame 4; cannot resume")


def test_starting_anew_forgets_an_unfinished_log(tmp_path: Path) -> None:
    """The log of a killed run must not be replayed into the new database."""
    path = tmp_path / "r.db"
    sink = sink_on(path)
    sink.write(result(0, face(1, "happy")), None)
    sink.flush()
    files = {one: one.read_bytes() for one in tmp_path.iterdir()}
    assert len(files) == 3
    sink.close()
    for one, content in files.items():
        one.write_bytes(content)
    fresh = sink_on(path)
    fresh.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM frames").fetchone() == (0,)
    db.close()


def test_same_frame_twice_is_an_error(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "r.db")
    sink.write(result(0), None)
    sink.flush()
    sink.write(result(0), None)
    with pytest.raises(OSError, match="UNIQUE constraint failed: frames"):
        sink.flush()
    sink.close()
