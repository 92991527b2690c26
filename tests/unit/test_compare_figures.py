"""What a comparison finds: the figures of each evaluation, their differences, and what is said of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.api import Published
from streamfer.errors import UsageError
from streamfer.training.compare import compare, enter
from streamfer.training.compare_published import beside, is_fer2013
from streamfer.training.compare_reading import reading
from streamfer.training.dataset import Dataset
from streamfer.training.evaluate import evaluate, majority, open_classifier
from streamfer.training.metrics import Scalar
from streamfer.types import LABELS
from tests.compared import faces, write_plugin

ROOT = Path(__file__).parents[2]
CNN = ROOT / "plugins/streamfer_classifiers/cnn"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def figures(plugin: Path) -> dict[str, Any]:
    entrants = enter(["able", "weak", "turned"], plugins=[plugin])
    return compare(entrants, faces(), "PrivateTest", resamples=200, timed=False)


def rights() -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which PrivateTest rows each of them answers right, as the plugin is written."""
    hard = faces().images[140:, 0, 1, 0].astype(int)
    return {"able": hard <= 200, "weak": hard <= 120, "turned": 255 - hard <= 200}


def test_each_has_the_figures_of_its_evaluation(figures: dict[str, Any], plugin: Path) -> None:
    assert json.loads(json.dumps(figures)) == figures
    for one in figures["classifiers"]:
        served = open_classifier(one["classifier"], plugins=[plugin])
        alone = evaluate(served, faces(), "PrivateTest", resamples=200, timed=False).figures
        for key in (
            "accuracy",
            "ece",
            "auc",
            "macro",
            "weighted",
            "per_class",
            "ferplus",
            "without_duplicates",
        ):
            if one["title"] != "turned" or key not in ("per_class", "without_duplicates"):
                assert one[key] == alone[key], (one["title"], key)
        assert {name: alone["per_class"][name] for name in LABELS} == one["per_class"]
        assert one["accuracy"]["value"] == pytest.approx(rights()[one["title"]].mean(), abs=1e-6)
    assert figures["labels"] == list(LABELS), "the order is that of the data"


def test_the_pairs_count_the_rows_that_only_one_has_right(figures: dict[str, Any]) -> None:
    right = rights()
    names = [(pair["first"], pair["second"]) for pair in figures["pairs"]]
    assert names == [("able", "weak"), ("able", "turned"), ("weak", "turned")]
    for pair in figures["pairs"]:
        first, second = right[pair["first"]], right[pair["second"]]
        assert pair["only_first"] == (first & ~second).sum()
        assert pair["only_second"] == (second & ~first).sum()
        assert pair["difference"]["value"] == pytest.approx(first.mean() - second.mean(), abs=1e-6)
        assert pair["distinguishable"] == (pair["p_holm"] < 0.05)
        assert pair["p"] <= pair["p_holm"]
    told = {(pair["first"], pair["second"]): pair["distinguishable"] for pair in figures["pairs"]}
    assert told["able", "weak"] and not told["able", "turned"]


def test_the_best_is_marked_and_those_like_it(figures: dict[str, Any]) -> None:
    titles = [one["title"] for one in figures["classifiers"]]
    assert {row["rows"] for row in figures["figures"]} == {
        "all rows",
        "without train duplicates",
        "majority of the FER+ voters",
    }
    for row in figures["figures"]:
        values = [value["value"] for value in row["values"]]
        assert row["best"] == (np.argmin if row["key"] == "ece" else np.argmax)(values)
        assert row["best"] not in row["not_distinguishable"]
        if row["key"] in ("accuracy", "weighted.recall") and row["rows"] == "all rows":
            assert [titles[place] for place in row["not_distinguishable"]] == ["turned"]
            assert titles[row["best"]] == "able"
    sets = {row["rows"]: row["values"] for row in figures["figures"] if row["key"] == "accuracy"}
    for place, one in enumerate(figures["classifiers"]):
        assert sets["without train duplicates"][place] == one["accuracy_without_duplicates"]
        assert sets["majority of the FER+ voters"][place] == one["ferplus"]["accuracy"]
    data = faces()
    assert data.votes is not None
    voted = [name in LABELS for name in majority(data.votes[140:])]
    assert figures["classifiers"][0]["ferplus"]["n"] == sum(voted) < 140


def test_the_differences_are_those_to_the_first(figures: dict[str, Any]) -> None:
    first = figures["classifiers"][0]
    for one, difference in zip(figures["classifiers"][1:], figures["differences"], strict=True):
        assert (difference["classifier"], difference["minus"]) == (one["title"], "able")
        for label in LABELS:
            for kind in ("recall", "f1"):
                found = difference["per_class"][label][kind]
                wanted = one["per_class"][label][kind]["value"] - first["per_class"][label][kind]["value"]
                assert found["value"] == pytest.approx(wanted, abs=2e-6)
                assert found["low"] <= found["value"] <= found["high"]


def test_the_sentences_say_what_the_figures_say(figures: dict[str, Any]) -> None:
    said = "\n".join(figures["reading"])
    assert "able has the highest accuracy: " in said
    assert "turned lies" in said and "below it and is not distinguishable from it" in said
    weak = next(line for line in figures["reading"] if line.startswith("weak lies"))
    assert "below it and is distinguishable from it (p\u00a0below 0.0001)" in weak
    difference = figures["pairs"][0]["difference"]
    assert f"lies {difference['value'] * 100:.1f} points" in weak
    assert "time" not in said, "nothing was timed"


def test_the_sentences_do_not_depend_on_who_stands_first(figures: dict[str, Any]) -> None:
    def turned(pair: dict[str, Any]) -> dict[str, Any]:
        value, low, high = (pair["difference"][key] for key in ("value", "low", "high"))
        difference = {"value": -value, "low": -high, "high": -low}
        return pair | {"first": pair["second"], "second": pair["first"], "difference": difference}

    assert reading({**figures, "pairs": [turned(pair) for pair in figures["pairs"]]}) == figures["reading"]


def timed(figures: dict[str, Any], **shares: float) -> dict[str, Any]:
    times = {"able": 2.0, "weak": 0.5, "turned": 4.0}
    shown = [
        {
            **one,
            "ms_per_face": {
                "batch_1": {"value": times[one["title"]]},
                "core_share": shares.get(one["title"], 0.99),
            },
        }
        for one in figures["classifiers"]
    ]
    return {**figures, "classifiers": shown}


def test_times_are_read_only_where_they_mean_something(figures: dict[str, Any]) -> None:
    said = reading(timed(figures))
    assert "weak takes the least time: 0.50 ms a face on one core." in said
    assert any(
        line.startswith("turned lies") and "2.00 times the time of able per face" in line for line in said
    )
    assert (
        "For able and weak, nothing here is both faster and more accurate; for every other, something is."
        in said
    )
    said = reading(timed(figures, weak=0.6))
    assert not any("least time" in line or "times the time" in line for line in said)
    assert any(line.startswith("The times are not compared") for line in said)


def test_only_some_classes(plugin: Path) -> None:
    entrants = enter(["able", "four"], plugins=[plugin])
    data = faces()
    found = compare(
        entrants,
        data,
        "PrivateTest",
        classes=("sad", "angry", "neutral", "happy"),
        resamples=100,
        timed=False,
    )
    rows = np.isin(data.labels[140:], [LABELS.index(name) for name in ("angry", "happy", "sad", "neutral")])
    assert found["n"] == rows.sum()
    assert found["only"] == found["labels"] == ["angry", "happy", "sad", "neutral"]
    assert found["data"] == {"name": data.name, "rows": 280, "sha256": data.sha256}
    assert "Only the rows of 4 classes (angry, happy, sad, neutral)" in found["notes"][0]
    able, four = found["classifiers"]
    assert able["accuracy"] == four["accuracy"], "they differ only in what else they know"
    assert able["ece"]["value"] == pytest.approx(four["ece"]["value"], abs=1e-6)
    assert all(not one["same"] and "4 classes only" in one["differs"] for one in able["published"])


def test_labels_that_do_not_fit_are_found_before_anything_is_measured(plugin: Path) -> None:
    with pytest.raises(UsageError, match="four has other labels than the data: it lacks disgust"):
        compare(enter(["able", "four"], plugins=[plugin]), faces(), "PrivateTest", timed=False)
    with pytest.raises(UsageError, match=r"--only angry,cross: <.known.> has no label cross"):
        compare(enter(["able"], plugins=[plugin]), faces(), "PrivateTest", classes=("angry", "cross"))


def test_one_without_rows_for_a_class_and_without_votes(plugin: Path) -> None:
    data = faces(votes=None)
    data.labels[data.labels == LABELS.index("disgust")] = LABELS.index("sad")
    data.split[:140] = 2
    found = compare(
        enter(["able", "weak"], plugins=[plugin]), data, "PrivateTest", resamples=100, timed=False
    )
    assert {row["rows"] for row in found["figures"]} == {"all rows"}
    nothing = {"value": None, "low": None, "high": None}
    assert found["differences"][0]["per_class"]["disgust"] == {"recall": nothing, "f1": nothing}


# ---- who takes part ----------------------------------------------------------------------------------------


def test_models_of_one_network_are_told_apart(tmp_path: Path) -> None:
    card = json.loads((CNN / "card.json").read_text("utf-8"))
    for folder, version in (("newer", "9.9.9"), ("same", card["version"])):
        (tmp_path / folder).mkdir()
        model = (CNN / card["file"]).read_bytes() + folder.encode()  # bytes after the model are not read
        (tmp_path / folder / card["file"]).write_bytes(model)
        changed = card | {"version": version, "sha256": hashlib.sha256(model).hexdigest()}
        (tmp_path / folder / "card.json").write_text(json.dumps(changed))
    cards = [("cnn", str(tmp_path / folder / "card.json")) for folder in ("newer", "same")]
    titles = [one.title for one in enter(["cnn"], cards)]
    assert titles[1] == "cnn 9.9.9"
    assert titles[0] == f"cnn {card['version']} ({card['sha256'][:7]})"
    assert titles[2].startswith(f"cnn {card['version']} (") and titles[2] != titles[0]
    shutil.copytree(CNN, tmp_path / "copy")
    with pytest.raises(UsageError, match="the same model as cnn"):
        enter(["cnn"], [("cnn", str(tmp_path / "copy/card.json"))])


def test_who_is_not_there_or_there_twice_is_one_line(plugin: Path) -> None:
    with pytest.raises(UsageError, match="able: named twice"):
        enter(["able", "weak", "able"], plugins=[plugin])
    with pytest.raises(UsageError, match="no classifier 'nobody'; there are: "):
        enter(["able", "nobody"], plugins=[plugin])
    with pytest.raises(UsageError, match="'able' is no network"):
        enter(["weak"], [("able", "card.json")], plugins=[plugin])


def test_a_network_without_a_model_says_what_to_name(tmp_path: Path) -> None:
    from tests.training import PLUGIN

    (tmp_path / "tiny.py").write_text(PLUGIN)
    with pytest.raises(
        UsageError, match=r"tiny: its plugin ships no trained model; name one: --model tiny=CARD"
    ):
        enter(["cnn", "tiny"], plugins=[tmp_path / "tiny.py"])


# ---- published figures -------------------------------------------------------------------------------------


def fer2013() -> Dataset:
    """As many rows as FER2013, of one pixel."""
    counts = (28_709, 3_589, 3_589)
    rows = sum(counts)
    split = np.repeat(np.arange(3, dtype=np.uint8), counts)
    labels = (np.arange(rows) % 7).astype(np.uint8)
    return Dataset("any name", np.zeros((rows, 1, 1, 1), np.uint8), labels, split, LABELS)


MEASURED: Scalar = {"value": 0.71, "low": 0.70, "high": 0.72}
CARD = {"metrics": {"PublicTest": {"accuracy": {"value": 0.7, "low": 0.68, "high": 0.72}}}}


@pytest.mark.parametrize(("accuracy", "place"), [(0.69, "below"), (0.70, "inside"), (0.73, "above")])
def test_the_same_measurement_is_placed(accuracy: float, place: str) -> None:
    found = beside(Published(accuracy, "test", "A, 2020"), CARD, MEASURED, fer2013(), "PrivateTest")
    assert (found["same"], found["place"], found["differs"], found["card"]) == (True, place, None, None)


@pytest.mark.parametrize(
    ("published", "split", "classes", "why"),
    [
        (
            Published(0.7, "validation", "A"),
            "PrivateTest",
            (),
            "validation rows (PublicTest), measured on Priv",
        ),
        (Published(0.7, "test", "A"), "PublicTest", (), "test rows (PrivateTest), measured on PublicTest"),
        (Published(0.7, "test", "A", "CK+"), "PrivateTest", (), "published on CK+"),
        (Published(0.7, "test", "A"), "PrivateTest", ("sad", "happy"), "measured on 2 classes only"),
    ],
)
def test_another_measurement_is_said_to_be_one(
    published: Published, split: str, classes: tuple[str, ...], why: str
) -> None:
    found = beside(published, CARD, MEASURED, fer2013(), split, classes)
    assert not found["same"] and found["place"] is None
    assert why in found["differs"]
    assert found["card"] == (
        CARD["metrics"]["PublicTest"]["accuracy"] if published.split == "validation" else None
    )


def test_other_data_is_not_fer2013() -> None:
    data = fer2013()
    assert is_fer2013(data)
    assert not is_fer2013(data.take(np.arange(1, len(data))))
    found = beside(Published(0.7, "test", "A"), {}, MEASURED, faces(), "PrivateTest")
    assert "measured on <[known]>, which is not FER2013 as published" in found["differs"]
