"""Every classifier that ships, by its name alone: on its own, and all of them side by side on one clip."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamfer.plugins import Registry
from streamfer.types import LABELS
from tests.service import SAMPLE, assert_complete, frame_count, lines, streamfer

NAMES = sorted(
    one.name
    for one in Registry.discover().all()
    if one.kind == "classifier"
    and one.origin.distribution == "streamfer"
    and (one.component.model_files or one.component.combines)
)

Faces = list[dict[str, Any]]


def faces(path: Path) -> dict[str, Faces]:
    """The labelled faces of a run by classifier."""
    found: dict[str, Faces] = {name: [] for name in NAMES}
    for line in lines(path):
        found[line["classifier"]] += [one for one in line["faces"] if one["status"] == "ok"]
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Faces]:
    out = tmp_path_factory.mktemp("together")
    entries = "".join(f"  - {name}\n" for name in NAMES)
    (out / "config.yaml").write_text(
        f"version: 1\nstreams: {{clip: {{path: '{SAMPLE}'}}}}\nclassifiers:\n{entries}"
        "sinks: [{name: jsonl, path: results.jsonl}]\nmetrics: false\n"
    )
    done = streamfer("run", out / "config.yaml", cwd=out, timeout=240)
    assert done.returncode == 0, done.stderr
    return faces(out / "results.jsonl")


def test_they_all_see_the_same_faces_and_say_what_they_show(together: dict[str, Faces]) -> None:
    """The clip shows a happy face and a neutral one."""
    seen = {name: [(one["track"], one["box"]) for one in found] for name, found in together.items()}
    assert all(boxes == seen["cnn"] for boxes in seen.values())
    for name, found in together.items():
        first = min(one["track"] for one in found)
        said = Counter(one["label"] for one in found if one["track"] == first)
        assert said.most_common(1)[0][0] == "happy", (name, said)
        assert all(tuple(one["probabilities"]) == LABELS for one in found)


@pytest.mark.parametrize("name", NAMES)
def test_alone_it_says_the_same(name: str, together: dict[str, Faces], tmp_path: Path) -> None:
    done = streamfer("run", SAMPLE, "--classifier", name, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", frame_count(SAMPLE))
    alone = faces(tmp_path / "out" / "results.jsonl")[name]
    assert [one["probabilities"] for one in alone] == [one["probabilities"] for one in together[name]]
