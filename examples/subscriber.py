"""Prints what the sink `publish` sends, one line of JSON per result; it needs nothing but pyzmq.

python examples/subscriber.py tcp://127.0.0.1:5556
python examples/subscriber.py tcp://192.0.2.7:5556 --secret anna.secret --server server.public --stream door
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import zmq


def key(path: Path) -> bytes:
    """The key in a file of `streamfer keys`: its last line."""
    return path.read_bytes().split(b"\n")[-2]


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the results that a streamfer service publishes.")
    parser.add_argument("address", help="what the sink's `listen` says, such as tcp://127.0.0.1:5556")
    parser.add_argument("--stream", default="", help="only this stream (default: all)")
    parser.add_argument("--secret", type=Path, help="this client's secret key")
    parser.add_argument("--server", type=Path, help="the server's public key; with --secret")
    options = parser.parse_args()
    if bool(options.secret) != bool(options.server):
        parser.error("--secret and --server go together")

    socket = zmq.Context().socket(zmq.SUB)
    if options.secret:
        secret = key(options.secret)
        socket.curve_secretkey = secret
        socket.curve_publickey = zmq.curve_public(secret)
        socket.curve_serverkey = key(options.server)
    socket.ipv6 = True
    socket.subscribe(options.stream)  # ZeroMQ compares beginnings: "door" gets "door2" as well
    socket.connect(options.address)
    while True:
        stream, line = socket.recv_multipart()
        if options.stream in ("", stream.decode()):
            print(line.decode(), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
