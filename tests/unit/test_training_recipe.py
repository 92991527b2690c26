"""Recipes: the shipped one is valid, and a mistake is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamfer.errors import UsageError
from streamfer.training import recipe

CNN = Path(__file__).parents[2] / "plugins/streamfer_classifiers/cnn"


def test_the_shipped_recipe_is_valid_and_frozen() -> None:
    loaded = recipe.load(CNN / "recipe.yaml")
    assert loaded.name == "cnn"
    with pytest.raises(ValidationError):
        loaded.epochs = 2  # type: ignore[misc]  # the assignment is what must fail


def test_an_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# all defaults\n")
    assert recipe.load(tmp_path / "empty.yaml") == recipe.Recipe()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epochz: 3\n", "epochz: Extra inputs are not permitted"),
        ("augment: {flop: true}\n", "augment.flop: Extra inputs are not permitted"),
        ("epochs: 0\n", "epochs: "),
        ("model: {widths: wide}\n", "model.widths: "),
        ("epochs: 2\nwarmup_epochs: 2\n", "warmup_epochs 2 must be below epochs 2"),
        ("precision: float16\n", "precision: "),
        ("- a list\n", "recipe: "),
        ("epochs: [\n", "not YAML"),
        (None, "No such file or directory"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        recipe.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and complaint in message and "\n" not in message
