"""The page of an evaluation's report, as HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from streamfer.training.dataset import PRIVATE
from streamfer.training.evaluate import Evaluation, majority
from streamfer.training.metrics import text
from streamfer.training.pages import REPORT_STYLE, embedded, html_page, plot

MISTAKES = 32
"""How many of the most confident mistakes are shown."""

_STYLE = (
    REPORT_STYLE
    + """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0; }
.tiles div { border: 1px solid #d5d5d5; border-radius: 6px; padding: .7rem .9rem; }
.tiles strong { display: block; font-size: 1.55rem; font-weight: 600; line-height: 1.3; }
.tiles span { display: block; color: #555; font-size: .85rem; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); gap: 1rem .75rem;
  margin: 1rem 0; }
.faces figure { margin: 0; font-size: .8rem; line-height: 1.35; }
.faces img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #eee; }
.faces b { font-weight: 600; }
"""
)


def page(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The page; `pictures` are the plots (PNG): confusion, roc, reliability and, where there is a history,
    curves."""
    figures, served = evaluation.figures, evaluation.served
    title = f"{served.title} on {figures['split']} of {figures['data']['name']}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=quiet>{figures['n']:,} rows. Measured with streamfer {escape(figures['streamfer'])}; "
        f"intervals are 95 %, from {figures['resamples']:,} bootstrap resamples of the rows.</p>",
        _tiles(figures),
        _notes(figures["notes"]),
        "<h2>Figures</h2>",
        _overview(figures),
        "<h2>Each class</h2>",
        _classes(figures),
        "<h2>What is taken for what</h2>",
        plot(
            pictures["confusion"],
            "Confusion matrix: a row for each label of the data, a column for each answer; the diagonal is "
            "the recall in the table above.",
        ),
        "<h2>ROC, each class against the rest</h2>",
        plot(
            pictures["roc"],
            "Receiver operating characteristic of each class against all others; the areas under the curves "
            "are the AUC in the table above.",
        ),
        "<h2>Can the confidence be believed?</h2>",
        "<p>In each bin of confidence, the accuracy (bar) should be the mean confidence (line): a bar below "
        "its line is overconfident. Pale bars have fewer than ten rows.</p>",
        plot(
            pictures["reliability"],
            "Reliability diagram, accuracy by confidence in 15 bins, above a histogram of the confidence; "
            f"the expected calibration error is {text(figures['ece'])}.",
        ),
        "<h2>Training</h2>",
        plot(pictures["curves"], "Loss and accuracy after each epoch of the training.")
        if "curves" in pictures
        else "<p>No curves: the model's card has no history of its training.</p>",
        "<h2>The most confident mistakes</h2>",
        _faces(evaluation),
        "<h2>What runs, and what it costs</h2>",
        _cost(evaluation),
        "<h2>How this was measured</h2>",
        _method(figures),
    ]
    return html_page(title, _STYLE, "\n".join(sections))


def most_confident_mistakes(evaluation: Evaluation) -> list[int]:
    """Places, at most `MISTAKES`, of the rows that are answered wrong, the most confident first."""
    answers, confidence = evaluation.probabilities.argmax(axis=1), evaluation.probabilities.max(axis=1)
    wrong = np.flatnonzero(answers != evaluation.truth)
    order: list[int] = wrong[np.argsort(-confidence[wrong], kind="stable")].tolist()
    return order[:MISTAKES]


def _tiles(figures: dict[str, Any]) -> str:
    tiles = [
        ("accuracy", figures["accuracy"], True),
        ("accuracy without train duplicates", figures["accuracy_without_duplicates"], True),
        ("AUC, mean of the classes", figures["auc"], False),
        ("expected calibration error", figures["ece"], True),
    ]
    shown = [
        f"<div><span>{name}</span><strong>{text(figure, percent=percent, interval=False)}</strong>"
        f"<span>{_interval(figure, percent=percent)}</span></div>"
        for name, figure, percent in tiles
        if figure is not None
    ]
    if figures["ms_per_face"]:
        one = figures["ms_per_face"]["batch_1"]
        shown.append(
            f"<div><span>one face, one core</span><strong>{one['value']:.2f} ms</strong>"
            f"<span>{one['low']:.2f} to {one['high']:.2f} (90 % of the calls)</span></div>"
        )
    return f"<div class=tiles>{''.join(shown)}</div>"


def _interval(figure: dict[str, Any], *, percent: bool) -> str:
    return text(figure, percent=percent).partition(" (")[2].rstrip(")") or "not defined"


def _notes(notes: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def _overview(figures: dict[str, Any]) -> str:
    sets = [figures, *([figures["without_duplicates"]] if figures["without_duplicates"] else [])]
    rows = [
        ["rows", *(f"{one['n']:,}" for one in sets)],
        ["accuracy", *(text(one["accuracy"]) for one in sets)],
    ]
    for mean in ("macro", "weighted"):
        for kind, name in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
            rows.append([f"{name}, {mean}", *(text(one[mean][kind]) for one in sets)])
    rows.append(["AUC, mean of the classes", *(text(one["auc"], percent=False) for one in sets)])
    rows.append(["expected calibration error", *(text(one["ece"]) for one in sets)])
    table = _table(["", "all rows", "without train duplicates"][: len(sets) + 1], rows)
    ferplus = figures["ferplus"]
    if ferplus and ferplus["accuracy"]:
        left = ", ".join(f"{name} {count:,}" for name, count in ferplus["left_out"].items()) or "none"
        table += (
            f"<p>Against the majority of the FER+ voters: accuracy {text(ferplus['accuracy'])} on the "
            f"{ferplus['n']:,} rows where that is one of the labels (left out: {escape(left)}).</p>"
        )
    return table


def _classes(figures: dict[str, Any]) -> str:
    rows = [
        [
            label,
            f"{one['support']:,}",
            *(text(one[kind]) for kind in ("precision", "recall", "f1")),
            text(one["auc"], percent=False),
        ]
        for label, one in figures["per_class"].items()
    ]
    return _table(["class", "rows", "precision", "recall", "F1", "AUC"], rows)


def _cost(evaluation: Evaluation) -> str:
    figures, served = evaluation.figures, evaluation.served
    speed, model = figures["ms_per_face"], figures["model"]
    rows = [["classifier", served.title]]
    if model:
        rows += [
            ["model", f"{model['file']}, by {model['runtime']}"],
            ["SHA-256", f"{model['sha256'][:16]}…"],
        ]
    for name, key, scale, unit in (
        ("parameters", "parameters", 1, ""),
        ("operations per face", "flops", 1e6, " MFLOPs"),
        ("file", "size_bytes", 1, " bytes"),
    ):
        if figures[key] is not None:
            value = figures[key] / scale
            rows.append([name, f"{value:,.1f}{unit}" if scale > 1 else f"{value:,.0f}{unit}"])
    if speed is None:
        return _table(["", ""], rows)
    for batch in (1, 8):
        one = speed[f"batch_{batch}"]
        name = "ms per face, one at a time" if batch == 1 else f"ms per face, {batch} at a time"
        rows.append([name, f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"])
    return _table(["", ""], rows) + (
        f"<p>Times are medians of {speed['calls']} calls on one core of: {escape(speed['processor'])}; in "
        f"brackets the 5th and 95th percentile. They had the core for {100 * speed['core_share']:.0f} % of "
        "the time; much less than 100 % means that other programs disturbed it.</p>"
    )


def _faces(evaluation: Evaluation) -> str:
    data, labels = evaluation.data, evaluation.served.labels
    chosen = most_confident_mistakes(evaluation)
    if not chosen:
        return "<p>There are no mistakes.</p>"
    voted = majority(data.votes) if data.votes is not None else None
    shown = []
    for place in chosen:
        row = evaluation.probabilities[place]
        truth, answer = labels[evaluation.truth[place]], labels[int(row.argmax())]
        origin = str(data.origins[place]) if data.origins is not None else ""
        name = f"Row {evaluation.rows[place]}{f' ({origin})' if origin else ''}"
        alt = f"{name}: labelled {truth}, answered {answer}"
        vote = f"<br>FER+: {escape(voted[place])}" if voted else ""
        shown.append(
            f'<figure><img alt="{escape(alt)}" title="{escape(name)}" '
            f'src="{embedded(_face(data.images[place]))}"><figcaption>{escape(truth)} →<br>'
            f"<b>{escape(answer)}</b> {row.max() * 100:.0f} %{vote}</figcaption></figure>"
        )
    agree = ""
    if voted:
        count = sum(voted[place] == labels[int(evaluation.probabilities[place].argmax())] for place in chosen)
        agree = (
            f" In {count} of these {len(chosen)}, most FER+ voters say what the classifier says: there, the "
            "label may be wrong."
        )
    return (
        f"<p>The label of the data → <b>the answer</b> and its probability.{agree}</p>"
        "<p><strong>These are pictures of people, from the data.</strong> Give this page only to those who "
        "may have the data.</p>"
        f"<div class=faces>{''.join(shown)}</div>"
    )


def _method(figures: dict[str, Any]) -> str:
    private = (
        " PrivateTest is there to be measured once, after every choice: a model that is chosen by these "
        "figures looks better than it is."
        if figures["split"] == PRIVATE
        else ""
    )
    data = figures["data"]
    return (
        "<p>The classifier ran as it is served, on the faces of the data as they are. “Without train "
        "duplicates” leaves out the rows whose picture stands, pixel for pixel, in Training as well. "
        f"Publications report the figure on all rows.{private}</p>"
        "<p>Macro is the plain mean of the classes, weighted the mean by their rows. The interval of the "
        "calibration error lies high, because resampling makes bins noisier.</p>"
        f"<p class=quiet>Data: {escape(data['name'])}, {data['rows']:,} rows, SHA-256 {data['sha256']}. "
        f"Seed of the resamples: {figures['seed']}.</p>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in heads)
    body = ""
    for name, *cells in rows:
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f"<tr><th scope=row>{escape(name)}</th>{shown}</tr>"
    top = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f"<div class=wide><table>{top}<tbody>{body}</tbody></table></div>"


def _face(image: Any) -> bytes:
    """A face of the data, uint8 (height, width, 1 or 3), as a PNG."""
    pixels = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()
