"""Trains a classifier by its recipe, one resumable epoch at a time, and leaves a Keras model."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.augment import Augment
from streamfer.training.data import FERPLUS_TO_LABEL, Dataset
from streamfer.training.recipe import Recipe
from streamfer.training.run import Checkpoint, RunFolder
from streamfer.types import LABELS


def train(recipe: Recipe, data: Dataset, out: Path, report: Callable[[str], None] = print) -> Path:
    """Train by `recipe` into the folder `out` and return the path of the Keras model (logits, float32).

    A run that was cut off goes on after its last complete epoch. Decisions are to be made on PublicTest,
    which the history shows for the averaged weights; PrivateTest is not looked at.
    """
    folder = RunFolder(out)
    folder.claim(recipe, data)
    keras.utils.set_random_seed(recipe.seed)
    rows = data.training_rows()
    if not len(rows):
        raise UsageError(f"{data.name}: no usable row in Training")
    images, wanted = data.inputs(rows), targets(data, rows, recipe)
    public = data.rows("PublicTest")

    model, averaged = _build(recipe, recipe.precision), _build(recipe, "float32")
    trainer = _trainer(recipe, model, math.ceil(len(rows) / recipe.batch_size))
    ema = _Average(model, recipe.ema)
    state = [*trainer.variables, *trainer.optimizer.variables]  # with the states of the random generators
    done, seconds = _resume(folder, state, ema)

    for epoch in range(done, recipe.epochs):
        started = time.monotonic()
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(rows))
        batches = _Batches(images, wanted, order, recipe.batch_size)
        log = trainer.fit(batches, shuffle=False, verbose=0, callbacks=[ema]).history
        averaged.set_weights(ema.weights)
        accuracy = _accuracy(averaged, data, public)
        seconds += time.monotonic() - started
        row = {
            "epoch": epoch + 1,
            "loss": round(log["loss"][0], 5),
            "accuracy": round(log["accuracy"][0], 5),
            "PublicTest": round(accuracy, 5),
            "seconds": round(time.monotonic() - started, 1),
        }
        folder.record(row)
        values = [keras.ops.convert_to_numpy(variable) for variable in state]
        folder.save(Checkpoint(epoch + 1, seconds, values, ema.weights, ema.steps))
        report("  ".join(f"{key} {value}" for key, value in row.items()))

    averaged.set_weights(ema.weights)
    averaged.save(folder.model)
    folder.finish(recipe, data, keras.backend.backend(), seconds)
    return folder.model


def targets(data: Dataset, rows: NDArray[np.intp], recipe: Recipe) -> NDArray[np.float32]:
    """What the network is to answer: float32 (len(rows), 7), each row a distribution.

    The label, mixed with the share of FER+ votes for the seven expressions where there are any, then smoothed
    (Szegedy et al. 2016).
    """
    target: NDArray[Any] = np.eye(len(LABELS), dtype=np.float32)[data.labels[rows]]
    if recipe.ferplus:
        if data.votes is None:
            raise UsageError(f"{data.name}: the recipe asks for FER+ votes (ferplus) and the file has none")
        votes = np.zeros_like(target)
        votes[:, FERPLUS_TO_LABEL] = data.votes[rows, : len(FERPLUS_TO_LABEL)]
        total = votes.sum(axis=1, keepdims=True)
        voted = np.where(total > 0, votes / np.maximum(total, 1), target)
        target = (1 - recipe.ferplus) * target + recipe.ferplus * voted
    smoothed: NDArray[Any] = (1 - recipe.label_smoothing) * target + recipe.label_smoothing / len(LABELS)
    return smoothed.astype(np.float32)


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """One epoch's batches in a given order."""

    def __init__(
        self,
        images: NDArray[np.float32],
        wanted: NDArray[np.float32],
        order: NDArray[np.intp],
        size: int,
    ) -> None:
        super().__init__()
        self.images, self.wanted, self.order, self.size = images, wanted, order, size

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = self.order[index * self.size : (index + 1) * self.size]
        return self.images[rows], self.wanted[rows]


class _Average(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """An exponential moving average of all weights, batch statistics included (Polyak & Juditsky 1992).

    Keras's optimizers have one too, but overwrite the trained weights with it at the end of each `fit`, and
    leave the batch statistics out.
    """

    def __init__(self, network: keras.Model, momentum: float) -> None:
        super().__init__()
        self.network, self.momentum = network, momentum
        self.weights: list[NDArray[Any]] = [weight.copy() for weight in network.get_weights()]
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps += 1
        # A young average forgets faster, or it would stay near the random start.
        momentum = min(self.momentum, self.steps / (10 + self.steps))
        for average, weight in zip(self.weights, self.network.get_weights(), strict=True):
            average += (1 - momentum) * (weight - average)


def _build(recipe: Recipe, precision: str) -> keras.Model:
    module, _, function = recipe.architecture.partition(":")
    try:
        build = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"architecture {recipe.architecture}: {error}") from error
    try:
        return build(**recipe.model.model_dump(), labels=len(LABELS), precision=precision)
    except (TypeError, ValueError) as error:  # Keras explains itself at length; its first line says it
        raise UsageError(f"model: {str(error).partition(chr(10))[0]}") from error


def _trainer(recipe: Recipe, model: keras.Model, steps: int) -> keras.Model:
    """The model with augmentation in front, ready for `fit` with `steps` batches an epoch."""
    augment = Augment(recipe.augment, recipe.seed)
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), augment, model])
    trainer.compile(
        optimizer=_optimizer(recipe, steps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA compiles for long and was no faster on a CPU
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def _resume(folder: RunFolder, state: list[Any], ema: _Average) -> tuple[int, float]:
    """Set everything as the last checkpoint has it, if any; returns the epochs done and their seconds."""
    last = folder.restore()
    if last is None:
        return 0, 0.0
    for variable, value in zip(state, last.state, strict=True):
        variable.assign(value)
    ema.weights, ema.steps = last.average, last.steps
    return last.epoch, last.seconds


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(recipe.warmup_epochs * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / max(warmup, 1),
        decay_steps=recipe.epochs * steps - warmup,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _accuracy(model: keras.Model, data: Dataset, rows: NDArray[np.intp]) -> float:
    if not len(rows):
        return math.nan
    answers = model.predict(data.inputs(rows), batch_size=256, verbose=0).argmax(axis=1)
    return float((answers == data.labels[rows]).mean())
