"""The supervisor: starts the stages, keeps the books, replaces what dies, and ends everything in order."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from streamfer import __version__, metrics, wire
from streamfer.errors import FatalError, StartError, StreamferError
from streamfer.exposition import Snapshot
from streamfer.ledger import Row, StreamBooks
from streamfer.logs import LogLine, RateLimit
from streamfer.notify import Notifier
from streamfer.plan import Plan
from streamfer.process import Process
from streamfer.signals import Signals
from streamfer.stages.resources import Resources
from streamfer.stages.spec import DetectSpec, SinkSpec, StageSpec, stage_of
from streamfer.status import Status, is_well
from streamfer.stream import Stream
from streamfer.summary import Summary
from streamfer.transport import RuntimeDirectory, Sockets, Waiter, readable, receive, try_send_to

STATUS_INTERRUPTED = 130
_TICK = 0.1
_SILENCE_RUNNING = 7.0
"""Seconds without a sign of life after which a worker is taken for hung and replaced."""
_SILENCE_STARTING = 120.0
_HALF_OPEN = 60.0
"""Seconds after which the capture of a live stream is tried again though it has died too often."""
_STATUS_INTERVAL = 0.5
REPEATED_LINES = 60.0
"""Seconds between two log lines that say the same."""
_STOP_DEADLINE = 10.0
_TERM_DEADLINE = 2.0


class Observer(Protocol):
    """Who watches a run: the command line's display, or a test."""

    def opened(self, stream: str, opened: wire.Opened) -> None: ...

    def progress(self, streams: list[StreamBooks]) -> None: ...

    def status(self, status: Status) -> None: ...

    def log(self, line: LogLine) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `errors` has one line per stream that failed; `summary` is what the workers counted,
    as far as somebody has read it."""

    status: int
    rows: list[Row]
    outputs: list[str]
    errors: list[str]
    frames: int
    seconds: float
    restarts: int
    summary: Summary = field(default_factory=Summary)


class _Forced(Exception):
    """A second signal: end at once."""


class Supervisor:
    """One run of a plan. `run` blocks until the end and leaves no process, socket or shared memory behind."""

    def __init__(
        self, plan: Plan, runtime: RuntimeDirectory, observer: Observer, notifier: Notifier | None = None
    ) -> None:
        self._plan = plan
        self._notifier = notifier or Notifier({})
        self._repeats = RateLimit(REPEATED_LINES)
        self._turned = time.monotonic()
        self._runtime = runtime
        self._observer = observer
        self._waiter = Waiter()
        self._shared: dict[str, Process] = {}
        self._stages: dict[str, StageSpec] = {}
        self._streams: dict[str, Stream] = {}
        self._waiting: list[Stream] = []
        self._by_fd: dict[int, Process] = {}
        self._draining = False
        self._stopping = False
        self._booted = False
        self._booted_at = 0.0
        self._restarts = 0
        self._started = time.time()
        self._status_at = 0.0
        self._resources = Resources("supervisor", "supervisor")
        self._bad_messages = metrics.bad_messages.labels("supervisor")
        self.snapshot = Snapshot(Status(version=__version__, started=self._started, ready=False), [])
        """The newest state of affairs; replaced as a whole, so that other threads may read it."""

    # ---- the life of a run ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run to the end. Raises StreamferError if a shared component cannot start or cannot go on."""
        began = time.monotonic()
        signals = Signals()
        self._sockets = Sockets()
        self._control = self._runtime.address("control")
        self._router = self._sockets.router(self._control)
        self._waiter.add(self._router)
        try:
            with signals.installed():
                self._signals = signals
                self._waiter.add(signals.wake.fileno())
                try:
                    self._boot()
                    while not self._over():
                        self._step(_TICK)
                except StreamferError:
                    self._shut_down()
                    raise
                self._shut_down()
        except _Forced:
            pass
        finally:
            self._kill_all()
            self._sockets.close(linger_ms=0)
        return self._outcome(time.monotonic() - began)

    def age(self) -> float:
        """Seconds since the loop last turned; may be asked from another thread."""
        return time.monotonic() - self._turned

    def _boot(self) -> None:
        for name, (title, stage) in self._plan.shared.items():
            self._stages[name] = stage
            self._shared[name] = self._process(name, title, stage, inherit=name in self._plan.terminal)
            self._spawn(self._shared[name])
        for planned in self._plan.streams:
            name = f"capture {planned.name}"
            capture = self._process(name, f"streamfer: {name}", planned.capture)
            stream = Stream.begun(planned, self._plan.sinks, capture)
            self._streams[planned.name] = stream
            self._stages[name] = planned.capture
            if stream.live:
                self._spawn(stream.capture)
            else:
                self._waiting.append(stream)
        for _ in range(self._plan.at_once):
            self._next_stream()

    def _process(self, name: str, title: str, stage: StageSpec, *, inherit: bool = False) -> Process:
        number = len(self._shared) + len(self._streams) + 1
        return Process(name, stage_of(stage), title, {metrics.NUMBER: str(number)}, inherit_stdout=inherit)

    def _next_stream(self) -> None:
        if self._waiting and not self._draining:
            self._spawn(self._waiting.pop(0).capture)

    def _over(self) -> bool:
        return all(stream.finished for stream in self._streams.values())

    def _step(self, timeout: float) -> None:
        """Wait for something to happen, and deal with it."""
        for source in self._waiter.wait(timeout):
            if source is self._router:
                self._hear()
            elif isinstance(source, int) and source in self._by_fd:
                process = self._by_fd[source]
                if source == process.pidfd:
                    self._ended(process)
                elif not process.read_stderr():
                    self._forget(source)
        with contextlib.suppress(BlockingIOError):
            while self._signals.wake.recv(64):
                pass
        if self._signals.count > 1:
            raise _Forced
        if self._signals.count == 1 and not self._draining:
            self._drain()
        self._look_after()
        for stream in self._streams.values():
            if stream.tally is not None and self._booted and not stream.books.complete:
                stream.books.captured = stream.tally.read()[0] - stream.books.base
        self._observer.progress([stream.books for stream in self._streams.values()])
        now = time.monotonic()
        if now >= self._status_at:
            self._status_at = now + _STATUS_INTERVAL
            status = self._current_status()
            self.snapshot = Snapshot(status, self._rows())
            self._observer.status(status)
            for line in self._repeats.due():
                self._observer.log(line)
            live = sum(stream.state == "live" for stream in status.streams)
            self._notifier.status(f"{live} of {len(status.streams)} streams live")
            self._resources.due(now)
        self._notifier.beat()
        self._turned = now

    def _look_after(self) -> None:
        """Start what is due, replace what is silent."""
        now = time.monotonic()
        for process in self._processes():
            if process.spawn_at is not None and now >= process.spawn_at and not self._stopping:
                self._spawn(process)
            limit = _SILENCE_RUNNING if process.ready else _SILENCE_STARTING
            if process.running and now - process.last_heard > limit:
                self._say(logging.WARNING, f"{process.name}: no sign of life for {limit:.0f} s; replacing it")
                process.last_heard = now
                process.signal(signal.SIGKILL)
        if self._booted and self._plan.give_up is not None and now - self._booted_at > self._plan.give_up:
            for stream in self._streams.values():
                if stream.live and not stream.finished and not stream.books.captured:
                    self._give_up(stream)

    def _give_up(self, stream: Stream) -> None:
        """A source on the command line that gives no frames: its user waits for an answer."""
        told = stream.condition.detail if stream.condition else None
        seconds = f"{self._plan.give_up:g} s"
        self._fail(stream, StartError(told or f"no frame within {seconds}; see whether the source is on"))

    def _drain(self) -> None:
        """First signal: read no further, finish what is under way."""
        self._draining = True
        self._say(logging.INFO, "stopping: finishing the frames under way (once more to stop at once)")
        for stream in self._waiting:
            stream.finished = True
        self._waiting.clear()
        for process in self._processes():
            if process.spawn_at is not None:
                process.spawn_at = 0.0
        for stream in self._streams.values():
            if stream.finished:
                continue
            if stream.capture.ready and self._booted:
                self._tell(stream.capture, wire.Drain())
            elif not stream.capture.was_ready:
                self._finish(stream)

    def _shut_down(self) -> None:
        """Stop, then TERM, then KILL, each with a deadline."""
        self._stopping = True
        self._notifier.stopping()
        for process in self._processes():
            if process.running:
                self._tell(process, wire.Stop())
        for number, seconds in ((None, _STOP_DEADLINE), (signal.SIGTERM, _TERM_DEADLINE)):
            if number is not None:
                for process in self._processes():
                    process.signal(number)
            deadline = time.monotonic() + seconds
            while any(p.running for p in self._processes()) and time.monotonic() < deadline:
                self._step(0.05)

    def _kill_all(self) -> None:
        self._stopping = True
        for process in self._processes():
            if process.running:
                process.signal(signal.SIGKILL)
        for process in self._processes():
            if process.running:
                self._forget(process.pidfd, process.stderr)
                process.reap()

    # ---- processes -----------------------------------------------------------------------------------------

    def _processes(self) -> list[Process]:
        return [*self._shared.values(), *(stream.capture for stream in self._streams.values())]

    def _spawn(self, process: Process) -> None:
        stage = self._stages[process.name]
        # Before it has opened its file, what lies there is not this run's.
        if isinstance(stage, SinkSpec) and process.was_ready:
            stage = msgspec.structs.replace(stage, resume=True)
        process.spawn(stage, str(self._runtime.path), self._control)
        for fd in (process.pidfd, process.stderr):
            self._by_fd[fd] = process
            self._waiter.add(fd)

    def _forget(self, *fds: int) -> None:
        for fd in fds:
            if self._by_fd.pop(fd, None) is not None:
                self._waiter.remove(fd)

    def _ended(self, process: Process) -> None:
        self._forget(process.pidfd, process.stderr)
        status = process.reap()
        self._hear_out()
        _mark_dead(process)
        stream = self._stream_of(process)
        if process.failure is not None:
            line, code = process.failure
            failure = (StartError if code == StartError.status else FatalError)(line)
            if self._stopping:
                self._say(logging.ERROR, line)
            elif stream is not None:
                self._fail(stream, failure)
            else:
                raise failure
        elif self._stopping or process.finished:
            if status != 0 and not process.finished:
                self._say(logging.WARNING, f"{process.name}: {process.cause(status)} while stopping")
        else:
            self._crashed(process, stream, status)

    def _crashed(self, process: Process, stream: Stream | None, status: int) -> None:
        cause = process.cause(status)
        if not process.was_ready and status > 0:  # it raised while it was built: it would again
            failure: StreamferError = StartError(f"{process.name} could not start: {cause}")
        else:
            if stream is not None and stream.live:
                stream.bereaved(f"{process.name}: {cause}")
            delay = process.backoff.failed()
            if delay is not None:
                self._restarts += 1
                self._say(logging.WARNING, f"{process.name}: {cause}; starting it again")
                process.spawn_at = time.monotonic() + delay
                return
            if stream is not None and stream.live:
                text = f"{process.name}: died too often, last: {cause}; trying again each minute"
                self._say(logging.ERROR, text)
                process.broken, process.spawn_at = True, time.monotonic() + _HALF_OPEN
                return
            times = f"died {process.backoff.failures} times without finishing a frame"
            failure = FatalError(f"{process.name}: {times}, last: {cause}")
        if stream is None:
            raise failure
        self._fail(stream, failure)

    def _stream_of(self, process: Process) -> Stream | None:
        return next((s for s in self._streams.values() if s.capture is process), None)

    # ---- what workers say ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        while readable(self._router):
            identity, *parts = receive(self._router)
            try:
                message = wire.decode_from_worker(parts[0] if parts else b"")
                if getattr(message, "stream", None) not in (None, *self._streams):
                    raise wire.WireError("it is about a stream that is not ours")
            except wire.WireError as error:
                self._bad_messages.inc()
                line = _line(logging.WARNING, f"supervisor: a message was dropped: {error}")
                self._say_seldom(("supervisor", "bad message"), line)
                continue
            name = identity.decode(errors="replace").rpartition("#")[0]
            process = self._shared.get(name) or next(
                (s.capture for s in self._streams.values() if s.capture.name == name), None
            )
            if process is not None:
                self._heard(process, message, current=identity == process.identity)

    def _hear_out(self) -> None:
        """What a process said just before it ended may still be on its way."""
        deadline = time.monotonic() + 0.05
        while (left := deadline - time.monotonic()) > 0:
            if self._router in self._waiter.wait(left):
                self._hear()

    def _heard(self, process: Process, message: wire.FromWorker, *, current: bool) -> None:
        # What a sink has on disk and which track ids are taken holds even if the worker has died since.
        if isinstance(message, wire.Ack):
            self._acked(process, message)
        elif isinstance(message, wire.Lease):
            stream = self._streams[message.stream]
            stream.leased = max(stream.leased, message.upto)
        if not current:
            return
        process.last_heard = time.monotonic()
        process.progress_time = time.time()
        if isinstance(message, wire.Ready):
            self._ready(process, message)
        elif isinstance(message, wire.Beat):
            if message.frames > process.frames:
                process.frames = message.frames
                process.backoff.progressed()
                process.broken = False
                owner = self._stream_of(process)
                if owner is not None and not owner.live:
                    owner.books.captured = max(owner.books.captured, message.frames)
        elif isinstance(message, wire.Failed):
            process.failure = (message.line, message.status)
        elif isinstance(message, wire.Ended):
            ended = self._streams[message.stream]
            count = message.count - ended.books.base
            ended.books.captured, ended.books.complete = max(ended.books.captured, count), True
            if message.error is not None:
                ended.failure = FatalError(message.error)
            self._finish_if_done(ended)
        elif isinstance(message, wire.Condition):
            self._changed(self._streams[message.stream], message)
        elif isinstance(message, wire.Log):
            self._said(process, message)
        elif isinstance(message, wire.Stopped):
            process.finished = True
            process.outputs = message.outputs

    def _ready(self, process: Process, message: wire.Ready) -> None:
        again = process.was_ready
        process.ready = process.was_ready = True
        if message.outputs:
            process.outputs = message.outputs
        stream = self._stream_of(process)
        if stream is not None:
            if message.opened is not None:
                stream.books.expected = message.opened.frames
                if not again:
                    self._observer.opened(stream.planned.name, message.opened)
            if self._booted:
                self._start_capture(stream)
            return
        stage = self._stages[process.name]
        if isinstance(stage, SinkSpec) and stage.durable:
            for name, ledgers in message.positions.items():
                taken = self._streams[name]
                if not (taken.live and self._booted):  # of a live stream it is known what this run has done
                    taken.books.resumed(stage.sink, ledgers)
                for ledger in ledgers:
                    taken.leased = max(taken.leased, ledger.last_track)
        if self._booted:
            streams = [
                stream
                for stream in self._streams.values()
                if process.name in stream.planned.path and not (stream.finished or stream.live)
            ]
            for stream in streams:
                stream.attempt += 1
            self._start_shared(process, again=again)
            for stream in streams:
                if stream.capture.ready:
                    self._tell(stream.capture, wire.Replay(stream.attempt))
        elif all(shared.ready for shared in self._shared.values()):
            self._all_ready()

    def _all_ready(self) -> None:
        """Every shared stage is there: now it is known where each recording goes on."""
        self._booted = True
        self._booted_at = time.monotonic()
        self._notifier.ready()
        for stream in self._streams.values():
            if stream.tally is not None:
                stream.tally.write(*stream.books.begin_live(), 0.0)
                continue
            first = stream.books.begin()
            if first:
                stream.attempt = 1
                self._say(logging.INFO, f"{stream.planned.name}: going on at frame {first}")
        for process in self._shared.values():
            self._start_shared(process, again=False)
        for stream in self._streams.values():
            if stream.capture.ready:
                self._start_capture(stream)

    def _start_shared(self, process: Process, *, again: bool) -> None:
        stage = self._stages[process.name]
        start = wire.Start()
        if isinstance(stage, DetectSpec):
            firsts = {name: self._streams[name].leased + 1 for name in stage.routes}
            start = wire.Start(first_tracks=firsts, again=again)
        elif isinstance(stage, SinkSpec):
            attempts = {name: stream.attempt for name, stream in self._streams.items()}
            held = {
                name: stream.books.held(stage.sink)
                for name, stream in self._streams.items()
                if stream.live or not stage.durable
            }
            start = wire.Start(attempts=attempts, held=held, again=again)
        self._tell(process, start)

    def _start_capture(self, stream: Stream) -> None:
        if stream.tally is not None:
            seq, epoch, _ = stream.tally.read()
            self._tell(stream.capture, wire.Start(first=seq, epoch=epoch + (stream.capture.starts > 1)))
        else:
            if stream.capture.starts > 1:
                stream.attempt += 1
            self._tell(stream.capture, wire.Start(first=stream.books.released() + 1, attempt=stream.attempt))
        if self._draining:
            self._tell(stream.capture, wire.Drain())

    def _acked(self, process: Process, message: wire.Ack) -> None:
        stage = self._stages[process.name]
        stream = self._streams[message.stream]
        if not isinstance(stage, SinkSpec):
            return
        before = stream.books.released()
        stream.books.acked(stage.sink, message.positions, done=message.done)
        after = stream.books.released()
        if after > before and stream.capture.ready and not stream.live:
            self._tell(stream.capture, wire.Release(after))
        self._finish_if_done(stream)

    # ---- what is told --------------------------------------------------------------------------------------

    def _changed(self, stream: Stream, condition: wire.Condition) -> None:
        """A live source is in another state than before, or still gives no frames."""
        stream.changed(condition)
        name = stream.planned.name
        level, text = logging.WARNING, f"{condition.detail} (trying again)"
        if condition.state == "connecting":
            return
        if condition.state == "live":
            again = f" again (epoch {condition.epoch})" if stream.reconnects else ""
            level, text = logging.INFO, f"live{again}, {condition.width}×{condition.height}"
        what = f"{condition.state} {condition.reason} {stream.reconnects > 0}"
        self._say_seldom((name, what), _line(level, f"{name}: {text}", name, condition.epoch))

    def _rows(self) -> list[Row]:
        return [row for stream in self._streams.values() for row in stream.books.rows()]

    def _current_status(self) -> Status:
        stages = [process.status() for process in self._processes()]
        streams = [stream.status(booted=self._booted) for stream in self._streams.values()]
        up = all(process.ready for process in self._shared.values())
        return Status(
            version=__version__,
            started=self._started,
            ready=self._booted and up and any(is_well(stream) for stream in streams),
            streams=streams,
            stages=stages,
        )

    # ---- the ends of streams -------------------------------------------------------------------------------

    def _finish_if_done(self, stream: Stream) -> None:
        if not stream.finished and stream.books.done():
            self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        stream.finished = True
        stream.capture.spawn_at = None
        if stream.capture.running:
            stream.capture.finished = True
            self._tell(stream.capture, wire.Stop())
        if stream.failure is not None and len(self._streams) > 1:  # the only stream's is told at the end
            self._say(logging.ERROR, f"streams.{stream.planned.name}: {stream.failure}")
        self._next_stream()

    def _fail(self, stream: Stream, failure: StreamferError) -> None:
        """A stream that cannot be read, or not any more; the others go on."""
        stream.failure = failure
        self._finish(stream)

    def _tell(self, process: Process, message: wire.ToWorker) -> None:
        try_send_to(self._router, process.identity, wire.encode(message))

    def _say(self, level: int, text: str) -> None:
        self._observer.log(_line(level, text))

    def _said(self, process: Process, message: wire.Log) -> None:
        line = LogLine(
            time=time.time(),
            level=message.level,
            text=message.text,
            stage=process.name,
            stream=message.stream,
            epoch=message.epoch,
            seq=message.seq,
        )
        self._say_seldom((process.name, message.text), line)

    def _say_seldom(self, key: tuple[str, str], line: LogLine) -> None:
        """The same thing over and over is told now and then, with how often it was."""
        if (admitted := self._repeats.admit(key, line)) is not None:
            self._observer.log(admitted)

    def _outcome(self, seconds: float) -> Outcome:
        failures = {name: s.failure for name, s in self._streams.items() if s.failure is not None}
        status = 0
        if self._signals.count:
            status = STATUS_INTERRUPTED
        elif failures and len(failures) == len(self._streams):
            status = max(failure.status for failure in failures.values())
        outputs = [output for process in self._shared.values() for output in process.outputs]
        return Outcome(
            status,
            self._rows(),
            outputs,
            # The one source of the command line needs no name.
            [
                str(failure) if self._plan.give_up is not None else f"streams.{name}: {failure}"
                for name, failure in failures.items()
            ],
            sum(stream.books.captured for stream in self._streams.values()),
            seconds,
            self._restarts,
        )


def _line(level: int, text: str, stream: str | None = None, epoch: int | None = None) -> LogLine:
    return LogLine(time=time.time(), level=level, text=text, stage="supervisor", stream=stream, epoch=epoch)


def _mark_dead(process: Process) -> None:
    """What a process said of its present state is over; what it counted is not."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(process.environment[metrics.NUMBER])  # type: ignore[no-untyped-call]
