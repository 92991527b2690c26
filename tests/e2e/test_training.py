"""From faces to a served model, by the commands that the README names: train, export, evaluate, run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamfer.types import LABELS
from tests.service import SAMPLE, streamfer, with_path
from tests.training import faces, write_recipe

pytest.importorskip("tensorflow", reason="needs streamfer[train]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network: trained for two epochs in one go and one more when resumed, and exported."""
    from streamfer.training import dataset

    folder = tmp_path_factory.mktemp("training")
    dataset.save(faces(), folder / "bars.npz")
    plan = {"schedule": "trapezoid", "cooldown_epochs": 1}
    for epochs in (2, 3):
        write_recipe(folder, epochs=epochs, **plan)
        done = streamfer("train", "tiny.yaml", "--data", "bars.npz", "--out", "run", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert f"epoch {epochs}/{epochs}" in done.stderr
        assert done.stdout.splitlines()[0] == "run/model.keras"
    assert "going on after epoch 2 of 3" in done.stderr
    done = streamfer("export", "run", "--data", "bars.npz", "--out", "model", "--keras", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "PublicTest" in done.stdout and "PrivateTest" not in done.stdout
    return folder


def test_nothing_but_ours_is_said(folder: Path) -> None:
    """TensorFlow, its converter and LiteRT are quiet."""
    done = streamfer(
        "export", "run", "--data", "bars.npz", "--out", "again", "--weights", "float32", cwd=folder
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_tensorboard_can_read_the_run(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "run/tensorboard"))
    events.Reload()
    assert {"loss", "accuracy", "PublicTest", "learning_rate"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("loss")] == [1, 2, 3]


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_it_is_served_in_a_pipeline(folder: Path, runtime: str) -> None:
    config = folder / f"{runtime}.yaml"
    config.write_text(
        "version: 1\n"
        f"streams: {{clip: {{path: '{SAMPLE}'}}}}\n"
        f"classifiers: [{{name: tiny, model: model/card.json, runtime: {runtime}}}]\n"
        f"sinks: [{{name: jsonl, path: {runtime}.jsonl}}]\n"
        "plugins: [tiny.py]\n"
        "metrics: {listen: '127.0.0.1:0'}\n"
    )
    done = streamfer("run", config, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in (folder / f"{runtime}.jsonl").read_text().splitlines()]
    shown = [
        face["probabilities"] for result in results for face in result["faces"] if face["status"] == "ok"
    ]
    assert len(shown) > 50 and all(tuple(one) == LABELS for one in shown)
    assert all(sum(one.values()) == pytest.approx(1, abs=1e-3) for one in shown)
    served[runtime] = shown
    if len(served) == 2:
        for one, other in zip(served["litert"], served["tensorflow"], strict=True):
            assert one == pytest.approx(other, abs=0.1), "int8 weights against float"


served: dict[str, list[dict[str, Any]]] = {}


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_it_is_evaluated(folder: Path, runtime: str) -> None:
    done = streamfer(
        *("evaluate", "--classifier", "tiny", "--model", "model/card.json", "--data", "bars.npz"),
        *("--plugin", "tiny.py", "--split", "PublicTest", "--runtime", runtime, "--no-timing", "--json", "-"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    card = json.loads((folder / "model/card.json").read_text())
    assert found["n"] == 20 and found["model"]["runtime"] == runtime
    stated = card["weights"]["PublicTest_accuracy"]["int8" if runtime == "litert" else "keras"]
    assert found["accuracy"]["value"] == pytest.approx(stated, abs=1e-4)


def test_two_exports_are_compared(folder: Path) -> None:
    """int8 and float32 weights of one run: their versions are the same, their files are not."""
    done = streamfer(
        "export", "run", "--data", "bars.npz", "--out", "float", "--weights", "float32", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    models = ("--model", "tiny=model/card.json", "--model", "tiny=float/card.json")
    done = streamfer(
        *("compare", *models, "--data", "bars.npz", "--plugin", "tiny.py", "--split", "PublicTest"),
        *("--resamples", "100", "--out", "page", "--json", "compared.json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    cards = [json.loads((folder / place / "card.json").read_text()) for place in ("model", "float")]
    found = json.loads((folder / "compared.json").read_text())
    titles = [one["title"] for one in found["classifiers"]]
    assert titles == [f"tiny 0.0.1 ({card['sha256'][:7]})" for card in cards]
    assert all(one["ms_per_face"]["batch_1"]["value"] > 0 for one in found["classifiers"])
    assert [one["size_bytes"] for one in found["classifiers"]] == [card["size_bytes"] for card in cards]
    pages = {path.name for path in (folder / "page").iterdir()}
    assert pages == {"index.html", "compare.md", "cost.png", "size.png", "recall.png", "f1.png"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "absent.yaml", "--data", "bars.npz"], "absent.yaml: No such file or directory"),
        (["train", "tiny.yaml", "--data", "absent.npz"], "absent.npz"),
        (["train", "tiny.yaml", "--data", "bars.npz", "--out", "bars.npz"], "bars.npz: File exists"),
        (["export", "absent", "--data", "bars.npz", "--out", "out"], "absent: no finished run here"),
        (["export", "run", "--data", "bars.npz", "--out", "out", "--weights", "int4"], "int4"),
    ],
)
def test_bad_input_is_one_line_and_status_2(folder: Path, arguments: list[str], complaint: str) -> None:
    done = streamfer(*arguments, cwd=folder)
    assert done.returncode == 2
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 or "Usage:" in done.stderr


def test_without_the_extra_its_name_is_said(folder: Path, tmp_path: Path) -> None:
    """A module that cannot be imported stands before the real one, as if Keras were not installed."""
    (tmp_path / "keras.py").write_text("raise ModuleNotFoundError('No module named keras', name='keras')\n")
    done = streamfer("train", "tiny.yaml", "--data", "bars.npz", cwd=folder, env=with_path(tmp_path))
    assert (done.returncode, done.stderr) == (2, "train needs keras: pip install 'streamfer[train]'\n")
