"""Nothing is lost: whatever process is killed, every frame stands in the results exactly once, in order."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.service import (
    SAMPLE,
    Run,
    assert_complete,
    frame_count,
    lines,
    nothing_left,
    repeated,
    streamfer,
    wait_until,
)

TURNS = 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repeated(SAMPLE, TURNS, tmp_path_factory.mktemp("clip") / "long.mp4")


@pytest.fixture(scope="module")
def frames(clip: Path) -> int:
    return frame_count(clip)


def progress(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_ledger(error: str, frames: int) -> None:
    """The printed books add up for every sink."""
    found = re.findall(r"│\s*(\d+)\s*│\s*(\d+)\s*│\s*(\w+)\s*│\s*(\d+)\s*│", error)
    assert found, error
    for captured, delivered, dropped, in_flight in found:
        assert (int(captured), int(delivered), dropped, int(in_flight)) == (frames, frames, "0", 0), error


@pytest.mark.parametrize(
    "victim", ["capture long", "detect[0]", "classify cnn[0]", "sink jsonl", "sink sqlite", "sink video"]
)
def test_a_killed_worker_costs_nothing(victim: str, clip: Path, frames: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out, "--video") as run:
        killed = None
        for turn in range(1, 4):
            wait_until(lambda turn=turn: progress(out) > turn * frames // 5, f"{turn}/5 of the frames")
            killed = run.kill_worker(victim, other_than=killed)
        status, error = run.finish()
        nothing_left(run)
    assert status == 0, error
    assert error.count(f"{victim}: killed by SIGKILL") == 3
    assert_complete(out, frames)
    assert_ledger(error, frames)
    assert_tracks_are_never_used_again(out)


def assert_tracks_are_never_used_again(out: Path) -> None:
    """Behind a discontinuity all track ids are new, and what dies leaves a discontinuity."""
    before: set[int] = set()
    current: set[int] = set()
    discontinuities = 0
    for line in lines(out / "results.jsonl"):
        if line.get("discontinuity"):
            before |= current
            current = set()
            discontinuities += 1
        current |= {face["track"] for face in line["faces"]}
        assert not before & current, line
    assert discontinuities


def test_a_discontinuity_is_marked(clip: Path, frames: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out) as run:
        wait_until(lambda: progress(out) > frames // 3, "a third of the frames")
        run.kill_worker("detect[0]")
        status, error = run.finish()
    assert status == 0, error
    marked = [line["seq"] for line in lines(out / "results.jsonl") if line.get("discontinuity")]
    assert len(marked) == 1 and marked[0] > frames // 3


def test_two_workers_killed_at_once(clip: Path, frames: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out) as run:
        wait_until(lambda: progress(out) > frames // 3, "a third of the frames")
        for victim in ("capture long", "sink jsonl", "detect[0]"):
            run.kill_worker(victim)
        status, error = run.finish()
    assert status == 0, error
    assert_complete(out, frames)
    assert_tracks_are_never_used_again(out)


def test_a_sink_killed_at_the_start_does_not_take_over_what_is_to_be_replaced(tmp_path: Path) -> None:
    out, clip = tmp_path / "out", tmp_path / "clip.mp4"
    shutil.copy(SAMPLE, clip)
    assert streamfer("run", clip, "--out", out).returncode == 0
    make_clip(clip, frames=60)
    with Run("run", clip, "--out", out, "--overwrite") as run:
        run.kill_worker("sink jsonl")
        status, error = run.finish()
    assert status == 0, error
    assert "sink jsonl: killed by SIGKILL" in error
    assert_complete(out, 60)


def test_a_killed_supervisor_leaves_nothing_and_resume_completes(
    clip: Path, frames: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as runtime,  # tmp_path is too long for a socket's path
        Run("run", clip, "--out", out, env={"XDG_RUNTIME_DIR": runtime}) as run,
    ):
        wait_until(lambda: progress(out) > frames // 3, "a third of the frames")
        assert list(Path(runtime).iterdir()), "the runtime directory is where this test looks"
        assert len(run.workers()) == 5
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(10)
        workers = list(run._seen.values())
        wait_until(lambda: not any(worker.is_running() for worker in workers), "no worker is left", timeout=5)
        wait_until(lambda: not list(Path(runtime).iterdir()), "no socket is left", timeout=5)
    assert progress(out) < frames
    done = streamfer("run", clip, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on at frame" in done.stderr
    assert_complete(out, frames)
    assert_tracks_are_never_used_again(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_and_resume_completes(
    number: signal.Signals, clip: Path, frames: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out) as run:
        wait_until(lambda: progress(out) > frames // 4, "a quarter of the frames")
        run.process.send_signal(number)
        status, error = run.finish()
        nothing_left(run)
    assert status == 130, error
    done = progress(out)
    assert 0 < done < frames
    assert_complete(out, done)  # what was under way is finished, in both files alike
    assert_ledger(error, done)
    again = streamfer("run", clip, "--out", out, "--resume")
    assert again.returncode == 0, again.stderr
    assert_complete(out, frames)


def test_a_second_signal_ends_at_once(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out) as run:
        wait_until(lambda: progress(out) > 10, "some frames")
        # A stopped worker cannot finish: without the second signal this run would wait for it.
        run.worker("classify cnn[0]").send_signal(signal.SIGSTOP)
        run.process.send_signal(signal.SIGINT)
        run.process.send_signal(signal.SIGTERM)
        status, error = run.finish(timeout=15)
        nothing_left(run)
    assert status == 130, error


def test_a_worker_that_always_dies_opens_the_breaker(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Run("run", clip, "--out", out) as run:
        wait_until(lambda: progress(out) > 10, "some frames")
        killed = None
        while run.process.poll() is None:
            found = run.workers().get("classify cnn[0]")
            if found is not None and found.pid != killed:
                killed = found.pid
                found.kill()
        status, error = run.finish()
        nothing_left(run)
    assert status == 4, error
    assert "classify cnn[0]: died 6 times without finishing a frame" in error.splitlines()[-1]


def test_two_runs_give_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        done = streamfer("run", SAMPLE, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    first, second = (tmp_path / name / "results.jsonl" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 10_000
