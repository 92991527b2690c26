"""The shipped model: its card, its README and the file agree, and the figures can be measured again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfer.training import data, evaluate, export, recipe
from streamfer.types import LABELS

ROOT = Path(__file__).parents[2]
CNN = ROOT / "plugins/streamfer_classifiers/cnn"
FER2013 = ROOT.parent / "shared/data/fer2013.npz"


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CNN / "card.json").read_text("utf-8"))
    return content


def test_the_card_describes_the_file(card: dict[str, Any]) -> None:
    model = (CNN / card["file"]).read_bytes()
    assert hashlib.sha256(model).hexdigest() == card["sha256"]
    assert len(model) == card["size_bytes"]
    assert tuple(card["labels"]) == LABELS


def test_the_readme_quotes_the_card(card: dict[str, Any]) -> None:
    readme = (CNN / "README.md").read_text("utf-8")
    assert f"{card['metrics']['PrivateTest']['accuracy']:.2%}" in readme
    assert export.with_figures(readme, card) == readme, "export again, or undo the change to the figures"


def test_the_card_was_made_by_the_recipe_beside_it(card: dict[str, Any]) -> None:
    shipped = recipe.load(CNN / "recipe.yaml")
    assert recipe.Recipe.model_validate(card["recipe"]) == shipped
    assert card["trained"]["epochs"] == shipped.epochs
    assert (card["name"], card["version"]) == (shipped.name, shipped.version)


def test_the_recipe_leaves_nothing_to_defaults() -> None:
    """A later change of a default must not change what the recipe of the shipped weights says."""
    written = yaml.safe_load((CNN / "recipe.yaml").read_text("utf-8"))
    complete = recipe.Recipe().model_dump()
    assert written.keys() == complete.keys()
    assert written["model"].keys() == complete["model"].keys()
    assert written["augment"].keys() == complete["augment"].keys()


def test_the_figures_on_the_card_can_be_measured_again(card: dict[str, Any]) -> None:
    """Two thousandths cover processors that round differently."""
    if not FER2013.is_file():
        pytest.skip(f"FER2013 is not part of the project and not at {FER2013}")
    dataset = data.load(FER2013)
    predict = evaluate.interpreter(evaluate.verified_model(CNN / "card.json"))
    rows = {"PrivateTest": dataset.rows("PrivateTest")}
    rows[evaluate.WITHOUT_DUPLICATES] = dataset.unseen_rows("PrivateTest")
    for name, chosen in rows.items():
        found, stated = (
            evaluate.metrics(predict(dataset.inputs(chosen)), dataset.labels[chosen]),
            card["metrics"][name],
        )
        assert found["n"] == stated["n"]
        assert found == pytest.approx(stated, abs=0.002), name
    assert card["data"] == {"name": dataset.name, "rows": len(dataset.labels), "sha256": dataset.sha256}
