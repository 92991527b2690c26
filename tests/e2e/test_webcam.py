"""A whole service on an emulated camera that is unplugged and plugged in again, and on none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.live import JSON, assert_exact, config, ledger, results, wait_for_results
from tests.pipewire import Camera, missing
from tests.service import Run, command, nothing_left, streamfer, wait_until

needs_camera = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class CameraRun(Run):
    """A service that sees the emulated camera."""

    def __init__(self, camera: Camera, *arguments: object) -> None:
        self.process = subprocess.Popen(
            camera.command(command(*arguments)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._seen = {}


@needs_camera
def test_a_camera_is_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": {"source": "webcam", "device": 0, "retry": 0.5}})
    with Camera((320, 240), fps=15) as camera, CameraRun(camera, "run", path, *JSON) as run:
        wait_for_results(tmp_path, 20)
        camera.unplug()
        done = len(results(tmp_path))
        camera.plug()
        wait_until(lambda: 1 in {line["epoch"] for line in results(tmp_path)}, "frames after the gap")
        wait_for_results(tmp_path, done + 20)
        run.process.terminate()
        status, error = run.finish()
        nothing_left(run)
    assert status == 130, error
    assert_exact(error)
    assert ledger(error)["cam", "cnn", "jsonl"][1] == len(results(tmp_path))
    assert [line["epoch"] for line in results(tmp_path) if line.get("discontinuity")] == [1]


def test_no_camera_at_all(tmp_path: Path) -> None:
    done = streamfer("run", "webcam:97", cwd=tmp_path, timeout=60)
    assert done.returncode == 3, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search(r"/dev/video97|no camera", last), done.stderr
    assert "Traceback" not in done.stderr
