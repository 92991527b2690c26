"""Live configurations for tests, and the ledger as the service prints it."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.service import ROOT, Run, lines, wait_until

PLUGINS = [Path(__file__).with_name("live_plugins.py"), ROOT / "benchmarks" / "live_plugins.py"]
JSON = ("--log-format", "json")


def config(folder: Path, streams: dict[str, dict[str, Any]], **sections: Any) -> Path:
    """Write a configuration with a jsonl sink at FOLDER/results.jsonl, unless `sinks` says otherwise."""
    document: dict[str, Any] = {
        "version": 1,
        "plugins": [str(path) for path in PLUGINS],
        "streams": streams,
        "classifiers": ["cnn"],
        "sinks": [{"name": "jsonl", "path": str(folder / "results.jsonl")}],
        **sections,
    }
    path = folder / "live.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def log(error: str) -> list[dict[str, Any]]:
    """The lines of a JSON log; every line of standard error is one."""
    return [json.loads(line) for line in error.splitlines()]


def ledger(error: str) -> dict[tuple[str, str, str], tuple[int, int, dict[str, int], int]]:
    """(stream, classifier, sink) → captured, delivered, dropped by reason, in flight."""
    rows = {
        (line["stream"], line["classifier"], line["sink"]): (
            line["captured"],
            line["delivered"],
            line["dropped"],
            line["in_flight"],
        )
        for line in log(error)
        if line["message"] == "ledger"
    }
    assert rows, error
    return rows


def assert_exact(error: str) -> None:
    """captured = delivered + dropped, nothing in flight, for every sink."""
    for key, (captured, delivered, dropped, in_flight) in ledger(error).items():
        assert captured == delivered + sum(dropped.values()), (key, error)
        assert in_flight == 0, (key, error)


def results(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "results.jsonl")


def wait_for_results(folder: Path, count: int, timeout: float = 60) -> None:
    """Wait until so many lines are on disk."""
    path = folder / "results.jsonl"
    wait_until(
        lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"{count} results", timeout=timeout
    )


def measured(path: Path) -> list[tuple[str, str, int, int, float, float]]:
    """What the sink `measure` has written."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def stop(run: Run, timeout: float = 60) -> str:
    """End a live run as a person would (Ctrl+C); standard error."""
    run.process.send_signal(signal.SIGINT)
    status, error = run.finish(timeout=timeout)
    assert status == 130, error
    return error


def endpoint(run: Run) -> str:
    """Where a service listens for HTTP."""

    def listening() -> str | None:
        ports = [
            connection.laddr.port
            for connection in psutil.Process(run.process.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        return f"http://127.0.0.1:{ports[0]}" if ports else None

    return str(wait_until(listening, "the endpoints"))


def status(run: Run) -> Any:
    """The document at /api/status."""
    with urllib.request.urlopen(f"{endpoint(run)}/api/status", timeout=5) as answer:
        return json.load(answer)
