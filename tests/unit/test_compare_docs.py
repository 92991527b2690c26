"""docs/models.md is about the models that are shipped: it is made anew when weights change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamfer.training.compare_report import BEGIN, END

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/models.md"
PLUGINS = ROOT / "plugins/streamfer_classifiers"
CARDS = sorted(PLUGINS.glob("*/card.json"))
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


@pytest.mark.parametrize("name", [*(path.parent.name for path in CARDS), "ensemble"])
def test_the_page_has_the_figures_of_the_readme(name: str) -> None:
    """Accuracy and calibration error on PrivateTest, to the last digit: both are of what is served."""
    readme = (PLUGINS / name / "README.md").read_text("utf-8")
    (row,) = re.findall(r"^\| PrivateTest \| .*$", readme, re.MULTILINE)
    stated = [float(value) for value in re.findall(r"(\d+\.\d\d)%", row)]
    table = figures()[figures().index("| all rows | ") :].splitlines()
    place = [one.split()[0] for one in table[0].split(" | ")[1:]].index(name)
    for at, title in ((0, "accuracy"), (-1, "expected calibration error")):
        (line,) = [one for one in table[: table.index("")] if one.startswith(f"| {title} |")]
        shown = re.search(r"\d+\.\d", line.split(" | ")[1:][place])
        assert shown
        assert float(shown[0]) == pytest.approx(stated[at], abs=0.15), f"{title}: {AGAIN}"


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
