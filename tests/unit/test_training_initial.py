"""A run that starts from another network's weights, and what is counted of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import recipe
from tests.training import Silent, faces, write_recipe

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("first"))


def train(folder: Path, **changes: object) -> Path:
    from streamfer.training.train import train as run

    path = write_recipe(folder, **{"epochs": 1, **changes})
    run(recipe.load(path), faces(), folder / "run", Silent())
    return folder / "run"


def test_it_goes_on_where_the_other_was(run: Path, tmp_path: Path) -> None:
    """With a learning rate that changes nothing, the weights are the other run's; without, they are not."""
    still = {"learning_rate": 1e-9, "weight_decay": 0, "seed": 9}
    wanted = keras.models.load_model(run / "model.keras").layers
    given = keras.models.load_model(
        train(tmp_path / "a", initial=str(run / "model.keras"), **still) / "model.keras"
    ).layers
    fresh = keras.models.load_model(train(tmp_path / "b", **still) / "model.keras").layers
    for one, other, random in zip(given, wanted, fresh, strict=True):
        for found, meant, untouched in zip(
            one.trainable_weights, other.trainable_weights, random.trainable_weights, strict=True
        ):
            np.testing.assert_allclose(found, meant, atol=1e-6)
            assert "kernel" not in found.path or not np.allclose(found, untouched, atol=1e-3)


def test_the_first_layers_are_taken_as_far_as_they_are_alike(run: Path) -> None:
    from streamfer.training.feed import start_from

    def like(filters: int, last: int) -> Any:
        faces = keras.Input((24, 24, 1))
        x = keras.layers.Conv2D(filters, 3, use_bias=False)(faces)
        x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
        return keras.Model(faces, keras.layers.Dense(last)(x))

    model = like(4, 7)
    assert start_from(run / "model.keras", model) == 2, "the dense layer has more to read"
    source = next(
        one for one in keras.models.load_model(run / "model.keras").layers if hasattr(one, "kernel")
    )
    np.testing.assert_array_equal(model.layers[1].kernel, source.kernel)
    with pytest.raises(UsageError, match="its first layer is not like this network's"):
        start_from(run / "model.keras", like(5, 7))


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.keras").write_text("no")
    for name in ("no.keras", "absent.keras"):
        with pytest.raises(UsageError, match=r"initial: .*\.keras: cannot be read as a Keras model: [^\n]*$"):
            train(tmp_path / "x", initial=str(tmp_path / name))


def test_operations_are_counted_whatever_the_layer() -> None:
    """By hand: separable and plain convolution, strips of an image folded into the batch, LSTM, dense."""
    from streamfer.training.litert import count_macs

    faces = keras.Input((8, 8, 4))
    x = keras.layers.SeparableConv2D(6, 3, padding="same")(faces)
    x = keras.ops.reshape(x, (-1, 4, 8, 6))
    x = keras.layers.Conv2D(5, 3)(x)
    x = keras.layers.Reshape((2, 30))(keras.ops.reshape(x, (-1, 60)))
    x = keras.layers.LSTM(7, unroll=True)(x)
    model = keras.Model(faces, keras.layers.Dense(2)(x))
    separable = 64 * 9 * 4 + 64 * 4 * 6
    strips = 2 * (2 * 6) * (3 * 3 * 6 * 5)
    lstm = 2 * 2 * (30 * 28 + 7 * 28)  # two strips, two steps each
    assert count_macs(model) == separable + strips + lstm + 2 * 7 * 2
