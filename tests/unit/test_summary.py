"""The end of a run: what the workers counted, as a table and as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from rich.console import Console

from streamfer.cli import tables
from streamfer.cli.display import Display, JsonLines
from streamfer.config import for_recording
from streamfer.logs import LogLine
from streamfer.service import _summary
from streamfer.summary import Compared, Followed, Summary, summarise
from streamfer.supervisor import Outcome
from tests.service import SAMPLE

STREAMS = {"lobby": ("steady", "cnn"), "door": ("cnn",)}


def write(directory: Path, worker: int, counts: dict[tuple[str, ...], float]) -> None:
    """Counters as prometheus_client keeps them in a file: (metric, stream, classifier, …) → value."""
    file = MmapedDict(str(directory / f"counter_{worker}.db"))  # type: ignore[no-untyped-call]
    last = {"predictions": ["label"], "compared_faces": ["other"], "agreements": ["other"]}
    for (metric, *labels), value in counts.items():
        names = ["stream", "classifier", *last.get(metric, [])]
        key = mmap_key(f"streamfer_{metric}", f"streamfer_{metric}_total", names, labels, "What it is")
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def summary(tmp_path: Path) -> Summary:
    """Of a smoothed classifier in two workers, of one with a window, of a stream without faces."""
    steady = {
        ("track_seconds", "lobby", "steady"): 10.0,
        ("label_changes", "lobby", "steady"): 3.0,
        ("raw_label_changes", "lobby", "steady"): 30.0,
        ("predictions", "lobby", "steady", "happy"): 200.0,
    }
    write(tmp_path, 1, steady)
    write(tmp_path, 2, {**steady, ("predictions", "lobby", "steady", "sad"): 100.0})
    window = {
        ("track_seconds", "lobby", "cnn"): 20.0,
        ("label_changes", "lobby", "cnn"): 50.0,
        ("warming_faces", "lobby", "cnn"): 40.0,
        ("predictions", "lobby", "cnn", "happy"): 400.0,
        ("track_seconds", "elsewhere", "cnn"): 99.0,
    }
    write(tmp_path, 3, window)
    write(tmp_path, 4, {("compared_faces", "lobby", "steady", "cnn"): 400.0})
    write(tmp_path, 5, {("agreements", "lobby", "steady", "cnn"): 300.0})
    return summarise(tmp_path, STREAMS)


def test_what_the_workers_counted_is_added_up_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    found = summary(tmp_path)
    assert found.followed == (
        Followed("lobby", "steady", 20.0, 6, 500, raw_changes=60),
        Followed("lobby", "cnn", 20.0, 50, 400, warming=40),
        Followed("door", "cnn", 0.0, 0, 0),
    )
    assert found.compared == (Compared("lobby", "steady", "cnn", 400, 300),)
    steady, cnn, door = found.followed
    assert (steady.flicker, steady.raw_flicker, steady.warming_share) == (0.3, 3.0, None)
    assert (cnn.flicker, cnn.raw_flicker, cnn.warming_share) == (2.5, None, 0.1)
    assert (door.flicker, door.raw_flicker, door.warming_share) == (None, None, None)
    assert found.compared[0].share == 0.75
    assert Compared("door", "a", "b", 0, 0).share is None


def test_one_classifier_of_single_crops_is_not_worth_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = Summary((Followed("lobby", "cnn", 20.0, 5, 500),))
    assert not alone.worth_telling
    assert Summary((Followed("lobby", "cnn", 20.0, 5, 500, raw_changes=5),)).worth_telling
    assert Summary((Followed("lobby", "cnn", 20.0, 5, 500, warming=0),)).worth_telling
    assert Summary(alone.followed, (Compared("lobby", "cnn", "other", 0, 0),)).worth_telling
    outcome = Outcome(0, [], [], [], 100, 1.0, 0, alone)
    Display(quiet_progress=True).finish(outcome)
    JsonLines().finish(outcome)
    shown = capsys.readouterr().err
    assert "changes/s" not in shown and '"followed"' not in shown


def test_the_tables_fit_and_have_a_dash_where_nothing_was_counted(tmp_path: Path) -> None:
    found = summary(tmp_path)
    console = Console(width=80, record=True)
    console.print(tables.steadiness(found))
    console.print(tables.agreement(found))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["stream", "classifier", "faces", "for", "changes/s", "unsmoothed", "warming"] in rows
    assert ["lobby", "steady", "20", "s", "0.30", "3.00", "–"] in rows
    assert ["lobby", "cnn", "20", "s", "2.50", "–", "10.0", "%"] in rows
    assert ["door", "cnn", "–", "–", "–", "–"] in rows
    assert ["lobby", "steady,", "cnn", "75.0", "%", "400"] in rows


def test_columns_that_nobody_fills_are_left_out(tmp_path: Path) -> None:
    console = Console(width=80, record=True)
    pair = Compared("lobby", "a", "b", 0, 0)
    console.print(tables.steadiness(Summary((Followed("lobby", "a", 2.0, 5, 9),), (pair,))))
    console.print(tables.agreement(Summary((), (pair,))))
    shown = console.export_text()
    assert "unsmoothed" not in shown and "warming" not in shown
    assert ["lobby", "a,", "b", "–", "0"] in [line.split() for line in shown.splitlines()]


def test_json_lines_have_the_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines().finish(Outcome(0, [], [], [], 100, 1.0, 0, summary(tmp_path)))
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    followed = [one for one in found if one["message"] == "followed"]
    assert [(one["stream"], one["classifier"]) for one in followed] == [
        ("lobby", "steady"),
        ("lobby", "cnn"),
        ("door", "cnn"),
    ]
    assert followed[0]["label_changes_per_second"] == 0.3
    assert followed[0]["raw_label_changes_per_second"] == 3.0
    assert "warming_faces" not in followed[0] and followed[1]["warming_faces"] == 40
    assert followed[2].get("label_changes_per_second") is None
    (pair,) = (one for one in found if one["message"] == "agreement")
    assert (pair["other"], pair["faces"], pair["agreed"], pair["share"]) == ("cnn", 400, 300, 0.75)


def test_a_file_that_cannot_be_read_is_said_and_fails_no_run(tmp_path: Path) -> None:
    write(tmp_path, 1, {("track_seconds", "lobby", "cnn"): 10.0})
    torn = tmp_path / "counter_2.db"
    torn.write_bytes((tmp_path / "counter_1.db").read_bytes()[:13])
    said: list[LogLine] = []

    class Watcher:
        def log(self, line: LogLine) -> None:
            said.append(line)

    found = _summary(tmp_path, for_recording(SAMPLE, ["cnn"]), Watcher())  # type: ignore[arg-type]  # all it needs
    assert found == Summary()
    assert len(said) == 1 and "the summary of the classifiers is left out" in said[0].text
