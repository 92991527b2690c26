"""Networks in a configuration: labels and crops from the card, and what is wrong with a line and a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamfer.config import Config, ConfigError, load
from streamfer.inference.card import locate
from streamfer.plugins import Registry
from streamfer.types import LABELS, CropSpec
from tests.networks import FOUR, write_card
from tests.service import streamfer, with_path

SHIPPED = "streamfer_classifiers.cnn:card.json"
PLUGIN = """
from streamfer.api import Component, network
from streamfer.hookspecs import hookimpl

@hookimpl
def streamfer_components():
    return [network("bare", "a network that ships no model", build=":build")]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    write_card(tmp_path / "models" / "card.json", keras={"file": "small.keras", "sha256": "1" * 64})
    return tmp_path


def read(folder: Path, *classifiers: dict[str, Any], overrides: tuple[str, ...] = ()) -> Config:
    """The third line of the file has the first classifier."""
    entries = "".join(f"\n  - {json.dumps(one)}" for one in classifiers)
    (folder / "config.yaml").write_text(
        f"version: 1\nclassifiers:{entries}\nstreams: {{a: {{path: clip.mp4}}}}\nsinks: [console]\n"
        "plugins: [plugin.py]\n"
    )
    return load(folder / "config.yaml", overrides=overrides, registry=Registry.discover(), environ={})


def wrong(folder: Path, *classifiers: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        read(folder, *classifiers)
    (problem,) = str(raised.value).replace(f"{folder}/", "").splitlines()
    return problem.removeprefix("config.yaml:")


def test_a_network_serves_its_own_model(folder: Path) -> None:
    (one,) = read(folder, {"name": "cnn"}).classifiers
    assert one.spec.options == {"model": SHIPPED}
    assert (one.labels, one.crops) == (LABELS, (CropSpec(48, 48, 1),))


def test_labels_and_crop_are_those_of_the_card(folder: Path) -> None:
    own, other = read(
        folder, {"name": "cnn"}, {"name": "cnn", "as": "four", "model": "models/card.json"}
    ).classifiers
    assert (own.labels, own.crops) == (LABELS, (CropSpec(48, 48, 1),))
    assert (other.labels, other.crops) == (FOUR, (CropSpec(24, 32, 3),))


@pytest.mark.parametrize(
    "named", ["models/card.json", "./models/../models/card.json", "{folder}/models/card.json"]
)
def test_paths_start_from_the_file(folder: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    named = named.format(folder=folder)
    (one,) = read(folder, {"name": "cnn", "model": named}).classifiers
    assert one.spec.options["model"] == str(folder / "models" / "card.json")
    (one,) = read(folder, {"name": "cnn"}, overrides=(f"classifiers.0.model={named}",)).classifiers
    assert one.spec.options["model"] == str(folder / "models" / "card.json")


def test_a_package_stays_one(folder: Path) -> None:
    (one,) = read(folder, {"name": "bare", "model": SHIPPED}).classifiers
    assert (one.spec.options["model"], one.labels) == (SHIPPED, LABELS)


def test_a_keras_file_has_its_card_beside_it(folder: Path) -> None:
    (folder / "models" / "small.keras").touch()
    entry = {"name": "bare", "model": "models/small.keras", "runtime": "tensorflow"}
    (one,) = read(folder, entry).classifiers
    assert one.spec.options == {"model": str(folder / "models" / "small.keras"), "runtime": "tensorflow"}
    assert one.labels == FOUR


# ---- what is wrong -----------------------------------------------------------------------------------------


def test_a_network_without_a_model_needs_one(folder: Path) -> None:
    said = "3: classifiers.0.model: missing key; the plugin ships no trained model: name an exported one"
    assert wrong(folder, {"name": "bare"}).startswith(said)
    assert wrong(folder, {"name": "bare", "model": None}).startswith(said)


def test_a_card_that_cannot_be_read(folder: Path) -> None:
    assert wrong(folder, {"name": "cnn"}, {"name": "cnn", "as": "b", "model": "gone.json"}) == (
        "4: classifiers.1.model: gone.json: the model card cannot be read: No such file or directory"
    )
    write_card(folder / "models" / "card.json", labels=["a", "a"])
    assert wrong(folder, {"name": "cnn", "model": "models/card.json"}) == (
        "3: classifiers.0.model: models/card.json: not a model card: labels: they repeat: a, a; reinstall "
        "the plugin or export the model again"
    )


def test_a_runtime_that_the_model_is_not_for(folder: Path) -> None:
    assert wrong(folder, {"name": "cnn", "model": "models/card.json", "runtime": "tensorflow"}) == (
        "3: classifiers.0.runtime: models/card.json: 'runtime: tensorflow' runs the model's .keras file, but "
        "small.keras is not beside it; name a card that 'streamfer export --keras' has written, or "
        "use 'runtime: litert'"
    )
    (folder / "models" / "small.keras").touch()
    assert wrong(folder, {"name": "cnn", "model": "models/small.keras"}).startswith(
        "3: classifiers.0.runtime: models/small.keras: a .keras file is served with 'runtime: tensorflow'; "
    )
    said = wrong(folder, {"name": "cnn", "runtime": "jax"})
    assert said == "3: classifiers.0.runtime: got 'jax', expected 'litert' or 'tensorflow'"


def test_the_shipped_model_under_tensorflow_says_what_to_do(folder: Path) -> None:
    if locate(SHIPPED).with_name("cnn.keras").exists():
        pytest.skip("the plugin ships its .keras file")
    said = wrong(folder, {"name": "cnn", "runtime": "tensorflow"})
    assert said.startswith("3: classifiers.0.runtime: ")
    assert said.endswith(
        "; name a card that 'streamfer export --keras' has written, or use 'runtime: litert'"
    )


def test_a_wrong_card_hides_no_other_problem(folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(folder, {"name": "cnn", "model": "gone.json"}, {"name": "cnm"})
    assert [problem.key for problem in raised.value.problems] == [
        ("classifiers", 0, "model"),
        ("classifiers", 1, "name"),
    ]


# ---- the commands ------------------------------------------------------------------------------------------


def test_check_reads_cards(folder: Path) -> None:
    read(folder, {"name": "cnn", "as": "four", "model": "models/card.json"})
    done = streamfer("check", folder / "config.yaml", cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert "classifier  four: cnn\n" in done.stdout
    (folder / "models" / "card.json").unlink()
    done = streamfer("check", folder / "config.yaml", cwd=Path("/"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{folder}/config.yaml:3: classifiers.0.model: {folder}/models/card.json: ")
    assert done.stderr.count("\n") == 1


def test_doctor_tells_a_plugin_with_a_bad_card(folder: Path) -> None:
    site = folder / "site"
    package, info = site / "broken_net", site / "broken_net-1.0.dist-info"
    for made in (package, info):
        made.mkdir(parents=True)
    (package / "__init__.py").write_text(
        PLUGIN.replace('build=":build"', 'build=":build", card="broken_net:card.json"')
    )
    write_card(package / "card.json")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-net\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamfer]\nbroken = broken_net\n")
    done = streamfer("doctor", env={**with_path(site), "COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "bare:" in line)
    assert "note" in line and "small.tflite: the model cannot be read: No such file or directory" in line
    assert "cnn 1." in done.stdout and "as its card says" in done.stdout
