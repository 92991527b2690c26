"""`streamfer dataset`: labelled faces from anywhere in one file, with a report of what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamfer.cli.extras import needs_training
from streamfer.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from streamfer.training.dataset import Dataset
    from streamfer.training.datasets.importing import Imported
    from streamfer.training.datasets.options import Progress

LISTED = 20
"""So many files are named in the terminal; the report names all."""

# As in streamfer.training.datasets.options, which the help text must not import.
_Split = Literal["official", "stratified", "subject"]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    group = typer.Typer(
        help="Bring labelled faces into one file, and see what is in it.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    app.add_typer(group, name="dataset")

    @group.command("import")
    def import_(
        sources: Annotated[
            list[Path],
            typer.Argument(
                metavar="SOURCE…",
                help="fer2013.csv, icml_face_data.csv, an .npz archive, a folder CLASS/… or train/CLASS/… of "
                "pictures or of clips, a file of this command. Several are merged.",
            ),
        ],
        out: Annotated[
            Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write: faces.npz.")
        ],
        names: Annotated[
            list[str] | None,
            typer.Option(
                "--map",
                metavar="THEIRS=OURS",
                help="What a class is called here: joy=happy; joy=drop leaves it out. Repeatable.",
            ),
        ] = None,
        classes: Annotated[
            str | None,
            typer.Option(metavar="A,B,…", help="Keep only these, such as angry,happy,neutral,sad."),
        ] = None,
        per_class: Annotated[
            int | None, typer.Option(min=1, help="Keep at most so many Training rows of each class.")
        ] = None,
        drop: Annotated[
            str, typer.Option(metavar="A,B,…", help="Leave out: constant, duplicates, near, conflicts.")
        ] = "",
        split: Annotated[
            _Split | None,
            typer.Option(
                help="Default: the official one; else by subject where all are known; else stratified."
            ),
        ] = None,
        ratios: Annotated[
            str, typer.Option(help="Of a split made here: Training/PublicTest/PrivateTest.")
        ] = "80/10/10",
        validation: Annotated[
            float,
            typer.Option(
                min=0.01,
                max=0.5,
                help="Share of Training for PublicTest where there are only train/ and test/.",
            ),
        ] = 0.1,
        detector: Annotated[
            str, typer.Option(metavar="NAME", help="Finds the faces in photos and clips: yunet, haar.")
        ] = "yunet",
        crop: Annotated[
            str | None,
            typer.Option(metavar="HxWxC", help="Size of the faces cut out.  [dim]\\[default: 48x48x1][/]"),
        ] = None,
        fps: Annotated[
            float | None,
            typer.Option(min=0.1, max=1000, help="Frames a second of sequences of pictures: CK+ has 30."),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")] = 0,
        strict: Annotated[
            bool,
            typer.Option("--strict", help="Refuse files that cannot be read and splits that leak."),
        ] = False,
        report: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Where the report goes.  [dim]\\[default: beside FILE][/]"),
        ] = None,
    ) -> None:
        """Read faces, look for what is wrong with them, write one file and a report.

        Photos go through the detector and the crop that serve, and of clips the face that
        is in most frames is followed; files without a face are listed. Nothing is left out unless you say so:
        FER2013's duplicates, for one, are part of the published convention.
        """
        with needs_training("dataset import"):
            from streamfer.training import dataset
            from streamfer.training.datasets.importing import import_sources
            from streamfer.training.datasets.options import (
                Options,
                parse_crop,
                parse_drop,
                parse_names,
                parse_ratios,
            )
            from streamfer.training.datasets.report import write_report

            options = Options(
                names=parse_names(names or ()),
                detector=detector,
                crop=None if crop is None else parse_crop(crop),
                fps=fps,
                split=split,
                ratios=parse_ratios(ratios),
                validation=validation,
                classes=None if classes is None else tuple(classes.split(",")),
                per_class=per_class,
                drop=parse_drop(drop),
                seed=seed,
                strict=strict,
            )
            folder = _check_target(out, sources, report)
            with _progress() as progress:
                imported = import_sources(sources, options, progress)
            dataset.save(imported.data, out)
            page = write_report(imported, folder)
        _show(imported.data, imported.findings.lines())
        _name_files(imported, page)
        print(f"wrote {out} and {page}", file=sys.stderr)

    @group.command()
    def show(
        source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Whatever import reads.")],
    ) -> None:
        """Classes, splits and findings of a data set."""
        with needs_training("dataset show"):
            from streamfer.training.datasets import load
            from streamfer.training.datasets.findings import findings

            with _progress() as progress:
                data = load(source)
                found = findings(data, progress=progress)
        _show(data, found.lines())


def _check_target(out: Path, sources: list[Path], report: Path | None) -> Path:
    """Find out now, and not after minutes, what cannot be written, and what must not be replaced; the folder
    of the report."""
    from streamfer.training.dataset import is_dataset

    if out.is_dir():
        raise UsageError(f"--out {out}: a folder; name the file to write, such as {out / 'faces.npz'}")
    if any(source.exists() and out.exists() and out.samefile(source) for source in sources):
        raise UsageError(f"--out {out}: one of the sources, which are never replaced; name another file")
    if out.exists() and not is_dataset(out):
        raise UsageError(f"--out {out}: there already, and no data set of streamfer; name another file")
    folder = report or out.with_name(f"{out.stem}-report")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--report {folder}: a file; name a folder")
    draft = out.with_name(f".{out.name}.draft")
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror}") from error
    return folder


def _show(data: Dataset, lines: list[str]) -> None:
    """The counts and the findings, on standard output."""
    import numpy as np
    from rich.console import Console

    from streamfer.cli.tables import plain

    console = Console(highlight=False)
    height, width, channels = data.images.shape[1:]
    kind = "gray" if channels == 1 else "RGB"
    console.print(plain(f"{data.name}: {len(data):,} faces of {height}×{width} pixels, {kind}"), style="bold")
    if data.video is not None:
        clips = len(np.unique(data.video[data.video >= 0]))
        console.print(f"frames of {clips:,} clips, counted one by one:")
    console.print(_table(data))
    for line in lines:
        console.print(plain(line), soft_wrap=True)
    for note in data.about.get("notes", ()):
        console.print(plain(f"Note: {note}"), style="yellow", soft_wrap=True)
    console.print(plain(f"sha256 {data.sha256}"), style="dim", soft_wrap=True)


def _table(data: Dataset) -> Table:
    import numpy as np
    from rich.table import Table

    from streamfer.training.dataset import SPLITS

    table = Table("class", box=None, pad_edge=False)
    for heading in (*SPLITS, "all"):
        table.add_column(heading, justify="right")
    counts = [np.bincount(data.labels[data.rows(split)], minlength=len(data.label_names)) for split in SPLITS]
    for label, name in enumerate(data.label_names):
        numbers = [int(count[label]) for count in counts]
        table.add_row(name, *(f"{number:,}" for number in (*numbers, sum(numbers))))
    numbers = [int(count.sum()) for count in counts]
    table.add_row("all", *(f"{number:,}" for number in (*numbers, sum(numbers))), style="bold")
    return table


def _name_files(imported: Imported, page: Path) -> None:
    """Name the files that gave no face and those with several, on standard error."""
    from rich.console import Console

    from streamfer.cli.tables import plain
    from streamfer.training.datasets.findings import count

    console = Console(stderr=True, highlight=False)
    for title, lines in (
        ("gave no face", [f"{one.path}: {one.reason}" for one in imported.skipped]),
        ("with several faces, of which the clearest was taken", list(imported.crowded)),
    ):
        if lines:
            console.print(f"{count(len(lines), 'file')} {title}:", style="yellow")
        for line in lines[:LISTED]:
            console.print(plain(f"  {line}"), soft_wrap=True)
        if len(lines) > LISTED:
            console.print(plain(f"  … and {len(lines) - LISTED:,} more, in {page}"), soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar for each slow step on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield progress
