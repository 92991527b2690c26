"""Run the experiments of the literature again and write docs/reproduction.md from what came of them.

    python -m benchmarks.reproduction [NAME…] [--data fer2013.npz] [--ckplus FILE] [--runs runs/reproduction]

NAME is an experiment or a group of them; without any, all that have no result yet are run. Broken off, the
same command goes on after the last complete epoch. All of it takes a day or more on two CPU cores: --list
says what has a result and what the rest would cost. A run that --epochs breaks off has a result that says so,
and goes on when the command is given without it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.reproduction import page, results
from benchmarks.reproduction.catalogue import EXPERIMENTS, Experiment, Sources, chosen
from streamfer.cli.extras import import_keras, needs_training, read_faces
from streamfer.errors import StreamferError
from streamfer.redact import redact


def main(arguments: list[str] | None = None, experiments: tuple[Experiment, ...] = EXPERIMENTS) -> None:
    """The command; `experiments` are what NAME may name."""
    options = _parser().parse_args(arguments)
    wanted = chosen(options.names, experiments)
    if options.list:
        print(page.listing(experiments, results.read(options.results)))
    elif not options.page:
        with needs_training("the reproduction"):
            _run(wanted, options, experiments)
    if not options.list:
        page.write(options.document, experiments, results.read(options.results))


def _run(wanted: list[Experiment], options: argparse.Namespace, experiments: tuple[Experiment, ...]) -> None:
    ckplus = None if options.ckplus is None else read_faces(options.ckplus)
    sources = Sources(read_faces(options.data), ckplus)
    import_keras()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # several networks in one process: it says so
    # Of the command that trains, so that a run looks and stops the same here.
    from benchmarks.reproduction.running import is_done, run
    from streamfer.cli.train import Display

    for one in wanted:
        if one.needs_ckplus and not sources.has_ckplus and one.name not in options.names:
            _say(f"{one.name}: left out, it needs --ckplus FILE")
            continue
        cut = replace(one, epochs=options.epochs)
        result = results.read(options.results).get(one.name)
        if is_done(one, sources, result) or is_done(cut, sources, result):
            _say(f"{one.name}: has a result already")
            continue
        _say(f"{one.name}: {one.title}")
        folder = options.runs / one.name
        with Display(folder) as display:
            result = run(cut, sources, folder, display)
        results.add(one.name, result, options.results)
        page.write(options.document, experiments, results.read(options.results))
        _say(f"{one.name}: {page.summary(result)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _positive(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"got {given}, expected a number of at least 1")
    return int(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="an experiment or a group; default: all")
    parser.add_argument("--data", type=Path, default=Path("fer2013.npz"), metavar="FILE", help="FER2013")
    parser.add_argument("--ckplus", type=Path, metavar="FILE", help="CK+48, for what needs it")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="break each run off after N epochs")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/reproduction"), metavar="FOLDER", help="a folder for each run"
    )
    parser.add_argument(
        "--results", type=Path, default=results.RESULTS, metavar="FILE", help="results, as JSON"
    )
    parser.add_argument("--document", type=Path, default=page.DOCUMENT, metavar="FILE", help="the page")
    parser.add_argument("--page", action="store_true", help="only write the page from the results")
    parser.add_argument(
        "--list", action="store_true", help="only say what has a result, and what the rest costs"
    )
    return parser


if __name__ == "__main__":
    try:
        main()
    except StreamferError as error:
        print(redact(str(error)), file=sys.stderr)
        sys.exit(error.status)
