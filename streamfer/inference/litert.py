"""LiteRT: runs an exported model on one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError
from streamfer.inference.card import Part


@contextmanager
def without_native_chatter() -> Iterator[None]:
    """Native libraries tell each user's terminal which devices and delegates they found, and have no switch
    for it that works everywhere. What goes wrong is raised all the same."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class LiteRTModel:
    """A model with one input and one output, run one row at a time.

    One at a time because a batch gains nothing on one thread, and a row must not depend on the others.
    """

    def __init__(self, part: Part) -> None:
        """StartError if the model is damaged, is none, or does not fit its card."""
        from ai_edge_litert.interpreter import Interpreter

        model = part.file.read()
        try:
            with without_native_chatter():
                self._interpreter = Interpreter(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise StartError(f"{part.file.path}: LiteRT cannot run this model: {error}") from error
        takes, gives = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if [one["dtype"] for one in (*takes, *gives)] != [np.float32, np.float32]:
            raise StartError(
                f"{part.file.path}: expected a model with one float32 input and one float32 output; export "
                "the model again"
            )
        part.check(takes[0]["shape"].tolist()[1:], gives[0]["shape"].tolist()[1:])
        self._input, self._output = takes[0]["index"], gives[0]["index"]
        self._gives = part.gives

    def run(self, rows: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model gives, float32 (n, *gives), for rows (n, *takes)."""
        answers = []
        for row in rows:
            self._interpreter.set_tensor(self._input, row[None].astype(np.float32, copy=False))
            self._interpreter.invoke()
            answers.append(self._interpreter.get_tensor(self._output)[0])
        return np.asarray(answers, np.float32).reshape(len(rows), *self._gives)
