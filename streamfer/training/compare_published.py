"""Puts what publications report beside what was measured, and says whether it is the same measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamfer.api import Published
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, Dataset
from streamfer.training.metrics import Scalar
from streamfer.types import LABELS

_SPLITS = {"validation": PUBLIC, "test": PRIVATE}
"""FER2013's names for what publications on it call so."""

_FER2013 = "FER2013"
_ROWS = (28_709, 3_589, 3_589)
"""How many rows FER2013 has in each of `SPLITS`."""


def is_fer2013(data: Dataset) -> bool:
    """Whether the data has FER2013's classes, and as many rows in each split, whatever its name."""
    counts = tuple(len(data.rows(split)) for split in SPLITS)
    return counts == _ROWS and set(data.label_names) == set(LABELS)


def beside(
    one: Published,
    facts: Mapping[str, Any],
    accuracy: Scalar,
    data: Dataset,
    split: str,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """A published figure beside `accuracy`, measured on this split of this data (and only on `classes`, if
    there are any) with the model that has the card `facts`; JSON values.

    "same" says whether both are the same measurement, "differs" in words why they are not, and "place" where
    the published figure lies: "below", "inside" or "above" the interval; None where they are not the same.
    "card" is what the model's card states for the split of the publication, where it is another.
    """
    differs = []
    if one.data != _FER2013:
        differs.append(f"published on {one.data}")
    elif _SPLITS[one.split] != split:
        differs.append(f"published on the {one.split} rows ({_SPLITS[one.split]}), measured on {split}")
    if not is_fer2013(data):
        differs.append(f"measured on {data.name}, which is not FER2013 as published")
    if classes:
        differs.append(f"measured on {len(classes)} classes only")
    stated = facts.get("metrics", {}).get(_SPLITS[one.split], {}).get("accuracy")
    return {
        "accuracy": one.accuracy,
        "split": one.split,
        "data": one.data,
        "source": one.source,
        "same": not differs,
        "differs": "; ".join(differs) or None,
        "place": None if differs else _place(one.accuracy, accuracy),
        "card": stated if one.data == _FER2013 and _SPLITS[one.split] != split else None,
    }


def _place(published: float, measured: Scalar) -> str:
    low, high = measured["low"], measured["high"]
    assert low is not None and high is not None
    if published < low:
        return "below"
    return "above" if published > high else "inside"
