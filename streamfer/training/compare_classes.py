"""Puts classifiers and data on the same classes: the rows of some of them, and the answers among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.training.evaluate import Served


@dataclass(frozen=True, eq=False)
class Part(Dataset):
    """Some rows of a data set. Its hash is that of the whole, and so is what counts as a duplicate: a
    picture that stands in Training under a label that is left out has been trained on all the same.

    `kept` (n,) are the rows of `whole` that are here.
    """

    whole: Dataset | None = None
    kept: NDArray[np.intp] | None = None

    def unseen_rows(self, split: str) -> NDArray[np.intp]:
        assert self.whole is not None and self.kept is not None
        return np.flatnonzero(np.isin(self.kept, self.whole.unseen_rows(split)))

    @property
    def sha256(self) -> str:
        assert self.whole is not None
        return self.whole.sha256


def only(data: Dataset, names: Sequence[str]) -> Dataset:
    """The rows of these classes, whose names stay in the order of the data; all of them: the data itself.

    `UsageError` for fewer than two names, for one that is there twice and for one the data does not have.
    """
    if unknown := [one for one in names if one not in data.label_names]:
        raise UsageError(
            f"--only {','.join(names)}: {data.name} has no label {', '.join(unknown)}; it has "
            f"{', '.join(data.label_names)}"
        )
    if len(set(names)) < len(names) or len(names) < 2:
        raise UsageError(f"--only {','.join(names)}: expected two or more different labels")
    if len(names) == len(data.label_names):
        return data
    chosen = tuple(one for one in data.label_names if one in names)
    place = np.full(len(data.label_names), len(chosen), np.uint8)
    place[[data.label_names.index(one) for one in chosen]] = np.arange(len(chosen))
    kept = np.flatnonzero(place[data.labels] < len(chosen))
    part = data.take(kept)
    columns = {name: getattr(part, name) for name in Dataset.__dataclass_fields__}
    columns |= {"labels": place[part.labels], "label_names": chosen}
    return Part(**columns, whole=data, kept=kept)


def answering(served: Served, names: Sequence[str], *, restricted: bool) -> Served:
    """The classifier with its answers in the order of `names`.

    `restricted`: to these, whatever else it knows, with probabilities that add up to 1 again (equal ones
    where it gives none of them any). `UsageError` if a name is missing, or if one is left over otherwise.
    """
    known = served.labels
    missing = [one for one in names if one not in known]
    extra = [] if restricted else [one for one in known if one not in names]
    if missing or extra:
        common = [one for one in names if one in known]
        raise UsageError(
            f"{served.title} has other labels than the data: {_difference(missing, extra)}; "
            + (
                f"compare with --only {','.join(common)}"
                if len(common) > 1
                else "they have too few in common"
            )
        )
    if tuple(names) == known:
        return served
    columns = [known.index(one) for one in names]

    def predict(*crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        chosen: NDArray[np.float32] = served.predict(*crops)[:, columns]
        if restricted:
            total = chosen.sum(axis=1, keepdims=True)
            even = np.full_like(chosen, 1 / len(columns))
            chosen = np.divide(chosen, total, out=even, where=total > 0)
        return chosen

    return replace(served, labels=tuple(names), predict=predict)


def _difference(missing: Sequence[str], extra: Sequence[str]) -> str:
    parts = [f"it lacks {', '.join(missing)}"] if missing else []
    parts += [f"the data has no {', '.join(extra)}"] if extra else []
    return " and ".join(parts)
