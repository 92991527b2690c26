"""`streamfer compare --video`: figures, timelines and page of a run whose results are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from streamfer.cli import make_app
from streamfer.cli.comparing import entries, refuse_nothing
from streamfer.config import Config, for_comparison
from streamfer.errors import StreamferError, UsageError
from streamfer.plugins import build
from streamfer.stages.flicker import LONGEST_GAP
from streamfer.supervisor import Outcome
from streamfer.training import compare_video
from streamfer.training.compare_video import Watched, measure, watched
from streamfer.training.compare_video_faces import SIDE, moments, pictures
from streamfer.training.compare_video_page import TIMELINE, write_report
from streamfer.training.compare_video_plots import colours, runs, timeline_figure
from streamfer.types import LABELS, Answer, Face, Result, WindowState
from tests.clips import make_clip
from tests.temporal import write_plugin

TWO = ("dark", "bright")
BOX = (40.0, 40.0, 32.0, 32.0)
RUNNER = CliRunner()


def face(
    track: int, bright: float, *, raw: float | None = None, filled: int | None = None, status: str = "ok"
) -> Face:
    """A face that is `bright` to so much, and was before it was smoothed."""

    def answer(share: float) -> Answer:
        return Answer(TWO[share > 0.5], max(share, 1 - share), {"dark": 1 - share, "bright": share})

    told = answer(bright)
    if status == "small":
        return Face(track, BOX, 0.9, "small")
    return Face(
        track,
        BOX,
        0.9,
        "ok" if filled in (None, 4) else "warming",
        told.label,
        told.confidence,
        told.probabilities,
        WindowState(4, filled, 40.0 * filled) if filled is not None else msgspec.UNSET,
        answer(raw) if raw is not None else msgspec.UNSET,
    )


def write(path: Path, frames: Sequence[dict[str, list[Face]]], times: Sequence[float | None]) -> Path:
    """Results: for each frame the faces of each classifier."""
    lines = [
        msgspec.json.encode(
            Result(stream="clip", epoch=0, seq=seq, pts=pts, time=None, classifier=name, faces=faces)
        )
        for seq, (frame, pts) in enumerate(zip(frames, times, strict=True))
        for name, faces in frame.items()
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


NAMES = ("plain", "smooth")
FRAMES = 60


def scene() -> list[dict[str, list[Face]]]:
    """Track 1 is there throughout; `plain` turns bright in every third frame, and its window fills in three;
    `smooth` follows from its 31st frame on. In frames 10 to 19 the face is too small. Track 2 is there for
    half a second, and only `plain` says something of it."""
    found: list[dict[str, list[Face]]] = []
    for seq in range(FRAMES):
        if 10 <= seq < 20:
            frame = {name: [face(1, 0, status="small")] for name in NAMES}
        else:
            flickers = 0.7 if seq % 3 == 0 else 0.4
            frame = {
                "plain": [face(1, flickers, filled=min(seq + 1, 4))],
                "smooth": [face(1, 0.6 if seq > 30 else 0.2, raw=flickers)],
            }
        if 40 <= seq < 52:
            frame["plain"].append(face(2, 0.9, filled=4))
            frame["smooth"].append(face(2, 0, status="small"))
        found.append(frame)
    return found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frame i is of the gray 4·i."""
    images = [np.full((120, 160, 3), 4 * seq, np.uint8) for seq in range(FRAMES)]
    return make_clip(tmp_path / "clip.mp4", frames=images, size=(160, 120), codec_options={"crf": "1"})


@pytest.fixture
def found(tmp_path: Path, clip: Path) -> Watched:
    times = [round(seq * 0.04, 6) for seq in range(FRAMES)]
    return watched(clip, write(tmp_path / "r.jsonl", scene(), times), dict.fromkeys(NAMES, TWO))


def config(tmp_path: Path, clip: Path) -> Config:
    chosen = {"plain": {"name": "memory"}, "smooth": {"name": "single", "smoothing": "ema"}}
    return for_comparison(clip, chosen, tmp_path / "results.jsonl", [write_plugin(tmp_path)])


def test_the_figures_are_those_of_the_results(found: Watched, tmp_path: Path, clip: Path) -> None:
    figures = measure(found, config(tmp_path, clip), ["first"])
    assert json.loads(json.dumps(figures)) == figures
    assert figures["clip"] == {"name": "clip.mp4", "frames": 60, "seconds": 2.4, "timed": True}
    assert [(one["track"], one["frames"]) for one in figures["tracks"]] == [(1, 60), (2, 12)]
    assert (figures["tracks"][1]["from"], figures["tracks"][1]["to"]) == (1.6, 2.08)
    assert figures["shown"] == [1], "track 2 is too short"
    assert figures["notes"] == ["first"]

    labels = [seq % 3 == 0 for seq in range(60) if not 10 <= seq < 20]
    changes = sum(one != other for one, other in pairwise(labels))
    plain, smooth = figures["classifiers"]
    assert (plain["name"], plain["classifier"], plain["smoothing"]) == ("plain", "memory", None)
    assert plain["window"]["frames"] == 6 and plain["window"]["seconds"] == 0.4
    assert smooth["smoothing"]["method"] == "ema" and smooth["window"] is None
    seconds = 59 * 0.04  # the face was too small for less than a second
    assert plain["track_seconds"] == pytest.approx(seconds + 11 * 0.04)
    assert plain["label_changes"] == changes, "track 2 has none"
    assert plain["flicker"] == pytest.approx(changes / (seconds + 11 * 0.04), abs=1e-4)
    assert plain["warming"] == pytest.approx(3 / 62, abs=1e-4) and plain["raw_flicker"] is None
    assert smooth["label_changes"] == 1 and smooth["raw_label_changes"] == changes
    assert smooth["raw_flicker"] == pytest.approx(changes / seconds, abs=1e-4)
    assert smooth["warming"] is None
    assert smooth["confidence"] == pytest.approx((21 * 0.8 + 29 * 0.6) / 50, abs=1e-4)

    now = [0.6 if seq > 30 else 0.2 for seq in range(60) if not 10 <= seq < 20]
    agreed = sum(bright == (one > 0.5) for bright, one in zip(labels, now, strict=True))
    (pair,) = figures["pairs"]
    assert (pair["faces"], pair["agreed"]) == (50, agreed)
    assert figures["tracks"][0]["pairs"][0] == pair
    assert figures["tracks"][0]["classifiers"][1]["labels"] == {"bright": 0.58, "dark": 0.42}
    assert [one["name"] for one in figures["tracks"][1]["classifiers"]] == ["plain"]
    assert figures["tracks"][1]["pairs"][0]["share"] is None


def test_time_is_counted_as_in_the_metrics() -> None:
    assert compare_video.LONGEST_GAP == LONGEST_GAP


def test_agreement_is_by_name_on_the_faces_that_both_labelled(tmp_path: Path, clip: Path) -> None:
    """The second has the labels in another order, and misses a face; the track seen most comes first."""
    brights = (0.2, 0.9, 0.9, 0.2)
    frames = [{"a": [face(7, one)], "b": [face(7, one if seq else 0.8)]} for seq, one in enumerate(brights)]
    frames[1]["b"] = [face(7, 0, status="small")]
    frames[0]["a"].append(face(3, 0.2))
    results = write(tmp_path / "r.jsonl", frames, [0.0, 0.04, 0.08, 0.12])
    found = watched(clip, results, {"a": TWO, "b": TWO[::-1]})
    assert [track.number for track in found.tracks] == [7, 3]
    (pair,) = measure(found, config(tmp_path, clip))["pairs"]
    assert (pair["faces"], pair["agreed"]) == (3, 2)


def test_what_lies_between_two_frames_far_apart_counts_for_nothing(tmp_path: Path, clip: Path) -> None:
    frames = [{"plain": [face(1, bright)]} for bright in (0.2, 0.9, 0.2, 0.9)]
    results = write(tmp_path / "r.jsonl", frames, [0.0, 0.1, 1.2, 2.1])
    (plain, _) = measure(watched(clip, results, {"plain": TWO}), config(tmp_path, clip))["classifiers"]
    assert (plain["label_changes"], plain["track_seconds"]) == (2, pytest.approx(1.0))


@pytest.mark.parametrize("times", [[None, 0.1, 0.2], [0.1, 0.2, 0.1], [None] * 3, [0.0, 0.0, 0.0]])
def test_without_usable_time_stamps_frames_come_at_an_even_pace(
    tmp_path: Path, clip: Path, times: list[float | None]
) -> None:
    frames = [{"plain": [face(1, 0.2)]} for _ in times]
    results = write(tmp_path / "r.jsonl", frames, times)
    found = watched(clip, results, {"plain": TWO, "none": TWO})
    assert not found.timed
    np.testing.assert_allclose(found.clock, [0, 0.04, 0.08, 0.12])
    figures = measure(found, config(tmp_path, clip))
    assert "missing or run backwards" in figures["notes"][0]
    assert figures["notes"][1].startswith("none labelled no face")


def test_stretches_end_where_the_answer_changes_or_the_face_is_missing(found: Watched) -> None:
    seen = found.tracks[0].seen["smooth"]
    assert [(round(begin, 2), round(length, 2), place) for begin, length, place in
            runs(found, seen, seen.answers)] == [(0, 0.4, 0), (0.8, 0.44, 0), (1.24, 1.16, 1)]  # fmt: skip


def test_a_timeline_leaves_gaps_empty_and_marks_what_is_warming(found: Watched) -> None:
    figure = timeline_figure(found, found.tracks[0], [np.zeros((SIDE, SIDE, 3), np.uint8), None])
    shown, plain, smooth = figure.axes[:3]
    assert len(shown.child_axes) == 1
    assert [axes.get_title("left") for axes in (plain, smooth)] == list(NAMES)
    assert plain.get_xlim() == pytest.approx((0, 2.4))
    assert [one.get_text() for one in smooth.get_yticklabels()] == ["0 %", "50 %", "100 %", "label", "raw"]
    for axes in (plain, smooth):
        dark, bright = axes.collections[:2]
        assert [to_hex(one.get_facecolor()[0]).upper() for one in (dark, bright)] == colours(TWO)  # type: ignore[index]
        for area in (dark, bright):
            spans = [(path.get_extents().x0, path.get_extents().x1) for path in area.get_paths()]
            np.testing.assert_allclose(spans, [(0, 0.4), (0.8, 2.4)])
        tops = [path.get_extents().y1 for path in bright.get_paths()]
        np.testing.assert_allclose(tops, 1)
    hatched = [one for one in plain.collections if one.get_hatch()]
    assert [path.get_extents().x1 for path in hatched[0].get_paths()] == [pytest.approx(0.12)]
    assert not [one for one in smooth.collections if one.get_hatch()]
    entries_shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries_shown == ["dark", "bright", "window not yet full"]


def test_the_probabilities_of_a_long_track_are_averaged_between_its_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Watched
) -> None:
    from streamfer.training import compare_video_plots as plots

    monkeypatch.setattr(plots, "_DETAIL", 17)
    seen = found.tracks[0].seen["plain"]
    begins, ends, rows = plots._thinned(found, seen)
    assert len(begins) == 4 + 14, "of three: ten frames, a gap, forty frames"
    np.testing.assert_allclose((ends - begins)[:5], (0.12, 0.12, 0.12, 0.04, 0.12))
    np.testing.assert_allclose(rows[0], seen.probabilities[:3].mean(axis=0))
    np.testing.assert_allclose(rows[3], seen.probabilities[9])
    np.testing.assert_allclose(rows[4], seen.probabilities[10:13].mean(axis=0))
    assert (ends[3], begins[4]) == (pytest.approx(0.4), pytest.approx(0.8))


def test_every_label_has_a_colour_of_its_own() -> None:
    several = colours([*LABELS, "contempt", "bored"])
    assert len(set(several)) == 9
    assert colours(["contempt"]) == [several[7]]


def test_pictures_are_of_the_frames_in_the_middle_of_even_parts(found: Watched, tmp_path: Path) -> None:
    track = found.tracks[0]
    assert moments(found, track, 4) == [7, 22, 37, 52]
    assert moments(found, found.tracks[1], 2) == [3, 9]
    recording = config(tmp_path, found.clip).streams[0].source
    cut = pictures(recording, found, [track], 4)[track.number]
    for picture, at in zip(cut, (7, 22, 37, 52), strict=True):
        assert picture is not None and picture.shape == (SIDE, SIDE, 3)
        np.testing.assert_allclose(picture.astype(int), 4 * at, atol=3)
    assert build(recording).open().width == 160


def test_the_pages_have_every_figure_and_the_pictures_of_this_run_only(
    found: Watched, tmp_path: Path, clip: Path
) -> None:
    chosen = config(tmp_path, clip)
    figures = measure(found, chosen)
    out = tmp_path / "page"
    out.mkdir()
    (out / f"{TIMELINE}7.png").write_bytes(b"of an earlier run")
    pages = write_report(figures, found, chosen.streams[0].source, out)
    assert sorted(path.name for path in out.iterdir()) == ["compare.md", "index.html", f"{TIMELINE}1.png"]
    html, markdown = (page.read_text("utf-8") for page in pages)
    assert html.count("data:image/png;base64") == 1 and f"({TIMELINE}1.png)" in markdown
    for one in figures["classifiers"]:
        assert f"{one['flicker']:.2f}" in markdown and f"{one['flicker']:.2f}" in html
        assert f"{100 * one['confidence']:.1f} %" in markdown
    assert f"{100 * figures['pairs'][0]['share']:.1f} %" in html
    assert "## Tracks without a timeline" in markdown and "2 (1.6 s to 2.1 s, 12 frames)" in markdown
    with_faces = (out / f"{TIMELINE}1.png").read_bytes()
    write_report(figures, found, chosen.streams[0].source, out, faces=False)
    without = (out / f"{TIMELINE}1.png").read_bytes()
    assert with_faces != without and len(timeline_figure(found, found.tracks[0]).axes) == 2


def test_where_there_is_nothing_to_compare_one_line_says_why(tmp_path: Path, clip: Path) -> None:
    ended = Outcome(0, [], [], [], 2, 1.0, 0)

    def refused_for(faces: list[Face]) -> str:
        results = write(tmp_path / "r.jsonl", [{"plain": faces}] * 2, [0.0, 0.04])
        with pytest.raises(UsageError) as raised:
            refuse_nothing(watched(clip, results, {"plain": TWO}), ended)
        return str(raised.value)

    assert refused_for([]) == f"{clip}: no face was found in its 2 frames: there is nothing to compare"
    assert "none was large and sharp enough" in refused_for([face(1, 0, status="small")])
    results = write(tmp_path / "r.jsonl", [{"plain": [face(1, 0.2)]}], [0.0])
    refuse_nothing(watched(clip, results, {"plain": TWO}), ended)


# ---- the command -------------------------------------------------------------------------------------------


def test_what_each_is_called() -> None:
    assert entries(["cnn", "cnn_lstm"], [("cnn", "a.json"), ("cnn", "b.json")], [("cnn", "ema")]) == {
        "cnn": {"name": "cnn"},
        "cnn_lstm": {"name": "cnn_lstm"},
        "cnn-2": {"name": "cnn", "model": "a.json"},
        "cnn-3": {"name": "cnn", "model": "b.json"},
        "cnn-ema": {"name": "cnn", "smoothing": "ema"},
    }
    with pytest.raises(UsageError, match="cnn: named twice"):
        entries(["cnn", "cnn"], [], [])


def refused(*arguments: Any) -> str:
    """The line, or lines, that the command ends with."""
    result = RUNNER.invoke(make_app(), ["compare", *map(str, arguments)])
    assert isinstance(result.exception, StreamferError), result.exception
    return str(result.exception)


def test_bad_input_is_one_line_before_anything_is_started(tmp_path: Path, clip: Path) -> None:
    plugin, text = write_plugin(tmp_path), tmp_path / "notes.txt"
    text.write_text("no video")
    rest = ("--plugin", plugin, "--out", tmp_path / "out")
    cases = {
        ("single",): "--data FILE-OR-FOLDER or --video CLIP, one of the two",
        ("single", "--video", clip, "--data", clip): "one of the two",
        ("--video", clip): "compare --video needs a classifier or more",
        ("single", "--video", tmp_path / "absent.mp4"): f"--video: {tmp_path / 'absent.mp4'}: no such file",
        ("single", "--video", text): f"{text}: not a video that FFmpeg can read",
        ("nobody", "--video", clip): "no classifier 'nobody'; there are: ",
        ("single", "--video", clip, "--smoothed", "single"): "--smoothed single: expected NAME=METHOD",
        (
            "single",
            "--video",
            clip,
            "--smoothed",
            "single=mean",
        ): "single-mean: got 'mean', expected none, ema",
        ("single", "--video", clip, "--model", "cnn="): "--model cnn=: expected NAME=CARD",
        ("single", "--video", clip, "--model", f"cnn={tmp_path / 'c'}"): f"cnn: {tmp_path / 'c'}: ",
        (
            "single",
            "--video",
            clip,
            "--split",
            "Training",
        ): "--split goes with --data; leave it out with --video",
        ("single", "--video", clip, "--no-timing"): "--no-timing goes with --data",
        ("single", "--data", clip, "--no-faces"): "--no-faces goes with --video; leave it out with --data",
        ("single", "--data", clip, "--smoothed", "single=ema"): "--smoothed goes with --video",
    }
    for arguments, line in cases.items():
        said = refused(*arguments, *rest)
        assert line in said and "\n" not in said, arguments
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(
        "single", "--video", clip, "--plugin", plugin, "--out", tmp_path / "file"
    )
