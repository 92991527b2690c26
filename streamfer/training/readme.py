"""The figures in the README of a shipped model, made anew from its card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def with_figures(readme: str, card: dict[str, Any]) -> str:
    """The model's README with the text between its two `figures` comments made anew from the card."""
    trained = card["trained"]
    floor = f" after a floor of {card['floor']:.4f}" if card.get("floor") else ""
    head = f" and {card['head']['size_bytes']:,} for the head" if card.get("head") else ""
    lines = [
        f"{card['name']} {card['version']}: {card['parameters']:,} parameters, {card['macs'] / 1e6:.1f} M"
        f" multiply-accumulates per face, {card['size_bytes']:,} bytes with {card['weights']['type']}"
        f" weights{head}. Softmax temperature {card['temperature']:.4f}{floor}. Trained {trained['date']} for"
        f" {trained['epochs']} epochs in {trained['seconds']:,} s with Keras {trained['keras']} on"
        f" {trained['backend']}.",
        *(
            f"The run was planned for {change['epochs']} epochs until epoch {change['until']}."
            for change in trained["replanned"]
        ),
    ]
    return with_table(readme, card["metrics"], "the export", lines)


def with_table(readme: str, metrics: dict[str, Any], writer: str, lines: Sequence[str] = ()) -> str:
    """A README with the text between its two `figures` comments made anew: the headline figures of splits,
    as a card's `metrics` has them, and then `lines`."""
    shown = ("accuracy", "accuracy_without_duplicates", "macro_f1", "auc", "ece")
    text = [
        "| split | n | accuracy | without train duplicates | macro F1 | AUC | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {m['n']:,} | " + " | ".join(percent(m.get(key)) for key in shown) + " |"
            for name, m in metrics.items()
        ),
        "",
        "Each with its 95 % bootstrap interval.",
        *(["", *lines] if lines else []),
    ]
    block = f"<!-- figures: written by {writer} -->\n" + "\n".join(text) + "\n<!-- /figures -->"
    return re.sub(r"<!-- figures.*?<!-- /figures -->", lambda _: block, readme, flags=re.DOTALL)


def percent(figure: dict[str, float] | None) -> str:
    """A figure with its interval, as text."""
    return (
        "–"
        if figure is None
        else f"{figure['value']:.2%} ({100 * figure['low']:.1f}–{100 * figure['high']:.1f})"
    )
