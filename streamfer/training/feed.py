"""What a training run is fed: the network, its twin, and batches of inputs with the answers that are
wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import FERPLUS_NAMES, PUBLIC, TRAINING, Dataset
from streamfer.training.networks import Blueprint
from streamfer.training.recipe import Recipe
from streamfer.types import CropSpec

Places = NDArray[np.intp]


class Feed(Protocol):
    """A network to train, `model`, a twin that keeps its averaged weights, and the samples for both.

    `augment` is a layer that changes inputs while training, None if nothing does. `targets` float32
    (n, labels) has the distribution that is wanted of each training sample, `answers` uint8 (m,) the label of
    each of PublicTest.
    """

    model: keras.Model
    averaged: keras.Model
    augment: keras.layers.Layer | None
    targets: NDArray[np.float32]
    answers: NDArray[np.uint8]

    def prepare(self, folder: Path, report: Callable[[int, int], None]) -> None:
        """Called once, before the first batch, with the run's folder, to do what takes long; `report` is told
        how much of how much is done."""
        ...

    def inputs(self, chosen: Places, epoch: int) -> NDArray[np.float32]:
        """What the network is fed of these training samples in an epoch, counted from 0."""
        ...

    def public(self, chosen: Places) -> NDArray[np.float32]:
        """The same of these samples of PublicTest."""
        ...

    def whole(self) -> keras.Model:
        """The model to be stored, with the averaged weights."""
        ...


class Stills:
    """Single faces, for a network of one Keras model."""

    def __init__(self, recipe: Recipe, blueprint: Blueprint, data: Dataset) -> None:
        from streamfer.training.augment import Augment

        self._data = data
        self._rows, self._public = data.training_rows(), data.rows(PUBLIC)
        check_rows(data, self._rows, self._public)
        self.targets = targets(data, self._rows, recipe)
        self.answers: NDArray[np.uint8] = data.labels[self._public]
        keras.utils.set_random_seed(recipe.seed)
        height, width, channels = data.images.shape[1:]
        crop, labels = CropSpec(height, width, channels), len(data.label_names)
        self.model = blueprint.build(crop, labels, recipe.precision)
        self.averaged = blueprint.build(crop, labels)
        if recipe.initial is not None:
            start_from(recipe.initial, self.model)
        self.augment: keras.layers.Layer | None = Augment(recipe.augment, recipe.seed)

    def prepare(self, folder: Path, report: Callable[[int, int], None]) -> None:
        """There is nothing to prepare."""

    def inputs(self, chosen: Places, epoch: int) -> NDArray[np.float32]:
        return self._data.inputs(self._rows[chosen])

    def public(self, chosen: Places) -> NDArray[np.float32]:
        return self._data.inputs(self._public[chosen])

    def whole(self) -> keras.Model:
        return self.averaged


def check_rows(data: Dataset, rows: Places, public: Places) -> None:
    """`UsageError` unless there is something to train on, of every class, and something to choose by."""
    for split, found in ((TRAINING, rows), (PUBLIC, public)):
        if not len(found):
            raise UsageError(f"{data.name}: no usable row in {split}")
    empty = sorted(set(range(len(data.label_names))) - set(data.labels[rows].tolist()))
    if empty:
        raise UsageError(f"{data.name}: no face of class {data.label_names[empty[0]]} in {TRAINING}")


def load_initial(path: Path) -> keras.Model:
    """The Keras model that a recipe's `initial` names; `UsageError` if it is none."""
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"initial: {path}: cannot be read as a Keras model: {reason}") from error


def start_from(path: Path, model: keras.Model) -> int:
    """Give the first layers of `model` the weights of the first layers of the Keras file at `path`.

    As far as both have the same kinds of layers with the same shapes of weights; layers without weights are
    passed over. Returns how many got theirs. Raises `UsageError` if the first layer has none already.
    """
    given = take_weights(load_initial(path), model)
    if not given:
        raise UsageError(f"initial: {path}: its first layer is not like this network's; nothing can be taken")
    return given


def take_weights(source: keras.Model, model: keras.Model) -> int:
    """Give the first layers of `model` the weights of those of `source`, as `start_from` does; how many."""
    given = 0
    pairs = zip(*([one for one in net.layers if one.weights] for net in (source, model)), strict=False)
    for theirs, ours in pairs:
        shapes = [[tuple(one.shape) for one in layer.weights] for layer in (theirs, ours)]
        if theirs.__class__.__name__ != ours.__class__.__name__ or shapes[0] != shapes[1]:
            break
        ours.set_weights(theirs.get_weights())
        given += 1
    return given


def targets(data: Dataset, rows: Places, recipe: Recipe) -> NDArray[np.float32]:
    """What the network is to answer: float32 (len(rows), labels), each row a distribution.

    The label, mixed with the share of FER+ votes for the data's classes where there are any, then smoothed
    (Szegedy et al. 2016).
    """
    classes = len(data.label_names)
    target: NDArray[Any] = np.eye(classes, dtype=np.float32)[data.labels[rows]]
    if recipe.ferplus:
        if data.votes is None:
            raise UsageError(f"{data.name}: the recipe asks for FER+ votes (ferplus) and the data has none")
        votes = np.zeros_like(target)
        for column, name in enumerate(FERPLUS_NAMES):
            if name in data.label_names:
                votes[:, data.label_names.index(name)] = data.votes[rows, column]
        total = votes.sum(axis=1, keepdims=True)
        voted = np.where(total > 0, votes / np.maximum(total, 1), target)
        target = (1 - recipe.ferplus) * target + recipe.ferplus * voted
    smoothed: NDArray[Any] = (1 - recipe.label_smoothing) * target + recipe.label_smoothing / classes
    return smoothed.astype(np.float32)
