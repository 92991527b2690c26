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
from streamfer.training.dataset import Dataset
from streamfer.training.feed import Feed, Stills
from streamfer.training.fused import fuse
from streamfer.training.networks import find
from streamfer.training.recipe import Recipe
from streamfer.training.run import Checkpoint, RunFolder
from streamfer.training.schedule import Watch, learning_rate
from streamfer.training.sequences.feed import Sequences


class Progress(Protocol):
    """What is told of a run while it goes on."""

    def prepare(self, done: int, total: int) -> None:
        """Before a frozen encoder's head is trained: `done` of `total` frames have gone through the
        encoder."""

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

    With a `window` in the recipe the network is one of windows, and `data` video, or the stills that clips
    are made of; its Keras model takes windows (n, frames, height, width, channels).
    """
    frames = recipe.window.frames if recipe.window else None
    blueprint = find(recipe.classifier, recipe.model, recipe.plugins, frames)
    recipe = recipe.model_copy(update={"model": blueprint.options.model_dump(mode="json")})
    folder = RunFolder(out)
    feed: Feed = Sequences(recipe, blueprint, data) if recipe.window else Stills(recipe, blueprint, data)
    folder.claim(recipe, data)
    feed.prepare(folder.path, progress.prepare)
    run = _Run(recipe, feed)
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

    def __init__(self, recipe: Recipe, feed: Feed) -> None:
        self.recipe, self._feed = recipe, feed
        self._model, self._averaged = feed.model, feed.averaged
        self.steps = math.ceil(len(feed.targets) / recipe.batch_size)
        self.watch = Watch()
        fuse(self._model)
        self._trainer = _trainer(recipe, feed)
        # With the states of the random generators.
        self._state = [*self._trainer.variables, *self._trainer.optimizer.variables]
        self._averaged.set_weights(self._model.get_weights())
        self._averaged_steps = 0
        self._best: list[NDArray[Any]] = []

    def epoch(self, done: int, report: Callable[[float, float], None]) -> dict[str, Any]:
        """Train for one epoch after `done` ones; returns its row of the history."""
        order = np.random.default_rng((self.recipe.seed, done)).permutation(len(self._feed.targets))
        seen, loss, accuracy = 0, 0.0, 0.0  # train_on_batch tells those of its batch only
        for step in range(self.steps):
            chosen = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            rate = learning_rate(self.recipe, done * self.steps + step, self.steps, self.watch.factor)
            self._trainer.optimizer.learning_rate = rate
            inputs, targets = self._feed.inputs(chosen, done), self._feed.targets[chosen]
            log = self._trainer.train_on_batch(inputs, targets, return_dict=True)
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
        self._feed.whole().save(path)

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
        answers, right = self._feed.answers, 0
        for start in range(0, len(answers), 256):
            chosen = np.arange(start, min(start + 256, len(answers)))
            found = self._averaged.predict_on_batch(self._feed.public(chosen)).argmax(axis=1)
            right += int((found == answers[chosen]).sum())
        return right / len(answers)


def _trainer(recipe: Recipe, feed: Feed) -> keras.Model:
    """The model with augmentation in front, ready for steps of training."""
    before = [feed.augment] if feed.augment is not None else []
    trainer = keras.Sequential([keras.Input(feed.model.input_shape[1:]), *before, feed.model])
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
