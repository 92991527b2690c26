"""How fast the pipeline is on this machine, as ratios within one run: `streamfer bench`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from streamfer.process import ONE_THREAD


def child(module: str, *arguments: object) -> Any:
    """Run a measurement in a process of its own, with the environment that workers get; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", f"streamfer.benchmark.{module}", *map(str, arguments)],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        check=True,
        timeout=900,
    )
    return json.loads(done.stdout)


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
