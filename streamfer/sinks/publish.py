"""Results on a ZeroMQ PUB socket: for any subscribers on this host, with CURVE keys also on others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from streamfer import keys
from streamfer.api import Position, StreamPlan
from streamfer.picture import Picture
from streamfer.sinks import PublishOptions
from streamfer.transport import Gate, Sockets, try_send
from streamfer.types import Result


class PublishSink:
    """Sends each result as two parts: the stream's name as topic, and the line that results.jsonl would hold.

    Best effort: who has not subscribed yet, or does not keep up, misses results; nobody holds the sink up.
    """

    def __init__(self, options: PublishOptions) -> None:
        self._options = options
        self._encoder = msgspec.json.Encoder()
        self._sockets: Sockets | None = None

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        directory, gate = self._options.keys, None
        if directory is not None:
            secret = keys.load_secret(directory / "server.secret")
            keys.check_clients(directory)
            gate = Gate(secret, partial(keys.is_client, directory))
        self._sockets = Sockets()  # its own context: who may get in here is no concern of the pipeline's
        self._socket = self._sockets.publish(self._options.listen, self._options.high_water, gate)
        return {}

    def write(self, result: Result, picture: Picture | None) -> None:
        # A PUB socket never makes its sender wait.
        try_send(self._socket, [result.stream.encode(), self._encoder.encode(result)])

    def flush(self) -> None:
        """Nothing is held back."""

    def end(self, stream: str) -> None:
        """Subscribers are not told: a recording's end is in the service's books."""

    def outputs(self) -> Iterable[str]:
        return [self._options.listen]

    def close(self) -> None:
        if self._sockets is not None:
            sockets, self._sockets = self._sockets, None
            sockets.close()
