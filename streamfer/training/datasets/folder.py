"""Reads folders of pictures or clips: CLASS/…, or SPLIT/CLASS/… such as train/happy/…; CK+48 and JAFFE
too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.datasets import clips, photos
from streamfer.training.datasets.arrays import columns_of
from streamfer.training.datasets.filenames import Facts, facts
from streamfer.training.datasets.labels import canonical, known, renamed
from streamfer.training.datasets.options import Options, Progress
from streamfer.training.datasets.source import Skipped, Source

_SPLITS = (
    dict.fromkeys(("train", "training"), TRAINING)
    | dict.fromkeys(("validation", "valid", "val", "dev", "publictest"), PUBLIC)
    | dict.fromkeys(("test", "testing", "privatetest"), PRIVATE)
)
"""What folders of a split are called, and the split that they become."""

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".jp2"}
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
"""What file managers leave behind; hidden files are passed over as well."""


@dataclass(frozen=True)
class _File:
    """A file, what it is called below the source, its class by the source's name, its split and its facts."""

    path: Path
    name: str
    label: str
    split: str | None
    facts: Facts


def read(folder: Path, options: Options, progress: Progress) -> Source:
    """The faces of a folder, in the order of the paths; of a folder of clips the frames of one face a clip.

    Folders of classes lie in it, or in folders train/, validation/ and test/ in it; what lies further down
    belongs to the class, and a folder between class and picture names the subject. Without folders of classes
    the file names must tell (JAFFE). File names of CK+ and JAFFE tell the subject, those of CK+ sequence and
    frame too. Symbolic links are followed. `UsageError` for a class that no mapping knows, for an empty
    folder, for pictures and clips in one, and if no file gives a face.
    """
    root = _root(folder)
    inside = _folders(root)
    splits = [one for one in inside if one.name.lower() in _SPLITS]
    stray: list[Skipped] = []
    if splits:
        stray = [
            Skipped(f"{one.name}/", "beside train/ and test/, and neither of them", damaged=False)
            for one in inside
            if one not in splits
        ]
        homes: list[tuple[Path, str | None]] = [(one, _SPLITS[one.name.lower()]) for one in splits]
    else:
        homes = [(root, None)]
    classes: list[str] = []
    files: list[_File] = []
    for home, split in homes:
        if folders := _folders(home):
            for one in folders:
                if canonical(one.name, options.names, str(one)) is None:
                    continue
                classes.append(one.name)
                files += [_file(path, root, one, split) for path in _files(one)]
            stray += [
                Skipped(path.relative_to(root).as_posix(), "lies in no class folder", damaged=False)
                for path in _entries(home)
                if path.suffix.lower() in _PICTURES | clips.SUFFIXES and not path.is_dir()
            ]
        else:
            found = [_file(path, root, home, split) for path in _files(home)]
            found = [one for one in found if canonical(one.label, options.names, str(one.path)) is not None]
            classes += [one.label for one in found]
            files += found
    if not files:
        raise UsageError(
            f"{folder}: no pictures or clips; expected folders of classes such as happy/, or train/happy/"
        )
    return _source(folder, files, tuple(dict.fromkeys(classes)), tuple(stray), options, progress)


def _source(
    folder: Path,
    files: list[_File],
    classes: tuple[str, ...],
    stray: tuple[Skipped, ...],
    options: Options,
    progress: Progress,
) -> Source:
    videos = [one.path.suffix.lower() in clips.SUFFIXES for one in files]
    if any(videos) and not all(videos):
        picture, clip = (files[videos.index(kind)].name for kind in (False, True))
        raise UsageError(
            f"{folder}: pictures and clips in one folder, such as {picture} and {clip}; keep them apart and "
            "import both: streamfer dataset import PICTURES CLIPS"
        )
    try:
        rows = (_clips if any(videos) else _pictures)(files, options, progress)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error
    theirs = np.array([classes.index(one.label) for one in rows.files])
    label_names, _, labels = renamed(theirs, classes, options.names, str(folder))
    data = Dataset(
        folder.resolve().name or "faces",
        rows.images,
        labels,
        np.array([SPLITS.index(one.split or TRAINING) for one in rows.files], np.uint8),
        label_names,
        origins=np.array([one.name for one in rows.files]),
        **rows.columns,
    )
    official = any(one.split for one in files)
    return Source(data, official, (*stray, *rows.skipped), rows.crowded)


class _Rows(NamedTuple):
    """Rows, the file of each, and the other columns that a data set has of them."""

    images: NDArray[np.uint8]
    files: list[_File]
    columns: dict[str, Any]
    skipped: tuple[Skipped, ...]
    crowded: tuple[str, ...]


def _pictures(files: list[_File], options: Options, progress: Progress) -> _Rows:
    faces = photos.read([one.path for one in files], [one.name for one in files], options, progress)
    kept = [files[number] for number in faces.kept]
    return _Rows(faces.images, kept, columns_of([one.facts for one in kept]), faces.skipped, faces.crowded)


def _clips(files: list[_File], options: Options, progress: Progress) -> _Rows:
    found = clips.read([one.path for one in files], [one.name for one in files], options, progress)
    kept = [files[number] for number in found.file]
    subjects = np.array([one.facts.subject for one in kept])
    columns = {
        "subjects": subjects if (subjects != "").any() else None,
        "sequences": np.unique(found.file, return_inverse=True)[1].astype(np.int32),
        "frames": found.frames,
        "seconds": found.seconds,
    }
    return _Rows(found.images, kept, columns, found.skipped, found.crowded)


def _root(folder: Path) -> Path:
    """The folder itself, or the one below that archives put everything into, such as CK+48/."""
    while (
        len(entries := _entries(folder)) == 1
        and entries[0].is_dir()
        and entries[0].name.lower() not in _SPLITS
        and known(entries[0].name) is None
        and _folders(entries[0])
    ):
        folder = entries[0]
    return folder


def _file(path: Path, root: Path, home: Path, split: str | None) -> _File:
    """The file of a class folder `home`, or of a folder where the file names tell the classes."""
    told = facts(path.name)
    name = path.relative_to(root).as_posix()
    below = path.relative_to(home).parts
    in_class = home.parent.name.lower() in _SPLITS if split else home != root
    if in_class:
        if len(below) > 1 and not told.subject:
            told = told._replace(subject=below[0])
        return _File(path, name, home.name, split, told)
    if told.label is None:
        raise UsageError(
            f"{path}: lies in no class folder and its name does not tell the expression; expected folders of "
            "classes such as happy/, or train/happy/"
        )
    return _File(path, name, told.label, split, told)


def _entries(folder: Path) -> list[Path]:
    """What a person sees in a folder, sorted by name."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error
    return [one for one in entries if not one.name.startswith(".") and one.name.lower() not in _CLUTTER]


def _folders(folder: Path) -> list[Path]:
    return [one for one in _entries(folder) if one.is_dir()]


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files below a folder. A link to a folder that it lies in is not followed."""
    real = folder.resolve()
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files(entry, (*above, real))
        else:
            yield entry
