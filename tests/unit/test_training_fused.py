"""Fused batch normalisation trains the same network as Keras's own, and stays out of what is saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")

Images = NDArray[np.float32]


def network(policy: str = "float32") -> Any:
    keras.utils.set_random_seed(5)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        faces = keras.Input((10, 10, 1), dtype="float32")
        x = keras.layers.Conv2D(6, 3, use_bias=False)(faces)
        x = keras.layers.BatchNormalization(momentum=0.8, name="of_images")(x)
        inner = keras.Sequential([keras.Input((8, 8, 6)), keras.layers.BatchNormalization(name="inside")])
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(inner(x)))
        x = keras.layers.BatchNormalization(name="of_vectors")(x)
        return keras.Model(faces, keras.layers.Dense(3, dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy(before)


def trained(model: Any) -> tuple[list[float], list[Images], Images]:
    """Losses of ten steps, the weights after them, and what the model then answers."""
    random = np.random.default_rng(2)
    model.compile(
        keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(True), jit_compile=False
    )
    faces = random.normal(20, 30, (24, 10, 10, 1)).astype(np.float32)
    labels = random.integers(0, 3, 24)
    losses = [float(model.train_on_batch(faces, labels)) for _ in range(10)]
    return losses, model.get_weights(), np.asarray(model(faces, training=False))


@pytest.mark.parametrize(("policy", "apart"), [("float32", 1e-4), ("mixed_bfloat16", 2e-2)])
def test_it_trains_the_same_network(policy: str, apart: float) -> None:
    """Weights and running statistics; in bfloat16 up to its coarser rounding."""
    from streamfer.training.fused import fuse

    plain, fused = network(policy), network(policy)
    fuse(fused)
    kinds = [type(layer).__name__ for layer in fused._flatten_layers(include_self=False)]
    assert kinds.count("_Fused") == 2, "the one of images and the one inside a submodel"
    wanted, found = trained(plain), trained(fused)
    np.testing.assert_allclose(found[0], wanted[0], atol=apart)
    for one, other in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=apart, rtol=apart)
    np.testing.assert_allclose(found[2], wanted[2], atol=5 * apart)
    assert wanted[0][-1] < wanted[0][0], "nothing was learnt"


def test_a_frozen_layer_keeps_its_statistics() -> None:
    from streamfer.training.fused import fuse

    model = network()
    fuse(model)
    layer = model.get_layer("of_images")
    layer.trainable = False
    before = [one.copy() for one in layer.get_weights()]
    trained(model)
    for one, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
