"""What a plugin author sees: how a component is registered, and what each kind of component does.

A component is a plain class built from its options in the worker that needs it. Hooks only register; no hook
runs per frame. `streamfer.testing` checks that a component keeps the contract of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from streamfer.picture import Picture
from streamfer.types import LABELS, Box, CropSpec, Detection, Result, Window

Kind = Literal["source", "detector", "tracker", "classifier", "sink"]
KINDS: tuple[Kind, ...] = ("source", "detector", "tracker", "classifier", "sink")


class Options(BaseModel):
    """Base of every options model: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LiveOptions(Options):
    """Base of the options of live sources."""

    stale_after: float = Field(
        3.0, ge=0.2, le=60, description="Seconds without a frame after which the source is opened again."
    )
    retry: float = Field(
        30.0,
        ge=0.5,
        le=600,
        description="Longest pause in seconds between two tries to open the source; the first is 0.5.",
    )


class NoOptions(Options):
    """For a component with nothing to set."""


@dataclass(frozen=True)
class Network:
    """A network that streamfer trains, evaluates, exports and serves, as its author gives it.

    `build` is "package.module:function" (":function" means the module that registers), imported only where
    the network is trained. It is called as `build(options, crop, labels)`: the validated `options` model (the
    hyperparameters, which a training recipe sets under `model:`), the `CropSpec` of the input and the number
    of labels. It returns a Keras model from float32 (n, height, width, channels), 0..255, to logits
    (n, labels), made of `keras.layers` and `keras.ops` only, so that every backend can run it, without
    augmentation and without softmax; or, for windows of frames, `Parts`.
    """

    build: str
    options: type[Options] = NoOptions
    modes: tuple[str, ...] = ()
    """The names that the option `mode` has for the registration's `model_files`, in their order."""


class Parts(NamedTuple):
    """A network of windows of frames, in two Keras models: the `build` of a `Network` may return this.

    `encoder` is run once for each face crop: float32 (n, height, width, channels), 0..255, to features
    float32 (n, features). `head` reads those of a window, oldest first: float32 (n, frames, features) to
    logits (n, labels). What it has of recurrent layers is unrolled, for LiteRT takes no other.
    """

    encoder: Any
    head: Any


@dataclass(frozen=True)
class Published:
    """What a publication reports for an architecture; `streamfer compare` puts it beside what is measured.

    `accuracy` (0..1) on the `split` that the authors call so; `data` says on what, in words, where that is
    not FER2013's own split with all seven classes; `source` names authors, title and year.
    """

    accuracy: float
    split: Literal["validation", "test"]
    source: str
    data: str = "FER2013"


@dataclass(frozen=True)
class Component:
    """A registration: a component's name, what it is, its options, and where its class is found.

    `target` is "package.module:Class", resolved only in the worker that runs it, so that heavy imports stay
    there; ":Class" means the module that registers. The class is called with one argument, the validated
    options model. Registering must be cheap: no model is read, no heavy library imported.
    """

    kind: Kind
    name: str
    summary: str
    target: str
    options: type[Options] = NoOptions
    live: bool = False
    """Sources: whether frames come when they come and are dropped rather than waited for (a camera). The
    options then derive from `LiveOptions`. A source of recordings is live as well where its option `realtime`
    is true."""
    crop: CropSpec = CropSpec()  # noqa: RUF009 - a NamedTuple is immutable
    """Classifiers: the face crop to be handed over."""
    labels: tuple[str, ...] = ()
    """Classifiers: the names of the probabilities, in order."""
    pixels: bool = False
    """Sinks: whether `Sink.write` needs the frame's pixels."""
    durable: bool = True
    """Sinks: whether the sink keeps what it writes, so that a recording waits for it and can be resumed."""
    model_files: tuple[str, ...] = ()
    """Model cards ("package:path/card.json") whose files `streamfer doctor` verifies."""
    network: Network | None = None
    """Classifiers: what `streamfer train` needs to know; `network` below fills it in."""
    published: tuple[Published, ...] = ()
    """Classifiers: what publications report for this architecture."""
    combines: bool = False
    """Classifiers: whether this one answers with those of others, which the configuration names: its class is
    a `Combiner`, and its options derive from `CombiningOptions`. Crops and labels are those of the
    members."""
    window: Window | None = None
    """Classifiers: the frames of a face that a `TemporalClassifier` looks at; None for one that looks at
    single crops, a `Classifier`. Of a network the card of its model tells."""


# ---- sources -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceInfo:
    """What a source knows once it is open. `frames` is an estimate (None: unknown), `duration` in seconds."""

    width: int
    height: int
    frames: int | None = None
    duration: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One decoded frame. `picture` may be a view that is valid only until the next frame is asked for.

    `pts` is in seconds from the source's clock, None where it gives none. A `corrupt` frame is one that the
    decoder had to patch up: it is counted and recorded, not analysed.
    """

    picture: Picture
    pts: float | None
    corrupt: bool = False


class Source(Protocol):
    """Where frames come from; one object per stream. Built from its options.

    `open` raises `StartError` when there is nothing to read. `frames` yields every frame of the source from
    its start, in presentation order: the position in this sequence is the frame's identity, so a second pass
    over the same recording must yield the same frames. It raises `BrokenFileError` when the source cannot be
    read to its end; what was yielded before stands.

    A live source is opened again and again for as long as the service runs, on the same object: `open`,
    `frames`, `close`, `open`, … Both `open` and `frames` raise `SourceError` within about `stale_after`
    seconds when nothing comes, and when the other end has finished; `frames` just ends only if nothing more
    will ever come (a recording played as if live). Frames come as they arrive and are never held back; PTS
    may be missing, jump or run backwards. All calls come from one thread.
    """

    def open(self) -> SourceInfo: ...

    def frames(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None: ...


# ---- detectors and trackers --------------------------------------------------------------------------------


class Detector(Protocol):
    """Finds faces in one image. Its input width is the caller's business."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Faces in a BGR image, uint8 (height, width, 3), in that image's pixels, best first."""
        ...


class Tracker(Protocol):
    """Gives detections of one stream identities that last. One object per stream.

    Ids are positive, rise, and are never used again, also not after `reset`.
    """

    def predict(self, seconds: float) -> list[Box]:
        """Where the confirmed faces are expected at this time (frame pixels); empty if none is followed."""
        ...

    def update(
        self, detections: Sequence[Detection], seconds: float, appearances: NDArray[np.float32] | None = None
    ) -> list[int]:
        """The track id of each detection, in order. `seconds` is the frame's PTS.

        `appearances` is one unit-norm row per detection (n, d), a coarse picture of the face; two rows of one
        face have a high dot product. A tracker may ignore it.
        """
        ...

    def reset(self, first_track: int | None = None) -> None:
        """Forget all faces (a cut, a restart). Ids go on from `first_track` if it is given and higher."""
        ...


# ---- classifiers -------------------------------------------------------------------------------------------


class ServedModel(Options):
    """Which trained network is served, and what runs it."""

    model: str | None = Field(
        default=None,
        description="model card of an exported model: a file (card.json) or PACKAGE:PATH (default: the "
        "plugin's own)",
    )
    mode: str | None = Field(
        default=None,
        description="which of the plugin's own models, where it ships several (default: its first)",
    )
    runtime: Literal["litert", "tensorflow"] = Field(
        default="litert",
        description="litert: the card's .tflite, on one core; tensorflow: its .keras file",
    )


def network(
    name: str,
    summary: str,
    *,
    build: str,
    options: type[Options] = NoOptions,
    card: str | None = None,
    modes: Mapping[str, str] | None = None,
    crop: CropSpec = CropSpec(),  # noqa: B008 - a NamedTuple is immutable
    published: tuple[Published, ...] = (),
) -> Component:
    """The registration of a network as a classifier; its author writes `build` and `options` and no more.

    `crop` is what the network is trained on, `card` ("package:path/card.json") the trained model that the
    plugin ships, if any. A plugin that ships several has them in `modes` instead, each under the name that
    the option `mode` has for it; the first is the default. The card of the model that is served says which
    labels it has, and whether it looks at single crops or at windows of frames. `published` is what others
    report for this architecture.
    """
    if card is not None and modes is not None:
        raise TypeError(f"the network '{name}': either 'card' or 'modes'")
    return Component(
        "classifier",
        name,
        summary,
        "streamfer.inference.network:NetworkClassifier",
        ServedModel,
        crop=crop,
        labels=LABELS,
        model_files=tuple(modes.values()) if modes else (card,) if card else (),
        network=Network(build, options, tuple(modes or ())),
        published=published,
    )


class WindowOptions(Options):
    """What a temporal classifier's window is to be, where not as it declares."""

    frames: int | None = Field(
        None,
        ge=1,
        le=256,
        description="so many frames of a face, the newest included; at most as many as the classifier reads "
        "(default: those)",
    )
    stride: int | None = Field(
        None,
        ge=1,
        le=64,
        description="every so-manieth frame of a video with the rate that the classifier was trained at "
        "(default: what it declares)",
    )
    max_gap: float | None = Field(
        None,
        gt=0,
        le=60,
        description="seconds for which a face may be unseen before its window begins anew (default: what the "
        "classifier declares)",
    )


class MemberOptions(Options):
    """One of the classifiers behind a classifier that combines. The member's own options stand beside these
    keys and are checked as those of a classifier that stands alone."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="the classifier component")
    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="how much its answers count beside the others'",
    )
    window: WindowOptions | None = Field(
        default=None, description="for a temporal classifier: its window, where not as it declares"
    )


def _member(value: Any) -> Any:
    """A member may be its name alone."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping | MemberOptions):
        raise ValueError("expected the name of a classifier, or a mapping with its 'name'")
    return value


def _several(members: tuple[MemberOptions, ...]) -> tuple[MemberOptions, ...]:
    # Not `min_length`, which says it also of two of which one is wrong.
    if len(members) < 2:
        raise ValueError("two members or more are needed; a single classifier is named by itself")
    return members


Members = Annotated[
    tuple[
        Annotated[MemberOptions, BeforeValidator(_member, json_schema_input_type=str | MemberOptions)], ...
    ],
    AfterValidator(_several),
    Field(json_schema_extra={"minItems": 2}),
]
"""The members in a configuration, each a classifier's name or a mapping."""


class CombiningOptions(Options):
    """Base of the options of classifiers that combine others (`Component.combines`). A class that ships with
    members of its own gives the field a default.

    Where the class is built they are validated once more, the members with all their options by then; what
    the first validation made of the other options stays.
    """

    members: Members = Field(description="the classifiers whose answers are combined")


class Classifier(Protocol):
    """Names the expression on face crops. Built from its options in a classify worker."""

    def predict(self, crops: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Probabilities (n, labels), rows adding up to 1, for crops uint8 (n, height, width, channels).

        The crops are as the registration's `crop` asks, full range, upright, aligned by
        `streamfer.preprocess`. A row depends on its own crop only.
        """
        ...


class TemporalClassifier(Protocol):
    """Names the expression of a face from its last frames. Its registration declares a `window`.

    In two parts, so that a new frame costs one run of each, however long the window is. The service keeps
    what `encode` said of each tracked face's last frames, and hands over windows: the class remembers
    nothing."""

    def encode(self, crops: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """What matters about each crop, float32 (n, features), for crops as `Classifier.predict` gets them. A
        row depends on its own crop only."""
        ...

    def classify(self, windows: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Probabilities (n, labels), rows adding up to 1, for windows (n, `window.frames`, features), oldest
        frame first. While a window is not yet full, its first places hold the oldest frame there is. A row
        depends on its own window only."""
        ...


class Combiner(Protocol):
    """A classifier that combines others. Built from its options and its members, a sequence of `Member`."""

    def combine(self, *answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, labels), rows adding up to 1, from each member's, (n, its labels): their order is
        that of the members. The answer's labels are in the order of the first member. A row depends on the
        same row of the answers only."""
        ...


@dataclass(frozen=True)
class Member:
    """A classifier behind one that combines. Its `labels` are those of every other member, perhaps in another
    order; the answer's are in the order of the first member."""

    name: str
    weight: float
    labels: tuple[str, ...]


# ---- sinks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamPlan:
    """What a sink is told of a stream before the first result: its name and classifiers."""

    name: str
    classifiers: tuple[str, ...]


@dataclass(frozen=True)
class Position:
    """How far a durable sink's record of one (stream, classifier) goes, read back from what it has kept.

    `seq` is the last frame on record (-1: none) and `epoch` its epoch, `delivered` the frames analysed,
    `dropped` the others by reason, `last_track` the highest track id seen. What a sink has deleted since, for
    being too old or too much, counts as on record.
    """

    seq: int = -1
    delivered: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    last_track: int = 0
    epoch: int = 0


class Sink(Protocol):
    """Where results go. Built from its options in a process of its own.

    The service calls `open`, then `write` for each result, in order and without repeats per
    (stream, classifier), `flush` now and then, `close` at the end. A sink that cannot go on (no space, no
    permission) raises OSError; the service stops the run with one line.
    """

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        """Make ready; raise `StartError` if that fails. With `resume`, repair what a crash left torn, keep
        the rest, and tell the position of each (stream, classifier) on record; without, start anew. The
        service resumes a sink also when its process died in the middle of a run."""
        ...

    def write(self, result: Result, picture: Picture | None) -> None:
        """Take one result; `picture` only where the registration says `pixels=True` (the view is valid
        during this call), and None for a dropped frame."""
        ...

    def flush(self) -> bool | None:
        """Make everything written so far durable: when this returns, a power cut loses nothing of it.

        False says that it could not be done for now (a database that another program keeps locked): what was
        written is held, and flushed again a moment later. Neither `write` nor `flush` may take longer than
        about 3 seconds; a sink that is silent for longer is taken for dead.
        """
        ...

    def end(self, stream: str) -> None:
        """No more results of this stream follow."""
        ...

    def outputs(self) -> Iterable[str]:
        """The files (or places) written to, named at the end of a run."""
        ...

    def close(self) -> None: ...
