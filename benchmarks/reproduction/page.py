"""Writes docs/reproduction.md: the tables between its comments come from the results, the prose does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reproduction.catalogue import GROUPS, Experiment
from benchmarks.reproduction.classes import FOUR
from streamfer.errors import UsageError
from streamfer.training.files import replace_file
from streamfer.training.metrics import text

DOCUMENT = Path(__file__).parents[2] / "docs/reproduction.md"

Results = dict[str, dict[str, Any]]

_BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def write(path: Path, experiments: Sequence[Experiment], results: Results) -> None:
    """Make the tables of the page anew; `UsageError` if it cannot be read or written."""
    try:
        replace_file(path, filled(path.read_text(encoding="utf-8"), experiments, results).encode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; give the page with --document") from error


def filled(document: str, experiments: Sequence[Experiment], results: Results) -> str:
    """The page with everything between `results: NAME` and `/results` made anew.

    NAME is a group, whose table it is, or `runs`, for all that was run. `UsageError` for any other.
    """

    def block(found: re.Match[str]) -> str:
        start, name, end = found.groups()
        return f"{start}{_content(name, experiments, results)}\n{end}"

    return _BLOCK.sub(block, document)


def listing(experiments: Sequence[Experiment], results: Results) -> str:
    """Lines for a terminal: each experiment with its result, or what it would cost."""
    width = max(len(one.name) for one in experiments)
    return "\n".join(
        f"{one.name:{width}}  "
        + (summary(results[one.name]) if one.name in results else f"not run: {cost(one)}")
        for one in experiments
    )


def summary(result: dict[str, Any]) -> str:
    """A result in a few words."""
    validation, test = (text(result[split]["accuracy"]) for split in ("validation", "test"))
    return f"validation {validation}, test {test}"


def cost(experiment: Experiment) -> str:
    """What a run takes, by the estimate of the catalogue, and the most epochs of the recipe."""
    epochs = experiment.load_recipe().epochs
    return (
        f"at most {epochs} epochs of {_minutes(experiment.minutes)}, {_minutes(epochs * experiment.minutes)}"
    )


def _content(name: str, experiments: Sequence[Experiment], results: Results) -> str:
    if name == "runs":
        return _runs(experiments, results)
    if name not in GROUPS:
        raise UsageError(f"results: {name}: expected runs or one of {', '.join(GROUPS)}")
    return _table(name, [one for one in experiments if one.group == name], results)


def _table(group: str, experiments: Sequence[Experiment], results: Results) -> str:
    """A row an experiment: what was published, and what was found on validation and test faces."""
    balanced = group == "mobilenet"
    head = ["experiment", "published", "validation", "also in Training", "test", "test without duplicates"]
    if balanced:
        head.append("test, mean of the classes")
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for one in experiments:
        result = results.get(one.name)
        if result is None:
            cells = [f"not run: {cost(one)}", *[""] * (len(head) - 3)]
        else:
            cells = _cells(result)
            if balanced:
                cells.append(text(result["test"]["balanced_accuracy"]))
        lines.append(f"| {_title(one, result)} | {one.said} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_findings(experiments, results)])


def _title(experiment: Experiment, result: dict[str, Any] | None) -> str:
    """With what is to be known of a run that was broken off."""
    most = experiment.load_recipe().epochs
    if result is None or not is_broken_off(experiment, result):
        return experiment.title
    return f"{experiment.title}, broken off after {result['epochs']} of at most {most} epochs"


def is_broken_off(experiment: Experiment, result: dict[str, Any]) -> bool:
    """Whether it ended because it was allowed fewer epochs than its recipe has."""
    allowed: int = result["settings"]["epochs"]
    return allowed < experiment.load_recipe().epochs and bool(result["epochs"] == allowed)


def _cells(result: dict[str, Any]) -> list[str]:
    unseen = result["test_unseen"]
    return [
        text(result["validation"]["accuracy"]),
        f"{result['data']['crossing']:.1%}".replace("%", " %"),
        text(result["test"]["accuracy"]),
        "the same" if unseen is None else text(unseen["accuracy"]),
    ]


def _findings(experiments: Sequence[Experiment], results: Results) -> list[str]:
    """A line for each result: how far validation lies from the test, what the network had learnt, and in the
    four classes, of which one is named by force in CK+, how often neutral was found."""
    lines = []
    for one in experiments:
        if (result := results.get(one.name)) is None:
            continue
        gap = 100 * (result["validation"]["accuracy"]["value"] - result["test"]["accuracy"]["value"])
        side = "above" if gap >= 0 else "below"
        lines.append(
            f"- {_title(one, result)}: validation is {abs(gap):.1f} points {side} the test; Training was at "
            f"{100 * result['training_accuracy']:.1f} %{_neutral(result)}."
        )
    return ["", *lines] if lines else []


def _neutral(result: dict[str, Any]) -> str:
    labels, matrix = result["data"]["labels"], result["test"]["confusion_matrix"]
    if tuple(labels) != FOUR:
        return ""
    row = labels.index("neutral")
    return f"; of {sum(matrix[row]):,} test faces named neutral {matrix[row][row]:,} are found"


def _runs(experiments: Sequence[Experiment], results: Results) -> str:
    """A row a run: its recipe, its data, its length, its time."""
    lines = [
        "| experiment | recipe | rows of the three splits | data | epochs (taken) | time | machine |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    for one in experiments:
        recipe = f"| `{one.name}` | [{one.recipe.stem}](../configs/train/reproduction/{one.recipe.name}) |"
        if (result := results.get(one.name)) is None:
            lines.append(f"{recipe} | | | not run: {cost(one)} | |")
            continue
        rows = " / ".join(f"{number:,}" for number in result["data"]["rows"].values())
        lines.append(
            f"{recipe} {rows} | `{result['data']['sha256'][:12]}` | {result['epochs']} "
            f"({result['epoch_taken']}) | {_minutes(result['seconds'] / 60)} | {result['machine']} |"
        )
    return "\n".join(lines)


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
