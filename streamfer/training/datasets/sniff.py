"""Tells what a path holds and reads it: our file, a csv, an .npz archive, or a folder of pictures."""

from __future__ import annotations

import zipfile
from pathlib import Path

from streamfer.errors import UsageError
from streamfer.training import dataset
from streamfer.training.datasets import arrays, fercsv, folder
from streamfer.training.datasets.labels import ordered, relabelled
from streamfer.training.datasets.options import Options, Progress
from streamfer.training.datasets.source import Source


def read(path: Path, options: Options, progress: Progress) -> Source:
    """The rows at `path`. By content, not by the file's suffix; `UsageError` if it holds nothing we know."""
    if path.is_dir():
        return folder.read(path, options, progress)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    try:
        with path.open("rb") as file:
            start = file.read(512)
        ours = dataset.is_dataset(path)
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read: {reason}") from error
    if ours:
        data = dataset.load(path)
        return Source(relabelled(data, ordered(data.label_names)), official=True)
    if zipfile.is_zipfile(path):
        if not any(name.endswith(".npy") for name in zipfile.ZipFile(path).namelist()):
            raise UsageError(f"{path}: an archive; unpack it and name the csv file or the folder in it")
        return arrays.read(path, options)
    if path.suffix.lower() == ".csv" or b"emotion" in start.partition(b"\n")[0]:
        return fercsv.read(path, options, progress)
    if path.suffix.lower() == ".npz":
        raise UsageError(f"{path}: a damaged .npz file: it does not end as one; copy or download it again")
    raise UsageError(
        f"{path}: not a data set; expected a file of 'streamfer dataset import', fer2013.csv, an .npz "
        "archive or a folder of pictures"
    )
