"""Measures several classifiers on the same rows, and says which of the differences are more than noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Published
from streamfer.errors import UsageError
from streamfer.inference.card import locate
from streamfer.inference.described import with_mode
from streamfer.plugins import Registry
from streamfer.training.compare_classes import answering, only
from streamfer.training.compare_published import beside
from streamfer.training.compare_reading import reading
from streamfer.training.dataset import Dataset
from streamfer.training.evaluate import Evaluation, Served, evaluate, majority, open_classifier
from streamfer.training.metrics import Key, Resampled, excludes_zero, resampled
from streamfer.training.paired import LEVEL, holm, mcnemar

ALL, UNSEEN, FERPLUS = "all rows", "without train duplicates", "majority of the FER+ voters"

_MEANS = (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
FIGURES: tuple[tuple[str, Key], ...] = (
    ("accuracy", ("accuracy",)),
    *((f"{name}, {mean}", (mean, kind)) for mean in ("macro", "weighted") for kind, name in _MEANS),
    ("AUC, mean of the classes", ("auc",)),
    ("expected calibration error", ("ece",)),
)
"""The figures that are compared, as people and as `streamfer.training.metrics` name them."""

_BY_ACCURACY = (("accuracy",), ("weighted", "recall"))
"""Two names of one figure, which the exact test decides."""

_SHARED = ("classifier", "split", "n", "labels", "data", "notes", "seed", "resamples", "streamfer")

_Drawn = Sequence[Mapping[Key, Resampled]]
"""For each classifier its figures on one set of rows."""


class Entrant(NamedTuple):
    """A classifier to be compared: what it is called, what runs, what others report for it."""

    title: str
    served: Served
    published: tuple[Published, ...] = ()


def enter(
    names: Sequence[str], models: Sequence[tuple[str, str]] = (), plugins: Sequence[Path] = ()
) -> list[Entrant]:
    """The classifiers `names`, each with the model of its plugin, then those of `models`, (name, card).

    Two models of one network are told apart by their versions, or by their hashes if these are equal.
    `UsageError` for what is not there or comes twice, `StartError` for a model that cannot run.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"{name}: named twice; compare it with another model by --model {name}=CARD")
    registry = Registry.discover(plugins)
    found: list[tuple[Served, tuple[Published, ...]]] = []
    for chosen, model in [*((name, None) for name in names), *models]:
        component = registry.get("classifier", with_mode(chosen)[0]).component
        shipped = component.model_files
        if component.network is not None and model is None and not (shipped and _is_there(shipped[0])):
            raise UsageError(f"{chosen}: its plugin ships no trained model; name one: --model {chosen}=CARD")
        served = open_classifier(chosen, model, plugins=plugins)
        for other, _ in found:
            if (
                served.file
                and other.file
                and served.spec.name == other.spec.name
                and _hash(served) == _hash(other)
            ):
                raise UsageError(f"{chosen}={model}: the same model as {other.title}; compare different ones")
        found.append((served, component.published))
    titles = [served.title for served, _ in found]
    return [
        Entrant(
            served.title if titles.count(served.title) == 1 else f"{served.title} ({_hash(served)[:7]})",
            served,
            published,
        )
        for served, published in found
    ]


def compare(
    entrants: Sequence[Entrant],
    data: Dataset,
    split: str,
    *,
    classes: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
    timed: bool = True,
    advance: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure the classifiers on one split, each as `evaluate` does; JSON values, as docs/evaluation.md has
    them.

    `classes`: only the rows of these, with answers restricted to them. `timed` and `advance` as for
    `evaluate`. `UsageError` for a split without rows, for labels that do not fit.
    """
    part = only(data, classes) if classes else data
    fitting = [answering(entrant.served, part.label_names, restricted=bool(classes)) for entrant in entrants]
    found = [
        evaluate(one, part, split, resamples=resamples, seed=seed, timed=timed, advance=advance)
        for one in fitting
    ]
    sets = [
        (name, _drawn(found, rows, truth, resamples, seed)) for name, rows, truth in _sets(found, part, split)
    ]
    titles = [entrant.title for entrant in entrants]
    pairs = _pairs(titles, found, sets[0][1])
    figures: dict[str, Any] = {
        "split": split,
        "n": len(found[0].rows),
        "labels": list(part.label_names),
        "only": list(part.label_names) if classes else None,
        "classifiers": [
            {
                "title": entrant.title,
                "classifier": entrant.served.spec.name,
                **{key: value for key, value in one.figures.items() if key not in _SHARED},
                "published": [
                    beside(published, entrant.served.facts, one.figures["accuracy"], data, split, classes)
                    for published in entrant.published
                ],
            }
            for entrant, one in zip(entrants, found, strict=True)
        ],
        "figures": [row for name, drawn in sets for row in _rows(name, drawn, titles, pairs)],
        "pairs": pairs,
        "differences": _differences(part.label_names, titles, sets[0][1]),
        "data": {"name": data.name, "rows": len(data), "sha256": data.sha256},
        "notes": _notes(titles, found, classes),
        "level": LEVEL,
        "seed": seed,
        "resamples": resamples,
        "streamfer": version("streamfer"),
    }
    return figures | {"reading": reading(figures)}


def _is_there(card: str) -> bool:
    return locate(card).is_file()


def _hash(served: Served) -> str:
    return served.file.sha256 if served.file else ""


def _sets(
    found: Sequence[Evaluation], data: Dataset, split: str
) -> list[tuple[str, NDArray[np.intp], NDArray[np.intp]]]:
    """The sets of rows that figures are given on: name, places in the split, labels there."""
    one = found[0]
    places = np.arange(len(one.rows))
    sets = [(ALL, places, one.truth)]
    if one.figures["without_duplicates"]:
        unseen = places[np.isin(one.rows, data.unseen_rows(split))]
        sets.append((UNSEEN, unseen, one.truth[unseen]))
    if one.data.votes is not None:
        labels = list(data.label_names)
        voted = [
            (row, labels.index(name)) for row, name in enumerate(majority(one.data.votes)) if name in labels
        ]
        if voted:
            rows, truth = np.array(voted, np.intp).T
            sets.append((FERPLUS, rows, truth))
    return sets


def _drawn(
    found: Sequence[Evaluation], rows: NDArray[np.intp], truth: NDArray[np.intp], resamples: int, seed: int
) -> _Drawn:
    return [
        resampled(one.probabilities[rows], truth, one.probabilities.shape[1], resamples=resamples, seed=seed)
        for one in found
    ]


def _pairs(titles: Sequence[str], found: Sequence[Evaluation], drawn: _Drawn) -> list[dict[str, Any]]:
    right = [one.probabilities.argmax(axis=1) == one.truth for one in found]
    places = list(combinations(range(len(found)), 2))
    tests = [mcnemar(right[first], right[second]) for first, second in places]
    corrected = holm([test.p for test in tests])
    return [
        {
            "first": titles[first],
            "second": titles[second],
            "only_first": test.only_first,
            "only_second": test.only_second,
            "p": test.p,
            "p_holm": p,
            "distinguishable": p < LEVEL,
            "difference": drawn[first]["accuracy",].minus(drawn[second]["accuracy",]),
        }
        for (first, second), test, p in zip(places, tests, corrected, strict=True)
    ]


def _rows(
    rows: str, drawn: _Drawn, titles: Sequence[str], pairs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """For each figure its values, which is best, and which cannot be told from it."""
    apart = {frozenset((pair["first"], pair["second"])) for pair in pairs if pair["distinguishable"]}
    found = []
    for name, key in FIGURES[: 1 if rows == FERPLUS else None]:
        values = [one[key] for one in drawn]
        defined = [place for place, value in enumerate(values) if not np.isnan(value.value)]
        sign = -1 if key == ("ece",) else 1
        best = max(defined, key=lambda place: sign * values[place].value, default=None)

        def same(place: int, best: int, key: Key = key, values: list[Resampled] = values) -> bool:
            if rows == ALL and key in _BY_ACCURACY:
                return frozenset((titles[place], titles[best])) not in apart
            return not excludes_zero(values[place].minus(values[best]))

        found.append(
            {
                "figure": name,
                "key": ".".join(map(str, key)),
                "rows": rows,
                "values": [value.scalar() for value in values],
                "best": best,
                "not_distinguishable": [
                    place for place in defined if best is not None and place != best and same(place, best)
                ],
            }
        )
    return found


def _differences(labels: Sequence[str], titles: Sequence[str], drawn: _Drawn) -> list[dict[str, Any]]:
    """Recall and F1 of each class, against the first classifier."""
    return [
        {
            "classifier": titles[place],
            "minus": titles[0],
            "per_class": {
                label: {kind: one[kind, index].minus(drawn[0][kind, index]) for kind in ("recall", "f1")}
                for index, label in enumerate(labels)
            },
        }
        for place, one in enumerate(drawn)
        if place
    ]


def _notes(titles: Sequence[str], found: Sequence[Evaluation], classes: Sequence[str]) -> list[str]:
    """What holds for all is said once, the rest with the classifier's name."""
    notes = []
    if classes:
        notes.append(
            f"Only the rows of {len(classes)} classes ({', '.join(found[0].served.labels)}), and the answers "
            "restricted to them: the other probabilities are left out and the rest add up to 1 again. A "
            "classifier that knows other classes is not served like this."
        )
    each = [one.figures["notes"] for one in found]
    for note in dict.fromkeys(note for notes_of_one in each for note in notes_of_one):
        said = [title for title, notes_of_one in zip(titles, each, strict=True) if note in notes_of_one]
        notes.append(note if len(said) == len(titles) else f"{', '.join(said)}: {note}")
    return notes
