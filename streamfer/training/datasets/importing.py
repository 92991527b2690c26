"""From paths and options to one data set: read, merge, select, split, look through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import SPLITS, TRAINING, Dataset, check
from streamfer.training.datasets import selection, sniff, splits
from streamfer.training.datasets.findings import Findings, count, findings
from streamfer.training.datasets.labels import relabelled
from streamfer.training.datasets.likeness import Likeness
from streamfer.training.datasets.likeness import likeness as compare
from streamfer.training.datasets.merge import merge
from streamfer.training.datasets.options import Options, Progress, silent
from streamfer.training.datasets.source import Skipped, Source


@dataclass(frozen=True, eq=False)
class Imported:
    """A data set, what was found in it, and which files of its sources gave no row or had several faces."""

    data: Dataset
    findings: Findings
    skipped: tuple[Skipped, ...]
    crowded: tuple[str, ...]


def import_sources(paths: Sequence[Path], options: Options, progress: Progress = silent) -> Imported:
    """Read the sources and make one data set of them.

    `data.about` holds the options, the notes and the counts of the findings. `UsageError` for whatever is
    wrong with sources or options, with `strict` also for files that cannot be read and for a split that
    leaks.
    """
    made = _Import(paths, options, progress)
    data = made.result()
    found = findings(data, made.likeness, progress)
    if options.strict and (leak := found.leak()):
        raise UsageError(
            f"{data.name}: the split leaks: {leak}; drop the copies with --drop duplicates, have another "
            "split made with --split, or leave out --strict"
        )
    data = replace(data, about={**data.about, "findings": found.summary()})
    return Imported(data, found, made.skipped, made.crowded)


def read_one(path: Path) -> Dataset:
    """The data set that the default options make of one source, without the findings."""
    return _Import([path], Options(), silent).result()


class _Import:
    """The steps of one import. Rows are compared only if something depends on it."""

    def __init__(self, paths: Sequence[Path], options: Options, progress: Progress) -> None:
        self._options, self._progress = options, progress
        sources = [_timed(sniff.read(path, options, progress), options.fps) for path in paths]
        if options.fps and all(source.data.seconds is None for source in sources):
            raise UsageError("--fps: no source has sequences of numbered frames, as CK+ has")
        several = len(sources) > 1
        self.skipped = tuple(
            one._replace(path=f"{source.data.name}: {one.path}") if several else one
            for source in sources
            for one in source.skipped
        )
        self.crowded = tuple(
            f"{source.data.name}: {one}" if several else one for source in sources for one in source.crowded
        )
        self._refuse_damaged()
        self.notes: list[str] = []
        self._made = "official"
        self._names = [source.data.name for source in sources]
        self._official = np.array([source.official for source in sources])
        self._likeness: Likeness | None = None
        self._data, self._source = self._selected(sources)

    def result(self) -> Dataset:
        """The data set, checked."""
        self._drop()
        self._split()
        self._downsample()
        data = self._data
        self._refuse_empty_classes()
        about = {"sources": self._names, **self._about(), "notes": self.notes}
        data = replace(data, about=about)
        check(data, data.name)
        return data

    @property
    def likeness(self) -> Likeness:
        """How the rows are alike, found at the first look and kept in step with the rows."""
        if self._likeness is None:
            self._likeness = compare(self._data.images, self._progress, self._data.video)
        return self._likeness

    def _keep(self, rows: NDArray[np.intp]) -> None:
        if len(rows) == len(self._data):
            return
        if self._likeness is not None:
            self._likeness = self._likeness.take(rows)
        self._data, self._source = self._data.take(rows), self._source[rows]

    def _refuse_damaged(self) -> None:
        damaged = [one for one in self.skipped if one.damaged]
        if self._options.strict and damaged:
            raise UsageError(
                f"{damaged[0].path}: {damaged[0].reason}; {count(len(damaged), 'such file')} in all: "
                "remove them, or leave out --strict"
            )

    def _selected(self, sources: Sequence[Source]) -> tuple[Dataset, NDArray[np.intp]]:
        """The rows of all sources, of the classes that are asked for, and the number of each row's source."""
        merged = merge([source.data for source in sources])
        source = np.repeat(np.arange(len(sources)), [len(one.data) for one in sources])
        if self._options.classes is not None:
            label_names = selection.chosen_labels(merged, self._options.classes)
            kept = np.isin(merged.labels, [merged.label_names.index(name) for name in label_names])
            merged, source = relabelled(merged, label_names), source[kept]
        return merged, source

    def _drop(self) -> None:
        if not self._options.drop:
            return
        gone = selection.dropped(self._data, self.likeness, self._options.drop, self._official[self._source])
        phrases = [f"{len(rows):,} {name}" for name, rows in gone.items()]
        self.notes.append(f"dropped: {', '.join(phrases)}")
        keep = np.ones(len(self._data), bool)
        for rows in gone.values():
            keep[rows] = False
        self._keep(np.flatnonzero(keep))

    def _split(self) -> None:
        asked, official = self._options.split, self._official[self._source]
        if asked == "official" and not official.all():
            names = [name for name, own in zip(self._names, self._official, strict=True) if not own]
            raise UsageError(f"--split official: {names[0]} has no split; take --split stratified or subject")
        free = np.full(len(official), asked in ("stratified", "subject")) | ~official
        for number in np.flatnonzero(self._official):
            self._cut_validation(np.flatnonzero((self._source == number) & ~free))
        if not free.any():
            return
        data = self._data
        if asked is None or asked == "official":
            known = data.subjects is not None and bool((data.subjects[free] != "").all())
            asked = "subject" if known else "stratified"
            self.notes.append(f"no split of its own in {self._free_names(free)}: split {_way(asked)}")
        self._made = asked
        if asked == "subject" and free.all():
            groups = splits.by_subject(data, self.likeness)
        else:
            groups = splits.together(data, self.likeness, by_subject=asked == "subject")
        given = np.where(free, splits.FREE, data.split).astype(np.uint8)
        split = splits.assign(data.labels, groups, self._options.ratios, self._options.seed, given)
        self._data = replace(data, split=split)

    def _free_names(self, free: NDArray[np.bool_]) -> str:
        return ", ".join(self._names[number] for number in np.unique(self._source[free]))

    def _cut_validation(self, rows: NDArray[np.intp]) -> None:
        """Where one source has only train/ and test/: cut what choices are made on from its Training."""
        if not len(rows) or not splits.lacks_validation(part := self._data.take(rows)):
            return
        share, split = self._options.validation, self._data.split.copy()
        split[rows] = splits.cut_validation(part, self.likeness.take(rows), share, self._options.seed)
        self._data = replace(self._data, split=split)
        self.notes.append(
            f"{part.name} has no validation split: {share:.0%} of Training, of each class, became "
            "PublicTest; its test split is PrivateTest"
        )

    def _downsample(self) -> None:
        if (number := self._options.per_class) is None:
            return
        before = len(self._data)
        self._keep(selection.at_most(self._data, number, self._options.seed))
        self.notes.append(
            f"at most {number:,} rows of each class in Training: {before - len(self._data):,} left out"
        )

    def _refuse_empty_classes(self) -> None:
        data = self._data
        if not len(data):
            raise UsageError(f"{data.name}: no rows are left")
        training = data.rows(TRAINING)
        counts = np.bincount(data.labels[training], minlength=len(data.label_names))
        if len(training) and not counts.all():
            empty = [name for name, count in zip(data.label_names, counts, strict=True) if not count]
            rest = ",".join(name for name, count in zip(data.label_names, counts, strict=True) if count)
            raise UsageError(
                f"{data.name}: no Training row of the class {', '.join(empty)}; add some, or import the data "
                f"without it: --classes {rest}"
            )

    def _about(self) -> dict[str, Any]:
        options = self._options
        return {
            "map": dict(options.names),
            "split": self._made,
            "fps": options.fps,
            "ratios": list(options.ratios),
            "seed": options.seed,
            "classes": None if options.classes is None else list(options.classes),
            "per_class": options.per_class,
            "drop": sorted(options.drop),
            "skipped": [[one.path, one.reason] for one in self.skipped],
            "several_faces": list(self.crowded),
        }


def _timed(source: Source, fps: float | None) -> Source:
    """The source with the times of its numbered frames, counted from the first of each sequence."""
    data = source.data
    if fps is None or data.seconds is not None or data.sequences is None or data.frames is None:
        return source
    known = data.sequences >= 0
    first = np.full(int(data.sequences.max(initial=-1)) + 1, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, data.sequences[known], data.frames[known])
    seconds = np.full(len(data), np.nan)
    seconds[known] = (data.frames[known] - first[data.sequences[known]]) / fps
    return replace(source, data=replace(data, seconds=seconds))


def _way(split: str) -> str:
    way = {"subject": "by subject", "stratified": "stratified by class"}[split]
    return f"{way} into {', '.join(SPLITS)}"
