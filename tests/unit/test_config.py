"""What a right configuration comes to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from streamfer.config import Config, ConfigError, for_recording, load
from streamfer.errors import UsageError
from streamfer.plugins import Registry, build
from streamfer.types import LABELS

REGISTRY = Registry.discover()
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = "version: 1\nstreams: {lobby: {path: clip.mp4}}\nclassifiers: [cnn]\nsinks: [console]\n"

PLUGIN = """
from pathlib import Path
from pydantic import BaseModel, Field
from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl

class Log(BaseModel):
    file: Path = Path("log.txt")

class Everything(Options):
    folder: Path = Path("made")
    extra: list[Path] = []
    named: dict[str, Path] = {}
    log: Log = Log()
    url: str = "x/y"
    optional: Path | None = None
    renamed: Path = Field(Path("r"), alias="called")

class Thing:
    def __init__(self, options):
        self.options = options

@hookimpl
def streamfer_components():
    return [
        Component("sink", "everything", "paths everywhere", ":Thing", Everything),
        Component("sink", "bare", "shows pixels, cannot blur", ":Thing", pixels=True, durable=False),
    ]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """A directory with what the configurations name."""
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    (tmp_path / "recordings" / "day 2").mkdir(parents=True)
    for name in ("b.mp4", "a.mp4", "a.mkv", "day 2/c.mp4"):
        (tmp_path / "recordings" / name).write_bytes(b"not empty")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def read(
    folder: Path,
    text: str,
    *overrides: str,
    environ: dict[str, str] | None = None,
    secrets: Path = Path("/nowhere"),
) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    return load(path, overrides=overrides, registry=REGISTRY, environ=environ or {}, secrets=secrets)


# ---- sections ----------------------------------------------------------------------------------------------


def test_a_minimal_configuration_takes_the_defaults(folder: Path) -> None:
    config = read(folder, MINIMAL)
    (stream,) = config.streams
    assert (stream.name, stream.source.name, stream.classifiers) == ("lobby", "file", ("cnn",))
    assert config.detector.spec.name == "yunet"
    assert (config.detector.width, config.detector.workers, config.detector.faces.full_every) == (320, 1, 12)
    assert config.tracker.spec.name == "sort"
    (classifier,) = config.classifiers
    assert (classifier.label, classifier.workers, classifier.labels) == ("cnn", 1, LABELS)
    assert classifier.crops == ((48, 48, 1),)
    (sink,) = config.sinks
    assert (sink.label, sink.pixels, sink.durable) == ("console", False, False)
    assert config.metrics is not None
    assert (config.metrics.host, config.metrics.port, config.metrics.configured) == ("127.0.0.1", 9108, False)
    assert not config.privacy.blur
    assert config.plugin_files == ()
    assert config.path == folder / "config.yaml"


def test_options_stand_beside_the_keys_of_the_service(folder: Path) -> None:
    config = read(
        folder,
        MINIMAL + "detector: {width: 640, score: 0.7, min_face: 30, blur: 0, full_every: 1, workers: 2}\n"
        "tracker: {name: sort, patience: 2}\n",
    )
    assert config.detector.spec.options == {"score": 0.7}
    assert (config.detector.width, config.detector.workers) == (640, 2)
    assert config.detector.faces.model_dump() == {"full_every": 1, "min_face": 30, "blur": 0}
    assert config.tracker.spec.options == {"patience": 2}


def test_a_component_without_options_is_its_name(folder: Path) -> None:
    config = read(folder, MINIMAL + "detector: haar\ntracker: sort\n")
    assert config.detector.spec.name == "haar"
    assert config.tracker.spec.name == "sort"


def test_one_plugin_can_be_two_classifiers(folder: Path) -> None:
    text = MINIMAL.replace("[cnn]", "[cnn, {name: cnn, as: other, workers: 3}]")
    config = read(folder, text)
    assert [(one.label, one.spec.name, one.workers) for one in config.classifiers] == [
        ("cnn", "cnn", 1),
        ("other", "cnn", 3),
    ]
    assert config.streams[0].classifiers == ("cnn", "other")


def test_a_stream_may_choose_its_classifiers_which_keep_their_order(folder: Path) -> None:
    text = MINIMAL.replace("[cnn]", "[cnn, {name: cnn, as: b}, {name: cnn, as: c}]")
    config = read(folder, text.replace("clip.mp4}", "clip.mp4, classifiers: [c, cnn]}"))
    assert config.streams[0].classifiers == ("cnn", "c")


def test_sinks_of_one_kind_get_labels_of_their_own(folder: Path) -> None:
    sinks = "[{name: jsonl, path: a}, {name: jsonl, path: b}, {name: jsonl, path: c, as: jsonl-2}, console]"
    config = read(folder, MINIMAL.replace("[console]", sinks))
    assert [sink.label for sink in config.sinks] == ["jsonl", "jsonl-3", "jsonl-2", "console"]


def test_flags_come_from_the_registration(folder: Path) -> None:
    config = read(
        folder, MINIMAL.replace("[console]", "[{name: video, path: v.mp4}, {name: jsonl, path: j}]")
    )
    assert [(sink.pixels, sink.durable) for sink in config.sinks] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("text", "host", "port", "configured"),
    [
        ("{listen: '0.0.0.0:80'}", "0.0.0.0", 80, True),
        ("{listen: '[::1]:9200'}", "::1", 9200, True),
        ("{listen: 'localhost:0'}", "localhost", 0, True),
        ("{}", "127.0.0.1", 9108, False),
        ("true", "127.0.0.1", 9108, False),
    ],
)
def test_where_metrics_listen(folder: Path, text: str, host: str, port: int, configured: bool) -> None:
    metrics = read(folder, MINIMAL + f"metrics: {text}\n").metrics
    assert metrics is not None
    assert (metrics.host, metrics.port, metrics.configured) == (host, port, configured)


def test_metrics_can_be_off(folder: Path) -> None:
    assert read(folder, MINIMAL + "metrics: false\n").metrics is None


def test_a_configuration_is_frozen(folder: Path) -> None:
    config = read(folder, MINIMAL)
    with pytest.raises(AttributeError):
        config.streams = ()  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.privacy.blur = True


def test_specs_survive_json(folder: Path) -> None:
    config = read(folder, MINIMAL)
    for spec in (
        config.streams[0].source,
        config.detector.spec,
        config.classifiers[0].spec,
        config.sinks[0].spec,
    ):
        assert msgspec.json.decode(msgspec.json.encode(spec), type=type(spec)) == spec


# ---- folders -----------------------------------------------------------------------------------------------


def test_a_folder_is_a_stream_per_file(folder: Path) -> None:
    text = MINIMAL.replace(
        "{path: clip.mp4}", "{source: folder, path: recordings/, classifiers: [cnn], threads: 2}"
    )
    config = read(folder, text)
    assert [stream.name for stream in config.streams] == ["lobby-a", "lobby-b"]
    for stream, name in zip(config.streams, ("a.mp4", "b.mp4"), strict=True):
        assert stream.source.name == "file"
        assert stream.source.options == {"path": str(folder / "recordings" / name), "threads": 2}


def test_names_from_a_folder_are_safe_and_unique(folder: Path) -> None:
    text = MINIMAL.replace("{path: clip.mp4}", '{source: folder, path: recordings, pattern: "**/*.*"}')
    names = [stream.name for stream in read(folder, text).streams]
    assert names == ["lobby-a", "lobby-a-2", "lobby-b", "lobby-day_2-c"]
    (folder / "recordings" / f"{'x' * 80}1.mp4").write_bytes(b"x")
    (folder / "recordings" / f"{'x' * 80}2.mp4").write_bytes(b"x")
    long = [stream.name for stream in read(folder, text).streams if "xxx" in stream.name]
    assert len(set(long)) == 2
    assert max(map(len, long)) == 64


# ---- paths -------------------------------------------------------------------------------------------------


def test_relative_paths_start_from_the_file_whatever_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (folder / "sub").mkdir()
    path = folder / "sub" / "config.yaml"
    path.write_text(
        MINIMAL.replace("clip.mp4", "../clip.mp4").replace("[console]", "[{name: jsonl, path: out/r.jsonl}]")
        + "plugins: [../plugin.py]\n"
    )
    config = load(path, overrides=["streams.second.path=../clip.mp4"], registry=REGISTRY)
    assert [stream.source.options["path"] for stream in config.streams] == [str(folder / "clip.mp4")] * 2
    assert config.sinks[0].spec.options == {"path": str(folder / "sub" / "out" / "r.jsonl")}
    assert config.plugin_files == (folder / "plugin.py",)


def test_every_path_in_options_is_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    sinks = "[{name: everything, extra: [a, /b, ~/c], named: {x: y}, log: {}, url: e/f}]"
    config = read(folder, MINIMAL.replace("[console]", sinks) + "plugins: [plugin.py]\n")
    options = config.sinks[0].spec.options
    assert options == {
        "extra": [str(folder / "a"), "/b", "/home/me/c"],
        "named": {"x": str(folder / "y")},
        "url": "e/f",
        "folder": str(folder / "made"),
        "log": {"file": str(folder / "log.txt")},
        "called": str(folder / "r"),
    }
    made = build(config.sinks[0].spec)
    assert made.options.log.file == folder / "log.txt"


# ---- plugins, privacy --------------------------------------------------------------------------------------


def test_privacy_switches_blur_on_in_what_shows_pixels(folder: Path) -> None:
    sinks = "[{name: video, path: v.mp4, blur: false}, {name: jsonl, path: j}]"
    config = read(folder, MINIMAL.replace("[console]", sinks) + "privacy: {blur: true}\n")
    assert config.privacy.blur
    assert config.sinks[0].spec.options["blur"] is True
    assert "blur" not in config.sinks[1].spec.options


def test_a_local_plugin_carries_its_file(folder: Path) -> None:
    config = read(folder, MINIMAL.replace("[console]", "[bare]") + "plugins: [./plugin.py]\n")
    assert config.sinks[0].spec.plugin_file == str(folder / "plugin.py")
    assert type(build(config.sinks[0].spec)).__name__ == "Thing"


# ---- substitution ------------------------------------------------------------------------------------------


def test_the_environment_fills_in(folder: Path) -> None:
    text = MINIMAL.replace("clip.mp4", '"${DIR}/${NAME:-clip}.mp4"') + 'detector: {width: "${WIDTH:-640}"}\n'
    config = read(folder, text, environ={"DIR": str(folder), "NAME": ""})
    assert config.streams[0].source.options["path"] == str(folder / "clip.mp4")
    assert config.detector.width == 640


def test_a_dollar_can_be_escaped(folder: Path) -> None:
    (folder / "${X}.mp4").write_bytes(b"x")
    config = read(folder, MINIMAL.replace("clip.mp4", '"$${X}.mp4"'))
    assert config.streams[0].source.options["path"] == str(folder / "${X}.mp4")


def test_a_secret_fills_in_and_does_not_show(folder: Path) -> None:
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "level").write_text("hunter2\n")
    text = (
        MINIMAL.replace("[console]", '[{name: everything, url: "${secret:level}"}]')
        + "plugins: [plugin.py]\n"
    )
    config = read(folder, text, secrets=secrets)
    assert config.sinks[0].spec.options["url"] == "hunter2"
    assert "hunter2" not in repr(config)


# ---- YAML --------------------------------------------------------------------------------------------------


def test_anchors_and_merge_keys(folder: Path) -> None:
    config = read(
        folder,
        "version: 1\n"
        "streams:\n"
        "  a: &common {path: clip.mp4, threads: 2}\n"
        "  b: *common\n"
        "  c: {<<: *common, threads: 3}\n"
        "classifiers: [cnn]\n"
        "sinks: [console]\n",
    )
    assert [stream.source.options["threads"] for stream in config.streams] == [2, 2, 3]


def test_words_are_texts_as_in_yaml_1_2(folder: Path) -> None:
    sinks = "[{name: everything, url: no}, {name: everything, url: 2026-01-02, folder: 12:30}]"
    config = read(folder, MINIMAL.replace("[console]", sinks) + "plugins: [plugin.py]\n")
    assert [sink.spec.options["url"] for sink in config.sinks] == ["no", "2026-01-02"]
    assert config.sinks[1].spec.options["folder"] == str(folder / "12:30")


def test_numbers(folder: Path) -> None:
    config = read(folder, MINIMAL + "detector: {width: 0x140, score: 6e-1, min_face: .5, blur: +2}\n")
    assert (config.detector.width, config.detector.spec.options["score"]) == (320, 0.6)
    assert (config.detector.faces.min_face, config.detector.faces.blur) == (0.5, 2)


def test_a_byte_order_mark_is_fine(folder: Path) -> None:
    (folder / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(folder / "bom.yaml", registry=REGISTRY).streams


# ---- --set -------------------------------------------------------------------------------------------------


def test_set_changes_adds_and_replaces(folder: Path) -> None:
    config = read(
        folder,
        MINIMAL,
        "detector.width=640",
        "detector.name=haar",
        "classifiers.0.workers=2",
        "sinks.1={name: jsonl, path: x.jsonl}",
        "streams.door.path=clip.mp4",
        "metrics=false",
        "privacy.blur=true",
    )
    assert (config.detector.width, config.detector.spec.name) == (640, "haar")
    assert config.classifiers[0].workers == 2
    assert [sink.label for sink in config.sinks] == ["console", "jsonl"]
    assert [stream.name for stream in config.streams] == ["lobby", "door"]
    assert config.metrics is None
    assert config.privacy.blur


def test_set_finds_stream_names_with_dots(folder: Path) -> None:
    config = read(folder, MINIMAL.replace("lobby", "cam.1"), "streams.cam.1.threads=4")
    assert [(stream.name, stream.source.options["threads"]) for stream in config.streams] == [("cam.1", 4)]


def test_set_can_make_a_whole_configuration(folder: Path) -> None:
    config = read(
        folder, "version: 1\n", "streams.a.path=clip.mp4", "classifiers=[cnn]", "sinks.0.name=console"
    )
    assert config.sinks[0].label == "console"


# ---- a recording alone -------------------------------------------------------------------------------------


def test_a_recording_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = for_recording(Path("clip.mp4"), ["cnn"], Path("out"), video=True, registry=REGISTRY)
    assert [stream.name for stream in config.streams] == ["clip"]
    assert config.streams[0].source.options == {"path": str(folder / "clip.mp4")}
    assert [(sink.label, sink.spec.options["path"]) for sink in config.sinks] == [
        ("jsonl", str(folder / "out" / "results.jsonl")),
        ("sqlite", str(folder / "out" / "results.db")),
        ("video", str(folder / "out" / "annotated.mp4")),
    ]
    assert config.path is None
    assert len(for_recording(Path("clip.mp4"), registry=REGISTRY).sinks) == 2


@pytest.mark.parametrize(
    ("file", "stream"),
    [("my clip (1).mp4", "my_clip_1_"), (".hidden.mp4", "hidden"), ("…", "_"), ("--.mp4", "recording")],
)
def test_a_recording_gives_its_stream_a_safe_name(folder: Path, file: str, stream: str) -> None:
    (folder / file).write_bytes(b"x")
    assert for_recording(folder / file, registry=REGISTRY).streams[0].name == stream


def test_what_is_wrong_with_a_recording_is_told_without_keys(folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        for_recording(folder / "gone.mp4", ["cnm"], folder, registry=REGISTRY)
    first, second = str(raised.value).splitlines()
    assert first == f"{folder}/gone.mp4: no such file"
    assert second.startswith("--classifier: no classifier 'cnm'; there are: ")
    assert second.endswith("did you mean 'cnn'?")


def test_a_classifier_that_a_command_names_twice(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^--classifier cnn_lstm:frames: named twice; .* 'as' gives each"):
        for_recording(folder / "clip.mp4", ["cnn_lstm:frames", "cnn", "cnn_lstm:frames"], registry=REGISTRY)
    modes = for_recording(folder / "clip.mp4", ["cnn_lstm", "cnn_lstm:frames"], registry=REGISTRY)
    assert [one.label for one in modes.classifiers] == ["cnn_lstm", "cnn_lstm-frames"]


# ---- the configurations that ship --------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_that_ship_are_right(path: Path) -> None:
    config = load(path, registry=REGISTRY, environ={})
    assert config.streams
    root = path.parents[1]
    for sink in config.sinks:
        if "path" in sink.spec.options:
            assert Path(sink.spec.options["path"]).is_relative_to(root / "out")


def test_there_are_configurations_for_each_purpose() -> None:
    purposes = {"demo", "recording", "folder", "compare", "webcam", "rtsp", "four-cameras"}
    assert {path.stem for path in CONFIGS} >= purposes


def test_recording_yaml_spells_out_the_defaults() -> None:
    plain, spelled = (
        load(path, registry=REGISTRY, environ={}) for path in CONFIGS if path.stem in ("demo", "recording")
    )
    assert spelled.detector.faces == plain.detector.faces
    assert (spelled.detector.width, spelled.detector.workers) == (
        plain.detector.width,
        plain.detector.workers,
    )
    assert spelled.privacy == plain.privacy
    assert spelled.metrics is not None
    assert plain.metrics is not None
    assert (spelled.metrics.host, spelled.metrics.port) == (plain.metrics.host, plain.metrics.port)
    defaults = REGISTRY.get("detector", "yunet").component.options.model_validate({}).model_dump()
    assert spelled.detector.spec.options == {"score": defaults["score"]}
