"""Smoothing: steadies what a classifier says of each tracked face over time.

All parameters are seconds or shares, never frames, so that a stream's frame rate makes no difference.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, TypeAdapter

from streamfer.api import Options

_ROUNDING = 1e-3
"""Seconds by which times may be off: PTS are rounded."""
_MOST = 1024
"""Tracks of a stream that are kept at the most, also where its times stand still."""
_LEAST = 1e-4
"""A probability in an answer, at the least, before it is taken for evidence: answers have four decimals, and
one that says 0 must not rule a label out for good."""

Floats = NDArray[np.float64]


class _Common(Options):
    max_gap: float = Field(
        1.0, gt=0, le=60, description="seconds for which a face may be unseen before it begins anew"
    )


class Ema(_Common):
    """Probabilities are averaged over time; older ones count exponentially less."""

    method: Literal["ema"] = Field(description="exponential moving average")
    time_constant: float = Field(
        0.35, gt=0, le=60, description="seconds after which an answer counts 1/e of what it did"
    )


class Hysteresis(_Common):
    """The label stays until another one has been ahead of it for a while; probabilities stay the frame's."""

    method: Literal["hysteresis"] = Field(description="a label that holds")
    margin: float = Field(
        0.1, ge=0, lt=1, description="by how much another label's probability must be ahead (0..1)"
    )
    hold: float = Field(
        0.15, ge=0, le=60, description="seconds for which it must be ahead, in every frame, to take over"
    )


class Hmm(_Common):
    """A face has a hidden expression that seldom changes; each frame is evidence of it."""

    method: Literal["hmm"] = Field(description="forward filter of a hidden Markov model")
    dwell: float = Field(2.0, gt=0, le=600, description="seconds for which an expression stays, on average")
    rate: float = Field(
        8.0,
        gt=0,
        le=1000,
        description="so many frames per second are independent evidence; more weigh no more than these",
    )


Smoothing = Annotated[Ema | Hysteresis | Hmm, Field(discriminator="method")]
"""A method with its options; as JSON values (`model_dump`) it can be handed to a worker."""

METHODS = ("ema", "hysteresis", "hmm")


def _mapping(value: Any) -> Any:
    """A method may be its name alone; None for no smoothing."""
    if value is None or value == "none":
        return None
    if isinstance(value, Options):
        return value
    whole = value if isinstance(value, Mapping) else {"method": value}
    if whole.get("method") not in METHODS:
        raise ValueError(
            f"expected none, {', '.join(METHODS)}, or a mapping with one of them as its 'method'"
        )
    return whole


MaybeSmoothing = Annotated[
    Smoothing | None,
    BeforeValidator(
        _mapping, json_schema_input_type=Literal["none", "ema", "hysteresis", "hmm"] | Smoothing | None
    ),
]
"""Smoothing in a configuration: a method's name, or a mapping with its `method` and options."""


def smoothing(value: Any) -> Smoothing | None:
    """The options that `value`, as in a configuration or from `model_dump`, stands for; None: no smoothing.

    Raises `pydantic.ValidationError` (a `ValueError`) for anything else.
    """
    adapter: TypeAdapter[Smoothing | None] = TypeAdapter(MaybeSmoothing)
    return adapter.validate_python(value)


class _Method(Protocol):
    """One method. What it remembers of a track is a row of floats, the state."""

    def begin(self, rows: Floats) -> Floats:
        """The states (n, k) of tracks in their first frame."""
        ...

    def step(self, states: Floats, rows: Floats, elapsed: Floats) -> Floats:
        """The states (n, k) after the next frame, `elapsed` (n, 1) seconds later."""
        ...

    def answer(self, states: Floats, rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Probabilities (n, labels) and the labels' places (n,)."""
        ...


class _Ema:
    """The state is the average. An answer is taken to hold since the frame before, which makes the weight
    1 - exp(-elapsed / time_constant), exact for any spacing of frames."""

    def __init__(self, options: Ema) -> None:
        self._time_constant = options.time_constant

    def begin(self, rows: Floats) -> Floats:
        return rows.copy()

    def step(self, states: Floats, rows: Floats, elapsed: Floats) -> Floats:
        return states - np.expm1(-elapsed / self._time_constant) * (rows - states)

    def answer(self, states: Floats, rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
        return states, states.argmax(axis=1)


class _Hysteresis:
    """The state is for each label the seconds for which it has been ahead of the held one (-1: it is not),
    and the held label's place.

    It works on raw probabilities: with averaged ones their delay would come on top of `hold`, which is a
    promise as it stands. Each label has its own clock, so that two which take turns at the top, both well
    ahead of the held one, do not keep it alive.
    """

    def __init__(self, options: Hysteresis) -> None:
        self._margin, self._hold = options.margin, options.hold

    def begin(self, rows: Floats) -> Floats:
        return self._holding(rows, rows.argmax(axis=1))

    def step(self, states: Floats, rows: Floats, elapsed: Floats) -> Floats:
        ahead = self._ahead(rows, states[:, -1].astype(np.intp))
        clocks = np.where(ahead, np.where(states[:, :-1] < 0, 0, states[:, :-1] + elapsed), -1)
        due = clocks >= max(self._hold - _ROUNDING, 0)
        changed = due.any(axis=1)
        after = np.column_stack([clocks, states[:, -1]])
        after[changed] = self._holding(rows[changed], np.where(due, rows, -1)[changed].argmax(axis=1))
        return after

    def answer(self, states: Floats, rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
        return rows, states[:, -1].astype(np.intp)

    def _ahead(self, rows: Floats, held: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.asarray(rows - np.take_along_axis(rows, held[:, None], axis=1) > self._margin)

    def _holding(self, rows: Floats, held: NDArray[np.intp]) -> Floats:
        return np.column_stack([np.where(self._ahead(rows, held), 0.0, -1.0), held])


class _Hmm:
    """The state is the probability of each expression given all frames so far: the forward variable of
    Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), III.A, scaled to add up to 1.

    Expressions change as a continuous-time Markov chain, each to all others alike. A classifier's answer is
    a posterior; divided by the prior, here uniform, it is a likelihood. Neighbouring frames show almost the
    same picture, so that an answer counts only for the time since the last, as its power `rate` × elapsed:
    the answers of a second weigh as much as `rate` independent ones, and one answer never more than one.
    """

    def __init__(self, options: Hmm, labels: int) -> None:
        self._uniform = 1 / labels
        self._mixing = labels / (max(labels - 1, 1) * options.dwell)
        self._rate = options.rate

    def begin(self, rows: Floats) -> Floats:
        return rows.copy()

    def step(self, states: Floats, rows: Floats, elapsed: Floats) -> Floats:
        expected = self._uniform + (states - self._uniform) * np.exp(-elapsed * self._mixing)
        return _normalised(expected * np.maximum(rows, _LEAST) ** np.minimum(self._rate * elapsed, 1))

    def answer(self, states: Floats, rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
        return states, states.argmax(axis=1)


class Smoother:
    """Smooths what one classifier says of the tracked faces of one stream."""

    def __init__(self, options: Smoothing, labels: int) -> None:
        self._max_gap = options.max_gap
        self._labels = labels
        self._method = _method(options, labels)
        self._seconds = -math.inf
        self._tracks: OrderedDict[int, tuple[float, Floats]] = OrderedDict()

    def __len__(self) -> int:
        """How many tracks it remembers."""
        return len(self._tracks)

    def reset(self) -> None:
        """Tracks begin anew: another connection, another attempt, a jump of the clock."""
        self._seconds = -math.inf
        self._tracks.clear()

    def update(
        self, seconds: float, tracks: Sequence[int], rows: NDArray[np.floating[Any]]
    ) -> tuple[Floats, NDArray[np.intp]]:
        """The smoothed answers for the faces of the next frame, which is `seconds` into the stream.

        `rows` (n, labels) has the probabilities of each of `tracks`, which are all different; they need not
        add up to 1 exactly. Returns probabilities float64 (n, labels), rows adding up to 1, and the place of
        each face's label, int (n,). The first answer of a track stays as it is, and so does that after a gap
        longer than `max_gap`. Where a time repeats, the further answers have no weight (`ema`, `hmm`). Time
        that runs backwards begins everything anew.
        """
        rows = _normalised(np.asarray(rows, np.float64).reshape(len(tracks), self._labels))
        if seconds < self._seconds:
            self.reset()
        self._seconds = seconds
        self._forget(seconds)
        states = self._method.begin(rows)
        known = [place for place, track in enumerate(tracks) if track in self._tracks]
        if known:
            since, before = zip(*(self._tracks[tracks[place]] for place in known), strict=True)
            elapsed = seconds - np.array(since)[:, None]
            states[known] = self._method.step(np.stack(before), rows[known], elapsed)
        for track, state in zip(tracks, states, strict=True):
            self._tracks[track] = seconds, state.copy()  # the rest of the array may go
            self._tracks.move_to_end(track)
        while len(self._tracks) > _MOST:
            self._tracks.popitem(last=False)
        return self._method.answer(states, rows)

    def _forget(self, seconds: float) -> None:
        oldest = seconds - self._max_gap - _ROUNDING
        while self._tracks and next(iter(self._tracks.values()))[0] < oldest:
            self._tracks.popitem(last=False)


def _method(options: Smoothing, labels: int) -> _Method:
    if isinstance(options, Ema):
        return _Ema(options)
    return _Hysteresis(options) if isinstance(options, Hysteresis) else _Hmm(options, labels)


def _normalised(rows: Floats) -> Floats:
    """Rows that add up to 1; one that has nothing but zeros says nothing."""
    sums = rows.sum(axis=1, keepdims=True)
    even = np.full_like(rows, 1 / rows.shape[1])
    return np.asarray(np.divide(rows, sums, out=even, where=sums > 0))
