r"""Does the order of frames help? CK+48 in ten folds by subject, with one frozen encoder for all.

    streamfer dataset import ckplus48.npz --map contempt=drop --fps 30 --out ckplus.npz
    python -m benchmarks.sequences ckplus.npz --cnn runs/cnn-best/model.keras \
        --rows runs/cnn_lstm-best/model.keras

The three frames of a sequence are encoded by networks that were trained on FER2013 and stay as they are; each
fold trains only what reads the features, from the same start and for the same number of epochs, all chosen
beforehand.

- CNN: a dense layer on the features of one frame; the answers to the three frames are averaged
- CNN, hidden layer: a layer of 64 before it, so that it is no smaller than what follows
- CNN-LSTM rows: the dense layer on the features of the shipped `cnn_lstm`, which reads the rows of one frame
- CNN-LSTM frames, CNN-BiLSTM frames: the heads of the plugins' `mode: frames`, on the three frames in order
- shuffled: the same heads, trained and asked with the frames of each sequence in an order drawn anew

No fold's answers are looked at before all are there. Intervals are 95 %, from resamples of the subjects; p is
McNemar's exact test against the CNN, with Holm's correction. Prints a Markdown table; --out writes JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.cli.extras import import_keras
from streamfer.errors import UsageError
from streamfer.training import datasets
from streamfer.training.dataset import Dataset
from streamfer.training.paired import holm, mcnemar

FRAMES, FOLDS, EPOCHS, BATCH, RATE = 3, 10, 40, 32, 1e-3
HIDDEN = 64
RESAMPLES = 2000

Floats = NDArray[np.float32]
Order = Callable[[Floats, np.random.Generator], Floats]


def sequences(data: Dataset) -> NDArray[np.intp]:
    """The rows of each sequence, (n, 3), in the order of time."""
    if data.seconds is None or data.sequences is None or data.subjects is None:
        raise UsageError(f"{data.name}: no video with subjects; import CK+48 with --fps 30")
    order = np.lexsort((data.seconds, data.sequences))
    names, counts = np.unique(data.sequences[order], return_counts=True)
    if (names < 0).any() or (counts != FRAMES).any():
        raise UsageError(f"{data.name}: expected sequences of {FRAMES} frames, as CK+48 has them")
    return order.reshape(-1, FRAMES)


def folds(subjects: NDArray[np.str_], labels: NDArray[np.integer[Any]], seed: int) -> NDArray[np.intp]:
    """The fold of each sequence: no subject is in two, the classes are spread as evenly as that allows."""
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.empty(len(labels), np.intp)
    divided = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, chosen) in enumerate(divided.split(labels, labels, subjects)):
        found[chosen] = number
    return found


def encoded(model: Path, data: Dataset, rows: NDArray[np.intp]) -> Floats:
    """What a network says of the frames before its last dropout: float32 (2, n, 3, features), the frames as
    they are and mirrored."""
    import keras

    from streamfer.training.sequences.features import encode

    network = keras.models.load_model(model, compile=False)
    encoder = keras.Model(network.inputs, network.get_layer("dropout").input)
    images = data.images[rows.ravel()]
    both = [encode(encoder, one, False, lambda done: None) for one in (images, images[:, :, ::-1])]
    return np.stack(both).astype(np.float32).reshape(2, *rows.shape, -1)


def in_order(x: Floats, random: np.random.Generator) -> Floats:
    return x


def shuffled(x: Floats, random: np.random.Generator) -> Floats:
    """Each sequence in an order of its own."""
    return np.take_along_axis(
        x, random.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)[..., None], 1
    )


def head(kind: str, features: int, labels: int) -> Any:
    """What reads the features of a sequence, float32 (n, 3, features) → probabilities (n, labels)."""
    import keras
    from keras import layers, ops

    from streamfer.training.networks import find
    from streamfer.types import CropSpec

    if kind in ("dense", "hidden"):
        frames = keras.Input((FRAMES, features))
        x = layers.Dropout(0.3)(frames)
        if kind == "hidden":
            x = layers.Dropout(0.3)(layers.Dense(HIDDEN, activation="relu")(x))
        x = ops.mean(layers.Dense(labels, activation="softmax")(x), axis=1)
        return keras.Model(frames, x)
    options = {"mode": "frames", "frames": FRAMES, "widths": [features]}  # of the encoder only what it gives
    parts = find(kind, options).build_parts(CropSpec(), labels, FRAMES)
    return keras.Model(parts.head.inputs, ops.softmax(parts.head.output))


def answers(
    kind: str, order: Order, x: Floats, y: NDArray[np.integer[Any]], fold: NDArray[np.intp], seed: int
) -> Floats:
    """Each sequence's probabilities (n, labels), by the head that was trained without its fold."""
    import keras

    random = np.random.default_rng(seed)
    found = np.empty((len(y), int(y.max()) + 1), np.float32)
    for number in range(FOLDS):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model = head(kind, x.shape[-1], found.shape[1])
        steps = EPOCHS * -(-2 * int((fold != number).sum()) // BATCH)
        rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
        model.compile(keras.optimizers.AdamW(rate, weight_decay=0.05), "sparse_categorical_crossentropy")
        train = np.flatnonzero(fold != number)
        rows, targets = np.concatenate([x[0, train], x[1, train]]), np.concatenate([y[train]] * 2)
        for _ in range(EPOCHS):
            drawn = random.permutation(len(rows))
            for start in range(0, len(rows), BATCH):
                chosen = drawn[start : start + BATCH]
                model.train_on_batch(order(rows[chosen], random), targets[chosen])
        test = np.flatnonzero(fold == number)
        found[test] = model.predict_on_batch(order(x[0, test], random))
    return found


def figures(said: Floats, y: NDArray[np.integer[Any]], subjects: NDArray[np.str_]) -> dict[str, Any]:
    """Accuracy and macro F1 with the intervals that resamples of the subjects give."""
    names, who = np.unique(subjects, return_inverse=True)
    best, labels = said.argmax(axis=1), said.shape[1]
    matrices = np.zeros((len(names), labels, labels))
    np.add.at(matrices, (who, y, best), 1)
    random = np.random.default_rng(0)
    draws = [matrices[random.integers(0, len(names), len(names))].sum(axis=0) for _ in range(RESAMPLES)]
    told = {}
    for name, of in (("accuracy", _accuracy), ("macro_f1", _macro_f1)):
        low, high = np.percentile([of(one) for one in draws], (2.5, 97.5))
        told[name] = {"value": of(matrices.sum(axis=0)), "low": float(low), "high": float(high)}
    return told


def _accuracy(matrix: NDArray[np.float64]) -> float:
    return float(np.trace(matrix) / matrix.sum())


def _macro_f1(matrix: NDArray[np.float64]) -> float:
    """The mean over the classes that are there."""
    there = matrix.sum(axis=1) > 0
    return float((2 * np.diag(matrix) / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1), 1))[there].mean())


def measured(data: Dataset, cnn: Path, rows: Path, seed: int) -> dict[str, Any]:
    """All that the table says, as JSON values."""
    where = sequences(data)
    assert data.subjects is not None
    subjects = data.subjects[where[:, 0]]
    there, y = np.unique(data.labels[where[:, 0]], return_inverse=True)
    fold = folds(subjects, y, seed)
    faces = encoded(cnn, data, where)
    plan: list[tuple[str, str, Order, Floats]] = [
        ("CNN, mean of three", "dense", in_order, faces),
        ("CNN, hidden layer, mean of three", "hidden", in_order, faces),
        ("CNN-LSTM rows, mean of three", "dense", in_order, encoded(rows, data, where)),
        ("CNN-LSTM frames", "cnn_lstm", in_order, faces),
        ("CNN-BiLSTM frames", "cnn_bilstm", in_order, faces),
        ("CNN-LSTM frames, shuffled", "cnn_lstm", shuffled, faces),
        ("CNN-BiLSTM frames, shuffled", "cnn_bilstm", shuffled, faces),
    ]
    said = {name: answers(kind, order, x, y, fold, seed) for name, kind, order, x in plan}
    right = {name: one.argmax(axis=1) == y for name, one in said.items()}
    first, *others = right
    tests = {name: mcnemar(right[first], right[name]) for name in others}
    corrected = dict(zip(others, holm([one.p for one in tests.values()]), strict=True))
    pairs = [
        ("CNN-LSTM frames", "CNN-LSTM frames, shuffled"),
        ("CNN-BiLSTM frames", "CNN-BiLSTM frames, shuffled"),
    ]
    return {
        "data": {"name": data.name, "sha256": data.sha256, "labels": [data.label_names[i] for i in there]},
        "sequences": len(y),
        "subjects": len(set(subjects.tolist())),
        "seed": seed,
        "models": [
            {
                "name": name,
                **figures(one, y, subjects),
                "against_cnn": None
                if name == first
                else {**tests[name]._asdict(), "corrected_p": corrected[name]},
            }
            for name, one in said.items()
        ],
        "order": [{"pair": pair, **mcnemar(right[pair[0]], right[pair[1]])._asdict()} for pair in pairs],
    }


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{found['sequences']} sequences of {found['subjects']} subjects of {found['data']['name']}, "
        f"{', '.join(found['data']['labels'])}; seed {found['seed']}.",
        "",
        "| | accuracy | macro F1 | right where the CNN is not / the reverse | p |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in found["models"]:
        against, cells = one["against_cnn"], ["–", "–"]
        if against:
            cells = [f"{against['only_second']} / {against['only_first']}", f"{against['corrected_p']:.2g}"]
        lines.append(
            f"| {one['name']} | {_text(one['accuracy'])} | {_text(one['macro_f1'])} | {' | '.join(cells)} |"
        )
    for one in found["order"]:
        lines += [
            "",
            f"{one['pair'][0]} against shuffled: {one['only_first']} / {one['only_second']}, "
            f"p {one['p']:.2g}.",
        ]
    return "\n".join(lines)


def _text(figure: dict[str, float]) -> str:
    return f"{figure['value']:.1%} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})".replace(
        "%", " %"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="CK+48 as `streamfer dataset import` wrote it, with --fps")
    parser.add_argument(
        "--cnn", type=Path, required=True, metavar="FILE", help="the trained cnn, as Keras file"
    )
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE", help="the trained cnn_lstm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    chosen = parser.parse_args(arguments)
    import_keras()
    found = measured(datasets.load(chosen.data), chosen.cnn, chosen.rows, chosen.seed)
    print(table(found))
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
