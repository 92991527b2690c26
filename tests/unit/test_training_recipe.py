"""Recipes: those in configs/train are valid and complete, and a mistake is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from streamfer.errors import UsageError
from streamfer.training import networks, recipe
from streamfer.types import CropSpec

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs/train").rglob("*.yaml"))
CARD = ROOT / "plugins/streamfer_classifiers/cnn/card.json"


def test_there_are_two_recipes_for_cnn() -> None:
    assert {"cnn-best.yaml", "cnn-paper.yaml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_of_ours_is_valid_and_leaves_nothing_to_defaults(path: Path) -> None:
    """A later change of a default must not change what the recipe of shipped weights says."""
    loaded = recipe.load(path)
    written = yaml.safe_load(path.read_text("utf-8"))
    optional = {"plugins", "cooldown_epochs", "plateau"}  # of one schedule, or of another's plugin
    other_mode = {"rows", "stride", "frames"}  # the window says how many frames
    if loaded.window is None:
        optional |= {"window", "synthetic", "train_encoder", "copies"}
        other_mode = {"mode", "frames"}
    else:
        assert written["window"].keys() == recipe.WindowOptions.model_fields.keys()
        if loaded.synthetic is None:
            optional |= {"synthetic"}
        else:
            assert written["synthetic"].keys() == recipe.SyntheticOptions.model_fields.keys()
    assert set(recipe.Recipe.model_fields) - written.keys() <= optional
    assert written["augment"].keys() == recipe.AugmentOptions.model_fields.keys()
    options = networks.find(loaded.classifier, loaded.model).options
    assert type(options).model_fields.keys() - written["model"].keys() <= other_mode


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        recipe.load(RECIPES[0]).epochs = 2  # type: ignore[misc]  # the assignment is what must fail


def test_a_card_is_a_recipe_too() -> None:
    assert recipe.load(CARD) == recipe.load(ROOT / "configs/train/cnn-best.yaml")


def test_plugins_are_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("classifier: own\nplugins: [own.py]\n")
    assert recipe.load(tmp_path / "own.yaml").plugins == (tmp_path / "own.py",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "classifier: Field required"),
        ("classifier: cnn\nepochz: 3\n", "epochz: Extra inputs are not permitted"),
        ("classifier: cnn\naugment: {flop: true}\n", "augment.flop: Extra inputs are not permitted"),
        ("classifier: cnn\nepochs: 0\n", "epochs: "),
        ("classifier: cnn\nepochs: 2\nwarmup_epochs: 2\n", "warmup_epochs 2 must be below epochs 2"),
        ("classifier: cnn\nschedule: trapezoid\n", "cooldown_epochs 0 must be above 0"),
        ("classifier: cnn\nschedule: trapezoid\ncooldown_epochs: 23\n", "at most 22"),
        ("classifier: cnn\ncooldown_epochs: 3\n", "cooldown_epochs belongs to schedule: trapezoid"),
        ("classifier: cnn\nprecision: float16\n", "precision: "),
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


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("cnnn", {}, "classifier: "),
        ("cnn", {"widths": "wide"}, "model.widths: "),
        ("cnn", {"width": [4]}, "model.width: "),
    ],
)
def test_a_network_that_is_not_there_or_has_no_such_option(
    name: str, options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        networks.find(name, options)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_building_in_mixed_precision_leaves_the_policy_as_it_was() -> None:
    keras = pytest.importorskip("keras", reason="needs streamfer[train]")
    model = networks.find("cnn", {"widths": [4], "convolutions": 1}).build(
        CropSpec(8, 8), 7, "mixed_bfloat16"
    )
    assert model.get_layer("stage1_1_conv").compute_dtype == "bfloat16"
    assert model.get_layer("logits").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
