"""What is wrong with a configuration is told at once, each with file, line and key, and without passwords."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfer.config import ConfigError, load
from streamfer.config.document import MAX_BYTES
from streamfer.errors import UsageError
from streamfer.plugins import Registry

REGISTRY = Registry.discover()
THERE = ", ".join(REGISTRY.names("classifier"))

PLUGIN = """
from pydantic import field_validator
from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl

class CheckedOptions(Options):
    password: str = ""
    port: int = 1
    url: str = ""

    @field_validator("url")
    @classmethod
    def check(cls, value):
        if "bad" in value:
            raise ValueError(f"cannot use {value}")
        return value

class Thing:
    def __init__(self, options):
        self.options = options

@hookimpl
def streamfer_components():
    return [
        Component("sink", "checked", "for a test", ":Thing", CheckedOptions),
        Component("sink", "bare", "shows pixels, cannot blur", ":Thing", pixels=True, durable=False),
    ]
"""
MINIMAL = """version: 1
streams:
  lobby: {path: clip.mp4}
classifiers: [cnn]
sinks:
  - console
plugins: [plugin.py]
"""
"""Seven lines: what a test adds stands on line 8."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def problems(
    folder: Path,
    text: str | bytes,
    *overrides: str,
    environ: dict[str, str] | None = None,
    secrets: Path = Path("/nowhere"),
) -> list[str]:
    """The lines of the error, the folder's name taken out."""
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as raised:
        load(path, overrides=overrides, registry=REGISTRY, environ=environ or {}, secrets=secrets)
    assert raised.value.status == UsageError.status == 2
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def changed(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


# ---- one thing wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # unknown keys
        (
            changed("{path", "{sorce: file, path"),
            "c.yaml:3: streams.lobby.sorce: unknown key; did you mean 'source'?",
        ),
        (MINIMAL + "detektor: yunet\n", "c.yaml:8: detektor: unknown key; did you mean 'detector'?"),
        (
            MINIMAL + "detector:\n  width: 320\n  scor: 0.5\n",
            "c.yaml:10: detector.scor: unknown key; did you mean 'score'?",
        ),
        (MINIMAL + "privacy: {hide: true}\n", "c.yaml:8: privacy.hide: unknown key; expected one of blur"),
        (
            changed("- console", "- {name: console, path: x}"),
            "c.yaml:6: sinks.0.path: unknown key; expected one of as, name, refresh",
        ),
        # types and ranges
        (
            MINIMAL + "detector: {width: wide}\n",
            "c.yaml:8: detector.width: got 'wide', expected a whole number",
        ),
        (MINIMAL + "detector: {width: 7}\n", "c.yaml:8: detector.width: got 7, expected a number >= 64"),
        (MINIMAL + "detector: {score: }\n", "c.yaml:8: detector.score: got nothing, expected a number"),
        (MINIMAL + "detector: [yunet]\n", "c.yaml:8: detector: got a list, expected a mapping"),
        (MINIMAL + "detector: {width: 1.5}\n", "c.yaml:8: detector.width: got 1.5, expected a whole number"),
        (
            MINIMAL + "privacy: {blur: perhaps}\n",
            "c.yaml:8: privacy.blur: got 'perhaps', expected true or false",
        ),
        (
            changed("- console", "- {name: checked, password: 123}"),
            "c.yaml:6: sinks.0.password: got a value that is not shown, expected a text (put it in quotes)",
        ),
        (
            changed("- console", "- {name: video, path: v, codec: x265}"),
            "c.yaml:6: sinks.0.codec: got 'x265', expected 'libx264' or 'mpeg4'",
        ),
        (
            changed("- console", "- {name: checked, url: bad}"),
            "c.yaml:6: sinks.0.url: cannot use bad",
        ),
        (
            changed("classifiers: [cnn]", "classifiers: cnn"),
            "c.yaml:4: classifiers: got 'cnn', expected a list: classifiers: [cnn]",
        ),
        (changed("[cnn]", "[5]"), "c.yaml:4: classifiers.0: got 5, expected a mapping"),
        (
            MINIMAL + "metrics: {listen: 9108}\n",
            "c.yaml:8: metrics.listen: got 9108, expected a text (put it in quotes)",
        ),
        (MINIMAL + "metrics: 7\n", "c.yaml:8: metrics: got 7, expected a mapping or false"),
        (
            MINIMAL + "metrics: {listen: 'localhost:70000'}\n",
            "c.yaml:8: metrics.listen: got 'localhost:70000', expected HOST:PORT, such as 127.0.0.1:9108",
        ),
        # missing things
        (
            changed("- console", "- {name: jsonl}"),
            "c.yaml:6: sinks.0.path: missing key",
        ),
        (changed("- console", "- {path: x}"), "c.yaml:6: sinks.0.name: missing key"),
        (
            changed("sinks:\n  - console\n", "sinks: []\n"),
            "c.yaml:5: sinks: the list is empty; expected at least one: sinks: [console]",
        ),
        (
            changed("sinks:\n  - console\n", ""),
            "c.yaml:1: sinks: missing key; expected a list: sinks: [console]",
        ),
        (
            changed("streams:\n  lobby: {path: clip.mp4}\n", ""),
            "c.yaml:1: streams: missing key; expected streams by name: 'lobby: {source: file, path: "
            "clip.mp4}'",
        ),
        (
            changed("version: 1\n", ""),
            "c.yaml:1: version: missing key; start the file with 'version: 1'",
        ),
        (
            changed("version: 1", "version: 2"),
            "c.yaml:1: version: got 2, expected 1, the version that this streamfer reads",
        ),
        # names
        (
            MINIMAL + "tracker: sorrt\n",
            "c.yaml:8: tracker.name: no tracker 'sorrt'; there are: sort; did you mean 'sort'?",
        ),
        (
            changed("{path", "{classifiers: [cnn, cnm], path"),
            "c.yaml:3: streams.lobby.classifiers.1: 'cnm' is not in 'classifiers'; did you mean 'cnn'?",
        ),
        (
            changed("[cnn]", "[cnn, cnn]"),
            "c.yaml:4: classifiers.1: a second classifier 'cnn' (the first is classifiers.0); name it with "
            "'as'",
        ),
        (
            changed("[cnn]", "[{name: cnn, as: a b}]"),
            "c.yaml:4: classifiers.0.as: got 'a b', expected 1 to 64 letters, digits, '_', '.' or '-', the "
            "first no "
            "'.' or '-'",
        ),
        (
            changed("lobby", "front door"),
            "c.yaml:3: streams.front door: not a name for a stream; expected 1 to 64 letters, digits, '_', "
            "'.' or "
            "'-', the first no '.' or '-'",
        ),
        (
            changed("- console", "- console\n  - console"),
            "c.yaml:7: sinks.1: the same sink as sinks.0; remove one",
        ),
        (
            changed("- console", "- {name: jsonl, path: a, as: x}\n  - {name: jsonl, path: b, as: x}"),
            "c.yaml:7: sinks.1.as: 'x' is the name of sinks.0 too",
        ),
        # files
        (changed("clip.mp4", "gone.mp4"), "c.yaml:3: streams.lobby.path: gone.mp4: no such file"),
        (changed("clip.mp4", "empty.mp4"), "c.yaml:3: streams.lobby.path: empty.mp4: the file is empty"),
        (
            changed("clip.mp4", "empty"),
            "c.yaml:3: streams.lobby.path: empty: a directory; expected a file (all files of a directory: "
            "'source: "
            "folder')",
        ),
        (
            changed("{path: clip.mp4", "{source: folder, path: empty"),
            "c.yaml:3: streams.lobby: empty: no file matches '*.mp4'",
        ),
        (
            changed("{path: clip.mp4", "{source: folder, path: gone"),
            "c.yaml:3: streams.lobby.path: gone: no such folder",
        ),
        (
            changed("{path: clip.mp4", "{source: folder, path: empty, pattern: /x/*"),
            "c.yaml:3: streams.lobby.pattern: non-relative patterns are unsupported; expected such as "
            "'*.mp4'",
        ),
        (
            changed("- console", "- {name: jsonl, path: clip.mp4}"),
            "c.yaml:6: sinks.0.path: clip.mp4: streams.lobby reads it; choose another file",
        ),
        (
            changed("- console", "- {name: jsonl, path: o}\n  - {name: sqlite, path: ./empty/../o}"),
            "c.yaml:7: sinks.1.path: o: sinks.0 writes it; choose another file",
        ),
        (
            changed("[plugin.py]", "[plugin.py, 7]"),
            "c.yaml:7: plugins.1: got 7, expected a path",
        ),
        (
            changed("[plugin.py]", "[gone.py]"),
            "c.yaml:7: plugins.0: cannot load the plugin: gone.py: FileNotFoundError: no such file: gone.py",
        ),
        (
            changed("- console", "- bare") + "privacy: {blur: true}\n",
            "c.yaml:6: sinks.0: privacy.blur is on, but the sink 'bare' cannot blur; remove it",
        ),
        (changed("clip.mp4", "~nobody-here/x"), "c.yaml:3: streams.lobby.path: ~nobody-here/x: no such file"),
        (
            changed("clip.mp4", '"a\\0b"'),
            "c.yaml:3: streams.lobby.path: a text with a NUL character, which no option can use",
        ),
        # YAML
        ("", "c.yaml:1: the file is empty; a configuration starts with 'version: 1'"),
        ("# nothing\n", "c.yaml:1: the file is empty; a configuration starts with 'version: 1'"),
        ("- a\n", "c.yaml:1: got a list, expected a mapping that starts with 'version: 1'"),
        ("hello", "c.yaml:1: got 'hello', expected a mapping that starts with 'version: 1'"),
        (
            changed("[cnn]", "[cnn"),
            "c.yaml:5: column 6: broken YAML: while parsing a flow sequence expected ',' or ']', but got ':'",
        ),
        (
            "version: 1\n\tstreams: {}\n",
            "c.yaml:2: column 1: broken YAML: while scanning for the next token found character '\\t' that "
            "cannot "
            "start any token; indent with spaces",
        ),
        (
            changed("clip.mp4", "${CLIP}"),
            "c.yaml:3: column 18: broken YAML: while parsing a flow mapping expected ',' or '}', but got "
            "'{'; inside "
            "{ and [ a ${…} stands in quotes".replace("{ and [", "{ } and [ ]"),
        ),
        (
            MINIMAL + "---\nversion: 1\n",
            "c.yaml:8: column 1: broken YAML: expected a single document in the stream but found another "
            "document",
        ),
        (
            MINIMAL + "detector: {width: 320}\ndetector: {}\n",
            "c.yaml:9: detector: the key stands here a second time; the first is on line 8",
        ),
        (MINIMAL + "tracker: *gone\n", "c.yaml:8: column 10: broken YAML: found undefined alias 'gone'"),
        (MINIMAL + "privacy: &p {x: *p}\n", "c.yaml:8: privacy.x: an alias that contains itself"),
        (
            MINIMAL + "tracker: !!python/name:os.system {}\n",
            "c.yaml:8: tracker: the tag !!python/name:os.system is not used here; write the plain value",
        ),
        (
            MINIMAL + "detector: {width: !!int wide}\n",
            "c.yaml:8: detector.width: the tag !!int is not used here; write the plain value",
        ),
        (MINIMAL + "? [a]\n: 1\n", "c.yaml:8: a key must be a plain word"),
        (MINIMAL + "privacy: {<<: 7}\n", "c.yaml:8: privacy.<<: expected an alias of a mapping"),
        (b"version: 1\nstreams: \xff\n", "c.yaml:2: not UTF-8: byte 0xff at offset 20; save it as UTF-8"),
        (b"version: 1\nx: \x07\n", "c.yaml:2: the character U+0007 is not allowed in YAML"),
        (b"#" * (MAX_BYTES + 1), "c.yaml: larger than 256 KiB, which is no configuration for streamfer"),
    ],
)
def test_it_is_one_line(folder: Path, text: str | bytes, said: str) -> None:
    assert problems(folder, text) == [said]


def test_a_missing_configuration(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"gone.yaml: cannot read the configuration: no such file or directory$"
    ):
        load(folder / "gone.yaml", registry=REGISTRY)
    with pytest.raises(ConfigError, match=r": cannot read the configuration: is a directory$"):
        load(folder, registry=REGISTRY)


def test_nesting_and_aliases_are_bounded(folder: Path) -> None:
    (deep,) = problems(folder, "a: " + "[" * 5000)
    assert deep.startswith("c.yaml:1: column ")
    assert deep.endswith("nested more than 32 deep")
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    (line,) = problems(folder, bomb)
    assert line.endswith("more than 20000 values once aliases are expanded; use fewer aliases")
    merged = "m0: &m0 {a: 1}\n" + "".join(
        f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 25)
    )
    (line,) = problems(folder, merged)
    assert line.endswith("more than 20000 values once aliases are expanded; use fewer aliases")


# ---- several things wrong ----------------------------------------------------------------------------------


def test_everything_is_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    found = problems(
        folder,
        """version: 1
streams:
  lobby: {sorce: file, path: clip.mp4}
  door:
    path: gone.mp4
    classifiers: [cnm]
  lobby: {path: clip.mp4}
detector:
  width: wide
  scor: 0.5
tracker: kalman
classifiers:
  - cnn
  - {name: resnet, workers: 0}
sinks:
  - {name: jsonl}
  - {name: video, path: v.mp4, crf: 99}
metrics: {listen: here}
privacy: {blur: 3}
wat: 1
""",
        "detector.workers=many",
        "nonsense",
    )
    assert found == [
        "c.yaml:3: streams.lobby.sorce: unknown key; did you mean 'source'?",
        "c.yaml:5: streams.door.path: gone.mp4: no such file",
        "c.yaml:6: streams.door.classifiers.0: 'cnm' is not in 'classifiers'; did you mean 'cnn'?",
        "c.yaml:7: streams.lobby: the key stands here a second time; the first is on line 3",
        "c.yaml:9: detector.width: got 'wide', expected a whole number",
        "c.yaml:10: detector.scor: unknown key; did you mean 'score'?",
        "c.yaml:11: tracker.name: no tracker 'kalman'; there are: sort",
        f"c.yaml:14: classifiers.1.name: no classifier 'resnet'; there are: {THERE}",
        "c.yaml:14: classifiers.1.workers: got 0, expected a number >= 1",
        "c.yaml:16: sinks.0.path: missing key",
        "c.yaml:17: sinks.1.crf: got 99, expected a number <= 51",
        "c.yaml:18: metrics.listen: got 'here', expected HOST:PORT, such as 127.0.0.1:9108",
        "c.yaml:19: privacy.blur: got 3, expected true or false",
        "c.yaml:20: wat: unknown key; expected one of classifiers, detector, metrics, plugins, privacy, "
        "sinks, "
        "streams, tracker, version",
        "--set detector.workers: got 'many', expected a whole number",
        "--set nonsense: expected key=value, such as detector.width=640",
    ]


def test_a_value_used_in_two_places_by_an_alias_is_told_where_it_stands(folder: Path) -> None:
    text = changed(
        "  lobby: {path: clip.mp4}", "  a: &a {path: clip.mp4, threads: 0}\n  b: {<<: *a}\n  c: *a"
    )
    assert problems(folder, text) == [
        "c.yaml:3: streams.a.threads: got 0, expected a number >= 1",
        "c.yaml:3: streams.b.threads: got 0, expected a number >= 1",
        "c.yaml:3: streams.c.threads: got 0, expected a number >= 1",
    ]


def test_two_streams_of_one_name_from_a_folder(folder: Path) -> None:
    text = changed("  lobby: {", "  all-clip: {path: clip.mp4}\n  all: {source: folder, pattern: clip.*, ")
    text = text.replace("path: clip.mp4}\nclassifiers", "path: .}\nclassifiers")
    assert problems(folder, text) == [
        "c.yaml:4: streams.all: a second stream 'all-clip' (the first is from streams.all-clip); rename one"
    ]


def test_one_mistake_is_told_once(folder: Path) -> None:
    text = changed("[cnn]", "[cnn, {name: resnet, as: mine}]").replace("{path", "{classifiers: [mine], path")
    assert problems(folder, text) == [
        f"c.yaml:4: classifiers.1.name: no classifier 'resnet'; there are: {THERE}"
    ]
    text = changed("classifiers: [cnn]", "classifiers: cnn").replace("{path", "{classifiers: [cnn], path")
    assert len(problems(folder, text)) == 1


def test_each_plugin_file_is_told_where_it_stands(folder: Path) -> None:
    text = changed("[plugin.py]", "\n  - 7\n  - gone.py\n  - plugin.py\n  - gone.py")
    assert [line.partition(" cannot")[0] for line in problems(folder, text)] == [
        "c.yaml:8: plugins.0: got 7, expected a path",
        "c.yaml:9: plugins.1:",
    ]


# ---- --set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("detector.widht=3", "--set detector.widht: unknown key; did you mean 'width'?"),
        ("detector={widht: 3}", "--set detector: detector.widht: unknown key; did you mean 'width'?"),
        ("sinks.5.name=x", "--set sinks.5.name: 'sinks' is a list; expected a number from 0 to 1, got '5'"),
        ("sinks.x=1", "--set sinks.x: 'sinks' is a list; expected a number from 0 to 1, got 'x'"),
        ("version.x=1", "--set version.x: 'version' has no keys below it"),
        ("detector=[", "--set detector: column 2: broken YAML: while parsing a flow node expected the node "),
        ("=1", "--set =1: expected key=value, such as detector.width=640"),
        (
            "tracker.name=${NOPE}",
            "--set tracker.name: the environment variable NOPE is not set; set it, or write ",
        ),
        ("streams.lobby.path=gone", "--set streams.lobby.path: gone: no such file"),
        ("sinks.1.name=jsonl", "--set sinks.1.name: sinks.1.path: missing key"),
        ("sinks.0.password=hunter2", "--set sinks.0.password: unknown key; "),
    ],
)
def test_what_is_wrong_with_set_names_it(folder: Path, setting: str, said: str) -> None:
    (found,) = problems(folder, MINIMAL, setting)
    assert found.startswith(said)
    assert "hunter2" not in found


# ---- plugins -----------------------------------------------------------------------------------------------


def test_a_name_that_two_plugins_have_is_told_with_both(folder: Path) -> None:
    (folder / "again.py").write_text(PLUGIN.replace("bare", "bare2").replace('"checked"', '"jsonl"'))
    (found,) = problems(folder, changed("[plugin.py]", "[plugin.py, again.py]"))
    assert found == (
        f"c.yaml:7: plugins.1: two plugins offer the sink 'jsonl': {REGISTRY.get('sink', 'jsonl').origin} "
        f"and "
        "again.py; remove or rename one"
    )


def test_a_broken_plugin_matters_only_where_its_component_may_be_meant(folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_library")
    registry = REGISTRY.with_files([folder / "broken.py"])
    good = folder / "good.yaml"
    good.write_text(MINIMAL)
    assert load(good, registry=registry).sinks
    bad = folder / "bad.yaml"
    bad.write_text(MINIMAL + "tracker: mine\n")
    with pytest.raises(ConfigError) as raised:
        load(bad, registry=registry)
    assert str(raised.value).endswith(
        f"no tracker 'mine'; there are: sort; these plugins could not be loaded: {folder}/broken.py: "
        "ModuleNotFoundError: No module named 'no_such_library'"
    )


# ---- environment and secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${PORT}", "the environment variable PORT is not set; set it, or write ${PORT:-default}"),
        ("${secret:port}", "the secret port cannot be read: No such file or directory: secrets/port"),
        ("${secret:../clip.mp4}", "a '${' without an end or a name; expected ${NAME}, "),
        ("${", "a '${' without an end or a name; expected ${NAME}, "),
        ("${secret:binary}", "the secret binary is not UTF-8: secrets/binary"),
        ("${secret:large}", "the secret large is larger than 64 KiB: secrets/large"),
    ],
)
def test_what_cannot_be_filled_in_is_told_once(folder: Path, value: str, said: str) -> None:
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "binary").write_bytes(b"\xff")
    (secrets / "large").write_bytes(b"x" * 100_000)
    text = changed("- console", f'- {{name: checked, port: "{value}"}}')
    (found,) = problems(folder, text, secrets=secrets)
    assert found.startswith(f"c.yaml:6: sinks.0.port: {said}")


@pytest.mark.parametrize(
    "entry",
    [
        'port: "${VALUE}"',
        'url: "bad ${VALUE}"',
        'as: "${VALUE} x"',
        '"${VALUE}": 1, port: "${VALUE}"',
    ],
)
@pytest.mark.parametrize("value", ["PASSWORD", "secret:password"])
def test_what_was_filled_in_is_never_shown(folder: Path, entry: str, value: str) -> None:
    (folder / "password").write_text("hunter2\n")
    text = changed("- console", f"- {{name: checked, {entry.replace('VALUE', value)}}}")
    found = problems(folder, text, environ={"PASSWORD": "hunter2"}, secrets=folder)
    if value == "PASSWORD" and entry.startswith("as"):
        return  # a name is no password, and the one who set the variable wants to see it
    assert "hunter2" not in "\n".join(found)
    assert f"${{{value}}}" in "\n".join(found)


def test_a_secret_in_a_name_or_path_is_not_shown_either(folder: Path) -> None:
    (folder / "password").write_text("hunter2\n")
    text = changed("clip.mp4", '"${secret:password}.mp4"') + 'tracker: "${secret:password}"\n'
    text = text.replace(
        "- console", '- {name: jsonl, path: "${secret:password}"}\n  - {name: sqlite, path: "hunter2"}'
    )
    found = "\n".join(problems(folder, text, secrets=folder))
    assert "streams.lobby.path: ${secret:password}.mp4: no such file" in found
    assert "no tracker '${secret:password}'" in found
    assert "hunter2" not in found


def test_the_password_in_an_address_is_not_shown(folder: Path) -> None:
    text = changed("- console", "- {name: checked, port: 'rtsp://me:hunter2@camera/1'}")
    assert problems(folder, text) == [
        "c.yaml:6: sinks.0.port: got 'rtsp://…@camera/1', expected a whole number"
    ]


# ---- any input ---------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*"\n: -[]{}&*!|>'\"%@`,#?~\té\x85", "\n  ", "<<", "&a ", "*a", "${X}", "${", "!!", *MINIMAL.split()]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.lists(PIECES, max_size=60).map(lambda pieces: "".join(pieces).encode()), st.binary(max_size=80)
    )
)
def test_any_file_is_read_or_refused_with_lines_that_name_it(folder: Path, content: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    try:
        load(path, registry=REGISTRY, environ={})
    except ConfigError as error:
        for line in str(error).splitlines():
            assert line.startswith(f"{path}:"), line
