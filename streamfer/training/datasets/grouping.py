"""Groups of rows that belong together, built up from pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Groups:
    """A partition of rows 0..n-1, each alone at first (union-find with path halving)."""

    def __init__(self, rows: int) -> None:
        self._parent = list(range(rows))

    def join(self, one: int, other: int) -> None:
        """Rows `one` and `other` are in one group from now on, with all of both groups."""
        a, b = self._first(one), self._first(other)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def join_equal(self, values: NDArray[Any], known: NDArray[np.bool_] | None = None) -> None:
        """Rows with equal values are in one group from now on; those that are not `known` are left alone."""
        rows = np.arange(len(values)) if known is None else np.flatnonzero(known)
        first: dict[Any, int] = {}
        for row, value in zip(rows.tolist(), values[rows].tolist(), strict=True):
            start = first.setdefault(value, row)
            if start != row:
                self.join(start, row)

    def ids(self) -> NDArray[np.intp]:
        """For each row the least row of its group."""
        return np.array([self._first(row) for row in range(len(self._parent))], np.intp)

    def _first(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row


def members(ids: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The rows of every group of at least two, groups and rows rising."""
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order])) + 1
    return [group for group in np.split(order, starts) if len(group) > 1]
