"""The frame ring: pixels arrive as written, an overwritten slot is noticed, nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfer import wire
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.shm import MAX_SLOTS, Ring, RingReader, choose_slots
from tests.service import wait_until


def picture(width: int, height: int, seed: int, *, full_range: bool = False) -> Picture:
    rng = np.random.default_rng(seed)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    return Picture(
        rng.integers(0, 256, (height, width), np.uint8),
        rng.integers(0, 256, chroma, np.uint8),
        rng.integers(0, 256, chroma, np.uint8),
        full_range,
    )


def same(a: Picture, b: Picture) -> bool:
    return all(np.array_equal(getattr(a, plane), getattr(b, plane)) for plane in "yuv") and (
        a.full_range == b.full_range
    )


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    slots=st.integers(1, 5),
    writes=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20),
)
def test_a_slot_holds_what_was_written_last_and_older_references_are_refused(
    width: int, height: int, slots: int, writes: list[tuple[int, bool]]
) -> None:
    ring, reader = Ring(width, height, slots), RingReader()
    current: dict[int, tuple[wire.SlotRef, Picture]] = {}
    stale: list[wire.SlotRef] = []
    try:
        for seed, (wanted, full_range) in enumerate(writes):
            slot = wanted % slots
            if slot in current:
                stale.append(current[slot][0])
            wrote = picture(width, height, seed, full_range=full_range)
            current[slot] = (ring.write(slot, wrote), wrote)
            for ref, expected in current.values():
                seen = reader.view(ref)
                assert seen is not None and same(seen, expected)
                assert reader.is_current(ref)
            assert all(reader.view(ref) is None and not reader.is_current(ref) for ref in stale)
    finally:
        ring.close()


def test_views_outlive_the_ring_and_its_reader() -> None:
    ring, reader = Ring(32, 32, 1), RingReader()
    wrote = picture(32, 32, 1)
    seen = reader.view(ring.write(0, wrote))
    ring.close()
    del ring, reader
    assert seen is not None and same(seen, wrote)


def test_another_process_reads_it_and_no_name_is_left() -> None:
    before = set(Path("/dev/shm").iterdir())
    ring = Ring(64, 48, 2)
    ref = ring.write(1, picture(64, 48, 5))
    code = (
        "import sys; from streamfer.shm import RingReader; from streamfer import wire; import msgspec\n"
        "ref = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=wire.SlotRef)\n"
        "print(int(RingReader().view(ref).y.sum()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=wire.encode(ref), capture_output=True, check=True, timeout=60
    )
    assert int(done.stdout) == int(picture(64, 48, 5).y.sum())
    wait_until(lambda: set(Path("/dev/shm").iterdir()) <= before, "no name of ours, nor of others")
    ring.close()


@pytest.mark.parametrize(
    "change",
    [
        {"ring": "/etc/passwd"},
        {"ring": "/proc/self/fd/0"},
        {"ring": "/proc/1/fd/../../../etc/passwd"},
        {"ring": f"/proc/{os.getpid()}/fd/99999"},
        {"nonce": 1},
        {"slot": 7},
        {"generation": 1},
        {"width": 4000},
    ],
)
def test_a_reference_that_names_anything_else_gives_nothing(change: dict[str, object]) -> None:
    import msgspec

    ring = Ring(32, 32, 2)
    ref = ring.write(0, picture(32, 32, 1))
    assert RingReader().view(ref) is not None
    assert RingReader().view(msgspec.structs.replace(ref, **change)) is None
    ring.close()


def test_a_directory_without_room_is_one_line_with_the_megabytes(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    small = tmp_path / "shm"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with pytest.raises(StartError, match=r"8 frames of 1280×720 need 11\.1 MB, 1\.0 MB are free"):
            Ring(1280, 720, 8, str(small))
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no shared memory there"):
        Ring(16, 16, 1, str(tmp_path / "nowhere"))


def test_slots_follow_the_frame_size() -> None:
    assert choose_slots(320, 240) == 32
    assert choose_slots(1920, 1080) == 21
    assert choose_slots(7680, 4320) == 8
    with pytest.raises(ValueError, match="slots"):
        Ring(16, 16, MAX_SLOTS + 1)
