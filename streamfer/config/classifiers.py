"""What the classifiers of a configuration look at and answer, the members of those that combine included."""

from __future__ import annotations

from typing import Any

from streamfer.api import CombiningOptions, MemberOptions, WindowOptions
from streamfer.config.document import Document
from streamfer.config.entries import Entries, Entry
from streamfer.config.errors import Key
from streamfer.inference.described import (
    Described,
    Unfit,
    combine,
    describe,
    refuse_as_member,
    refuse_window,
)


def described(
    document: Document, entries: Entries, found: Entry[Any], key: Key, window: WindowOptions | None
) -> Described | None:
    """The classifier of the entry at `key`; None if it cannot be served, and the document says why."""
    try:
        if isinstance(found.options, CombiningOptions):
            refuse_window(window)
            return _combined(document, entries, found, found.options, key)
        return describe(found.registered, found.spec, window)
    except Unfit as error:
        document.add((*key, *error.option), _told(error, found.spec.options.get("model")))
        return None


def _combined(
    document: Document, entries: Entries, found: Entry[Any], options: CombiningOptions, key: Key
) -> Described | None:
    written = "members" in options.model_fields_set
    members: list[Described] = []
    for place, one in enumerate(options.members):
        at = (*key, "members", place)
        try:
            if (member := _member(entries, one, at)) is not None:
                members.append(member)
        except Unfit as error:
            if written:
                document.add((*at, *error.option), _told(error, (one.model_extra or {}).get("model")))
            else:  # it stands nowhere in the document
                document.add(key, f"its member '{one.name}': {error}")
    if len(members) < len(options.members):
        return None
    try:
        return combine(found.spec, options, members)
    except Unfit as error:
        document.add((*key, *error.option), str(error))
        return None


def _member(entries: Entries, one: MemberOptions, key: Key) -> Described | None:
    """One member, at `key`; None if its own options are wrong, and the document says why."""
    registered = entries.registry.find("classifier", one.name)
    if registered is None:
        raise Unfit(entries.absent("classifier", one.name), "name")
    refuse_as_member(registered)
    spec = entries.member(registered, one, key)
    return None if spec is None else describe(registered, spec, one.window)


def _told(error: Unfit, model: object) -> str:
    return f"missing key; {error}" if error.option == ("model",) and model is None else str(error)
