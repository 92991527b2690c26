"""Debian's Prometheus and Alertmanager on loopback, and whom they tell, while a `with` block lasts."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import psutil

from tests.service import wait_until


def missing(*commands: str) -> str | None:
    """Why a test that needs these commands cannot run here, for a skip; None if it can."""
    for command in commands or ("prometheus", "promtool"):
        if shutil.which(command) is None:
            return f"no {command} (Debian: prometheus, prometheus-alertmanager)"
    return None


class _Server:
    """A process that listens on one free port of 127.0.0.1; `url` is where."""

    def __init__(self, command: list[str | Path], directory: Path) -> None:
        self._command = command
        self._log = directory / "log"
        directory.mkdir(parents=True, exist_ok=True)
        self.url = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.url = wait_until(self._ready, f"{self._command[0]} is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)

    def _ready(self) -> str | None:
        assert self._process.poll() is None, self._log.read_text()
        ports = [
            connection.laddr.port
            for connection in psutil.Process(self._process.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        if not ports:
            return None
        url = f"http://127.0.0.1:{ports[0]}"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return url
        except (urllib.error.URLError, TimeoutError):
            return None

    def get(self, path: str, **parameters: str) -> Any:
        """What the API answers to a GET, such as get("/api/v1/targets", state="active")."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}{path}{query}", timeout=10) as answer:
            return json.load(answer)


class Prometheus(_Server):
    """Runs `config`, a prometheus.yml; its data and its log lie in `directory`."""

    def __init__(self, config: Path, directory: Path) -> None:
        super().__init__(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            directory,
        )

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values of an instant vector, now."""
        result = self.get("/api/v1/query", query=expression)["data"]
        assert result["resultType"] == "vector", result
        return [(one["metric"], float(one["value"][1])) for one in result["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """All rules as the API tells them: `name`, `type`, `health`, `lastError`; alerts have a `state`."""
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing: `labels`, `annotations`, `state`, `value`."""
        alerts: list[dict[str, Any]] = self.get("/api/v1/alerts")["data"]["alerts"]
        return alerts

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped: `labels`, `health`, `lastError`."""
        targets: list[dict[str, Any]] = self.get("/api/v1/targets", state="active")["data"]["activeTargets"]
        return targets


class Alertmanager(_Server):
    """Runs `config`, an alertmanager.yml; its data and its log lie in `directory`."""

    def __init__(self, config: Path, directory: Path) -> None:
        super().__init__(
            [
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            directory,
        )

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts it holds: `labels`, `annotations`, `status.state`, `receivers`."""
        alerts: list[dict[str, Any]] = self.get("/api/v2/alerts")
        return alerts


class Pager:
    """Listens on 127.0.0.1 as a receiver of Alertmanager's webhooks, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        """(path, name of the alert, firing or resolved), in order."""
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend(
                    (self.path, one["labels"]["alertname"], one["status"]) for one in message["alerts"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Pager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
