"""Videos of live streams in files of limited length: when they begin, what they show, which are deleted."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamfer.api import StreamPlan
from streamfer.errors import FatalError
from streamfer.picture import Picture, i420_size, view_i420
from streamfer.sinks import VideoOptions
from streamfer.sinks.clocks import TrueTime
from streamfer.sinks.mp4 import COMMENT
from streamfer.sinks.stamps import Series, Stamp
from streamfer.sinks.video import VideoSink
from streamfer.types import Face, Result

PLANS = [StreamPlan("s", ("cnn",))]
NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC


def picture(width: int = 320, height: int = 180, seed: int | None = None) -> Picture:
    made = view_i420(bytearray(i420_size(width, height)), width, height, full_range=False)
    made.y[:] = 60 if seed is None else np.random.default_rng(seed).integers(16, 235, made.y.shape)
    made.u[:], made.v[:] = 128, 128
    return made


def result(
    seq: int, at: float, *faces: Face, pts: float | None = None, stream: str = "s", epoch: int = 0
) -> Result:
    return Result(
        stream=stream, epoch=epoch, seq=seq, pts=pts, time=NOON + at, classifier="cnn", faces=list(faces)
    )


def sink_on(path: Path, plans: list[StreamPlan] = PLANS, **options: Any) -> VideoSink:
    sink = VideoSink(VideoOptions.model_validate({"path": str(path), **options}))
    sink.open(plans, resume=True)
    return sink


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def shown(path: Path) -> list[tuple[float, np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Each frame's time in seconds and its luma."""
    with av.open(path) as container:
        return [
            (frame.time or 0.0, frame.to_ndarray()[: frame.height]) for frame in container.decode(video=0)
        ]


def times(path: Path) -> list[float]:
    return [round(at, 3) for at, _ in shown(path)]


# ---- when a file begins ------------------------------------------------------------------------------------


def test_by_time(tmp_path: Path) -> None:
    """Each time the clock passes a multiple; named by the first frame, whose place in the file is 0."""
    sink = sink_on(tmp_path / "a.mp4", segment="10m")
    assert list(sink.outputs()) == [str(tmp_path / "a-s-*.mp4")]
    for seq, at in enumerate((-2.0, -1.0, 0.5, 1.5, 599.0, 1200.0)):
        sink.write(result(seq, at), picture())
    sink.close()
    assert names(tmp_path) == [
        "a-s-20261121T115958Z.mp4",
        "a-s-20261121T120000Z.mp4",
        "a-s-20261121T122000Z.mp4",
    ]
    assert [times(tmp_path / name) for name in names(tmp_path)] == [[0.0, 1.0], [0.0, 1.0, 598.5], [0.0]]


def test_by_size(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "a.mp4", segment_size="300kB")
    for seq in range(150):
        sink.write(result(seq, seq / 25), picture(seed=seq))
    sink.close()
    sizes = [(tmp_path / name).stat().st_size for name in names(tmp_path)]
    assert len(sizes) > 3 and all(size >= 300_000 for size in sizes[:-1])
    assert sum(len(times(tmp_path / name)) for name in names(tmp_path)) == 150


def test_resolution_change_begins_a_file_and_a_reconnect_does_not(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "a.mp4", segment="1h")
    sizes = [(320, 180)] * 4 + [(640, 360)] * 4 + [(320, 180)] * 4
    for seq, size in enumerate(sizes):
        sink.write(result(seq, seq / 10, epoch=seq // 2), picture(*size))
    sink.close()
    found = [shown(tmp_path / name) for name in names(tmp_path)]
    assert [(one[0][1].shape, len(one)) for one in found] == [
        ((180, 320), 4),
        ((360, 640), 4),
        ((180, 320), 4),
    ]
    assert names(tmp_path)[1] == "a-s-20261121T120000Z_001.mp4"


def test_resolution_change_while_a_classifier_is_behind(tmp_path: Path) -> None:
    """Frames of both sizes wait for their labels at the same time, and each goes into its file."""
    sink = sink_on(tmp_path / "a.mp4", [StreamPlan("s", ("cnn", "rows"))], segment="1h")
    for classifier in ("cnn", "rows"):
        for seq in range(6):
            one = result(seq, seq / 10)
            sink.write(
                Result(
                    stream="s", epoch=0, seq=seq, pts=None, time=one.time, classifier=classifier, faces=[]
                ),
                picture(320, 180) if seq < 3 else picture(640, 360),
            )
    sink.close()
    assert [[frame.shape[0] for _, frame in shown(tmp_path / name)] for name in names(tmp_path)] == [
        [180, 180, 180],
        [360, 360, 360],
    ]


def test_clock_set_back_and_long_pause_begin_a_file(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "a.mp4", segment="30d")
    for seq, at in enumerate((0.0, 1.0, -500.0, -499.0, 4000.0)):
        sink.write(result(seq, at), picture())
    sink.close()
    assert names(tmp_path) == [
        "a-s-20261121T120000Z.mp4",
        "a-s-20261121T120000Z_001.mp4",
        "a-s-20261121T130640Z.mp4",
    ]
    assert [times(tmp_path / name) for name in names(tmp_path)] == [[0.0, 1.0], [0.0, 1.0], [0.0]]


def test_recordings_are_refused(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "a.mp4", segment="1h")
    with pytest.raises(FatalError, match=r"a-s\.mp4: segments are for live streams, and s is a recording"):
        sink.write(
            Result(stream="s", epoch=0, seq=0, pts=0.0, time=None, classifier="cnn", faces=[]), picture()
        )
    sink.close()


# ---- true time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmented", [True, False])
@pytest.mark.parametrize("with_pts", [True, False])
def test_dropped_frames_leave_their_time(tmp_path: Path, segmented: bool, with_pts: bool) -> None:
    """Of a live stream only some frames come: the video is as long as what it shows, with or without PTS."""
    sink = sink_on(tmp_path / "a.mp4", **({"segment": "1h"} if segmented else {}))
    kept = [0, 1, 2, 10, 11, 40, 41, 100]
    for seq in kept:
        sink.write(result(seq, seq / 25, pts=7.0 + seq / 25 if with_pts else None), picture())
    sink.close()
    (name,) = names(tmp_path)
    assert times(tmp_path / name) == [seq / 25 for seq in kept]


def test_true_time_is_even_and_true() -> None:
    """Jitter of the capture is not shown; a source whose clock runs off, jumps or begins anew is followed."""
    clock = TrueTime()
    even = [clock.seconds(seq / 25, 1000.0 + seq / 25 + 0.01 * (seq % 3), 0) for seq in range(100)]
    assert np.allclose(np.diff(even), 0.04)
    assert clock.seconds(500.0, 1004.0, 0) == 1004.0  # a jump
    assert clock.seconds(500.04, 1004.05, 0) == pytest.approx(1004.04)
    assert clock.seconds(0.0, 1100.0, 1) == 1100.0  # a reconnect
    assert clock.seconds(None, 1101.0, 1) == 1101.0
    drifting = [clock.seconds(seq * 1.001, 2000.0 + seq, 2) - (2000.0 + seq) for seq in range(5000)]
    assert max(abs(off) for off in drifting) <= 1.001


# ---- privacy -----------------------------------------------------------------------------------------------


def roughness(luma: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
    return float(np.abs(np.diff(luma.astype(int), axis=0)).mean())


def test_blur_lingers_over_files(tmp_path: Path) -> None:
    """A face seen right before the clock passes the minute stays hidden in the next file, and so it does
    when the clock is set back."""
    sink = sink_on(tmp_path / "a.mp4", segment="1m", blur=True)
    face = Face(1, (90.0, 60.0, 60.0, 60.0), 0.9, "small")
    sink.write(result(0, -0.1, face), picture(seed=0))
    for seq in range(1, 8):
        sink.write(result(seq, -0.1 + seq / 10), picture(seed=seq))
    for seq in range(8, 12):
        sink.write(result(seq, -700.0 + seq / 10), picture(seed=seq))
    for seq in range(12, 16):
        sink.write(result(seq, -690.0 + seq / 10), picture(seed=seq))
    sink.close()
    found = [shown(tmp_path / name) for name in names(tmp_path)]
    assert [len(one) for one in found] == [1, 7, 8]
    hidden = [roughness(luma[66:114, 96:144]) for one in found for _, luma in one]
    assert max(hidden[:12]) < 12 and min(hidden[12:]) > 30


def test_blur_lingers_over_a_resolution_change(tmp_path: Path) -> None:
    """The place where a face was is hidden where it lies in the new size."""
    sink = sink_on(tmp_path / "a.mp4", segment="1h", blur=True)
    face = Face(1, (80.0, 60.0, 60.0, 60.0), 0.9, "small")
    sink.write(result(0, 0.0, face), picture(seed=0))
    sink.write(result(1, 0.1), picture(640, 360, seed=1))
    sink.close()
    ((_, large),) = shown(tmp_path / names(tmp_path)[1])
    assert roughness(large[124:236, 164:276]) < 12
    assert roughness(large[:90]) > 30 and roughness(large[120:240, 320:]) > 30


# ---- keeping -----------------------------------------------------------------------------------------------


def make_segment(path: Path, seed: int, frames: int = 8) -> None:
    """A video of ours under any name, of some 100 KB."""
    sink = VideoSink(VideoOptions(path=str(path)))
    sink.open(PLANS, resume=False)
    for seq in range(frames):
        sink.write(result(seq, seq / 25), picture(seed=seed * 100 + seq))
    sink.close()


def test_keep_age_and_foreign_files(tmp_path: Path) -> None:
    """Only this sink's own segments go: not other streams', not other sinks', not what is not ours."""
    old, new = (Stamp(int(time.time() - days * 86400)) for days in (3, 1))
    for name in (f"a-s-{old}", f"a-s-{new}", f"a-other-{old}", f"b-s-{old}", "a-s", f"a-s-{old}_001"):
        make_segment(tmp_path / f"{name}.mp4", 1)
    foreign = tmp_path / f"a-s-{old}_001.mp4"
    foreign.write_bytes(foreign.read_bytes().replace(COMMENT.encode(), b"x" * len(COMMENT)))
    (tmp_path / f"a-s-{old}_002.mp4").write_text("no video")
    (tmp_path / f"a-s-{old}_003.mp4").touch()  # killed before its first second was over
    before = names(tmp_path)
    sink = sink_on(tmp_path / "a.mp4", segment="10m", keep={"age": "2d"})
    sink.close()
    assert sorted(set(before) - set(names(tmp_path))) == [f"a-s-{old}.mp4", f"a-s-{old}_003.mp4"]


def test_keep_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all streams of the sink; what is being written counts, and stays."""
    monkeypatch.setattr("streamfer.sinks.retention.INTERVAL", 0.0)
    plans = [StreamPlan("x", ("cnn",)), StreamPlan("y", ("cnn",))]
    sink = sink_on(tmp_path / "a.mp4", plans, segment="1s", keep={"total": "2MB"})
    most = 0
    for seq in range(200):
        for plan in plans:
            sink.write(result(seq, seq / 25, stream=plan.name), picture(seed=seq))
        most = max(most, sum(one.stat().st_size for one in tmp_path.iterdir()))
    sink.close()
    assert 1_400_000 < most < 2_400_000  # a fragment of each stream may come at once
    left = names(tmp_path)
    assert {name[:3] for name in left} == {"a-x", "a-y"}
    assert max(left) == "a-y-20261121T120007Z.mp4" and "a-x-20261121T120007Z.mp4" in left


# ---- death, a full disk ------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.unit.test_segments import picture, result, sink_on
sink = sink_on(Path({path!r}), segment="4s")
for seq in range({first}, 10**6):
    sink.write(result(seq, seq / 25), picture(seed=seq))
    print(seq, flush=True)
"""


def test_killed_segments_play_and_are_deleted_in_time(tmp_path: Path) -> None:
    path, first = tmp_path / "a.mp4", 0
    for _ in range(2):
        code = WRITER.format(root=str(Path(__file__).parents[2]), path=str(path), first=first)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= first + 170:
                    break
            process.send_signal(signal.SIGKILL)
            rest = [line for line in process.stdout if line.endswith("\n")]
        first = int(rest[-1] if rest else line) + 1
    files = [one.path for one in Series(path.with_name("a-s.mp4")).files()]
    assert len(files) >= 4
    counted = [len(times(one)) for one in files]
    assert first - 2 * 60 <= sum(counted) <= first  # at most a second or two of each run is lost
    with av.open(files[0]) as whole:
        assert whole.streams.video[0].frames == 100  # finished: an ordinary MP4 of four seconds
    sink = sink_on(path, segment="4s", keep={"total": 1000})
    sink.close()
    assert names(tmp_path) == []


def test_full_disk_costs_the_oldest_segments(full_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_on(full_disk / "a.mp4", segment="1s", keep={"total": "1GB"})
    for seq in range(250):
        sink.write(result(seq, seq / 25), picture(seed=seq))
    sink.close()
    left = names(full_disk)
    assert left[-1] == "a-s-20261121T120009Z.mp4" and 2 <= len(left) < 10
    for name in left:
        assert len(times(full_disk / name)) == 25
    assert any("no space left on device: deleted" in one for one in caplog.messages)


def test_full_disk_without_total_ends_the_run(full_disk: Path) -> None:
    sink = sink_on(full_disk / "a.mp4", segment="1s", keep={"age": "1d"})
    today = math.floor(time.time()) - NOON
    with pytest.raises(OSError, match="No space left on device"):
        for seq in range(2500):
            sink.write(result(seq, today + seq / 25), picture(seed=seq))
    sink.close()
    assert len(times(full_disk / names(full_disk)[0])) == 25
