"""What a run that trains a network of windows is fed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from streamfer.training.dataset import PUBLIC, TRAINING, Dataset
from streamfer.training.feed import Places, check_rows, targets
from streamfer.training.networks import Blueprint
from streamfer.training.recipe import Recipe
from streamfer.training.sequences import features, windows
from streamfer.training.sequences.motion import in_motion
from streamfer.training.sequences.parts import WindowAugment, joined, start_parts
from streamfer.types import CropSpec


def video(recipe: Recipe, data: Dataset) -> Dataset:
    """The clips that a recipe trains on: `data` itself, or clips made of its stills."""
    assert recipe.window is not None
    if recipe.synthetic is None:
        return data
    return in_motion(data, recipe.synthetic, recipe.augment, recipe.window.window, recipe.seed)


class Sequences:
    """Windows of frames.

    A frozen encoder is no part of what is trained: its features are computed once, for every frame, and for
    `copies` altered copies of every Training frame, of which each window of an epoch gets one by chance.
    Otherwise windows go through the whole network, changed as `augment` says; clips made of stills have that
    in them already.
    """

    def __init__(self, recipe: Recipe, blueprint: Blueprint, data: Dataset) -> None:
        assert recipe.window is not None
        self._recipe = recipe
        height, width, channels = data.images.shape[1:]
        crop, labels, frames = CropSpec(height, width, channels), len(data.label_names), recipe.window.frames
        keras.utils.set_random_seed(recipe.seed)
        parts = blueprint.build_parts(crop, labels, frames, recipe.precision)
        self._twin = blueprint.build_parts(crop, labels, frames)
        if recipe.initial is not None:
            start_parts(recipe.initial, parts, frozen=not recipe.train_encoder)

        self._data = data = video(recipe, data)
        rows, public = windows.for_training, windows.for_measuring
        self._rows = rows(data, data.training_rows(), recipe.window.window)
        self._public = public(data, data.rows(PUBLIC), recipe.window.window)
        check_rows(data, self._rows[:, -1], self._public[:, -1])
        self.targets = targets(data, self._rows[:, -1], recipe)
        self.answers: NDArray[np.uint8] = data.labels[self._public[:, -1]]

        self._frozen = not recipe.train_encoder
        self._features: NDArray[np.float16] | None = None
        self.augment: keras.layers.Layer | None = None
        if self._frozen:
            self._twin.encoder.set_weights(parts.encoder.get_weights())
            self.model, self.averaged = parts.head, self._twin.head
        else:
            self.model, self.averaged = joined(parts), joined(self._twin)
            if recipe.synthetic is None:
                self.augment = WindowAugment(recipe.augment, recipe.seed)

    def prepare(self, folder: Path, report: Callable[[int, int], None]) -> None:
        if not self._frozen:
            return
        recipe, encoder = self._recipe, self._twin.encoder
        made_of = [self._data.sha256, recipe.flip_average, recipe.copies]
        if recipe.copies:
            made_of += [recipe.seed, recipe.augment.model_dump(mode="json")]
        found = features.kept(
            folder / "features.npz", encoder, json.dumps(made_of), lambda: self._encoded(encoder, report)
        )
        self._features = found.reshape(1 + recipe.copies, len(self._data), -1)

    def _encoded(self, encoder: keras.Model, report: Callable[[int, int], None]) -> NDArray[np.float16]:
        """Of the data as it is and of its altered copies, one after the other."""
        rows, copies = len(self._data), self._recipe.copies
        total, found = (1 + copies) * rows, []
        for copy in range(1 + copies):
            images = self._altered(copy) if copy else self._data.images
            tell = partial(_tell, report, copy * rows, total)
            found.append(features.encode(encoder, images, self._recipe.flip_average, tell))
        return np.concatenate(found)

    def _altered(self, copy: int) -> NDArray[np.uint8]:
        """The data with each Training clip changed its own way, all its frames alike."""
        change = WindowAugment(self._recipe.augment, self._recipe.seed * 1000 + copy)
        images = self._data.images.copy()
        for clip in windows.clips(self._data, self._data.rows(TRAINING)):
            changed = change(images[clip][None].astype(np.float32), training=True)
            images[clip] = np.rint(np.asarray(keras.ops.convert_to_numpy(changed)[0])).astype(np.uint8)
        return images

    def inputs(self, chosen: Places, epoch: int) -> NDArray[np.float32]:
        rows = self._rows[chosen]
        if self._features is None:
            return self._data.inputs(rows)
        copy = np.zeros(len(chosen), np.intp)
        if self._recipe.copies:
            drawn = np.random.default_rng((self._recipe.seed, epoch, int(chosen[0])))
            copy = drawn.integers(0, 1 + self._recipe.copies, len(chosen))
        chosen_features: NDArray[np.float32] = self._features[copy[:, None], rows].astype(np.float32)
        return chosen_features

    def public(self, chosen: Places) -> NDArray[np.float32]:
        rows = self._public[chosen]
        if self._features is None:
            return self._data.inputs(rows)
        chosen_features: NDArray[np.float32] = self._features[0, rows].astype(np.float32)
        return chosen_features

    def whole(self) -> keras.Model:
        return joined(self._twin)


def _tell(report: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    report(before + done, total)
