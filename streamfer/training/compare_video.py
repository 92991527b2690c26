"""What several classifiers said of the faces of one clip, read from a run's results and measured."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamfer.config import ClassifierConfig, Config
from streamfer.inference.card import read_card
from streamfer.types import LABELLED, Answer, Face, Result, WindowState

LONGEST_GAP = 1.0
"""Seconds between two frames of a face that still count as one stretch of time, as in the metrics."""

FRAME_SECONDS = 1 / 25
"""From one frame to the next of a clip whose PTS are no use."""

SHORTEST, MOST = 1.0, 6
"""A track has a timeline if it is so many seconds long, and is one of so many with the most frames."""


_FIRST = 6
"""Where the probabilities begin in the row of a face."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a classifier said of the n faces of a track that it labelled, in the order of their frames.

    `seqs` int (n,) are the frames, `probabilities` float64 (n, k) by its k labels, `answers` int (n,) the
    places of the labels given, `confidence` float64 (n,) their probabilities. `warming` bool (n,) is whether
    the window was not yet full, None without windows; `raw` int (n,) are the answers before smoothing, None
    without smoothing.
    """

    seqs: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    answers: NDArray[np.intp]
    confidence: NDArray[np.float64]
    warming: NDArray[np.bool_] | None
    raw: NDArray[np.intp] | None


@dataclass(frozen=True, eq=False)
class Track:
    """One face of the clip: the frames `seqs` int (m,) in which it was found and its `boxes` there, float64
    (m, 4), (x, y, w, h) in pixels of the upright frame; by classifier what was said of it."""

    number: int
    seqs: NDArray[np.intp]
    boxes: NDArray[np.float64]
    seen: Mapping[str, Seen]


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip and its tracks, those with the most frames first.

    `clock` float64 (frames + 1,) has when each frame begins, in seconds, and when the last one ends. It is
    that of the frames' PTS if they are `timed`, else the frames come at an even pace. `labels` are those of
    each classifier, in the order of its probabilities.
    """

    clip: Path
    clock: NDArray[np.float64]
    timed: bool
    labels: Mapping[str, tuple[str, ...]]
    tracks: tuple[Track, ...]

    @property
    def frames(self) -> int:
        return len(self.clock) - 1

    def span(self, track: Track) -> tuple[float, float]:
        """When a track's first frame begins and its last one ends, in seconds."""
        return float(self.clock[track.seqs[0]]), float(self.clock[track.seqs[-1] + 1])

    def shown(self) -> tuple[Track, ...]:
        """The tracks that have a timeline."""
        spans = [(track, *self.span(track)) for track in self.tracks if track.seen]
        return tuple(track for track, begin, end in spans if end - begin >= SHORTEST)[:MOST]


@dataclass
class _Found:
    """A track while it is read: its boxes by frame, and by classifier a row of numbers for each face with a
    label, all in one array: an hour of video has hundreds of thousands."""

    boxes: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    faces: dict[str, array[float]] = field(default_factory=dict)


def watched(clip: Path, results: Path, labels: Mapping[str, tuple[str, ...]]) -> Watched:
    """The run whose results are in the file `results` (JSON Lines of one recording)."""
    decoder = msgspec.json.Decoder(Result)
    times: dict[int, float | None] = {}
    found: dict[int, _Found] = {}
    with results.open("rb") as lines:
        for result in map(decoder.decode, lines):
            times[result.seq] = result.pts
            for face in result.faces:
                track = found.setdefault(face.track, _Found())
                track.boxes[result.seq] = face.box
                if face.status in LABELLED:
                    rows = track.faces.setdefault(result.classifier, array("d"))
                    rows.extend(_numbers(result.seq, face, labels[result.classifier]))
    clock, timed = _clock([times[seq] for seq in sorted(times)])
    tracks = [_track(number, track, labels) for number, track in found.items()]
    tracks.sort(key=lambda track: (-len(track.seqs), track.number))
    return Watched(clip, clock, timed, labels, tuple(tracks))


def _clock(times: Sequence[float | None]) -> tuple[NDArray[np.float64], bool]:
    known = np.array([seconds for seconds in times if seconds is not None], np.float64)
    apart = np.diff(known)
    if len(known) < max(2, len(times)) or (apart < 0).any() or not apart.any():
        return np.arange(len(times) + 1, dtype=np.float64) * FRAME_SECONDS, False
    return np.append(known, known[-1:] + np.median(apart)), True


def _track(number: int, found: _Found, labels: Mapping[str, tuple[str, ...]]) -> Track:
    seqs = sorted(found.boxes)
    boxes = np.array([found.boxes[seq] for seq in seqs], np.float64)
    seen = {name: _seen(found.faces[name], labels[name]) for name in labels if name in found.faces}
    return Track(number, np.array(seqs, np.intp), boxes, seen)


def _numbers(seq: int, face: Face, labels: Sequence[str]) -> list[float]:
    """A face as a row: its frame, the place of its label and of that before smoothing (-1: there was none),
    its confidence, whether it has a window, whether that is not yet full, its probabilities."""
    raw = labels.index(face.raw.label) if isinstance(face.raw, Answer) else -1
    windowed, warming = isinstance(face.window, WindowState), face.status == "warming"
    row = [seq, labels.index(face.label or ""), raw, face.confidence or 0.0, windowed, warming]
    return [*row, *((face.probabilities or {}).get(label, 0.0) for label in labels)]


def _seen(rows: array[float], labels: Sequence[str]) -> Seen:
    table = np.frombuffer(rows, np.float64).reshape(-1, _FIRST + len(labels))
    table = table[table[:, 0].argsort(kind="stable")]
    seqs, answers, raw = table[:, :3].astype(np.intp).T
    return Seen(
        seqs,
        table[:, _FIRST:],
        answers,
        table[:, 3],
        table[:, 5].astype(np.bool_) if table[:, 4].any() else None,
        raw if (raw >= 0).all() else None,
    )


# ---- figures -----------------------------------------------------------------------------------------------


def measure(found: Watched, config: Config, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of a comparison, JSON values as the documentation lists them; `notes` come first in its."""
    return {
        "clip": {
            "name": found.clip.name,
            "frames": found.frames,
            "seconds": _rounded(found.clock[-1] - found.clock[0]),
            "timed": found.timed,
        },
        "classifiers": [
            _described(one) | _figures(found, one.label, found.tracks) for one in config.classifiers
        ],
        "pairs": _pairs(found, found.tracks),
        "tracks": [_track_figures(found, track) for track in found.tracks],
        "shown": [track.number for track in found.shown()],
        "notes": [*notes, *_notes(found)],
        "streamfer": version("streamfer"),
    }


def _described(one: ClassifierConfig) -> dict[str, Any]:
    """What runs under a name."""
    model = one.spec.options.get("model")
    return {
        "name": one.label,
        "classifier": one.spec.name,
        "version": read_card(model).version if isinstance(model, str) else None,
        "smoothing": one.smoothing.model_dump(mode="json") if one.smoothing else None,
        "window": one.spec.window._asdict() | {"seconds": one.spec.window.span} if one.spec.window else None,
    }


def _track_figures(found: Watched, track: Track) -> dict[str, Any]:
    begin, end = found.span(track)
    return {
        "track": track.number,
        "from": _rounded(begin),
        "to": _rounded(end),
        "frames": len(track.seqs),
        "classifiers": [
            {"name": name, **_figures(found, name, [track]), "labels": _shares(seen, found.labels[name])}
            for name, seen in track.seen.items()
        ],
        "pairs": _pairs(found, [track]),
    }


def _figures(found: Watched, name: str, tracks: Sequence[Track]) -> dict[str, Any]:
    """How steady and how sure one classifier was."""
    seen = [track.seen[name] for track in tracks if name in track.seen]
    faces = sum(len(one.seqs) for one in seen)
    steps = [_steps(found, one) for one in seen]
    seconds = sum(float(apart.sum()) for _, apart in steps)
    changes = sum(_changes(one.answers, near) for one, (near, _) in zip(seen, steps, strict=True))
    raw = [_changes(one.raw, near) for one, (near, _) in zip(seen, steps, strict=True) if one.raw is not None]
    warming = [int(one.warming.sum()) for one in seen if one.warming is not None]
    confidence = sum(float(one.confidence.sum()) for one in seen)
    return {
        "faces": faces,
        "track_seconds": _rounded(seconds),
        "label_changes": changes,
        "flicker": _rounded(changes / seconds) if seconds else None,
        "raw_label_changes": sum(raw) if raw else None,
        "raw_flicker": _rounded(sum(raw) / seconds) if raw and seconds else None,
        "confidence": _rounded(confidence / faces) if faces else None,
        "warming": _rounded(sum(warming) / faces) if warming else None,
    }


def _steps(found: Watched, seen: Seen) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which frames follow on the one before (n - 1,), and how many seconds it is there (of these only)."""
    apart = np.diff(found.clock[seen.seqs])
    near = (apart > 0) & (apart <= LONGEST_GAP)
    return near, apart[near]


def _changes(answers: NDArray[np.intp], near: NDArray[np.bool_]) -> int:
    return int((np.diff(answers)[near] != 0).sum())


def _pairs(found: Watched, tracks: Sequence[Track]) -> list[dict[str, Any]]:
    pairs = []
    for first, second in combinations(found.labels, 2):
        faces = agreed = 0
        for one, other in (
            (track.seen[first], track.seen[second])
            for track in tracks
            if first in track.seen and second in track.seen
        ):
            _, here, there = np.intersect1d(one.seqs, other.seqs, assume_unique=True, return_indices=True)
            names = np.array(found.labels[first])[one.answers[here]]
            others = np.array(found.labels[second])[other.answers[there]]
            faces += len(here)
            agreed += int((names == others).sum())
        share = _rounded(agreed / faces) if faces else None
        pairs.append({"first": first, "second": second, "faces": faces, "agreed": agreed, "share": share})
    return pairs


def _shares(seen: Seen, labels: Sequence[str]) -> dict[str, float]:
    """Each label's share of the answers, the most frequent first; those that never came are left out."""
    counts = np.bincount(seen.answers, minlength=len(labels))
    order = sorted(range(len(labels)), key=lambda place: -counts[place])
    return {labels[place]: _rounded(counts[place] / len(seen.answers)) for place in order if counts[place]}


def _notes(found: Watched) -> list[str]:
    notes = []
    if not found.timed:
        notes.append(
            f"The clip's time stamps are missing or run backwards: here its frames come at an even pace, "
            f"{1 / FRAME_SECONDS:.0f} per second, and seconds are of that pace."
        )
    for name in found.labels:
        if not any(name in track.seen for track in found.tracks):
            notes.append(f"{name} labelled no face: those found were too small or too blurred for it.")
    return notes


def _rounded(value: float) -> float:
    return round(float(value), 4)
