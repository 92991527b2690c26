"""Trains a network by its recipe, one resumable epoch at a time, and leaves a Keras model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.augment import Augment
from streamfer.training.dataset import FERPLUS_NAMES, PUBLIC, TRAINING, Dataset
from streamfer.training.fused import fuse
from streamfer.training.networks import Blueprint, find
from streamfer.training.recipe import Recipe
from streamfer.training.run import Checkpoint, RunFolder
from streamfer.training.schedule import Watch, learning_rate
from streamfer.types import CropSpec


class Progress(Protocol):
    """What is told of a run while it goes on."""

    def begin(self, done: int, epochs: int, steps: int) -> None:
        """`done` of `epochs` epochs are complete; each has `steps` steps."""

    def step(self, loss: float, accuracy: float) -> None:
        """One more step; both are means over the epoch so far."""

    def epoch(self, row: dict[str, Any]) -> None:
        """One more epoch is complete and safe on disk; `row` is what the history has of it."""


def train(recipe: Recipe, data: Dataset, out: Path, progress: Progress) -> RunFolder:
    """Train by `recipe` into the folder `out`, which then holds the Keras model (logits, float32).

    A run that was cut off goes on after its last complete epoch. Decisions (early stopping, plateaus, what to
    train for how long) are made on PublicTest, by the averaged weights; PrivateTest is not looked at.
    """
    blueprint = find(recipe.classifier, recipe.model, recipe.plugins)
    recipe = recipe.model_copy(update={"model": blueprint.options.model_dump(mode="json")})
    folder = RunFolder(out)
    run = _Run(recipe, blueprint, data)
    folder.claim(recipe, data)
    last = folder.restore()
    if last is None:
        last = run.checkpoint(0, 0.0)
    else:
        run.restore(last)
    progress.begin(last.epoch, recipe.epochs, run.steps)
    while last.epoch < recipe.epochs and not run.watch.over(recipe, last.epoch):
        started = time.monotonic()
        row = run.epoch(last.epoch, progress.step)
        last = run.checkpoint(last.epoch + 1, last.seconds + time.monotonic() - started)
        row |= {"seconds": round(time.monotonic() - started, 1)}
        folder.record(row)
        folder.save(last)
        progress.epoch(row)
    folder.finish(recipe, data, keras.backend.backend(), last, run.save)
    return folder


class _Run:
    """The state of a training run: the network, its averaged twin, optimizer and random generators."""

    def __init__(self, recipe: Recipe, blueprint: Blueprint, data: Dataset) -> None:
        self.recipe, self.data = recipe, data
        self.rows, self.public = data.training_rows(), data.rows(PUBLIC)
        for split, rows in ((TRAINING, self.rows), (PUBLIC, self.public)):
            if not len(rows):
                raise UsageError(f"{data.name}: no usable row in {split}")
        empty = sorted(set(range(len(data.label_names))) - set(data.labels[self.rows].tolist()))
        if empty:
            raise UsageError(f"{data.name}: no face of class {data.label_names[empty[0]]} in {TRAINING}")
        self.targets = targets(data, self.rows, recipe)
        self.steps = math.ceil(len(self.rows) / recipe.batch_size)
        self.watch = Watch()

        keras.utils.set_random_seed(recipe.seed)
        height, width, channels = data.images.shape[1:]
        crop, labels = CropSpec(height, width, channels), len(data.label_names)
        self._model = blueprint.build(crop, labels, recipe.precision)
        self._averaged = blueprint.build(crop, labels)
        if recipe.initial is not None:
            start_from(recipe.initial, self._model)
        fuse(self._model)
        self._trainer = _trainer(recipe, self._model)
        # With the states of the random generators.
        self._state = [*self._trainer.variables, *self._trainer.optimizer.variables]
        self._averaged.set_weights(self._model.get_weights())
        self._averaged_steps = 0
        self._best: list[NDArray[Any]] = []

    def epoch(self, done: int, report: Callable[[float, float], None]) -> dict[str, Any]:
        """Train for one epoch after `done` ones; returns its row of the history."""
        order = np.random.default_rng((self.recipe.seed, done)).permutation(len(self.rows))
        seen, loss, accuracy = 0, 0.0, 0.0  # train_on_batch tells those of its batch only
        for step in range(self.steps):
            chosen = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            rate = learning_rate(self.recipe, done * self.steps + step, self.steps, self.watch.factor)
            self._trainer.optimizer.learning_rate = rate
            images = self.data.inputs(self.rows[chosen])
            log = self._trainer.train_on_batch(images, self.targets[chosen], return_dict=True)
            if not math.isfinite(log["loss"]):
                raise UsageError(
                    f"the loss of epoch {done + 1} is {float(log['loss'])}: the run has diverged; lower the "
                    "recipe's learning_rate, or lengthen its warm-up"
                )
            self._average()
            share = len(chosen) / (seen := seen + len(chosen))
            loss += share * (float(log["loss"]) - loss)
            accuracy += share * (float(log["accuracy"]) - accuracy)
            report(loss, accuracy)
        public = self._accuracy()
        if self.watch.update(self.recipe, done + 1, public) and self.recipe.early_stopping:
            self._best = self._averaged.get_weights()
        return {
            "epoch": done + 1,
            "learning_rate": float(f"{rate:.4g}"),
            "loss": round(loss, 5),
            "accuracy": round(accuracy, 5),
            "PublicTest": round(public, 5),
        }

    def checkpoint(self, epoch: int, seconds: float) -> Checkpoint:
        values = [keras.ops.convert_to_numpy(variable.value) for variable in self._state]
        average = self._averaged.get_weights()
        return Checkpoint(epoch, seconds, self._averaged_steps, values, average, self._best, self.watch)

    def restore(self, last: Checkpoint) -> None:
        """Set everything as a checkpoint has it."""
        for variable, value in zip(self._state, last.state, strict=True):
            variable.assign(value)
        self._averaged.set_weights(last.average)
        self._averaged_steps, self._best, self.watch = last.steps, last.best, last.watch

    def save(self, path: Path) -> None:
        """Write the averaged weights of the last epoch, or of the best one with early stopping."""
        if self._best:
            self._averaged.set_weights(self._best)
        self._averaged.save(path)

    def _average(self) -> None:
        """Let the averaged weights follow, batch statistics included (Polyak & Juditsky 1992).

        Keras's optimizers have an average too, but overwrite the trained weights with it at the end of each
        `fit`, and leave the batch statistics out.
        """
        self._averaged_steps += 1
        # A young average forgets faster, or it would stay near the random start.
        momentum = min(self.recipe.ema, self._averaged_steps / (10 + self._averaged_steps))
        for average, weight in zip(self._averaged.weights, self._model.weights, strict=True):
            average.assign(average + (1 - momentum) * (keras.ops.cast(weight, average.dtype) - average))

    def _accuracy(self) -> float:
        right = 0
        for start in range(0, len(self.public), 256):
            rows = self.public[start : start + 256]
            answers = self._averaged.predict_on_batch(self.data.inputs(rows)).argmax(axis=1)
            right += int((answers == self.data.labels[rows]).sum())
        return right / len(self.public)


def start_from(path: Path, model: keras.Model) -> int:
    """Give the first layers of `model` the weights of the first layers of the Keras file at `path`.

    As far as both have the same kinds of layers with the same shapes of weights; layers without weights are
    passed over. Returns how many got theirs. Raises `UsageError` if the first layer has none already.
    """
    try:
        source = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"initial: {path}: cannot be read as a Keras model: {reason}") from error
    given = 0
    pairs = zip(*([one for one in net.layers if one.weights] for net in (source, model)), strict=False)
    for theirs, ours in pairs:
        shapes = [[tuple(one.shape) for one in layer.weights] for layer in (theirs, ours)]
        if theirs.__class__.__name__ != ours.__class__.__name__ or shapes[0] != shapes[1]:
            break
        ours.set_weights(theirs.get_weights())
        given += 1
    if not given:
        raise UsageError(f"initial: {path}: its first layer is not like this network's; nothing can be taken")
    return given


def targets(data: Dataset, rows: NDArray[np.intp], recipe: Recipe) -> NDArray[np.float32]:
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


def _trainer(recipe: Recipe, model: keras.Model) -> keras.Model:
    """The model with augmentation in front, ready for steps of training."""
    augment = Augment(recipe.augment, recipe.seed)
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), augment, model])
    # Only TensorFlow has a choice, and there XLA compiles for long and was no faster on a CPU.
    compiled = False if keras.backend.backend() == "tensorflow" else "auto"
    trainer.compile(
        optimizer=_optimizer(recipe),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=compiled,
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    optimizers = {
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        "adam": lambda: keras.optimizers.Adam(rate, weight_decay=decay),
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay),
    }
    optimizer = optimizers[recipe.optimizer]()
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
