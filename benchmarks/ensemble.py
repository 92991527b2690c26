"""How the shipped `ensemble` was chosen: every choice of members, on PublicTest.

    python -m benchmarks.ensemble fer2013.npz            # the table, best first
    python -m benchmarks.ensemble fer2013.npz --readme   # and the figures of its model card

Members count the same. Their probabilities are averaged; the temperature is the one that fits PublicTest best
(the smallest negative log likelihood). PrivateTest is measured for the card alone, with what has been chosen.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import streamfer_classifiers.ensemble as plugin
from streamfer.plugins import Registry
from streamfer.training import datasets
from streamfer.training.dataset import PRIVATE, PUBLIC, Dataset
from streamfer.training.evaluate import evaluate, open_classifier
from streamfer.training.litert import fit_temperature, softmax
from streamfer.training.metrics import measure
from streamfer.training.readme import with_table

README = Path(plugin.__file__).with_name("README.md")

Probabilities = NDArray[np.floating[Any]]


def answers(data: Dataset, split: str) -> dict[str, Probabilities]:
    """What each network that ships with weights says of the rows of a split."""
    ours = [one for one in Registry.discover().all() if one.origin.distribution == "streamfer"]
    names = [one.name for one in ours if one.component.model_files]
    return {
        name: evaluate(open_classifier(name), data, split, resamples=1, timed=False).probabilities
        for name in names
    }


def fitted(chosen: list[Probabilities], labels: NDArray[np.uint8]) -> tuple[float, Probabilities]:
    """The temperature of the members' mean, and the mean with it."""
    logits = np.log(np.mean(chosen, axis=0) + 1e-12)
    temperature = fit_temperature(logits, labels)
    return temperature, softmax(logits / temperature)


def figures(data: Dataset, split: str) -> dict[str, Any]:
    """The headline figures of the ensemble as it ships."""
    found = evaluate(open_classifier("ensemble"), data, split, timed=False).figures
    keys = ("n", "accuracy", "accuracy_without_duplicates", "auc", "ece")
    return {key: found[key] for key in keys} | {"macro_f1": found["macro"]["f1"]}


def main() -> None:
    """Print the table; with --readme write the card's figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="FER2013, as csv, npz or imported")
    parser.add_argument("--readme", action="store_true", help="write the figures of the model card")
    chosen = parser.parse_args()
    data = datasets.load(chosen.data)
    labels = data.labels[data.rows(PUBLIC)]
    said = answers(data, PUBLIC)
    rows = []
    for count in range(2, len(said) + 1):
        for names in combinations(said, count):
            temperature, mean = fitted([said[name] for name in names], labels)
            found = measure(mean, labels, data.label_names, resamples=1)
            rows.append((found["accuracy"]["value"], found["ece"]["value"], temperature, names))
    table = Table("members", "PublicTest", "ECE", "temperature")
    for accuracy, error, temperature, names in sorted(rows, reverse=True):
        table.add_row(", ".join(names), f"{accuracy:.2%}", f"{error:.2%}", f"{temperature:.3f}")
    Console().print(table)
    if chosen.readme:
        measured = {split: figures(data, split) for split in (PUBLIC, PRIVATE)}
        text = with_table(README.read_text("utf-8"), measured, "`python -m benchmarks.ensemble`")
        README.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
