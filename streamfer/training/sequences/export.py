"""From a trained network of windows to what is served: an encoder and a head as LiteRT models, and their
card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, Dataset
from streamfer.training.export import Exported, agreement, described, figures, predict
from streamfer.training.litert import (
    Calibration,
    Predict,
    Weights,
    convert,
    count_macs,
    featured,
    fit_calibration,
    interpreter,
    served,
)
from streamfer.training.networks import check_parts
from streamfer.training.recipe import Recipe
from streamfer.training.sequences import windows
from streamfer.training.sequences.motion import SUFFIX
from streamfer.training.sequences.parts import parts_of
from streamfer.training.sequences.synthetic import synthetic_figures
from streamfer.types import CropSpec

if TYPE_CHECKING:
    import keras

HELD_STILL = "each face held still for the whole window"
REAL = "windows of real frames, one at the end of each clip and before it one every half window"
"""What the figures of a card are measured on."""


class _Samples(NamedTuple):
    """Windows of one split, (n, frames) rows of the data; of those in `unseen` the newest frame is not in
    Training as well."""

    rows: NDArray[np.intp]
    unseen: NDArray[np.intp]


def exported_windows(
    network: keras.Model, data: Dataset, summary: dict[str, Any], weights: Weights, *, private_test: bool
) -> Exported:
    """The encoder, the head and the card of a run that has trained a network of windows on `data`.

    Raises `UsageError` when its encoder and its head do not fit each other or the run, and as the export of a
    network of single faces does.
    """
    recipe = Recipe.model_validate(summary["recipe"])
    assert recipe.window is not None
    parts = parts_of(network)
    if parts is None:
        raise UsageError("the run's model.keras has no encoder and head: it is that of another run")
    window, labels = recipe.window.window, len(summary["labels"])
    check_parts(parts, CropSpec(*summary["input"]), labels, window.frames)
    encoder = featured(parts.encoder, recipe.flip_average)
    public = _samples(data, PUBLIC, recipe)
    truth = data.labels[public.rows[:, -1]]

    said = _Features(lambda images: predict(encoder, images), data)
    plain = predict(served(parts.head, Calibration(1.0), False), said.of(public.rows))
    calibration = fit_calibration(np.log(plain + 1e-12), truth, recipe.label_smoothing)
    head = served(parts.head, calibration, False)
    kinds: tuple[Weights, ...] = ("float32",) if weights == "float32" else ("float32", weights)
    pairs = {kind: (convert(encoder, kind), convert(head, kind)) for kind in kinds}
    chains = {kind: _Chain(*pair, data) for kind, pair in pairs.items()}
    compared = agreement(
        predict(head, said.of(public.rows)),
        {kind: chain.answer(public.rows) for kind, chain in chains.items()},
        truth,
        weights,
    )
    chain = chains[weights]
    splits = (PUBLIC, PRIVATE)[: 2 if private_test else 1]
    card = {
        **described(summary),
        "window": window._asdict(),
        "features": encoder.output_shape[-1],
        "head": {},
        "parameters": parts.encoder.count_params() + parts.head.count_params(),
        "macs": count_macs(encoder) + count_macs(parts.head),
        "weights": compared,
        "temperature": round(calibration.temperature, 4),
        "floor": round(calibration.floor, 4),
        "flip_average": recipe.flip_average,
        "data": {**summary["data"], "name": data.name + (SUFFIX if recipe.synthetic else "")},
        "recipe": summary["recipe"],
        "measured_on": HELD_STILL if recipe.synthetic else REAL,
        "metrics": {split: _figures(chain, data, _samples(data, split, recipe)) for split in splits},
        "trained": summary["trained"],
        "history": summary["history"],
    }
    if recipe.synthetic:
        card["synthetic"] = synthetic_figures(recipe, data, chain.encoder, chain.head)
    encoded, headed = pairs[weights]
    return Exported(card, {"": encoded, "head": headed}, {"keras": encoder, "keras_head": head})


def _samples(data: Dataset, split: str, recipe: Recipe) -> _Samples:
    """Stills held still where clips were made of them, and else windows of the clips."""
    assert recipe.window is not None
    rows = data.rows(split)
    if recipe.synthetic:
        found, unseen = np.repeat(rows[:, None], recipe.window.frames, axis=1), data.unseen_rows(split)
    else:
        found, unseen = windows.for_measuring(data, rows, recipe.window.window), np.empty(0, np.intp)
    if not len(found):
        raise UsageError(f"{data.name}: no rows in {split}")
    return _Samples(found, unseen)


class _Features:
    """What an encoder says of the data's rows, each asked once."""

    def __init__(self, encoder: Predict, data: Dataset) -> None:
        self._encoder, self._data = encoder, data
        self._known: dict[int, NDArray[np.float32]] = {}

    def of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Windows of features float32 (n, frames, features) for windows of rows (n, frames)."""
        new = [row for row in np.unique(rows).tolist() if row not in self._known]
        if new:
            self._known |= zip(new, self._encoder(self._data.inputs(np.array(new))), strict=True)
        return np.stack([np.stack([self._known[row] for row in window]) for window in rows.tolist()])


class _Chain:
    """The two LiteRT models, one after the other, as the service runs them."""

    def __init__(self, encoder: bytes, head: bytes, data: Dataset) -> None:
        self.encoder, self.head = interpreter(encoder), interpreter(head)
        self._features = _Features(self.encoder, data)

    def answer(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Probabilities (n, labels) for windows of rows (n, frames)."""
        return self.head(self._features.of(rows))


def _figures(chain: _Chain, data: Dataset, samples: _Samples) -> dict[str, Any]:
    return figures(chain.answer(samples.rows), data, samples.rows[:, -1], samples.unseen)
