"""Turns a trained run into what the service loads: a calibrated, quantised LiteRT model and its card."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StreamferError, UsageError
from streamfer.training.data import Dataset
from streamfer.training.evaluate import interpreter, measure
from streamfer.training.run import RunFolder
from streamfer.types import LABELS

if TYPE_CHECKING:
    import keras

INT8_MAY_COST = 0.005
"""Accuracy on PublicTest. If int8 weights lose more, the float model is shipped."""

MUST_AGREE = 1e-3
"""Largest difference of a probability between Keras and the unquantised LiteRT model."""


def export(run: Path, data: Dataset, out: Path) -> dict[str, Any]:
    """Export the finished run in `run` into the folder `out`: NAME.tflite and card.json; returns the card.

    The graph holds the network in inference mode, the temperature (fitted on PublicTest) and the softmax;
    augmentation was never part of the model. A README.md in `out` gets its block of figures rewritten.
    """
    summary = _finished(run, data)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"KERAS_BACKEND is {keras.backend.backend()}; export needs tensorflow")
    model = keras.models.load_model(RunFolder(run).model)
    rows = data.rows("PublicTest")
    if not len(rows):
        raise UsageError(f"{data.name}: no rows in PublicTest, on which the temperature is fitted")
    logits = model.predict(data.inputs(rows), batch_size=256, verbose=0)
    temperature = fit_temperature(logits, data.labels[rows])
    wanted = softmax(logits / temperature)
    plain, int8 = convert(model, temperature)
    chosen, weights = _choose(plain, int8, data.inputs(rows), wanted, data.labels[rows])

    recipe = summary["recipe"]
    height, width, channels = model.input_shape[1:]
    card = {
        "name": recipe["name"],
        "version": recipe["version"],
        "file": f"{recipe['name']}.tflite",
        "sha256": hashlib.sha256(chosen).hexdigest(),
        "size_bytes": len(chosen),
        "labels": list(LABELS),
        "input": {
            "height": height,
            "width": width,
            "channels": channels,
            "dtype": "float32",
            "range": [0, 255],
        },
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "weights": weights,
        "data": summary["data"],
        "recipe": recipe,
        "temperature": round(temperature, 4),
        "metrics": measure(chosen, data),
        "trained": summary["trained"],
    }
    out.mkdir(parents=True, exist_ok=True)
    _write(out / str(card["file"]), chosen)
    _write(out / "card.json", (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    if (readme := out / "README.md").exists():
        _write(readme, with_figures(readme.read_text(encoding="utf-8"), card).encode())
    return card


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """The temperature that minimises the negative log likelihood (Guo et al. 2017), to within 0.4 %.

    logits (n, 7), labels (n,). One temperature for all classes: it changes no answer, only the confidence.
    """
    candidates = np.geomspace(0.2, 5.0, 801)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits / t)[rows, labels] + 1e-12).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of logits (n, 7) as probabilities (n, 7)."""
    powers: NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def convert(model: keras.Model, temperature: float) -> tuple[bytes, bytes]:
    """The LiteRT models of softmax(logits / temperature): with float32 weights, and with int8 weights.

    int8 is LiteRT's dynamic-range quantisation: weights per channel, activations measured as they pass.
    """
    import keras
    import tensorflow as tf

    def answer(faces: Any) -> Any:
        return keras.ops.softmax(model(faces, training=False) / temperature, axis=-1)

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="faces")]
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", answer, input_signature=signature)
        archive.write_out(folder, verbose=False)
        plain = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        quantising = tf.lite.TFLiteConverter.from_saved_model(folder)
        quantising.optimizations = [tf.lite.Optimize.DEFAULT]
        return plain, quantising.convert()


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulate operations of the convolutions and dense layers for one image."""
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def with_figures(readme: str, card: dict[str, Any]) -> str:
    """The model's README with the text between its two `figures` comments made anew from the card."""
    lines = [
        "| rows | n | accuracy | macro F1 | ECE |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {m['n']:,} | {m['accuracy']:.2%} | {m['macro_f1']:.2%} | {m['ece']:.2%} |"
            for name, m in card["metrics"].items()
        ),
        "",
        f"{card['name']} {card['version']}: {card['parameters']:,} parameters, {card['macs'] / 1e6:.1f} M"
        f" multiply-accumulates per face, {card['size_bytes']:,} bytes with {card['weights']['type']}"
        f" weights. Softmax temperature {card['temperature']:.4f}. Trained {card['trained']['date']} for"
        f" {card['trained']['epochs']} epochs in {card['trained']['seconds']:,} s with Keras"
        f" {card['trained']['keras']} on {card['trained']['backend']} {card['trained']['tensorflow']}.",
        *(
            f"The run was planned for {change['epochs']} epochs until epoch {change['until']}."
            for change in card["trained"]["replanned"]
        ),
    ]
    block = "<!-- figures: written by the export -->\n" + "\n".join(lines) + "\n<!-- /figures -->"
    return re.sub(r"<!-- figures.*?<!-- /figures -->", lambda _: block, readme, flags=re.DOTALL)


def _finished(run: Path, data: Dataset) -> dict[str, Any]:
    """What `train` noted of the run; raises `UsageError` for a folder without one, or of other data."""
    folder = RunFolder(run)
    if not folder.summary.is_file():
        raise UsageError(
            f"{run}: no finished run here (no run.json); run `train` with --out {run} to its end"
        )
    summary: dict[str, Any] = json.loads(folder.summary.read_text(encoding="utf-8"))
    if summary["data"]["sha256"] != data.sha256:
        raise UsageError(f"{data.name}: not the file that {run} was trained on ({summary['data']['name']})")
    return summary


def _choose(
    plain: bytes,
    int8: bytes,
    images: NDArray[np.float32],
    wanted: NDArray[np.float32],
    labels: NDArray[np.uint8],
) -> tuple[bytes, dict[str, Any]]:
    """The model to ship, and what was compared: both against Keras, int8 against float on PublicTest."""
    answers = {"float32": interpreter(plain)(images), "int8": interpreter(int8)(images)}
    difference = float(np.abs(answers["float32"] - wanted).max())
    if difference > MUST_AGREE:
        raise StreamferError(
            f"LiteRT and Keras differ by {difference:.4f} in a probability; nothing exported"
        )
    accuracy = {kind: float((p.argmax(axis=1) == labels).mean()) for kind, p in answers.items()}
    kind = "int8" if accuracy["float32"] - accuracy["int8"] <= INT8_MAY_COST else "float32"
    shipped = answers[kind]
    return {"int8": int8, "float32": plain}[kind], {
        "type": kind,
        "PublicTest_accuracy": {name: round(share, 4) for name, share in accuracy.items()},
        "float32_largest_difference_from_keras": float(f"{difference:.2g}"),
        "largest_difference_from_keras": round(float(np.abs(shipped - wanted).max()), 4),
        "same_answer_as_keras": round(float((shipped.argmax(1) == wanted.argmax(1)).mean()), 4),
    }


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step: a service that starts meanwhile sees the old or the new one."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)
