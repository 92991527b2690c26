"""Measures what is served: a classifier's own `predict`, on the rows of one split of labelled faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError, UsageError
from streamfer.training.dataset import FERPLUS_NAMES, SPLITS, TRAINING, Dataset
from streamfer.training.metrics import measure
from streamfer.training.served import Served, open_classifier
from streamfer.training.speed import ms_per_face
from streamfer.types import CropSpec

__all__ = ["TIE", "Evaluation", "Served", "evaluate", "fitted", "majority", "open_classifier"]

_BATCH = 64

TIE = "tie"
"""Stands for the majority of FER+ votes where no name has more votes than every other."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured: `figures`, JSON values as docs/evaluation.md lists them, and what they stand on.

    `rows` (n,) are the rows of the split, `data` holds only them; `truth` (n,) are their labels and
    `probabilities` (n, k) the answers, both by the classifier's k labels.
    """

    served: Served
    rows: NDArray[np.intp]
    data: Dataset
    truth: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    figures: dict[str, Any]


def evaluate(
    served: Served,
    data: Dataset,
    split: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
    timed: bool = True,
    advance: Callable[[int], object] = lambda _: None,
) -> Evaluation:
    """Run the classifier over one split and measure it.

    `timed`: also measure the time per face, which takes some seconds. `advance` is called after each batch
    with the number of its faces.
    `UsageError` for a split that is unknown or empty and for labels that the classifier does not have.
    """
    rows = data.rows(split)
    if not len(rows):
        there = ", ".join(f"{name} {len(data.rows(name)):,}" for name in SPLITS if len(data.rows(name)))
        raise UsageError(f"{data.name}: no rows in {split}; choose with --split from what it has: {there}")
    places = _label_places(served, data)
    chosen = data.take(rows)
    truth = places[chosen.labels]
    probabilities = _predict(served, chosen.images, advance)

    def figures_of(mask: NDArray[np.bool_]) -> dict[str, Any]:
        return measure(probabilities[mask], truth[mask], served.labels, resamples=resamples, seed=seed)

    all_rows = figures_of(np.ones(len(rows), np.bool_))
    unseen = np.isin(rows, data.unseen_rows(split))
    # Without a Training split nobody knows what the classifier has seen; and all of Training, it has.
    comparable = len(data.rows(TRAINING)) and unseen.any()
    without = figures_of(unseen) if comparable else None
    macs = served.facts.get("macs")
    figures = {
        "classifier": served.spec.name,
        "split": split,
        **{key: all_rows[key] for key in ("n", "accuracy")},
        "accuracy_without_duplicates": without and without["accuracy"],
        **{key: all_rows[key] for key in ("ece", "auc")},
        "ms_per_face": ms_per_face(served.spec, *served.crops) if timed else None,
        **{key: all_rows[key] for key in ("macro", "weighted", "per_class", "confusion_matrix")},
        "labels": list(served.labels),
        "ferplus": None
        if chosen.votes is None
        else _ferplus(chosen.votes, probabilities, served.labels, resamples, seed),
        "parameters": served.facts.get("parameters"),
        "flops": None if macs is None else 2 * macs,
        "size_bytes": served.size_bytes,
        "data": {"name": data.name, "rows": len(data), "sha256": data.sha256},
        "model": served.model,
        **({"members": served.member_models} if served.members else {}),
        "without_duplicates": without,
        "notes": _notes(served, data, split),
        "seed": seed,
        "resamples": resamples,
        "streamfer": version("streamfer"),
    }
    return Evaluation(served, rows, chosen, truth, probabilities, figures)


def majority(votes: NDArray[np.uint8]) -> list[str]:
    """For each row of FER+ votes (n, 10) the name with the most votes, of all ten; `TIE` if several have."""
    most = votes.max(axis=1, keepdims=True)
    single = (votes == most).sum(axis=1) == 1
    return [
        FERPLUS_NAMES[best] if alone else TIE
        for best, alone in zip(votes.argmax(axis=1), single, strict=True)
    ]


def fitted(images: NDArray[np.uint8], crop: CropSpec) -> NDArray[np.uint8]:
    """Images uint8 (n, height, width, 1 or 3) as the classifier's crops; untouched if they are that already.

    Resampled as `streamfer.preprocess` does: by averaging where they shrink, else linearly.
    """
    if images.shape[1:] == tuple(crop):
        return images
    import cv2

    _, height, width, channels = images.shape
    shrinks = crop.height * crop.width < height * width
    found = np.empty((len(images), *crop), np.uint8)
    for image, out in zip(images, found, strict=True):
        part: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if channels > crop.channels else image
        if (height, width) != (crop.height, crop.width):
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            part = cv2.resize(part, (crop.width, crop.height), interpolation=how)
        if channels < crop.channels:
            part = cv2.cvtColor(part, cv2.COLOR_GRAY2RGB)
        out[:] = part.reshape(crop)
    return found


def _label_places(served: Served, data: Dataset) -> NDArray[np.intp]:
    """For each of the data's labels its place among the classifier's."""
    name, known = served.spec.name, served.labels
    if unknown := [one for one in data.label_names if one not in known]:
        common = [one for one in known if one in data.label_names]
        raise UsageError(
            f"{data.name}: labels that the classifier '{name}' does not have: {', '.join(unknown)} "
            f"(it has {', '.join(known)}); "
            + (
                f"import the data with --classes {','.join(common)}"
                if common
                else "evaluate it on data with its labels"
            )
        )
    return np.array([known.index(one) for one in data.label_names], np.intp)


def _predict(
    served: Served, images: NDArray[np.uint8], advance: Callable[[int], object]
) -> NDArray[np.float32]:
    answers = []
    for first in range(0, len(images), _BATCH):
        faces = images[first : first + _BATCH]
        answer = np.asarray(served.predict(*(fitted(faces, crop) for crop in served.crops)), np.float32)
        if answer.shape != (len(faces), len(served.labels)) or not np.isfinite(answer).all():
            raise StartError(
                f"classifier '{served.spec.name}': {answer.shape} answers for {len(faces)} faces and "
                f"{len(served.labels)} labels; expected one finite probability for each label"
            )
        answers.append(answer)
        advance(len(faces))
    return np.concatenate(answers)


def _ferplus(
    votes: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    labels: tuple[str, ...],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Accuracy against what most voters say, on the rows where that is one of the labels."""
    names = majority(votes)
    rows = [row for row, name in enumerate(names) if name in labels]
    left_out = Counter(name for name in names if name not in labels)
    accuracy = None
    if rows:
        truth = np.array([labels.index(names[row]) for row in rows])
        accuracy = measure(probabilities[rows], truth, labels, resamples=resamples, seed=seed)["accuracy"]
    return {"n": len(rows), "accuracy": accuracy, "left_out": dict(sorted(left_out.items()))}


def _notes(served: Served, data: Dataset, split: str) -> list[str]:
    """What a reader of the figures must know about this data and this classifier."""
    notes = []
    if extra := [one for one in served.labels if one not in data.label_names]:
        notes.append(
            f"The data has no rows for {', '.join(extra)}: such an answer is wrong whatever the row shows; "
            "probabilities are as served, not renormalised."
        )
    if others := [_size(crop) for crop in served.crops if data.images.shape[1:] != tuple(crop)]:
        whose = "its members' crops" if served.members else "the classifier's crop"
        notes.append(
            f"The faces ({_size(data.images.shape[1:])}) were brought to {whose} ({', '.join(others)})."
        )
    if split == TRAINING:
        notes.append("Measured on Training, whose rows the classifier may have been fitted to.")
    elif not len(data.rows(TRAINING)):
        notes.append("The data has no Training rows, so nothing is known of duplicates.")
    if foreign := [name for name, digest in served.trained_on if digest != data.sha256]:
        notes.append(
            f"{'A member' if served.members else 'The model'} was trained on other data "
            f"({', '.join(foreign)}); which of these rows stand there too is not known."
        )
    notes += [f"Import of the data: {note}." for note in data.about.get("notes", ())]
    if skipped := len(data.about.get("skipped", ())):
        notes.append(f"Import of the data: {skipped:,} files gave no row.")
    return notes


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}×{height} {'gray' if channels == 1 else 'RGB'}"
