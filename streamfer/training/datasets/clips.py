"""From video files to the frames of one face each: read, found, followed and cut out as in the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError, UsageError
from streamfer.training.datasets.options import Options, Progress
from streamfer.training.datasets.source import Skipped
from streamfer.types import CropSpec

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv"})
"""What files are taken for clips by."""

_LEAST = 2
"""A face that is in fewer frames than this is a picture and no clip."""
_FRAME_TIME = 1 / 25
"""Seconds a frame lasts where the recording does not say, as in the service."""


class Clips(NamedTuple):
    """The faces of some clips, one a clip, frame by frame: images uint8 (k, height, width, channels); which
    of the files each is from, rising (k,); its ordinal in the file (k,) and its time in seconds (k,). The
    files that gave none, and those with several faces."""

    images: NDArray[np.uint8]
    file: NDArray[np.intp]
    frames: NDArray[np.int32]
    seconds: NDArray[np.float64]
    skipped: tuple[Skipped, ...]
    crowded: tuple[str, ...]


@dataclass
class Followed:
    """A face that was followed: its crops uint8 (height, width, channels), and the ordinals and the times, in
    seconds, of their frames."""

    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def read(files: Sequence[Path], names: Sequence[str], options: Options, progress: Progress) -> Clips:
    """The face of each clip that is in most frames; `names` are what the files are called in what is said of
    them.

    Frames in which it is too small, too blurred or not found are left out, and damaged frames. `UsageError`
    if no clip gives a face.
    """
    spec = options.crop or CropSpec()
    detector, found, skipped, crowded = _component("detector", options.detector), {}, [], []
    for number, (path, name) in enumerate(zip(files, names, strict=True)):
        progress("following faces", number, len(files))
        try:
            tracks, seen = followed(path, detector, spec)
        except StartError as error:
            skipped.append(Skipped(name, str(error).removeprefix(f"{path}: "), damaged=True))
            continue
        best = max(tracks, key=lambda track: len(track.crops), default=Followed())
        if len(best.crops) < _LEAST:
            skipped.append(Skipped(name, _why(best, seen), damaged=False))
            continue
        found[number] = best
        if len(tracks) > 1:
            crowded.append(name)
    progress("following faces", len(files), len(files))
    if not found:
        first = skipped[0]
        raise UsageError(f"no face in any clip (of {len(files):,}); the first: {first.path}: {first.reason}")
    tracks = list(found.values())
    return Clips(
        np.stack([crop for track in tracks for crop in track.crops]),
        np.repeat(list(found), [len(track.crops) for track in tracks]).astype(np.intp),
        np.array([one for track in tracks for one in track.frames], np.int32),
        np.array([one for track in tracks for one in track.seconds], np.float64),
        tuple(skipped),
        tuple(crowded),
    )


def followed(path: Path, detector: Any, spec: CropSpec) -> tuple[list[Followed], int]:
    """The faces of a clip that were good enough to be classified, by falling track id, and how many faces
    were seen in all its frames. StartError for a file that cannot be read; one that breaks off gives what it
    has."""
    from streamfer.detectors import FaceOptions
    from streamfer.errors import BrokenFileError
    from streamfer.faces import FaceAnalyser

    analyser = FaceAnalyser(detector, _component("tracker", "sort"), [spec], FaceOptions())
    source = _component("source", "file", path=str(path))
    source.open()
    tracks: dict[int, Followed] = {}
    seconds, seen = 0.0, 0
    try:
        for ordinal, frame in enumerate(source.frames()):
            if frame.corrupt:
                continue
            seconds = max(seconds, frame.pts if frame.pts is not None else seconds + _FRAME_TIME)
            analysis = analyser.analyse(frame.picture, seq=ordinal, seconds=seconds)
            seen += len(analysis.faces)
            good = [face for face in analysis.faces if face.status == "ok"]
            for face, crop in zip(good, analysis.crops[spec], strict=True):
                track = tracks.setdefault(face.track, Followed())
                track.crops.append(crop)
                track.frames.append(ordinal)
                track.seconds.append(seconds)
    except BrokenFileError:
        """Those that were read stand."""
    finally:
        source.close()
    return list(tracks.values()), seen


def _why(best: Followed, seen: int) -> str:
    if best.crops:
        return "a face in one frame only"
    return "no face that is large and sharp enough" if seen else "no face found"


def _component(kind: Any, name: str, **options: Any) -> Any:
    from streamfer.plugins import Registry, build, spec_of

    return build(spec_of(Registry.discover().get(kind, name), options))
