"""A classifier as the service runs it, opened in this process to be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.inference.answering import answering
from streamfer.inference.card import ModelCard, ModelFile
from streamfer.inference.described import ServedCard, find, with_mode
from streamfer.plugins import ComponentSpec, Registry
from streamfer.types import CropSpec


@dataclass(frozen=True, eq=False)
class Served:
    """A classifier as the service runs it. `card` and `file` are those of the model that it serves, None for
    a classifier that is no network.

    One that combines others has them in `members`, with their cards where they are networks. It wants `crop`
    and `more_crops`, the distinct ones of its members: `predict` is called with an array for each.
    """

    spec: ComponentSpec
    crop: CropSpec
    labels: tuple[str, ...]
    predict: Callable[..., NDArray[np.float32]]
    card: ModelCard | None = None
    file: ModelFile | None = None
    more_crops: tuple[CropSpec, ...] = ()
    members: tuple[ServedCard | None, ...] = ()

    @property
    def crops(self) -> tuple[CropSpec, ...]:
        """All that it wants to see of a face."""
        return (self.crop, *self.more_crops)

    @property
    def title(self) -> str:
        """Its name, with its mode if it was asked for one, and the version of its model: "cnn 1.1.0"."""
        mode = self.spec.options.get("mode")
        name = f"{self.spec.name}:{mode}" if mode else self.spec.name
        return f"{name} {self.card.version}" if self.card else name

    @property
    def facts(self) -> Mapping[str, Any]:
        """The card as JSON values; empty without one. Of members, the sums of `parameters` and `macs`, where
        every card has them."""
        if self.card:
            return self.card.raw
        sums = {}
        for name in ("parameters", "macs"):
            counts = [one.card.raw[name] for one in self.members if one and name in one.card.raw]
            if counts and len(counts) == len(self.members):
                sums[name] = sum(counts)
        return sums

    @property
    def size_bytes(self) -> int | None:
        """The size of its model's file, or of those of its members; None without cards."""
        cards = self.members or (ServedCard(self.card, self.file) if self.card and self.file else None,)
        files = [file for one in cards if one for file in one.files]
        return None if None in cards else sum(file.path.stat().st_size for file in files)

    @property
    def model(self) -> dict[str, Any] | None:
        """Which model it serves, as JSON values; None without a card."""
        return _model(ServedCard(self.card, self.file) if self.card and self.file else None, self.spec)

    @property
    def member_models(self) -> list[dict[str, Any]]:
        """Of each member its classifier, its weight, and which model it serves, as JSON values."""
        return [
            {"classifier": spec.component.name, "weight": spec.weight, "model": _model(one, spec.component)}
            for spec, one in zip(self.spec.members, self.members, strict=True)
        ]

    @property
    def trained_on(self) -> list[tuple[str, str | None]]:
        """The name and the hash of the data that its model, or its members', was trained on, each once, as
        far as cards tell."""
        cards = [self.card, *(one.card for one in self.members if one)]
        told = [one.raw.get("data") for one in cards if one]
        return list(dict.fromkeys((str(one.get("name")), one.get("sha256")) for one in told if one))


def open_classifier(
    name: str,
    model: str | None = None,
    runtime: str | None = None,
    plugins: Sequence[Path] = (),
    *,
    members: Sequence[str | Mapping[str, Any]] | None = None,
    **options: Any,
) -> Served:
    """A classifier, installed or of the local files `plugins`, built.

    `name` may have a mode behind a colon, "cnn_lstm:frames". `model` and `runtime` are options of
    `streamfer.api.ServedModel`, None for their defaults. `members` are those of a classifier that combines,
    as in a configuration: names, or mappings with `name`, `weight` and the member's options (None: its own).
    Further options are the classifier's.
    `UsageError` for a name that is not there and for options that it does not have, `StartError` for a model
    that is not there or cannot run.
    """
    name, mode = with_mode(name)
    registry = Registry.discover(plugins)
    component = registry.get("classifier", name).component
    chosen: dict[str, Any] = {key: value for key, value in (("model", model), ("runtime", runtime)) if value}
    if component.network is None and chosen:
        raise UsageError(f"classifier '{name}' is no network: it takes no --model and no --runtime")
    if members is not None:
        if not component.combines:
            raise UsageError(f"classifier '{name}' answers by itself: it takes no members")
        chosen["members"] = [one if isinstance(one, str) else dict(one) for one in members]
    found = find(registry, name, {**chosen, **mode, **options})
    crop, *more = found.crops
    predict = answering(found.spec).predict
    if component.combines:
        return Served(found.spec, crop, found.labels, predict, more_crops=tuple(more), members=found.models)
    (served,) = found.models
    card, file = (served.card, served.file) if served else (None, None)
    return Served(found.spec, crop, found.labels, predict, card, file)


def _model(served: ServedCard | None, spec: ComponentSpec) -> dict[str, Any] | None:
    if served is None:
        return None
    return {
        "version": served.card.version,
        "file": served.file.path.name,
        "sha256": served.file.sha256,
        "runtime": spec.options.get("runtime", "litert"),
    }
