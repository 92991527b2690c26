"""What a classifier looks at and answers, as registration, options and cards tell without building it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from streamfer import wire
from streamfer.api import CombiningOptions, MemberOptions, Options, ServedModel
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
from streamfer.types import CropSpec


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


@dataclass(frozen=True, eq=False)
class Described:
    """A classifier: how it is built, the distinct crops that it wants (one, but for one that combines), its
    labels in the order of its answers. `models` has what it serves, None for a classifier that is no network;
    that of one that combines has what each member serves."""

    spec: ComponentSpec
    crops: tuple[CropSpec, ...]
    labels: tuple[str, ...]
    models: tuple[ServedCard | None, ...]


def find(registry: Registry, name: str, options: Mapping[str, Any] | None = None) -> Described:
    """The classifier of this name with these options (JSON values), those of its members included.

    UsageError for a name that is not there and for options that do not fit, StartError for a model that is
    not there; each is one line, which names the member where it is one's.
    """
    registered = registry.get("classifier", name)
    given = dict(options or {})
    try:
        valid = _validated(registered, given)
    except UsageError as error:
        raise UsageError(f"classifier '{name}': {error}") from None
    spec = spec_of(registered, given)
    if not isinstance(valid, CombiningOptions):
        try:
            return describe(registered, spec)
        except Unfit as error:
            raise StartError(f"classifier '{name}': {error}") from None
    members: list[Described] = []
    try:
        for one in valid.members:
            members.append(_member(registry, one))
        return combine(spec, valid, members)
    except StreamferError as error:
        at = len(members)
        if isinstance(error, Unfit) and error.option[0] == "members":
            at = int(error.option[1])
        of_model = isinstance(error, Unfit) and error.option[0] in ("model", "runtime")
        kind = StartError if of_model else UsageError
        raise kind(f"classifier '{name}': member {at + 1}, '{valid.members[at].name}': {error}") from None


def _member(registry: Registry, one: MemberOptions) -> Described:
    registered = registry.get("classifier", one.name)
    refuse_as_member(registered)
    options = dict(one.model_extra or {})
    _validated(registered, options)
    return describe(registered, spec_of(registered, options))


def _validated(registered: Registered, options: Mapping[str, Any]) -> Options:
    try:
        return registered.component.options.model_validate(options)
    except ValidationError as error:
        # Not the values: they may be passwords.
        wrong = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise UsageError("; ".join(wrong)) from None


def describe(registered: Registered, spec: ComponentSpec) -> Described:
    """A classifier that stands alone; Unfit for a network that has no model or one that cannot be served."""
    component = registered.component
    if component.network is None:
        return Described(spec, (component.crop,), component.labels, (None,))
    options = component.options.model_validate(spec.options)
    assert isinstance(options, ServedModel)  # the registry sees to it
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
    return Described(spec, (card.crop,), card.labels, (ServedCard(card, file),))


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
    told = [{**one.component.options, "name": one.component.name, "weight": one.weight} for one in specs]
    spec = msgspec.structs.replace(spec, options={**spec.options, "members": told}, members=specs)
    return Described(spec, crops, labels, tuple(one.models[0] for one in members))
