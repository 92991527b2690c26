"""A recording played as if live: its pace, the seam of a loop, a slow consumer, flags and options."""

from __future__ import annotations

import time
from itertools import islice, pairwise
from pathlib import Path

import pytest

from streamfer.api import SourceFrame
from streamfer.config import ConfigError, load
from streamfer.errors import BrokenFileError
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import blank_packet, make_clip


def source(path: Path, *, loop: bool = False) -> FileSource:
    made = FileSource(FileOptions(path=path, realtime=True, loop=loop))
    made.open()
    return made


def timed(played: FileSource, count: int | None = None) -> tuple[list[SourceFrame], list[float]]:
    """The first `count` frames (all: None) and when each came, in seconds since the first."""
    frames, times = [], []
    for frame in islice(played.frames(), count):
        frames.append(frame)
        times.append(time.monotonic())
    played.close()
    return frames, [moment - times[0] for moment in times]


def test_frames_come_at_the_pace_of_the_recording(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=50)
    frames, times = timed(source(path))
    assert [frame.pts for frame in frames] == [round(index / 25, 6) for index in range(50)]
    assert 1.8 < times[-1] < 4
    assert all(moment > frame.pts - 0.01 for moment, frame in zip(times, frames, strict=True)), "not early"


def test_pace_follows_uneven_times(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", frames=4, pts=[0, 40, 900, 940])
    frames, times = timed(source(path))
    assert [frame.pts for frame in frames] == [0, 0.04, 0.9, 0.94]
    assert times[1] < 0.8 < times[2], "the pause is where the recording has it"


def test_a_jump_of_the_times_is_not_waited_for(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", frames=3, pts=[0, 40, 3_600_000])
    frames, times = timed(source(path))
    assert frames[-1].pts == 3600
    assert times[-1] < 5


def test_a_recording_without_times_plays_by_its_frame_rate(tmp_path: Path) -> None:
    # A bare H.264 stream carries no PTS; without B-frames the decoder has none to make up either.
    path = make_clip(tmp_path / "clip.h264", frames=10, fps=10, format="h264", codec_options={"bf": "0"})
    frames, times = timed(source(path))
    assert {frame.pts for frame in frames} == {None}
    assert 0.3 < times[-1] < 3


def test_a_loop_goes_on_without_a_seam(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=10)
    looped = source(path, loop=True)
    assert looped.open().frames is None, "it has no end"
    frames, times = timed(looped, 35)
    assert [frame.pts for frame in frames] == [round(index / 25, 6) for index in range(35)]
    assert 1.2 < times[-1] < 3
    assert max(later - sooner for sooner, later in pairwise(times)) < 0.8, "no stall at the seam"
    again, _ = timed(looped, 2)
    assert [frame.pts for frame in again] == [0, 0.04], "opened again, it starts anew"


def test_a_loop_of_a_single_picture_keeps_a_pace(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "still.png", frames=1, codec="png", pix_fmt="rgb24", format="image2")
    frames, times = timed(source(path, loop=True), 11)
    assert 0.3 < times[-1] < 2
    pts = [frame.pts for frame in frames if frame.pts is not None]
    assert pts == sorted(set(pts))


def test_a_slow_consumer_is_not_served_in_a_burst(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=40)
    frames = source(path).frames()
    for _ in islice(frames, 5):
        pass
    time.sleep(1.8)  # the consumer is busy: 1.8 s are 45 frames
    went_on = time.monotonic()
    assert len(list(frames)) == 35
    assert 1.2 < time.monotonic() - went_on < 4


def test_corrupt_frames_stay_flagged(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=12, codec_options={"g": "4", "bf": "0"})
    blank_packet(path, 5, keep=0.3)
    plain = list(FileSource(FileOptions(path=path)).frames())
    frames, _ = timed(source(path, loop=True), 24)
    flags = [frame.corrupt for frame in plain]
    assert any(flags) and not all(flags)
    assert [frame.corrupt for frame in frames] == flags * 2


@pytest.mark.parametrize("loop", [False, True])
def test_a_recording_that_breaks_off_says_so(tmp_path: Path, loop: bool) -> None:
    path = make_clip(tmp_path / "clip.avi", frames=20, codec="mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = source(path, loop=loop).frames()
    with pytest.raises(BrokenFileError, match="breaks off"):
        list(frames)


def test_a_loop_over_a_file_that_vanishes_ends_with_a_reason(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=3)
    frames = source(path, loop=True).frames()
    next(frames)
    path.unlink()
    with pytest.raises(BrokenFileError, match="no such file"):
        list(frames)


def test_closing_midway_lets_go_of_the_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=30)
    played = source(path, loop=True)
    next(iter(played.frames()))
    assert is_open(path)
    played.close()
    assert not is_open(path)


def is_open(path: Path) -> bool:
    return any(fd.exists() and fd.readlink() == path for fd in Path("/proc/self/fd").iterdir())


def test_loop_without_realtime_is_refused(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", frames=1)
    config = tmp_path / "config.yaml"
    text = "version: 1\nstreams:\n  hall:\n    path: clip.mp4\n    loop: true\n"
    text += "classifiers: [cnn]\nsinks: [console]\n"
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert str(caught.value) == (
        f"{config}:5: streams.hall.loop: only a recording played as if live can begin again; "
        "add 'realtime: true'"
    )
    config.write_text(text.replace("loop: true", "loop: true\n    realtime: true"))
    options = load(config).streams[0].source.options
    assert (options["realtime"], options["loop"]) == (True, True)
