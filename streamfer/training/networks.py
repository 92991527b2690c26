"""Finds the network that a recipe names among the plugins, and builds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from streamfer.api import Options
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
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            return self.build_function(self.options, crop, labels)
        except (TypeError, ValueError) as error:  # Keras explains itself at length; its first line says it
            raise UsageError(f"model: {str(error).partition(chr(10))[0]}") from error
        finally:
            keras.config.set_dtype_policy(before)


def find(name: str, options: dict[str, Any], files: Sequence[Path] = ()) -> Blueprint:
    """The network of the classifier `name`; `options` are its hyperparameters, `files` local plugins.

    Raises `UsageError` when there is no such classifier, it is no network, or it has no such options.
    """
    registry = Registry.discover(files)
    registered = registry.find("classifier", name)
    if registered is None:
        raise UsageError(f"classifier: {registry.absent('classifier', name)}")
    network = registered.component.network
    if network is None:
        raise UsageError(f"classifier: '{name}' is no network: there is nothing to train")
    try:
        chosen = network.options.model_validate(options)
    except ValidationError as error:
        raise UsageError(f"model.{first_problem(error, 'model')}") from error
    return Blueprint(name, chosen, load_network(registered))
