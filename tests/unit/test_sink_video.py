"""What the annotated video shows, when, and in which files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.api import StreamPlan
from streamfer.picture import Picture, i420_size, view_i420
from streamfer.sinks import VideoOptions
from streamfer.sinks import video as video_module
from streamfer.sinks.clocks import Clock
from streamfer.sinks.mp4 import COMMENT, TICKS, encoder
from streamfer.sinks.overlay import GRAY, INK, PALETTE, Mark, draw, pixelate, track_colour
from streamfer.sinks.video import VideoSink
from streamfer.types import Box, Face, Result

BLACK = (16, 128, 128)
DARK = 30
"""Luma of the test pictures; their chroma is neutral."""


def picture(width: int = 320, height: int = 180, luma: int = DARK, *, full_range: bool = False) -> Picture:
    made = view_i420(bytearray(i420_size(width, height)), width, height, full_range=full_range)
    made.y[:], made.u[:], made.v[:] = luma, 128, 128
    return made


def face(track: int = 1, box: Sequence[float] = (120, 60, 60, 70), label: str | None = "happy") -> Face:
    x, y, w, h = box
    if label is None:
        return Face(track, (x, y, w, h), 0.9, "small")
    return Face(track, (x, y, w, h), 0.9, "ok", label, 0.91, {label: 0.91})


def result(
    seq: int,
    *faces: Face,
    pts: float | None = -1.0,
    classifier: str = "cnn",
    stream: str = "s",
    epoch: int = 0,
) -> Result:
    pts = seq / 25 if pts == -1.0 else pts
    return Result(
        stream=stream, epoch=epoch, seq=seq, pts=pts, time=None, classifier=classifier, faces=list(faces)
    )


def sink_for(path: Path, *classifiers: str, blur: bool = False, resume: bool = False) -> VideoSink:
    sink = VideoSink(VideoOptions(path=str(path), blur=blur))
    sink.open([StreamPlan("s", classifiers or ("cnn",))], resume=resume)
    return sink


def decoded(path: Path) -> Iterator[tuple[float, Picture]]:
    """Each frame's time in seconds and its planes."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            flat = frame.to_ndarray().reshape(-1)
            assert frame.time is not None
            yield frame.time, view_i420(flat, frame.width, frame.height, full_range=False)


def share_of(
    shown: Picture, colour: tuple[int, int, int], where: tuple[slice, slice] = (slice(None),) * 2
) -> float:
    """The share of a picture's chroma samples that are of about this colour."""
    rows, columns = (slice(*(None if v is None else v // 2 for v in (s.start, s.stop))) for s in where)
    u, v = shown.u[rows, columns].astype(int), shown.v[rows, columns].astype(int)
    return float(np.mean((abs(u - colour[1]) < 16) & (abs(v - colour[2]) < 16)))


def boxes_of(path: Path) -> list[str]:
    """The top-level boxes of an MP4."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return names


# ---- what is shown -----------------------------------------------------------------------------------------


def test_box_and_label_are_drawn_in_the_tracks_colour(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "a.mp4")
    for seq in range(10):
        sink.write(
            result(seq, face(1), face(2, (20, 60, 50, 60)), face(3, (230, 60, 30, 30), None)), picture()
        )
    sink.close()
    frames = list(decoded(tmp_path / "a.mp4"))
    assert len(frames) == 10
    for _, shown in frames:
        assert share_of(shown, track_colour(1), (slice(34, 132), slice(118, 182))) > 0.2
        assert share_of(shown, track_colour(2), (slice(34, 122), slice(18, 72))) > 0.2
        assert share_of(shown, track_colour(3)) == 0.0  # a face without a label stays gray
        assert shown.y[61, 245] > 100
        assert abs(int(shown.y[170, 300]) - DARK) < 12  # and the rest as it was


def test_every_classifier_is_waited_for(tmp_path: Path) -> None:
    """The slower classifier's label is on the same frame, not on a second one."""
    sink = sink_for(tmp_path / "a.mp4", "cnn", "rows")
    for seq in range(12):
        sink.write(result(seq, face(1)), picture())
    for seq in range(12):
        sink.write(result(seq, face(1, label="sad"), classifier="rows"), picture())
    sink.close()
    single = sink_for(tmp_path / "b.mp4")
    for seq in range(12):
        single.write(result(seq, face(1)), picture())
    single.close()
    both, one = (list(decoded(tmp_path / name)) for name in ("a.mp4", "b.mp4"))
    assert [at for at, _ in both] == [at for at, _ in one]
    for (_, double), (_, simple) in zip(both, one, strict=True):
        assert share_of(double, track_colour(1)) > 1.5 * share_of(simple, track_colour(1))


def test_pixels_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that never delivers: frames are drawn with the labels there are, once, in order."""
    monkeypatch.setattr(video_module, "PENDING_BYTES", 8 * 320 * 180 * 3 // 2)
    sink = sink_for(tmp_path / "a.mp4", "cnn", "rows")
    for seq in range(40):
        sink.write(result(seq, face(1)), picture())
        assert sum(len(one._waiting) for one in sink._recordings.values()) <= 8
    for seq in range(40):  # and when it comes after all, nothing is drawn twice
        sink.write(result(seq, face(1, label="sad"), classifier="rows"), picture())
    sink.close()
    assert [round(at * 25) for at, _ in decoded(tmp_path / "a.mp4")] == list(range(40))


def test_frame_that_one_classifier_lost(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "a.mp4", "cnn", "rows")
    for seq in range(10):
        sink.write(result(seq, face(1)), picture())
        if seq == 4:
            lost = msgspec.structs.replace(result(seq, classifier="rows"), dropped="oldest")
            sink.write(lost, None)
        elif seq != 6:
            sink.write(result(seq, face(1), classifier="rows"), picture())
    sink.close()
    assert len(list(decoded(tmp_path / "a.mp4"))) == 10


def test_dropped_frame_is_left_out(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "a.mp4")
    for seq in range(10):
        if seq in (0, 5):
            sink.write(msgspec.structs.replace(result(seq), dropped="corrupt"), None)
        else:
            sink.write(result(seq), picture())
    sink.close()
    times = [at for at, _ in decoded(tmp_path / "a.mp4")]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.20, 0.24, 0.28, 0.32])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 33), (175, 143), (320, 181), (640, 360)])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_any_size(tmp_path: Path, size: tuple[int, int], codec: str) -> None:
    sink = VideoSink(VideoOptions.model_validate({"path": str(tmp_path / "a.mp4"), "codec": codec}))
    sink.open([StreamPlan("s", ("cnn",))], resume=False)
    for seq in range(5):
        sink.write(result(seq, face(1, (0, 0, size[0], size[1]))), picture(*size, luma=180))
    sink.close()
    frames = list(decoded(tmp_path / "a.mp4"))
    assert len(frames) == 5
    assert (frames[0][1].width, frames[0][1].height) == tuple((side + 1) // 2 * 2 for side in size)


def test_resolution_change_is_letterboxed(tmp_path: Path) -> None:
    """320×180, then a square picture: bars left and right, and the box still around its face."""
    sink = sink_for(tmp_path / "a.mp4")
    for seq in range(5):
        sink.write(result(seq), picture(320, 180, 120))
    for seq in range(5, 10):
        sink.write(result(seq, face(1, (100, 100, 200, 200))), picture(400, 400, 120))
    sink.close()
    frames = [shown for _, shown in decoded(tmp_path / "a.mp4")]
    assert [(one.width, one.height) for one in frames] == [(320, 180)] * 10
    for shown in frames[5:]:
        assert shown.y[90, :60].mean() < 30 and shown.y[90, -60:].mean() < 30  # 180×180 in the middle
        assert abs(float(shown.y[150:, 80:240].mean()) - 120) < 6
        # 100 px of 400 are 45 of 180, and the picture begins at 70
        assert share_of(shown, track_colour(1), (slice(44, 136), slice(116, 118))) > 0.9
        assert share_of(shown, track_colour(1), (slice(60, 120), slice(126, 180))) == 0.0


def test_full_range_pictures_keep_their_look(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "a.mp4")
    for seq, luma in enumerate((0, 128, 255)):
        sink.write(result(seq), picture(luma=luma, full_range=True))
    sink.close()
    shown = [float(one.y.mean()) for _, one in decoded(tmp_path / "a.mp4")]
    assert shown == pytest.approx([16, 126, 235], abs=2)


# ---- privacy -----------------------------------------------------------------------------------------------


def noise(seed: int = 0) -> Picture:
    made = picture(320, 240)
    made.y[:] = np.random.default_rng(seed).integers(16, 235, made.y.shape)
    return made


def test_mosaic_leaves_no_detail() -> None:
    shown = noise()
    before = shown.y.copy()
    pixelate(shown, Box(100, 80, 60, 72))
    inside: NDArray[np.uint8] = shown.y[80:152, 100:160]
    assert len(np.unique(inside)) <= 36
    assert len(np.unique(shown.y[72:80, 100:160])) <= 12  # a margin around the box, too
    assert np.array_equal(shown.y[:60], before[:60]) and np.array_equal(shown.y[:, :80], before[:, :80])


@pytest.mark.parametrize(
    "box", [Box(-50, -50, 20, 20), Box(-30, -30, 60, 60), Box(300, 220, 90, 90), Box(5, 5, 1, 1)]
)
def test_mosaic_at_the_border(box: Box) -> None:
    pixelate(noise(), box)


def test_blur_hides_faces_of_any_status_and_lingers(tmp_path: Path) -> None:
    """Also a face that the detector misses for a moment stays hidden."""
    sink = sink_for(tmp_path / "a.mp4", blur=True)
    spot = (slice(96, 144), slice(96, 144))
    for seq in range(60):
        faces = [face(1, (90, 90, 60, 60), None)] if seq < 10 else []
        sink.write(result(seq, *faces), noise())
    sink.close()
    rough = [
        float(np.abs(np.diff(one.y[spot].astype(int), axis=0)).mean())
        for _, one in decoded(tmp_path / "a.mp4")
    ]
    assert max(rough[:30]) < 12  # 25 frames a second: hidden for another second
    assert min(rough[40:]) > 30


# ---- labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 48), (176, 144), (640, 360), (1920, 1080)])
def test_labels_stay_inside(size: tuple[int, int]) -> None:
    """Wherever the face is, all of its label is on the picture if the picture is wide enough."""
    width, height = size
    lines = (("#1", "surprise", "91%"),)
    areas = set()
    for x in (-0.2, 0.0, 0.45, 0.9):
        for y in (-0.2, 0.0, 0.45, 0.9):
            shown = picture(width, height)
            draw(shown, [Mark(Box(x * width, y * height, 0.0, 0.0), lines, PALETTE[0])])
            areas.add(int((shown.u != 128).sum()))
    if width >= 176:
        assert len(areas) == 1 and areas.pop() > 50


def test_label_is_readable() -> None:
    """Dark ink on every colour, all of the text within the plate."""
    for colour in (*PALETTE, GRAY):
        assert colour[0] - INK[0] > 75
    shown = picture(640, 360)
    draw(shown, [Mark(Box(200, 200, 100, 100), (("#1", "happy", "91%"),), PALETTE[0])])
    plate = shown.y[170:200, 200:320]
    assert plate.min() < 40 < 120 < plate.max()


def test_several_labels_share_a_plate() -> None:
    one, two = picture(640, 360), picture(640, 360)
    draw(one, [Mark(Box(200, 200, 100, 100), (("#1", "cnn", "happy", "91%"),), PALETTE[0])])
    rows = (("#1", "cnn", "happy", "91%"), ("", "rows", "sad", "40%"))
    draw(two, [Mark(Box(200, 200, 100, 100), rows, PALETTE[0])])
    assert (two.u != 128).sum() > (one.u != 128).sum() * 1.3


def test_letters_we_cannot_draw_do_no_harm() -> None:
    draw(picture(), [Mark(Box(10, 60, 50, 50), (("#1", "überrascht 驚き", "91%"),), PALETTE[0])])


def test_neighbouring_tracks_differ() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 10
    assert track_colour(1) != track_colour(2) == track_colour(12)


# ---- time --------------------------------------------------------------------------------------------------


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [10.0, 10.04, 10.5, 10.52, 13.0]
    sink = sink_for(tmp_path / "a.mp4")
    for seq, at in enumerate(times):
        sink.write(result(seq, pts=at), picture())
    sink.close()
    assert [at for at, _ in decoded(tmp_path / "a.mp4")] == pytest.approx(
        [at - 10.0 for at in times], abs=1e-4
    )


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([None, None, None], [0, 2000, 4000]),
        ([None, 0.04, 0.08], [0, 2000, 4400]),
        ([5.0, 5.04, None, 5.12], [0, 2400, 4800, 7200]),
        ([0.0, 0.08, 0.04, 0.12], [0, 4800, 4801, 7200]),
        ([0.0, 0.0, 0.0], [0, 1, 2]),
        ([100.0, 100.04, 3.0, 3.04], [0, 2400, 4800, 7200]),
        ([0.0, 0.04, 9.0], [0, 2400, 540000]),
    ],
)
def test_timestamps_rise(stamps: list[float | None], expected: list[int]) -> None:
    clock = Clock()
    assert [clock.ticks(pts, 0) for pts in stamps] == expected


def test_reconnect_goes_on_at_once() -> None:
    """The source's clock begins anew with each epoch, or jumps by the hours it was away."""
    clock = Clock()
    stamps = [(0.0, 0), (0.04, 0), (7200.0, 1), (7200.04, 1), (0.0, 2)]
    assert [clock.ticks(pts, epoch) for pts, epoch in stamps] == [0, 2400, 4800, 7200, 9600]
    assert TICKS == 60_000


# ---- files -------------------------------------------------------------------------------------------------


def test_finished_file_is_an_ordinary_seekable_mp4(tmp_path: Path) -> None:
    """Not a fragment left, frame count and duration in the index, and a player can jump."""
    path = tmp_path / "a.mp4"
    sink = sink_for(path)
    for seq in range(200):
        sink.write(result(seq, face(1)), picture())
    assert "moof" in boxes_of(path)  # while it grows, it is fragments
    sink.end("s")
    assert boxes_of(path) == ["ftyp", "free", "mdat", "moov"]
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.codec_context.name) == (200, "h264")
        assert stream.duration is not None and stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(8.0, abs=0.05)
        container.seek(int(6.0 / stream.time_base), stream=stream)
        first = next(container.decode(stream))
        assert first.time is not None and 3.0 < first.time <= 6.0
    sink.close()


def test_stream_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    sink = sink_for(tmp_path / "a.mp4")
    sink.write(msgspec.structs.replace(result(0), dropped="corrupt"), None)
    sink.end("s")
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_several_streams_get_a_file_each(tmp_path: Path) -> None:
    sink = VideoSink(VideoOptions(path=str(tmp_path / "a.mp4")))
    sink.open([StreamPlan("lobby", ("cnn",)), StreamPlan("back/door", ("cnn",))], resume=False)
    for stream in ("lobby", "back/door"):
        sink.write(result(0, stream=stream), picture())
    sink.close()
    assert [Path(one).name for one in sink.outputs()] == ["a-lobby.mp4", "a-back%2Fdoor.mp4"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a-back%2Fdoor.mp4", "a-lobby.mp4"]


def test_parts_of_one_stream_are_not_taken_for_another(tmp_path: Path) -> None:
    """Stream "x-2" has a file that looks like the second part of stream "x"."""
    plans = [StreamPlan("x", ("cnn",)), StreamPlan("x-2", ("cnn",))]
    for written in (plans[:1], plans):
        sink = VideoSink(VideoOptions(path=str(tmp_path / "a.mp4")))
        sink.open(plans, resume=True)
        for plan in written:
            sink.write(result(0, stream=plan.name), picture())
        sink.close()
    names = ["a-x.mp4", "a-x-3.mp4", "a-x-2.mp4"]
    assert [Path(one).name for one in sink.outputs()] == names


def test_starting_anew_removes_our_later_parts_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for _ in range(4):
        sink = sink_for(path, resume=True)
        sink.write(result(0), picture())
        sink.close()
    own = tmp_path / "a-3.mp4"
    own.write_bytes(own.read_bytes().replace(COMMENT.encode(), b"x" * len(COMMENT)))
    (tmp_path / "a-4.mp4").write_text("no video")
    sink = sink_for(path)
    assert list(sink.outputs()) == [str(path)]
    sink.write(result(0), picture())
    sink.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a-3.mp4", "a-4.mp4", "a.mp4"]


def test_encoder_falls_back() -> None:
    assert encoder("libx264") == "libx264"
    assert encoder("libx264", {"mpeg4", "vp9"}) == "mpeg4"
