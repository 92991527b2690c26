"""One hop of a 1080p frame between two processes: as a slot and its descriptor, or as its pixels.

`python -m streamfer.benchmark.hop` prints JSON: median latency and CPU of both ends per frame, in
milliseconds, without the one write into the slot. The sender is busy between two frames, as a decoder is.
Measured with the other cores idle, where the system has to wake one for each message, and with all cores busy
(with processes that give way), as in a pipeline at work. Frames are sent one by one, and in batches of a
quarter of the ring, as capture sends those of a recording.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from streamfer import wire
from streamfer.picture import Picture, i420_size
from streamfer.shm import Ring, RingReader, choose_slots
from streamfer.transport import Sockets, Waiter, readable, receive, try_send

WIDTH, HEIGHT = 1920, 1080
SLOTS = choose_slots(WIDTH, HEIGHT)
FRAMES, WARM_UP, PACE = 1000, 100, 0.002


def receive_frames(address: str, messages: int) -> None:
    """The other end: view each frame, note its age, print the ages and the CPU spent."""
    sockets, waiter, rings = Sockets(), Waiter(), RingReader()
    socket = sockets.pull(address)
    waiter.add(socket)
    ages: list[float] = []
    warm_up = messages * WARM_UP // FRAMES
    began = time.process_time()
    print("ready", flush=True)
    while len(ages) < messages:
        if not readable(socket):
            waiter.wait(1)
            continue
        parts = receive(socket)
        captured = 0.0
        for payload, blob in zip(parts[::2], parts[1::2], strict=True):
            frame = wire.decode_data(payload)
            assert isinstance(frame, wire.Frame)
            captured = frame.captured
            if frame.slot is not None:
                picture = rings.view(frame.slot)
                assert picture is not None
            else:
                assert np.frombuffer(blob, np.uint8).size == i420_size(WIDTH, HEIGHT)
        ages.append(time.monotonic() - captured)
        if len(ages) == warm_up:  # the first map the ring and open the connection
            began = time.process_time()
    print(json.dumps({"median": statistics.median(ages[warm_up:]), "cpu": time.process_time() - began}))
    sockets.close()


def send_frames(*, pixels: bool, batch: int = 1) -> dict[str, float]:
    """Send at a steady pace, as pixels or as descriptors; latency and CPU per frame in milliseconds."""
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    picture = Picture(luma, luma[::2, ::2], luma[1::2, 1::2])
    raw = bytes(i420_size(WIDTH, HEIGHT))
    with tempfile.TemporaryDirectory(prefix="sf") as directory:
        address = f"ipc://{directory}/hop"
        receiver = subprocess.Popen(
            [sys.executable, "-m", "streamfer.benchmark.hop", address, str(FRAMES // batch)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert receiver.stdout is not None
        receiver.stdout.readline()
        sockets = Sockets()
        socket = sockets.push(address)
        ring = Ring(WIDTH, HEIGHT, SLOTS)
        slots = [ring.write(slot, picture) for slot in range(SLOTS)]
        outgoing: list[bytes] = []
        spent = busy = 0.0
        sending = 0.0
        for seq in range(FRAMES):
            if seq == WARM_UP:
                sending, spent, busy = 0.0, time.process_time(), time.thread_time()
            began = time.thread_time()
            slot = None if pixels else slots[seq % SLOTS]
            frame = wire.Frame("hop", 0, 0, seq, None, None, time.monotonic(), SLOTS, slot)
            outgoing += [wire.encode(frame), raw if pixels else b""]
            if (seq + 1) % batch == 0:
                while not try_send(socket, outgoing):
                    time.sleep(0.001)
                outgoing = []
            sending += time.thread_time() - began
            work_until(time.perf_counter() + PACE)
        # What the busy thread did between two frames is not part of the hop; what other threads did is.
        spent = sending + (time.process_time() - spent) - (time.thread_time() - busy)
        other = json.loads(receiver.stdout.readline())
        receiver.wait(10)
        ring.close()
        sockets.close()
    measured = FRAMES - WARM_UP
    return {"median_ms": other["median"] * 1000, "cpu_ms": (spent + other["cpu"]) / measured * 1000}


def work_until(end: float) -> None:
    """Keep this core busy, as decoding would."""
    while time.perf_counter() < end:
        pass


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core from idling, as the stages of a pipeline at work do."""
    spin = "import os\nos.nice(19)\nwhile os.getppid() != 1: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", spin]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def main() -> dict[str, dict[str, dict[str, float]]]:
    """By the state of the cores and the way to send: the median of three turns."""
    idle = middle_of_three()
    with busy_cores():
        busy = middle_of_three()
    return {"busy": busy, "idle": idle}


def middle_of_three() -> dict[str, dict[str, float]]:
    """Each way to send, three times in turns; the medians."""
    ways: dict[str, dict[str, Any]] = {
        "descriptor": {"pixels": False},
        "descriptors in batches": {"pixels": False, "batch": SLOTS // 4},
        "pixels": {"pixels": True},
    }
    turns = [{name: send_frames(**way) for name, way in ways.items()} for _ in range(3)]
    return {
        name: {key: statistics.median(turn[name][key] for turn in turns) for key in ("median_ms", "cpu_ms")}
        for name in ways
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        receive_frames(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(main()))
