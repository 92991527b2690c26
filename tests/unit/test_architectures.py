"""What is particular to one architecture: strips of rows, the sixth block, ImageNet weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.types import CropSpec

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")

CROP = CropSpec(48, 48, 1)


def build(name: str, crop: CropSpec = CROP, labels: int = 7, **options: Any) -> Any:
    from streamfer.training.networks import find

    return find(name, options).build(crop, labels)


def test_the_strips_are_the_rows_from_top_to_bottom() -> None:
    from streamfer_classifiers.cnn_lstm.model import _strips

    images = np.arange(2 * 10 * 3, dtype=np.float32).reshape(2, 10, 3, 1)
    strips = np.asarray(_strips(images, 4, 3))
    assert strips.shape == (2, 3, 4, 3, 1)
    for place, start in enumerate((0, 3, 6)):
        np.testing.assert_array_equal(strips[:, place], images[:, start : start + 4])
    assert np.asarray(_strips(images, 1, 1)).shape == (2, 10, 1, 3, 1), "one pixel row after another"


def test_the_order_of_the_rows_matters_to_an_lstm_and_their_images_do_not_mix() -> None:
    """Strips of all images go through the convolutions as one batch: no image may get another's."""
    model = build("cnn_lstm", rows=4, stride=4, widths=[4], convolutions=1, units=6)
    faces = np.random.default_rng(0).uniform(0, 255, (3, *CROP)).astype(np.float32)
    together = np.asarray(model(faces, training=False))
    alone = np.concatenate([np.asarray(model(face[None], training=False)) for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    upside_down = faces.reshape(3, 12, 4, 48, 1)[:, ::-1].reshape(faces.shape)
    assert np.abs(np.asarray(model(upside_down, training=False)) - together).max() > 1e-3


def test_a_strip_taller_than_the_face_is_one_line() -> None:
    with pytest.raises(UsageError, match="model: rows 49 is more than the 48 of the image"):
        build("cnn_lstm", rows=49)


def test_only_rows_are_a_mode() -> None:
    with pytest.raises(UsageError, match=r"model\.mode: Input should be 'rows'"):
        build("cnn_lstm", mode="columns")


def test_the_bilstm_reads_the_map_row_by_row() -> None:
    model = build("cnn_bilstm", widths=[4, 8, 8, 16], units=5)
    assert model.get_layer("rows").output.shape == (None, 6, 6 * 16)
    assert model.get_layer("bilstm").output.shape == (None, 10)


def test_the_blocks_are_those_of_the_literature_and_a_sixth_fits() -> None:
    """On 48×48 five poolings leave 2×2, and a sixth 1×1."""
    for filters, left in (((256, 512, 384, 192, 512), 2), ((256, 512, 384, 192, 512, 1024), 1)):
        model = build("stacked_cnn", filters=list(filters))
        layers = [one for one in model.layers if isinstance(one, keras.layers.Conv2D)]
        assert tuple(one.filters for one in layers) == filters
        assert all(one.kernel_size == (3, 3) for one in layers)
        assert model.get_layer("features").input.shape == (None, left, left, filters[-1])
        drops = [one.rate for one in model.layers if isinstance(one, keras.layers.Dropout)]
        assert drops == [0.5] * (len(filters) + 1)


SMALL: dict[str, Any] = {"side": 96, "alpha": 0.35}


@pytest.fixture(scope="module", params=["weights.h5", "h5"])
def imagenet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Keras writes them today, and one of the older kind, which the ImageNet weights are."""
    keras.utils.set_random_seed(7)
    backbone = keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)
    path: Path = tmp_path_factory.mktemp("imagenet") / f"backbone.{request.param}"
    backbone.save_weights(path) if request.param == "weights.h5" else backbone.save(path)
    return path


def kernel(model: Any) -> Any:
    return np.asarray(model.get_layer("backbone").get_layer("Conv1").kernel)


def test_mobilenet_starts_from_the_file(imagenet: Path) -> None:
    keras.utils.set_random_seed(7)
    wanted = keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)
    model = build("mobilenet_v2", imagenet=str(imagenet), **SMALL)
    np.testing.assert_array_equal(kernel(model), np.asarray(wanted.get_layer("Conv1").kernel))
    assert not np.allclose(kernel(build("mobilenet_v2", **SMALL)), kernel(model))


def test_an_imagenet_file_that_is_not_there_or_does_not_fit_is_one_line(
    imagenet: Path, tmp_path: Path
) -> None:
    (tmp_path / "no.weights.h5").write_text("no")
    face = keras.Input((8, 8, 1))
    other = tmp_path / "other.weights.h5"
    keras.Model(face, keras.layers.Dense(2)(face)).save_weights(other)
    for file, options, complaint in (
        (tmp_path / "absent.h5", SMALL, r"absent\.h5: no such file"),
        (tmp_path / "no.weights.h5", SMALL, r"no\.weights\.h5: cannot be read"),
        (imagenet, {"side": 96, "alpha": 0.5}, r"h5: does not fit"),
        (other, SMALL, r"other\.weights\.h5: does not fit"),
    ):
        with pytest.raises(UsageError, match=rf"^model: imagenet: [^\n]*{complaint}[^\n]*$"):
            build("mobilenet_v2", imagenet=str(file), **options)


def test_mobilenets_running_means_follow_as_the_option_says() -> None:
    model = build("mobilenet_v2", momentum=0.7, **SMALL)
    norms = [
        one for one in model.get_layer("backbone").layers if isinstance(one, keras.layers.BatchNormalization)
    ]
    assert len(norms) > 40 and {one.momentum for one in norms} == {0.7}
