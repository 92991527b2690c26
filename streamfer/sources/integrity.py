"""Tells damaged frames from sound ones, and a recording that breaks off from one that ends."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

_DOUBT_FRAMES = 60
"""How long damage is held against the frames that follow when no key frame comes: there are recordings with
one key frame at the start, which mend piece by piece (intra refresh)."""
_PARTIAL_MAX = 64
"""How many partial packets are remembered: more than a decoder holds back."""


class DamageTracker:
    """Decides which frames of one pass are corrupt.

    The decoder flags a frame in which it had to conceal something, but neither the frames predicted from it
    nor those predicted from a picture that was lost as a whole. So damage to anything but a B picture is held
    against what follows, until the next sound key frame.
    """

    def __init__(self) -> None:
        self._doubt = 0
        self._partial: set[int | None] = set()

    def sent(self, packet: Packet[VideoStream]) -> None:
        """To be called before a packet goes to the decoder."""
        if packet.is_corrupt:  # the demuxer knows that a part of it is missing; not every decoder notices
            if len(self._partial) >= _PARTIAL_MAX:  # of these no frame has come
                self._partial.clear()
            self._partial.add(packet.pts)

    def refused(self) -> None:
        """To be called when the decoder made nothing of a packet."""
        self._doubt = _DOUBT_FRAMES

    def corrupt(self, frame: VideoFrame) -> bool:
        """Whether this frame, the next in presentation order, is damaged."""
        partial = frame.pts in self._partial
        self._partial.discard(frame.pts)
        if frame.is_corrupt or partial:
            if frame.pict_type != PictureType.B:
                self._doubt = _DOUBT_FRAMES
            return True
        if frame.key_frame:
            self._doubt = 0
        if self._doubt:
            self._doubt -= 1
            return True
        return False


def expected_frames(container: InputContainer, stream: VideoStream) -> int | None:
    """How many frames the recording should yield, by its index or its duration; None if it does not say."""
    if "mp4" in container.format.name:  # an edit list hides some of the entries
        entries = sum(not entry.is_discard for entry in stream.index_entries)
        if entries:
            return entries
    if stream.frames:
        return stream.frames
    duration = duration_seconds(container, stream)
    rate = stream.average_rate
    return max(1, round(duration * rate)) if duration and rate else None


def duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """The recording's length as its container states it, in seconds."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


def breaks_off(path: Path, stream: VideoStream) -> bool:
    """Whether the file ends before what its index or its outermost structure announces; False if it was
    removed in the meantime."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            declared = _declared_size(file)
    except FileNotFoundError:
        return False
    if max((entry.pos + entry.size for entry in stream.index_entries), default=0) > size:
        return True
    return declared is not None and declared > size


def lacks_moov(path: Path) -> bool:
    """Whether this is an MP4 or MOV file without its whole index, the `moov` box (ISO/IEC 14496-12, 4.2)."""
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            kind = header[4:8]
            if not offset and kind not in (b"ftyp", b"mdat", b"free", b"skip", b"wide", b"moov"):
                return False
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length == 0:
                length = size - offset  # the last box, up to the end of the file
            if kind == b"moov":
                return offset + length > size
            offset += max(length, 8)
    return offset > 0


def _declared_size(file: BinaryIO) -> int | None:
    """Where the first RIFF chunk (AVI) or EBML segment (Matroska) ends; None for other and unsized files."""
    head = file.read(4096)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        length, data = _ebml_length(head, 4)
        if length is None or head[data + length : data + length + 4] != b"\x18\x53\x80\x67":
            return None
        segment, data = _ebml_length(head, data + length + 4)
        return None if segment is None else data + segment
    return None


def _ebml_length(head: bytes, offset: int) -> tuple[int | None, int]:
    """An element's length (None: unknown) and where its data begins (RFC 8794, section 4)."""
    first = head[offset] if offset < len(head) else 0
    width = 9 - first.bit_length()
    if not first:
        return None, offset
    value = int.from_bytes(head[offset : offset + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), offset + width
