"""A run from the command line: what it writes, prints and shows to other programs."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import jsonschema
import psutil
import pytest

from streamfer.results import schema
from streamfer.types import LABELS
from tests.service import (
    SAMPLE,
    Run,
    assert_complete,
    frame_count,
    lines,
    repeated,
    rows,
    streamfer,
    wait_until,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = streamfer("run", SAMPLE, "--out", out, "--video")
    assert result.returncode == 0, result.stderr
    assert f"wrote {out / 'results.jsonl'}" in result.stderr
    assert f"wrote {out / 'annotated.mp4'}" in result.stderr
    return out


def test_every_frame_is_on_record(done: Path) -> None:
    assert_complete(done, frame_count(SAMPLE))


def test_every_line_keeps_the_schema(done: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for line in lines(done / "results.jsonl"):
        validator.validate(line)


def test_two_people_are_found_followed_and_labelled(done: Path) -> None:
    found = lines(done / "results.jsonl")
    frames: dict[int, int] = {}
    labels: dict[int, dict[str, int]] = {}
    for line in found:
        for face in line["faces"]:
            frames[face["track"]] = frames.get(face["track"], 0) + 1
            if face["status"] == "ok":
                tally = labels.setdefault(face["track"], {})
                tally[face["label"]] = tally.get(face["label"], 0) + 1
    assert len(frames) == 2, frames
    assert min(frames.values()) > len(found) * 0.7
    usual = {max(tally, key=tally.__getitem__) for tally in labels.values()}
    assert "happy" in usual, labels  # the smiling astronaut
    assert usual != {"happy"}, labels  # the officer does not smile


def test_probabilities_are_complete_and_name_the_label(done: Path) -> None:
    for line in lines(done / "results.jsonl"):
        for face in line["faces"]:
            if face["status"] != "ok":
                assert face["label"] is None and face["probabilities"] is None
                continue
            assert tuple(face["probabilities"]) == LABELS
            assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.001)
            assert face["confidence"] == max(face["probabilities"].values())
            assert face["probabilities"][face["label"]] == face["confidence"]


def test_the_view_tells_who_showed_what_when(done: Path) -> None:
    found = rows(done / "results.db", "SELECT stream, track, label FROM who_showed_what_when")
    assert {track for _, track, _ in found} == {1, 2}
    assert {stream for stream, _, _ in found} == {"sample"}


def test_the_video_has_every_frame(done: Path) -> None:
    assert frame_count(done / "annotated.mp4") == frame_count(SAMPLE)


def test_processes_have_titles_share_no_tensorflow_and_metrics_are_served(tmp_path: Path) -> None:
    clip = repeated(SAMPLE, 3, tmp_path / "lobby.mp4")
    out = tmp_path / "out"
    with Run("run", clip, "--out", out, "--video") as run:
        wait_until(lambda: len(lines(out / "results.jsonl")) > 50, "some results")
        titles = {"capture lobby", "detect[0]", "classify cnn[0]", "sink jsonl", "sink sqlite", "sink video"}
        workers = run.workers()
        assert set(workers) == titles
        supervisor = psutil.Process(run.process.pid)
        assert supervisor.cmdline()[0] == "streamfer: supervisor"
        for process in (*workers.values(), supervisor):
            mapped = {Path(m.path).name for m in process.memory_maps()}
            assert not any("tensorflow" in name for name in mapped)
        line = run.process.stderr
        assert line is not None
        url = next(text for text in line if text.startswith("metrics: ")).split()[1]
        page = urllib.request.urlopen(url, timeout=10).read().decode()
        status, error = run.finish()
    assert status == 0, error
    for name in (
        'streamfer_frames_total{component="jsonl",stage="sink",stream="lobby"}',
        'streamfer_predictions_total{classifier="cnn",label="happy",stream="lobby"}',
        'streamfer_ledger_frames{classifier="cnn",sink="jsonl",state="captured",stream="lobby"}',
        'streamfer_stream_up{stream="lobby"} 1.0',
        'streamfer_end_to_end_seconds_count{sink="sqlite",stream="lobby"}',
    ):
        assert name in page, name
    assert "pid=" not in page


def test_the_default_metrics_port_moves_on_when_taken(tmp_path: Path) -> None:
    def listening() -> socket.socket | None:
        try:
            return socket.create_server(("127.0.0.1", 9108))
        except OSError:  # a test beside this one has it, and may let go of it at any time
            return None

    with wait_until(listening, "the port"):
        done = streamfer("run", SAMPLE, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "metrics: http://127.0.0.1:91" in done.stderr and ":9108/" not in done.stderr


def test_two_classifiers_side_by_side(tmp_path: Path) -> None:
    config = tmp_path / "two.yaml"
    config.write_text(
        "version: 1\n"
        f"streams: {{one: {{path: {SAMPLE}}}, two: {{path: {SAMPLE}, classifiers: [second]}}}}\n"
        "classifiers: [cnn, {name: cnn, as: second}]\n"
        "sinks: [{name: jsonl, path: out/results.jsonl}, {name: sqlite, path: out/results.db}]\n"
    )
    done = streamfer("run", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count = frame_count(SAMPLE)
    assert_complete(tmp_path / "out", count)
    by_pair: dict[tuple[str, str], list[object]] = {}
    for line in lines(tmp_path / "out" / "results.jsonl"):
        by_pair.setdefault((line["stream"], line["classifier"]), []).append(line["faces"])
    assert set(by_pair) == {("one", "cnn"), ("one", "second"), ("two", "second")}
    assert by_pair["one", "cnn"] == by_pair["one", "second"] == by_pair["two", "second"]


def test_results_are_not_overwritten_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    refused = streamfer("run", SAMPLE, "--out", out)
    assert refused.returncode == 2
    assert refused.stderr.strip().count("\n") == 0 and "--resume" in refused.stderr
    assert streamfer("run", SAMPLE, "--out", out, "--overwrite").returncode == 0
    assert (out / "precious.txt").read_text() == "mine"
    before = (out / "results.jsonl").read_bytes()
    assert streamfer("run", SAMPLE, "--out", out).returncode == 2
    assert streamfer("run", SAMPLE, "--out", out, "--resume").returncode == 0  # nothing left to do
    assert (out / "results.jsonl").read_bytes() == before
    assert streamfer("run", SAMPLE, "--out", out, "--overwrite").returncode == 0
    assert (out / "results.jsonl").read_bytes() == before


def test_predict_on_a_picture(tmp_path: Path) -> None:
    portrait = Path(__file__).parents[2] / "tools" / "portraits" / "astronaut.png"
    done = streamfer("predict", portrait, "--json")
    assert done.returncode == 0, done.stderr
    (face,) = json.loads(done.stdout)["faces"]
    assert face["label"] == "happy"
    table = streamfer("predict", portrait, tmp_path / "none.jpg")
    assert table.returncode == 2
    assert "happy" in table.stdout and "none.jpg: no such file" in table.stderr


def test_predict_from_python() -> None:
    import cv2
    import numpy as np

    import streamfer as library

    portrait = Path(__file__).parents[2] / "tools" / "portraits" / "astronaut.png"
    bgr = np.asarray(cv2.imread(str(portrait)), np.uint8)
    faces = library.predict(portrait)
    assert [face.label for face in faces] == ["happy"]
    assert library.predict(bgr, bgr=True) == faces == library.predict(bgr[:, :, ::-1])
    assert library.predict(np.zeros((200, 300, 3), np.uint8)) == []


def test_doctor_finds_the_models() -> None:
    done = streamfer("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as its card says" in done.stdout and "/dev/shm" in done.stdout


def test_help_and_light_imports() -> None:
    import subprocess
    import sys

    done = streamfer("--help")
    assert done.returncode == 0 and "demo" in done.stdout
    heavy = "tensorflow cv2 av ai_edge_litert zmq numpy prometheus_client"
    code = (
        "import sys, streamfer.cli\n"
        "streamfer.cli.make_app()\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert light.stdout.strip() == "[]"
