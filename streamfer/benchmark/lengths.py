"""What the steps of temporal classifiers cost (`streamfer.benchmark.steps`), as lines and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from streamfer.benchmark.lines import Line, at_most
from streamfer.benchmark.steps import REFERENCE

LIMIT = 1.3


def ratios(told: Sequence[dict[str, Any]]) -> Iterator[Line]:
    """For each temporal classifier its step, as it is shipped, over that with a window of one frame; none
    without a model for that."""
    for one in told:
        if 1 in one["lengths"]:
            what = f"CPU of a step of {one['name']}, window of {one['frames']}, over that with a window of 1"
            yield at_most(what, _over(one, "step", "step 1"), LIMIT)


def section(told: Sequence[dict[str, Any]]) -> list[str]:
    """The part of the report that has all lengths: lines of Markdown, none without a temporal classifier."""
    if not told:
        return []
    lengths = (
        "Heads are of the same network, built for each length and not trained, which costs nearly the same; "
        "the last row of each classifier is the shipped one."
        if any(one["lengths"] for one in told)
        else "There are no heads but the shipped ones: TensorFlow, which builds them, is not installed."
    )
    text = [
        "\n## The cost of a step against the length of the window\n",
        "A step is what a new frame of one face takes: the encoder for its crop, its window, the head. "
        "Milliseconds of CPU time; ratios are the medians of those within a turn. "
        f"{lengths} In the same turns one face with `{REFERENCE}` took {_middle(told[0], REFERENCE)}.\n",
        "| classifier | frames | encoder | head | step | over that of 1 frame |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in told:
        rows = [(str(frames), f" {frames}") for frames in one["lengths"]]
        for frames, key in [*rows, (f"{one['frames']}, as shipped", "")]:
            over = f"{_over(one, f'step{key}', 'step 1'):.2f}" if 1 in one["lengths"] else "–"
            costs = [_middle(one, name) for name in ("encoder", f"head{key}", f"step{key}")]
            text.append(f"| {' | '.join([one['name'], frames, *costs, over])} |")
    return text


def _middle(one: dict[str, Any], name: str) -> str:
    return f"{median(turn[name] for turn in one['turns']):.3f}"


def _over(one: dict[str, Any], name: str, below: str) -> float:
    return float(median(turn[name] / turn[below] for turn in one["turns"]))
