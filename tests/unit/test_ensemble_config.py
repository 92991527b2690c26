"""Ensembles in a configuration: members resolved for a worker, and what is wrong with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streamfer.config import Config, ConfigError, for_recording, load, schema
from streamfer.inference.card import read_card
from streamfer.plan import make_plan
from streamfer.plugins import Registry
from streamfer.stages.spec import ClassifySpec, DetectSpec, WorkerSpec, decode, encode
from streamfer.types import LABELS, CropSpec
from tests.ensembles import write_plugin
from tests.networks import FOUR, write_card
from tests.service import streamfer

GRAY, SMALL, COLOUR = CropSpec(), CropSpec(16, 24, 1), CropSpec(32, 24, 3)
CARD = CropSpec(24, 32, 3)
SHIPPED = "streamfer_classifiers.cnn:card.json"
MISSING = "the model card cannot be read: No such file or directory"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"not empty")
    write_plugin(tmp_path)
    write_card(tmp_path / "models" / "card.json", labels=LABELS[::-1])
    write_card(tmp_path / "four" / "card.json")
    return tmp_path


def written(folder: Path, *classifiers: str) -> Path:
    """The third line of the file has the first classifier."""
    entries = "".join(f"\n  - {one}" for one in classifiers)
    path = folder / "config.yaml"
    path.write_text(
        f"version: 1\nclassifiers:{entries}\nstreams: {{a: {{path: clip.mp4}}}}\nsinks: [console]\n"
        "plugins: [rules.py]\n"
    )
    return path


def read(folder: Path, *classifiers: str, overrides: tuple[str, ...] = ()) -> Config:
    return load(written(folder, *classifiers), overrides=overrides, registry=Registry.discover(), environ={})


def wrong(folder: Path, *classifiers: str, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder, *classifiers, overrides=overrides)
    return [
        line.removeprefix("config.yaml:") for line in str(raised.value).replace(f"{folder}/", "").splitlines()
    ]


def test_members_are_resolved_as_they_would_be_alone(folder: Path) -> None:
    members = "[cnn, {name: cnn, weight: 2, model: models/card.json}]"
    one, alone = read(folder, f"{{name: ensemble, members: {members}}}", "cnn").classifiers
    assert (one.label, one.labels, one.crops) == ("ensemble", LABELS, (GRAY, CARD))
    first, second = one.spec.members
    assert (first.component, first.weight, first.crop) == (alone.spec, 1, GRAY)
    assert second.component.options == {"model": str(folder / "models" / "card.json")}
    assert (second.weight, second.crop, second.labels) == (2, CARD, LABELS[::-1])
    assert second.component.target == alone.spec.target


def test_any_classifier_may_be_a_member(folder: Path) -> None:
    members = "[small, {name: colour, bias: 0.1, table: t.csv}, gray]"
    (one,) = read(folder, f"{{name: ensemble, as: mean, temperature: 0.5, members: {members}}}").classifiers
    assert (one.label, one.labels, one.crops) == ("mean", ("bright", "dark"), (SMALL, COLOUR, GRAY))
    assert [member.component.options for member in one.spec.members] == [
        {},
        {"bias": 0.1, "table": str(folder / "t.csv")},
        {},
    ]
    assert {member.component.plugin_file for member in one.spec.members} == {str(folder / "rules.py")}
    assert one.spec.options["temperature"] == 0.5


def test_members_can_be_set_on_the_command_line(folder: Path) -> None:
    overrides = (
        "classifiers.0.members=[gray, small]",
        "classifiers.0.members.1={name: small, weight: 4}",
        "classifiers.0.members.2=colour",
    )
    (one,) = read(folder, "ensemble", overrides=overrides).classifiers
    assert [(member.component.name, member.weight) for member in one.spec.members] == [
        ("gray", 1),
        ("small", 4),
        ("colour", 1),
    ]


def test_the_plan_sends_each_crop_once_to_whom_it_is_for(folder: Path) -> None:
    ensemble = "{name: ensemble, members: [small, colour, {name: small, bias: 0.1}]}"
    config = read(folder, ensemble, "gray", "{name: small, as: alone}")
    plan = make_plan(config, lambda name: f"ipc://{name}", folder)
    specs = [spec for _, spec in plan.shared.values()]
    (detect,) = (one for one in specs if isinstance(one, DetectSpec))
    wanted = {"ensemble": (SMALL, COLOUR), "gray": (GRAY,), "alone": (SMALL,)}
    assert {route.classifier: route.crops for route in detect.routes["a"]} == wanted
    classify = {one.classifier: one for one in specs if isinstance(one, ClassifySpec)}
    assert {name: one.crops for name, one in classify.items()} == wanted
    for spec in (detect, *classify.values()):
        sent = WorkerSpec("x", "y", "z", spec)
        assert decode(encode(sent)) == sent


# ---- what is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("[gray]", ": two members or more are needed; a single classifier is named by itself"),
        ("[]", ": two members or more are needed; a single classifier is named by itself"),
        ("gray", ": got 'gray', expected a list"),
        ("[gray, 3]", ".1: got 3, expected the name of a classifier, or a mapping with its 'name'"),
        ("[gray, {nmae: small}]", ".1.name: missing key"),
        ("[gray, {name: small, weight: 0}]", ".1.weight: got 0, expected a number > 0"),
        ("[gray, {name: small, weight: heavy}]", ".1.weight: got 'heavy', expected a number"),
        ("[gray, smal]", ".1.name: no classifier 'smal'; there are: {there}; did you mean 'small'?"),
        ("[gray, {name: small, bais: 1}]", ".1.bais: unknown key; did you mean 'bias'?"),
        ("[gray, {name: small, wieght: 1}]", ".1.wieght: unknown key; did you mean 'weight'?"),
        ("[gray, {name: small, bias: 3}]", ".1.bias: got 3, expected a number <= 1"),
        (
            "[gray, {name: small, as: b}]",
            ".1.as: unknown key; did you mean 'bias'?",
        ),
        ("[gray, {name: small, secret: 3}]", ".1.secret: got a value that is not shown, expected a text"),
        (
            "[gray, ensemble]",
            ".1.name: 'ensemble' combines others itself; name its members here in its place",
        ),
        (
            "[gray, own]",
            ".1.name: 'own' cannot be a member: its own option 'weight' has the name of a key of members",
        ),
        (
            "[gray, alone]",
            ".1: its labels (dark, dim) are not those of the first member (dark, bright); members have the "
            "same labels, in any order",
        ),
        ("[gray, small, {name: gray, weight: 2}]", ".2: the same as member 1; name it once, with the weight"),
        ("[gray, {name: cnn, model: gone.json}]", f".1.model: gone.json: {MISSING}"),
        ("[gray, untrained]", ".1.model: missing key; the plugin ships no trained model: name an"),
        (
            "[cnn, {name: cnn, runtime: tensorflow, model: models/card.json}]",
            ".1.runtime: models/card.json: 'runtime: tensorflow' runs the model's .keras file, but",
        ),
        ("[cnn, {name: cnn, model: four/card.json}]", f".1: its labels ({', '.join(FOUR)}) are not those"),
        ("[gray, large]", ".1: with its crop (512×512×3) those of one face come to 788,736 bytes, and at"),
    ],
)
def test_a_wrong_member_is_told_with_its_key(folder: Path, members: str, said: str) -> None:
    (line,) = wrong(folder, f"{{name: ensemble, members: {members}}}")
    there = ", ".join(Registry.discover([folder / "rules.py"]).names("classifier"))
    assert line.startswith(f"3: classifiers.0.members{said.format(there=there)}")


def test_each_wrong_member_is_told_on_its_line(folder: Path) -> None:
    members = (
        "\n      - grey\n      - gray\n      - name: small\n        bias: 3\n      - {name: cnn, model: x}"
    )
    said = wrong(folder, f"name: ensemble\n    temperature: 0\n    members:{members}", "cnm")
    assert [line.partition(": ")[0] for line in said] == ["4", "11"], (
        "without its options there are no members"
    )
    said = wrong(folder, f"name: ensemble\n    members:{members}", "cnm")
    assert [line.split(":")[:2] for line in said] == [
        ["5", " classifiers.0.members.0.name"],
        ["8", " classifiers.0.members.2.bias"],
        ["9", " classifiers.0.members.3.model"],
        ["10", " classifiers.1.name"],
    ]


def test_its_own_options_are_checked(folder: Path) -> None:
    members = "members: [gray, small]"
    assert wrong(folder, f"{{name: ensemble, temprature: 1, {members}}}") == [
        "3: classifiers.0.temprature: unknown key; did you mean 'temperature'?"
    ]
    assert wrong(folder, f"{{name: ensemble, temperature: 0, {members}}}") == [
        "3: classifiers.0.temperature: got 0, expected a number >= 0.05"
    ]
    assert wrong(folder, f"{{name: ensemble, model: models/card.json, {members}}}")[0].startswith(
        "3: classifiers.0.model: unknown key"
    )


BARE = """
from streamfer.api import CombiningOptions, Component, MemberOptions, Members, network
from streamfer.hookspecs import hookimpl

class Options(CombiningOptions):
    members: Members = (MemberOptions(name="cnn"), MemberOptions(name="bare"), MemberOptions(name="lost"))

@hookimpl
def streamfer_components():
    return [network("bare", "", build=":build", card="streamfer_classifiers:gone/card.json"),
            network("lost", "", build=":build"),
            Component("classifier", "both", "", ":Both", Options, combines=True)]
"""


def test_default_members_without_weights_are_told_with_the_entry(folder: Path) -> None:
    (folder / "rules.py").write_text(BARE)
    first, second = wrong(folder, "cnn", "both")
    assert first.startswith("4: classifiers.1: its member 'bare': ")
    assert first.endswith(f"gone/card.json: {MISSING}")
    assert second == (
        "4: classifiers.1: its member 'lost': the plugin ships no trained model: name an exported one, "
        "DIR/card.json"
    )
    registry = Registry.discover([folder / "rules.py"])
    with pytest.raises(ConfigError) as raised:
        for_recording(folder / "clip.mp4", ["both"], folder / "out", registry=registry)
    assert str(raised.value).splitlines()[0].startswith("--classifier: its member 'bare': ")


SECRET = """
from pydantic import SecretStr
from streamfer.api import CombiningOptions, Component
from streamfer.hookspecs import hookimpl

class Options(CombiningOptions):
    key: SecretStr = SecretStr("default")
    other: SecretStr = SecretStr("default")

@hookimpl
def streamfer_components():
    return [Component("classifier", "keyed", "", ":Keyed", Options, combines=True)]
"""


def test_secrets_of_one_that_combines_reach_it_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(SECRET)
    (one,) = read(tmp_path, "{name: keyed, members: [cnn, cnn_lstm], key: hunter2}").classifiers
    assert {key: value for key, value in one.spec.options.items() if key != "members"} == {"key": "hunter2"}


def test_without_weights_the_plugins_own_members_are_one_line_each(folder: Path) -> None:
    """All of them are there once every member has its weights; until then each that is not is a line."""
    own = Registry.discover().get("classifier", "ensemble").component.options().members  # type: ignore[attr-defined]
    path = written(folder, "ensemble")
    done = streamfer("check", path)
    if done.returncode == 0:
        assert f"classifier  ensemble of {own[0].name}" in done.stdout
        return
    assert done.returncode == 2
    for line in done.stderr.splitlines():
        assert line.startswith(f"{path}:3: classifiers.0: its member '") and line.endswith(MISSING)


# ---- the commands ------------------------------------------------------------------------------------------


def test_check_says_who_answers(folder: Path) -> None:
    path = written(
        folder,
        "{name: ensemble, as: mean, workers: 2, members: [gray, {name: small, weight: 2.5}]}",
        "{name: ensemble, members: [cnn, {name: cnn, model: models/card.json}]}",
    )
    done = streamfer("check", path, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert "classifier  mean: ensemble of gray, small × 2.5, 2 workers\n" in done.stdout
    assert "classifier  ensemble of cnn, cnn\n" in done.stdout


def test_plugins_lists_it_and_its_options(folder: Path) -> None:
    listed = json.loads(streamfer("plugins", "--json").stdout)["components"]
    assert ("classifier", "ensemble") in {(one["kind"], one["name"]) for one in listed}
    options = json.loads(streamfer("plugins", "--schema", "ensemble").stdout)["properties"]
    assert (options["members"]["minItems"], options["temperature"]["default"]) == (2, None)
    assert {"type": "string"} in options["members"]["items"]["anyOf"]


def test_doctor_looks_at_its_members() -> None:
    done = streamfer("doctor", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    told = [one for one in done.stdout.splitlines() if "ensemble: answers with" in one or "'ensemble'" in one]
    (line,) = told
    assert "ensemble: answers with cnn, " in line or ("note" in line and "'ensemble': member " in line)


@pytest.mark.parametrize(
    ("entry", "right"),
    [
        ("ensemble", True),
        ("{name: ensemble, members: [gray, {name: small, weight: 2, bias: 0.5}], temperature: 0.9}", True),
        ("{name: ensemble, members: [cnn, {name: cnn, model: a/card.json, runtime: tensorflow}]}", True),
        ('{name: ensemble, members: [cnn, {name: cnn, weight: "${W}"}, "${OTHER}"]}', True),
        ("{name: ensemble, members: [gray]}", False),
        ("{name: ensemble, members: [gray, grey]}", False),
        ("{name: ensemble, members: [gray, ensemble]}", False),
        ("{name: ensemble, members: [gray, {weight: 2}]}", False),
        ("{name: ensemble, members: [gray, {name: small, model: x}]}", False),
        ("{name: ensemble, members: [gray, {name: small, weight: 0}]}", False),
        ("{name: cnn, members: [gray, small]}", False),
    ],
)
def test_editors_know_the_members(folder: Path, entry: str, right: bool) -> None:
    registry = Registry.discover([folder / "rules.py"])
    validator: Any = jsonschema.Draft202012Validator(schema(registry))
    data = yaml.safe_load(written(folder, entry).read_text())
    assert validator.is_valid(data) is right


def test_a_card_is_read_for_each_member(folder: Path) -> None:
    """The crops are those of the cards, whatever the registration says."""
    members = "[{name: stacked_cnn, model: models/card.json}, {name: cnn_lstm, model: models/card.json}]"
    (one,) = read(folder, f"{{name: ensemble, members: {members}}}").classifiers
    assert one.crops == (read_card(str(folder / "models/card.json")).crop,)
    assert one.labels == LABELS[::-1]
