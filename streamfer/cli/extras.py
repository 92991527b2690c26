"""What the commands that train need besides the service's own packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamfer.errors import UsageError

if TYPE_CHECKING:
    from streamfer.training.dataset import Dataset

PACKAGES = ("jax", "keras", "matplotlib", "scipy", "sklearn", "tensorflow", "torch")


@contextmanager
def needs_training(command: str) -> Iterator[None]:
    """Make one line of an import that fails because the extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in PACKAGES:
            raise
        hint = f"pip install {missing}" if missing in ("jax", "torch") else "pip install 'streamfer[train]'"
        raise UsageError(f"{command} needs {missing}: {hint}") from error


def import_keras() -> None:
    """Import Keras and its backend without what they say of devices and instruction sets."""
    from streamfer.inference.litert import without_native_chatter

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_native_chatter():
        import keras

        keras.ops.zeros(())  # now it looks for its devices


def read_faces(path: Path) -> Dataset:
    """The data at `path`; what its import did and left out is said on standard error."""
    from streamfer.training import dataset, datasets

    data = datasets.load(path)
    if not (path.is_file() and dataset.is_dataset(path)):  # an import of its own has said it already
        for note in data.about.get("notes", ()):
            print(f"note: {note}", file=sys.stderr)
        if skipped := data.about.get("skipped", ()):
            name, reason = skipped[0]
            print(
                f"note: {len(skipped):,} of the files in {path} gave no face, such as {name}: {reason}; "
                "`streamfer dataset import` lists them all",
                file=sys.stderr,
            )
    return data
