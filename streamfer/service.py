"""One run of the service from a checked configuration: runtime directory, metrics endpoint, supervisor."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import setproctitle

from streamfer.config import Config, MetricsConfig
from streamfer.errors import UsageError
from streamfer.logs import LogLine
from streamfer.notify import Notifier
from streamfer.plan import make_plan
from streamfer.redact import secrets_in
from streamfer.shm import DEFAULT_DIRECTORY
from streamfer.transport import RuntimeDirectory

if TYPE_CHECKING:
    from streamfer.endpoints import Endpoints
    from streamfer.exposition import ServiceCollector
    from streamfer.summary import Summary
    from streamfer.supervisor import Observer, Outcome, Supervisor

PORTS_TO_TRY = 20


def refuse_to_overwrite(config: Config) -> None:
    """UsageError if a sink's file is there already: the user says what is to become of it. A service of live
    streams alone goes on with its files, as it must when it comes back after a reboot."""
    if config.live:
        return
    there = [path for path in output_paths(config) if path.exists() and path.stat().st_size]
    if there:
        raise UsageError(
            f"{there[0]}: is there already; --resume goes on with it, --overwrite replaces it, "
            "or choose another place"
        )


def hide_secrets(config: Config) -> None:
    """Let nothing that this process says show a password of the configuration."""
    specs = [stream.source for stream in config.streams] + [config.detector.spec, config.tracker.spec]
    specs += [one.spec for one in config.classifiers] + [one.spec for one in config.sinks]
    for spec in specs:
        secrets_in(spec.options)


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
    hide_secrets(config)
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
        from streamfer.exposition import ServiceCollector
        from streamfer.supervisor import Supervisor

        notifier = Notifier()
        shm = os.environ.get("STREAMFER_SHM", DEFAULT_DIRECTORY)
        plan = make_plan(config, runtime.address, runtime.path, resume=resume, shm=shm)
        supervisor = Supervisor(plan, runtime, observer, notifier)
        endpoints = None
        if config.metrics:
            collector = ServiceCollector(plan, shm, lambda: supervisor.snapshot)
            endpoints = _serve(config.metrics, directory, supervisor, collector)
        if endpoints is not None:
            listening(f"{endpoints.url}/metrics")
        try:
            outcome = supervisor.run()
        finally:
            if endpoints is not None:
                endpoints.close()
            notifier.close()
        return replace(outcome, summary=_summary(directory, config, observer))
    finally:
        runtime.remove()


def _summary(directory: Path, config: Config, observer: Observer) -> Summary:
    """What the workers counted; if it cannot be read, that is said: no run fails for its summary."""
    from streamfer.summary import UNREADABLE, Summary, summarise

    try:
        return summarise(directory, {stream.name: stream.classifiers for stream in config.streams})
    except UNREADABLE as error:
        text = (
            f"what the workers counted cannot be read ({error}); the summary of the classifiers is left out"
        )
        observer.log(LogLine(time=time.time(), level=logging.WARNING, text=text, stage="supervisor"))
        return Summary()


def _serve(
    wanted: MetricsConfig, directory: Path, supervisor: Supervisor, collector: ServiceCollector
) -> Endpoints:
    from prometheus_client import CollectorRegistry

    from streamfer.endpoints import Endpoints
    from streamfer.gather import WorkerCollector

    registry = CollectorRegistry()
    registry.register(WorkerCollector(directory))
    registry.register(collector)
    ports = [wanted.port] if wanted.configured else range(wanted.port, wanted.port + PORTS_TO_TRY)
    endpoints = Endpoints(wanted.host, ports, registry, lambda: supervisor.snapshot.status, supervisor.age)
    endpoints.start()
    return endpoints
