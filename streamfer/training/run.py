"""The folder of a training run: whose run it is, its last checkpoint, its history, and what to tell of it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.data import Dataset
from streamfer.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run needs to go on after `epoch` complete epochs, which took `seconds`.

    `state` holds the trainer's variables, `average` the averaged weights, fed by `steps` batches.
    """

    epoch: int
    seconds: float
    state: list[NDArray[Any]]
    average: list[NDArray[Any]]
    steps: int


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.keras"
        self.summary = path / "run.json"
        self._history = path / "history.csv"
        self._checkpoint = path / "checkpoint.npz"
        self._plan = path / "plan.json"

    def claim(self, recipe: Recipe, data: Dataset) -> None:
        """Note what this run is made of; refuse a folder whose run is made of something else.

        A run may be resumed with another number of epochs, to stop earlier or to go on longer. The learning
        rate then follows the new plan from here on, and the change is noted, for the run can no longer be
        repeated from its recipe alone.
        """
        wanted: dict[str, Any] = {
            "recipe": recipe.model_dump(mode="json"),
            "data": data.sha256,
            "replanned": [],
        }
        if self._plan.exists():
            found = json.loads(self._plan.read_text(encoding="utf-8"))
            before = found["recipe"]["epochs"]
            same = found["recipe"] | {"epochs": recipe.epochs} == wanted["recipe"]
            if not same or found["data"] != data.sha256:
                raise UsageError(
                    f"{self.path}: holds a run with another recipe or other data; take another --out"
                )
            wanted["replanned"] = found["replanned"]
            if before != recipe.epochs and self._checkpoint.exists():
                with np.load(self._checkpoint) as file:
                    done = int(file["epoch"])
                if recipe.epochs < done:
                    raise UsageError(
                        f"{self.path}: has {done} epochs already; the recipe asks for {recipe.epochs}"
                    )
                wanted["replanned"].append({"epochs": before, "until": done})
        self.path.mkdir(parents=True, exist_ok=True)
        self._plan.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint in one step, so that a kill leaves the old one or the new one."""
        arrays: dict[str, Any] = {f"state{i}": array for i, array in enumerate(checkpoint.state)}
        arrays |= {f"average{i}": array for i, array in enumerate(checkpoint.average)}
        draft = self._checkpoint.with_name("draft.npz")
        np.savez(draft, epoch=checkpoint.epoch, seconds=checkpoint.seconds, steps=checkpoint.steps, **arrays)
        draft.replace(self._checkpoint)

    def restore(self) -> Checkpoint | None:
        """The last checkpoint; None if no epoch is complete."""
        if not self._checkpoint.exists():
            return None
        with np.load(self._checkpoint) as file:

            def arrays(prefix: str) -> list[NDArray[Any]]:
                return [file[f"{prefix}{i}"] for i in range(sum(name.startswith(prefix) for name in file))]

            state, average = arrays("state"), arrays("average")
            return Checkpoint(int(file["epoch"]), float(file["seconds"]), state, average, int(file["steps"]))

    def record(self, row: dict[str, Any]) -> None:
        """Append an epoch to the history; one that is run again after a kill replaces its old row."""
        kept = []
        if self._history.exists():
            with self._history.open(newline="", encoding="utf-8") as file:
                kept = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
        with self._history.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows([*kept, row])

    def finish(self, recipe: Recipe, data: Dataset, backend: str, seconds: float) -> None:
        """Write what the model card will tell of the run; this marks the run as complete."""
        summary = {
            "recipe": recipe.model_dump(mode="json"),
            "data": {"name": data.name, "rows": len(data.labels), "sha256": data.sha256},
            "trained": {
                "date": datetime.now(UTC).date().isoformat(),
                "keras": version("keras"),
                "tensorflow": version("tensorflow"),
                "backend": backend,
                "epochs": recipe.epochs,
                "seconds": round(seconds),
                "replanned": json.loads(self._plan.read_text(encoding="utf-8"))["replanned"],
            },
        }
        self.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
