"""The names of expressions: ours, their aliases in the literature, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.types import LABELS

CANONICAL = (*LABELS, "contempt")
"""Every label that data may have, in the order of the class indices."""

DROP = "drop"
"""The target of a mapping that leaves a class out."""

_ALIASES = {
    "angry": ("anger", "an", "marah"),
    "disgust": ("disgusted", "di", "jijik"),
    "fear": ("fearful", "afraid", "fe", "takut"),
    "happy": ("happiness", "ha", "senang", "bahagia"),
    "sad": ("sadness", "sa", "sedih"),
    "surprise": ("surprised", "su", "terkejut"),
    "neutral": ("ne", "netral"),
    "contempt": ("contemptuous",),
}
"""FER+, CK+ and AffectNet write nouns, KDEF and RaFD adjectives, JAFFE two letters; IMED is Indonesian."""

_KNOWN = {name: name for name in CANONICAL} | {
    alias: name for name, aliases in _ALIASES.items() for alias in aliases
}


def known(name: str) -> str | None:
    """Our name of an expression, or None if it is not one that we know."""
    return _KNOWN.get(name.strip().lower())


def canonical(name: str, names: Mapping[str, str], where: str) -> str | None:
    """Our name of a class that `where` calls `name`; None if the mapping `names` leaves it out.

    Case does not matter. `UsageError`, naming the class and the way to map it, if nobody knows it.
    """
    folded = name.strip().lower()
    chosen = {theirs.lower(): ours for theirs, ours in names.items()}.get(folded)
    if chosen is None:
        if folded in _KNOWN:
            return _KNOWN[folded]
        raise UsageError(
            f"{where}: no expression is known as '{name}'; import the data with "
            f"--map '{name}=happy' or whichever it is ({', '.join(CANONICAL)}), or --map '{name}=drop'"
        )
    if chosen.lower() == DROP:
        return None
    target = known(chosen)
    if target is None:
        raise UsageError(f"--map {name}={chosen}: expected one of {', '.join(CANONICAL)}, or {DROP}")
    return target


def renamed(
    labels: NDArray[np.integer], theirs: Sequence[str], names: Mapping[str, str], where: str
) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.uint8]]:
    """From indices into the class names of a source to indices into ours.

    Gives the label names in canonical order, those without rows included; the rows that stay, as a mapping
    may leave classes out; and the uint8 labels of these rows.
    """
    ours = [canonical(name, names, where) for name in theirs]
    label_names = ordered(name for name in ours if name is not None)
    index = np.array([-1 if name is None else label_names.index(name) for name in ours], np.int64)
    found = index[labels] if len(labels) else np.empty(0, np.int64)
    rows = np.flatnonzero(found >= 0)
    return label_names, rows, found[rows].astype(np.uint8)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each of these labels once, in canonical order."""
    given = set(names)
    return tuple(name for name in CANONICAL if name in given)


def relabelled(data: Dataset, label_names: tuple[str, ...]) -> Dataset:
    """The same data with these labels; rows of labels that are not among them are left out."""
    if label_names == data.label_names:
        return data
    index = np.array(
        [label_names.index(name) if name in label_names else len(label_names) for name in data.label_names]
    )
    labels = index[data.labels]
    rows = np.flatnonzero(labels < len(label_names))
    kept = data if len(rows) == len(data) else data.take(rows)
    return replace(kept, labels=labels[rows].astype(np.uint8), label_names=label_names)
