"""`streamfer train`: from a recipe and data to a trained network."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from streamfer.cli.extras import import_keras, needs_training, read_faces
from streamfer.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def train(
        recipe: Annotated[
            Path, typer.Argument(metavar="RECIPE", help="A YAML file as in configs/train, or a model's card.")
        ],
        data: Annotated[
            Path,
            typer.Option(
                "--data",
                metavar="FILE-OR-FOLDER",
                help="Faces: a file of [bold]streamfer dataset import[/], fer2013.csv, a folder of classes.",
            ),
        ],
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                metavar="RUN",
                help="Folder for checkpoints, history and model; default: runs/ and the recipe's name.",
            ),
        ] = None,
    ) -> None:
        """Train a network by a recipe; goes on where a run was stopped.

        Each epoch is saved when it is complete: after Ctrl+C, a kill or a power cut the same command goes on
        after the last one. KERAS_BACKEND=jax trains with JAX instead of TensorFlow.
        """
        from streamfer.training import recipe as recipes

        chosen = recipes.load(recipe)
        folder = out or Path("runs") / recipe.stem
        with needs_training("train"):
            faces = read_faces(data)
            import_keras()
            from streamfer.training.train import train as run

            with Display(folder) as display:
                run(chosen, faces, folder, display)
        typer.echo(f"{folder / 'model.keras'}\nnext: streamfer export {folder} --data {data} --out …")


class Display:
    """A progress bar in a terminal, a line an epoch elsewhere; TensorBoard's events in any case.

    Ctrl+C and SIGTERM end the run with one line.
    """

    def __init__(self, folder: Path) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._folder = folder
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),  # with this a line of 80 characters holds it all
            TextColumn("{task.fields[figures]}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._epochs = self._steps = self._done = self._first = self._prepared = 0
        self._best = 0.0

    def __enter__(self) -> Display:
        self._before = {
            number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._bar.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is _Stopped:
            safe = f"epochs 1 to {self._done} are safe" if self._done else "no epoch was complete"
            raise _StoppedError(f"stopped: {safe} in {self._folder}; the same command goes on after them")

    def prepare(self, done: int, total: int) -> None:
        if not self._console.is_terminal:
            tenth = -(-total // 10)
            if done == total or done // tenth > self._prepared // tenth:
                self._console.print(f"encoded {done:,} of {total:,} frames", highlight=False)
            self._prepared = done
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("encoding frames", total=total, figures="")
        self._bar.update(self._task, completed=done)

    def begin(self, done: int, epochs: int, steps: int) -> None:
        from streamfer.training.events import Events

        self._epochs, self._steps, self._done, self._first = epochs, steps, done, done
        self._events = Events(self._folder / "tensorboard")
        self._began = time.monotonic()
        if done:
            self._console.print(f"going on after epoch {done} of {epochs}", highlight=False)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._bar.start()
        self._task = self._bar.add_task(
            f"epoch {min(done + 1, epochs)}/{epochs}",
            total=epochs * steps,
            completed=done * steps,
            figures="",
        )

    def step(self, loss: float, accuracy: float) -> None:
        assert self._task is not None
        best = f" PublicTest {self._best:.1%}" if self._best else ""
        self._bar.update(self._task, advance=1, figures=f"loss {loss:.2f} accuracy {accuracy:.1%}{best}")

    def epoch(self, row: dict[str, Any]) -> None:
        assert self._task is not None
        self._done = row["epoch"]
        self._best = max(self._best, row["PublicTest"])
        self._events.add(row)
        self._bar.update(self._task, description=f"epoch {min(self._done + 1, self._epochs)}/{self._epochs}")
        if not self._console.is_terminal:
            pace = (time.monotonic() - self._began) / (self._done - self._first)
            left = round(pace * (self._epochs - self._done))
            line = (
                f"epoch {self._done}/{self._epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.2%}  "
                f"PublicTest {row['PublicTest']:.2%}  {row['seconds']:.0f} s  left {_clock(left)}"
            )
            self._console.print(line, highlight=False, soft_wrap=True)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


class _Stopped(BaseException):
    """Ctrl+C or SIGTERM came; not an Exception, so that nothing on its way takes it for one."""


class _StoppedError(UsageError):
    """The one line about it, with the exit status of a program that was interrupted."""

    status = 130


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped
