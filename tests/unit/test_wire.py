"""The wire format: what is encoded comes back; what is not ours is refused."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfer import wire
from streamfer.types import Face

names = st.text(min_size=1, max_size=20)
counts = st.integers(0, 2**53)
floats = st.floats(allow_nan=False, allow_infinity=False)
boxes = st.tuples(floats, floats, floats, floats)
slots = st.builds(wire.SlotRef, names, counts, counts, counts, counts, counts, st.booleans())
frames = st.builds(
    wire.Frame,
    names,
    counts,
    counts,
    counts,
    st.none() | floats,
    st.none() | floats,
    floats,
    counts,
    st.none() | slots,
    st.none() | names,
)
found = st.builds(
    wire.Found,
    frames,
    st.lists(st.builds(wire.FoundFace, counts, boxes, floats, st.sampled_from(["ok", "small", "blurred"]))),
    st.booleans(),
)
scored = st.builds(
    wire.Scored,
    frames,
    names,
    st.lists(
        st.builds(
            Face,
            counts,
            boxes,
            floats,
            st.sampled_from(["ok", "small"]),
            st.none() | names,
            st.none() | floats,
            st.none() | st.dictionaries(names, floats),
        )
    ),
    st.booleans(),
)
ends = st.builds(wire.End, names, counts, counts, counts)
data = frames | found | scored | ends | st.builds(wire.EndScored, ends, names)


@given(data)
def test_what_is_sent_is_what_arrives(message: wire.Data) -> None:
    assert wire.decode_data(wire.encode(message)) == message


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_and_nothing_else_happens(payload: bytes) -> None:
    try:
        message = wire.decode_data(payload)
    except wire.WireError:
        return
    assert wire.decode_data(wire.encode(message)) == message  # hypothesis found a real message


@given(data, st.data())
def test_a_damaged_message_is_refused_or_still_valid(message: wire.Data, draw: st.DataObject) -> None:
    payload = bytearray(wire.encode(message))
    payload[draw.draw(st.integers(0, len(payload) - 1))] ^= draw.draw(st.integers(1, 255))
    with contextlib.suppress(wire.WireError):
        wire.decode_data(bytes(payload))


def test_another_version_is_refused() -> None:
    ours = msgspec.msgpack.decode(wire.encode(wire.End("a", 0, 0, 3)))
    assert ours[0] == f"end{wire.VERSION}"
    with pytest.raises(wire.WireError):
        wire.decode_data(msgspec.msgpack.encode([f"end{wire.VERSION + 1}", *ours[1:]]))


def test_a_control_message_is_no_data_message() -> None:
    with pytest.raises(wire.WireError):
        wire.decode_data(wire.encode(wire.Stop()))
    with pytest.raises(wire.WireError):
        wire.decode_to_worker(wire.encode(wire.Beat(3)))
