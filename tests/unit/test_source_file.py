"""The file source: pixels, sizes, times, ranges and which way is up, on clips made for the purpose."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from streamfer.api import SourceFrame, SourceInfo
from streamfer.picture import Picture, to_bgr
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import make_clip, moving_pattern


def read(path: Path, **options: int) -> tuple[SourceInfo, list[SourceFrame]]:
    source = FileSource(FileOptions(path=path, **options))
    info = source.open()
    return info, list(source.frames())


def check_shape(picture: Picture, width: int, height: int) -> None:
    chroma = ((height + 1) // 2, (width + 1) // 2)
    assert (picture.y.shape, picture.u.shape, picture.v.shape) == ((height, width), chroma, chroma)
    assert {plane.dtype for plane in (picture.y, picture.u, picture.v)} == {np.dtype(np.uint8)}


def corner_image(size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB: black, with a white block in the upper left and a red one in the upper right corner."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[:32, :32] = 255
    image[:32, -32:] = (255, 0, 0)
    return image


def ramp(pix_fmt: str, color_range: int) -> VideoFrame:
    """A frame 256×64 whose luma runs from 0 to 255 from left to right, without colour."""
    frame = VideoFrame(256, 64, pix_fmt)
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : plane.width] = 128 if index else np.linspace(0, 255, plane.width)
    frame.color_range = color_range
    return frame


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (321, 179), (33, 2), (320, 240)])
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "yuv420p", "mkv"),
        ("ffv1", "yuv444p", "mkv"),
        ("png", "rgb24", "mov"),
        ("rawvideo", "bgr24", "avi"),
        ("rawvideo", "yuv420p", "mkv"),
        ("mpeg4", "yuv420p", "mp4"),
    ],
)
def test_sizes_are_kept_also_odd_ones(
    tmp_path: Path, size: tuple[int, int], codec: str, pix_fmt: str, suffix: str
) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}", frames=3, size=size, codec=codec, pix_fmt=pix_fmt)
    info, frames = read(path)
    assert (info.width, info.height) == size
    assert [frame.corrupt for frame in frames] == [False] * 3
    for index, frame in enumerate(frames):
        check_shape(frame.picture, *size)
        shown = moving_pattern(index, size)[..., ::-1].astype(int)
        # Chroma is shared by 2×2 pixels, so compare the mean of each 16-pixel block's gray.
        gray = np.abs(to_bgr(frame.picture).astype(int).mean(2) - shown.mean(2))
        assert gray.mean() < 12


@pytest.mark.parametrize("size", [(322, 178), (2, 2)])
def test_h264(tmp_path: Path, size: tuple[int, int]) -> None:
    info, frames = read(make_clip(tmp_path / "clip.mp4", frames=30, size=size))
    assert (info.width, info.height, info.frames) == (*size, 30)
    assert info.duration == pytest.approx(1.2)
    assert [frame.pts for frame in frames] == [round(index / 25, 6) for index in range(30)]


def test_h264_of_odd_size(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.mp4", frames=5, size=(321, 179), pix_fmt="yuv444p", codec_options={"crf": "10"}
    )
    info, frames = read(path)
    assert (info.width, info.height) == (321, 179)
    for frame in frames:
        check_shape(frame.picture, 321, 179)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("ffv1", "yuv420p10le"), ("ffv1", "yuv422p"), ("ffv1", "yuva420p"), ("ffv1", "gray"), ("ffv1", "bgra")],
)
def test_other_pixel_formats_show_the_same_picture(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    _, plain = read(make_clip(tmp_path / "plain.mkv", frames=2, codec="ffv1"))
    _, other = read(make_clip(tmp_path / "other.mkv", frames=2, codec=codec, pix_fmt=pix_fmt))
    for one, two in zip(plain, other, strict=True):
        check_shape(two.picture, 320, 240)
        assert not two.picture.full_range
        assert np.abs(one.picture.y.astype(int) - two.picture.y).max() <= 3
        if pix_fmt != "gray":
            assert np.abs(one.picture.u.astype(int) - two.picture.u).mean() < 3


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "full"),
    [
        ("yuv420p", 0, False),
        ("yuv420p", 1, False),
        ("yuv420p", 2, True),
        ("yuv444p", 1, False),
        ("yuv444p", 2, True),
        ("yuvj422p", 2, True),
    ],
)
def test_luma_keeps_its_range_and_says_which(
    tmp_path: Path, pix_fmt: str, color_range: int, full: bool
) -> None:
    encoded = "yuv422p" if pix_fmt == "yuvj422p" else pix_fmt
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 64, encoded
        stream.codec_context.color_range = color_range
        container.mux(stream.encode(ramp(encoded, color_range)))
        container.mux(stream.encode())
    _, (frame,) = read(path)
    assert frame.picture.full_range is full
    assert np.array_equal(frame.picture.y[0], np.linspace(0, 255, 256).astype(np.uint8))


def test_jpeg_is_full_range(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi", frames=1, codec="mjpeg", pix_fmt="yuvj422p")
    _, (frame,) = read(path)
    assert frame.picture.full_range


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [("ffv1", "bgr0", "mkv"), ("ffv1", "gray", "mkv"), ("png", "rgb24", "mov"), ("png", "gray", "mov")],
)
def test_black_and_white_of_rgb_and_gray(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    """Whichever range such a frame gets, the picture's flag tells the truth about it."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    path = make_clip(tmp_path / f"clip.{suffix}", frames=[image], size=(64, 64), codec=codec, pix_fmt=pix_fmt)
    _, (frame,) = read(path)
    picture = frame.picture
    assert (picture.y[0, 0], picture.y[0, -1]) == ((0, 255) if picture.full_range else (16, 235))


@pytest.mark.parametrize(
    ("rotation", "hflip", "white", "red"),
    [
        (0, False, (0, 0), (0, 1)),
        (90, False, (1, 0), (0, 0)),
        (180, False, (1, 1), (1, 0)),
        (270, False, (0, 1), (1, 1)),
        (-90, False, (0, 1), (1, 1)),
        (0, True, (0, 1), (0, 0)),
        (90, True, (1, 1), (0, 1)),
    ],
)
def test_the_picture_is_upright(
    tmp_path: Path, rotation: int, hflip: bool, white: tuple[int, int], red: tuple[int, int]
) -> None:
    """The stored picture has a white block upper left and a red one upper right; (row, column) tells where
    they are after turning it counter-clockwise by `rotation`, then mirroring it."""
    size = (320, 192)
    path = make_clip(
        tmp_path / "clip.mp4",
        frames=[corner_image(size)] * 4,
        size=size,
        rotation=rotation,
        hflip=hflip,
    )
    info, frames = read(path)
    upright = size if rotation % 180 == 0 else size[::-1]
    assert (info.width, info.height) == upright
    assert len(frames) == 4
    for frame in frames:
        check_shape(frame.picture, *upright)
        bgr = to_bgr(frame.picture)
        corners = {
            (row, column): bgr[-10 if row else 10, -10 if column else 10].astype(int)
            for row in (0, 1)
            for column in (0, 1)
        }
        assert corners.pop(white).min() > 200
        blue, green, reddish = corners.pop(red)
        assert reddish > 180 and max(blue, green) < 90
        assert max(corner.max() for corner in corners.values()) < 60


def test_true_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 40, 50, 200, 1200, 1233]
    path = make_clip(tmp_path / "clip.mkv", frames=6, pts=times, codec="ffv1")
    _, frames = read(path)
    assert [frame.pts for frame in frames] == [time / 1000 for time in times]


def test_times_are_none_where_the_file_has_none(tmp_path: Path) -> None:
    info, frames = read(make_clip(tmp_path / "clip.h264", frames=5, format="h264"))
    assert [frame.pts for frame in frames] == [None] * 5
    assert (info.frames, info.duration) == (None, None)


def test_a_picture_with_a_colour_profile() -> None:
    """In a process of its own: reading such a frame's side data crashes when it is collected."""
    portrait = Path(__file__).parents[2] / "tools" / "portraits" / "astronaut.png"
    code = (
        "import gc, sys; from streamfer.sources import FileOptions; "
        "from streamfer.sources.file import FileSource; source = FileSource(FileOptions(path=sys.argv[1])); "
        "source.open(); print(len(list(source.frames()))); gc.collect()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(portrait)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_the_size_may_change_midway(tmp_path: Path, suffix: str) -> None:
    format = {"ts": "mpegts", "h264": "h264"}[suffix]
    parts = [
        make_clip(tmp_path / f"{size[0]}.{suffix}", frames=10, size=size, format=format)
        for size in ((320, 240), (176, 144))
    ]
    path = tmp_path / f"both.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    info, frames = read(path)
    assert (info.width, info.height) == (320, 240)
    assert [(frame.picture.width, frame.picture.height) for frame in frames] == (
        [(320, 240)] * 10 + [(176, 144)] * 10
    )
    expected = moving_pattern(0, (176, 144))[..., ::-1].astype(int)
    assert np.abs(to_bgr(frames[10].picture).astype(int) - expected).mean() < 25


def test_gif_with_transparency(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.gif", frames=[corner_image((65, 49))] * 3, size=(65, 49), codec="gif", pix_fmt="rgb8"
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).format.name == "bgra"
    info, frames = read(path)
    assert (info.width, info.height, len(frames)) == (65, 49, 3)
    for frame in frames:
        check_shape(frame.picture, 65, 49)
        assert frame.picture.y[5, 5] > 225 and frame.picture.y[-5, 5] < 25
        assert not frame.picture.full_range


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_planes_are_views_of_a_frame(tmp_path: Path, pix_fmt: str) -> None:
    path = make_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", pix_fmt=pix_fmt)
    for frame in FileSource(FileOptions(path=path)).frames():
        picture = frame.picture
        assert all(isinstance(plane.base, VideoPlane) for plane in (picture.y, picture.u, picture.v))


def test_a_frame_is_freed_at_once(tmp_path: Path) -> None:
    """Without Python's cyclic collector: else a pass over a long file would pile up frames."""
    path = make_clip(tmp_path / "clip.mp4", frames=20)
    gc.collect()
    gc.disable()
    try:
        for _ in FileSource(FileOptions(path=path)).frames():
            pass
        alive = sum(isinstance(thing, VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 1  # the codec keeps a spare


@pytest.mark.parametrize("threads", [1, 2])
def test_two_passes_are_the_same_bit_for_bit(tmp_path: Path, threads: int) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=40, codec_options={"bf": "3", "g": "12"})

    source = FileSource(FileOptions(path=path, threads=threads))
    source.open()
    passes = [
        [(f.pts, f.corrupt, f.picture.y.tobytes(), f.picture.u.tobytes()) for f in source.frames()]
        for _ in range(2)
    ]
    assert len(passes[0]) == 40
    assert passes[0] == passes[1]
    times = [entry[0] for entry in passes[0]]
    assert times == sorted(times, key=lambda time: time or 0.0)


def test_close_ends_a_pass_and_can_be_repeated(tmp_path: Path) -> None:
    source = FileSource(FileOptions(path=make_clip(tmp_path / "clip.mp4", frames=10)))
    source.open()
    frames = source.frames()
    first = next(frames)
    kept = first.picture.y.copy()
    source.close()
    source.close()
    assert list(frames) == []
    assert np.array_equal(first.picture.y, kept)  # a picture that is held stays valid
    assert len(list(source.frames())) == 10


def test_a_new_pass_ends_the_one_before(tmp_path: Path) -> None:
    source = FileSource(FileOptions(path=make_clip(tmp_path / "clip.mp4", frames=10)))
    before = source.frames()
    next(before)
    assert len(list(source.frames())) == 10
    assert list(before) == []


def test_a_name_that_looks_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "clip.mp4", frames=2).rename(tmp_path / "lobby:1 50%d.mp4")
    monkeypatch.chdir(tmp_path)
    _, frames = read(Path("lobby:1 50%d.mp4"))
    assert len(frames) == 2
