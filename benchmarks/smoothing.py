"""Measure what smoothing does to the flicker of a classifier's answers, and what delay it costs.

    python -m benchmarks.smoothing CLIP... [--stills fer2013.npz] [--smoothing ema '{method: ema, …}' …]

Each clip goes through the real pipeline once; each method then smooths the recorded answers. CLIP may also be
the results.jsonl of such a run. Prints one Markdown table:

- flicker: label changes per track-second, and how many times fewer than raw;
- agreement: of the frames whose raw answer is confident (≥ 0.8), how many keep its label;
- delay after a splice: stretches of at least 0.3 s in which every raw answer is confident and of one label,
  each played to and fro for 2 s, every two of different labels one after the other. The raw label changes
  with the splice: the delay is what smoothing adds. Median, worst, and the share within 300 ms;
- delay after a still: pairs of FER2013's PublicTest images with different answers, each held for 2 s at 30
  frames per second; the confident pairs, and all of them.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from pathlib import Path

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from streamfer.smoothing import Smoother, Smoothing, smoothing
from streamfer.stages.flicker import LONGEST_GAP
from streamfer.training.served import open_classifier
from streamfer.types import Answer, Result

CONFIDENT = 0.8
SHORTEST = 0.3
"""Seconds of a stretch at the least."""
PLAYED = 2.0
"""Seconds for which each side of a splice is played."""
TARGET = 0.3
FPS = 30
PAIRS = 500

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """A face over time: seconds (t,) and the raw probabilities (t, labels)."""

    seconds: Floats
    rows: Floats


def results_of(clip: Path, classifier: str) -> list[Result]:
    if clip.suffix == ".jsonl":
        return [msgspec.json.decode(line, type=Result) for line in clip.open("rb")]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from streamfer.cli import main; main()", "run", str(clip)]
        subprocess.run([*command, "--classifier", classifier, "--out", folder], check=True)
        return results_of(Path(folder) / "results.jsonl", classifier)


def tracks_of(results: Iterable[Result], classifier: str) -> list[Track]:
    """The tracks of one classifier, each from its faces that have an answer of their own."""
    seen: dict[int, list[tuple[float, list[float]]]] = {}
    for result in results:
        for face in result.faces if result.classifier == classifier and result.pts is not None else ():
            answer = face.raw.probabilities if isinstance(face.raw, Answer) else face.probabilities
            if answer is not None and result.pts is not None:
                seen.setdefault(face.track, []).append((result.pts, list(answer.values())))
    return [Track(*map(np.array, zip(*rows, strict=True))) for rows in seen.values()]


def labels_of(track: Track, options: Smoothing | None) -> NDArray[np.intp]:
    """The place of the label in each frame, (t,)."""
    if options is None:
        return np.asarray(track.rows.argmax(axis=1))
    smoother = Smoother(options, track.rows.shape[1])
    return np.array(
        [smoother.update(at, [1], row[None])[1][0] for at, row in zip(track.seconds, track.rows, strict=True)]
    )


def flicker(track: Track, labels: NDArray[np.intp]) -> tuple[int, float]:
    """Label changes, and the seconds they are counted over, as `streamfer.stages.flicker` does."""
    steps = np.diff(track.seconds)
    counted = (steps > 0) & (steps <= LONGEST_GAP)
    return int(np.sum(np.diff(labels)[counted] != 0)), float(steps[counted].sum())


def stretches(track: Track) -> Iterator[Track]:
    """The parts in which every answer is confident and of one label."""
    sure = np.where(track.rows.max(axis=1) >= CONFIDENT, track.rows.argmax(axis=1), -1)
    cuts = np.cumsum(np.diff(track.seconds, prepend=track.seconds[0]) > SHORTEST)
    for (label, _), group in groupby(range(len(sure)), key=lambda place: (sure[place], cuts[place])):
        places = list(group)
        if label >= 0 and track.seconds[places[-1]] - track.seconds[places[0]] >= SHORTEST - 1e-3:
            yield Track(track.seconds[places], track.rows[places])


def played(part: Track) -> Track:
    """To and fro, from 0 s, until PLAYED is over: neighbours stay neighbours."""
    there = [*range(len(part.rows)), *range(len(part.rows) - 2, 0, -1)]
    step = (part.seconds[-1] - part.seconds[0]) / (len(part.rows) - 1)
    frames = np.arange(math.ceil(PLAYED / step))
    return Track(frames * step, part.rows[np.resize(there, len(frames))])


def spliced(one: Track, other: Track) -> Track:
    """`one`, and PLAYED seconds after its start `other`."""
    before, after = played(one), played(other)
    return Track(
        np.concatenate([before.seconds, after.seconds + PLAYED]), np.concatenate([before.rows, after.rows])
    )


def delay(splice: Track, options: Smoothing | None) -> float:
    """Seconds from the splice to the first frame with the label that the raw answers have from then on."""
    after = splice.seconds >= PLAYED
    right = labels_of(splice, options)[after] == splice.rows[-1].argmax()
    return float(splice.seconds[after][right.argmax()] - PLAYED) if right.any() else math.inf


def stills(path: Path, classifier: str) -> list[tuple[bool, Track]]:
    """Splices of two stills, and whether both answers are confident."""
    with np.load(path) as data:
        images = data["images"][data["usage"] == 1]
    chosen = np.random.default_rng(0).choice(len(images), (PAIRS, 2), replace=False)
    served = open_classifier(classifier)
    batches = [images[one][..., None] for one in np.split(chosen.ravel(), 10)]
    answers = np.concatenate([served.predict(batch) for batch in batches]).astype(np.float64)
    found = []
    for one, other in answers.reshape(PAIRS, 2, -1):
        if one.argmax() != other.argmax():
            held = [Track(np.arange(2) / FPS, np.stack([row, row])) for row in (one, other)]
            found.append((bool(min(one.max(), other.max()) >= CONFIDENT), spliced(*held)))
    return found


def told(splices: Sequence[Track], options: Smoothing | None) -> str:
    """Median and worst delay in milliseconds, and the share of delays within the target."""
    delays = np.array([delay(splice, options) for splice in splices])
    median, worst = (
        f"{1000 * one:.0f}" if math.isfinite(one) else "never" for one in (np.median(delays), delays.max())
    )
    return f"{median} / {worst} ({100 * np.mean(delays <= TARGET + 1e-3):.0f} %)"


def main() -> None:
    raw_help = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw_help)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--classifier", default="cnn")
    parser.add_argument("--stills", type=Path, help="fer2013.npz: images, labels, usage")
    parser.add_argument("--smoothing", nargs="+", default=["ema", "hysteresis", "hmm"], metavar="YAML")
    args = parser.parse_args()
    tracks = [
        track
        for clip in args.clips
        for track in tracks_of(results_of(clip, args.classifier), args.classifier)
    ]
    parts = [part for track in tracks for part in stretches(track)]
    splices = [
        spliced(one, other)
        for one, other in permutations(parts, 2)
        if one.rows[0].argmax() != other.rows[0].argmax()
    ]
    kinds = {"splices": splices}
    if args.stills:
        held = stills(args.stills, args.classifier)
        kinds |= {"confident stills": [one for sure, one in held if sure], "stills": [one for _, one in held]}
    kinds = {name: kind for name, kind in kinds.items() if kind}
    delays = [f"ms after {len(kind)} {name}" for name, kind in kinds.items()]
    headings = ["smoothing", "changes per s", "× fewer", "agreement %", *delays]
    print("|", " | ".join(headings), "|")
    print("| --- |" + " ---: |" * (len(headings) - 1))
    raw = 0.0
    for name in ["none", *args.smoothing]:
        options = smoothing(yaml.safe_load(name))
        labels = [labels_of(track, options) for track in tracks]
        counts = [flicker(track, one) for track, one in zip(tracks, labels, strict=True)]
        rate = sum(changes for changes, _ in counts) / sum(seconds for _, seconds in counts)
        raw = raw or rate
        same = [
            (one == track.rows.argmax(axis=1))[track.rows.max(axis=1) >= CONFIDENT]
            for track, one in zip(tracks, labels, strict=True)
        ]
        fewer = f"{raw / rate:.1f}" if rate else "–"
        row = [f"`{name}`", f"{rate:.2f}", fewer, f"{100 * np.mean(np.concatenate(same)):.1f}"]
        print("|", " | ".join([*row, *(told(kind, options) for kind in kinds.values())]), "|", flush=True)


if __name__ == "__main__":
    main()
