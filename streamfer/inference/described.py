"""What a classifier looks at and answers, as registration, options and cards tell without building it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from streamfer import wire
from streamfer.api import CombiningOptions, MemberOptions, Options, ServedModel, WindowOptions
from streamfer.errors import StartError, StreamferError, UsageError
from streamfer.inference.card import ModelCard, ModelFile, read_card, served_file
from streamfer.plugins import (
    ComponentSpec,
    MemberSpec,
    Registered,
    Registry,
    distinct_crops,
    option_keys,
    spec_of,
)
from streamfer.types import CropSpec, Window


class Unfit(StartError):
    """A classifier that cannot be served with these options. `option` is the path to the one at fault."""

    def __init__(self, text: str, *option: str | int) -> None:
        super().__init__(text)
        self.option = option


@dataclass(frozen=True)
class ServedCard:
    """The card of a network's model, and which of its files the network's runtime runs."""

    card: ModelCard
    file: ModelFile

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All that is run: with the head of a temporal network."""
        head = self.card.keras_head if self.file == self.card.keras else self.card.head
        return (self.file, head) if head else (self.file,)


@dataclass(frozen=True, eq=False)
class Described:
    """A classifier: how it is built, the distinct crops that it wants (one, but for one that combines), its
    labels in the order of its answers. `models` has what it serves, None for a classifier that is no network;
    that of one that combines has what each member serves."""

    spec: ComponentSpec
    crops: tuple[CropSpec, ...]
    labels: tuple[str, ...]
    models: tuple[ServedCard | None, ...]


def with_mode(named: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a classifier that a command names: "cnn_lstm:frames" is `cnn_lstm` with the
    option `mode: frames`."""
    name, colon, mode = named.partition(":")
    return name, {"mode": mode} if colon else {}


def find(
    registry: Registry,
    name: str,
    options: Mapping[str, Any] | None = None,
    window: WindowOptions | None = None,
) -> Described:
    """The classifier of this name with these options (JSON values), those of its members included, and, of a
    temporal one, with this window.

    UsageError for a name that is not there and for options that do not fit, StartError for a model that is
    not there; each is one line, which names the member where it is one's.
    """
    registered = registry.get("classifier", name)
    given = dict(options or {})
    if "mode" in given and "mode" not in option_keys(registered.component.options):
        raise UsageError(f"classifier '{name}': {no_modes(registered, given['mode'])}")
    try:
        valid = _validated(registered, given)
    except UsageError as error:
        raise UsageError(f"classifier '{name}': {error}") from None
    spec = spec_of(registered, given)
    if not isinstance(valid, CombiningOptions):
        try:
            return describe(registered, spec, window)
        except Unfit as error:
            raise _kind(error)(f"classifier '{name}': {error}") from None
    try:
        refuse_window(window)
    except Unfit as error:
        raise UsageError(f"classifier '{name}': {error}") from None
    members: list[Described] = []
    try:
        for one in valid.members:
            members.append(_member(registry, one))
        return combine(spec, valid, members)
    except StreamferError as error:
        at = len(members)
        if isinstance(error, Unfit) and error.option[0] == "members":
            at = int(error.option[1])
        raise _kind(error)(
            f"classifier '{name}': member {at + 1}, '{valid.members[at].name}': {error}"
        ) from None


def _kind(error: StreamferError) -> type[StreamferError]:
    """Whether it is the model or what was asked of it."""
    of_model = isinstance(error, Unfit) and error.option[0] in ("model", "runtime")
    return StartError if of_model else UsageError


def _member(registry: Registry, one: MemberOptions) -> Described:
    registered = registry.get("classifier", one.name)
    refuse_as_member(registered)
    options = dict(one.model_extra or {})
    _validated(registered, options)
    return describe(registered, spec_of(registered, options), one.window)


def _validated(registered: Registered, options: Mapping[str, Any]) -> Options:
    try:
        return registered.component.options.model_validate(options)
    except ValidationError as error:
        # Not the values: they may be passwords.
        wrong = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise UsageError("; ".join(wrong)) from None


def describe(registered: Registered, spec: ComponentSpec, window: WindowOptions | None = None) -> Described:
    """A classifier that stands alone, with this window if it is a temporal one; Unfit for a network that has
    no model or one that cannot be served, and for a window that it cannot have."""
    component = registered.component
    if component.network is None:
        spec = _with_window(spec, component.window, window)
        return Described(spec, (component.crop,), component.labels, (None,))
    options = component.options.model_validate(spec.options)
    assert isinstance(options, ServedModel)  # the registry sees to it
    _check_mode(registered, options)
    if options.model is None:
        raise Unfit("the plugin ships no trained model: name an exported one, DIR/card.json", "model")
    try:
        card = read_card(options.model)
    except StartError as error:
        raise Unfit(str(error), "model") from None
    try:
        file = served_file(card, options)
    except StartError as error:
        raise Unfit(str(error), "runtime") from None
    spec = _with_window(spec, card.window, window)
    return Described(spec, (card.crop,), card.labels, (ServedCard(card, file),))


def _check_mode(registered: Registered, options: ServedModel) -> None:
    """Unfit for a mode that the plugin does not have, or that is not that of the model."""
    network = registered.component.network
    if options.mode is None or network is None:
        return
    if not network.modes:
        raise Unfit(no_modes(registered, options.mode), "mode")
    if options.mode not in network.modes:
        raise Unfit(f"no mode '{options.mode}'; there are: {', '.join(network.modes)}", "mode")
    if options.model != registered.component.model_files[network.modes.index(options.mode)]:
        raise Unfit(
            "it names one of the plugin's own models, and 'model' another; remove one of the two", "mode"
        )


def no_modes(registered: Registered, mode: object) -> str:
    """What is said where a classifier without modes is asked for one."""
    return f"no mode '{mode}': '{registered.name}' has no modes; remove it"


def _with_window(spec: ComponentSpec, declared: Window | None, wanted: WindowOptions | None) -> ComponentSpec:
    """The spec of a classifier with this window, if it has one, changed as is wanted."""
    if declared is None:
        if wanted is not None:
            raise Unfit(f"'{spec.name}' looks at single crops: it has no window; remove it", "window")
        return spec
    window = declared
    if wanted is not None:
        window = declared._replace(**wanted.model_dump(exclude_none=True))
        if window.frames > declared.frames:
            most = f"at most {declared.frames}, the frames that the classifier reads"
            raise Unfit(f"got {window.frames}, expected {most}", "window", "frames")
    return msgspec.structs.replace(spec, window=window, reads=declared.frames)


def refuse_window(wanted: WindowOptions | None) -> None:
    """Unfit if one that combines is to have a window."""
    if wanted is not None:
        raise Unfit("its members have windows of their own; set it on the member", "window")


def refuse_as_member(registered: Registered) -> None:
    """Unfit if this classifier cannot be a member of one that combines."""
    if registered.component.combines:
        raise Unfit(f"'{registered.name}' combines others itself; name its members here in its place", "name")
    taken = option_keys(registered.component.options) & option_keys(MemberOptions)
    if taken:
        raise Unfit(
            f"'{registered.name}' cannot be a member: its own option '{min(taken)}' has the name of a key of "
            "members",
            "name",
        )


def combine(spec: ComponentSpec, options: CombiningOptions, members: Sequence[Described]) -> Described:
    """The classifier that combines these members, described in the order in which `options` has them; its
    labels are in the order of the first.

    Unfit, with the option ("members", place), unless all have the same labels, no two are one and the same,
    and their crops fit a message.
    """
    labels = members[0].labels
    for place, one in enumerate(members):
        if set(one.labels) != set(labels):
            raise Unfit(
                f"its labels ({', '.join(one.labels)}) are not those of the first member "
                f"({', '.join(labels)}); members have the same labels, in any order",
                "members",
                place,
            )
        for earlier, other in enumerate(members[:place]):
            if other.spec == one.spec:
                raise Unfit(
                    f"the same as member {earlier + 1}; name it once, with the weight of both",
                    "members",
                    place,
                )
    specs = tuple(
        MemberSpec(one.spec, given.weight, one.crops[0], one.labels)
        for given, one in zip(options.members, members, strict=True)
    )
    crops = distinct_crops(specs)
    size = 0
    for crop in crops:
        size += crop.height * crop.width * crop.channels
        if size > wire.MAX_FACE:
            at = next(place for place, one in enumerate(specs) if one.crop == crop)
            raise Unfit(
                f"with its crop ({'×'.join(map(str, crop))}) those of one face come to {size:,} bytes, "
                f"and at most {wire.MAX_FACE:,} can be sent; use models of smaller faces",
                "members",
                at,
            )
    # What is written down is what is served: of each member its options as they are validated and resolved.
    told = [
        {
            **one.component.options,
            "name": one.component.name,
            "weight": one.weight,
            **({"window": given.window.model_dump(exclude_none=True)} if given.window else {}),
        }
        for given, one in zip(options.members, specs, strict=True)
    ]
    # Of its own options as well: what they are where they were left out may depend on who the members are.
    own = options.model_dump(mode="json", by_alias=True, exclude={"members"}, exclude_defaults=True)
    own |= {key: value for key, value in spec.options.items() if value is not None}
    spec = msgspec.structs.replace(spec, options={**own, "members": told}, members=specs)
    return Described(spec, crops, labels, tuple(one.models[0] for one in members))
