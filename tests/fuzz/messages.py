"""Messages for fuzzing: valid ones of every kind, built from their types, absurd ones, and broken bytes."""

from __future__ import annotations

import random
from typing import Any, get_args

import msgspec
from msgspec import inspect

from streamfer import wire
from tests.fuzz.mutations import damaged

KINDS: list[type[msgspec.Struct]] = [
    kind for union in (wire.Data, wire.FromWorker, wire.ToWorker) for kind in get_args(union)
]

ABSURD_INTEGERS = (-1, -(2**31), -(2**63), 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
ABSURD_NUMBERS = (float("nan"), float("inf"), float("-inf"), -1e308, 1e308, 5e-324, -0.0)
ABSURD_TEXTS = (
    "",
    "\0",
    "x" * 70_000,
    "../../etc/passwd",
    "/etc/passwd",
    "/proc/1/fd/0",
    "/proc/self/mem",
    "/dev/zero",
    "‮ ",
    "\x1b[2J\n",
)
"""Values that the types allow and nobody means."""


def message(rng: random.Random, kind: type[msgspec.Struct], absurd: float = 0.0, **given: Any) -> Any:
    """A message of this kind with random fields, each an absurd one with this probability; `given` fields are
    taken wherever a field has that name and the type fits."""
    return _Builder(rng, absurd, given).struct(kind)


class _Builder:
    def __init__(self, rng: random.Random, absurd: float, given: dict[str, Any]) -> None:
        self._rng = rng
        self._absurd = absurd
        self._given = given

    def struct(self, kind: type[msgspec.Struct]) -> Any:
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        return kind(**{field.name: self._field(field) for field in info.fields if not self._left_out(field)})

    def _left_out(self, field: inspect.Field) -> bool:
        """Fields that may be absent are, half of the time."""
        return field.default is msgspec.UNSET and self._rng.random() < 0.5

    def _field(self, field: inspect.Field) -> Any:
        if field.name in self._given and self._rng.random() >= self._absurd / 4:
            return self._given[field.name]
        return self._value(field.type)

    def _value(self, kind: inspect.Type) -> Any:
        rng, absurd = self._rng, self._rng.random() < self._absurd
        match kind:
            case inspect.StructType():
                return self.struct(kind.cls)
            case inspect.UnionType():
                return self._value(rng.choice(kind.types))
            case inspect.NoneType():
                return None
            case inspect.BoolType():
                return rng.random() < 0.5
            case inspect.IntType():
                low = kind.ge if kind.ge is not None else 0
                value = rng.choice(ABSURD_INTEGERS) if absurd else rng.choice((0, 1, 7, 255, 100_000)) + low
                return value if _in_bounds(value, kind) else low
            case inspect.FloatType():
                value = rng.choice(ABSURD_NUMBERS) if absurd else rng.uniform(0, 1)
                return value if _in_bounds(value, kind) else kind.ge or 0.0
            case inspect.StrType():
                return (
                    rng.choice(ABSURD_TEXTS) if absurd else rng.choice(("lobby", "cnn", "überall", "a" * 64))
                )
            case inspect.LiteralType():
                return rng.choice(kind.values)
            case inspect.ListType() | inspect.VarTupleType():
                size = rng.choice((0, 5000)) if absurd else rng.randint(0, 3)
                return [self._value(kind.item_type) for _ in range(size)]
            case inspect.TupleType():
                return tuple(self._value(one) for one in kind.item_types)
            case inspect.DictType():
                return {
                    self._value(kind.key_type): self._value(kind.value_type) for _ in range(rng.randint(0, 3))
                }
        raise NotImplementedError(f"no example of {kind}")


def _in_bounds(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le)


BLOWN_UP = (
    b"\xdd\xff\xff\xff\xff",  # an array of 2³²-1
    b"\xdf\xff\xff\xff\xff",  # a map of 2³²-1
    b"\xdb\xff\xff\xff\xff",  # a text of 4 GB
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xc9\xff\xff\xff\xff\x01",  # an extension
    b"\xdc\xff\xff",
    b"\xd9\xff",
)


def broken(rng: random.Random, payloads: list[bytes]) -> bytes:
    """A valid message's bytes, damaged in one of the ways that matter to msgpack."""
    payload = rng.choice(payloads)
    at = rng.randrange(len(payload))
    kind = rng.randrange(10)
    if kind <= 4:
        return damaged(rng, payload, payloads)
    if kind == 5:  # a length that lies
        return payload[:at] + rng.choice(BLOWN_UP) + payload[at + 1 :]
    if kind == 6:  # nested, deeply
        depth = rng.choice((10, 1000, 100_000))
        return payload[:at] + rng.choice((b"\x91", b"\x81\x01", b"\xdc\x00\x01")) * depth + payload[at:]
    if kind == 7:  # many of something small, up to half a megabyte
        return payload[:at] + b"\xdd" + (2**17).to_bytes(4, "big") + rng.choice((b"\x90", b"\xc0")) * 2**17
    if kind == 8:  # another value in place of one
        values = msgspec.msgpack.decode(payload)
        if isinstance(values, list | dict) and values:
            _replace(rng, values)
        return msgspec.msgpack.encode(values)
    return rng.randbytes(rng.randrange(400))


def _replace(rng: random.Random, values: list[Any] | dict[Any, Any]) -> None:
    index: Any = rng.choice(list(values) if isinstance(values, dict) else range(len(values)))
    inner = values[index]
    if isinstance(inner, list | dict) and inner and rng.random() < 0.7:
        _replace(rng, inner)
        return
    strange: tuple[Any, ...] = (
        *ABSURD_INTEGERS,
        *ABSURD_NUMBERS,
        *ABSURD_TEXTS,
        None,
        True,
        [],
        {},
        b"",
        {"a": []},
    )
    values[index] = rng.choice(strange)
    if rng.random() < 0.2:
        if isinstance(values, dict):
            del values[index]
        else:
            values.append(rng.choice(strange))
