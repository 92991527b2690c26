"""Damaged and truncated recordings: what can be read is read, damaged frames are flagged, an end is told."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from streamfer.api import SourceFrame
from streamfer.errors import BrokenFileError
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import blank_packet, flip_bytes, make_clip, moving_pattern, packets

FRAMES = 60
GROUP = 12  # frames from one key frame to the next
SIZE = (192, 144)


def clip(path: Path, codec: str = "h264", **codec_options: str) -> Path:
    """Moving blocks under noise, so that every packet has something in it to damage."""
    noise = np.random.default_rng(3)
    images = []
    for index in range(FRAMES):
        image = moving_pattern(index, SIZE).astype(int) + noise.integers(-20, 21, (*SIZE[::-1], 3))
        images.append(image.clip(0, 255).astype(np.uint8))
    movflags = {"movflags": "faststart"} if path.suffix in {".mp4", ".mov"} else {}
    return make_clip(
        path,
        frames=images,
        size=SIZE,
        codec=codec,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        options=movflags,
        codec_options={"g": str(GROUP), **codec_options},
    )


def read(path: Path) -> list[SourceFrame]:
    source = FileSource(FileOptions(path=path))
    source.open()
    return list(source.frames())


def differing(whole: list[SourceFrame], damaged: list[SourceFrame]) -> set[float | None]:
    """Times of frames in which more than one pixel in a thousand is visibly off."""
    luma = {frame.pts: frame.picture.y.astype(int) for frame in whole}
    return {frame.pts for frame in damaged if (np.abs(luma[frame.pts] - frame.picture.y) > 8).mean() > 0.001}


@pytest.mark.parametrize("packet", [25, 30, 35])
def test_the_frames_that_damage_spoils_are_flagged(tmp_path: Path, packet: int) -> None:
    path = clip(tmp_path / "clip.mp4", bf="0")
    whole = read(path)
    assert not any(frame.corrupt for frame in whole)
    blank_packet(path, packet, keep=0.5)
    damaged = read(path)

    flagged = {frame.pts for frame in damaged if frame.corrupt}
    spoilt = differing(whole, damaged)
    assert spoilt  # the damage shows, or the test would prove nothing
    assert spoilt <= flagged
    # What comes before the damage and from the next key frame on is sound, and no frame is gone unnoticed.
    next_key = (packet // GROUP + 1) * GROUP
    assert flagged <= {index / 25 for index in range(packet, next_key)}
    assert FRAMES - 1 <= len(damaged) <= FRAMES


def test_flipped_bytes(tmp_path: Path) -> None:
    """The decoder misses some: H.264 has no checksums. But it must see most, and nothing may raise."""
    path = clip(tmp_path / "clip.mp4", bf="0")
    whole, intact = read(path), path.read_bytes()
    seen = 0
    tries = range(14, 38, 2)
    for packet in tries:
        path.write_bytes(intact)
        flip_bytes(path, packet)
        damaged = read(path)
        assert FRAMES - 1 <= len(damaged) <= FRAMES
        flagged = {frame.pts for frame in damaged if frame.corrupt}
        if flagged:
            seen += 1
            assert differing(whole, damaged) <= flagged
    assert seen >= len(tries) / 2


def test_damage_to_a_b_picture_stays_there(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", bf="2", **{"x264-params": "b-pyramid=none:b-adapt=0"})
    with av.open(str(path)) as container:
        types = {frame.pts: frame.pict_type for frame in container.decode(video=0)}
    order = [packet.pts for packet in packets(path)]
    b_picture = next(index for index, pts in enumerate(order) if index > 20 and types[pts] == PictureType.B)
    whole = read(path)
    blank_packet(path, b_picture, keep=0.5)
    damaged = read(path)
    assert [frame.corrupt for frame in damaged].count(True) == 1
    assert differing(whole, damaged) <= {frame.pts for frame in damaged if frame.corrupt}


def test_frames_predicted_from_a_lost_one_are_flagged(tmp_path: Path) -> None:
    """The decoder refuses a packet of zeros and says nothing of the frames that needed it."""
    path = clip(tmp_path / "clip.mp4", bf="0")
    whole = read(path)
    blank_packet(path, 29)
    damaged = read(path)
    assert len(damaged) == FRAMES - 1
    flagged = [frame.pts for frame in damaged if frame.corrupt]
    assert flagged == [index / 25 for index in range(30, 36)]
    assert differing(whole, damaged) <= set(flagged)


def test_a_lost_first_key_frame_costs_no_frame_unnoticed(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", bf="0")
    blank_packet(path, 0)
    damaged = read(path)
    assert len(damaged) == FRAMES - 1
    assert [frame.corrupt for frame in damaged] == [True] * (GROUP - 1) + [False] * (FRAMES - GROUP)


def test_damage_is_not_held_against_a_clip_for_ever(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "long.mp4", frames=120, codec_options={"g": "1000", "bf": "0"})
    blank_packet(path, 20, keep=0.5)
    damaged = read(path)
    assert damaged[20].corrupt or damaged[21].corrupt
    assert not damaged[-1].corrupt


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "h264"),
        ("clip.mov", "mjpeg"),
        ("clip.mkv", "h264"),
        ("clip.webm", "libvpx-vp9"),
        ("clip.avi", "mpeg4"),
        ("clip.flv", "flv1"),
    ],
)
@pytest.mark.parametrize(("cut", "part"), [(20, 0.5), (47, 0.5), (33, 0.0)])
def test_a_truncated_recording(tmp_path: Path, name: str, codec: str, cut: int, part: float) -> None:
    """Cut within packet number `cut`, or right before it."""
    if part == 0 and codec == "flv1":
        pytest.skip("an FLV file that ends between two packets does not show that there were more")
    fast = {"cpu-used": "8", "deadline": "realtime"} if codec == "libvpx-vp9" else {}
    path = clip(tmp_path / name, codec, **fast)
    whole = read(path)
    assert len(whole) == FRAMES
    packet = packets(path)[cut]
    assert packet.pos is not None
    path.write_bytes(path.read_bytes()[: packet.pos + int(packet.size * part)])

    source = FileSource(FileOptions(path=path))
    source.open()
    came = []
    with pytest.raises(BrokenFileError) as caught:
        for frame in source.frames():
            came.append(frame)
    assert cut <= len(came) <= cut + 1
    assert sum(frame.corrupt for frame in came) <= 3
    luma = {frame.pts: frame.picture.y for frame in whole}
    for frame in came:
        assert frame.corrupt or np.array_equal(frame.picture.y, luma[frame.pts])
    message = str(caught.value)
    assert message.startswith(f"{path}: the recording breaks off after {len(came)} of {FRAMES} frames")
    assert "\n" not in message


def test_a_truncated_avi_that_ends_between_two_chunks(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", "mpeg4")
    packet = packets(path)[20]
    assert packet.pos is not None
    path.write_bytes(path.read_bytes()[: packet.pos - 8])
    source = FileSource(FileOptions(path=path))
    with pytest.raises(BrokenFileError, match=f"after 20 of {FRAMES} frames"):
        list(source.frames())


def test_a_truncated_recording_in_fragments(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.mp4",
        frames=60,
        codec_options={"g": "12"},
        options={"movflags": "frag_keyframe+empty_moov"},
    )
    assert len(read(path)) == 60
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    source = FileSource(FileOptions(path=path))
    source.open()
    with pytest.raises(BrokenFileError, match="breaks off"):
        list(source.frames())


@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_a_stream_without_an_end_may_end_anywhere(tmp_path: Path, suffix: str) -> None:
    path = clip(tmp_path / f"clip.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    assert 30 < len(read(path)) < 45
