"""Model cards: what a trained network looks at and answers, and which files hold it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from streamfer.api import ServedModel
from streamfer.errors import StartError
from streamfer.types import CropSpec, Window

CARD = "card.json"
"""What the card is called that an export writes beside its model files."""

MAX_BYTES = 4 * 1024 * 1024
"""A file that is longer is no card (but, say, the model itself)."""

_PACKAGE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(.+)", re.DOTALL)
_AGAIN = "reinstall the plugin or export the model again"

_Side = Annotated[int, msgspec.Meta(ge=8, le=512)]


class _File(msgspec.Struct, frozen=True):
    """A file beside the card."""

    file: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    def __post_init__(self) -> None:
        if self.file in ("", ".", "..") or "\0" in self.file or Path(self.file).name != self.file:
            raise ValueError(f"file: {self.file!r} is not the name of a file beside the card")


class _Input(msgspec.Struct, frozen=True):
    """What the network takes: faces (n, height, width, channels)."""

    height: _Side
    width: _Side
    channels: Literal[1, 3]
    dtype: Literal["float32"] = "float32"
    range: tuple[Literal[0], Literal[255]] = (0, 255)


class _Window(msgspec.Struct, frozen=True):
    """The frames of a face that a temporal network looks at."""

    frames: Annotated[int, msgspec.Meta(ge=1, le=256)]
    stride: Annotated[int, msgspec.Meta(ge=1, le=64)]
    fps: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    max_gap: Annotated[float, msgspec.Meta(gt=0, le=60)]


class _Card(_File, frozen=True):
    """The part of a card that serving needs. A temporal network has a window, and two models: the encoder is
    the card's own, the head reads what it says of each frame."""

    name: str
    version: str
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    input: _Input
    keras: _File | None = None
    window: _Window | None = None
    features: Annotated[int, msgspec.Meta(ge=1, le=65536)] | None = None
    head: _File | None = None
    keras_head: _File | None = None

    def __post_init__(self) -> None:
        _File.__post_init__(self)
        temporal = {"window": self.window, "features": self.features, "head": self.head}
        missing = [key for key, value in temporal.items() if value is None]
        if 0 < len(missing) < len(temporal):
            there = next(key for key in temporal if key not in missing)
            raise ValueError(
                f"{missing[0]}: it is missing, but a temporal network, which has a {there}, needs it"
            )
        if (self.keras_head is None) != (self.keras is None or self.window is None):
            raise ValueError(
                "keras_head: a temporal network has it where it has 'keras', and no other has it"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: they repeat: {', '.join(self.labels)}")
        for label in self.labels:
            if not (label.isprintable() and 1 <= len(label) <= 64):
                raise ValueError(f"labels: {label!r} is not 1 to 64 printable characters")


@dataclass(frozen=True)
class ModelFile:
    """A file that a card names, and its hash."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Its bytes; StartError unless they are those that the card was written for."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise StartError(f"{self.path}: the model cannot be read: {error.strerror}") from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != self.sha256:
            raise StartError(
                f"{self.path}: the model is corrupted (sha256 {actual[:12]}…, its card says "
                f"{self.sha256[:12]}…); reinstall the plugin or restore the file"
            )
        return content


@dataclass(frozen=True)
class ModelCard:
    """A trained network: the face crop that it takes, the labels that it gives, its files.

    `model` is the LiteRT model, `keras` the same as a Keras file, if there is one: both take float32
    (n, height, width, channels), 0..255, and give probabilities (n, labels).

    That of a temporal network has a `window`. Its `model` (or `keras`) is the encoder, which gives `features`
    (n, features) in their place; its `head` (or `keras_head`) takes those of a window (n, frames, features)
    and gives the probabilities. `raw` is the whole card, with the figures, as JSON values.
    """

    path: Path
    name: str
    version: str
    labels: tuple[str, ...]
    crop: CropSpec
    model: ModelFile
    keras: ModelFile | None
    raw: Mapping[str, Any] = field(compare=False, repr=False)
    window: Window | None = None
    features: int = 0
    head: ModelFile | None = None
    keras_head: ModelFile | None = None


def in_package(model: str) -> tuple[str, str] | None:
    """(package, path) of a model that is named as PACKAGE:PATH; None if it is the path of a file."""
    match = _PACKAGE.fullmatch(model)
    return (match[1], match[2]) if match else None


def locate(model: str) -> Path:
    """The file that "package:path" or a file's path names; StartError if there is no such package."""
    named = in_package(model)
    if named is None:
        return Path(model)
    package, path = named
    try:
        return Path(str(files(package).joinpath(path)))
    except (ImportError, TypeError) as error:
        raise StartError(f"{model}: no such package; name a model card as PACKAGE:PATH or a file") from error


def read_card(model: str) -> ModelCard:
    """The card that `model` names: the card itself, or a .keras file that has its card beside it.

    The model's files are not read. StartError, one line, for what is no card.
    """
    place = locate(model)
    if place.suffix != ".keras":
        return _read(place)
    card = _read(place.with_name(CARD))
    if card.keras is None or card.keras.path.name != place.name:
        other = card.keras.path.name if card.keras else "no .keras file"
        raise StartError(f"{place}: the {CARD} beside it is not its card: it names {other}")
    return card


def served_file(card: ModelCard, options: ServedModel) -> ModelFile:
    """The file of the card that the options' runtime runs; StartError if it is not there."""
    if options.runtime == "litert":
        if options.model is not None and options.model.endswith(".keras"):
            raise StartError(
                f"{options.model}: a .keras file is served with 'runtime: tensorflow'; LiteRT serves the "
                f"model whose card is the {CARD} beside it"
            )
        return card.model
    if card.keras is not None and card.keras.path.is_file():
        return card.keras
    missing = f"{card.keras.path.name} is not beside it" if card.keras else "it names no .keras file"
    raise StartError(
        f"{card.path}: 'runtime: tensorflow' runs the model's .keras file, but {missing}; name a card that "
        "'streamfer export --keras' has written, or use 'runtime: litert'"
    )


@dataclass(frozen=True)
class Part:
    """A model that is run: its file, and what it takes and gives (both without the batch), `taken` and
    `given` in words."""

    file: ModelFile
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    taken: str = ""
    given: str = "labels"

    def check(self, takes: Sequence[Any], gives: Sequence[Any]) -> None:
        """StartError unless a model with this input and this output is what the card describes."""
        if tuple(takes) != self.takes or tuple(gives) != self.gives:
            raise StartError(
                f"{self.file.path}: the model does not fit its card: {_shape(takes)} in and {_shape(gives)} "
                f"out, but the card says {_shape(self.takes)}{self.taken} in and {_shape(self.gives)} "
                f"{self.given}; export the model again"
            )


def parts(card: ModelCard, options: ServedModel) -> tuple[Part, ...]:
    """What the options' runtime runs: one model, or the encoder and the head of a temporal network.
    StartError if it is not there."""
    file, labels = served_file(card, options), (len(card.labels),)
    if card.window is None:
        return (Part(file, card.crop, labels),)
    head = card.head if options.runtime == "litert" else card.keras_head
    assert head is not None  # the card was checked
    return (
        Part(file, card.crop, (card.features,), given="features"),
        Part(head, (card.window.frames, card.features), labels, taken=" (frames × features)"),
    )


def _shape(sides: Sequence[Any]) -> str:
    return "×".join("?" if side is None else str(side) for side in sides) or "nothing"


def _read(place: Path) -> ModelCard:
    try:
        with place.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StartError(f"{place}: the model card cannot be read: {error.strerror}") from error
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is longer than {MAX_BYTES // 2**20} MiB")
        raw = msgspec.json.decode(content)
        card = msgspec.convert(raw, _Card)
    except (ValueError, RecursionError) as error:
        raise StartError(f"{place}: not a model card: {_where_first(str(error))}; {_AGAIN}") from error
    folder = place.parent
    size = card.input
    return ModelCard(
        place,
        card.name,
        card.version,
        card.labels,
        CropSpec(size.height, size.width, size.channels),
        ModelFile(folder / card.file, card.sha256),
        _beside(folder, card.keras),
        raw,
        Window(*msgspec.structs.astuple(card.window)) if card.window else None,
        card.features or 0,
        _beside(folder, card.head),
        _beside(folder, card.keras_head),
    )


def _beside(folder: Path, file: _File | None) -> ModelFile | None:
    return ModelFile(folder / file.file, file.sha256) if file else None


def _where_first(text: str) -> str:
    """msgspec's "Expected … - at `$.input.height`" with the key in front, as in other messages."""
    said, separator, where = text.partition(" - at `$")
    said = said[:1].lower() + said[1:] if not said.startswith("JSON") else said
    return f"{where.strip('.`')}: {said}" if separator and where.strip(".`") else said
