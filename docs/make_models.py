"""Write the figures of docs/models.md: the shipped classifiers on PrivateTest of FER2013.

    python docs/make_models.py fer2013.npz

`make models DATA=fer2013.npz` runs it, on an idle machine: it measures times. A test sees to it that the page
is about the models that are shipped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamfer.errors import StartError, StreamferError, UsageError
from streamfer.inference.described import find
from streamfer.plugins import Registry
from streamfer.training import datasets
from streamfer.training.compare import compare, enter
from streamfer.training.compare_published import is_fer2013
from streamfer.training.compare_report import write_between
from streamfer.training.dataset import PRIVATE

PAGE = Path(__file__).with_name("models.md")
IMAGES = PAGE.with_name("images")

FIRST = "cnn"
"""The classifier that the others are compared with."""


def shipped() -> list[str]:
    """The classifiers of this distribution whose models are there, `FIRST` first; the others are said."""
    registry = Registry.discover()
    names = []
    for name in sorted(registry.names("classifier"), key=lambda name: (name != FIRST, name)):
        if registry.get("classifier", name).origin.distribution != "streamfer":
            continue
        try:
            find(registry, name)
        except StartError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            names.append(name)
    return names


def main() -> None:
    """Measure, and write the page and its plots."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="FER2013, as csv, npz or imported")
    parser.add_argument("--no-timing", dest="timed", action="store_false", help="for a busy machine")
    chosen = parser.parse_args()
    data = datasets.load(chosen.data)
    if not is_fer2013(data):
        raise UsageError(f"{chosen.data}: not FER2013 with all its rows; the page is about FER2013")
    figures = compare(enter(shipped()), data, PRIVATE, timed=chosen.timed)
    write_between(figures, PAGE, IMAGES, "models")


if __name__ == "__main__":
    try:
        main()
    except StreamferError as error:
        sys.exit(str(error))
