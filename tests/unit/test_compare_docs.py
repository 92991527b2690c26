"""docs/models.md is about the models that are shipped: it is made anew when weights change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamfer.training.compare_report import BEGIN, END

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/models.md"
CARDS = sorted((ROOT / "plugins/streamfer_classifiers").glob("*/card.json"))
AGAIN = "run `make models DATA=fer2013.npz`"


def figures() -> str:
    page = PAGE.read_text("utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    return page[page.index(BEGIN) : page.index(END)]


def test_there_is_a_model() -> None:
    assert CARDS


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_the_page_quotes_the_card(path: Path) -> None:
    """Its version, its file, and its accuracy, which may differ in the last digit where processors round."""
    card = json.loads(path.read_text("utf-8"))
    start = rf"^\| {re.escape(card['name'])} {re.escape(card['version'])} \| "
    row = re.search(
        rf"{start}(\d+\.\d) % \(.*\| {re.escape(card['file'])} (\w+)… \|$", figures(), re.MULTILINE
    )
    assert row, f"{card['name']} {card['version']} is not on the page: {AGAIN}"
    assert card["sha256"].startswith(row[2]), f"the page is about other weights: {AGAIN}"
    assert float(row[1]) == pytest.approx(card["metrics"]["PrivateTest"]["accuracy"]["value"] * 100, abs=0.15)


def test_the_page_is_about_nothing_else() -> None:
    """But for classifiers without a card, such as the ensemble."""
    shown = re.findall(r"^\| (\S+) (\S+) \| \d+\.\d % \(.*… \|$", figures(), re.MULTILINE)
    cards = [json.loads(path.read_text("utf-8")) for path in CARDS]
    assert sorted(shown) == sorted((card["name"], card["version"]) for card in cards), AGAIN


def test_its_plots_are_there() -> None:
    plots = re.findall(r"\]\((images/models-\S+\.png)\)", figures())
    assert len(plots) >= 3
    for plot in plots:
        assert (PAGE.parent / plot).is_file(), plot
    assert {f"images/{path.name}" for path in (PAGE.parent / "images").glob("models-*.png")} == set(plots)
