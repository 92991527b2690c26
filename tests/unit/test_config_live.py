"""Live streams, regions and masks in a configuration: what they come to, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfer.api import LiveOptions
from streamfer.config import Config, ConfigError, LiveConfig, load, schema
from streamfer.config.polygons import MOST
from streamfer.errors import UsageError
from streamfer.plugins import Registry
from streamfer.service import refuse_to_overwrite

REGISTRY = Registry.discover()
HALF = "[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]"
PLUGIN = """
from streamfer.api import Component, LiveOptions, NoOptions
from streamfer.hookspecs import hookimpl

class Camera(LiveOptions):
    url: str = ""

class Bare:
    def __init__(self, options):
        self.options = options

@hookimpl
def streamfer_components():
    return [
        Component("source", "camera", "for a test", ":Bare", Camera, live=True),
        Component("source", "bare", "live, without the options of live sources", ":Bare", live=True),
    ]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def read(folder: Path, *streams: str, more: str = "", secrets: Path = Path("/nowhere")) -> Config:
    """The configuration of these streams, which begin on line 3; their names are a, b, …"""
    path = folder / "c.yaml"
    names = "abcdefgh"
    lines = [f"  {name}: {{{stream}}}\n" for name, stream in zip(names, streams, strict=False)]
    path.write_text(
        f"version: 1\nstreams:\n{''.join(lines)}classifiers: [cnn]\nsinks: [console]\n"
        f"plugins: [plugin.py]\n{more}"
    )
    return load(path, registry=REGISTRY, environ={}, secrets=secrets)


def problems(folder: Path, *streams: str, more: str = "", secrets: Path = Path("/nowhere")) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder, *streams, more=more, secrets=secrets)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


# ---- live --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stream",
    [
        "source: http, url: 'http://cam/video'",
        "source: rtsp, url: 'rtsp://cam/1'",
        "source: webcam",
        "path: clip.mp4, realtime: true",
        "source: folder, path: ., pattern: clip.mp4, realtime: true",
        "source: bare",
    ],
)
def test_a_live_stream_takes_the_defaults(folder: Path, stream: str) -> None:
    config = read(folder, stream)
    assert config.streams[0].live == LiveConfig("oldest", 1.0, None, 4, 3.0, 30.0)
    assert config.live and config.give_up is None


def test_the_defaults_are_those_of_live_sources() -> None:
    usual = LiveOptions.model_validate({})
    assert (LiveConfig().stale_after, LiveConfig().retry) == (usual.stale_after, usual.retry)


def test_a_live_stream_says_how_it_is_treated(folder: Path) -> None:
    (stream,) = read(
        folder,
        "source: camera, drop: newest, max_age: 0.5, fps: 7.5, queue: 2, stale_after: 5, retry: 60",
    ).streams
    assert stream.live == LiveConfig("newest", 0.5, 7.5, 2, 5.0, 60.0)
    assert stream.source.options == {"stale_after": 5, "retry": 60}


def test_a_recording_is_not_live(folder: Path) -> None:
    config = read(folder, "path: clip.mp4", "path: clip.mp4, realtime: false", "source: camera")
    assert [stream.live is not None for stream in config.streams] == [False, False, True]
    assert not config.live


@pytest.mark.parametrize("key", ["drop: oldest", "max_age: 1", "fps: 5", "queue: 4"])
def test_what_is_for_live_streams_is_refused_for_recordings(folder: Path, key: str) -> None:
    name = key.partition(":")[0]
    assert problems(folder, "source: camera", f"path: clip.mp4, {key}") == [
        f"c.yaml:4: streams.b.{name}: is for live streams: a recording waits instead; remove it, or play the "
        "recording as if live: 'realtime: true'"
    ]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("source: camera, drop: none", "drop: got 'none', expected 'oldest' or 'newest'"),
        ("source: camera, max_age: 0", "max_age: got 0, expected a number > 0.0"),
        ("source: camera, fps: -1", "fps: got -1, expected a number > 0.0"),
        ("source: camera, queue: 0", "queue: got 0, expected a number >= 1"),
        ("source: camera, stale_after: 0", "stale_after: got 0, expected a number >= 0.2"),
        ("source: camera, max_agee: 1", "max_agee: unknown key; did you mean 'max_age'?"),
        ("source: camera, detector: haar", "detector: got 'haar', expected a mapping (key: value)"),
        ("source: camera, detector: {widht: 1}", "detector.widht: unknown key; did you mean 'width'?"),
        ("source: camera, detector: {width: 1}", "detector.width: got 1, expected a number >= 64"),
        (
            "source: camera, detector: {workers: 2}",
            "detector.workers: holds for all streams: it stands in the section 'detector'; a stream may "
            "change blur, full_every, min_face, width",
        ),
        (
            "source: camera, detector: {name: haar}",
            "detector.name: holds for all streams: it stands in the section 'detector'; a stream may "
            "change blur, full_every, min_face, width",
        ),
    ],
)
def test_a_live_stream_that_is_wrong_is_one_line(folder: Path, stream: str, said: str) -> None:
    assert problems(folder, stream) == [f"c.yaml:3: streams.a.{said}"]


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ("", "device: 0", "/dev/video0"),
        ("device: 1", "device: /dev/video1", "/dev/video1"),
        ('device: "02"', "device: 2", "/dev/video2"),
        ("device: /dev/video3", "device: /dev/../dev/video3", "/dev/../dev/video3"),
    ],
)
def test_one_camera_serves_one_stream(folder: Path, one: str, other: str, path: str) -> None:
    assert problems(folder, f"source: webcam, {one}".rstrip(", "), f"source: webcam, {other}") == [
        f"c.yaml:4: streams.b.device: {path}: streams.a reads it too; a camera serves one stream"
    ]


def test_other_cameras_and_one_address_twice_are_right(folder: Path) -> None:
    address = "source: http, url: 'http://cam/1'"
    assert len(read(folder, "source: webcam", "source: webcam, device: 1", address, address).streams) == 4


def test_neither_address_nor_device_is_taken_for_a_file(folder: Path) -> None:
    config = read(folder, "source: http, url: 'http://cam/1'", "source: webcam, device: /dev/video77")
    assert [stream.source.options for stream in config.streams] == [
        {"url": "http://cam/1"},
        {"device": "/dev/video77"},
    ]


def test_a_secret_in_an_address_is_filled_in_and_not_shown(folder: Path) -> None:
    (folder / "password").write_text("hunter2\n")
    address = "'http://me:${secret:password}@cam/1'"
    (stream,) = read(folder, f"source: http, url: {address}", secrets=folder).streams
    assert stream.source.options["url"] == "http://me:hunter2@cam/1"
    for wrong in (
        f"source: rtsp, url: {address}",
        f"source: http, url: {address}, max_age: {address}",
        "source: http, url: 'http://me:hunter2@cam:99999/1'",
        "source: http, url: 'http://cam', password: [hunter2]",
        "source: http, url: 'http://cam', 'http://me:hunter2@cam': 1",
    ):
        assert "hunter2" not in "\n".join(problems(folder, wrong, secrets=folder))


def test_only_where_all_streams_are_live_earlier_results_are_gone_on_with(folder: Path) -> None:
    (folder / "results.jsonl").write_text("{}\n")
    sinks = [{"name": "jsonl", "path": "results.jsonl"}]
    path = folder / "sinks.yaml"
    for streams, refused in (
        ({"a": {"source": "camera"}}, False),
        ({"a": {"source": "camera"}, "b": {"path": "clip.mp4"}}, True),
        ({"b": {"path": "clip.mp4"}}, True),
    ):
        data = {"version": 1, "streams": streams, "classifiers": ["cnn"], "sinks": sinks}
        path.write_text(yaml.safe_dump({**data, "plugins": ["plugin.py"]}))
        config = load(path, registry=REGISTRY)
        if refused:
            with pytest.raises(UsageError, match="is there already"):
                refuse_to_overwrite(config)
        else:
            refuse_to_overwrite(config)


# ---- a stream's own detector -------------------------------------------------------------------------------


def test_a_stream_changes_what_it_names(folder: Path) -> None:
    config = read(
        folder,
        "source: camera",
        "source: camera, detector: {width: 640, blur: 0}",
        "path: clip.mp4, detector: {full_every: 1}",
        more="detector: {width: 400, min_face: 30, workers: 2}\n",
    )
    assert [stream.width for stream in config.streams] == [400, 640, 400]
    assert [stream.faces.model_dump() for stream in config.streams] == [
        {"full_every": 12, "min_face": 30, "blur": 20},
        {"full_every": 12, "min_face": 30, "blur": 0},
        {"full_every": 1, "min_face": 30, "blur": 20},
    ]
    assert (config.detector.width, config.detector.faces.min_face) == (400, 30)


# ---- regions and masks -------------------------------------------------------------------------------------


def test_regions_and_masks(folder: Path) -> None:
    streams = read(
        folder,
        f"source: camera, regions: [{HALF}], masks: [[[0.1, 0.1], [0.2, 0.1], [1, 1]], {HALF}]",
        f"path: clip.mp4, regions: [{HALF}]",
        "path: clip.mp4, regions: [], masks: null",
    ).streams
    half = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
    assert [stream.regions for stream in streams] == [(half,), (half,), ()]
    assert [stream.masks for stream in streams] == [(((0.1, 0.1), (0.2, 0.1), (1, 1)), half), (), ()]


@pytest.mark.parametrize(
    ("polygons", "said"),
    [
        ("here", ": got 'here', expected a list"),
        (HALF, ": one polygon where a list of them is expected; put it into brackets of its own"),
        ("[3]", ".0: got 3, expected a list"),
        ("[[]]", ".0: a polygon has at least 3 corners, this one has 0"),
        ("[[[0, 0], [1, 1]]]", ".0: a polygon has at least 3 corners, this one has 2"),
        ("[[[0, 0], [1, 1], 7]]", ".0.2: got 7, expected a corner [x, y]"),
        ("[[[0, 0], [1, 1], {x: 1}]]", ".0.2: got a mapping, expected a corner [x, y]"),
        ("[[[0, 0], [1, 1], [1]]]", ".0.2: a corner is two numbers [x, y], this list has 1"),
        ("[[[0, 0], [1, 1], [1, 0, 0]]]", ".0.2: a corner is two numbers [x, y], this list has 3"),
        ("[[[0, 0], [1, 1], [1, y]]]", ".0.2.1: got 'y', expected a number"),
        (
            "[[[0, 0], [1, 0], [1.01, 1]]]",
            ".0.2.0: got 1.01, expected a share of the frame's width or height, 0 to 1",
        ),
        (
            f"[{HALF}, [[0, 0], [1, 0], [1, -0.1]]]",
            ".1.2.1: got -0.1, expected a share of the frame's width or height, 0 to 1",
        ),
        (
            "[[[0, 0], [1, 0], [nan, 1]]]",
            ".0.2.0: got 'nan', expected a share of the frame's width or height, 0 to 1",
        ),
        ("[[[0, 0], [0.5, 0.5], [1, 1]]]", ".0: the polygon has no area: its corners lie on one line"),
        (
            "[[[0, 0], [1, 1], [1, 0], [0, 1]]]",
            ".0: the polygon's sides cross; name the corners in their order around it",
        ),
        (
            "[[[0, 0], [1, 0], [1, 1], [0, 0]]]",
            ".0: the corner [0, 0] stands there twice; the last corner joins the first by itself",
        ),
        (f"[[{'[0, 0],' * (MOST + 1)}]]", f".0: {MOST + 1} entries, expected at most {MOST}"),
        (f"[{f'{HALF},' * (MOST + 1)}]", f": {MOST + 1} entries, expected at most {MOST}"),
    ],
)
@pytest.mark.parametrize("key", ["regions", "masks"])
def test_what_is_no_polygon_is_one_line(folder: Path, key: str, polygons: str, said: str) -> None:
    found = problems(folder, "source: camera", f"source: camera, {key}: {polygons}")
    assert found == [f"c.yaml:4: streams.b.{key}{said}"]


def test_each_corner_is_told_on_its_line(folder: Path) -> None:
    stream = "source: camera, regions: [[\n    [0, 0],\n    [2, 0],\n    [1, 3]]], fps: 0"
    assert [line.partition(",")[0] for line in problems(folder, stream)] == [
        "c.yaml:5: streams.a.regions.0.1.0: got 2",
        "c.yaml:6: streams.a.fps: got 0",
        "c.yaml:6: streams.a.regions.0.2.1: got 3",
    ]


def test_faces_that_do_not_count_cannot_be_blurred(folder: Path) -> None:
    stream = f"source: camera, masks: [{HALF}]"
    assert read(folder, stream, more="privacy: {blur: true}\n").streams  # the console shows no pixels
    path = folder / "c.yaml"
    path.write_text(path.read_text().replace("[console]", "[{name: video, path: v.mp4}]"))
    with pytest.raises(ConfigError) as raised:
        load(path, registry=REGISTRY)
    assert str(raised.value) == (
        f"{path}:3: streams.a.masks: the sink 'video' is to blur faces, but would show those that are left "
        "out here; do without one of the two"
    )
    path.write_text(path.read_text().replace("blur: true", "blur: false"))
    assert load(path, registry=REGISTRY).streams


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(0, 1) | st.sampled_from(["", "x", "0.5"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.just("x"), inner, max_size=1),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JUNK, JUNK, JUNK)
def test_anything_is_read_or_refused_in_lines(
    folder: Path, regions: object, masks: object, detector: object
) -> None:
    stream = {"source": "webcam", "regions": regions, "masks": masks, "detector": detector}
    data = {"version": 1, "streams": {"a": stream}, "classifiers": ["cnn"], "sinks": ["console"]}
    path = folder / "any.yaml"
    path.write_text(yaml.safe_dump(data))
    try:
        load(path, registry=REGISTRY, environ={})
    except ConfigError as error:
        assert all(line.startswith(f"{path}:") for line in str(error).splitlines())


# ---- in an editor ------------------------------------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator(schema(REGISTRY))


@pytest.mark.parametrize(
    ("stream", "fits"),
    [
        ("source: webcam, fps: 5, drop: newest, queue: 2, max_age: 0.5", True),
        (f"source: webcam, regions: [{HALF}], masks: [[[0, 0], [1, 0], [1, 1]]]", True),
        ("source: webcam, detector: {width: 640, min_face: '${FACE}'}", True),
        ("path: x, realtime: true, fps: 5", True),
        ("source: http, url: 'http://cam/1', stale_after: 5", True),
        ("source: webcam, drop: none", False),
        ("source: webcam, queue: 0", False),
        ("source: webcam, detector: {name: haar}", False),
        ("source: webcam, detector: {width: wide}", False),
        (f"source: webcam, regions: {HALF}", False),
        ("source: webcam, regions: [[[0, 0], [1, 1]]]", False),
        ("source: webcam, regions: [[[0, 0], [1, 0], [1, 1.5]]]", False),
        ("source: webcam, regions: [[[0, 0], [1, 0], [1]]]", False),
    ],
)
def test_the_schema_says_the_same(stream: str, fits: bool) -> None:
    data = yaml.safe_load(f"version: 1\nstreams: {{a: {{{stream}}}}}\nclassifiers: [cnn]\nsinks: [console]\n")
    assert (not list(VALIDATOR.iter_errors(data))) == fits
