"""Windows, smoothing, modes in a configuration: what reaches the worker, what is wrong and where."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from streamfer.config import Config, ConfigError, load, schema
from streamfer.inference.described import find
from streamfer.plan import make_plan
from streamfer.plugins import Registry
from streamfer.smoothing import Ema, Hysteresis
from streamfer.stages.spec import ClassifySpec, WorkerSpec, decode, encode
from streamfer.types import Window
from tests.networks import write_card
from tests.temporal import write_plugin

DECLARED = Window(6, 1, 12.5, 0.5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    write_plugin(tmp_path)
    return tmp_path


def written(folder: Path, *classifiers: str) -> Path:
    """The third line of the file has the first classifier."""
    entries = "".join(f"\n  - {one}" for one in classifiers)
    path = folder / "config.yaml"
    path.write_text(
        f"version: 1\nclassifiers:{entries}\nstreams: {{a: {{path: clip.mp4}}}}\nsinks: [console]\n"
        "plugins: [temporal.py]\n"
    )
    return path


def read(folder: Path, *classifiers: str) -> Config:
    return load(written(folder, *classifiers), registry=Registry.discover(), environ={})


def wrong(folder: Path, *classifiers: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder, *classifiers)
    return [
        line.removeprefix("config.yaml:") for line in str(raised.value).replace(f"{folder}/", "").splitlines()
    ]


def classify(config: Config) -> dict[str, ClassifySpec]:
    """The specs of the classify workers as they reach them, by the classifier's name."""
    plan = make_plan(config, lambda name: f"ipc://{name}", Path("/nowhere"), resume=False)
    workers = [decode(encode(WorkerSpec("w", "/r", "ipc://c", spec))) for _, spec in plan.shared.values()]
    return {one.stage.classifier: one.stage for one in workers if isinstance(one.stage, ClassifySpec)}


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ("memory", DECLARED),
        ("{name: memory, window: {}}", DECLARED),
        ("{name: memory, window: {frames: 6}}", DECLARED),
        ("{name: memory, window: {frames: 2, stride: 3, max_gap: 1.5}}", Window(2, 3, 12.5, 1.5)),
    ],
)
def test_a_window_is_what_is_declared_but_for_what_is_set(folder: Path, entry: str, window: Window) -> None:
    spec = classify(read(folder, entry))["memory"]
    assert (spec.component.window, spec.component.reads, spec.windowed) == (window, 6, True)
    assert isinstance(spec.component.window, Window)


def test_a_member_has_a_window_of_its_own(folder: Path) -> None:
    members = "[single, {name: memory, weight: 2, window: {frames: 3}}, memory]"
    spec = classify(read(folder, f"{{name: ensemble, members: {members}}}"))["ensemble"]
    assert spec.component.window is None
    assert spec.windowed
    windows = [(one.component.window, one.component.reads) for one in spec.component.members]
    assert windows == [(None, 0), (DECLARED._replace(frames=3), 6), (DECLARED, 6)]


def test_a_network_has_the_window_of_its_card(folder: Path) -> None:
    write_card(folder / "model" / "card.json", window=Window(16, 2, 25.0, 0.4))
    specs = classify(
        read(folder, "{name: cnn, model: model/card.json, window: {frames: 4}}", "{name: cnn, as: still}")
    )
    assert (specs["cnn"].component.window, specs["cnn"].component.reads) == (Window(4, 2, 25.0, 0.4), 16)
    assert (specs["still"].component.window, specs["still"].windowed) == (None, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", None),
        ("ema", Ema(method="ema")),
        ("{method: ema, time_constant: 0.2}", Ema(method="ema", time_constant=0.2)),
        ("{method: hysteresis, hold: 1}", Hysteresis(method="hysteresis", hold=1)),
    ],
)
def test_smoothing_is_a_word_or_a_mapping(folder: Path, value: str, expected: object) -> None:
    config = read(folder, f"{{name: cnn, smoothing: {value}}}")
    assert config.classifiers[0].smoothing == expected
    told = classify(config)["cnn"].smoothing
    assert told == (expected.model_dump(mode="json") if expected else None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: memory, window: {frames: 7}}", "3: classifiers.0.window.frames: got 7, expected at most 6"),
        ("{name: memory, window: {frames: 0}}", "3: classifiers.0.window.frames: got 0, "),
        ("{name: memory, window: {frames: 2.5}}", "3: classifiers.0.window.frames: got 2.5, "),
        ("{name: memory, window: {max_gap: 0}}", "3: classifiers.0.window.max_gap: got 0, "),
        ("{name: memory, window: {fps: 30}}", "3: classifiers.0.window.fps: unknown key"),
        ("{name: memory, window: 5}", "3: classifiers.0.window: got 5, "),
        (
            "{name: single, window: {frames: 2}}",
            "3: classifiers.0.window: 'single' looks at single crops: it has no window; remove it",
        ),
        ("{name: cnn, window: {}}", "3: classifiers.0.window: 'cnn' looks at single crops"),
        (
            "{name: ensemble, members: [memory, single], window: {frames: 2}}",
            "3: classifiers.0.window: its members have windows of their own; set it on the member",
        ),
        (
            "{name: ensemble, members: [single, {name: memory, window: {frames: 9}}]}",
            "3: classifiers.0.members.1.window.frames: got 9, expected at most 6",
        ),
        (
            "{name: ensemble, members: [memory, {name: single, window: {frames: 2}}]}",
            "3: classifiers.0.members.1.window: 'single' looks at single crops",
        ),
        ("{name: cnn, mode: frames}", "3: classifiers.0.mode: no mode 'frames': 'cnn' has no modes; remove"),
        ("{name: cnn_lstm, mode: columns}", "3: classifiers.0.mode: no mode 'columns'; there are: rows, "),
        ("{name: memory, mode: frames}", "3: classifiers.0.mode: no mode 'frames': 'memory' has no modes"),
        (
            "{name: ensemble, members: [cnn, {name: cnn_lstm, mode: columns}]}",
            "3: classifiers.0.members.1.mode: no mode 'columns'; there are: rows, frames",
        ),
        (
            "{name: cnn_lstm, mode: frames, model: model/card.json}",
            "3: classifiers.0.mode: it names one of the plugin's own models, and 'model' another; remove one",
        ),
        ("{name: cnn, smoothing: median}", "3: classifiers.0.smoothing: got 'median', expected none, ema"),
        ("{name: cnn, smoothing: {method: ema, tau: 1}}", "3: classifiers.0.smoothing.tau: unknown key"),
        ("{name: cnn, smoothing: {hold: 1}}", "3: classifiers.0.smoothing: "),
        (
            "{name: cnn, smoothing: {method: hysteresis, margin: 2}}",
            "3: classifiers.0.smoothing.margin: got 2, expected a number < 1.0",
        ),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, entry: str, said: str) -> None:
    (line,) = wrong(folder, entry)
    assert line.startswith(said), line


def test_a_broken_temporal_card_is_one_line(folder: Path) -> None:
    path = folder / "model" / "card.json"
    window = Window(16, 2, 25.0, 0.4)
    for change, said in (
        ({"head": None}, "head: it is missing, but a temporal network, which has a window, needs it"),
        ({"features": None}, "features: it is missing, but a temporal network, which has a window, needs it"),
        ({"window": None}, "window: it is missing, but a temporal network, which has a features, needs it"),
        (
            {"window": {"frames": 0, "stride": 1, "fps": 1, "max_gap": 1}},
            "window.frames: expected `int` >= 1",
        ),
        ({"keras": {"file": "a.keras", "sha256": 64 * "0"}}, "keras_head: a temporal network has it where"),
    ):
        write_card(path, window=window)
        card = {**json.loads(path.read_text()), **change}
        path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
        (line,) = wrong(folder, "{name: cnn, model: model/card.json}")
        assert said in line, line


def test_scripts_may_set_a_window_too(folder: Path) -> None:
    from streamfer.api import WindowOptions

    registry = Registry.discover([folder / "temporal.py"])
    assert find(registry, "memory", window=WindowOptions(frames=2)).spec.window == DECLARED._replace(frames=2)


def test_the_schema_for_editors_knows_them(folder: Path) -> None:
    registry = Registry.discover([folder / "temporal.py"])
    validator = jsonschema.Draft202012Validator(schema(registry))
    good = (
        "{name: memory, window: {frames: 2}}",
        "{name: cnn, smoothing: ema}",
        "{name: cnn, smoothing: none}",
    )
    for entry in (*good, "{name: cnn, smoothing: {method: hmm, dwell: 3}}"):
        validator.validate(yaml.safe_load(written(folder, entry).read_text()))
    for entry in ("{name: memory, window: {fps: 2}}", "{name: cnn, smoothing: mean}"):
        assert not validator.is_valid(yaml.safe_load(written(folder, entry).read_text())), entry
