"""Networks of windows: trained with and without their encoder, resumed, exported in two models, served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from streamfer.errors import UsageError
from streamfer.training import recipe as recipes
from streamfer.training.dataset import Dataset
from streamfer.types import LABELS
from tests.training import SIDE, Silent, faces

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")

PLUGIN = """
from pydantic import Field
from streamfer.api import Component, Options, Parts, network
from streamfer.hookspecs import hookimpl


class PairOptions(Options):
    frames: int = Field(3, ge=1)
    reads: int = Field(4, ge=1, description="features that the head reads: 4 fit")
    filters: int = Field(4, ge=1)


def build(options, crop, labels):
    import keras
    from keras import layers

    faces = keras.Input(tuple(crop), name="faces")
    x = layers.Conv2D(options.filters, 3, use_bias=False)(faces / 127.5 - 1)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dense(4, dtype="float32")(layers.Flatten()(layers.AveragePooling2D(4)(x)))
    features = keras.Input((options.frames, options.reads), name="features")
    last = layers.LSTM(5, unroll=True, dtype="float32")(features)
    return Parts(keras.Model(faces, x), keras.Model(features, layers.Dense(labels, dtype="float32")(last)))


def single(options, crop, labels):
    import keras

    parts = build(options, crop, labels)
    return keras.Model(parts.encoder.input, keras.layers.Dense(labels, dtype="float32")(parts.encoder.output))


@hookimpl
def streamfer_components():
    return [network("pair", "Encoder and head", build=":build", options=PairOptions),
            network("single", "The encoder alone", build=":single", options=PairOptions)]
"""

WINDOW = {"frames": 3, "fps": 10.0}
SYNTHETIC = {"clips": 40, "public_clips": 8, "seconds": 1.0}


def write(folder: Path, **changes: Any) -> recipes.Recipe:
    (folder / "pair.py").write_text(PLUGIN)
    still = {"classifier": "pair", "plugins": ["pair.py"], "epochs": 2, "batch_size": 32, "warmup_epochs": 0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(still | {"ema": 0.5} | changes))
    return recipes.load(folder / "recipe.yaml")


def frozen(initial: Path) -> dict[str, Any]:
    return {
        "window": WINDOW,
        "synthetic": SYNTHETIC,
        "train_encoder": False,
        "initial": str(initial),
        "learning_rate": 0.05,
    }


def clips(rows: int = 140) -> Dataset:
    """The bars as clips of four frames at 10 fps, five tenths apart in each pixel."""
    data = faces(rows)
    images = np.repeat(data.images, 4, axis=0)
    images[1::4], images[2::4], images[3::4] = (images[k::4] // 2 + 40 * k for k in (1, 2, 3))
    many = len(images)
    return Dataset(
        "clips",
        images,
        np.repeat(data.labels, 4),
        np.repeat(data.split, 4),
        LABELS,
        sequences=(np.arange(many) // 4).astype(np.int32),
        frames=(np.arange(many) % 4).astype(np.int32),
        seconds=(np.arange(many) % 4) / 10,
        about={"map": {"contempt": "drop"}},
    )


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of single faces whose first layers are the encoder's, untrained."""
    from streamfer.training.networks import find
    from streamfer.types import CropSpec

    folder = tmp_path_factory.mktemp("single")
    recipe = write(folder, classifier="single")
    keras.utils.set_random_seed(5)
    find("single", {}, recipe.plugins).build(CropSpec(SIDE, SIDE, 1), 7).save(folder / "single.keras")
    return folder / "single.keras"


@pytest.fixture(scope="module")
def run(initial: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on the frozen encoder, on synthetic clips."""
    from streamfer.training.train import train

    folder = tmp_path_factory.mktemp("frozen")
    progress = Silent()
    train(write(folder, **frozen(initial)), faces(), folder / "run", progress)
    assert progress.prepared == (480, 480), "frames that went through the encoder"
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    from streamfer.training.export import export

    export(run, faces(), run / "out", keras_file=True)
    return run / "out"


def card_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "card.json").read_text("utf-8"))
    return content


def parts_in(run: Path) -> Any:
    from streamfer.training.sequences.parts import parts_of

    return parts_of(keras.models.load_model(run / "model.keras"))


def test_a_frozen_encoder_stays_what_it_was(run: Path, initial: Path) -> None:
    wanted = keras.models.load_model(initial).get_weights()
    found = parts_in(run).encoder.get_weights()
    assert len(found) == len(wanted) - 2
    for one, other in zip(found, wanted, strict=False):
        np.testing.assert_array_equal(one, other)


def test_a_run_that_was_cut_off_goes_on_as_if_it_was_not(run: Path, initial: Path, tmp_path: Path) -> None:
    """And what the encoder said of the frames is not computed again."""
    from streamfer.training.train import train

    class Stop(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    plan = write(tmp_path, **frozen(initial))
    with pytest.raises(KeyboardInterrupt):
        train(plan, faces(), tmp_path / "run", Stop())
    progress = Silent()
    train(plan, faces(), tmp_path / "run", progress)
    assert progress.prepared is None and progress.begun is not None and progress.begun[0] == 1
    for one, other in zip(parts_in(run).head.weights, parts_in(tmp_path / "run").head.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_of_another_encoder_are_refused(run: Path, initial: Path, tmp_path: Path) -> None:
    from streamfer.training.train import train

    other = keras.models.load_model(initial)
    other.set_weights([weights + 0.1 for weights in other.get_weights()])
    other.save(tmp_path / "other.keras")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/features.npz").write_bytes((run / "features.npz").read_bytes())
    plan = write(tmp_path, **frozen(tmp_path / "other.keras"))
    with pytest.raises(UsageError, match=r"features\.npz: was made with another encoder"):
        train(plan, faces(), tmp_path / "run", Silent())


def test_the_card_describes_two_models_that_fit(exported: Path) -> None:
    card = card_in(exported)
    assert card["window"] == {"frames": 3, "stride": 1, "fps": 10.0, "max_gap": 0.5}
    assert (card["features"], card["file"], card["head"]["file"]) == (4, "pair.tflite", "pair-head.tflite")
    assert card["data"]["name"] == "bars in synthetic motion" and card["recipe"]["synthetic"]["clips"] == 40
    assert card["data"]["sha256"] == faces().sha256 and "map" not in card["data"]
    assert "held still" in card["measured_on"]
    assert card["synthetic"]["clips"] == 8 and card["metrics"]["PublicTest"]["n"] == 20
    named = [card["file"], card["head"]["file"], card["keras"]["file"], card["keras_head"]["file"]]
    assert sorted(path.name for path in exported.iterdir()) == sorted(["card.json", *named])


def test_both_runtimes_answer_as_the_trained_network_does(run: Path, exported: Path) -> None:
    """Windows of different faces, through the files as the service runs them."""
    from streamfer.training.litert import Calibration, interpreter, probabilities

    card, images = card_in(exported), faces().images[:42].astype(np.float32)
    windows = images.reshape(14, 3, SIDE, SIDE, 1)
    calibration = Calibration(card["temperature"], card["floor"])
    network = keras.models.load_model(run / "model.keras")
    wanted = probabilities(network.predict(windows, verbose=0), calibration)
    encoder = interpreter((exported / "pair.tflite").read_bytes())
    head = interpreter((exported / "pair-head.tflite").read_bytes())
    found = head(encoder(images).reshape(14, 3, 4))
    np.testing.assert_allclose(found, wanted, atol=0.05)  # int8 weights
    assert np.ptp(wanted, axis=0).max() > 0.1, "or anything would be near it"
    encoder, head = (keras.models.load_model(exported / name) for name in ("pair.keras", "pair-head.keras"))
    features = encoder.predict(images, verbose=0).reshape(14, 3, 4)
    np.testing.assert_allclose(head.predict(features, verbose=0), wanted, atol=1e-4)


def test_the_service_can_open_what_was_exported(exported: Path, run: Path) -> None:
    from streamfer.training.served import open_classifier

    served = open_classifier("pair", str(exported / "card.json"), plugins=[run.parent / "pair.py"])
    assert served.predict(faces().images[:3]).shape == (3, 7)


def test_a_network_without_its_parts_is_not_exported(run: Path, tmp_path: Path) -> None:
    from streamfer.training.export import export
    from streamfer.training.sequences.parts import joined

    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "run.json").write_bytes((run / "run.json").read_bytes())
    frames = keras.Input((3, SIDE, SIDE, 1))
    keras.Model(frames, keras.layers.Dense(7)(keras.layers.Flatten()(frames))).save(copy / "model.keras")
    with pytest.raises(UsageError, match="has no encoder and head"):
        export(copy, faces(), tmp_path / "out")
    parts = parts_in(run)
    longer = keras.Input((5, 4))
    other = keras.Model(longer, keras.layers.Dense(7)(keras.layers.LSTM(2, unroll=True)(longer)))
    joined(parts._replace(head=other)).save(copy / "model.keras")
    with pytest.raises(UsageError, match=r"window\.frames is 3, and the network reads 5 frames"):
        export(copy, faces(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_clips_train_the_whole_network_and_are_measured_by_their_windows(tmp_path: Path) -> None:
    from streamfer.training.export import export
    from streamfer.training.train import train

    plan = write(tmp_path, window=WINDOW, epochs=1)
    train(plan, clips(), tmp_path / "run", Silent())
    card = export(tmp_path / "run", clips(), tmp_path / "out", weights="float32")
    assert card["data"]["name"] == "clips" and "synthetic" not in card
    assert card["data"]["map"] == {"contempt": "drop"}, "what became of classes that are not ours"
    assert card["metrics"]["PublicTest"]["n"] == 40 and "real frames" in card["measured_on"]
    # A later run may begin where this one is, encoder and head.
    first = str(tmp_path / "run/model.keras")
    later = write(tmp_path, window=WINDOW, epochs=1, initial=first, learning_rate=1e-9)
    train(later, clips(), tmp_path / "later", Silent())
    for one, other in zip(parts_in(tmp_path / "run"), parts_in(tmp_path / "later"), strict=True):
        for found, meant in zip(other.trainable_weights, one.trainable_weights, strict=True):
            np.testing.assert_allclose(found, meant, atol=1e-6)


def test_altered_copies_of_real_clips_reach_a_frozen_encoder(initial: Path, tmp_path: Path) -> None:
    from streamfer.training.networks import find
    from streamfer.training.sequences.feed import Sequences

    plan = write(tmp_path, **frozen(initial) | {"synthetic": None, "copies": 2})
    data = clips()
    feed = Sequences(plan, find("pair", {}, plan.plugins, 3), data)
    feed.prepare(tmp_path, lambda done, total: None)
    chosen = np.zeros(64, np.intp)
    found = np.unique(feed.inputs(chosen, epoch=0), axis=0)
    assert len(found) == 3, "the clip as it is, and two copies"
    assert len(np.unique(feed.public(chosen), axis=0)) == 1, "what is measured is never altered"


def test_all_frames_of_a_window_are_changed_alike() -> None:
    from streamfer.training.recipe import AugmentOptions
    from streamfer.training.sequences.parts import WindowAugment

    window = np.repeat(faces().images[:4, None].astype(np.float32), 5, axis=1)
    changed = np.asarray(WindowAugment(AugmentOptions(), 1)(window, training=True))
    assert changed.shape == window.shape and (changed == changed[:, :1]).all()
    assert not np.array_equal(changed, window)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"synthetic": SYNTHETIC}, "synthetic belongs to networks of windows"),
        ({"train_encoder": False}, "train_encoder belongs to networks of windows"),
        ({"window": WINDOW, "train_encoder": False}, "train_encoder: false needs initial"),
        ({"window": WINDOW, "copies": 2}, "copies are made of real clips for a frozen encoder"),
        ({"window": {"frames": 3}}, "window.fps: Field required"),
        ({"window": WINDOW, "synthetic": {"fade_seconds": [0.5, 0.1]}}, "fade_seconds 0.5, 0.1: expected"),
        (
            {"window": WINDOW, "synthetic": {"interruption_seconds": [0.5, 0.1]}},
            "interruption_seconds 0.5, 0.1: expected",
        ),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        write(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "'pair' with these options reads windows of frames: the recipe must say which"),
        ({"classifier": "single", "window": WINDOW}, "'single' with these options reads single faces"),
        ({"window": WINDOW, "model": {"frames": 4}}, "window.frames is 3, and the network reads 4 frames"),
        ({"window": WINDOW, "model": {"reads": 5}}, "encoder and head do not fit"),
        ({"window": WINDOW}, "bars: not video"),
    ],
)
def test_networks_and_data_that_do_not_fit(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    from streamfer.training.train import train

    with pytest.raises(UsageError, match=complaint):
        train(write(tmp_path, **changes), faces(), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_shape_cannot_stay_frozen(initial: Path, tmp_path: Path) -> None:
    from streamfer.training.train import train

    plan = write(tmp_path, **frozen(initial) | {"model": {"filters": 5}})
    with pytest.raises(UsageError, match="its first layer is not like this encoder's"):
        train(plan, faces(), tmp_path / "run", Silent())
    source = keras.models.load_model(initial)
    longer = keras.Sequential([*source.layers[:-2], keras.layers.Dense(9)])
    longer.build((None, SIDE, SIDE, 1))
    longer.save(tmp_path / "longer.keras")
    plan = write(tmp_path, **frozen(tmp_path / "longer.keras"))
    with pytest.raises(UsageError, match="only the first 2 of the encoder's 3 layers"):
        train(plan, faces(), tmp_path / "run", Silent())


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn_bilstm"])
def test_our_networks_read_frames_in_order_with_the_encoder_of_a_cnn(name: str) -> None:
    from streamfer.training.feed import take_weights
    from streamfer.training.networks import find
    from streamfer.types import CropSpec

    crop, shape = CropSpec(SIDE, SIDE, 1), {"widths": [4, 6], "convolutions": 1}
    parts = find(name, {"mode": "frames", "units": 5, **shape}, frames=3).build_parts(crop, 7, 3)
    cnn = find("cnn", shape).build(crop, 7)
    assert take_weights(cnn, parts.encoder) == 4, "two convolutions, two normalisations"
    images = faces().images[:3].astype(np.float32)
    pooled = keras.Model(cnn.input, cnn.get_layer("pool").output)
    features = parts.encoder.predict(images, verbose=0)
    np.testing.assert_array_equal(features, pooled.predict(images, verbose=0))
    there, back = (
        parts.head.predict(window[None], verbose=0) for window in (10 * features, 10 * features[::-1])
    )
    assert np.abs(there - back).max() > 1e-4
