"""Data sets from anywhere: csv files, .npz archives, folders of faces or photos; what is wrong with them; and
how they are split."""

from __future__ import annotations

from pathlib import Path

from streamfer.training import dataset
from streamfer.training.dataset import Dataset
from streamfer.training.datasets.importing import read_one

__all__ = ["load"]


def load(path: Path) -> Dataset:
    """The labelled faces at `path`: a file that `streamfer dataset import` wrote, or anything that it reads.

    What is not such a file is imported with the default options; `about["notes"]` says in sentences what was
    done about its split, `about["skipped"]` and `about["several_faces"]` name the files that gave no row and
    those with several faces. `UsageError` if it cannot be read.
    """
    if path.is_file() and dataset.is_dataset(path):
        return dataset.load(path)
    return read_one(path)
