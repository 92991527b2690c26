"""The page of a comparison: the same in HTML and in Markdown, names that do not cover each other."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import pytest

from streamfer.errors import UsageError
from streamfer.training.compare import compare, enter
from streamfer.training.compare_document import (
    Items,
    Paragraph,
    Part,
    Plot,
    Strong,
    Table,
    to_html,
    to_markdown,
)
from streamfer.training.compare_page import parts, title
from streamfer.training.compare_plots import Point, cost_figure
from streamfer.training.compare_report import BEGIN, END, write_between, write_report
from streamfer.training.metrics import points, text
from streamfer.types import LABELS
from tests.compared import faces, write_plugin

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three classifiers, with times and sizes as if they had been measured."""
    plugin = write_plugin(tmp_path_factory.mktemp("plugin"))
    found = compare(
        enter(["able", "weak", "turned"], plugins=[plugin]),
        faces(),
        "PrivateTest",
        resamples=100,
        timed=False,
    )
    for place, one in enumerate(found["classifiers"], 1):
        calls = {"value": 1.5 * place, "low": 1.0 * place, "high": 2.0 * place}
        speed = {"batch_1": calls, "batch_8": calls, "calls": 300, "processor": "<any>"}
        one["ms_per_face"] = speed | {"core_share": 0.99}
        one["size_bytes"] = 1_000_000 * place
    return found


def plain(html: str) -> str:
    """The words of a page."""
    from html import unescape

    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_both_pages_have_every_figure(figures: dict[str, Any], tmp_path: Path) -> None:
    pages = write_report(figures, tmp_path)
    assert [page.name for page in pages] == ["index.html", "compare.md"]
    html, markdown = (page.read_text("utf-8") for page in pages)
    unescaped = " ".join(re.sub(r"\\(.)|\*\*", r"\1", markdown).split())
    for shown in (plain(html), unescaped):
        for row in figures["figures"]:
            for value in row["values"]:
                assert text(value, percent=row["key"] != "auc") in shown, row["figure"]
        for one in figures["differences"]:
            for label in LABELS:
                for kind in ("recall", "f1"):
                    assert points(one["per_class"][label][kind]) in shown
        for one in figures["classifiers"]:
            for label in LABELS:
                assert text(one["per_class"][label]["recall"]) in shown
            assert f"{one['size_bytes']:,}" in shown
            assert f"{one['ms_per_face']['batch_1']['value']:.2f}" in shown
        for pair in figures["pairs"]:
            assert points(pair["difference"]) in shown
        for sentence in figures["reading"]:
            assert " ".join(sentence.split()) in shown
        assert "A. Author, “<Faces> & more”, 2020" in shown
        assert figures["data"]["sha256"] in shown
        assert "not distinguishable" in shown and "distinguishable: able is more accurate" in shown


def test_the_plots_lie_beside_the_pages_and_in_the_html(figures: dict[str, Any], tmp_path: Path) -> None:
    html, markdown = (page.read_text("utf-8") for page in write_report(figures, tmp_path))
    plots = sorted(path.name for path in tmp_path.glob("*.png"))
    assert plots == ["cost.png", "f1.png", "recall.png", "size.png"]
    assert sorted(re.findall(r"\]\((.*?)\)", markdown)) == plots
    assert html.count('src="data:image/png;base64,') == 4
    assert not re.search(
        r"<(script|link|iframe)|Faces> &amp; more|https?://", html.replace("&lt;Faces&gt;", "")
    )
    for plot in plots:
        picture = cv2.imread(str(tmp_path / plot))
        assert picture is not None and picture.shape[1] > 600


def test_what_was_not_measured_has_no_plot(figures: dict[str, Any], tmp_path: Path) -> None:
    shown = [one | {"ms_per_face": None, "size_bytes": None} for one in figures["classifiers"]]
    pages = write_report({**figures, "classifiers": shown}, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["f1.png", "recall.png"]
    for page in pages:
        assert "Time was not measured." in page.read_text("utf-8")


def test_disturbed_times_are_said_to_be_worth_nothing(figures: dict[str, Any]) -> None:
    shown = [dict(one) for one in figures["classifiers"]]
    shown[1]["ms_per_face"] = shown[1]["ms_per_face"] | {"core_share": 0.61}
    markdown = to_markdown(parts({**figures, "classifiers": shown}, ["cost"]))
    assert "These times are worth nothing" in markdown and "weak (61 %)" in markdown
    assert "worth nothing" not in to_markdown(parts(figures, ["cost"]))


def test_the_title_names_a_few_and_counts_many(figures: dict[str, Any]) -> None:
    assert title(figures) == "able, weak, turned on PrivateTest of <[known]>"
    many = {**figures, "classifiers": figures["classifiers"] * 2, "only": ["a", "b"]}
    assert title(many) == "6 classifiers on PrivateTest of <[known]>, 2 classes"


def test_the_lines_of_the_markdown_are_short(figures: dict[str, Any]) -> None:
    lines = to_markdown(parts(figures, ["cost", "size", "recall", "f1"])).splitlines()
    assert max(len(line) for line in lines if not line.startswith("|")) <= 115


def test_text_is_shown_as_it_is() -> None:
    said = "a|b *c* _d_ cnn_lstm [e](f) <g> `h` & \\"
    table = Table(["name", "figure", "why"], [[said, Strong("7.0 % (6.0 to 8.0)"), said]], ("why",))
    shown: list[Part] = [Paragraph(said), Items([said]), table, Plot("plot", "what")]
    markdown = to_markdown(shown, "images/models-")
    escaped = r"a\|b \*c\* \_d\_ cnn_lstm \[e\](f) \<g\> \`h\` & " + "\\\\"
    assert markdown.splitlines() == [
        escaped,
        "",
        f"- {escaped}",
        "",
        "| name | figure | why |",
        "| --- | ---: | --- |",
        f"| {escaped} | **7.0 % (6.0 to 8.0)** | {escaped} |",
        "",
        "![what](images/models-plot.png)",
    ]
    html = to_html(said, shown, {"plot": b""})
    assert html.count("a|b *c* _d_ cnn_lstm [e](f) &lt;g&gt; `h` &amp; \\") == 6
    assert "<b><span>7.0 %</span> <span>(6.0 to 8.0)</span></b>" in html


# ---- the plot of accuracy against cost ---------------------------------------------------------------------


def crowded(places: list[tuple[float, float]], published: tuple[float, ...] = ()) -> list[Point]:
    return [
        Point(
            f"classifier {place} 1.0.0",
            cost,
            {"value": value, "low": value - 0.015, "high": value + 0.015},
            published,
        )
        for place, (cost, value) in enumerate(places)
    ]


@pytest.mark.parametrize(
    "found",
    [
        crowded([(0.6, 0.71), (0.8, 0.68), (0.82, 0.683), (0.9, 0.7), (2.4, 0.67), (4.9, 0.73)]),
        crowded([(1.0, 0.7)] * 5),
        crowded([(1.0, 0.70), (1.05, 0.705), (1.1, 0.71), (1.15, 0.715), (20.0, 0.6)], (0.72,)),
        crowded([(3.0, 0.5)]),
    ],
    ids=["usual", "all alike", "published", "one"],
)
def test_names_cover_neither_each_other_nor_a_mark(found: list[Point]) -> None:
    figure, names, marks = cost_figure(found, "milliseconds")
    (axes,) = figure.axes
    assert len(names) == len(found)
    assert {label.get_text() for label in axes.texts} == {point.name for point in found}
    for one, other in [*combinations(names, 2), *((name, mark) for name in names for mark in marks)]:
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 1 or height <= 1, (one, other)
    area = axes.get_window_extent()
    for label, box in zip(axes.texts, names, strict=True):
        assert area.x0 <= box.x0 and box.x1 <= area.x1 and area.y0 <= box.y0 and box.y1 <= area.y1
        drawn = label.get_window_extent() if label.arrow_patch is None else None  # type: ignore[attr-defined]
        if drawn is not None:
            assert drawn.get_points() == pytest.approx(box.get_points(), abs=1.5), (
                "the box is where it is drawn"
            )


# ---- a page of the documentation ---------------------------------------------------------------------------


def test_what_stands_around_the_figures_stays(figures: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    page.write_text(f"# By hand\n\nprose\n\n{BEGIN}\nold figures\n{END}\n\nmore prose\n")
    for _ in range(2):
        write_between(figures, page, tmp_path / "images", "models")
        before, rest = page.read_text("utf-8").split(BEGIN)
        found, after = rest.split(END)
        assert (before, after) == ("# By hand\n\nprose\n\n", "\n\nmore prose\n")
        assert "old figures" not in found
        assert found == "\n" + to_markdown(parts(figures, ["cost", "size", "recall", "f1"]), "images/models-")
    plots = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert plots == ["models-cost.png", "models-f1.png", "models-recall.png", "models-size.png"]


def test_a_page_without_a_place_for_the_figures_is_left_alone(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    page = tmp_path / "models.md"
    page.write_text(f"{BEGIN}\nno end\n")
    with pytest.raises(UsageError, match=r"models\.md: expected the lines"):
        write_between(figures, page, tmp_path / "images", "models")
    assert page.read_text() == f"{BEGIN}\nno end\n"
    assert not (tmp_path / "images").exists()
