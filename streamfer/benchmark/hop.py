"""One hop of a 1080p frame between two processes: as a slot and its descriptor, or as its pixels.

`python -m streamfer.benchmark.hop` prints JSON: median latency in milliseconds, CPU of both ends per frame in
milliseconds, without the one write into the slot.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from streamfer import wire
from streamfer.picture import Picture, i420_size
from streamfer.shm import Ring, RingReader
from streamfer.transport import Sockets, Waiter, readable, receive, try_send

WIDTH, HEIGHT, FRAMES, PACE = 1920, 1080, 1500, 0.002
SLOTS = 16


def receive_frames(address: str) -> None:
    """The other end: view each frame, note its age, print the ages and the CPU spent."""
    sockets, waiter, rings = Sockets(), Waiter(), RingReader()
    socket = sockets.pull(address)
    waiter.add(socket)
    ages: list[float] = []
    began = time.process_time()
    print("ready", flush=True)
    while len(ages) < FRAMES:
        if not readable(socket):
            waiter.wait(1)
            continue
        parts = receive(socket)
        frame = wire.decode_data(parts[0])
        assert isinstance(frame, wire.Frame)
        if frame.slot is not None:
            picture = rings.view(frame.slot)
            assert picture is not None
        else:
            assert np.frombuffer(parts[1], np.uint8).size == i420_size(WIDTH, HEIGHT)
        ages.append(time.monotonic() - frame.captured)
        if len(ages) == 100:  # the first map the ring and open the connection
            began = time.process_time()
    print(json.dumps({"median": statistics.median(ages[100:]), "cpu": time.process_time() - began}))
    sockets.close()


def send_frames(*, pixels: bool) -> dict[str, float]:
    """Send at a steady pace, as pixels or as descriptors; latency and CPU per frame in milliseconds."""
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    picture = Picture(luma, luma[::2, ::2], luma[1::2, 1::2])
    raw = bytes(i420_size(WIDTH, HEIGHT))
    with tempfile.TemporaryDirectory(prefix="sf") as directory:
        address = f"ipc://{directory}/hop"
        receiver = subprocess.Popen(
            [sys.executable, "-m", "streamfer.benchmark.hop", address], stdout=subprocess.PIPE, text=True
        )
        assert receiver.stdout is not None
        receiver.stdout.readline()
        sockets = Sockets()
        socket = sockets.push(address)
        ring = Ring(WIDTH, HEIGHT, SLOTS)
        slots = [ring.write(slot, picture) for slot in range(SLOTS)]
        began = 0.0
        for seq in range(FRAMES):
            if seq == 100:
                began = time.process_time()
            slot = None if pixels else slots[seq % SLOTS]
            frame = wire.Frame("hop", 0, 0, seq, None, None, time.monotonic(), SLOTS, slot)
            parts = [wire.encode(frame), raw] if pixels else [wire.encode(frame)]
            while not try_send(socket, parts):
                time.sleep(0.001)
            time.sleep(PACE)
        spent = time.process_time() - began
        line = receiver.stdout.readline()
        other = json.loads(line)
        receiver.wait(10)
        ring.close()
        sockets.close()
    measured = FRAMES - 100
    return {"median_ms": other["median"] * 1000, "cpu_ms": (spent + other["cpu"]) / measured * 1000}


def idle() -> float:
    """CPU milliseconds per turn of the sender's loop without sending, to be taken off."""
    began = time.process_time()
    for _ in range(200):
        time.sleep(PACE)
    return (time.process_time() - began) / 200 * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        receive_frames(sys.argv[1])
    else:
        print(
            json.dumps(
                {
                    "descriptor": send_frames(pixels=False),
                    "pixels": send_frames(pixels=True),
                    "idle_cpu_ms": idle(),
                }
            )
        )
