"""The handbook is true: its links, commands, YAML and tables, and each figure that sizes a machine."""

from __future__ import annotations

import inspect
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from streamfer import errors
from streamfer.cli import make_app
from streamfer.config import load
from streamfer.status import StageState
from streamfer.supervisor import STATUS_INTERRUPTED
from streamfer.types import LostReason, StreamState
from tests.live import config, stop, wait_for_results
from tests.service import ROOT, SAMPLE, Run

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text("utf-8")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    """What stands below a heading, up to the next of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


# ---- links -----------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        further = (f"{anchor}-{number}" for number in range(1, 100))
        found.add(anchor if anchor not in found else next(one for one in further if one not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text("utf-8")))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


# ---- commands and YAML -----------------------------------------------------------------------------------


def commands() -> Iterator[list[str]]:
    """The arguments of each `streamfer` command, in blocks of code and in the text."""
    blocks = [text for kind, text in FENCED.findall(TEXT) if not kind]
    assert blocks
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCED.sub("", TEXT))
    for line in lines:
        found = re.match(r"(?:sudo |\w+=\S+ )*(?:\S*/bin/)?streamfer (.+)", line)
        if found:
            yield shlex.split(found[1].replace("…", "FILE"), comments=True)


def test_every_streamfer_command_is_one() -> None:
    group: Any = typer.main.get_command(make_app())
    found = [arguments for arguments in commands() if arguments[0].isalpha()]
    assert {"run", "check", "status", "doctor", "demo", "bench", "keys"} <= {one[0] for one in found}
    for name, *arguments in found:
        assert name in group.commands, f"streamfer {name}"
        if arguments or name in ("status", "doctor", "demo"):  # the others are named without what they need
            group.commands[name].make_context(name, arguments)


def test_every_configuration_is_right(tmp_path: Path) -> None:
    blocks = [text for kind, text in FENCED.findall(TEXT) if kind == "yaml"]
    assert blocks
    for text in blocks:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        for secret in re.findall(r"\$\{secret:(\w+)\}", text):
            (tmp_path / secret).write_text("a-password\n")
        assert load(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).live


# ---- tables ----------------------------------------------------------------------------------------------


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    raised = {
        one.status
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.StreamferError) and one is not errors.StreamferError
    }
    told = [int(row[0]) for row in table(section("What it mends by itself"), "status")]
    assert sorted(told) == sorted({0, STATUS_INTERRUPTED} | raised)


def words(cells: list[str]) -> list[str]:
    """What stands in backticks in the first cell of each row."""
    return [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]


def test_the_states_and_reasons_are_those_of_the_code() -> None:
    states = section("States")
    assert sorted(words([row[0] for row in table(states, "state")])) == sorted(get_args(StreamState))
    assert sorted(words([row[0] for row in table(states, "reason")])) == sorted(get_args(LostReason))
    of_stages = re.search(r"^Of a stage \(a process\): (.*?)\n\n", states + "\n", re.DOTALL | re.MULTILINE)
    assert of_stages and sorted(words([of_stages[1]])) == sorted(get_args(StageState))


# ---- figures ---------------------------------------------------------------------------------------------

GIVEN = {2, 3, 4, 5, 8, 25, 1000, 86_400, 1_000_000}
"""Numbers of a calculation that nobody measured: of cores, cameras, frames/s, Mbit/s, and units."""


def figures() -> dict[str, tuple[str, str, str]]:
    """What is said to be measured: (figure, file, line) by what it is."""
    rows = table(section("Sizing"), "what")
    return {what: (figure, file, line) for what, figure, file, line in rows}


@pytest.mark.parametrize(("what", "row"), figures().items())
def test_a_figure_is_the_measured_one(what: str, row: tuple[str, str, str]) -> None:
    figure, file, line = row
    text = (ROOT / "benchmarks" / file).read_text("utf-8")
    measured = re.findall(rf"^\| {re.escape(line)} \|(?:.*\|)? ([\d.]+) \|$", text, re.MULTILINE)
    assert measured == [figure], f"benchmarks/{file}, '{line}'; what is worked out from it changes as well"


def test_what_is_worked_out_is_right() -> None:
    known = {float(figure) for figure, _, _ in figures().values()} | GIVEN
    sums = re.findall(r"`([\d.]+(?: [×÷+] [\d.]+)+) = ([\d.]+)`", section("Sizing"))
    assert len(sums) >= 8
    for sum_, result in sums:
        numbers = [float(number) for number in re.findall(r"[\d.]+", sum_)]
        assert set(numbers) <= known, (
            f"{sum_}: of these, something was neither measured nor worked out before"
        )
        right = calculate(sum_)
        digits = len(result.partition(".")[2])
        assert round(right, digits) == float(result), f"{sum_} = {right}"
        known.add(float(result))


def calculate(text: str) -> float:
    """Products and quotients from left to right, and sums of them."""
    total = 0.0
    for term in text.split(" + "):
        first, *rest = term.split(" ")
        value = float(first)
        for operator, number in zip(rest[::2], rest[1::2], strict=True):
            value = value * float(number) if operator == "×" else value / float(number)
        total += value
    return total


# ---- backup ----------------------------------------------------------------------------------------------


def test_a_database_is_copied_while_the_service_writes(tmp_path: Path) -> None:
    """The command of the page, as SQLite runs it; the copy is whole, and the service goes on."""
    command = re.search(r'^sqlite3 (\S+) "(VACUUM INTO \'(\S+)\')"$', section("Backup"), re.MULTILINE)
    assert command
    copy, database = tmp_path / "copy.db", tmp_path / "results.db"
    sinks = [{"name": "jsonl", "path": "results.jsonl"}, {"name": "sqlite", "path": str(database)}]
    streams = {"lobby": {"path": str(SAMPLE), "realtime": True, "loop": True}}
    with Run("run", config(tmp_path, streams, sinks=sinks)) as run:
        wait_for_results(tmp_path, 50)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(command[2].replace(command[3], str(copy)))
        wait_for_results(tmp_path, 100)
        stop(run)
    with closing(sqlite3.connect(copy)) as connection, closing(sqlite3.connect(database)) as original:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        versions = [one.execute("PRAGMA user_version").fetchone() for one in (connection, original)]
        assert versions[0] == versions[1]
        counts = [one.execute("SELECT count(*) FROM frames").fetchone()[0] for one in (connection, original)]
    assert 0 < counts[0] < counts[1]
