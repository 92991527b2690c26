"""A step of each temporal classifier against the length of its window, alone in one process.

`python -m streamfer.benchmark.steps FOLDER` prints JSON, milliseconds of CPU time. FOLDER has the models with
windows of other lengths (`streamfer.benchmark.heads`); those without any are measured as they are shipped. A
step is what a new frame of one face takes: the encoder for its crop, its window, the head.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np

from streamfer.api import TemporalClassifier
from streamfer.benchmark.heads import temporal
from streamfer.inference.answering import answering
from streamfer.inference.described import Described, find, with_mode
from streamfer.plugins import Registry, build

REFERENCE = "cnn"
"""A classifier of single crops, to compare with."""
TURNS, CALLS, WARM_UP = 120, 10, 40

Works = dict[str, Callable[[], object]]


def step(found: Described) -> Callable[[], object]:
    """Each call is the next frame of one face; frames come as far apart as the window has them."""
    model, moments = answering(found.spec), count()
    crop = np.random.default_rng(0).integers(0, 256, (1, *found.crops[0]), np.uint8)
    period = found.spec.window.period if found.spec.window else 0.04
    return lambda: model.follow("bench", next(moments) * period, [1], [crop])


def head(found: Described) -> Callable[[], object]:
    """The same of the head alone."""
    classifier, window = cast(TemporalClassifier, build(found.spec)), found.spec.window
    assert window is not None
    features = classifier.encode(np.full((1, *found.crops[0]), 128, np.uint8))
    windows = np.repeat(features[:, None], window.frames, axis=1)
    return lambda: classifier.classify(windows)


def encoder(found: Described) -> Callable[[], object]:
    """The same of the encoder alone."""
    classifier = cast(TemporalClassifier, build(found.spec))
    crop = np.random.default_rng(0).integers(0, 256, (1, *found.crops[0]), np.uint8)
    return lambda: classifier.encode(crop)


def taken(works: Works, turns: int = TURNS) -> list[dict[str, float]]:
    """Of each turn, milliseconds of CPU time a call of each; every second turn goes through them backwards.

    CPU and not wall time: there is one thread, and what other programs take is none of its cost.
    """
    for work in works.values():
        for _ in range(WARM_UP):
            work()
    measured = []
    for turn in range(turns):
        spent = {}
        for name in list(works)[:: -1 if turn % 2 else 1]:
            began = time.process_time()
            for _ in range(CALLS):
                works[name]()
            spent[name] = (time.process_time() - began) / CALLS * 1000
        measured.append(spent)
    return measured


def main(folder: Path, turns: int = TURNS) -> list[dict[str, Any]]:
    """For each temporal classifier its `name`, the `frames` of its window, the `lengths` that FOLDER has it
    for, and the `turns`: what `REFERENCE`, "encoder", "head" and "step" took, and "head 8" and "step 8" with
    the model for that length."""
    registry = Registry.discover()
    single = step(find(registry, REFERENCE))
    told = []
    for name, card in temporal(registry):
        assert card.window is not None
        shipped = find(registry, *with_mode(name))
        works: Works = {REFERENCE: single, "encoder": encoder(shipped)}
        works |= {"head": head(shipped), "step": step(shipped)}
        lengths = sorted(int(one.parent.name) for one in (folder / name).glob("*/card.json"))
        for frames in lengths:
            model = str(folder / name / str(frames) / "card.json")
            found = find(registry, with_mode(name)[0], {"model": model})
            works |= {f"head {frames}": head(found), f"step {frames}": step(found)}
        entry = {"name": name, "frames": card.window.frames, "lengths": lengths}
        told.append({**entry, "turns": taken(works, turns)})
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
