"""The JSON Schema of a configuration, options of every registered component included, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import DEFAULT_REF_TEMPLATE

from streamfer.api import Component, Kind, MemberOptions
from streamfer.config.model import (
    ClassifierKeys,
    DetectorKeys,
    FolderKeys,
    MetricsKeys,
    Privacy,
    SinkKeys,
    StreamKeys,
    TrackerKeys,
)
from streamfer.config.streams import FOLDER
from streamfer.plugins import NAME, Registry

Schema = dict[str, Any]

_FILLED_IN = "filled-in"
"""The definition of a text with a `${…}`, which may stand for a number or a truth value too."""


def schema(registry: Registry) -> Schema:
    """JSON Schema (draft 2020-12) of a configuration that uses the components of this registry."""
    definitions: Schema = {
        _FILLED_IN: {"type": "string", "pattern": r"\$\{", "description": "${NAME} or ${secret:NAME}"}
    }

    def entry(kind: Kind, keys: type[BaseModel]) -> Schema:
        return _entry(registry, kind, keys, definitions)

    sections: Schema = {
        "version": {"const": 1, "description": "the version of this format"},
        "streams": {
            "type": "object",
            "description": "the streams to analyse, by name",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": entry("source", StreamKeys),
        },
        "detector": _or_name(registry, "detector", entry("detector", DetectorKeys)),
        "tracker": _or_name(registry, "tracker", entry("tracker", TrackerKeys)),
        "classifiers": _list(_or_name(registry, "classifier", entry("classifier", ClassifierKeys))),
        "sinks": _list(_or_name(registry, "sink", entry("sink", SinkKeys))),
        "metrics": {"anyOf": [_object(MetricsKeys, "metrics", definitions), {"type": "boolean"}]},
        "plugins": {
            "type": "array",
            "description": "local plugin files",
            "items": {"type": "string", "minLength": 1},
        },
        "privacy": _object(Privacy, "privacy", definitions),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamfer configuration",
        "type": "object",
        "required": ["version", "streams", "classifiers", "sinks"],
        "properties": sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _or_name(registry: Registry, kind: Kind, entry: Schema) -> Schema:
    """A component as a mapping, or by its name alone."""
    name = {"anyOf": [{"enum": registry.names(kind)}, {"$ref": f"#/$defs/{_FILLED_IN}"}]}
    return {"if": {"type": "string"}, "then": name, "else": entry}


def _entry(registry: Registry, kind: Kind, keys: type[BaseModel], definitions: Schema) -> Schema:
    """An entry that names a component: its other keys depend on that name."""
    selector = "source" if kind == "source" else "name"
    names = registry.names(kind)
    own = _object(keys, kind, definitions)
    cases = []
    for name in names:
        component = registry.get(kind, name).component
        options = _object(component, f"{kind}.{name}", definitions)
        if component.combines:
            _set_members(options, registry, definitions)
        cases.append(_case(selector, name, own, options, definitions, f"{kind}.{name}"))
    if kind == "source" and "file" in names:
        folder = _object(FolderKeys, f"source.{FOLDER}", definitions)
        file = definitions["source.file"]["properties"]
        extra = {key: value for key, value in file.items() if key not in own["properties"]}
        folder["properties"] = {**extra, **folder["properties"]}
        cases.append(_case(selector, FOLDER, own, folder, definitions, f"source.{FOLDER}"))
        names = [*names, FOLDER]
    choice = {**own["properties"][selector], "enum": names}
    return {
        "type": "object",
        "properties": {selector: choice},
        "required": own.get("required", []),
        "allOf": cases,
    }


def _set_members(options: Schema, registry: Registry, definitions: Schema) -> None:
    """The members of a classifier that combines: each a classifier's name, or a mapping with its options."""
    names = [
        name
        for name in registry.names("classifier")
        if not registry.get("classifier", name).component.combines
    ]
    own = _object(MemberOptions, "member", definitions)
    cases = []
    for name in names:
        alone = _object(registry.get("classifier", name).component, f"member.{name}", definitions)
        cases.append(_case("name", name, own, alone, definitions, f"member.{name}"))
    entry = {
        "type": "object",
        "properties": {"name": {**own["properties"]["name"], "enum": names}},
        "required": ["name"],
        "allOf": cases,
    }
    alone = {"anyOf": [{"enum": names}, {"$ref": f"#/$defs/{_FILLED_IN}"}]}
    listed, filled = options["properties"]["members"]["anyOf"]
    listed = {**listed, "items": {"if": {"type": "string"}, "then": alone, "else": entry}}
    options["properties"]["members"]["anyOf"] = [listed, filled]


def _case(
    selector: str, name: str, own: Schema, options: Schema, definitions: Schema, reference: str
) -> Schema:
    """What holds if the entry names this component. A selector with a default may be left out."""
    definitions[reference] = {
        "description": options.get("description", ""),
        "properties": {**own["properties"], **options["properties"]},
        "required": options.get("required", []),
        "additionalProperties": options.get("additionalProperties", True),
    }
    default = own["properties"][selector].get("default")
    condition: Schema = {"properties": {selector: {"const": name}}}
    if default != name:
        condition["required"] = [selector]
    return {"if": condition, "then": {"$ref": f"#/$defs/{reference}"}}


def options_schema(component: Component, template: str = DEFAULT_REF_TEMPLATE) -> Schema:
    """JSON Schema of a component's own options, with the modes that a network has.

    PydanticInvalidForJsonSchema for a third party's types that it cannot tell.
    """
    result = component.options.model_json_schema(ref_template=template)
    if component.network is not None:
        mode, modes = result["properties"].pop("mode"), component.network.modes
        if modes:
            result["properties"]["mode"] = {**mode, "anyOf": [{"enum": list(modes)}, {"type": "null"}]}
    return result


def _object(model: type[BaseModel] | Component, prefix: str, definitions: Schema) -> Schema:
    """The schema of a model or of a component's options, its own definitions moved to `definitions`; `${…}`
    is allowed for every value."""
    template = f"#/$defs/{prefix}.{{model}}"
    try:
        if isinstance(model, Component):
            result = options_schema(model, template)
        else:
            result = model.model_json_schema(ref_template=template)
    except PydanticInvalidForJsonSchema:
        return {"properties": {}}  # a third party's type that JSON Schema cannot tell: anything goes
    for name, definition in result.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = _fillable(definition) if "properties" in definition else definition
    return _fillable(result)


def _fillable(model: Schema) -> Schema:
    """A model's schema in which a `${…}` may stand for every value."""
    properties = {}
    for key, value in model.get("properties", {}).items():
        value.pop("title", None)
        described = {word: value.pop(word) for word in ("description", "default") if word in value}
        properties[key] = {**described, "anyOf": [value, {"$ref": f"#/$defs/{_FILLED_IN}"}]}
    return {**model, "properties": properties}
