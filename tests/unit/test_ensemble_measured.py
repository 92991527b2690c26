"""An ensemble where a classifier runs outside of the service: evaluated, timed, on single pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamfer
from streamfer.errors import StartError, UsageError
from streamfer.inference.described import find
from streamfer.plugins import Registry
from streamfer.training.dataset import PRIVATE, SPLITS, Dataset
from streamfer.training.evaluate import evaluate, fitted, open_classifier
from streamfer.training.speed import ms_per_face
from streamfer.types import LABELS, CropSpec
from tests import service
from tests.ensembles import RULES, shipped_cnn, write_plugin
from tests.networks import store

PORTRAIT = Path(__file__).parents[2] / "tools/portraits/astronaut.png"

PLUGIN = """
from streamfer.api import Component, MemberOptions, Members
from streamfer.hookspecs import hookimpl
from streamfer_classifiers.ensemble import EnsembleOptions

class Pair(EnsembleOptions):
    members: Members = (MemberOptions(name="cnn"), MemberOptions(name="cnn", model={card!r}))

@hookimpl
def streamfer_components():
    target = "streamfer_classifiers.ensemble.mean:Ensemble"
    return [Component("classifier", {name!r}, "two models", target, Pair, combines=True)]
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of an untrained network for other crops, its labels in another order."""
    return store(tmp_path_factory.mktemp("small"), CropSpec(32, 24, 3), LABELS[::-1])


def shades(rows: int = 150, labels: tuple[str, ...] = ("dark", "bright")) -> Dataset:
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (rows, 48, 48, 1), np.uint8) // random.integers(1, 5, (rows, 1, 1, 1))
    splits = np.full(rows, SPLITS.index(PRIVATE), np.uint8)
    truth = random.integers(0, len(labels), rows).astype(np.uint8)
    return Dataset("shades", images.astype(np.uint8), truth, splits, labels)


def run(served: Any, data: Dataset) -> Any:
    return evaluate(served, data, PRIVATE, resamples=100, timed=False)


def test_each_member_sees_the_data_in_its_own_size(rules: Path) -> None:
    data = shades()
    served = open_classifier(
        "ensemble", plugins=[rules], members=[*RULES[:2], {"name": "colour", "weight": 2}]
    )
    assert served.crops == (served.crop, *served.more_crops) == ((48, 48, 1), (16, 24, 1), (32, 24, 3))
    alone = [run(open_classifier(name, plugins=[rules]), data).probabilities for name in RULES]
    expected = (alone[0] + alone[1][:, ::-1] + 2 * alone[2]) / 4
    found = run(served, data)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert not np.allclose(alone[0], alone[1][:, ::-1], atol=1e-4), "the sizes make a difference"
    assert found.figures["n"] == len(data) == 150
    assert [found.figures[key] for key in ("parameters", "flops", "size_bytes", "model")] == [None] * 4
    assert found.figures["members"] == [
        {"classifier": "gray", "weight": 1.0, "model": None},
        {"classifier": "small", "weight": 1.0, "model": None},
        {"classifier": "colour", "weight": 2.0, "model": None},
    ]
    sizes = "The faces (48×48 gray) were brought to its members' crops (24×16 gray, 24×32 RGB)."
    assert sizes in found.figures["notes"]


def test_its_cost_is_that_of_all_members(small: Path, tmp_path: Path) -> None:
    copy = shipped_cnn(tmp_path / "copy")
    card = json.loads(copy.read_text())
    served = open_classifier("ensemble", members=["cnn", {"name": "cnn", "weight": 3, "model": str(copy)}])
    figures = run(served, shades(60, LABELS)).figures
    assert figures["parameters"] == 2 * card["parameters"]
    assert figures["flops"] == 4 * card["macs"]
    assert figures["size_bytes"] == 2 * card["size_bytes"]
    assert [one["model"]["sha256"] for one in figures["members"]] == [card["sha256"]] * 2
    assert len([note for note in figures["notes"] if "A member was trained on other data" in note]) == 1
    untold = open_classifier("ensemble", members=["cnn", {"name": "cnn", "model": str(small)}])
    figures = run(untold, shades(60, LABELS)).figures
    assert figures["parameters"] is figures["flops"] is None, "the small one's card does not tell"
    files = [card["size_bytes"], small.with_name("small.tflite").stat().st_size]
    assert figures["size_bytes"] == sum(files)


def test_a_temperature_leaves_the_accuracy_and_changes_the_confidence(rules: Path) -> None:
    data = shades()
    plain, sharp = (
        run(open_classifier("ensemble", plugins=[rules], members=RULES, temperature=value), data)
        for value in (1.0, 0.5)
    )
    assert plain.figures["accuracy"] == sharp.figures["accuracy"]
    assert (sharp.probabilities.max(axis=1) > plain.probabilities.max(axis=1)).all()


def test_networks_of_other_crops_together(small: Path) -> None:
    data = shades(40, LABELS)
    other = {"name": "cnn", "weight": 2, "model": str(small)}
    found = run(open_classifier("ensemble", members=["cnn", other]), data)
    one, two = open_classifier("cnn"), open_classifier("cnn", str(small))
    assert two.labels == LABELS[::-1]
    parts = one.predict(data.images), two.predict(fitted(data.images, two.crop))[:, ::-1]
    np.testing.assert_allclose(found.probabilities, (parts[0] + 2 * parts[1]) / 3, atol=1e-5)


def test_the_time_is_that_of_all_members(rules: Path) -> None:
    served = open_classifier("ensemble", plugins=[rules], members=RULES)
    taken = ms_per_face(served.spec, *served.crops)
    assert taken["batch_1"]["value"] > 0 and taken["batch_8"]["value"] > 0


def test_what_it_refuses_is_one_line(rules: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'ensemble' is no network: it takes no --model and no --runtime"):
        open_classifier("ensemble", model="card.json")
    with pytest.raises(UsageError, match="classifier 'cnn' answers by itself: it takes no members"):
        open_classifier("cnn", members=["cnn", "cnn"])
    with pytest.raises(UsageError, match="member 2, 'small': bias: Input should be"):
        open_classifier("ensemble", plugins=[rules], members=["gray", {"name": "small", "bias": "much"}])
    with pytest.raises(StartError, match=r"'wrong' .* gave the shape"):
        open_classifier("ensemble", plugins=[rules], members=["gray", "wrong"])
    with pytest.raises(StartError, match=r"member 2, 'cnn': .*cannot be read"):
        open_classifier("ensemble", members=["cnn", {"name": "cnn", "model": str(tmp_path / "gone.json")}])


# ---- as its plugin registers it: by name alone -------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed classifier that ships with members, both of which are there. It is named after its model's
    folder: a process remembers what is installed under a name, and may meet these fixtures twice."""
    name = f"pair-{small.parent.name}"
    module = name.replace("-", "_")
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (tmp_path / f"{module}.py").write_text(PLUGIN.format(card=str(small), name=name))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[streamfer]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_on_a_single_picture(pair: str, small: Path) -> None:
    (found,) = streamfer.predict(PORTRAIT, classifier=pair)
    (one,), (two,) = streamfer.predict(PORTRAIT), streamfer.predict(PORTRAIT, model=small)
    assert found.box == one.box == two.box
    assert found.probabilities and one.probabilities and two.probabilities
    assert tuple(found.probabilities) == LABELS
    for label in LABELS:
        mean = (one.probabilities[label] + two.probabilities[label]) / 2
        assert found.probabilities[label] == pytest.approx(mean, abs=2e-4)
    with pytest.raises(UsageError, match=f"the classifier '{pair}' is no network: it takes no model"):
        streamfer.predict(PORTRAIT, classifier=pair, model=small)


def test_a_members_card_that_changes_is_seen(pair: str, small: Path) -> None:
    before, text = streamfer.predict(PORTRAIT, classifier=pair), small.read_text()
    try:
        small.write_text(json.dumps({**json.loads(text), "sha256": "0" * 64}))
        with pytest.raises(StartError, match=r"small.tflite: the model is corrupted"):
            streamfer.predict(PORTRAIT, classifier=pair)
    finally:
        small.write_text(text)
    assert streamfer.predict(PORTRAIT, classifier=pair) == before


def test_by_the_commands(pair: str, tmp_path: Path) -> None:
    env = {**service.with_path(tmp_path), "COLUMNS": "300"}
    done = service.streamfer("predict", PORTRAIT, "-c", pair, "--json", env=env)
    (face,) = json.loads(done.stdout)["faces"]
    assert face["probabilities"] == streamfer.predict(PORTRAIT, classifier=pair)[0].probabilities
    doctor = service.streamfer("doctor", env=env)
    assert f"{pair}: answers with cnn, cnn" in doctor.stdout
    assert find(Registry.discover(), pair).labels == LABELS
