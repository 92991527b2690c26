"""Measure what windows, smoothing or both do to the answers along a face: flicker, agreement, delay.

    python -m benchmarks.temporal CLIP... [--stills fer2013.npz] [--classifier cnn 'cnn_lstm:frames' …]

A classifier is a name, NAME:MODE, or a mapping as in a configuration: '{name: cnn, smoothing: ema}'. The
first is the reference, a classifier of single frames. Each clip is read, its faces are found, followed and
cut out as in the service; each classifier is then asked about the same crops. Prints one Markdown table:

- changes per s: label changes per second of a track, and how many times fewer than the reference;
- kept: of the frames whose answer by the reference is confident (≥ 0.8), how many have its label;
- delay after a splice: stretches of at least 0.3 s in which the reference is confident of one label, each
  played to and fro for 2 s at 30 frames per second, every two of different labels one after the other;
- delay after a still: two of FER2013's PublicTest images, of which the reference is confident and which it
  labels differently, each held for 2 s at 30 frames per second.

The moment of change is known, and the reference answers it at once: the delay is that to the first frame with
its new label. It is taken where the classifier says what the reference says just before the change and at the
end (follows); median, what nine of ten stay below, worst.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.smoothing import CONFIDENT, FPS, PLAYED, Track, flicker, stretches
from streamfer.api import WindowOptions
from streamfer.inference.answering import Answering, answering
from streamfer.inference.described import find, with_mode
from streamfer.plugins import Registry, build, spec_of
from streamfer.smoothing import Smoother, Smoothing, smoothing
from streamfer.training.datasets.clips import followed
from streamfer.types import CropSpec

FRAMES = round(PLAYED * FPS)
PAIRS = 200
CROP = CropSpec()


class Asked(NamedTuple):
    """A classifier that is measured."""

    title: str
    answering: Answering
    smoothing: Smoothing | None
    labels: int

    def labels_of(
        self, seconds: NDArray[np.float64], crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Labels (t, n) and the probabilities before smoothing (t, n, labels) for crops (t, n, height, width,
        channels) of n faces that are in all frames."""
        self.answering.reset("clip")
        smoother = Smoother(self.smoothing, self.labels) if self.smoothing else None
        faces = range(crops.shape[1])
        labels, rows = [], []
        for at, row in zip(seconds, crops, strict=True):
            answers, _ = self.answering.follow("clip", float(at), faces, [row])
            rows.append(answers)
            best = answers.argmax(axis=1)
            labels.append(best if smoother is None else smoother.update(float(at), faces, answers)[1])
        return np.stack(labels), np.stack(rows)


def asked(named: str) -> Asked:
    given = yaml.safe_load(named) if named.startswith("{") else named
    if isinstance(given, str):
        name, options = with_mode(given)
        chosen: dict[str, Any] = {"name": name, **options}
    else:
        chosen = dict(given)
    smooth, window = smoothing(chosen.pop("smoothing", None)), chosen.pop("window", None)
    wanted = WindowOptions.model_validate(window) if window else None
    found = find(Registry.discover(), chosen.pop("name"), chosen, wanted)
    if found.crops != (CROP,):
        raise SystemExit(
            f"{named}: it does not look at gray faces of 48×48, as all that is compared here does"
        )
    return Asked(named, answering(found.spec), smooth, len(found.labels))


def tracks_of(clip: Path) -> list[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
    """The times (t,) and the crops (t, 1, height, width, channels) of each face that lasts."""
    detector = build(spec_of(Registry.discover().get("detector", "yunet"), {}))
    found, _ = followed(clip, detector, CROP)
    return [
        (np.array(one.seconds), np.stack(one.crops)[:, None])
        for one in found
        if one.seconds[-1] - one.seconds[0] >= 1
    ]


def played(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """To and fro, until PLAYED is over: neighbours stay neighbours."""
    return crops[np.resize([*range(len(crops)), *range(len(crops) - 2, 0, -1)], FRAMES)]


def changes(sides: Sequence[tuple[int, NDArray[np.uint8]]]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Every two sides (label, FRAMES crops) of different labels: labels (n, 2), crops (2 FRAMES, n, …)."""
    pairs = [(one, other) for one, other in permutations(sides, 2) if one[0] != other[0]]
    return (
        np.array([(one[0], other[0]) for one, other in pairs]),
        np.stack([np.concatenate([one[1], other[1]]) for one, other in pairs], axis=1),
    )


def still_pairs(path: Path, reference: Asked) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Labels (n, 2) and crops (2 FRAMES, n, …) of pairs of stills."""
    with np.load(path) as data:
        images = data["images"][data["usage"] == 1][..., None]
    said = np.concatenate([reference.answering.predict(part) for part in np.array_split(images, 20)])
    sure = np.flatnonzero(said.max(axis=1) >= CONFIDENT)
    drawn = np.random.default_rng(0).choice(sure, (20 * PAIRS, 2))
    labels = said.argmax(axis=1)[drawn]
    drawn, labels = (one[labels[:, 0] != labels[:, 1]][:PAIRS] for one in (drawn, labels))
    return labels, np.repeat(images[drawn].swapaxes(0, 1), FRAMES, axis=0)


def told(one: Asked, labels: NDArray[np.intp], crops: NDArray[np.uint8]) -> str:
    """Delays in milliseconds, and the share of changes that were followed."""
    answers, _ = one.labels_of(np.arange(2 * FRAMES) / FPS, crops)
    after = answers[FRAMES:] == labels[:, 1]
    follows = (answers[FRAMES - 1] == labels[:, 0]) & after[-1]
    delays = 1000 / FPS * after.argmax(axis=0)[follows]
    if not len(delays):
        return "– (0 %)"
    figures = (np.median(delays), np.quantile(delays, 0.9), delays.max())
    return " / ".join(f"{figure:.0f}" for figure in figures) + f" ({100 * follows.mean():.0f} %)"


def main() -> None:
    raw_help = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw_help)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--stills", type=Path, help="fer2013.npz: images, labels, usage")
    default = ["cnn", "{name: cnn, smoothing: ema}", "{name: cnn, smoothing: hysteresis}"]
    default += ["{name: cnn, smoothing: hmm}", "cnn_lstm:frames", "cnn_bilstm:frames"]
    parser.add_argument("--classifier", nargs="+", default=default, metavar="NAME-OR-YAML")
    args = parser.parse_args()
    classifiers = [asked(named) for named in args.classifier]
    tracks = [track for clip in args.clips for track in tracks_of(clip)]
    reference, sides, sure = classifiers[0], [], []
    for seconds, crops in tracks:
        rows = reference.labels_of(seconds, crops)[1][:, 0]
        sure.append((rows.max(axis=1) >= CONFIDENT, rows.argmax(axis=1)))
        for part in stretches(Track(seconds, rows)):
            here = crops[np.searchsorted(seconds, part.seconds), 0]
            sides.append((int(part.rows[0].argmax()), played(here)))
    kinds = {"splices": changes(sides)} if len({label for label, _ in sides}) > 1 else {}
    if args.stills:
        kinds["stills"] = still_pairs(args.stills, reference)
    delays = [f"ms after {len(labels)} {name} (follows)" for name, (labels, _) in kinds.items()]
    headings = ["classifier", "changes per s", "fewer", "kept", *delays]
    print("|", " | ".join(headings), "|")
    print("| --- |" + " ---: |" * (len(headings) - 1))
    first = 0.0
    for one in classifiers:
        counted, seconds_counted, kept = 0, 0.0, []
        for (seconds, crops), (where, labels) in zip(tracks, sure, strict=True):
            answers, rows = one.labels_of(seconds, crops)
            number, lasted = flicker(Track(seconds, rows[:, 0].astype(np.float64)), answers[:, 0])
            counted, seconds_counted = counted + number, seconds_counted + lasted
            kept.append((answers[:, 0] == labels)[where])
        rate = counted / seconds_counted
        first = first or rate
        row = [f"`{one.title}`", f"{rate:.2f}", f"{first / rate:.1f}" if rate else "–"]
        row += [
            f"{100 * np.mean(np.concatenate(kept)):.1f} %",
            *(told(one, *kind) for kind in kinds.values()),
        ]
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
