"""Training for real, on a few synthetic faces: it learns, is resumed exactly, and ends in one line."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import dataset, recipe
from streamfer.training.dataset import FERPLUS_NAMES, Dataset
from streamfer.training.run import Checkpoint, RunFolder
from streamfer.types import LABELS
from tests import service
from tests.training import SIDE, Silent, faces, write_recipe

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")

ROOT = Path(__file__).parents[2]


def train(path: Path, data: Dataset, out: Path) -> Silent:
    """Train by a recipe file in this process."""
    from streamfer.training.train import train as run

    progress = Silent()
    run(recipe.load(path), data, out, progress)
    return progress


@pytest.fixture(scope="module")
def data() -> Dataset:
    return faces()


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six epochs, trained without a break."""
    folder = tmp_path_factory.mktemp("run")
    train(write_recipe(folder), data, folder / "run")
    return folder / "run"


def weights(run: Path) -> list[Any]:
    found: list[Any] = keras.models.load_model(run / "model.keras").get_weights()
    return found


def equal(one: Path, other: Path) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


# ---- what a run is


def test_the_run_learns_and_keeps_a_history(run: Path) -> None:
    rows = RunFolder(run).history()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["PublicTest"] > 0.5, "a bar in seven places is easy"
    assert rows[0]["learning_rate"] > rows[-1]["learning_rate"] > 0


def test_progress_is_told_by_the_step(data: Dataset, tmp_path: Path) -> None:
    told = train(write_recipe(tmp_path, epochs=2), data, tmp_path / "run")
    assert told.begun == (0, 2, 5) and told.steps == 10, "80 rows in batches of 16"
    assert [row["epoch"] for row in told.rows] == [1, 2]


def test_the_run_tells_what_it_was_made_of(run: Path, data: Dataset) -> None:
    told = json.loads((run / "run.json").read_text())
    assert told["data"] == {"name": "bars", "rows": 140, "sha256": data.sha256}
    assert told["labels"] == list(LABELS) and told["input"] == [SIDE, SIDE, 1]
    assert told["recipe"]["model"] == {"filters": 4, "dropout": 0.1}, "defaults are written out"
    assert "plugins" not in told["recipe"], "paths of the machine are nobody's business"
    assert told["trained"]["keras"] == keras.__version__
    assert {"streamfer", "tensorflow", "numpy", "python", "backend", "date"} <= told["trained"].keys()
    assert told["history"] == RunFolder(run).history()


def test_the_saved_model_is_float32_and_has_no_augmentation(data: Dataset, tmp_path: Path) -> None:
    train(write_recipe(tmp_path, epochs=1, precision="mixed_bfloat16"), data, tmp_path / "run")
    model = keras.models.load_model(tmp_path / "run/model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert not [layer.name for layer in model.layers if "augment" in layer.name]
    assert keras.config.dtype_policy().name == "float32", "the policy is put back"


def test_a_run_can_be_repeated(run: Path, data: Dataset, tmp_path: Path) -> None:
    train(write_recipe(tmp_path), data, tmp_path / "same")
    train(write_recipe(tmp_path, seed=2), data, tmp_path / "other")
    assert equal(run, tmp_path / "same")
    assert not equal(run, tmp_path / "other")


def test_the_schedule_is_what_the_optimizer_follows(run: Path, data: Dataset, tmp_path: Path) -> None:
    train(write_recipe(tmp_path, schedule="constant"), data, tmp_path / "constant")
    assert not equal(run, tmp_path / "constant")


def test_what_is_not_for_training_does_not_touch_the_weights(
    run: Path, data: Dataset, tmp_path: Path
) -> None:
    """Other faces and labels in PublicTest and PrivateTest, the same network to the bit."""
    images, labels, held = data.images.copy(), data.labels.copy(), data.split != 0
    images[held], labels[held] = 255 - images[held], (labels[held] + 3) % 7
    train(write_recipe(tmp_path), replace(data, images=images, labels=labels), tmp_path / "other")
    assert equal(run, tmp_path / "other")


def test_other_labels_and_sizes_make_another_network(tmp_path: Path) -> None:
    train(
        write_recipe(tmp_path, epochs=1), faces(labels=("angry", "happy", "neutral", "sad")), tmp_path / "run"
    )
    assert keras.models.load_model(tmp_path / "run/model.keras").output_shape == (None, 4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_optimizer_trains(optimizer: str, data: Dataset, tmp_path: Path) -> None:
    told = train(write_recipe(tmp_path, optimizer=optimizer, epochs=3), data, tmp_path / "run")
    assert told.rows[-1]["loss"] < told.rows[0]["loss"]


def test_the_average_follows_slowly_and_without_momentum_at_once(data: Dataset, tmp_path: Path) -> None:
    for ema in (0.0, 0.9):
        train(write_recipe(tmp_path, epochs=2, ema=ema), data, tmp_path / f"ema{ema}")
    raw = RunFolder(tmp_path / "ema0.0").restore()
    assert raw is not None
    state = [value for value in raw.state if value.shape == raw.average[0].shape]
    assert any(np.array_equal(raw.average[0], value) for value in state), "no average: the weights themselves"
    assert not equal(tmp_path / "ema0.0", tmp_path / "ema0.9")


# ---- stopping and going on


@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule": "cosine"},
        {"schedule": "plateau", "plateau": {"patience": 1, "factor": 0.5}, "early_stopping": 5},
    ],
    ids=["cosine", "plateau"],
)
def test_a_run_cut_off_after_any_epoch_goes_on_exactly(
    schedule: dict[str, Any], data: Dataset, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, **schedule)

    class Cut(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            super().epoch(row)
            if row["epoch"] in (1, 4):
                raise KeyboardInterrupt

    from streamfer.training.train import train as start

    train(path, data, tmp_path / "whole")
    done = []
    for _ in range(3):
        progress = Cut()
        try:
            start(recipe.load(path), data, tmp_path / "cut", progress)
        except KeyboardInterrupt:
            assert not (tmp_path / "cut/run.json").exists()
        done.append([row["epoch"] for row in progress.rows])
    assert done == [[1], [2, 3, 4], [5, 6]]
    assert equal(tmp_path / "whole", tmp_path / "cut")

    def figures(folder: str) -> list[dict[str, Any]]:
        return [row | {"seconds": 0} for row in RunFolder(tmp_path / folder).history()]

    assert figures("whole") == figures("cut")


def start_command(recipe_file: Path, data: Path, out: Path, **environment: str) -> subprocess.Popen[str]:
    command = service.command("train", recipe_file, "--data", data, "--out", out)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
        start_new_session=True,
    )


def wait_for_epochs(process: subprocess.Popen[str], run: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(RunFolder(run).history()) < count and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was completed in two minutes"
        time.sleep(0.02)


def test_ctrl_c_is_one_line_and_the_last_checkpoint_is_whole(data: Dataset, tmp_path: Path) -> None:
    dataset.save(data, tmp_path / "bars.npz")
    recipe_file, run = write_recipe(tmp_path, epochs=5000), tmp_path / "run"
    with start_command(recipe_file, tmp_path / "bars.npz", run) as process:
        wait_for_epochs(process, run, 2)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    last = error.strip().splitlines()[-1]
    assert last.startswith("stopped: epochs 1 to ") and str(run) in last and "Traceback" not in error
    found = RunFolder(run).restore()
    assert found is not None
    assert f"epochs 1 to {found.epoch} are safe" in last or f"epochs 1 to {found.epoch - 1} are safe" in last
    assert not list(run.glob(".*draft*")) and out == ""
    assert "left" in error.splitlines()[0], "a line an epoch says how long it will take"


def test_a_kill_loses_at_most_an_epoch(run: Path, data: Dataset, tmp_path: Path) -> None:
    dataset.save(data, tmp_path / "bars.npz")
    recipe_file, killed = write_recipe(tmp_path), tmp_path / "run"
    with start_command(recipe_file, tmp_path / "bars.npz", killed) as process:
        wait_for_epochs(process, killed, 1)
        process.kill()
    assert not (killed / "run.json").exists(), "the kill came too late"
    with start_command(recipe_file, tmp_path / "bars.npz", killed) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert error.startswith("going on after epoch ") or "epoch 1/6" in error
    for one, other in zip(weights(killed), weights(run), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: writing more fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_without_room_for_a_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    """The system refuses to write more than a part of it, as it does when the disk is full."""
    folder = RunFolder(tmp_path)
    arrays = [np.zeros(50_000, np.float32)]
    folder.save(Checkpoint(3, 1.0, 30, arrays, arrays))
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with file_size_limit(100_000), pytest.raises(UsageError) as caught:
        folder.save(Checkpoint(4, 1.0, 40, arrays, arrays))
    message = str(caught.value)
    assert "the checkpoint of epoch 4 cannot be written" in message and os.strerror(errno.EFBIG) in message
    assert "epochs 1 to 3 are safe" in message and "\n" not in message
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"], (
        "no draft is left to fill the disk"
    )


def test_a_checkpoint_is_replaced_and_not_overwritten(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old file: at no moment is there half of one."""
    folder = RunFolder(tmp_path)
    folder.save(Checkpoint(1, 1.0, 10, [np.zeros(9)], []))
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with (tmp_path / "checkpoint.npz").open("rb") as file:
        folder.save(Checkpoint(2, 1.0, 20, [np.ones(9)], []))
        assert file.read() == before != (tmp_path / "checkpoint.npz").read_bytes()


def test_a_really_full_disk_stops_training_with_one_line(data: Dataset, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(
            UsageError, match=r"checkpoint of epoch \d cannot be written: No space left"
        ) as caught:
            train(write_recipe(tmp_path, model={"filters": 64}), data, disk / "run")
        assert "run the same command again" in str(caught.value)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_early_stopping_takes_the_best_epoch(data: Dataset, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, epochs=40, early_stopping=3, schedule="constant")
    train(path, data, tmp_path / "run")
    told = json.loads((tmp_path / "run/run.json").read_text())
    accuracies = [row["PublicTest"] for row in told["history"]]
    taken = accuracies.index(max(accuracies)) + 1
    assert len(accuracies) == taken + 3 < 40
    assert told["trained"]["epoch_taken"] == taken and told["trained"]["epochs"] == taken + 3
    model = keras.models.load_model(tmp_path / "run/model.keras")
    public = data.rows("PublicTest")
    answers = model.predict(data.inputs(public), verbose=0).argmax(axis=1)
    assert (answers == data.labels[public]).mean() == pytest.approx(max(accuracies), abs=1e-4)


def test_an_epoch_that_is_run_again_replaces_its_row(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch, loss in ((1, 3.0), (2, 2.5), (2, 2.0)):
        folder.record({"epoch": epoch, "loss": loss})
    assert folder.history() == [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}]


def test_a_longer_run_is_noted_only_where_it_changes_what_was_done(data: Dataset, tmp_path: Path) -> None:
    flat = {"schedule": "trapezoid", "cooldown_epochs": 1}
    for name, options in (("cosine", {"schedule": "cosine"}), ("flat", flat)):
        path = write_recipe(tmp_path, epochs=3, **options)
        from streamfer.training.train import train as start

        class Cut(Silent):
            def epoch(self, row: dict[str, Any]) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            start(recipe.load(path), data, tmp_path / name, Cut())
        train(write_recipe(tmp_path, epochs=4, **options), data, tmp_path / name)
    told = {name: json.loads((tmp_path / name / "run.json").read_text()) for name in ("cosine", "flat")}
    assert told["cosine"]["trained"]["replanned"] == [{"epochs": 3, "until": 1}]
    assert told["flat"]["trained"]["replanned"] == []
    train(write_recipe(tmp_path, epochs=4, **flat), data, tmp_path / "unbroken")
    assert equal(tmp_path / "flat", tmp_path / "unbroken")


# ---- bad input


def test_a_folder_with_another_run_is_refused(run: Path, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"another recipe \(not the same: seed, batch_size\)"):
        train(write_recipe(tmp_path, seed=2, batch_size=8), data, run)
    with pytest.raises(UsageError, match="has 6 epochs already, the recipe asks for 5"):
        train(write_recipe(tmp_path, epochs=5), data, run)


def test_what_only_the_export_reads_may_change(data: Dataset, tmp_path: Path) -> None:
    """A finished run is not trained again for it, and tells of it."""
    path = write_recipe(tmp_path, epochs=1)
    train(path, data, tmp_path / "run")
    before = weights(tmp_path / "run")
    train(write_recipe(tmp_path, epochs=1, version="2.0.0", flip_average=True), data, tmp_path / "run")
    told = json.loads((tmp_path / "run/run.json").read_text())["recipe"]
    assert (told["version"], told["flip_average"]) == ("2.0.0", True)
    for one, other in zip(weights(tmp_path / "run"), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_data_of_another_hash_on_resume_is_refused(run: Path, data: Dataset, tmp_path: Path) -> None:
    images = data.images.copy()
    images[5, 5, 5] ^= 1  # one bit
    with pytest.raises(UsageError) as caught:
        train(write_recipe(tmp_path), replace(data, name="altered", images=images), run)
    message = str(caught.value)
    assert "was trained on bars" in message and "altered" in message and data.sha256[:12] in message


def test_an_empty_class_is_named(data: Dataset, tmp_path: Path) -> None:
    rows = np.flatnonzero((data.labels != 3) | (data.split != 0))
    with pytest.raises(UsageError, match="no face of class happy in Training"):
        train(write_recipe(tmp_path), data.take(rows), tmp_path / "run")
    with pytest.raises(UsageError, match="no usable row in PublicTest"):
        train(write_recipe(tmp_path), data.take(data.rows("Training")), tmp_path / "run")


def test_a_run_that_diverges_says_so(data: Dataset, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(UsageError, match="has diverged; lower the recipe's learning_rate"):
        train(path, data, tmp_path / "run")


def test_votes_that_are_not_there_are_missed_at_once(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"asks for FER\+ votes \(ferplus\) and the data has none"):
        train(write_recipe(tmp_path, ferplus=0.5), replace(data, votes=None), tmp_path / "run")


def test_an_out_that_is_a_file_is_one_line(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: File exists"):
        train(write_recipe(tmp_path), data, tmp_path / "file")


def test_a_network_that_cannot_be_built_is_one_line(data: Dataset, tmp_path: Path) -> None:
    small = replace(data, images=data.images[:, :3, :3])
    with pytest.raises(UsageError, match=r"^model: ") as caught:
        train(write_recipe(tmp_path), small, tmp_path / "run")
    assert "\n" not in str(caught.value)


# ---- targets and augmentation


def test_targets_mix_label_votes_and_smoothing(data: Dataset) -> None:
    from streamfer.training.feed import targets

    assert data.votes is not None
    votes, row = data.votes.copy(), 3
    happy, neutral = LABELS.index("happy"), LABELS.index("neutral")
    votes[row] = 0
    votes[row, [FERPLUS_NAMES.index(name) for name in ("neutral", "happy", "unknown")]] = 6, 2, 2
    labels = data.labels.copy()
    labels[row] = happy
    chosen = recipe.Recipe(classifier="tiny", ferplus=0.5, label_smoothing=0.07)
    found = targets(replace(data, votes=votes, labels=labels), np.array([row]), chosen)
    wanted = np.full(7, 0.01)
    wanted[happy] += 0.93 * (0.5 + 0.5 * 0.25)
    wanted[neutral] += 0.93 * 0.5 * 0.75
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_each_ferplus_column_counts_for_its_label(data: Dataset) -> None:
    from streamfer.training.feed import targets

    votes = data.votes
    assert votes is not None
    votes = votes.copy()
    votes[:7] = np.eye(7, 10)
    chosen = recipe.Recipe(classifier="tiny", ferplus=1, label_smoothing=0)
    found = targets(replace(data, votes=votes), np.arange(7), chosen).argmax(axis=1)
    wanted = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]
    assert [LABELS[label] for label in found] == wanted


def test_augmentation_changes_training_images_only() -> None:
    from streamfer.training.augment import Augment

    images = np.random.default_rng(0).uniform(0, 255, (16, 48, 48, 1)).astype(np.float32)
    layer = Augment(recipe.AugmentOptions(), seed=1)
    assert np.array_equal(layer(images, training=False), images)
    changed = np.asarray(layer(images, training=True))
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 255
    assert all(np.abs(one - other).mean() > 1 for one, other in zip(changed, images, strict=True))


def test_each_augmentation_can_stand_alone() -> None:
    from streamfer.training.augment import Augment

    images = np.random.default_rng(0).uniform(100, 140, (64, 48, 48, 1)).astype(np.float32)
    off = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "brightness": 0, "contrast": 0, "erase": 0}

    def changed(**options: float) -> Any:
        layer = Augment(recipe.AugmentOptions(**(off | options)), seed=1)
        return np.asarray(layer(images, training=True))

    np.testing.assert_allclose(changed(), images, atol=1e-3)
    flips = [
        np.allclose(one, image[:, ::-1], atol=1e-3)
        for one, image in zip(changed(flip=True), images, strict=True)
    ]
    assert 16 < sum(flips) < 48
    brighter = (changed(brightness=25) - images).reshape(64, -1)
    assert brighter.std(axis=1).max() < 1e-2 and 5 < np.abs(brighter.mean(axis=1)).max() < 25
    gone = changed(erase=1) == 127.5
    assert ((gone.mean(axis=(1, 2, 3)) > 0) & (gone.mean(axis=(1, 2, 3)) < 0.2)).all()
    shifted = changed(shift=0.25)
    assert np.abs(shifted - images).max() > 1
