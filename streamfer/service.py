"""One run of the service from a checked configuration: runtime directory, metrics endpoint, supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import setproctitle

from streamfer.config import Config, MetricsConfig
from streamfer.errors import StartError, UsageError
from streamfer.plan import make_plan
from streamfer.shm import DEFAULT_DIRECTORY
from streamfer.transport import RuntimeDirectory

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from streamfer.supervisor import Observer, Outcome

PORTS_TO_TRY = 20


def refuse_to_overwrite(config: Config) -> None:
    """UsageError if a sink's file is there already: the user says what is to become of it."""
    there = [path for path in output_paths(config) if path.exists() and path.stat().st_size]
    if there:
        raise UsageError(
            f"{there[0]}: is there already; --resume goes on with it, --overwrite replaces it, "
            "or choose another place"
        )


def output_paths(config: Config) -> list[Path]:
    """The files that sinks are configured to write."""
    return [Path(sink.spec.options["path"]) for sink in config.sinks if "path" in sink.spec.options]


def run(
    config: Config,
    observer: Observer,
    *,
    resume: bool = False,
    listening: Callable[[str], None] = lambda url: None,
) -> Outcome:
    """Run to the end; once a process, because the metrics of a process belong to one run.

    `listening` is told where /metrics is served. Raises StreamferError if a component cannot start or go on.
    """
    for path in output_paths(config):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path.parent}: cannot be made: {error.strerror}") from error
    setproctitle.setproctitle("streamfer: supervisor")
    runtime = RuntimeDirectory()
    try:
        directory = runtime.path / "metrics"
        directory.mkdir()
        # prometheus_client reads this when it is imported, here and in every worker.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        from streamfer.supervisor import Supervisor

        close = _serve_metrics(config.metrics, directory, listening) if config.metrics else None
        try:
            shm = os.environ.get("STREAMFER_SHM", DEFAULT_DIRECTORY)
            plan = make_plan(config, runtime.address, resume=resume, shm=shm)
            return Supervisor(plan, runtime, observer).run()
        finally:
            if close is not None:
                close()
    finally:
        runtime.remove()


def _close(server: WSGIServer, thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join(timeout=2)


def _serve_metrics(
    wanted: MetricsConfig, directory: Path, listening: Callable[[str], None]
) -> Callable[[], None]:
    from prometheus_client import CollectorRegistry, multiprocess, start_http_server

    from streamfer import __version__, metrics

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    metrics.build_info.labels(__version__).set(1)
    ports = [wanted.port] if wanted.configured else range(wanted.port, wanted.port + PORTS_TO_TRY)
    for port in ports:
        try:
            server, thread = start_http_server(port, wanted.host, registry)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        listening(f"http://{wanted.host}:{port}/metrics")
        return partial(_close, server, thread)
    raise StartError(
        f"metrics.listen: {wanted.host}:{wanted.port}: {reason}; choose another port or end what has it"
    )
