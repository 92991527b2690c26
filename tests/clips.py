"""Clips for tests: synthesised with PyAV, or taken from the optional folder of real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

SHARED = Path(__file__).parents[1].parent / "shared" / "media"
SAMPLE = Path(__file__).parents[1] / "streamfer" / "data" / "sample.mp4"


def shared_clips() -> list[Path]:
    """Every real clip that is there, in order of name."""
    found = SHARED.iterdir() if SHARED.is_dir() else []
    return sorted(path for path in found if path.suffix in {".mp4", ".mkv", ".gif"})


def shared_clip(name: str) -> Path:
    """A real clip by file name; the test skips where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"optional clip {path} is not there")
    return path


def moving_pattern(index: int, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """RGB image number `index` of a clip of coloured blocks that wander to the right; size: width, height."""
    width, height = size
    blocks = np.random.default_rng(0).integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(blocks, 16, 0), 16, 1)[:height, :width]
    return np.ascontiguousarray(np.roll(image, 3 * index, axis=1))


def make_clip(
    path: Path,
    *,
    frames: int | Iterable[NDArray[np.uint8] | VideoFrame] = 25,
    size: tuple[int, int] = (320, 240),
    codec: str = "h264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    pts: Iterable[int] | None = None,
    rotation: int = 0,
    hflip: bool = False,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip and return its path.

    `frames` is a number of frames of `moving_pattern`, or the frames: RGB images (height, width, 3) or PyAV
    frames of any format. `pts` are their times in milliseconds (default: one every 1/`fps`). `rotation` is
    how many degrees counter-clockwise a player has to turn the stored picture, to mirror it then (`hflip`).
    `options` go to the container (movflags …), `codec_options` to the encoder (g, bf, crf …).
    """
    if isinstance(frames, int):
        frames = [moving_pattern(index, size) for index in range(frames)]
    times = None if pts is None else iter(pts)
    with av.open(str(path), "w", format=format, options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=dict(codec_options or {}))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        for index, image in enumerate(frames):
            frame = image if isinstance(image, VideoFrame) else VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if times is None else next(times)
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def flip_bytes(path: Path, number: int, count: int = 20) -> None:
    """Flip bytes of a clip's packet `number` (in the order of decoding) in place.

    H.264 has no checksums: a decoder notices most such damage, not all. `blank_packet` it always notices.
    """
    position, size = _packet(path, number)
    data = bytearray(path.read_bytes())
    # The first bytes are left alone: they hold the length and the slice header.
    for offset in np.random.default_rng(number).integers(min(40, size // 2), size, count):
        data[position + int(offset)] ^= 0xFF
    path.write_bytes(data)


def blank_packet(path: Path, number: int, keep: float = 0.0) -> None:
    """Overwrite a clip's packet `number` (in the order of decoding) with zeros, all but its first `keep`."""
    position, size = _packet(path, number)
    with path.open("r+b") as file:
        file.seek(position + int(size * keep))
        file.write(bytes(size - int(size * keep)))


def _packet(path: Path, number: int) -> tuple[int, int]:
    packet = packets(path)[number]
    assert packet.pos is not None
    return packet.pos, packet.size


def packets(path: Path) -> list[Packet[VideoStream]]:
    """The video packets of a clip, in the order of decoding."""
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]
