"""Runs a pydantic model over a part of a document and words what pydantic finds for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamfer.config.document import Document
from streamfer.config.errors import Key, mask, shown, suggest
from streamfer.plugins import option_keys

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text (put it in quotes)",
    "list": "a list",
    "tuple": "a list",
    "set": "a list without repeats",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "path": "a path",
}
"""What the families of pydantic's error types (int_type, int_parsing, …) expect."""

_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


def validate(
    document: Document, model: type[M], data: Mapping[str, Any], key: Key, known: frozenset[str] = frozenset()
) -> M | None:
    """The model of `data`, which stands at `key`; None if it is wrong, and the document says why.

    `known` are further keys that may stand there: they are suggested for an unknown one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        texts: dict[Key, list[str]] = {}
        for details in error.errors(include_url=False):
            at, value = _locate(details, data)
            candidates = (known if len(at) == 1 else frozenset()) | _keys_around(model, at)
            text = mask(_text(details, at, candidates), document.substitute.hidden)
            if text.startswith("expected"):
                came = document.written.get((*key, *at), value)  # as it stands in the file: no secrets
                text = f"got {shown(came, (*key, *at))}, {text}"
            texts.setdefault(at, []).append(text)
        for at, several in texts.items():
            first, *others = dict.fromkeys(several)
            more = [text.partition(", expected ")[2] or text for text in others]
            document.add((*key, *at), " or ".join([first, *more]))
        return None


def _locate(details: ErrorDetails, data: Any) -> tuple[Key, Any]:
    """The error's path in the data, and the value there: pydantic adds the names of a union's members."""
    path: list[str | int] = []
    *_, last = details["loc"] or ("",)
    for part in details["loc"]:
        if (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]  # type: ignore[index]  # a mapping with this key or a list with this index
            path.append(part)
        elif details["type"] == "missing" and part is last:
            path.append(part)
    return tuple(path), data


def _keys_around(model: type[BaseModel], at: Key) -> frozenset[str]:
    """The keys that could stand where the last of `at` stands; none where that is not plain to see."""
    around: type[BaseModel] | None = model
    for part in at[:-1]:
        fields = around.model_fields.items() if around else ()
        inner = [info.annotation for name, info in fields if (info.alias or name) == part]
        models = [one for kind in inner for one in (kind, *get_args(kind)) if _is_model(one)]
        around = models[0] if len(models) == 1 else None
    return option_keys(around) if around else frozenset()


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _text(details: ErrorDetails, at: Key, known: frozenset[str]) -> str:
    """What is wrong; a text that starts with "expected" wants to be told with what came."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return "missing key"
    if kind == "extra_forbidden":
        return "unknown key" + suggest(str(at[-1]), known)
    if kind in ("literal_error", "enum"):
        return f"expected {context['expected']}"
    if kind in _BOUNDS:
        sign, name = _BOUNDS[kind]
        return f"expected a number {sign} {context[name]}"
    if kind in ("string_too_short", "too_short"):
        least = context["min_length"]
        what = ("entry", "entries") if kind == "too_short" else ("character", "characters")
        return f"expected at least {least} {what[least > 1]}"
    if kind == "string_pattern_mismatch":
        return f"expected a text that matches {context['pattern']}"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", details["msg"]))
    family = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float")
    if family in _EXPECTED:
        return f"expected {_EXPECTED[family]}"
    return details["msg"].replace("Input should be", "expected", 1).replace("Input should", "expected to", 1)
