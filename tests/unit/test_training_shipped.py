"""The shipped models: card, README, recipe and file agree, and the figures can be measured again."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamfer
from streamfer.plugins import Registry
from streamfer.training import datasets, evaluate, export, recipe
from streamfer.training.dataset import Dataset
from streamfer.training.litert import fit_temperature
from streamfer.types import LABELS
from streamfer_classifiers import ensemble

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "plugins/streamfer_classifiers"
FER2013 = ROOT.parent / "shared/data/fer2013.npz"

MODELS = sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))
MEGABYTES = 25
"""All weights together: what a wheel carries to everybody, whatever they use of it."""


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SHIPPED / name / "card.json").read_text("utf-8"))
    return content


@pytest.fixture(scope="module", params=MODELS)
def card(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def test_every_network_ships_its_weights() -> None:
    ours = [one for one in Registry.discover().all() if one.origin.distribution == "streamfer"]
    assert sorted(one.name for one in ours if one.component.network) == MODELS


def test_the_weights_are_small_enough_to_be_shipped() -> None:
    assert sum((SHIPPED / name / read(name)["file"]).stat().st_size for name in MODELS) <= MEGABYTES * 1e6


def test_the_card_describes_the_file(card: dict[str, Any]) -> None:
    model = (SHIPPED / card["name"] / card["file"]).read_bytes()
    assert hashlib.sha256(model).hexdigest() == card["sha256"]
    assert len(model) == card["size_bytes"]
    assert tuple(card["labels"]) == LABELS


def test_the_readme_quotes_the_card(card: dict[str, Any]) -> None:
    readme = (SHIPPED / card["name"] / "README.md").read_text("utf-8")
    assert f"{card['metrics']['PrivateTest']['accuracy']['value']:.2%}" in readme
    assert export.with_figures(readme, card) == readme, "export again, or undo the change to the figures"


def test_the_card_was_made_by_the_recipe_in_configs(card: dict[str, Any]) -> None:
    shipped = recipe.load(ROOT / f"configs/train/{card['name']}-best.yaml")
    assert recipe.Recipe.model_validate(card["recipe"]) == shipped
    assert card["trained"]["epochs"] == shipped.epochs == len(card["history"])
    assert card["trained"]["replanned"] == [], "the recipe alone repeats the run"
    assert (card["name"], card["version"]) == (shipped.classifier, shipped.version)


@pytest.fixture(scope="module")
def fer2013() -> Dataset:
    if not FER2013.is_file():
        pytest.skip(f"FER2013 is not part of the project and not at {FER2013}")
    return datasets.load(FER2013)


def measured(name: str, data: Dataset) -> dict[str, Any]:
    """What the classifier as it is served gets on PrivateTest."""
    served = evaluate.open_classifier(name)
    return evaluate.evaluate(served, data, "PrivateTest", resamples=10, timed=False).figures


def test_500_private_rows_are_not_below_the_interval_of_the_card(
    card: dict[str, Any], fer2013: Dataset
) -> None:
    """Every seventh row. The card's interval is that of 3,589 rows; of 500 it is wider by the root of 7.2."""
    rows = fer2013.rows("PrivateTest")[::7][:500]
    figures = measured(card["name"], fer2013.take(rows))
    stated = card["metrics"]["PrivateTest"]
    below = (stated["accuracy"]["value"] - stated["accuracy"]["low"]) * math.sqrt(stated["n"] / len(rows))
    assert figures["n"] == 500
    assert figures["accuracy"]["value"] >= stated["accuracy"]["value"] - below


def test_the_figures_on_the_card_can_be_measured_again(card: dict[str, Any], fer2013: Dataset) -> None:
    """Two thousandths cover processors that round differently."""
    assert card["data"]["sha256"] == fer2013.sha256
    found, stated = measured(card["name"], fer2013), card["metrics"]["PrivateTest"]
    assert found["n"] == stated["n"]
    for name in ("accuracy", "accuracy_without_duplicates", "ece", "auc"):
        assert found[name]["value"] == pytest.approx(stated[name]["value"], abs=0.002), name


def test_the_temperature_of_the_ensemble_is_the_one_that_fits(fer2013: Dataset) -> None:
    """On PublicTest, and for the members that ship; others begin at 1."""
    rows = fer2013.rows("PublicTest")
    part = fer2013.take(rows)
    said = [
        evaluate.evaluate(
            evaluate.open_classifier(one.name), part, "PublicTest", resamples=1, timed=False
        ).probabilities
        for one in ensemble.MEMBERS
    ]
    fitted = fit_temperature(np.log(np.mean(said, axis=0) + 1e-12), part.labels)
    assert ensemble.EnsembleOptions().softmax_temperature == pytest.approx(fitted, abs=0.02)
    others = ensemble.EnsembleOptions.model_validate({"members": ["cnn", "cnn_lstm"]})
    assert others.softmax_temperature == 1


@pytest.mark.parametrize(("portrait", "label"), [("astronaut.png", "happy"), ("grace_hopper.jpg", "neutral")])
def test_the_faces_in_the_public_domain_are_read(portrait: str, label: str) -> None:
    (face,) = streamfer.predict(ROOT / "tools/portraits" / portrait)
    assert face.label == label
