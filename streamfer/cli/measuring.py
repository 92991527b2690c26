"""What the commands that measure classifiers have in common: options, a progress bar, files of figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from streamfer.errors import UsageError

STDOUT = Path("-")
DISTURBED = 0.9
"""Share of the core below which the timing is said to be disturbed."""

Faces = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE-OR-FOLDER",
        help="Faces: a file of [bold]streamfer dataset import[/], fer2013.csv, a folder of classes.",
    ),
]
Split = Annotated[str, typer.Option(help="Training, PublicTest or PrivateTest.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="OUT", help="Also write the figures to this file; - : print them."),
]
Resamples = Annotated[
    int, typer.Option(min=100, max=100_000, help="Bootstrap resamples behind each interval.")
]
Timing = Annotated[bool, typer.Option(help="Measure the time per face too; senseless on a busy machine.")]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Include a local plugin file. Repeatable."),
]


def check_writable(file: Path, option: str) -> None:
    """Find out now, and not after minutes, that `file` cannot be written; its folder is made."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UsageError(f"{option}: cannot be written: {error.strerror}") from error


def check_json(file: Path | None) -> None:
    """The same for what `--json` names."""
    if file is not None and file != STDOUT:
        check_writable(file, f"--json {file}")


def write_json(figures: Mapping[str, Any], file: Path | None) -> None:
    """The figures to where `--json` says, if anywhere."""
    if file is None:
        return
    content = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    if file == STDOUT:
        sys.stdout.write(content)
        return
    from streamfer.training.files import replace_file

    try:
        replace_file(file, content.encode())
    except OSError as error:
        raise UsageError(f"--json {file}: cannot be written: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


@contextmanager
def progress(name: str, faces: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error, where that is a terminal; to be called with the number of faces done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("faces"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=faces)
        yield lambda done: bar.advance(task, done)
