"""Sizes and durations in options, what fits together, and whether docs/results.md tells all of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from streamfer.api import Options
from streamfer.config import ConfigError, load
from streamfer.sinks import JsonlOptions, SqliteOptions, VideoOptions
from streamfer.units import parse_duration, parse_size

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1500, 1500),
        ("1500", 1500),
        ("1kB", 1000),
        ("1.5 GB", 1_500_000_000),
        ("64MiB", 64 << 20),
        ("2gib", 2 << 30),
        (" 10 b ", 10),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1.5h", 5400.0),
        ("30d", 2_592_000.0),
        ("2 w", 14 * 86400),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "MB", "-1MB", "1e9", "0", 0, -5, True, None, [], "1 parsec", "nan", float("inf"), "1,5GB", "٣MB"],
)
def test_what_is_neither(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as 100MB or 2GiB"):
        parse_size(text)
    with pytest.raises(ValueError, match="expected a duration such as 90s, 10m, 1h or 30d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (JsonlOptions, {"compress": True}, "compress is for files that rotate sets aside"),
        (JsonlOptions, {"keep": {"files": 3}}, "keep is for files that rotate sets aside"),
        (JsonlOptions, {"rotate": {}}, "expected size, every, or both"),
        (JsonlOptions, {"rotate": {"size": "10 furlongs"}}, "expected a size such as 100MB"),
        (JsonlOptions, {"rotate": {"every": "hourly"}}, "expected a duration such as 90s"),
        (JsonlOptions, {"rotate": {"size": "1MB"}, "keep": {"size": "1GB"}}, "Extra inputs"),
        (SqliteOptions, {"keep": {"files": 3}}, "Extra inputs"),
        (SqliteOptions, {"keep": {"size": "1kB"}}, "greater than or equal to 1000000"),
        (VideoOptions, {"keep": {"age": "1d"}}, "keep is for files that segment or segment_size finishes"),
    ],
)
def test_options_that_do_not_fit(model: type[Options], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model.model_validate({"path": "results", **options})


def test_options_survive_the_way_to_the_worker() -> None:
    options = {"rotate": {"size": "100MB", "every": "1h"}, "compress": True, "keep": {"age": "30d"}}
    first = JsonlOptions.model_validate({"path": "results.jsonl", **options})
    assert JsonlOptions.model_validate(first.model_dump(mode="json")) == first


def test_a_mistake_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    config = tmp_path / "config.yaml"
    config.write_text(
        "version: 1\nstreams: {lobby: {path: clip.mp4}}\nclassifiers: [cnn]\n"
        "sinks:\n  - name: jsonl\n    path: out/r.jsonl\n    rotate:\n      size: huge\n"
    )
    with pytest.raises(ConfigError) as wrong:
        load(config)
    assert str(wrong.value) == (
        f"{config}:8: sinks.0.rotate.size: got 'huge', expected a size such as 100MB or 2GiB"
    )


def test_configurations_in_the_docs_are_right(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    found = re.findall(r"^```yaml\n(.*?)^```$", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(found) == 3
    for text in found:
        (tmp_path / "config.yaml").write_text(text)
        load(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("model", "outside"),
    [(JsonlOptions, {"path"}), (SqliteOptions, {"path"}), (VideoOptions, {"path", "codec", "crf", "blur"})],
)
def test_the_docs_name_every_option(model: type[BaseModel], outside: set[str]) -> None:
    rows = set(re.findall(r"^\| `([a-z_.]+)` \|", DOCS.read_text("utf-8"), re.MULTILINE))
    for name, field in model.model_fields.items():
        nested = [one for one in getattr(field.annotation, "__args__", ()) if isinstance(one, type)]
        inner = next((one for one in nested if issubclass(one, BaseModel)), None)
        named = {name} if inner is None else {f"{name}.{key}" for key in inner.model_fields}
        assert name in outside or named <= rows
