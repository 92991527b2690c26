"""`streamfer compare --video` on the sample clip, and the end of a run: both say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.service import SAMPLE, streamfer
from tests.temporal import write_plugin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the comparison leaves."""
    folder = tmp_path_factory.mktemp("compared")
    write_plugin(folder)
    (folder / "tmp").mkdir()
    arguments = (
        "memory",
        "single",
        "--smoothed",
        "single=ema",
        "--plugin",
        "temporal.py",
        "--json",
        "f.json",
    )
    temporary = {"TMPDIR": str(folder / "tmp")}
    done = streamfer("compare", "--video", SAMPLE, *arguments, cwd=folder, env=temporary, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "shown").write_text(done.stdout)
    assert "wrote out/sample-compared/index.html" in done.stderr
    return folder


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "f.json").read_text("utf-8"))
    return found


def test_the_page_the_table_and_the_file_say_the_same(folder: Path) -> None:
    found = figures(folder)
    out = folder / "out/sample-compared"
    shown, html = (folder / "shown").read_text(), (out / "index.html").read_text("utf-8")
    assert max(map(len, shown.splitlines())) <= 80
    for one in found["classifiers"]:
        assert f"{one['flicker']:.2f}" in shown and f"{one['flicker']:.2f}" in html
    for pair in found["pairs"]:
        assert f"{100 * pair['share']:.1f} %" in shown and f"{100 * pair['share']:.1f} %" in html
    assert [one["name"] for one in found["classifiers"]] == ["memory", "single", "single-ema"]
    assert found["shown"] == [1, 2], "the two portraits"
    assert {path.name for path in out.iterdir()} == {
        "index.html",
        "compare.md",
        "timeline-1.png",
        "timeline-2.png",
    }
    assert not list((folder / "tmp").iterdir()), "the results that the page was made of are gone"


def test_a_run_ends_with_the_same_figures(folder: Path, tmp_path: Path) -> None:
    """What the workers counted in a run is what its results, read afterwards, come to."""
    config = tmp_path / "config.yaml"
    sections = {
        "version": 1,
        "plugins": [str(folder / "temporal.py")],
        "streams": {"clip": {"path": str(SAMPLE)}},
        "classifiers": ["memory", "single", {"name": "single", "as": "single-ema", "smoothing": "ema"}],
        "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
        "metrics": False,
    }
    config.write_text(json.dumps(sections))
    done = streamfer("run", config, "--log-format", "json", timeout=300)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    followed = [one for one in events if one["message"] == "followed"]
    found = figures(folder)
    for told, one in zip(followed, found["classifiers"], strict=True):
        assert told["classifier"] == one["name"]
        assert told["track_seconds"] == pytest.approx(one["track_seconds"], abs=2e-3)
        for key in ("faces", "label_changes"):
            assert told[key] == one[key] > 0
        assert told.get("raw_label_changes") == one["raw_label_changes"]
        warming = told.get("warming_faces")
        share = warming / told["faces"] if warming is not None else None
        assert share == (pytest.approx(one["warming"], abs=1e-4) if one["warming"] is not None else None)
    agreed = [
        (one["classifier"], one["other"], one["faces"], one["agreed"])
        for one in events
        if one["message"] == "agreement"
    ]
    assert agreed == [(one["first"], one["second"], one["faces"], one["agreed"]) for one in found["pairs"]]
