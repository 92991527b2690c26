"""What the page of a comparison says, for HTML and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamfer.training.compare_document import Heading, Items, Paragraph, Part, Plot, Strong, Table
from streamfer.training.compare_reading import UNDISTURBED, probability
from streamfer.training.dataset import PRIVATE
from streamfer.training.metrics import excludes_zero, points, text

_Figures = Mapping[str, Any]

LIKE_BEST = "≈ "
"""Stands before a figure that cannot be told from the best one."""


def title(figures: _Figures) -> str:
    """What the page is called."""
    shown = [one["title"] for one in figures["classifiers"]]
    names = ", ".join(shown) if len(shown) <= 3 else f"{len(shown)} classifiers"
    some = f", {len(figures['only'])} classes" if figures["only"] else ""
    return f"{names} on {figures['split']} of {figures['data']['name']}{some}"


def parts(figures: _Figures, plots: Sequence[str]) -> list[Part]:
    """All of the page below its title; `plots` are the names of the plots that there are."""
    found: list[Part] = [
        Paragraph(
            f"{figures['n']:,} rows of {figures['split']} of {figures['data']['name']}. Measured with "
            f"streamfer {figures['streamfer']}; intervals are 95 %, from {figures['resamples']:,} bootstrap "
            "resamples of the rows.",
            quiet=True,
        ),
        Items(figures["notes"]),
    ]
    if figures["reading"]:
        found += [Heading("What the figures say"), Items(figures["reading"])]
    found += [Heading("What is compared"), *_compared(figures)]
    found += [Heading("Accuracy against cost"), *_cost(figures, plots)]
    found += [Heading("All figures"), *_all(figures)]
    if figures["pairs"]:
        found += [Heading("Which differences are more than noise"), *_pairs(figures)]
    found += [Heading("Each class"), *_classes(figures, plots)]
    return [*found, Heading("How this was measured"), *_method(figures)]


def _compared(figures: _Figures) -> Iterator[Part]:
    heads = ["classifier", "accuracy here", "published", "parameters", "MFLOPs", "bytes"]
    model = "model and SHA-256, or members"
    heads += ["ms per face, one at a time", "ms per face, 8 at a time", model]
    rows = []
    for one in figures["classifiers"]:
        comparable = [other for other in one["published"] if other["same"]]
        published = ", ".join(_percent(other["accuracy"]) for other in comparable)
        speed = one["ms_per_face"]
        rows.append(
            [
                one["title"],
                text(one["accuracy"]),
                published or ("other measure, below" if one["published"] else "–"),
                _count(one["parameters"]),
                "–" if one["flops"] is None else f"{one['flops'] / 1e6:,.1f}",
                _count(one["size_bytes"]),
                *(f"{speed[f'batch_{batch}']['value']:.2f}" if speed else "–" for batch in (1, 8)),
                _model(one),
            ]
        )
    yield Table(heads, rows, (model,))
    if any(one["published"] for one in figures["classifiers"]):
        yield from _published(figures)
    else:
        yield Paragraph("No published figure is on record for these.")


def _published(figures: _Figures) -> Iterator[Part]:
    rows = []
    for one in figures["classifiers"]:
        for other in one["published"]:
            if other["same"]:
                verdict = f"yes; the published figure lies {other['place']} the interval"
            else:
                verdict = f"no: {other['differs']}"
                if other["card"]:
                    verdict += f"; for these rows the model's card states {text(other['card'])}"
            where = f"{other['split']}, {other['data']}"
            rows.append(
                [
                    one["title"],
                    _percent(other["accuracy"]),
                    where,
                    text(one["accuracy"]),
                    verdict,
                    other["source"],
                ]
            )
    words = ("published on", "the same measurement?", "source")
    yield Table(["classifier", "published", words[0], "accuracy here", *words[1:]], rows, words)
    if any(not other["same"] for one in figures["classifiers"] for other in one["published"]):
        yield Paragraph(
            "Where it says no, the two figures stand side by side only to be seen: they were taken on other "
            "rows, and their difference says nothing of the networks."
        )


def _cost(figures: _Figures, plots: Sequence[str]) -> Iterator[Part]:
    if "cost" in plots:
        yield Plot(
            "cost",
            "Accuracy with its interval against milliseconds per face on one core, on a logarithmic scale; "
            "a hollow mark is the published figure, where it is the same measurement.",
        )
    elif all(one["ms_per_face"] is None for one in figures["classifiers"]):
        yield Paragraph("Time was not measured.")
    if "size" in plots:
        yield Plot(
            "size", "Accuracy with its interval against the size of the model's file, on a logarithmic scale."
        )
    shares = {
        one["title"]: one["ms_per_face"]["core_share"] for one in figures["classifiers"] if one["ms_per_face"]
    }
    if disturbed := [
        f"{name} ({share * 100:.0f} %)" for name, share in shares.items() if share < UNDISTURBED
    ]:
        yield Paragraph(
            f"These times are worth nothing, for other programs used the core: {', '.join(disturbed)} had "
            "only this share of it. Measure again on an idle machine."
        )


def _all(figures: _Figures) -> Iterator[Part]:
    titles = [one["title"] for one in figures["classifiers"]]
    for rows in dict.fromkeys(row["rows"] for row in figures["figures"]):
        shown = [_figures(row, len(titles)) for row in figures["figures"] if row["rows"] == rows]
        yield Table([rows, *titles], shown)
    if len(titles) > 1:
        yield Paragraph(
            f"Bold is the best of a row (of the calibration error, the lowest). “{LIKE_BEST.strip()}” stands "
            "before those that cannot be told from it: for the accuracy on all rows, and the weighted "
            "recall, which is the same, by the test below; for all others, where the 95 % interval of the "
            "paired difference holds zero. These intervals are not corrected for their number."
        )
    voted = next((one["ferplus"] for one in figures["classifiers"] if one["ferplus"]), None)
    if voted and voted["accuracy"]:
        left = ", ".join(f"{name} {count:,}" for name, count in voted["left_out"].items()) or "none"
        yield Paragraph(
            f"The majority of the FER+ voters is one of the labels on {voted['n']:,} rows (left out: {left})."
        )


def _figures(row: _Figures, classifiers: int) -> list[str]:
    cells = []
    for place, value in enumerate(row["values"]):
        shown = text(value, percent=row["key"] != "auc")
        if classifiers > 1 and place == row["best"]:
            shown = Strong(shown)
        elif place in row["not_distinguishable"]:
            shown = LIKE_BEST + shown
        cells.append(shown)
    return [row["figure"], *cells]


def _pairs(figures: _Figures) -> Iterator[Part]:
    heads = ["first, second", "only first right", "only second right", "difference in points", "p", "p, Holm"]
    rows = []
    for pair in figures["pairs"]:
        better = pair["first"] if pair["only_first"] > pair["only_second"] else pair["second"]
        rows.append(
            [
                f"{pair['first']}, {pair['second']}",
                f"{pair['only_first']:,}",
                f"{pair['only_second']:,}",
                points(pair["difference"]),
                probability(pair["p"]),
                probability(pair["p_holm"]),
                f"distinguishable: {better} is more accurate"
                if pair["distinguishable"]
                else "not distinguishable",
            ]
        )
    yield Table([*heads, "verdict"], rows, ("verdict",))
    pairs = f"{len(rows)} pairs" if len(rows) > 1 else "one pair"
    yield Paragraph(
        "McNemar's exact test counts the rows that only one of two classifiers answers right. Two are called "
        f"distinguishable where p, corrected by Holm for {pairs}, is below {figures['level']}. The "
        "difference is the accuracy of the first minus that of the second, with its paired bootstrap "
        "interval, which is not corrected. “Not distinguishable” does not mean equal: the interval says how "
        "far apart they may be."
    )


def _classes(figures: _Figures, plots: Sequence[str]) -> Iterator[Part]:
    shown = figures["classifiers"]
    for kind, name in (("recall", "Recall"), ("f1", "F1")):
        if kind in plots:
            yield Plot(kind, f"{name} of each class for each classifier, with 95 % intervals.")
        rows = []
        for label in figures["labels"]:
            values = [one["per_class"][label][kind] for one in shown]
            changes = [one["per_class"][label][kind] for one in figures["differences"]]
            marked = [Strong(points(one)) if excludes_zero(one) else points(one) for one in changes]
            support = shown[0]["per_class"][label]["support"]
            rows.append([label, f"{support:,}", *map(text, values), *marked])
        minus = [f"{one['classifier']} − {one['minus']}" for one in figures["differences"]]
        yield Table([f"{name}, class", "rows", *(one["title"] for one in shown), *minus], rows)
    if figures["differences"]:
        yield Paragraph(
            f"The differences to {shown[0]['title']} are in points, with paired bootstrap intervals; bold "
            "are those whose interval does not hold zero. Without any true difference, one in twenty would."
        )


def _method(figures: _Figures) -> Iterator[Part]:
    private = (
        " PrivateTest is there to be measured once, after every choice: a classifier that is chosen by these "
        "figures looks better than it is."
        if figures["split"] == PRIVATE
        else ""
    )
    yield Paragraph(
        "The classifiers ran as they are served, on the same faces of the data. “Without train duplicates” "
        "leaves out the rows whose picture stands, pixel for pixel, in Training as well. Publications report "
        f"the figure on all rows.{private}"
    )
    yield Paragraph(
        "Each resample drew the same rows for every classifier, so that the interval of a difference leaves "
        "out what is hard or easy for all. Intervals and tests say how much depends on which faces happened "
        "to be in the test; they do not say how much depends on the seed of a training. Macro is the plain "
        "mean of the classes, weighted the mean by their rows. The interval of the calibration error lies "
        "high, because resampling makes bins noisier."
    )
    speeds = [one["ms_per_face"] for one in figures["classifiers"] if one["ms_per_face"]]
    if speeds:
        shares = [speed["core_share"] for speed in speeds]
        processors = ", ".join(dict.fromkeys(speed["processor"] for speed in speeds))
        yield Paragraph(
            f"Times are medians of {speeds[0]['calls']} calls in a process of its own, on one core of: "
            f"{processors}. The classifiers had that core for {min(shares) * 100:.0f} to "
            f"{max(shares) * 100:.0f} % of the time; much less than 100 % means that other programs "
            "disturbed them."
        )
    data = figures["data"]
    yield Paragraph(
        f"Data: {data['name']}, {data['rows']:,} rows, SHA-256 {data['sha256']}. Seed of the resamples: "
        f"{figures['seed']}.",
        quiet=True,
    )


def _model(one: _Figures) -> str:
    if one["model"]:
        return f"{one['model']['file']} {one['model']['sha256'][:16]}…"
    return ", ".join(member["classifier"] for member in one.get("members", ())) or "–"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
