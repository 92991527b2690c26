"""Turns a trained run into what the service loads: a calibrated, quantised LiteRT model and its card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from streamfer.training.readme import with_figures
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
    made anew. A network of windows is written as an encoder and a head, NAME.tflite and NAME-head.tflite.

    Raises `UsageError`, and writes nothing, when there is no finished run, when it is of other data, and when
    the exported model loses more than `MAY_COST` of Keras's accuracy.
    """
    summary = _finished(run, data)
    network = _load(RunFolder(run).model, summary)
    if summary["recipe"].get("window"):
        from streamfer.training.sequences.export import exported_windows

        made = exported_windows(network, data, summary, weights, private_test=private_test)
    else:
        made = _exported(network, data, summary, weights, private_test=private_test)
    return _write(made, out, keras_file=keras_file)


class Exported(NamedTuple):
    """What an export writes: the card, its LiteRT models by their key in the card ("" is the card itself),
    and the same as Keras models, by theirs."""

    card: dict[str, Any]
    models: dict[str, bytes]
    keras: dict[str, keras.Model]


def _exported(
    network: keras.Model, data: Dataset, summary: dict[str, Any], weights: Weights, *, private_test: bool
) -> Exported:
    """A network of single faces."""
    flip = summary["recipe"]["flip_average"]
    rows = data.rows(PUBLIC)
    if not len(rows):
        raise UsageError(f"{data.name}: no rows in {PUBLIC}, on which the temperature is fitted")
    images, labels = data.inputs(rows), data.labels[rows]
    plain = predict(served(network, Calibration(1.0), flip), images)
    smoothing = summary["recipe"]["label_smoothing"]
    calibration = fit_calibration(np.log(plain + 1e-12), labels, smoothing)
    model = served(network, calibration, flip)
    kinds: tuple[Weights, ...] = ("float32",) if weights == "float32" else ("float32", weights)
    exported = {kind: convert(model, kind) for kind in kinds}
    compared = compare(predict(model, images), exported, images, labels, weights)
    chosen = exported[weights]
    card = {
        **described(summary),
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
    return Exported(card, {"": chosen}, {"keras": model})


def described(summary: dict[str, Any]) -> dict[str, Any]:
    """How a card begins; what it says of the model's file is filled in when that is written."""
    height, width, channels = summary["input"]
    return {
        "name": summary["recipe"]["classifier"],
        "version": summary["recipe"]["version"],
        "file": "",
        "sha256": "",
        "size_bytes": 0,
        "labels": summary["labels"],
        "input": {
            "height": height,
            "width": width,
            "channels": channels,
            "dtype": "float32",
            "range": [0, 255],
        },
    }


def _write(made: Exported, out: Path, *, keras_file: bool) -> dict[str, Any]:
    """Write the models, the card that names them, and the README's figures."""
    card = made.card

    def entry(key: str, file: str, content: bytes) -> dict[str, Any]:
        told = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        (card if not key else card.setdefault(key, {})).update(told)
        return told

    try:
        out.mkdir(parents=True, exist_ok=True)
        for key, model in made.keras.items() if keras_file else ():
            path = out / f"{card['name']}{key.removeprefix('keras').replace('_', '-')}.keras"
            model.save(path)
            card[key] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for key, content in made.models.items():
            file = f"{card['name']}{'-' if key else ''}{key}.tflite"
            entry(key, file, content)
            replace_file(out / file, content)
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
    return agreement(
        wanted, {kind: interpreter(content)(images) for kind, content in exported.items()}, labels, weights
    )


def agreement(
    wanted: NDArray[np.float32],
    answers: dict[Weights, NDArray[np.float32]],
    labels: NDArray[np.uint8],
    weights: Weights,
) -> dict[str, Any]:
    """The same of the `answers` that the LiteRT models gave; raises as `compare` does."""
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


def _figures(model: bytes, data: Dataset, split: str) -> dict[str, Any]:
    """What the card says of a split: the headline figures with their intervals."""
    rows = data.rows(split)
    if not len(rows):
        raise UsageError(f"{data.name}: no rows in {split}")
    return figures(interpreter(model)(data.inputs(rows)), data, rows, data.unseen_rows(split))


def figures(
    probabilities: NDArray[np.float32],
    data: Dataset,
    rows: NDArray[np.intp],
    unseen: NDArray[np.intp],
) -> dict[str, Any]:
    """The headline figures of the answers (len(rows), labels) for rows of the data, of which some are
    `unseen`: not in Training as well."""
    whole = measure(probabilities, data.labels[rows], data.label_names)
    fresh = np.isin(rows, unseen)
    told = {"n": whole["n"], "accuracy": whole["accuracy"]}
    if fresh.any():
        part = measure(probabilities[fresh], data.labels[rows][fresh], data.label_names)
        told |= {"n_without_duplicates": part["n"], "accuracy_without_duplicates": part["accuracy"]}
    return told | {"macro_f1": whole["macro"]["f1"], "auc": whole["auc"], "ece": whole["ece"]}


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
    if summary["recipe"].get("window") and len(taken) == 4:
        taken = taken[1:]  # of windows: whether they are as long as the recipe says is seen later
    if taken != tuple(summary["input"]) or given != len(summary["labels"]):
        raise UsageError(
            f"{path}: takes {taken} and answers {given} labels; the run says {tuple(summary['input'])} and "
            f"{len(summary['labels'])} ({', '.join(summary['labels'])}): these are weights of another run"
        )
    return network


def predict(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
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
