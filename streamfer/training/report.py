"""The report of an evaluation: a self-contained page with figures, plots and the most confident mistakes."""

from __future__ import annotations

from pathlib import Path

from streamfer.errors import UsageError
from streamfer.training import report_plots as plots
from streamfer.training.evaluate import Evaluation
from streamfer.training.files import replace_file
from streamfer.training.report_page import page

PAGE = "index.html"


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write the page and its plots (PNG, also part of the page) into `folder`; returns the page.

    Each file is replaced in one step. `UsageError` if one cannot be written.
    """
    figures, labels = evaluation.figures, evaluation.served.labels
    areas = {label: figures["per_class"][label]["auc"] for label in labels}
    answers = evaluation.probabilities, evaluation.truth
    pictures = {
        "confusion": plots.confusion(figures["confusion_matrix"], labels),
        "roc": plots.roc(*answers, labels, areas),
        "reliability": plots.reliability(*answers, figures["ece"]),
    }
    if history := evaluation.served.facts.get("history"):
        pictures["curves"] = plots.curves(history)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            replace_file(folder / f"{name}.png", picture)
        replace_file(folder / PAGE, page(evaluation, pictures).encode())
    except OSError as error:
        raise UsageError(f"--report {folder}: cannot be written: {error.strerror or error}") from error
    return folder / PAGE
