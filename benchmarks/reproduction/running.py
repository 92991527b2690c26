"""Runs one experiment: makes its data, trains by its recipe, measures what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.live import machine
from benchmarks.reproduction.catalogue import Experiment, Sources
from benchmarks.reproduction.faces import crossing
from streamfer.training import metrics
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, Dataset
from streamfer.training.recipe import Recipe
from streamfer.training.run import LIBRARIES, RunFolder
from streamfer.training.train import Progress, train


def settings(experiment: Experiment) -> dict[str, Any]:
    """The recipe of an experiment, as its result keeps it."""
    return experiment.load_recipe().model_dump(mode="json", exclude={"plugins"})


def is_done(experiment: Experiment, sources: Sources, result: dict[str, Any] | None) -> bool:
    """Whether there is a result, of today's recipe and of the data that is given."""
    if result is None:
        return False
    was = Recipe.model_validate(result["settings"])  # with the defaults of what came later
    same = was.model_dump(mode="json", exclude={"plugins"}) == settings(experiment)
    return same and bool(result["sources"] == sources.hashes(experiment.needs_ckplus))


def run(experiment: Experiment, sources: Sources, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train in `folder`, going on where a run was stopped, and measure; the result as JSON values.

    `validation` is PublicTest at the epoch that was taken, `test` PrivateTest; `test_unseen` is that of the
    PrivateTest rows whose face does not stand in Training, null where none does.
    """
    import keras

    data = experiment.data(sources)
    keras.backend.clear_session()
    done = train(experiment.load_recipe(), data, folder, progress)
    return {
        "recipe": experiment.recipe.stem,
        "settings": settings(experiment),
        "sources": sources.hashes(experiment.needs_ckplus),
        "data": {
            "name": data.name,
            "sha256": data.sha256,
            "labels": list(data.label_names),
            "rows": {split: len(data.rows(split)) for split in SPLITS},
            "crossing": round(crossing(data), 4),
        },
        **_measured(data, keras.models.load_model(done.model, compile=False)),
        **_told(done),
        "machine": machine(),
    }


def _measured(data: Dataset, model: Any) -> dict[str, Any]:
    public, private = data.rows(PUBLIC), data.rows(PRIVATE)
    unseen = data.unseen_rows(PRIVATE)
    answers = probabilities(model, data, private)
    return {
        "validation": _figures(data, public, probabilities(model, data, public)),
        "test": _figures(data, private, answers),
        "test_unseen": None
        if len(unseen) == len(private)
        else _figures(data, unseen, answers[np.searchsorted(private, unseen)]),
    }


def probabilities(model: Any, data: Dataset, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """What a Keras model, faces to logits, answers to these rows: float32 (len(rows), labels)."""
    found = [
        _softmax(np.asarray(model.predict_on_batch(data.inputs(rows[start : start + 256]))))
        for start in range(0, len(rows), 256)
    ]
    return np.concatenate(found)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _figures(data: Dataset, rows: NDArray[np.intp], answers: NDArray[np.float32]) -> dict[str, Any]:
    """Those of the figures that the page needs."""
    figures = metrics.measure(answers, data.labels[rows], data.label_names)
    return {
        "n": figures["n"],
        "accuracy": figures["accuracy"],
        "balanced_accuracy": figures["macro"]["recall"],
        "confusion_matrix": figures["confusion_matrix"],
    }


def _told(done: RunFolder) -> dict[str, Any]:
    """What the run says of itself."""
    trained = json.loads(done.summary.read_text(encoding="utf-8"))["trained"]
    taken = next(row for row in done.history() if row["epoch"] == trained["epoch_taken"])
    return {
        "epochs": trained["epochs"],
        "epoch_taken": trained["epoch_taken"],
        "training_accuracy": taken["accuracy"],
        "seconds": trained["seconds"],
        "date": trained["date"],
        "versions": {name: trained[name] for name in ("python", "backend", *LIBRARIES) if name in trained},
    }
