"""Tests on the same rows for two classifiers: McNemar's exact test, and Holm's correction for many pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""Two classifiers are called distinguishable where the corrected p is below."""


class McNemar(NamedTuple):
    """The rows that only one of two classifiers answers right, and the p of the exact test on them."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Whether two classifiers, right on the rows (n,) where these are true, differ in accuracy.

    Only the discordant rows count: if neither is better, each of them is right for either with probability
    one half (McNemar 1947). The p is two-sided and exact, by the binomial distribution; 1 without such rows.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # scipy has no types

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def holm(values: Sequence[float]) -> list[float]:
    """The p of each of several tests, corrected so that the chance of any false one stays at the level.

    Holm 1979: the smallest times their number, the next times one less, …; none below one before it, none
    above 1.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    scaled = (min(1.0, values[place] * (len(values) - rank)) for rank, place in enumerate(order))
    corrected = dict(zip(order, accumulate(scaled, max), strict=True))
    return [corrected[place] for place in range(len(values))]
