"""The file source says in one line what is wrong with a file that holds nothing to read."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from streamfer.errors import BrokenFileError, StartError
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import make_clip


def directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def text(path: Path) -> None:
    path.write_text("This is no video.\n" * 400)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(50_000))


def without_index(path: Path) -> None:
    whole = make_clip(path, frames=30).read_bytes()  # the index comes last
    path.write_bytes(whole[: len(whole) * 2 // 3])


def only_an_index(path: Path) -> None:
    whole = make_clip(path, frames=30, options={"movflags": "faststart"}).read_bytes()
    path.write_bytes(whole[: whole.index(b"mdat") + 4])


def cut_within_the_index(path: Path) -> None:
    whole = make_clip(path, frames=30).read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") + 300])


def damaged_index(path: Path) -> None:
    data = bytearray(make_clip(path, frames=30).read_bytes())
    sizes = data.index(b"stsz")
    data[sizes - 4 : sizes] = bytes([0, 0, 0, 1])
    path.write_bytes(data)


def noise_for_an_index(path: Path) -> None:
    data = bytearray(make_clip(path, frames=30).read_bytes())
    start = data.index(b"moov") + 4
    data[start:] = np.random.default_rng(1).bytes(len(data) - start)
    path.write_bytes(data)


def audio(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def cover(path: Path) -> None:
    with av.open(str(path), "w", format="mp3") as container:
        sound = container.add_stream("mp3", rate=44100)
        picture = container.add_stream("mjpeg")
        picture.width = picture.height = 64
        picture.pix_fmt = "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.rate = 44100
        packets = picture.encode(av.VideoFrame(64, 64, "yuvj420p"))
        container.mux(packets + picture.encode())
        container.mux(sound.encode(frame) + sound.encode())


def unknown_codec(path: Path) -> None:
    data = make_clip(path, frames=5).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))


def unreadable_frames(path: Path) -> None:
    """Every sample replaced by noise."""
    data = bytearray(make_clip(path, frames=5).read_bytes())
    with av.open(str(path)) as container:
        entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    for offset, size in entries:
        data[offset : offset + size] = np.random.default_rng(size).bytes(size)
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    unreadable_frames(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"encv"))


CASES: list[tuple[Callable[[Path], None], str, str]] = [
    (directory, "d.mp4", "directory"),
    (empty, "e.mp4", "empty"),
    (fifo, "f.mp4", "not a regular file"),
    (text, "t.mp4", "not a video"),
    (noise, "n.mp4", "not a video"),
    (without_index, "m.mp4", "no complete index (moov atom)"),
    (cut_within_the_index, "k.mp4", "no complete index (moov atom)"),
    (noise_for_an_index, "o.mp4", "not a video"),
    (only_an_index, "i.mp4", "not one frame"),
    (damaged_index, "j.mp4", "not a video"),
    (audio, "a.wav", "no video in it, only audio"),
    (cover, "c.mp3", "only a cover picture"),
    (unknown_codec, "u.mp4", "unknown codec"),
    (unreadable_frames, "r.mp4", "not one frame"),
    (encrypted, "x.mp4", "encrypted"),
]


@pytest.mark.parametrize(("make", "name", "expected"), CASES, ids=[case[0].__name__ for case in CASES])
def test_one_line_says_what_and_where(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    name: str,
    expected: str,
) -> None:
    path = tmp_path / name
    make(path)
    capfd.readouterr()
    source = FileSource(FileOptions(path=path))
    with pytest.raises(StartError) as caught:
        source.open()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message
    assert "; " in message  # what to do
    source.close()
    assert capfd.readouterr() == ("", "")  # FFmpeg's own complaints stay out of the terminal


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"gone\.mp4: no such file"):
        FileSource(FileOptions(path=tmp_path / "gone.mp4")).open()


def test_no_permission(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=2)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(StartError, match=r"clip\.mp4: no permission to read it"):
            FileSource(FileOptions(path=path)).open()
    finally:
        os.seteuid(user)


def test_a_file_that_goes_away_between_two_passes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=2)
    source = FileSource(FileOptions(path=path))
    source.open()
    path.unlink()
    with pytest.raises(BrokenFileError, match="no such file"):
        list(source.frames())


@pytest.mark.parametrize("make", [case[0] for case in CASES if case[0] not in (directory, empty, fifo)])
def test_a_refused_file_is_not_left_open(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(StartError):
        FileSource(FileOptions(path=path)).open()
    held = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert path not in held
