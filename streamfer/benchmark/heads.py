"""The temporal classifiers that are installed, with heads for windows of other lengths than their own.

`python -m streamfer.benchmark.heads FOLDER` writes, for each of them and each of `LENGTHS`, what an export
would: FOLDER/NAME/LENGTH/card.json, the encoder as it is shipped, and a head of the same network for windows
of that length, not trained: what a head costs does not depend on its weights. It prints the names as JSON, an
empty list without TensorFlow, which builds the heads.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streamfer.inference.card import CARD, ModelCard, read_card
from streamfer.inference.litert import without_native_chatter
from streamfer.plugins import Registry

LENGTHS = (1, 2, 4, 8, 16, 32)
"""Frames."""


def temporal(registry: Registry) -> Iterator[tuple[str, ModelCard]]:
    """What `streamfer.inference.described.with_mode` takes for each, and the card of its model."""
    for one in registry.all():
        network = one.component.network
        if network is None:
            continue
        modes = network.modes or ("",) * len(one.component.model_files)
        for mode, model in zip(modes, one.component.model_files, strict=True):
            card = read_card(model)
            if card.window is not None:
                yield f"{one.name}:{mode}" if mode else one.name, card


def write(name: str, card: ModelCard, folder: Path, lengths: Sequence[int] = LENGTHS) -> None:
    """Write the models of one of them for windows of these lengths below `folder`. TensorFlow is imported."""
    from streamfer.training.litert import Calibration, convert, served
    from streamfer.training.networks import find

    assert card.window is not None
    encoder, raw = card.model.read(), card.raw
    options, calibration = raw["recipe"]["model"], Calibration(raw["temperature"], raw["floor"])
    for frames in lengths:
        blueprint = find(name.partition(":")[0], {**options, "frames": frames})
        head = blueprint.build_parts(card.crop, len(card.labels), frames).head
        content = convert(served(head, calibration, False), raw["weights"]["type"])
        told: dict[str, Any] = {
            **{key: value for key, value in raw.items() if not key.startswith("keras")},
            "window": card.window._replace(frames=frames)._asdict(),
            "head": {"file": "head.tflite", "sha256": hashlib.sha256(content).hexdigest()},
        }
        place = folder / str(frames)
        place.mkdir(parents=True)
        (place / card.model.path.name).write_bytes(encoder)
        (place / "head.tflite").write_bytes(content)
        (place / CARD).write_text(json.dumps(told), "utf-8")


def main(folder: Path) -> list[str]:
    """Write all of them that have what it takes: a recipe in the card, and an option for the length."""
    if find_spec("tensorflow") is None:
        return []
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    registry, written = Registry.discover(), []
    for name, card in temporal(registry):
        network = registry.get("classifier", name.partition(":")[0]).component.network
        assert network is not None
        if "recipe" in card.raw and "frames" in network.options.model_fields:
            with without_native_chatter():
                write(name, card, folder / name)
            written.append(name)
    return written


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
