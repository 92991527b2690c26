"""The folder of a training run: whose run it is, its last checkpoint, its history, and what to tell of it."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.training.files import replaced
from streamfer.training.recipe import Recipe
from streamfer.training.schedule import Watch, same_until

LIBRARIES = ("streamfer", "keras", "tensorflow", "jax", "torch", "numpy")
"""What can change the outcome of a run; their versions are kept with the weights."""

Arrays = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run needs to go on after `epoch` complete epochs, which took `seconds`.

    `state` holds the trainer's variables, random generators and optimizer included; `average` the averaged
    weights, fed by `steps` batches; `best` the averaged weights of the best epoch (only with early stopping).
    """

    epoch: int
    seconds: float
    steps: int
    state: Arrays
    average: Arrays
    best: Arrays = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)


class RunFolder:
    """Reads and writes the files of one run. Every file is replaced in one step: a kill leaves it whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.keras"
        self.summary = path / "run.json"
        self._history = path / "history.csv"
        self._checkpoint = path / "checkpoint.npz"
        self._plan = path / "plan.json"

    def claim(self, recipe: Recipe, data: Dataset) -> None:
        """Note what this run is made of; refuse a folder whose run is made of something else.

        A run may be resumed with another number of epochs. Where that would have changed the epochs that are
        done already (a cosine has another slope), it is noted, for the run can then no longer be repeated
        from its recipe alone.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}; name a folder to write to") from error
        wanted: dict[str, Any] = {
            "recipe": recipe.model_dump(mode="json"),
            "data": {"name": data.name, "sha256": data.sha256},
            "replanned": [],
        }
        if self._plan.exists():
            found = json.loads(self._plan.read_text(encoding="utf-8"))
            self._compare(found, wanted)
            before, done = Recipe.model_validate(found["recipe"]), self._epochs_done()
            if recipe.epochs < done:
                raise UsageError(
                    f"{self.path}: has {done} epochs already, the recipe asks for {recipe.epochs}; take "
                    "another --out"
                )
            wanted["replanned"] = found["replanned"]
            if not same_until(before, recipe, done):
                wanted["replanned"].append({"epochs": before.epochs, "until": done})
        with replaced(self._plan) as draft:
            _dump(draft, wanted)

    def _compare(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        here, new = found["data"], wanted["data"]
        if here["sha256"] != new["sha256"]:
            raise UsageError(
                f"{self.path}: was trained on {here['name']} (sha256 {here['sha256'][:12]}…); this is other "
                f"data, {new['name']} (sha256 {new['sha256'][:12]}…): give the first, or another --out"
            )
        recipe = wanted["recipe"]
        old = Recipe.model_validate(found["recipe"]).model_dump(mode="json")
        # A run may go on for longer, a plugin's file may be moved, and the others are the export's business.
        free = {"epochs", "plugins", "version", "flip_average"}
        changed = [key for key in recipe if key not in free and old[key] != recipe[key]]
        if changed:
            raise UsageError(
                f"{self.path}: holds a run of another recipe (not the same: {', '.join(changed)}); "
                "take another --out"
            )

    def _epochs_done(self) -> int:
        if not self._checkpoint.exists():
            return 0
        with np.load(self._checkpoint) as file:
            return int(json.loads(file["head"].tobytes())["epoch"])

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint. Raises `UsageError` when the disk is full; the one before then stands."""
        head = {
            "epoch": checkpoint.epoch,
            "seconds": checkpoint.seconds,
            "steps": checkpoint.steps,
            "watch": asdict(checkpoint.watch),
        }
        arrays: dict[str, Any] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
        for name in ("state", "average", "best"):
            arrays |= {f"{name}{i}": array for i, array in enumerate(getattr(checkpoint, name))}

        def write(draft: Path) -> None:
            with draft.open("wb") as file:
                np.savez(file, **arrays)

        self._keep(
            self._checkpoint, write, f"the checkpoint of epoch {checkpoint.epoch}", checkpoint.epoch - 1
        )

    def restore(self) -> Checkpoint | None:
        """The last checkpoint; None if no epoch is complete."""
        if not self._checkpoint.exists():
            return None
        with np.load(self._checkpoint) as file:
            head = json.loads(file["head"].tobytes())

            def arrays(prefix: str) -> Arrays:
                return [file[f"{prefix}{i}"] for i in range(sum(name.startswith(prefix) for name in file))]

            watch = Watch(**head.pop("watch"))
            return Checkpoint(
                **head, state=arrays("state"), average=arrays("average"), best=arrays("best"), watch=watch
            )

    def record(self, row: dict[str, Any]) -> None:
        """Add an epoch to the history; one that is run again after a kill replaces its old row."""
        rows = [*(old for old in self.history() if old["epoch"] < row["epoch"]), row]

        def write(draft: Path) -> None:
            with draft.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
                writer.writerows(rows)

        self._keep(self._history, write, "the history", row["epoch"] - 1)

    def history(self) -> list[dict[str, Any]]:
        """A row an epoch, as it was recorded."""
        if not self._history.exists():
            return []
        with self._history.open(newline="", encoding="utf-8") as file:
            return [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]

    def finish(
        self, recipe: Recipe, data: Dataset, backend: str, last: Checkpoint, save: Callable[[Path], None]
    ) -> None:
        """Have `save` write the model to the path it is given, and then write what its card will tell of the
        run; this marks the run as complete."""
        self._keep(self.model, save, "the model", last.epoch)
        summary = {
            "recipe": recipe.model_dump(mode="json", exclude={"plugins"}),
            "labels": list(data.label_names),
            "input": list(data.images.shape[1:]),
            "data": {"name": data.name, "rows": len(data), "sha256": data.sha256, **_mapped(data)},
            "history": self.history(),
            "trained": {
                "date": datetime.now(UTC).date().isoformat(),
                "backend": backend,
                "python": platform.python_version(),
                **{name: found for name in LIBRARIES if (found := _version(name)) is not None},
                "epochs": last.epoch,
                "epoch_taken": last.watch.best_epoch if recipe.early_stopping else last.epoch,
                "seconds": round(last.seconds),
                "replanned": json.loads(self._plan.read_text(encoding="utf-8"))["replanned"],
            },
        }
        self._keep(self.summary, lambda file: _dump(file, summary), "run.json", last.epoch)

    def _keep(self, path: Path, write: Callable[[Path], None], what: str, safe: int) -> None:
        """Write a file by way of a draft; a full disk is one line that says which epochs are safe."""
        try:
            with replaced(path, path.suffix) as draft:  # Keras goes by the name's ending
                write(draft)
        except OSError as error:
            kept = f"epochs 1 to {safe} are safe" if safe else "nothing is lost but this epoch"
            raise UsageError(
                f"{path}: {what} cannot be written: {error.strerror or error}; {kept}: free some space and "
                "run the same command again"
            ) from error


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _mapped(data: Dataset) -> dict[str, Any]:
    """The table by which classes of the source were renamed or left out, if there was one."""
    table = data.about.get("map")
    return {"map": table} if table else {}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
