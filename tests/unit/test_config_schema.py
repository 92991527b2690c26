"""The JSON Schema that editors use says the same as the checks of a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streamfer.config import schema
from streamfer.plugins import Registry

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
REGISTRY = Registry.discover()
VALIDATOR = jsonschema.Draft202012Validator(schema(REGISTRY))
MINIMAL = "version: 1\nstreams: {lobby: {path: clip.mp4}}\nclassifiers: [cnn]\nsinks: [console]\n"

PLUGIN = """
from collections.abc import Callable
from pydantic import BaseModel
from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl

class Inner(BaseModel):
    level: int = 1

class Nested(Options):
    inner: Inner = Inner()

class Odd(Options):
    function: Callable[[], int] = int

@hookimpl
def streamfer_components():
    return [
        Component("sink", "nested", "for a test", ":Inner", Nested),
        Component("sink", "odd", "for a test", ":Inner", Odd),
    ]
"""


def accepts(text: str, validator: jsonschema.Draft202012Validator = VALIDATOR) -> bool:
    return not list(validator.iter_errors(yaml.safe_load(text)))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema(REGISTRY))
    json.dumps(schema(REGISTRY))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_that_ship_fit(path: Path) -> None:
    files = [path.parent / name for name in yaml.safe_load(path.read_text()).get("plugins", [])]
    validator = jsonschema.Draft202012Validator(schema(REGISTRY.with_files(files)))
    assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "more",
    [
        "",
        "detector: haar",
        "detector: {score: 0.5}",
        "detector: {name: haar, neighbours: 3, width: 640}",
        'detector: {width: "${WIDTH}"}',
        'tracker: "${TRACKER}"',
        "tracker: {patience: 2}",
        "metrics: false",
        "metrics: {listen: '[::1]:80'}",
        "privacy: {blur: true}",
        "plugins: [a.py]",
        "streams: {a: {source: folder, path: x, pattern: '*.mkv', threads: 2, classifiers: [cnn]}}",
        "streams: {a.b-c: {source: file, path: x}}",
        "classifiers: [{name: cnn, as: b, workers: 2}]",
        "sinks: [{name: video, path: x, codec: mpeg4}, console, {name: jsonl, path: x, as: y}]",
    ],
)
def test_what_is_right_fits(more: str) -> None:
    assert accepts(merged(more))


@pytest.mark.parametrize(
    "more",
    [
        "version: 2",
        "wat: 1",
        "streams: {}",
        "streams: {a b: {path: x}}",
        "streams: {a: {}}",
        "streams: {a: {source: fil, path: x}}",
        "streams: {a: {path: x, widht: 1}}",
        "streams: {a: {path: x, classifiers: []}}",
        "streams: {a: {source: folder}}",
        "streams: {a: {source: folder, path: x, widht: 1}}",
        "detector: harr",
        "detector: {widht: 1}",
        "detector: {width: wide}",
        "detector: {width: 7}",
        "detector: {name: haar, nms: 0.5}",
        "detector: {neighbours: 3}",
        "tracker: []",
        "classifiers: []",
        "classifiers: [cnm]",
        "classifiers: [{workers: 1}]",
        "sinks: [{name: jsonl}]",
        "sinks: [{name: console, path: x}]",
        "sinks: [{name: video, path: x, codec: x265}]",
        "metrics: {listen: here}",
        "privacy: {blur: 7}",
        "plugins: a.py",
    ],
)
def test_what_is_wrong_does_not(more: str) -> None:
    assert not accepts(merged(more))


def merged(more: str) -> str:
    """The minimal configuration with sections replaced."""
    return yaml.safe_dump({**yaml.safe_load(MINIMAL), **(yaml.safe_load(more) or {})})


@pytest.mark.parametrize("missing", ["version", "streams", "classifiers", "sinks"])
def test_what_must_be_there(missing: str) -> None:
    data: dict[str, Any] = yaml.safe_load(MINIMAL)
    del data[missing]
    assert not accepts(yaml.safe_dump(data))


def test_every_key_is_described() -> None:
    definitions = schema(REGISTRY)["$defs"]
    components = {name: definitions[name] for name in definitions if "." in name}
    assert "detector.yunet" in components
    bare = [
        f"{name}: {key}"
        for name, definition in components.items()
        for key, value in definition["properties"].items()
        if not value.get("description")
    ]
    assert bare == []


def test_local_plugins_can_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    validator = jsonschema.Draft202012Validator(schema(REGISTRY.with_files([tmp_path / "plugin.py"])))
    assert accepts(merged("sinks: [{name: nested, inner: {level: 3}}]"), validator)
    assert not accepts(merged("sinks: [{name: nested, inner: {level: high}}]"), validator)
    assert accepts(merged("sinks: [{name: odd, function: anything}]"), validator)
