"""Recordings as they come, through the whole pipeline: damaged, rotated, of two sizes; another detector."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import blank_packet, make_clip, shared_clip
from tests.service import ROOT, SAMPLE, assert_complete, frame_count, lines, streamfer

PORTRAIT = ROOT / "tools" / "portraits" / "astronaut.png"


def portrait(width: int, height: int) -> NDArray[np.uint8]:
    """The astronaut in the left half of an RGB picture of this size."""
    image = np.full((height, width, 3), 90, np.uint8)
    side = min(height, width // 2)
    bgr = cv2.imread(str(PORTRAIT))
    assert bgr is not None
    image[:side, :side] = cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    return image


def test_corrupt_frames_are_on_record_but_not_analysed(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "clip.mp4", frames=[portrait(640, 360)] * 60, size=(640, 360),
        codec_options={"g": "20", "bf": "0"},
    )  # fmt: skip
    count = frame_count(clip)
    blank_packet(clip, 30, keep=0.5)
    done = streamfer("run", clip, "--out", tmp_path / "out", "--video")
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out" / "results.jsonl")
    assert [line["seq"] for line in found] == list(range(len(found)))
    assert len(found) >= count - 1
    corrupt = [line for line in found if line.get("dropped") == "corrupt"]
    assert 1 <= len(corrupt) <= 10
    assert all(line["faces"] == [] for line in corrupt)
    assert all(len(line["faces"]) == 1 for line in found if "dropped" not in line)
    assert_complete(tmp_path / "out", len(found))
    ledger = re.findall(r"│\s*(\d+)\s*│\s*(\d+)\s*│\s*(\d+) corrupt\s*│\s*0\s*│", done.stderr)
    assert ledger == [(str(len(found)), str(len(found) - len(corrupt)), str(len(corrupt)))] * 3
    assert frame_count(tmp_path / "out" / "annotated.mp4") == len(found) - len(corrupt)


def test_a_change_of_size_midway_goes_on(tmp_path: Path) -> None:
    clip = tmp_path / "clip.ts"
    clip.write_bytes(
        b"".join(
            make_clip(
                tmp_path / f"{width}.ts", frames=[portrait(width, height)] * 40, size=(width, height),
                pts=range(start, start + 1600, 40),
            ).read_bytes()
            for width, height, start in ((640, 360, 0), (960, 540, 1600))
        )
    )  # fmt: skip
    done = streamfer("run", clip, "--out", tmp_path / "out", "--video")
    assert done.returncode == 0, done.stderr
    found = [line for line in lines(tmp_path / "out" / "results.jsonl") if line["faces"]]
    assert len(found) >= 70
    small, large = found[5]["faces"][0]["box"], found[-5]["faces"][0]["box"]
    assert large[2] == pytest.approx(1.5 * small[2], rel=0.15)
    assert_complete(tmp_path / "out", frame_count(clip))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_boxes_are_in_the_upright_picture(tmp_path: Path, rotation: int) -> None:
    upright = portrait(640, 360)
    stored = np.ascontiguousarray(np.rot90(upright, -(rotation // 90)))
    size = stored.shape[1], stored.shape[0]
    clip = make_clip(tmp_path / "clip.mp4", frames=[stored] * 10, size=size, rotation=rotation)
    done = streamfer("run", clip, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for line in lines(tmp_path / "out" / "results.jsonl"):
        (face,) = line["faces"]
        x, y, w, h = face["box"]
        assert x + w < 320 and y + h < 200  # the head is in the upper left
        assert face["label"] == "happy"


@pytest.mark.parametrize("size", [(321, 179), (177, 145)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=[portrait(*size)] * 10, size=size, codec="ffv1")
    done = streamfer("run", clip, "--out", tmp_path / "out", "--video")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", 10)
    for line in lines(tmp_path / "out" / "results.jsonl"):
        for face in line["faces"]:
            x, y, w, h = face["box"]
            assert x >= 0 and y >= 0 and x + w <= size[0] and y + h <= size[1]


def test_haar_does_the_job_as_well(tmp_path: Path) -> None:
    config = tmp_path / "haar.yaml"
    config.write_text(
        f"version: 1\nstreams: {{s: {{path: {SAMPLE}}}}}\ndetector: {{name: haar}}\nclassifiers: [cnn]\n"
        "sinks: [{name: jsonl, path: out/results.jsonl}, {name: sqlite, path: out/results.db}]\n"
    )
    done = streamfer("run", config)
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", frame_count(SAMPLE))
    found = lines(tmp_path / "out" / "results.jsonl")
    assert sum(len(line["faces"]) for line in found) > len(found)


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("intel_head-pose-face-detection-female-and-male.gif", 2),
        ("liveportrait_s18.mp4", 1),
        ("pyfeat_no_face.mp4", 0),
    ],
)
def test_real_clips(tmp_path: Path, name: str, people: int) -> None:
    clip = shared_clip(name)
    done = streamfer("run", clip, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", frame_count(clip))
    tracks = {face["track"] for line in lines(tmp_path / "out" / "results.jsonl") for face in line["faces"]}
    assert len(tracks) == people
