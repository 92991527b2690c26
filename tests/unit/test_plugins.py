"""Plugins: found, kept apart when broken, resolved in a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import rich.pretty
import typer
from pydantic import BaseModel

from streamfer.api import KINDS, Kind
from streamfer.config import model
from streamfer.errors import StartError, UsageError
from streamfer.plugins import (
    SERVICE_KEYS,
    ComponentSpec,
    Registry,
    build,
    load_local,
    load_network,
    local_module_name,
    option_keys,
    resolve,
    spec_of,
)
from streamfer.types import CropSpec

SOUND = """
from pathlib import Path
import numpy as np
from pydantic import SecretStr
from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl

class {name}Options(Options):
    level: int = 3
    password: SecretStr = SecretStr("")

class {name}:
    def __init__(self, options):
        self.options = options

@hookimpl
def streamfer_components():
    return [Component("{kind}", "{name}", "made for a test", ":{name}", {name}Options, labels=("a", "b"))]
"""


def sound(name: str, kind: str = "classifier") -> str:
    return SOUND.format(name=name, kind=kind)


class Site:
    """A directory on the import path into which distributions are installed by writing their metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, name: str, source: str | None, module: str | None = None) -> None:
        module = module or name.replace("-", "_")
        if source is not None:
            (self.path / f"{module}.py").write_text(source)
        info = self.path / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[streamfer]\n{name}-entry = {module}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    path = tmp_path / "site"
    path.mkdir()
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(str(path))
    yield Site(path)
    for name in set(sys.modules) - modules:
        if (path / f"{name}.py").exists():
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ---- installed distributions -------------------------------------------------------------------------------


def test_an_installed_plugin_is_found(site: Site) -> None:
    site.install("nice-plugin", sound("nice"))
    found = Registry.discover().get("classifier", "nice")
    assert (found.target, found.options_model) == ("nice_plugin:nice", "nice_plugin:niceOptions")
    assert str(found.origin) == "nice-plugin 1.2 (entry point 'nice-plugin-entry')"


def test_builtin_components_register_like_any_others() -> None:
    origins = {one.origin.distribution for one in Registry.discover().all() if one.name in ("yunet", "cnn")}
    assert origins == {"streamfer"}


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("def (", "SyntaxError"),
        ("raise RuntimeError('no\\nGPU')", "RuntimeError: no GPU"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        (None, "ModuleNotFoundError"),
        ("x = 1", "implements no hook"),
        (sound("n").replace("def streamfer_components", "def streamfer_component"), "streamfer_component"),
        (sound("n").replace("streamfer_components()", "streamfer_components(config)"), "config"),
        (sound("n").replace("    return [C", "    raise OSError('gone')\n    return [C"), "OSError: gone"),
        (sound("n").replace("    return [C", "    [C"), "returned nothing"),
        (sound("n").replace("return [C", "return [7] or [C"), "gave 7, expected"),
        (sound("n").replace('"classifier"', '"classifer"'), "unknown kind"),
        (sound("n").replace('"n"', '"n n"'), "a name is"),
        (sound("n").replace('":n"', '"n"'), "is not 'module:Class'"),
        (sound("n").replace("nOptions, l", "int, l"), "not a subclass"),
        (sound("n").replace("    level", "    workers"), "option 'workers' has the name of a key"),
        (sound("n").replace('labels=("a", "b")', ""), "declares its labels"),
        (
            sound("n").replace("    return", "    class nOptions(Options): pass\n    return"),
            "inside a function",
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_harms_no_other(site: Site, source: str | None, cause: str) -> None:
    site.install("a-broken", source)
    site.install("b-sound", sound("well"))
    registry = Registry.discover()
    (broken,) = registry.broken
    assert str(broken).startswith("a-broken 1.2 (entry point 'a-broken-entry'): ")
    assert cause in broken.cause
    assert "\n" not in broken.cause
    assert registry.get("classifier", "well")
    assert registry.get("detector", "yunet")


def test_an_absent_component_is_told_with_those_there_and_the_broken(site: Site) -> None:
    site.install("a-broken", "import no_such_library")
    with pytest.raises(UsageError) as raised:
        Registry.discover().get("tracker", "sorted")
    text = str(raised.value)
    assert text.startswith("no tracker 'sorted'; there are: sort; ")
    assert "a-broken 1.2 (entry point 'a-broken-entry'): ModuleNotFoundError: No module named" in text


def test_two_plugins_of_one_name_are_told_with_both(site: Site) -> None:
    site.install("one-plugin", sound("same"))
    site.install("two-plugin", sound("same"))
    (clash,) = Registry.discover().clashes
    assert str(clash) == (
        "two plugins offer the classifier 'same': one-plugin 1.2 (entry point 'one-plugin-entry') and "
        "two-plugin 1.2 (entry point 'two-plugin-entry'); remove or rename one"
    )


def test_one_name_for_two_kinds_is_no_clash(site: Site) -> None:
    site.install("one-plugin", sound("same"))
    site.install("two-plugin", sound("same", "sink"))
    registry = Registry.discover()
    assert registry.clashes == ()
    assert registry.get("sink", "same").target == "two_plugin:same"


def test_a_plugin_can_add_commands_and_one_that_fails_harms_no_other(site: Site) -> None:
    hook = "from streamfer.hookspecs import hookimpl\n@hookimpl\ndef streamfer_commands(app):\n    "
    site.install("a-failing", hook + "raise ValueError('no')")
    site.install("b-adding", hook + "app.command('hello')(lambda: print('hi'))")
    app = typer.Typer()
    (failed,) = Registry.discover().add_commands(app)
    assert str(failed) == "a-failing 1.2 (entry point 'a-failing-entry'): streamfer_commands: ValueError: no"
    assert [command.name for command in app.registered_commands] == ["hello"]


def test_looking_for_plugins_imports_no_component(tmp_path: Path) -> None:
    code = (
        "import sys, streamfer.config\nfrom streamfer.plugins import Registry\nRegistry.discover()\n"
        "print([name for name in ('cv2', 'av', 'ai_edge_litert', 'zmq') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# ---- local files -------------------------------------------------------------------------------------------


def test_a_local_file_is_a_plugin(tmp_path: Path) -> None:
    file = write(tmp_path / "my plugin.py", sound("mine"))
    found = Registry.discover([file]).get("classifier", "mine")
    assert found.target == f"{local_module_name(file)}:mine"
    assert str(found.origin) == str(file)


def test_the_same_local_file_is_loaded_once(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", sound("mine"))
    registry = Registry.discover([file, file]).with_files([file])
    assert registry.clashes == ()
    assert load_local(file) is load_local(file)


def test_files_of_one_name_in_two_directories_are_two_modules(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "mine.py", sound(f"mine_{name}"))
    registry = Registry.discover([tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py"])
    assert {"mine_a", "mine_b"} <= set(registry.names("classifier"))


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("gone.py", None, "no such file"),
        ("data.txt", "x", "not a Python file"),
        ("bad.py", "import no_such_library", "No module named 'no_such_library'"),
    ],
)
def test_a_local_file_that_cannot_be_loaded_is_reported(
    tmp_path: Path, name: str, text: str | None, cause: str
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    (broken,) = Registry.discover([file]).broken
    assert str(broken).startswith(f"{file}: ")
    assert cause in broken.cause
    assert local_module_name(file) not in sys.modules


# ---- networks ----------------------------------------------------------------------------------------------

NETWORK = """
from streamfer.api import Component, Network, Options, network
from streamfer.hookspecs import hookimpl

class Shape(Options):
    width: int = 3

def make(options, crop, labels):
    return options.width, crop, labels

@hookimpl
def streamfer_components():
    return [{registration}]
"""
SOUND_NETWORK = 'network("net", "made for a test", build=":make", options=Shape{more})'


def network_file(path: Path, registration: str = SOUND_NETWORK, more: str = "") -> Path:
    return write(path / "net.py", NETWORK.format(registration=registration.format(more=more)))


def test_a_network_of_a_local_file_can_be_built(tmp_path: Path) -> None:
    found = Registry.discover([network_file(tmp_path)]).get("classifier", "net")
    assert found.component.network is not None
    made = load_network(found)(found.component.network.options(), CropSpec(), 4)
    assert made == (3, CropSpec(), 4)
    assert (found.target, found.options_model) == (
        "streamfer.inference.network:NetworkClassifier",
        "streamfer.api:ServedModel",
    )


def test_a_network_is_given_its_own_model_unless_another_is_named(tmp_path: Path) -> None:
    bare = Registry.discover([network_file(tmp_path)]).get("classifier", "net")
    assert spec_of(bare, {}).options == {}
    (tmp_path / "b").mkdir()
    file = network_file(tmp_path / "b", more=', card="a.package:card.json"')
    found = Registry.discover([file]).get("classifier", "net")
    assert spec_of(found, {"runtime": "litert"}).options == {
        "runtime": "litert",
        "model": "a.package:card.json",
    }
    assert spec_of(found, {"model": None}).options == {"model": "a.package:card.json"}
    assert spec_of(found, {"model": "other.json"}).options == {"model": "other.json"}


@pytest.mark.parametrize(
    ("registration", "cause"),
    [
        ('network("net", "", build="make")', "build 'make' is not 'module:function'"),
        ('network("net", "", build=":make", options=dict)', "the network's options <class 'dict'> is not"),
        (
            'Component("classifier", "net", "", ":make", labels=("a",), network=Network(":make"))',
            "a network is a classifier whose options are a streamfer.api.ServedModel",
        ),
    ],
)
def test_a_network_that_is_registered_wrongly(tmp_path: Path, registration: str, cause: str) -> None:
    (broken,) = Registry.discover([network_file(tmp_path, registration)]).broken
    assert "classifier 'net': " in broken.cause and cause in broken.cause


def test_a_network_that_cannot_be_built_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for build_function, said in (
        (":nothing", "has no 'nothing'; repair or reinstall the plugin"),
        ("no_such_module:make", "cannot import no_such_module:make: ModuleNotFoundError: No module named"),
        ("streamfer.types:LABELS", "streamfer.types:LABELS is not a function"),
    ):
        folder = tmp_path / build_function.strip(":").replace(":", "_")
        folder.mkdir()
        registered = Registry.discover(
            [network_file(folder, f'network("net", "", build="{build_function}")')]
        ).get("classifier", "net")
        with pytest.raises(StartError, match=said):
            load_network(registered)
    yunet = Registry.discover().get("detector", "yunet")
    with pytest.raises(UsageError, match="the detector 'yunet' is no network: there is nothing to train"):
        load_network(yunet)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(UsageError, match=r"needs keras: pip install 'streamfer\[train\]'"):
        load_network(registered)


# ---- in a worker -------------------------------------------------------------------------------------------


def test_a_worker_builds_a_local_component_from_json(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", sound("mine"))
    registered = Registry.discover([file]).get("classifier", "mine")
    spec = spec_of(registered, {"level": 5, "password": "hunter2"})
    code = (
        "import sys, msgspec\nfrom streamfer.plugins import ComponentSpec, build\n"
        "made = build(msgspec.json.decode(sys.stdin.buffer.read(), type=ComponentSpec))\n"
        "print(type(made).__name__, made.options.level, made.options.password.get_secret_value())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.json.encode(spec),
        capture_output=True,
        check=True,
        timeout=60,
        cwd="/",
    )
    assert done.stdout.decode().split() == ["mine", "5", "hunter2"]


def spec(**changes: object) -> ComponentSpec:
    fields = {
        "kind": "source",
        "name": "file",
        "target": "streamfer.sources.file:FileSource",
        "options_model": "streamfer.sources:FileOptions",
        "options": {"path": "a.mp4"},
    }
    return msgspec.convert(fields | changes, ComponentSpec)


def test_resolving_imports_only_what_is_needed() -> None:
    code = (
        "import sys\nfrom streamfer.plugins import resolve\nresolve('streamfer.sources:FileOptions')\n"
        "print([name for name in ('cv2', 'av', 'streamfer.builtin') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:X", "cannot import no_such_module:X: ModuleNotFoundError: No module named"),
        ("streamfer.sources:Nothing", "streamfer.sources has no 'Nothing'"),
        ("streamfer.types:LABELS", "is not a class"),
    ],
)
def test_what_cannot_be_resolved_is_one_line(target: str, said: str) -> None:
    with pytest.raises(StartError, match=said) as raised:
        resolve(target)
    assert "\n" not in str(raised.value)


def test_a_module_that_fails_in_the_worker_is_one_line(site: Site) -> None:
    (site.path / "fails_late.py").write_text("raise RuntimeError('no\\nGPU')")
    with pytest.raises(StartError, match="cannot import fails_late:X: RuntimeError: no GPU"):
        resolve("fails_late:X")


def test_options_are_validated_again_without_telling_their_values() -> None:
    with pytest.raises(StartError, match="source 'file': threads: ") as raised:
        build(spec(options={"path": "a.mp4", "threads": "hunter2"}))
    assert "hunter2" not in str(raised.value)


def test_a_spec_does_not_show_its_options() -> None:
    secret = spec(options={"path": "hunter2"})
    assert "path" in repr(secret)
    assert "hunter2" not in repr(secret) + str([secret]) + rich.pretty.pretty_repr(secret)
    assert json.loads(msgspec.json.encode(secret))["options"] == {"path": "hunter2"}


def test_service_keys_are_those_of_the_sections() -> None:
    sections: dict[Kind, type[BaseModel]] = {
        "source": model.StreamKeys,
        "detector": model.DetectorKeys,
        "tracker": model.TrackerKeys,
        "classifier": model.ClassifierKeys,
        "sink": model.SinkKeys,
    }
    assert set(sections) == set(KINDS)
    assert {kind: option_keys(section) for kind, section in sections.items()} == SERVICE_KEYS
