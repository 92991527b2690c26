"""Live mode: nothing waits, everything that is dropped is counted, and whatever dies or hangs is replaced."""

from __future__ import annotations

import signal
import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live import JSON, assert_exact, config, ledger, measured, results, status, stop, wait_for_results
from tests.service import SAMPLE, Run, frame_count, nothing_left, rows, streamfer, wait_until

REPLAY = {"source": "file", "path": str(SAMPLE), "realtime": True, "loop": True}


def scripted(*steps: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"source": "script", "script": list(steps), **options}


def stage(run: Run, name: str) -> dict[str, Any]:
    """A stage, as the service's endpoint tells it."""
    return next(one for one in status(run)["stages"] if one["name"] == name)


def seqs(folder: Path, stream: str = "cam") -> list[int]:
    return [line["seq"] for line in results(folder) if line["stream"] == stream]


def test_a_second_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": REPLAY})
    for count in (60, 140):
        with Run("run", path, *JSON) as run:
            wait_for_results(tmp_path, count)
            error = stop(run)
            nothing_left(run)
        assert_exact(error)
    found = results(tmp_path)
    assert [line["seq"] for line in found] == list(range(len(found)))
    assert {line["epoch"] for line in found} == {0, 1}
    assert [line["seq"] for line in found if line.get("discontinuity")] == [
        next(line["seq"] for line in found if line["epoch"] == 1)
    ]
    first, second = (
        {face["track"] for line in found if line["epoch"] == epoch for face in line["faces"]}
        for epoch in (0, 1)
    )
    assert first and not first & second, "a track id was used for two runs"
    times = [line["time"] for line in found]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 60


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_a_classifier_that_is_too_slow_costs_frames_not_time(drop: str, tmp_path: Path) -> None:
    slow, max_age = 0.4, 0.5  # ten times the distance of two frames
    path = config(
        tmp_path,
        {"cam": {**REPLAY, "drop": drop, "max_age": max_age}},
        classifiers=[{"name": "slow", "seconds": slow}],
        sinks=[
            {"name": "jsonl", "path": str(tmp_path / "results.jsonl")},
            {"name": "measure", "path": str(tmp_path / "ages")},
        ],
    )
    with Run("run", path, *JSON) as run:
        wait_until(
            lambda: (tmp_path / "ages").exists() and len(measured(tmp_path / "ages")) > 30, "30 results"
        )
        began, taken = time.monotonic(), len(measured(tmp_path / "ages"))
        error = stop(run)
    assert_exact(error)
    captured, delivered, dropped, _ = ledger(error)["cam", "slow", "jsonl"]
    assert delivered == len(results(tmp_path))
    assert dropped.get("overload", 0) + dropped.get("max_age", 0) > delivered, "nothing was too much"
    assert set(dropped) <= {"overload", "max_age"}
    ages = sorted(age for *_, age in measured(tmp_path / "ages"))
    p99 = ages[int(0.99 * (len(ages) - 1))]
    assert p99 <= max_age + slow + 0.15, ages[-5:]
    found = results(tmp_path)
    rate = captured / (found[-1]["time"] - found[0]["time"])
    assert rate > 20, f"the source was slowed down: {rate:.1f} frames/s"
    assert began and taken


def test_a_frame_rate_cap_is_kept_and_counted(tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": {**REPLAY, "fps": 5}})
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 25)
        error = stop(run)
    assert_exact(error)
    captured, delivered, dropped, _ = ledger(error)["cam", "cnn", "jsonl"]
    assert set(dropped) == {"fps_cap"}
    assert 4.0 <= captured / delivered <= 6.0
    gaps = [after - before for before, after in zip(seqs(tmp_path), seqs(tmp_path)[1:], strict=False)]
    assert statistics.median(gaps) == 5


@pytest.mark.parametrize(
    "victim", ["capture cam", "detect[0]", "classify cnn[0]", "sink jsonl", "sink measure"]
)
def test_frames_of_a_killed_stage_are_counted_as_lost(victim: str, tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {"cam": REPLAY},
        sinks=[
            {"name": "jsonl", "path": str(tmp_path / "results.jsonl")},
            {"name": "measure", "path": str(tmp_path / "ages")},
        ],
    )
    with Run("run", path, *JSON) as run:
        killed = None
        for turn in range(1, 4):
            wait_for_results(tmp_path, 20 * turn)
            killed = run.kill_worker(victim, other_than=killed)
        run.worker(victim, other_than=killed)
        done = len(results(tmp_path))
        wait_for_results(tmp_path, done + 40)
        error = stop(run)
        nothing_left(run)
    assert error.count(f"{victim}: killed by SIGKILL") == 3
    assert_exact(error)
    books = ledger(error)
    _, delivered, dropped, _ = books["cam", "cnn", "jsonl"]
    assert delivered == len(results(tmp_path)), "the ledger and the file disagree"
    assert set(dropped) <= {"restart", "max_age", "overload"}
    if victim in ("detect[0]", "classify cnn[0]"):
        assert dropped.get("restart"), error
    found = [(line["epoch"], line["seq"]) for line in results(tmp_path)]
    assert found == sorted(set(found))
    epochs = {epoch for epoch, _ in found}
    assert len(epochs) == (4 if victim == "capture cam" else 1)
    if victim in ("detect[0]", "capture cam"):
        assert sum(bool(line.get("discontinuity")) for line in results(tmp_path)) == 3


@pytest.mark.parametrize("victim", ["capture cam", "detect[0]", "classify cnn[0]", "sink jsonl"])
def test_a_stage_that_hangs_is_replaced_within_ten_seconds(victim: str, tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": REPLAY})
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 10)
        worker = run.worker(victim)
        worker.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        run.worker(victim, other_than=worker.pid)
        assert time.monotonic() - began < 10
        done = len(results(tmp_path))
        wait_for_results(tmp_path, done + 20)
        error = stop(run)
        nothing_left(run)
    assert f"{victim}: no sign of life" in error
    assert_exact(error)
    _, delivered, _, _ = ledger(error)["cam", "cnn", "jsonl"]
    assert delivered == len(results(tmp_path))


def test_a_slow_sink_slows_no_other(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {"cam": REPLAY},
        sinks=[
            {"name": "jsonl", "path": str(tmp_path / "results.jsonl")},
            {"name": "measure", "path": str(tmp_path / "slow"), "seconds": 1.0, "as": "slow"},
            {"name": "measure", "path": str(tmp_path / "ages")},
        ],
    )
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 150)
        error = stop(run)
    assert_exact(error)
    books = ledger(error)
    captured, delivered, dropped, _ = books["cam", "cnn", "jsonl"]
    assert (delivered, dropped) == (captured, {})
    assert books["cam", "cnn", "slow"][1] < captured / 10
    assert statistics.median(age for *_, age in measured(tmp_path / "ages")) < 0.3


def test_a_database_that_somebody_locks_costs_time_not_results(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {"cam": REPLAY},
        sinks=[
            {"name": "jsonl", "path": str(tmp_path / "results.jsonl")},
            {"name": "sqlite", "path": str(tmp_path / "results.db")},
        ],
    )
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 20)
        with closing(sqlite3.connect(tmp_path / "results.db", isolation_level=None)) as other:
            wait_until(lambda: locked(other), "the lock")
            done = len(results(tmp_path))
            wait_for_results(tmp_path, done + 60)
            other.execute("ROLLBACK")
        wait_for_results(tmp_path, done + 80)
        error = stop(run)
    assert_exact(error)
    assert "restarts" not in error or '"restarts": 0' in error
    books = ledger(error)
    assert books["cam", "cnn", "sqlite"][:3] == books["cam", "cnn", "jsonl"][:3]
    assert rows(tmp_path / "results.db", "SELECT count(*) FROM frames") == [(len(results(tmp_path)),)]


def locked(database: sqlite3.Connection) -> bool:
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:  # the service is writing
        return False
    return True


def test_streams_share_a_worker_fairly(tmp_path: Path) -> None:
    """Three streams want more than the classifier can give: each gets its third."""
    streams = {name: {**REPLAY, "max_age": 2.0} for name in ("a", "b", "c")}
    streams["a"] = {**streams["a"], "fps": 15}
    path = config(tmp_path, streams, classifiers=[{"name": "slow", "seconds": 0.05}])
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 150)
        error = stop(run)
    assert_exact(error)
    counts = [
        sum(line["stream"] == name and bool(line["faces"]) for line in results(tmp_path)) for name in streams
    ]
    assert max(counts) < 1.35 * min(counts), counts


def test_a_source_is_opened_again_and_again(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {
            "cam": scripted(
                {"lose": "refused"},
                {"frames": 10},
                {"lose": "ended"},
                {"lose": "not_found"},
                {"frames": 5000},
            )
        },
    )
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 40)
        error = stop(run)
    assert_exact(error)
    found = results(tmp_path)
    assert [line["epoch"] for line in found[:11]] == [0] * 10 + [1]
    assert [line["seq"] for line in found] == list(range(len(found)))
    assert [line["seq"] for line in found if line.get("discontinuity")] == [10]
    for reason in ("refused", "ended", "not_found"):
        assert f"the script says {reason}" in error
    assert "cam: live again (epoch 1)" in error


def test_a_library_that_hangs_costs_its_process_only(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {
            "dead": scripted({"frames": 10}, {"hang": 3600}, stale_after=1.0),
            "cam": scripted({"frames": 100000}),
        },
    )
    with Run("run", path, *JSON) as run:
        first = run.worker("capture dead")
        wait_for_results(tmp_path, 20)
        run.worker("capture dead", other_than=first.pid)
        wait_until(lambda: 1 in {line["epoch"] for line in results(tmp_path)}, "the next epoch of dead")
        error = stop(run)
        nothing_left(run)
    assert "dead: no frame for 1 s" in error
    assert "the video library hangs" in error
    assert_exact(error)
    assert seqs(tmp_path) == list(range(len(seqs(tmp_path))))
    assert {line["epoch"] for line in results(tmp_path) if line["stream"] == "cam"} == {0}


def test_a_source_that_blabs_its_password_is_not_heard(tmp_path: Path) -> None:
    """In a log line, in the reason why it gives no frames, in the traceback of its death."""
    steps = [{"frames": 5}, {"lose": "refused"}, {"frames": 20}, {"blab": True}]
    path = config(tmp_path, {"cam": scripted(*steps, password="hunter2-hunter2", retry=0.5)})
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 60)
        shown = str(status(run)) + stop(run)
    for said in ("the password is …", "the script says refused to …", "cannot log in with …"):
        assert said in shown
    assert "hunter2" not in shown


def test_clocks_that_jump_or_are_missing(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {
            "cam": scripted(
                {"frames": 10, "pts": 100.0},
                {"frames": 10, "pts": 5000.0},
                {"frames": 10, "pts": 3.0},
                {"frames": 10, "pts": None},
                {"frames": 10, "pts": 3.2, "step": -0.01},
                {"frames": 5000, "pts": 3.5},
            )
        },
    )
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 70)
        error = stop(run)
    assert_exact(error)
    found = results(tmp_path)
    assert [line["seq"] for line in found if line.get("discontinuity")] == [10, 20]
    assert found[35]["pts"] is None
    assert {line["epoch"] for line in found} == {0}


def test_sizes_that_change_and_frames_that_are_damaged(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        {
            "cam": scripted(
                {"frames": 10},
                {"frames": 10, "size": [321, 241]},
                {"frames": 5, "corrupt": True},
                {"frames": 5000, "size": [128, 96]},
            )
        },
        sinks=[
            {"name": "jsonl", "path": str(tmp_path / "results.jsonl")},
            {"name": "video", "path": str(tmp_path / "seen.mp4")},
        ],
    )
    with Run("run", path, *JSON) as run:
        wait_for_results(tmp_path, 60)
        error = stop(run)
    assert_exact(error)
    dropped = ledger(error)["cam", "cnn", "jsonl"][2]
    assert dropped == {"corrupt": 5}
    assert seqs(tmp_path)[:25] == [*range(20), *range(25, 30)]


def test_a_capture_that_always_dies_ends_no_service(tmp_path: Path) -> None:
    """Its breaker opens, the others go on, and the status says so."""
    path = config(
        tmp_path,
        {
            "dead": scripted({"frames": 5}, {"hang": 3600}, stale_after=60),
            "cam": scripted({"frames": 100000}),
        },
    )
    with Run("run", path, *JSON) as run:
        killed = None
        for _ in range(6):
            killed = run.kill_worker("capture dead", other_than=killed)
        wait_until(lambda: stage(run, "capture dead")["state"] == "broken", "the breaker opens")
        (dead,) = (one for one in status(run)["streams"] if one["name"] == "dead")
        assert (dead["state"], dead["detail"]) == ("reconnecting", "capture dead: killed by SIGKILL")
        done = len(results(tmp_path))
        wait_for_results(tmp_path, done + 30)
        assert "capture dead" not in run.workers()
        error = stop(run)
        nothing_left(run)
    assert "died too often" in error and "trying again each minute" in error
    assert_exact(error)
    assert seqs(tmp_path) == list(range(len(seqs(tmp_path))))


def test_a_recording_played_as_if_live_ends(tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": {"source": "file", "path": str(SAMPLE), "realtime": True}})
    done = streamfer("run", path, *JSON)
    assert done.returncode == 0, done.stderr
    assert_exact(done.stderr)
    assert ledger(done.stderr)["cam", "cnn", "jsonl"][0] == frame_count(SAMPLE)
    assert ledger(done.stderr)["cam", "cnn", "jsonl"][1] == len(seqs(tmp_path)) > 100
