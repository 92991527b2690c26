"""NAME:MODE: one of the models of a plugin that ships several, by every command that takes a classifier."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import streamfer
from streamfer.api import network
from streamfer.cli.comparing import entries
from streamfer.cli.plugins import as_data, options_schemas
from streamfer.config import ConfigError, for_comparison, for_recording
from streamfer.errors import UsageError
from streamfer.inference.card import read_card
from streamfer.inference.described import find, with_mode
from streamfer.plugins import Registered, Registry
from streamfer.training.served import open_classifier
from tests.service import ROOT, SAMPLE, lines
from tests.service import streamfer as command

REGISTRY = Registry.discover()
PORTRAIT = ROOT / "tools" / "portraits" / "astronaut.png"
FRAMES = "streamfer_classifiers.cnn_lstm:frames/card.json"
SHIPPED = [one for one in REGISTRY.all() if one.component.network and one.component.network.modes]


@pytest.mark.parametrize(
    ("named", "name", "options"),
    [
        ("cnn", "cnn", {}),
        ("cnn_lstm:frames", "cnn_lstm", {"mode": "frames"}),
        ("cnn_lstm:", "cnn_lstm", {"mode": ""}),
        ("a:b:c", "a", {"mode": "b:c"}),
        (":frames", "", {"mode": "frames"}),
    ],
)
def test_the_mode_stands_behind_the_colon(named: str, name: str, options: dict[str, str]) -> None:
    assert with_mode(named) == (name, options)


def test_there_are_networks_with_modes() -> None:
    assert {one.name for one in SHIPPED} >= {"cnn_lstm", "cnn_bilstm"}


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda one: one.name)
def test_each_mode_has_a_card_of_its_own_and_the_first_is_the_default(shipped: Registered) -> None:
    component = shipped.component
    assert component.network is not None
    cards = {
        mode: read_card(file)
        for mode, file in zip(component.network.modes, component.model_files, strict=True)
    }
    assert len({card.path for card in cards.values()}) == len(cards)
    for mode, card in cards.items():
        (served,) = find(REGISTRY, shipped.name, {"mode": mode}).models
        assert served is not None and served.card == card
        assert (card.window is not None) == (mode == "frames")
    (served,) = find(REGISTRY, shipped.name).models
    assert served is not None and served.card == cards[component.network.modes[0]]


def test_a_plugin_has_one_card_or_several_in_modes() -> None:
    with pytest.raises(TypeError, match="the network 'both': either 'card' or 'modes'"):
        network("both", "", build=":build", card="p:card.json", modes={"one": "p:one.json"})


# ---- run ---------------------------------------------------------------------------------------------------


def test_run_calls_a_mode_in_the_results_by_both_names() -> None:
    config = for_recording(SAMPLE, ["cnn_lstm", "cnn_lstm:frames", "cnn_lstm:rows"])
    assert [(one.label, one.spec.options.get("mode")) for one in config.classifiers] == [
        ("cnn_lstm", None),
        ("cnn_lstm-frames", "frames"),
        ("cnn_lstm-rows", "rows"),
    ]
    assert config.classifiers[1].spec.options["model"] == FRAMES
    assert [one.spec.window is not None for one in config.classifiers] == [False, True, False]


WRONG = [
    ("cnn_lstm:frame", "no mode 'frame'; there are: rows, frames"),
    ("cnn_lstm:", "no mode ''; there are: rows, frames"),
    ("cnn:frames", "no mode 'frames': 'cnn' has no modes; remove it"),
    ("ensemble:frames", "no mode 'frames': 'ensemble' has no modes; remove it"),
]


@pytest.mark.parametrize(("named", "said"), WRONG)
def test_run_refuses_a_mode_that_is_not_there(named: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        for_recording(SAMPLE, ["cnn", named])
    assert str(raised.value) == f"--classifier {named}: {said}"


@pytest.mark.parametrize("named", ["nobody:frames", ":frames"])
def test_run_refuses_a_classifier_that_is_not_there(named: str) -> None:
    with pytest.raises(ConfigError, match=rf"^--classifier: no classifier '{named[:-7]}'; there are: cnn, "):
        for_recording(SAMPLE, [named])


def test_the_command_runs_a_mode_over_a_recording(tmp_path: Path) -> None:
    done = command("run", SAMPLE, "-c", "cnn_lstm:frames", "-c", "cnn_lstm", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.glob("**/results.jsonl")
    frames = read_card(FRAMES).window
    assert frames is not None
    seen: dict[str, set[int | None]] = {}
    for line in lines(results):
        for face in line["faces"]:
            if face["label"] is not None:
                seen.setdefault(line["classifier"], set()).add(face.get("window", {}).get("frames"))
    assert seen == {"cnn_lstm-frames": {frames.frames}, "cnn_lstm": {None}}


# ---- compare -----------------------------------------------------------------------------------------------


def test_compare_calls_them_so_too() -> None:
    found = entries(["cnn_lstm", "cnn_lstm:frames"], [("cnn_lstm", "a.json")], [("cnn_lstm:frames", "ema")])
    assert found == {
        "cnn_lstm": {"name": "cnn_lstm"},
        "cnn_lstm-frames": {"name": "cnn_lstm", "mode": "frames"},
        "cnn_lstm-2": {"name": "cnn_lstm", "model": "a.json"},
        "cnn_lstm-frames-ema": {"name": "cnn_lstm", "mode": "frames", "smoothing": "ema"},
    }
    del found["cnn_lstm-2"]
    config = for_comparison(SAMPLE, found, Path("results.jsonl"))
    assert [one.label for one in config.classifiers] == list(found)
    assert [one.spec.window is not None for one in config.classifiers] == [False, True, True]
    with pytest.raises(UsageError, match=r"^cnn_lstm:frames: named twice; compare it with another model by "):
        entries(["cnn_lstm:frames", "cnn", "cnn_lstm:frames"], [], [])


@pytest.mark.parametrize(("named", "said"), WRONG)
def test_compare_refuses_a_mode_that_is_not_there(named: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        for_comparison(SAMPLE, entries(["cnn", named], [], []), Path("results.jsonl"))
    assert str(raised.value) == f"{named.replace(':', '-')}: {said}"


# ---- evaluate, predict -------------------------------------------------------------------------------------


def test_evaluate_opens_the_model_of_the_mode() -> None:
    rows, frames = open_classifier("cnn_lstm:rows"), open_classifier("cnn_lstm:frames")
    assert rows.card == open_classifier("cnn_lstm").card
    assert frames.card == read_card(FRAMES)
    assert frames.card is not None
    assert frames.title == f"cnn_lstm:frames {frames.card.version}"
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    assert not np.allclose(rows.predict(crops), frames.predict(crops))


@pytest.mark.parametrize(("named", "said"), WRONG)
def test_evaluate_and_predict_refuse_a_mode_that_is_not_there(named: str, said: str) -> None:
    for refused in (lambda: open_classifier(named), lambda: streamfer.predict(PORTRAIT, classifier=named)):
        with pytest.raises(UsageError) as raised:
            refused()
        assert str(raised.value) == f"classifier '{named.partition(':')[0]}': {said}"


def test_a_mode_and_another_model_exclude_each_other(tmp_path: Path) -> None:
    card = str(read_card("streamfer_classifiers.cnn_lstm:card.json").path)
    both = "it names one of the plugin's own models, and 'model' another; remove one of the two"
    for refused in (
        lambda: open_classifier("cnn_lstm:frames", card),
        lambda: streamfer.predict(PORTRAIT, classifier="cnn_lstm:frames", model=card),
    ):
        with pytest.raises(UsageError, match=both):
            refused()


def test_predict_on_a_picture_sees_a_face_that_holds_still() -> None:
    (found,) = streamfer.predict(PORTRAIT, classifier="cnn_lstm:frames")
    (other,) = streamfer.predict(PORTRAIT, classifier="cnn_lstm")
    assert found.box == other.box and found.probabilities != other.probabilities
    assert found.status == "ok" and found.probabilities is not None
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-3)
    image = cv2.imread(str(PORTRAIT))
    assert image is not None
    assert streamfer.predict(image, classifier="cnn_lstm:frames", bgr=True) == [found]
    done = command("predict", PORTRAIT, "--classifier", "cnn_lstm:frames", "--json")
    (face,) = json.loads(done.stdout)["faces"]
    assert face["probabilities"] == found.probabilities


# ---- what is told of them ----------------------------------------------------------------------------------


def test_modes_are_listed() -> None:
    told = {one["name"]: one["modes"] for one in as_data(REGISTRY)["components"]}
    assert told["cnn_lstm"] == ["rows", "frames"] and told["cnn"] == told["jsonl"] == []
    choice, _ = options_schemas(REGISTRY, "cnn_lstm")["properties"]["mode"]["anyOf"]
    assert choice == {"enum": ["rows", "frames"]}
    assert "mode" not in options_schemas(REGISTRY, "cnn")["properties"]
    shown = command("plugins", env={"COLUMNS": "200"}).stdout
    assert "(modes: rows, frames)" in shown
