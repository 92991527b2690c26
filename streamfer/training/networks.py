"""Finds the network that a recipe names among the plugins, and builds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from streamfer.api import Options, Parts
from streamfer.errors import UsageError
from streamfer.plugins import Registry, load_network
from streamfer.training.recipe import first_problem
from streamfer.types import CropSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Blueprint:
    """A network with its hyperparameters, ready to be built."""

    name: str
    options: Options
    build_function: Callable[[Any, CropSpec, int], Any]

    def build(self, crop: CropSpec, labels: int, precision: str = "float32") -> keras.Model:
        """A new Keras model, faces to logits, under a Keras dtype policy; `UsageError` if it cannot be."""
        built = self._build(crop, labels, precision)
        if isinstance(built, Parts):
            raise UsageError(
                f"'{self.name}' with these options reads windows of frames: the recipe must say which, as "
                "window: {frames: 16, fps: 12.5} does"
            )
        return built

    def build_parts(self, crop: CropSpec, labels: int, frames: int, precision: str = "float32") -> Parts:
        """The same of a network that reads windows of so many frames, encoder and head checked to fit each
        other; `UsageError` for a network of single faces and for one that reads windows of another length."""
        built = self._build(crop, labels, precision)
        if not isinstance(built, Parts):
            raise UsageError(
                f"window: '{self.name}' with these options reads single faces; set the network's mode under "
                "model:, if it has one for frames, or leave window out"
            )
        check_parts(built, crop, labels, frames)
        return built

    def _build(self, crop: CropSpec, labels: int, precision: str) -> keras.Model | Parts:
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            return self.build_function(self.options, crop, labels)
        except (TypeError, ValueError) as error:  # Keras explains itself at length; its first line says it
            raise UsageError(f"model: {str(error).partition(chr(10))[0]}") from error
        finally:
            keras.config.set_dtype_policy(before)


def check_parts(parts: Parts, crop: CropSpec, labels: int, frames: int) -> None:
    """`UsageError` unless the encoder takes such crops and the head, of windows of so many frames, what the
    encoder gives, and answers so many labels."""
    takes, features = tuple(parts.encoder.input_shape[1:]), tuple(parts.encoder.output_shape[1:])
    reads, answers = tuple(parts.head.input_shape[1:]), tuple(parts.head.output_shape[1:])
    if takes != tuple(crop) or len(features) != 1:
        raise UsageError(
            f"the encoder takes {takes} and gives {features}; expected {tuple(crop)} and (features,)"
        )
    if len(reads) == 2 and reads[0] != frames:
        raise UsageError(
            f"window.frames is {frames}, and the network reads {reads[0]} frames: set the network's own "
            "option under model: to the same number"
        )
    if reads != (frames, *features) or answers != (labels,):
        raise UsageError(
            f"encoder and head do not fit: the encoder gives {features}, the head takes {reads} and answers "
            f"{answers}; expected {(frames, *features)} and {(labels,)}"
        )


def find(
    name: str, options: dict[str, Any], files: Sequence[Path] = (), frames: int | None = None
) -> Blueprint:
    """The network of the classifier `name`; `options` are its hyperparameters, `files` local plugins.

    `frames` is the length of the windows that it is to read: the value of its option `frames`, where it has
    one that `options` does not set. Raises `UsageError` when there is no such classifier, it is no network,
    or it has no such options.
    """
    registry = Registry.discover(files)
    registered = registry.find("classifier", name)
    if registered is None:
        raise UsageError(f"classifier: {registry.absent('classifier', name)}")
    network = registered.component.network
    if network is None:
        raise UsageError(f"classifier: '{name}' is no network: there is nothing to train")
    if frames is not None and "frames" in network.options.model_fields:
        options = {"frames": frames} | options
    try:
        chosen = network.options.model_validate(options)
    except ValidationError as error:
        raise UsageError(f"model.{first_problem(error, 'model')}") from error
    return Blueprint(name, chosen, load_network(registered))
