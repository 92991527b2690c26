"""Measure windowed against full detection on real clips, frame by frame, in one thread.

    python -m benchmarks.detection --clips DIR [--every 5 10 20 30]

Every frame of every clip is analysed twice: with the whole frame searched each time (the reference), and with
`full_every` N. A face is found again if a face of the same frame overlaps it with IoU ≥ 0.5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2

from streamfer.api import SourceFrame
from streamfer.detectors import FaceOptions, YuNetOptions
from streamfer.detectors.yunet import YuNet
from streamfer.faces import Analysis, FaceAnalyser, changed, iou, thumbnail
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort
from streamfer.types import CropSpec

CLIPS = ("*.mp4", "*.mkv", "*.gif")


@dataclass
class Comparison:
    """How well the faces of one run match those of the reference, and what both cost."""

    frames: int = 0
    whole: int = 0
    faces: int = 0
    again: int = 0
    extra: int = 0
    overlap: float = 0.0
    longest_miss: int = 0
    """Frames in a row in which a face that the reference shows is not found."""
    reference_seconds: float = 0.0
    seconds: float = 0.0
    tracks: set[int] = field(default_factory=set)

    def __iadd__(self, other: Comparison) -> Comparison:
        self.frames += other.frames
        self.whole += other.whole
        self.faces += other.faces
        self.again += other.again
        self.extra += other.extra
        self.overlap += other.overlap
        self.longest_miss = max(self.longest_miss, other.longest_miss)
        self.reference_seconds += other.reference_seconds
        self.seconds += other.seconds
        return self

    def row(self, name: str, every: int) -> tuple[str, ...]:
        return (
            name,
            str(every),
            str(self.frames),
            str(self.faces),
            f"{100 * self.again / self.faces:.2f}" if self.faces else "–",
            f"{self.overlap / self.again:.3f}" if self.again else "–",
            str(self.extra),
            str(self.longest_miss),
            f"{100 * self.whole / max(self.frames, 1):.0f}",
            f"{1e3 * self.reference_seconds / max(self.frames, 1):.2f}",
            f"{1e3 * self.seconds / max(self.frames, 1):.2f}",
            str(len(self.tracks)) if self.tracks else "–",
        )


HEADINGS = (
    "clip",
    "N",
    "frames",
    "faces",
    "found again %",
    "mean IoU",
    "extra",
    "longest miss",
    "whole frames %",
    "ms, N = 1",
    "ms",
    "tracks",
)


def analyses(frames: Sequence[SourceFrame], every: int, detector: YuNet) -> Iterator[tuple[Analysis, float]]:
    """Each frame's analysis and the CPU seconds of this thread that it took."""
    options = FaceOptions(full_every=every)
    analyser = FaceAnalyser(detector, Sort(SortOptions()), [CropSpec()], options)
    for seq, frame in enumerate(frames):
        start = time.thread_time()
        seconds = seq / 25 if frame.pts is None else frame.pts
        analysis = analyser.analyse(frame.picture, seq=seq, seconds=seconds)
        yield analysis, time.thread_time() - start


def compare(frames: Sequence[SourceFrame], every: int, reference: list[tuple[Analysis, float]]) -> Comparison:
    """The run with `full_every` = `every` beside the reference of the same frames."""
    result = Comparison(frames=len(frames))
    missed: dict[int, int] = {}
    runs = analyses(frames, every, YuNet(YuNetOptions()))
    for (expected, reference_seconds), (analysis, seconds) in zip(reference, runs, strict=True):
        result.reference_seconds += reference_seconds
        result.seconds += seconds
        result.whole += analysis.full
        result.tracks.update(face.track for face in analysis.faces)
        left = [face.box for face in analysis.faces]
        misses = {}
        for face in expected.faces:
            result.faces += 1
            best = max(left, key=lambda box: iou(box, face.box), default=None)
            if best is not None and iou(best, face.box) >= 0.5:
                result.again += 1
                result.overlap += iou(best, face.box)
                left.remove(best)
            else:
                misses[face.track] = missed.get(face.track, 0) + 1
        missed = misses
        result.longest_miss = max(result.longest_miss, *misses.values(), 0)
        result.extra += len(left)
    return result


def clips_in(folder: Path) -> list[Path]:
    return sorted(path for pattern in CLIPS for path in folder.glob(pattern))


def frames_of(clip: Path, limit: int | None = None) -> list[SourceFrame]:
    """The frames of a clip, held in memory so that decoding is not measured."""
    frames: list[SourceFrame] = []
    for frame in FileSource(FileOptions(path=clip, threads=1)).frames():
        frames.append(frame)
        if len(frames) == limit:
            break
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="a folder of clips")
    parser.add_argument("--every", type=int, nargs="+", default=[5, 10, 20, 30], help="values of full_every")
    args = parser.parse_args()
    clips = clips_in(args.clips)
    if not clips:
        parser.error(f"no clips ({', '.join(CLIPS)}) in {args.clips}")
    cv2.setNumThreads(1)
    print("|", " | ".join(HEADINGS), "|")
    print("|---" * len(HEADINGS) + "|")
    totals = {every: Comparison() for every in args.every}
    most_changed = 0.0
    for clip in clips:
        frames = frames_of(clip)
        coarse = [thumbnail(frame.picture) for frame in frames]
        most_changed = max([most_changed, *(changed(one, other) for one, other in pairwise(coarse))])
        reference = list(analyses(frames, 1, YuNet(YuNetOptions())))
        for every in args.every:
            result = compare(frames, every, reference)
            totals[every] += result
            print("|", " | ".join(result.row(clip.name, every)), "|", flush=True)
    for every, total in totals.items():
        print("|", " | ".join(total.row("all", every)), "|")
    print(f"At most {100 * most_changed:.0f} % of a frame's cells change within a clip; a cut needs 50 %.")


if __name__ == "__main__":
    main()
