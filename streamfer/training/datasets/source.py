"""What every reader gives: the rows of one source, and what it could not take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from streamfer.training.dataset import Dataset


class Skipped(NamedTuple):
    """A file that gave no row, by its path below the source, and the reason in a few words. `damaged`: not
    even a picture could be read from it."""

    path: str
    reason: str
    damaged: bool


@dataclass(frozen=True, eq=False)
class Source:
    """The rows of one source, with our label names. Where the source has no split of its own (`official` is
    false) the split of `data` means nothing. `crowded` names the photos with several faces, of which the one
    that was found most clearly was taken."""

    data: Dataset
    official: bool
    skipped: tuple[Skipped, ...] = ()
    crowded: tuple[str, ...] = ()
