"""Turns a trained run into what the service loads: a calibrated, quantised LiteRT model and its card."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, Dataset
from streamfer.training.files import replace_file
from streamfer.training.litert import (
    Calibration,
    Weights,
    convert,
    count_macs,
    fit_calibration,
    interpreter,
    served,
)
from streamfer.training.metrics import measure
from streamfer.training.run import RunFolder

if TYPE_CHECKING:
    import keras

MAY_COST = 0.005
"""Accuracy on PublicTest that an exported model may lose against Keras; more is refused."""

MUST_AGREE = 1e-3
"""Largest difference of a probability between Keras and the unquantised LiteRT model."""


def export(
    run: Path,
    data: Dataset,
    out: Path,
    *,
    weights: Weights = "int8",
    keras_file: bool = False,
    private_test: bool = False,
) -> dict[str, Any]:
    """Export the finished run in `run` into the folder `out`; returns the card.

    Written are NAME.tflite (faces to probabilities, with the calibration that is fitted on PublicTest),
    card.json and, with `keras_file`, NAME.keras (the same for `runtime: tensorflow`). `private_test` measures
    PrivateTest as well: to be done once, when every choice is made. A README.md in `out` gets its figures
    made anew.

    Raises `UsageError`, and writes nothing, when there is no finished run, when it is of other data, and when
    the exported model loses more than `MAY_COST` of Keras's accuracy.
    """
    summary = _finished(run, data)
    network = _load(RunFolder(run).model, summary)
    name, flip = summary["recipe"]["classifier"], summary["recipe"]["flip_average"]
    rows = data.rows(PUBLIC)
    if not len(rows):
        raise UsageError(f"{data.name}: no rows in {PUBLIC}, on which the temperature is fitted")
    images, labels = data.inputs(rows), data.labels[rows]
    plain = _predict(served(network, Calibration(1.0), flip), images)
    smoothing = summary["recipe"]["label_smoothing"]
    calibration = fit_calibration(np.log(plain + 1e-12), labels, smoothing)
    model = served(network, calibration, flip)
    kinds: tuple[Weights, ...] = ("float32",) if weights == "float32" else ("float32", weights)
    exported = {kind: convert(model, kind) for kind in kinds}
    compared = compare(_predict(model, images), exported, images, labels, weights)
    chosen = exported[weights]
    height, width, channels = summary["input"]
    card = {
        "name": name,
        "version": summary["recipe"]["version"],
        "file": f"{name}.tflite",
        "sha256": hashlib.sha256(chosen).hexdigest(),
        "size_bytes": len(chosen),
        "labels": summary["labels"],
        "input": {
            "height": height,
            "width": width,
            "channels": channels,
            "dtype": "float32",
            "range": [0, 255],
        },
        "parameters": network.count_params(),
        "macs": count_macs(network) * (2 if flip else 1),
        "weights": compared,
        "temperature": round(calibration.temperature, 4),
        "floor": round(calibration.floor, 4),
        "flip_average": flip,
        "data": summary["data"],
        "recipe": summary["recipe"],
        "metrics": {
            split: _figures(chosen, data, split) for split in (PUBLIC, PRIVATE)[: 2 if private_test else 1]
        },
        "trained": summary["trained"],
        "history": summary["history"],
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        if keras_file:
            path = out / f"{name}.keras"
            model.save(path)
            card["keras"] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        replace_file(out / str(card["file"]), chosen)
        replace_file(out / "card.json", (_to_json(card) + "\n").encode())
        if (readme := out / "README.md").exists():
            replace_file(readme, with_figures(readme.read_text(encoding="utf-8"), card).encode())
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be written: {error.strerror or error}; name another --out"
        ) from error
    return card


def compare(
    wanted: NDArray[np.float32],
    exported: dict[Weights, bytes],
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    weights: Weights,
) -> dict[str, Any]:
    """How well the LiteRT models agree with Keras's probabilities `wanted`, for the card.

    Raises `UsageError` when the float model differs by more than `MUST_AGREE` in a probability, or when the
    one with the chosen `weights` loses more than `MAY_COST` of the accuracy.
    """
    answers = {kind: interpreter(content)(images) for kind, content in exported.items()}
    difference = float(np.abs(answers["float32"] - wanted).max())
    if difference > MUST_AGREE:
        raise UsageError(f"LiteRT and Keras differ by {difference:.4f} in a probability; nothing is exported")
    everyone = [("keras", wanted), *answers.items()]
    accuracy = {kind: float((p.argmax(axis=1) == labels).mean()) for kind, p in everyone}
    lost = accuracy["keras"] - accuracy[weights]
    if lost > MAY_COST:
        raise UsageError(
            f"with {weights} weights the model loses {100 * lost:.2f} points of accuracy on {PUBLIC}, and "
            f"{100 * MAY_COST:g} are accepted; nothing is exported: try --weights float32"
        )
    shipped = answers[weights]
    return {
        "type": weights,
        "PublicTest_accuracy": {name: round(share, 4) for name, share in accuracy.items()},
        "float32_largest_difference_from_keras": float(f"{difference:.2g}"),
        "largest_difference_from_keras": round(float(np.abs(shipped - wanted).max()), 4),
        "same_answer_as_keras": round(float((shipped.argmax(1) == wanted.argmax(1)).mean()), 4),
    }


def with_figures(readme: str, card: dict[str, Any]) -> str:
    """The model's README with the text between its two `figures` comments made anew from the card."""
    trained = card["trained"]
    floor = f" after a floor of {card['floor']:.4f}" if card.get("floor") else ""
    lines = [
        f"{card['name']} {card['version']}: {card['parameters']:,} parameters, {card['macs'] / 1e6:.1f} M"
        f" multiply-accumulates per face, {card['size_bytes']:,} bytes with {card['weights']['type']}"
        f" weights. Softmax temperature {card['temperature']:.4f}{floor}. Trained {trained['date']} for"
        f" {trained['epochs']} epochs in {trained['seconds']:,} s with Keras {trained['keras']} on"
        f" {trained['backend']}.",
        *(
            f"The run was planned for {change['epochs']} epochs until epoch {change['until']}."
            for change in trained["replanned"]
        ),
    ]
    return with_table(readme, card["metrics"], "the export", lines)


def with_table(readme: str, metrics: dict[str, Any], writer: str, lines: Sequence[str] = ()) -> str:
    """A README with the text between its two `figures` comments made anew: the headline figures of splits,
    as a card's `metrics` has them, and then `lines`."""
    shown = ("accuracy", "accuracy_without_duplicates", "macro_f1", "auc", "ece")
    text = [
        "| split | n | accuracy | without train duplicates | macro F1 | AUC | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {m['n']:,} | " + " | ".join(percent(m.get(key)) for key in shown) + " |"
            for name, m in metrics.items()
        ),
        "",
        "Each with its 95 % bootstrap interval.",
        *(["", *lines] if lines else []),
    ]
    block = f"<!-- figures: written by {writer} -->\n" + "\n".join(text) + "\n<!-- /figures -->"
    return re.sub(r"<!-- figures.*?<!-- /figures -->", lambda _: block, readme, flags=re.DOTALL)


def percent(figure: dict[str, float] | None) -> str:
    """A figure with its interval, as text."""
    return (
        "–"
        if figure is None
        else f"{figure['value']:.2%} ({100 * figure['low']:.1f}–{100 * figure['high']:.1f})"
    )


def _figures(model: bytes, data: Dataset, split: str) -> dict[str, Any]:
    """What the card says of a split: the headline figures with their intervals."""
    rows = data.rows(split)
    if not len(rows):
        raise UsageError(f"{data.name}: no rows in {split}")
    probabilities = interpreter(model)(data.inputs(rows))
    whole = measure(probabilities, data.labels[rows], data.label_names)
    fresh = np.isin(rows, data.unseen_rows(split))
    figures = {"n": whole["n"], "accuracy": whole["accuracy"]}
    if fresh.any():
        part = measure(probabilities[fresh], data.labels[rows][fresh], data.label_names)
        figures |= {"n_without_duplicates": part["n"], "accuracy_without_duplicates": part["accuracy"]}
    return figures | {"macro_f1": whole["macro"]["f1"], "auc": whole["auc"], "ece": whole["ece"]}


def _finished(run: Path, data: Dataset) -> dict[str, Any]:
    """What `train` noted of the run; raises `UsageError` for a folder without one, or of other data."""
    folder = RunFolder(run)
    if not folder.summary.is_file():
        raise UsageError(
            f"{run}: no finished run here (no run.json); run `streamfer train` with --out {run} to its end"
        )
    summary: dict[str, Any] = json.loads(folder.summary.read_text(encoding="utf-8"))
    trained = summary["data"]
    if trained["sha256"] != data.sha256:
        raise UsageError(
            f"{data.name} (sha256 {data.sha256[:12]}…) is not the data that {run} was trained on: "
            f"{trained['name']} (sha256 {trained['sha256'][:12]}…)"
        )
    return summary


def _load(path: Path, summary: dict[str, Any]) -> keras.Model:
    """The run's network; raises `UsageError` when it cannot be read or does not fit what the run says."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"KERAS_BACKEND is {keras.backend.backend()}; a LiteRT model is made with TensorFlow: unset it"
        )
    try:
        network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}: cannot be read as a Keras model: {reason}") from error
    taken, given = tuple(network.input_shape[1:]), network.output_shape[-1]
    if taken != tuple(summary["input"]) or given != len(summary["labels"]):
        raise UsageError(
            f"{path}: takes {taken} and answers {given} labels; the run says {tuple(summary['input'])} and "
            f"{len(summary['labels'])} ({', '.join(summary['labels'])}): these are weights of another run"
        )
    return network


def _predict(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = model.predict(images, batch_size=256, verbose=0)
    return answers


def _to_json(card: dict[str, Any]) -> str:
    """Indented, but a row of the history on one line."""
    rows = [json.dumps(row) for row in card["history"]]
    text = json.dumps(
        card | {"history": [f"row {i}" for i in range(len(rows))]}, indent=2, ensure_ascii=False
    )
    for index, row in enumerate(rows):
        text = text.replace(f'"row {index}"', row)
    return text
